"""The training loop: seeded, checkpointed at any step, resumable to the same bits."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from archrep.cells.array import CellArray
from archrep.cells.space import Space
from archrep.encoder.config import PretrainConfig, TrainingConfig
from archrep.encoder.models import Autoencoder
from archrep.errors import ArchrepError, RunError
from archrep.files import write_atomically
from archrep.graphs import GraphBatch, PackedGraphs
from archrep.seeding import numpy_stream, torch_stream

CHECKPOINT_SECONDS = 15.0
"""Time between two checkpoints."""


class DivergedError(ArchrepError, ArithmeticError):
    """The loss became infinite or undefined."""


@dataclass(frozen=True)
class Progress:
    """What a training run reports after some steps; means are over the epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    reconstruction: float
    kl: float
    learning_rate: float
    graphs_per_second: float
    seconds_left: float


def split_rows(cells: int, holdout: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, a seeded random split; both ascending."""
    order = numpy_stream(seed, "split").permutation(cells)
    held = max(1, round(holdout * cells))
    return np.sort(order[held:]), np.sort(order[:held])


def learning_rate_at(step: int, steps: int, training: TrainingConfig) -> float:
    """Learning rate of a step (0-based): linear warm-up over a tenth, then cosine to zero."""
    if training.schedule == "constant":
        return training.learning_rate
    warm = max(1, steps // 10)
    if step < warm:
        return training.learning_rate * (step + 1) / warm
    return training.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def kl_weight_at(step: int, steps: int, training: TrainingConfig) -> float:
    """Weight of the divergence at a step.

    Linear from zero over the warm-up, then constant, from half of the run on geometric to its final
    value.
    """
    start, end = training.kl_weight, training.final_kl_weight
    if training.kl_warmup and step < training.kl_warmup * steps:
        return start * step / (training.kl_warmup * steps)
    late = max(0.0, 2 * step / steps - 1)
    if start == end or late == 0:
        return start
    return start * (end / start) ** late if min(start, end) > 0 else start + (end - start) * late


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Type for `torch.autocast`, or `None` for plain float32.

    `auto` takes bfloat16 on a GPU that has it and on processors with matrix units for it.
    """
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if device.type == "cpu" and fast() else None


class CellSource(Protocol):
    """Where training cells come from, batch by batch, the same ones after a resume."""

    def __len__(self) -> int:
        """Cells in an epoch."""

    def batches(self, epoch: int, first: int, config: PretrainConfig) -> Iterator[GraphBatch]:
        """Batches `first`.. of an epoch (0-based); they depend on the seed and the epoch alone."""


class ListedCells:
    """Cells held in packed form, shuffled anew every epoch.

    Args:
        cells: Written canonically.
        device: Where to hold them and make batches.
    """

    def __init__(self, cells: CellArray, device: torch.device | str = "cpu") -> None:
        self.graphs, self.device = PackedGraphs(cells, device), device

    def __len__(self) -> int:
        return len(self.graphs)

    def batches(self, epoch: int, first: int, config: PretrainConfig) -> Iterator[GraphBatch]:
        use = f"order/{epoch}" if config.training.reshuffle else "order"
        order = torch.randperm(len(self), generator=torch_stream(config.seed, use)).to(self.device)
        for rows in order.split(config.training.batch_size)[first:]:
            if len(rows) > 1:  # batch norm cannot do with a single cell
                yield self.graphs.batch(rows)


class StreamedCells:
    """Cells drawn from a space as they are needed; memory does not grow with their number.

    Args:
        space: One with a sampler.
        count: Cells in an epoch; every epoch draws the same.
        seed: Fixes them.
        device: Where to make batches.
    """

    def __init__(
        self, space: Space, count: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.space, self.count, self.seed, self.device = space, count, seed, device

    def __len__(self) -> int:
        return self.count

    def batches(self, epoch: int, first: int, config: PretrainConfig) -> Iterator[GraphBatch]:
        size = config.training.batch_size
        pending: list[CellArray] = []
        drawn = 0
        for cells in self.space.stream(self.count, self.seed):
            drawn += len(cells)
            joined = CellArray.concatenate([*pending, cells])
            graphs = PackedGraphs(joined, self.device)
            whole = len(joined) if drawn == self.count else len(joined) // size * size
            for rows in torch.arange(whole, device=self.device).split(size):
                if first > 0:
                    first -= 1
                elif len(rows) > 1:
                    yield graphs.batch(rows)
            pending = [joined[whole:]]


def train(
    model: Autoencoder,
    source: CellSource,
    config: PretrainConfig,
    *,
    checkpoint: Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, means: None,
) -> dict[str, Any]:
    """Train `model` in place.

    Args:
        model: On the device to train on.
        source: Training cells.
        config: Optimisation and seed; batch order and noise have streams of their own.
        checkpoint: File that holds the state, written at intervals and read first if it exists.
        report: Called some times a second.
        on_epoch: Called after every epoch with its mean losses; after a resume also for the epochs
            of before.

    Returns:
        `train_seconds`, `train_cpu_seconds` (of all threads) and `graphs_per_second`, of the whole
        run including what came before a resume; `resumed_after_seconds` of it, and the `precision`
        that was used.

    Raises:
        DivergedError: The loss is not finite.
        RunError: The checkpoint cannot be read or belongs to another configuration.
    """
    training = config.training
    device = next(model.parameters()).device
    full, rest = divmod(len(source), training.batch_size)
    steps_per_epoch = full + (rest > 1)
    steps = training.epochs * steps_per_epoch
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=training.learning_rate,
        betas=(0.9, training.beta2),
        weight_decay=training.weight_decay,
        fused=True,
    )
    noise = torch_stream(config.seed, "noise", str(device))
    state = _State()
    if checkpoint is not None and checkpoint.exists():
        state = _load_checkpoint(checkpoint, config, model, optimizer, noise)
        if state.batches and state.step % steps_per_epoch == 0:
            state.end_epoch()  # saved after the last step of an epoch, before it was closed
        for epoch, means in enumerate(state.epochs):
            on_epoch(epoch, means)
    dtype = autocast_dtype(training.precision, device)
    parameters = list(model.parameters())
    last_report = last_saved = started = time.perf_counter()
    started_cpu = time.process_time()
    wall_before, cpu_before, step_before = state.seconds, state.cpu_seconds, state.step

    while state.step < steps:
        epoch, first = divmod(state.step, steps_per_epoch)
        model.train(not (training.frozen_after_first_epoch and epoch > 0))
        for batch in source.batches(epoch, first, config):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(state.step, steps, training)
            weight = kl_weight_at(state.step, steps, training)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                terms = model.loss(batch, noise, training.prior_mix)
            loss = terms.reconstruction + weight * terms.kl
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, training.gradient_clip)
            optimizer.step()
            # Sums stay on the device: reading one would wait for the GPU at every step.
            state.add(
                torch.stack([loss.detach(), terms.reconstruction.detach(), terms.kl.detach()])
            )
            now = time.perf_counter()
            save = checkpoint is not None and now - last_saved > CHECKPOINT_SECONDS
            if save or now - last_report > 0.25 or state.step == steps:
                last_report = now
                state.seconds = wall_before + now - started
                state.cpu_seconds = cpu_before + time.process_time() - started_cpu
                means = state.means()
                if not math.isfinite(means["loss"]):
                    raise DivergedError(
                        f"The loss is {means['loss']} at step {state.step} of {steps}. Lower "
                        f"`learning_rate` (now {training.learning_rate:g})."
                    )
                done = (state.step - step_before) * training.batch_size
                rate = done / max(now - started, 1e-9)
                report(
                    Progress(
                        epoch=epoch + 1,
                        epochs=training.epochs,
                        step=state.step,
                        steps=steps,
                        learning_rate=optimizer.param_groups[0]["lr"],
                        graphs_per_second=rate,
                        seconds_left=(steps - state.step) * training.batch_size / rate,
                        **means,
                    )
                )
            if checkpoint is not None and save:
                last_saved = now
                _save_checkpoint(checkpoint, config, model, optimizer, noise, state)
        state.end_epoch()
        on_epoch(epoch, state.epochs[-1])
    if checkpoint is not None and state.step > step_before:
        _save_checkpoint(checkpoint, config, model, optimizer, noise, state)
    model.eval()
    trained = training.epochs * len(source)
    return {
        "train_seconds": state.seconds,
        "train_cpu_seconds": state.cpu_seconds,
        "graphs_per_second": trained / max(state.seconds, 1e-9),
        "graphs_per_cpu_second": trained / max(state.cpu_seconds, 1e-9),
        "resumed_after_seconds": wall_before,
        "precision": "float32" if dtype is None else str(dtype).removeprefix("torch."),
    }


@dataclass
class _State:
    """Where training stands, besides weights, optimiser and noise."""

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    batches: int = 0
    sums: torch.Tensor = dataclasses.field(default_factory=lambda: torch.zeros(3))
    epochs: list[dict[str, float]] = dataclasses.field(default_factory=list)

    def add(self, terms: torch.Tensor) -> None:
        self.sums = self.sums.to(terms.device) + terms
        self.step += 1
        self.batches += 1

    def means(self) -> dict[str, float]:
        values = (self.sums / max(self.batches, 1)).tolist()
        return dict(zip(("loss", "reconstruction", "kl"), values, strict=True))

    def end_epoch(self) -> None:
        self.epochs.append(self.means())
        self.sums, self.batches = torch.zeros(3), 0


def _save_checkpoint(
    path: Path,
    config: PretrainConfig,
    model: Autoencoder,
    optimizer: torch.optim.Optimizer,
    noise: torch.Generator,
    state: _State,
) -> None:
    content = {
        "config": config.to_dict(),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "noise": noise.get_state(),
        "state": dataclasses.asdict(state),
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def _load_checkpoint(
    path: Path,
    config: PretrainConfig,
    model: Autoencoder,
    optimizer: torch.optim.Optimizer,
    noise: torch.Generator,
) -> _State:
    try:
        device = next(model.parameters()).device
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        stored, state = content["config"], _State(**content["state"])
        if stored == config.to_dict():
            model.load_state_dict(content["model"])
            optimizer.load_state_dict(content["optimizer"])
            noise.set_state(content["noise"].cpu())
    except Exception as error:  # torch raises many kinds on damaged files
        raise RunError(
            f"Expected a checkpoint in {path}, and it cannot be read ({_first_line(error)}). "
            "Delete that file to train this run from the start, or pass another `--out`."
        ) from None
    if stored != config.to_dict():
        raise RunError(
            f"The checkpoint in {path} belongs to another configuration. Resume with the options "
            "of the first command, or pass another `--out`."
        )
    return state


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]

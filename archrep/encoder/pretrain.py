"""One pre-training run from configuration to run directory.

    cells -> split -> model -> train -> embed -> measure -> map -> summary.json

A run directory holds `config.json`, `metrics.jsonl`, `checkpoint.pt` (until the run is finished),
`weights.safetensors`, `embeddings.safetensors`, `map.npz`, `map.png` and, last of all,
`summary.json`, whose presence means that the run is finished.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file as save_tensors

from archrep.cells.array import CellArray
from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.devices import environment, resolve_device
from archrep.embeddings import EmbeddingTable, TrainedEncoder
from archrep.encoder.config import PretrainConfig, preset_config
from archrep.encoder.metrics import evaluate
from archrep.encoder.models import build_model
from archrep.encoder.train import ListedCells, Progress, split_rows, train
from archrep.errors import ConfigError, RunError
from archrep.files import locked_folder, read_json, write_atomically, write_json
from archrep.memory import peak_memory_bytes
from archrep.seeding import derive_seed

MAP_POINTS = 5_000
"""Cells on the map that a run draws."""


def pretrain(
    space: str | Space | PretrainConfig,
    *,
    out: str | Path,
    preset: str = "archrep",
    seed: int = 0,
    epochs: int | None = None,
    cells: int | None = None,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    draw_map: bool = True,
    report: Callable[[str, Progress | None], None] = lambda stage, progress: None,
) -> dict[str, Any]:
    """Pre-train an encoder on a search space and write its run directory.

    Args:
        space: Name of a registered space, or a complete configuration (the next four arguments are
            then ignored).
        out: Run directory, made if it does not exist.
        preset: Named settings; see `archrep.encoder.config.PRESETS`.
        seed: Fixes everything random.
        epochs: In place of the preset's.
        cells: Cells to draw; `None` for all of an enumerated space, or its default sample.
        device: `"cpu"`, `"cuda"`, or `"auto"` for a GPU if there is one.
        resume: Go on from the checkpoint in `out`; a finished run is returned as it is.
        force: Delete what a run left in `out` and start anew.
        draw_map: Write `map.png`; the slowest step on a small space.
        report: Called with the stage's name and, during training, with its progress.

    Returns:
        The content of `summary.json`.

    Raises:
        RunError: `out` holds another run, or a finished one and neither `resume` nor `force`.
        ConfigError: A setting is impossible, or `resume` and `force` are given together.
        UnknownNameError: No such space or preset.
    """
    if isinstance(space, PretrainConfig):
        config = space
    else:
        config = preset_config(preset, space, seed=seed, cells=cells)
        if epochs is not None:
            config = replace(config, training=replace(config.training, epochs=epochs))
    if resume and force:
        raise ConfigError("`resume` goes on with a run and `force` deletes it. Pass one of them.")
    target = resolve_device(device)
    folder = Path(out)
    with locked_folder(folder):
        finished = _prepare(folder, config, resume=resume, force=force)
        return finished or _run(folder, config, target, draw_map, report)


def load_cells(config: PretrainConfig) -> CellArray:
    """The cells of a run in the order of its embeddings, each written canonically."""
    space = get_space(config.space)
    if space.size is not None and config.cells is None:
        return space.enumerate()
    count = config.cells or space.default_sample
    return CellArray.concatenate(list(space.stream(count, derive_seed(config.seed, "cells"))))


def _run(
    folder: Path,
    config: PretrainConfig,
    device: torch.device,
    draw_map: bool,
    report: Callable[[str, Progress | None], None],
) -> dict[str, Any]:
    started = time.perf_counter()
    space = get_space(config.space)
    report("cells", None)
    cells = load_cells(config)
    train_rows, held_rows = split_rows(len(cells), config.holdout, config.seed)
    model = build_model(config.model, space, config.seed).to(device)
    metrics_file = folder / "metrics.jsonl"
    metrics_file.write_text("")

    def on_epoch(epoch: int, means: dict[str, float]) -> None:
        with metrics_file.open("a") as file:
            file.write(json.dumps({"epoch": epoch + 1, **means}) + "\n")

    first_step = time.perf_counter() - started
    report("training", None)
    checkpoint = folder / "checkpoint.pt"
    speed = train(
        model,
        ListedCells(cells[train_rows], device),
        config,
        checkpoint=checkpoint,
        report=lambda progress: report("training", progress),
        on_epoch=on_epoch,
    )
    weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    write_atomically(folder / "weights.safetensors", lambda path: save_tensors(weights, path))

    report("embedding", None)
    encoder = TrainedEncoder(model, config, space)
    embedding_cpu = time.process_time()
    embeddings = encoder.embed(cells)
    embedding_cpu = time.process_time() - embedding_cpu
    EmbeddingTable(embeddings, cells, config.space).save(
        folder / "embeddings.safetensors", {"preset": config.preset, "seed": str(config.seed)}
    )
    report("measuring", None)
    figures = evaluate(model, space, cells, train_rows, held_rows, embeddings, seed=config.seed)
    with metrics_file.open("a") as file:
        file.write(json.dumps({"final": True, **figures}) + "\n")
    if draw_map:
        report("map", None)
        _draw_map(folder, config, space, cells, embeddings)

    summary = {
        "space": config.space,
        "preset": config.preset,
        "seed": config.seed,
        "cells": len(cells),
        "held_out_cells": len(held_rows),
        "epochs": config.training.epochs,
        **figures,
        **speed,
        "setup_seconds": first_step,
        "embedding_cpu_seconds": embedding_cpu,
        "seconds": time.perf_counter() - started + speed["resumed_after_seconds"],
        "peak_memory_bytes": peak_memory_bytes(),
        "device": device.type,
        "parameters": sum(p.numel() for p in model.parameters()),
        "config": config.to_dict(),
        "environment": environment(device),
    }
    write_json(folder / "summary.json", summary)
    checkpoint.unlink(missing_ok=True)
    return summary


def _draw_map(
    folder: Path, config: PretrainConfig, space: Space, cells: CellArray, embeddings: np.ndarray
) -> None:
    from archrep.cell_columns import space_columns
    from archrep.latent_map import latent_map
    from archrep.plots.latent_map import map_figure
    from archrep.plots.style import house_style, save_figure

    points = latent_map(embeddings, max_points=MAP_POINTS, seed=config.seed)
    points.save(folder / "map.npz")
    columns = space_columns(space, cells[points.rows])
    title = f"{space.title}, preset {config.preset}, seed {config.seed}"
    with house_style():
        save_figure(map_figure(points, columns, title=title), folder / "map.png", dpi=150)


def _prepare(
    folder: Path, config: PretrainConfig, *, resume: bool, force: bool
) -> dict[str, Any] | None:
    """Make `folder` ready for this run; the summary of a finished one that is to be resumed."""
    config_file, summary_file = folder / "config.json", folder / "summary.json"
    parts = [folder / name for name in RUN_FILES]
    if force:
        for part in parts:
            part.unlink(missing_ok=True)
    if config_file.exists():
        stored = PretrainConfig.from_dict(read_json(config_file, "a run's configuration"))
        if stored != config:
            raise RunError(
                f"{folder} holds another run ({stored.preset} on {stored.space}, seed "
                f"{stored.seed}): {_differences(stored, config)}. Pass another `--out`, or "
                "`--force` to delete it."
            )
        if summary_file.exists():
            if resume:
                return dict(read_json(summary_file, "a run's summary"))
            raise RunError(
                f"{folder} holds this run, finished. Read its summary.json, pass another `--out`, "
                "or `--force` to train it again."
            )
        if not resume:
            raise RunError(
                f"{folder} holds this run, unfinished. Pass `--resume` to go on with it, or "
                "`--force` to start anew."
            )
    elif any(part.exists() for part in parts):
        raise RunError(
            f"{folder} holds files of a run but no config.json. Pass another `--out`, or `--force` "
            "to delete them."
        )
    write_json(config_file, config.to_dict())
    return None


RUN_FILES = (
    "summary.json",
    "config.json",
    "metrics.jsonl",
    "checkpoint.pt",
    "weights.safetensors",
    "embeddings.safetensors",
    "map.npz",
    "map.png",
)
"""Everything a run writes, the mark of a finished one first."""


def _differences(stored: PretrainConfig, given: PretrainConfig) -> str:
    def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, dict):
                found |= flat(value, f"{prefix}{name}.")
            else:
                found[prefix + name] = value
        return found

    old, new = flat(stored.to_dict()), flat(given.to_dict())
    changed = [name for name in old | new if old.get(name) != new.get(name)]
    words = [f"{name} {old.get(name)!r} there, {new.get(name)!r} asked" for name in changed[:3]]
    return "; ".join(words) + (f"; and {len(changed) - 3} more" if len(changed) > 3 else "")

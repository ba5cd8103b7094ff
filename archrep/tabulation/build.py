"""A run that trains every cell of a list and writes a tabular benchmark.

    cells -> chunks -> (worker processes) -> chunk files -> result.safetensors

A run directory holds `config.json`, `chunk-*.safetensors` for the chunks that are done and, last of
all, `result.safetensors`, whose presence means that the run is finished. A killed run goes on with
the chunks that are missing; the result is the same to the bit, whatever the number of workers.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archrep.cells.array import CellArray
from archrep.devices import environment, one_thread
from archrep.errors import CellError, ConfigError, RunError
from archrep.files import locked_folder, read_json, write_json
from archrep.settings import check
from archrep.tabulation.chunks import Job, train_chunk
from archrep.tabulation.config import TabulateConfig
from archrep.tabulation.cost import network_cost
from archrep.tabulation.images import TRAIN, ImageData
from archrep.tabulation.plan import check_trainable
from archrep.tabulation.result import RESULT_FILE, TabulateResult, load_arrays
from archrep.tabulation.workers import run_workers


@dataclass(frozen=True)
class TabulateProgress:
    """What a run reports after every few cells.

    Attributes:
        done: Cells with all their trainings, those of before a resume included.
        cells: Cells in all.
        trainings_per_second: Of all workers, since this process started.
        seconds_left: At that rate; infinite before the first cell.
    """

    done: int
    cells: int
    trainings_per_second: float
    seconds_left: float


def tabulate(
    config: TabulateConfig,
    cells: CellArray,
    images: ImageData,
    out: str | Path,
    *,
    resume: bool = False,
    workers: int | None = None,
    report: Callable[[TabulateProgress], None] = lambda progress: None,
) -> TabulateResult:
    """Train every cell `config.seeds` times and write the table to a run directory.

    Every worker computes with one thread. With more than one, operations of your own must be
    registered in a module that is imported, or in the script outside its `__main__` block.

    Args:
        config: How to train.
        cells: What to train; each with one input and one output, and operations of `OPERATIONS`.
        images: What to train on.
        out: Run directory, made if it does not exist.
        resume: Go on with the run in `out`; a finished one is returned as it is.
        workers: Processes; `None` for one a core.
        report: Called when the run starts and after every few cells.

    Raises:
        CellError: A cell cannot be trained.
        ConfigError: A setting is impossible with these images.
        RunError: `out` holds another run, or this one without `resume`; another process is
            writing it; or a worker ended before its time.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"`workers` must be at least 1. Got {workers}.")
    _check(config, cells, images)
    job = Job(config, cells, images, Path(out))
    with locked_folder(job.folder):
        if finished := _prepare(job, resume=resume):
            return finished
        todo = [number for number in range(job.chunks) if not job.chunk_file(number).exists()]
        clock = _Clock(job, todo, report)
        workers = min(workers or os.cpu_count() or 1, len(todo))
        if workers > 1:
            run_workers(job, todo, workers, clock.advance)
        else:
            with one_thread():
                for number in todo:
                    train_chunk(job, number, clock.advance)
        result = _collect(job)
        result.save(job.folder / RESULT_FILE)
        return result


def _check(config: TabulateConfig, cells: CellArray, images: ImageData) -> None:
    """Refuse what cannot be trained before anything is."""
    if not len(cells):
        raise CellError("There is no cell to train.")
    for number, cell in enumerate(cells):
        try:
            check_trainable(cell)
        except CellError as error:
            raise CellError(f"Cell {number}: {error}") from None
    train = int((images.split == TRAIN).sum())
    used, side = config.train_images or train, min(images.images.shape[1:3])
    checks = {
        f"`train_images` must be at most {train}, all there are. Got {used}.": used <= train,
        f"`batch_size` must be at most the {used} training images. Got {config.batch_size}.": (
            config.batch_size <= used
        ),
        f"`max_shift` must be less than the {side} pixels of an image. Got {config.max_shift}.": (
            config.max_shift < side
        ),
    }
    check(checks)


def _prepare(job: Job, *, resume: bool) -> TabulateResult | None:
    """Make the run directory ready; the result of a finished run that is to be resumed."""
    config_file, record = job.folder / "config.json", job.record()
    if config_file.exists():
        stored = read_json(config_file, "a run's configuration")
        if different := _differences(stored, record):
            raise RunError(f"{job.folder} holds another run: {different}. Pass another `--out`.")
        finished = (job.folder / RESULT_FILE).exists()
        if not resume:
            state = "finished" if finished else "unfinished"
            raise RunError(
                f"{job.folder} holds this run, {state}. Pass `--resume` to "
                + ("read it" if finished else "go on with it")
                + ", or another `--out`."
            )
        return TabulateResult.load(job.folder) if finished else None
    if any(job.folder.glob("chunk-*")) or (job.folder / RESULT_FILE).exists():
        raise RunError(
            f"{job.folder} holds files of a run but no config.json. Pass another `--out`."
        )
    write_json(config_file, record)
    return None


def _differences(stored: Any, record: dict[str, Any]) -> str:
    """The first settings that differ, in words; empty if none does."""
    found = []
    for part, values in record.items():
        there = stored.get(part, {}) if isinstance(stored, dict) else {}
        found += [
            f"{part} `{name}` {there.get(name)!r} there, {value!r} asked"
            for name, value in values.items()
            if there.get(name) != value
        ]
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def _collect(job: Job) -> TabulateResult:
    """The result of a run all of whose chunks are done."""
    chunks = [load_arrays(job.chunk_file(number))[0] for number in range(job.chunks)]
    arrays = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    costs = [network_cost(cell.ops, job.skeleton, *job.image_size) for cell in job.cells]
    parts = zip(("train", "valid", "test"), job.batches.parts, strict=True)
    return TabulateResult(
        cells=job.cells,
        **arrays,
        params=np.array([cost.params for cost in costs], np.int64),
        macs=np.array([cost.macs for cost in costs], np.int64),
        info={
            **job.record(),
            "image_counts": {name: len(labels) for name, (_, labels) in parts},
            "cpu_seconds": float(arrays["train_seconds"].sum(dtype=np.float64)),
            "environment": environment(torch.device("cpu")) | {"threads": 1},
        },
    )


class _Clock:
    """Counts finished cells and reports rate and time left."""

    def __init__(
        self, job: Job, todo: Sequence[int], report: Callable[[TabulateProgress], None]
    ) -> None:
        self.seeds, self.cells, self.report = job.config.seeds, len(job.cells), report
        self.before = self.cells - sum(len(job.chunk(number)) for number in todo)
        self.new, self.started = 0, time.perf_counter()
        self.advance(0)

    def advance(self, cells: int) -> None:
        self.new += cells
        rate = self.new / max(time.perf_counter() - self.started, 1e-9)
        left = self.cells - self.before - self.new
        self.report(
            TabulateProgress(
                done=self.before + self.new,
                cells=self.cells,
                trainings_per_second=rate * self.seeds,
                seconds_left=left / rate if rate else (math.inf if left else 0.0),
            )
        )

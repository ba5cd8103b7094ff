"""A run in pieces: the cells of one file, trained a few at a time."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from archrep.cells.array import CellArray
from archrep.cells.cell import Cell
from archrep.tabulation.config import TabulateConfig
from archrep.tabulation.cost import network_cost
from archrep.tabulation.images import Batches, ImageData
from archrep.tabulation.network import Skeleton
from archrep.tabulation.plan import plan_cell
from archrep.tabulation.result import save_arrays
from archrep.tabulation.training import train_cells

NETWORKS_AT_ONCE = 24
"""Networks in one batch: enough that torch's overhead is small, few enough for the cache."""


@dataclass(frozen=True)
class Job:
    """Everything that a worker has to know."""

    config: TabulateConfig
    cells: CellArray
    images: ImageData
    folder: Path

    @property
    def chunks(self) -> int:
        return math.ceil(len(self.cells) / self.config.chunk_cells)

    def chunk(self, number: int) -> CellArray:
        size = self.config.chunk_cells
        return self.cells[number * size : (number + 1) * size]

    def chunk_file(self, number: int) -> Path:
        return self.folder / f"chunk-{number:05d}.safetensors"

    @property
    def skeleton(self) -> Skeleton:
        return Skeleton(
            self.config.channels,
            self.config.cells_per_stage,
            self.images.classes,
            self.images.images.shape[-1],
        )

    @property
    def image_size(self) -> tuple[int, int]:
        return self.images.images.shape[1], self.images.images.shape[2]

    @cached_property
    def batches(self) -> Batches:
        return Batches(self.images, self.config)

    def record(self) -> dict[str, Any]:
        """What must be equal for a run to go on."""
        cells = hashlib.sha256(repr(self.cells.vocabulary).encode())
        for array in (self.cells.ops, self.cells.adjacency_bits):
            cells.update(np.ascontiguousarray(array).tobytes())
        return {
            "config": self.config.to_dict(),
            "images": {"name": self.images.name, "sha256": self.images.digest},
            "cells": {"count": len(self.cells), "sha256": cells.hexdigest()},
        }


def train_chunk(job: Job, number: int, advance: Callable[[int], None]) -> None:
    """Train the cells of a chunk, a few at a time, and write its file."""
    cells = list(job.chunk(number))
    size = max(1, NETWORKS_AT_ONCE // job.config.seeds)
    parts = []
    for start in range(0, len(cells), size):
        some = cells[start : start + size]
        started = time.process_time()
        curves = train_cells(some, job.skeleton, job.config, job.batches)
        seconds = time.process_time() - started
        work = np.array([_computed(job, cell) for cell in some])
        share = np.broadcast_to(seconds * work[:, None] / work.sum(), curves.diverged.shape)
        parts.append(vars(curves) | {"train_seconds": (share / job.config.seeds).astype("f4")})
        advance(len(some))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    save_arrays(job.chunk_file(number), arrays, {})


def _computed(job: Job, cell: Cell) -> int:
    """Multiply-adds of the nodes that matter."""
    ops = [node.op for node in plan_cell(cell).nodes]
    return network_cost(ops, job.skeleton, *job.image_size).macs

"""One-shot scores: how well architectures do with the weights that they inherit from a supernet.

Guo et al. (2020), section 3.4, score by validation accuracy; MAE-NAS, section 4.10, by how well
hidden pixels are restored. Nothing is trained: every architecture sees the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from archrep.objectives.base import Objective
from archrep.searchers.base import Lane
from archrep.seeding import torch_stream
from archrep.supernets.base import Supernet
from archrep.supernets.norms import BatchStatistics, CollectedStatistics

LARGEST_BATCH = 256
"""Images that are looked at together."""

Batch = tuple[Tensor, list[Any]]
"""Inputs `[B, S, c, H, W]` and the targets of each seed."""


class OneShotScores(NamedTuple):
    """Of M architectures and S seeds, `[S, M]` each.

    Attributes:
        score: What the objective calls its score, the higher the better.
        loss: Its loss.
    """

    score: np.ndarray
    loss: np.ndarray


class OneShot:
    """Judges architectures by inherited weights.

    Args:
        supernet: As it is trained now.
        heads: One a seed.
        objective: What is judged.
        shown: Images of each seed that architectures are judged on.
        count: How many of them, from the first on.
        statistics: Images of each seed that batch norms take their statistics from first; without
            them from the images themselves.
        statistics_count: How many of those; 0 for none.
    """

    def __init__(
        self,
        supernet: Supernet,
        heads: nn.ModuleList,
        objective: Objective,
        shown: Sequence[Lane],
        count: int,
        statistics: Sequence[Lane] = (),
        statistics_count: int = 0,
    ) -> None:
        self.supernet, self.heads, self.objective = supernet, heads, objective
        self._shown = list(batches_of(objective, shown, count, "shown"))
        self._statistics = list(batches_of(objective, statistics, statistics_count, "statistics"))

    def __call__(
        self, choices: np.ndarray, report: Callable[[int, int], None] = lambda done, of: None
    ) -> OneShotScores:
        """Scores of architectures, operations of each place `[M, P]`.

        What lies on no live path has no effect; architectures that differ only there are judged
        once.

        Args:
            choices: The architectures.
            report: Called now and then with how many of how many are judged.
        """
        unlike, place = distinct(self.supernet, choices)
        found = np.empty((2, len(self.heads), len(unlike)))
        with torch.no_grad():
            for m, path in enumerate(unlike):
                found[:, :, m] = self._judge(path)
                if m % 50 == 0:
                    report(m, len(unlike))
        score, loss = found[:, :, place]
        return OneShotScores(score, loss)

    def _judge(self, path: np.ndarray) -> np.ndarray:
        """Score and loss of one architecture, `[2, S]`."""
        norm = BatchStatistics()
        if self._statistics:
            norm = CollectedStatistics()
            for inputs, _ in self._statistics:
                self.supernet(inputs, path, norm=norm)
            norm.collecting = False
        total, images = np.zeros((2, len(self.heads))), 0
        for inputs, targets in self._shown:
            maps = self.supernet(inputs, path, norm=norm)
            size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
            for s, (head, target) in enumerate(zip(self.heads, targets, strict=True)):
                outputs = head([m[:, s] for m in maps], size)
                total[0, s] += len(inputs) * float(self.objective.score(outputs, target))
                total[1, s] += len(inputs) * float(self.objective.loss(outputs, target))
            images += len(inputs)
        return total / images


def distinct(supernet: Supernet, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Architectures without those that differ on no live path `[N, P]`, and each one's row `[M]`.

    What lies on no live path is `none` in them.
    """
    own = choices
    if "none" in supernet.operations:
        counts, _ = supernet.live(choices)
        own = np.where(counts > 0, choices, supernet.operations.index("none"))
    unlike, place = np.unique(own, axis=0, return_inverse=True)
    return unlike, place.reshape(-1)


def batches_of(
    objective: Objective, lanes: Sequence[Lane], count: int, use: str
) -> Iterator[Batch]:
    """Prepared batches of the first images of each seed; what is drawn is the same each time."""
    if not count:
        return
    devices = [lane.images.images.device for lane in lanes]
    draws = [
        torch_stream(lane.seed, f"supernet/one-shot/{use}", device.type)
        for lane, device in zip(lanes, devices, strict=True)
    ]
    for at in range(0, count, LARGEST_BATCH):
        inputs, targets = [], []
        for lane, generator, device in zip(lanes, draws, devices, strict=True):
            rows = torch.arange(at, min(at + LARGEST_BATCH, count), device=device)
            pixels = lane.images.pixels(rows)
            own, wanted = objective.prepare(
                pixels, lane.images.targets[rows], lane.images, generator, False
            )
            inputs.append(own)
            targets.append(wanted)
        yield torch.stack(inputs, 1), targets

"""How far the weights of a path turned in training: the score of RLNAS, exact for every cell.

The angle of a cell a is::

    angle(a) = arccos( <V_0(a), V_t(a)> / (|V_0(a)| |V_t(a)|) )

V(a) holds the weights on every path from a cell's input to its output, for every cell, and those of
the trunk (Zhang et al., 2021, "Neural Architecture Search with Random Labels", and its released
code). It is a sum: three numbers for each edge and operation give the angle of all cells at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from archrep.cells.nasbench201 import OFFICIAL_EDGES, OPERATIONS
from archrep.supernets.nasbench201 import NONE, POOL, NasBench201Supernet

PATHS = ((3,), (1, 5), (0, 4), (0, 2, 5))
"""Edges of the four ways from the input of a NAS-Bench-201 cell to its output."""


class Turn(NamedTuple):
    """What an angle is made of, for one group of weights or for many: arrays of one shape."""

    dot: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def angle(self) -> np.ndarray:
        """Radians, 0 where there are no weights."""
        norms = np.sqrt(self.before * self.after)
        cosine = np.divide(self.dot, norms, out=np.ones_like(self.dot), where=norms > 0)
        return np.arccos(cosine.clip(-1, 1))

    def __add__(self, other: object) -> Turn:
        assert isinstance(other, Turn)
        return Turn(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class AngleRules:
    """What counts as a weight of a path; the defaults are those of the release for this space.

    Attributes:
        pool: The constant weights of average pooling.
        identity: An identity matrix for `skip_connect`, as the release counts in other spaces.
        trunk: What every path has.
        multiplicity: An edge counts once for each path that it lies on.
    """

    pool: bool = True
    identity: bool = False
    trunk: bool = True
    multiplicity: bool = True


RELEASE = AngleRules()


class Snapshot:
    """Weights of a supernet and its heads at one time, to measure what turned since.

    Args:
        supernet: The supernet.
        heads: One a seed; they are part of the trunk.
    """

    def __init__(self, supernet: NasBench201Supernet, heads: nn.ModuleList) -> None:
        self._candidates = [w.detach().clone() for _, w in supernet.candidate_weights()]
        self._trunk = [w.detach().clone() for w in supernet.trunk_weights()]
        self._heads = [[w.detach().clone() for w in head.parameters()] for head in heads]

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, for a checkpoint."""
        named = {f"candidates.{n}": w for n, w in enumerate(self._candidates)}
        named |= {f"trunk.{n}": w for n, w in enumerate(self._trunk)}
        for s, head in enumerate(self._heads):
            named |= {f"heads.{s}.{n}": w for n, w in enumerate(head)}
        return named

    def load(self, named: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        for name, own in self.tensors().items():
            own.copy_(named[name])

    def candidate_turns(self, supernet: NasBench201Supernet) -> Turn:
        """Of each operation on each edge, all cells together, `[S, 6, 5]`; zero without weights."""
        shape = (len(supernet.seeds), len(OFFICIAL_EDGES), len(OPERATIONS))
        total = Turn(*(np.zeros(shape) for _ in range(3)))
        weights = supernet.candidate_weights()
        for (op, now), then in zip(weights, self._candidates, strict=True):
            for sums, found in zip(total, _turn(then, now, keep=(0, 2)), strict=True):
                sums[:, :, op] += found
        return total

    def trunk_turns(self, supernet: NasBench201Supernet, heads: nn.ModuleList) -> Turn:
        """Of what every path has, `[S]`."""
        total = Turn(*(np.zeros(len(supernet.seeds)) for _ in range(3)))
        for now, then in zip(supernet.trunk_weights(), self._trunk, strict=True):
            total += Turn(*_turn(then, now, keep=(0,)))
        for s, (head, before) in enumerate(zip(heads, self._heads, strict=True)):
            for now, then in zip(head.parameters(), before, strict=True):
                for sums, found in zip(total, _turn(then[None], now[None], keep=(0,)), strict=True):
                    sums[s] += found[0]
        return total


def cell_angles(
    snapshot: Snapshot,
    supernet: NasBench201Supernet,
    heads: nn.ModuleList,
    choices: np.ndarray,
    rules: AngleRules = RELEASE,
) -> np.ndarray:
    """Angles in radians of cells `[M, 6]` that stand at every place, `[S, M]`.

    A cell without a live path has the angle 0.
    """
    turns = snapshot.candidate_turns(supernet)
    constant = np.zeros((len(OFFICIAL_EDGES), len(OPERATIONS)))
    for stage in supernet.stages:
        if rules.pool:  # C x 3 x 3 constants of 1/9
            constant[:, POOL] += supernet.per_stage * stage.channels / 9
        if rules.identity:
            constant[:, OPERATIONS.index("skip_connect")] += supernet.per_stage * stage.channels
    turns = Turn(*(part + constant for part in turns))
    counts, alive = live_edges(choices)
    if not rules.multiplicity:
        counts = np.minimum(counts, 1)
    one_hot = np.eye(len(OPERATIONS))[choices] * counts[:, :, None]  # [M, 6, 5]
    flat = one_hot.reshape(len(choices), -1).T
    sums = Turn(*(part.reshape(len(part), -1) @ flat for part in turns))
    if rules.trunk:
        trunk = snapshot.trunk_turns(supernet, heads)
        sums += Turn(*(part[:, None] for part in trunk))
    return np.where(alive, sums.angle(), 0.0)


def live_edges(choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Live paths through each edge of cells `[M, 6]`, `[M, 6]`; and whether there is any, `[M]`.

    A path is dead if one of its edges is `none`.
    """
    counts = np.zeros(choices.shape, np.int64)
    for path in PATHS:
        lives = (choices[:, path] != NONE).all(1)
        counts[:, path] += lives[:, None]
    return counts, np.asarray(counts.sum(1) > 0)


def _turn(then: Tensor, now: Tensor, keep: tuple[int, ...]) -> list[np.ndarray]:
    """Products of two weights, and squares of both, summed over all but some axes, in float64."""
    over = [axis for axis in range(then.ndim) if axis not in keep]
    with torch.no_grad():
        a, b = then.double(), now.double()
        parts = (a * b, a * a, b * b)
        return [(p.sum(over) if over else p).cpu().numpy() for p in parts]

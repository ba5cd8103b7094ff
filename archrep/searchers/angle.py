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

from archrep.supernets.base import Supernet


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
    """What counts as a weight of a path.

    Attributes:
        pool: The constant weights of average pooling.
        identity: An identity matrix for each skip connection.
        trunk: What every path has.
        head_bias: Biases of the head, beside its weights, as part of the trunk.
        multiplicity: An edge counts once for each path that it lies on.
    """

    pool: bool = True
    identity: bool = False
    trunk: bool = True
    head_bias: bool = True
    multiplicity: bool = True


RELEASE = {
    "nasbench201": AngleRules(),
    "darts": AngleRules(identity=True, head_bias=False),
    "mobilenet": AngleRules(identity=True, head_bias=False),
}
"""Rules of the released code of RLNAS, by search space."""


class Snapshot:
    """Weights of a supernet and its heads at one time, to measure what turned since.

    Args:
        supernet: The supernet.
        heads: One a seed; they are part of the trunk.
    """

    def __init__(self, supernet: Supernet, heads: nn.ModuleList) -> None:
        self._candidates = [c.weights.detach().clone() for c in supernet.angle_candidates()]
        self._trunk = [w.detach().clone() for w in supernet.angle_trunk()]
        self._heads = [[w.detach().clone() for w in head.parameters()] for head in heads]

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name."""
        named = {f"candidates.{n}": w for n, w in enumerate(self._candidates)}
        named |= {f"trunk.{n}": w for n, w in enumerate(self._trunk)}
        for s, head in enumerate(self._heads):
            named |= {f"heads.{s}.{n}": w for n, w in enumerate(head)}
        return named

    def candidate_turns(self, supernet: Supernet) -> Turn:
        """Of each operation at each place, all cells together, `[S, P, O]`; 0 without weights."""
        shape = (len(supernet.seeds), *supernet.allowed.shape)
        total = Turn(*(np.zeros(shape) for _ in range(3)))
        for candidate, then in zip(supernet.angle_candidates(), self._candidates, strict=True):
            op, places, now, axis = candidate
            for sums, found in zip(total, _turn(then, now, keep=(0, axis)), strict=True):
                sums[:, list(places), op] += found
        return total

    def trunk_turns(
        self, supernet: Supernet, heads: nn.ModuleList, *, head_bias: bool = True
    ) -> Turn:
        """Of what every path has, `[S]`."""
        total = Turn(*(np.zeros(len(supernet.seeds)) for _ in range(3)))
        for now, then in zip(supernet.angle_trunk(), self._trunk, strict=True):
            total += Turn(*_turn(then, now, keep=(0,)))
        for s, (head, before) in enumerate(zip(heads, self._heads, strict=True)):
            for now, then in zip(head.parameters(), before, strict=True):
                if now.ndim < 2 and not head_bias:
                    continue
                for sums, found in zip(total, _turn(then[None], now[None], keep=(0,)), strict=True):
                    sums[s] += found[0]
        return total


def cell_angles(
    snapshot: Snapshot,
    supernet: Supernet,
    heads: nn.ModuleList,
    choices: np.ndarray,
    rules: AngleRules | None = None,
) -> np.ndarray:
    """Angles in radians of architectures, operations of each place `[M, P]`, `[S, M]`.

    One without a live path has the angle 0.
    """
    return Angles(snapshot, supernet, heads, rules)(choices)


class Angles:
    """Angles of any architecture of a supernet, from sums that are made once.

    Args:
        snapshot: Weights at the start.
        supernet: Weights now.
        heads: Likewise; part of the trunk.
        rules: What counts; by default as in the release.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        supernet: Supernet,
        heads: nn.ModuleList,
        rules: AngleRules | None = None,
    ) -> None:
        rules = RELEASE[supernet.space] if rules is None else rules
        self.supernet, self.rules = supernet, rules
        constants = supernet.constants()
        constant = rules.pool * constants["pool"] + rules.identity * constants["identity"]
        self._turns = Turn(*(part + constant for part in snapshot.candidate_turns(supernet)))
        self._trunk = snapshot.trunk_turns(supernet, heads, head_bias=rules.head_bias)

    def __call__(self, choices: np.ndarray) -> np.ndarray:
        """`[S, M]` of `[M, P]`; see `cell_angles`."""
        counts, alive = self.supernet.live(choices)
        if not self.rules.multiplicity:
            counts = np.minimum(counts, 1)
        one_hot = np.eye(self.supernet.allowed.shape[1])[choices] * counts[:, :, None]  # [M, P, O]
        flat = one_hot.reshape(len(choices), -1).T
        sums = Turn(*(part.reshape(len(part), -1) @ flat for part in self._turns))
        if self.rules.trunk:
            sums += Turn(*(part[:, None] for part in self._trunk))
        return np.where(alive, sums.angle(), 0.0)


def _turn(then: Tensor, now: Tensor, keep: tuple[int, ...]) -> list[np.ndarray]:
    """Products of two weights, and squares of both, summed over all but some axes, in float64."""
    over = [axis for axis in range(then.ndim) if axis not in keep]
    with torch.no_grad():
        a, b = then.double(), now.double()
        parts = (a * b, a * a, b * b)
        return [(p.sum(over) if over else p).cpu().numpy() for p in parts]

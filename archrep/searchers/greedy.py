"""SGAS (Li et al., 2020), "Sequential Greedy Architecture Search": one edge after another is fixed.

Every few epochs the edge about which the architecture weights are surest takes its strongest
operation for good; a block that has two such edges loses the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from archrep.errors import ConfigError
from archrep.searchers.base import Figures
from archrep.searchers.gradient import Darts, DartsSettings
from archrep.settings import check
from archrep.supernets.base import Mixture


@dataclass(frozen=True, kw_only=True)
class SgasSettings(DartsSettings):
    """Settings of SGAS."""

    criterion: Literal[1, 2] = 1
    """How sure an edge is: 1 looks at importance and certainty, 2 at stability as well."""
    first_decision: int = 9
    """Epoch, counted from 0, after which the first edge is fixed."""
    decision_every: int = 5
    """Epochs between decisions; the authors find 7 more stable."""
    history: int = 4
    """Epochs before that stability looks at."""
    batch_growth: int = 8
    """Images that each decision adds to a batch, since it frees memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("first_decision", "batch_growth")
        check(
            {
                f"`{name}` must be at least 0. Got {getattr(self, name)}.": getattr(self, name) >= 0
                for name in names
            }
            | {
                f"`{name}` must be at least 1. Got {getattr(self, name)}.": getattr(self, name) >= 1
                for name in ("decision_every", "history")
            }
        )


class Sgas(Darts):
    """DARTS of first order with decisions on the way.

    Attributes:
        fixed: Operation of each edge that is decided, `[S, P]`; -1 elsewhere.
        pruned: Edges that a decision left out, `[S, P]`.
    """

    name = "sgas"
    title = "SGAS (Li et al., 2020): edges are fixed one after another, criterion 1 or 2"
    Settings = SgasSettings

    def start_alphas(self) -> None:
        super().start_alphas()
        if self.settings.first_decision >= self.config.epochs:
            raise ConfigError(
                f"`epochs` must be more than `first_decision`, {self.settings.first_decision}, or "
                f"no edge is ever fixed. Got {self.config.epochs}."
            )
        shape = (len(self.config.seeds), len(self.supernet.edges))
        self.fixed, self.pruned = np.full(shape, -1), np.zeros(shape, bool)
        self.past: list[np.ndarray] = []
        edges = self.supernet.edges
        self.kinds = {
            kind: [n for n, edge in enumerate(edges) if edge.cell == kind]
            for kind in dict.fromkeys(edge.cell for edge in edges)
        }

    def alpha_step(
        self, train: tuple[Tensor, Sequence[Any]], valid: tuple[Tensor, Sequence[Any]]
    ) -> None:
        before = self.alphas.detach().clone()
        super().alpha_step(train, valid)
        settled = torch.from_numpy((self.fixed >= 0) | self.pruned).to(self.device)
        with torch.no_grad():  # Adam's decay and momentum would move them on
            self.alphas[settled] = before[settled]

    def active(self) -> np.ndarray:
        """What is open, and the operation of each edge that is decided, `[S, P, O]`."""
        ops = np.arange(len(self.supernet.operations))
        decided = self.fixed[:, :, None] == ops
        is_open = (self.fixed < 0) & ~self.pruned
        return np.where(is_open[:, :, None], self.supernet.allowed, decided)

    def mixture(self, epoch: int) -> Mixture:
        # A pruned edge has nothing active; softmax over nothing would be no number.
        active = self.active()
        empty = np.asarray(~active.any(2))
        shown = active | empty[:, :, None]
        hidden = torch.from_numpy(~shown).to(self.device)
        weights = self.alphas.masked_fill(hidden, -torch.inf).softmax(2)
        return Mixture(weights, active=active)

    def strengths(self) -> np.ndarray:
        weights = self.mixture(0).weights.detach().double().cpu().numpy()
        weights[self.pruned] = 0.0
        # What is decided stands before what is not, however sure that may be.
        return np.asarray(weights + (self.fixed >= 0)[:, :, None] * self.active())

    def end_epoch(self, epoch: int) -> None:
        named = self._named()
        settings = self.settings
        due = epoch - settings.first_decision
        if due >= 0 and due % settings.decision_every == 0:
            certainties = self._sureness(named)
            decided = [self._decide(s, certainties[s]) for s in range(len(self.fixed))]
            if any(decided):
                smallest = min(len(lane.images) for lanes in self.lanes.values() for lane in lanes)
                self.batch_size = min(self.batch_size + settings.batch_growth, smallest)
        self.past = [*self.past, named][-settings.history :]
        super().end_epoch(epoch)

    def _named(self) -> np.ndarray:
        """Softmax weights without `none` made to add up to one, with their share, `[S, P, O + 1]`.

        The last column is the share of all operations but `none`: the importance of the edge.
        """
        hidden = torch.from_numpy(~self.supernet.allowed).to(self.device)
        weights = self.alphas.detach().masked_fill(hidden, -torch.inf).softmax(2).double()
        own = weights.cpu().numpy().copy()
        if "none" in self.supernet.operations:
            own[:, :, self.supernet.operations.index("none")] = 0.0
        importance = own.sum(2, keepdims=True)
        return np.concatenate([own / importance, importance], 2)

    def _sureness(self, named: np.ndarray) -> np.ndarray:
        """How sure each edge is, `[S, P]` (section 3.3, Eq. 4 to 8); each factor from 0 to 1."""
        shares, importance = named[:, :, :-1], named[:, :, -1]
        known = np.where(shares > 0, shares, 1.0)
        options = (self.supernet.allowed[:, 1:] if self._has_none() else self.supernet.allowed).sum(
            1
        )
        most = np.log(np.maximum(options, 2))
        certainty = 1 + (known * np.log(known)).sum(2) / most
        sure = self._scaled(importance) * self._scaled(certainty)
        if self.settings.criterion == 2:
            past = self.past or [named]
            common = [np.minimum(shares, other[:, :, :-1]).sum(2) for other in past]
            sure = sure * self._scaled(np.mean(common, 0))
        return sure

    def _has_none(self) -> bool:
        return self.supernet.operations[0] == "none"

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """From 0 to 1 over the edges of each kind of cell."""
        scaled = np.empty_like(values)
        for places in self.kinds.values():
            own = values[:, places]
            low, high = own.min(1, keepdims=True), own.max(1, keepdims=True)
            scaled[:, places] = (own - low) / np.maximum(high - low, 1e-12)
        return scaled

    def _decide(self, s: int, sure: np.ndarray) -> bool:
        """Fix one edge of each kind of cell of a seed; whether there was any left."""
        decided = False
        shares = self._named()[s, :, :-1]
        for places in self.kinds.values():
            is_open = [n for n in places if self.fixed[s, n] < 0 and not self.pruned[s, n]]
            if not is_open:
                continue
            best = max(is_open, key=lambda n: sure[n])
            self.fixed[s, best] = shares[best].argmax()
            decided = True
            most = self.supernet.inputs_of_a_block
            if most is None:
                continue  # NAS-Bench-201 keeps all edges
            edges = self.supernet.edges
            rivals = [n for n in places if edges[n].target == edges[best].target]
            if sum(self.fixed[s, n] >= 0 for n in rivals) >= most:
                self.pruned[s, [n for n in rivals if self.fixed[s, n] < 0]] = True
        return decided

    def train_epoch(self, epoch: int) -> Figures:
        figures = super().train_epoch(epoch)
        return figures | {"decided": (self.fixed >= 0).sum(1).tolist()}

    def state(self) -> dict[str, np.ndarray]:
        own = {
            "greedy.fixed": self.fixed,
            "greedy.pruned": self.pruned,
            "greedy.batch_size": np.array(self.batch_size),
        }
        if self.past:
            own["greedy.past"] = np.stack(self.past)
        return super().state() | own

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        own = {name: part for name, part in state.items() if name.startswith("greedy.")}
        super().load_state({name: part for name, part in state.items() if name not in own})
        self.fixed = own["greedy.fixed"].copy()
        self.pruned = own["greedy.pruned"].copy()
        self.batch_size = int(own["greedy.batch_size"])
        self.past = list(own["greedy.past"]) if "greedy.past" in own else []

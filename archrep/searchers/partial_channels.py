"""PC-DARTS (Xu et al., 2020) and DARTS- (Chu et al., 2021): DARTS with other mixtures.

PC-DARTS shows mixtures one channel in K, and weighs the edges that enter a block; DARTS- puts a
skip connection beside every mixture that fades away in the course of training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archrep.errors import ConfigError
from archrep.searchers.gradient import Darts, DartsSettings
from archrep.settings import check
from archrep.supernets.base import Mixture


@dataclass(frozen=True, kw_only=True)
class PcDartsSettings(DartsSettings):
    """Settings of PC-DARTS, CIFAR-10."""

    partial: int = 4
    """K: mixtures see the first channel in K."""
    alpha_learning_rate: float = 6e-4
    warmup_epochs: int = 15

    def __post_init__(self) -> None:
        super().__post_init__()
        check({f"`partial` must be at least 1. Got {self.partial}.": self.partial >= 1})


class PcDarts(Darts):
    """Mixtures of some channels; architecture weights of edges `[S, P]` beside those of operations.

    An edge's share is a softmax over the edges that enter its block (section 3.3, Eq. 4).
    """

    name = "pc-darts"
    title = "PC-DARTS (Xu et al., 2020): partial channels, weighted edges"
    Settings = PcDartsSettings

    def build(self, **sizes: Any) -> None:
        if not self.config.space.startswith("darts"):
            raise ConfigError(
                f"The searcher {self.name!r} needs a supernet of DARTS, which has partial "
                f"channels. Got {self.config.space!r}."
            )
        super().build(partial=self.settings.partial, **sizes)

    def start_alphas(self) -> None:
        edges = self.supernet.edges
        drawn = [1e-3 * self.drawn(s, "betas", (len(edges),)) for s in self.config.seeds]
        self.betas = torch.stack(drawn).to(self.device).requires_grad_()
        blocks = [(edge.cell, edge.target) for edge in edges]
        self._rivals = [
            [n for n, block in enumerate(blocks) if block == own] for own in dict.fromkeys(blocks)
        ]
        super().start_alphas()

    def architecture(self) -> list[Tensor]:
        return [self.alphas, self.betas]

    def shares(self) -> Tensor:
        """Share of each edge in the block that it enters, `[S, P]`."""
        order = [place for rivals in self._rivals for place in rivals]
        parts = [self.betas[:, rivals].softmax(1) for rivals in self._rivals]
        return torch.cat(parts, 1)[:, np.argsort(order)]

    def mixture(self, epoch: int) -> Mixture:
        return Mixture(self.probabilities(), active=self.active(), edges=self.shares())

    def strengths(self) -> np.ndarray:
        shares = self.shares().detach().double().cpu().numpy()
        return super().strengths() * shares[:, :, None]


class DartsMinus(Darts):
    """A skip connection of weight 1 beside every mixture, which falls to 0 (section 3.3, Eq. 5)."""

    name = "darts-minus"
    title = "DARTS- (Chu et al., 2021): an auxiliary skip that fades away"

    def build(self, **sizes: Any) -> None:
        if self.config.space.startswith("darts"):
            sizes["auxiliary"] = True
        super().build(**sizes)

    def mixture(self, epoch: int) -> Mixture:
        left = 1 - epoch / self.config.epochs
        return Mixture(self.probabilities(), active=self.active(), auxiliary=left)

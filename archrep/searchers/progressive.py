"""P-DARTS (Chen et al., 2019), "Progressive Differentiable Architecture Search".

Three searches after one another, each with a deeper network and fewer operations an edge; weights
begin anew each time. Its two tricks against skip connections can be switched off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.base import Objective
from archrep.searchers.base import Figures
from archrep.searchers.config import SupernetConfig
from archrep.searchers.gradient import Darts, DartsSettings
from archrep.settings import check
from archrep.supernets.base import Mixture


@dataclass(frozen=True, kw_only=True)
class PDartsSettings(DartsSettings):
    """Settings of P-DARTS."""

    depths: tuple[int, ...] = (5, 11, 17)
    """Cells of the network of each stage; NAS-Bench-201 counts those of one resolution."""
    dropped: tuple[int, ...] = (3, 2)
    """Weakest operations that each edge loses after a stage."""
    tricks: bool = True
    """Dropout after skip connections, and a limit to their number in the normal cell."""
    dropout: tuple[float, ...] = (0.0, 0.4, 0.7)
    """Of skip connections at the start of each stage; the authors' notes have 0.1 at first."""
    skip_limit: int = 2
    """Skip connections that the normal cell may have."""
    alpha_learning_rate: float = 6e-4
    alpha_clip: float | None = 5.0
    warmup_epochs: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        stages = len(self.depths)
        check(
            {
                f"`depths` and `dropout` must have one entry a stage and `dropped` one fewer. Got "
                f"{self.depths}, {self.dropout} and {self.dropped}.": (
                    stages == len(self.dropout) == len(self.dropped) + 1 and stages > 0
                ),
                f"`depths` must be at least 1. Got {self.depths}.": min(self.depths, default=1) > 0,
                f"`dropout` must lie in [0, 1). Got {self.dropout}.": all(
                    0 <= part < 1 for part in self.dropout
                ),
                f"`dropped` and `skip_limit` must be at least 0. Got {self.dropped} and "
                f"{self.skip_limit}.": min((self.skip_limit, *self.dropped)) >= 0,
            }
        )


class PDarts(Darts):
    """DARTS of first order in stages; `epochs` of a run are those of all stages together.

    Skip connections that epochs report are those of the derived cell, after the limit.

    Attributes:
        stage: The present one.
        left: Operations that each edge still has, `[S, P, O]`.
    """

    name = "p-darts"
    title = "P-DARTS (Chen et al., 2019): deeper networks, fewer operations, with or without tricks"
    Settings = PDartsSettings

    def __init__(self, config: SupernetConfig, images: ImageSet, objective: Objective) -> None:
        self.stage = 0
        if config.cells is not None:
            raise ConfigError(
                f"`cells` must be left out with {self.name!r}, whose `depths` say them. "
                f"Got {config.cells}."
            )
        super().__init__(config, images, objective)
        stages = len(self.settings.depths)
        if config.epochs % stages:
            raise ConfigError(
                f"`epochs` must be a multiple of the {stages} stages of P-DARTS. "
                f"Got {config.epochs}."
            )
        fewest = int(self.supernet.allowed.sum(1).min()) - sum(self.settings.dropped)
        if fewest < 2:
            raise ConfigError(
                "`dropped` must leave each edge two operations to choose from in the last stage. "
                f"Got {self.settings.dropped} and {int(self.supernet.allowed.sum(1).min())} "
                f"operations of {config.space!r}."
            )
        shape = (len(config.seeds), *self.supernet.allowed.shape)
        self.left = np.broadcast_to(self.supernet.allowed, shape).copy()

    def build(self, **sizes: object) -> None:
        super().build(cells=self.settings.depths[self.stage], **sizes)

    def active(self) -> np.ndarray:
        return getattr(self, "left", self.supernet.allowed)

    @property
    def stage_epochs(self) -> int:
        """Epochs of one stage."""
        return self.config.epochs // len(self.settings.depths)

    def epochs_of_a_search(self) -> int:
        return self.stage_epochs

    def set_rate(self, epoch: int) -> None:
        self._set_rate(epoch % self.stage_epochs / self.stage_epochs)

    def is_frozen(self, epoch: int) -> bool:
        return epoch % self.stage_epochs < self.settings.warmup_epochs

    def mixture(self, epoch: int) -> Mixture:
        return Mixture(self.probabilities(), active=self.active(), dropout=self._dropout(epoch))

    def _dropout(self, epoch: int) -> float:
        settings, own = self.settings, epoch % self.stage_epochs
        if not settings.tricks:
            return 0.0
        start = settings.dropout[self.stage]
        if self.is_frozen(epoch):
            return float(start * (self.stage_epochs - own - 1) / self.stage_epochs)
        return float(start * math.exp(-0.2 * (own - settings.warmup_epochs)))

    def train_epoch(self, epoch: int) -> Figures:
        if epoch // self.stage_epochs > self.stage:
            self._next_stage()
        return super().train_epoch(epoch) | {"stage": [self.stage] * len(self.config.seeds)}

    def _next_stage(self) -> None:
        """Drop the weakest operations of each edge and begin anew."""
        weights = np.where(self.left, self.strengths(), np.inf)
        for _ in range(self.settings.dropped[self.stage]):
            weakest = weights.argmin(2)[:, :, None]
            rich = self.left.sum(2, keepdims=True) > 1  # the last one stays
            np.put_along_axis(
                self.left, weakest, np.take_along_axis(self.left, weakest, 2) & ~rich, 2
            )
            np.put_along_axis(weights, weakest, np.inf, 2)
        self._begin(self.stage + 1)

    def _begin(self, stage: int) -> None:
        self.stage = stage
        self.build()
        self.start_alphas()

    def derive(self, *, with_none: bool = False) -> np.ndarray:
        found = super().derive(with_none=with_none)
        if not self.settings.tricks:
            return found
        return np.stack(
            [self._limited(own, part) for own, part in zip(found, self.strengths(), strict=True)]
        )

    def _limited(self, choices: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """The cell with so many skip connections at most, in its normal cell."""
        skip, limit = self.supernet.operations.index("skip_connect"), self.settings.skip_limit
        first, strengths = self.supernet.edges[0].cell, strengths.copy()
        tried: set[int] = set()
        while self.supernet.skips(choices) > limit:
            kept = [
                place
                for place, edge in enumerate(self.supernet.edges)
                if edge.cell == first and choices[place] == skip and place not in tried
            ]
            if not kept:
                return choices  # edges with nothing but a skip connection, which cannot be left out
            weakest = min(kept, key=lambda place: strengths[place, skip])
            strengths[weakest, skip] = 1e-12  # behind all that the edge has, and all other edges
            tried.add(weakest)
            choices = self.supernet.derive(strengths)
        return choices

    def state(self) -> dict[str, np.ndarray]:
        own = {"progressive.stage": np.array(self.stage), "progressive.left": self.left}
        return super().state() | own

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        own = {name: part for name, part in state.items() if name.startswith("progressive.")}
        self.left = own["progressive.left"].copy()
        if (stage := int(own["progressive.stage"])) != self.stage:
            self._begin(stage)
        super().load_state({name: part for name, part in state.items() if name not in own})

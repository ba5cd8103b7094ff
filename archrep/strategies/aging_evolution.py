"""Aging evolution: Algorithm 1 of Real et al. (2019), "Regularized Evolution for Image ...".

P -> population_size  members alive; the oldest leaves, not the worst
S -> sample_size      members drawn, with replacement as in the authors' code, for one parent
C -> the budget       spent in `search.run`, not here
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archrep.settings import check
from archrep.strategies.base import Strategy, StrategyConfig


@dataclass(frozen=True, kw_only=True)
class AgingEvolutionConfig(StrategyConfig):
    """Settings of aging evolution."""

    population_size: int = 100
    """Members alive, P."""
    sample_size: int = 25
    """Members drawn for one parent, S."""
    repeats: bool = False
    """Draw children that are known as well and pay for them again, as published programs do."""

    def __post_init__(self) -> None:
        check(
            {
                f"`population_size` must be at least 1. Got {self.population_size}.": (
                    self.population_size >= 1
                ),
                f"`sample_size` must be at least 1. Got {self.sample_size}.": self.sample_size >= 1,
            }
        )

    @property
    def charge_repeats(self) -> bool:
        return self.repeats


class AgingEvolution(Strategy):
    """Mutates the best of a few members of the last P, to a cell that was not asked for before.

    Where a parent has no such neighbour left, the child is a random cell.
    """

    name = "evolution"
    title = "regularized evolution (Real et al., 2019)"
    Config = AgingEvolutionConfig
    presets: ClassVar = {
        # The script of NAS-Bench-201 (Dong and Yang, 2020).
        "nasbench201": AgingEvolutionConfig(population_size=10, sample_size=3, repeats=True),
        # automl/nas_benchmarks, whose curves arch2vec shows; its first members and mutations are of
        # 26 choices (see `bohb`), which favours small cells, and here of distinct cells.
        "arch2vec-2020": AgingEvolutionConfig(population_size=100, sample_size=10, repeats=True),
    }
    config: AgingEvolutionConfig

    def propose(self) -> np.ndarray:
        alive = self.config.population_size
        if self.rows.shape[1] < alive:
            return self.random_rows(1)  # the first P members are random
        # Every child joins the population, so that the population is the last P told.
        rows, values = self.rows[:, -alive:], self.values[:, -alive:]
        draws = np.stack([rng.integers(alive, size=self.config.sample_size) for rng in self.rngs])
        winner = np.take_along_axis(values, draws, 1).argmax(1)
        parents = rows[np.arange(self.runs), draws[np.arange(self.runs), winner]]
        children = np.zeros((self.runs, 1), np.int64)
        for run, near in enumerate(self.candidates.neighbours(parents)):
            free = near if self.config.repeats else near[~self.taken[run, near]]
            if len(free):
                children[run] = free[self.rngs[run].integers(len(free))]
            else:
                children[run] = self.random_untaken(run, 1)
        return children

"""Local search: White et al. (2021), "Exploring the Loss Landscape in Neural Architecture Search".

The variant that moves at the first improvement: query the neighbours of the current cell in random
order, move to the first that is better, and start again from a random cell where none is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archrep.settings import check
from archrep.strategies.base import Strategy, StrategyConfig


@dataclass(frozen=True, kw_only=True)
class LocalSearchConfig(StrategyConfig):
    """Settings of local search."""

    initial: int = 10
    """Random cells at the start; the best of them is where the first climb begins."""

    def __post_init__(self) -> None:
        check({f"`initial` must be at least 1. Got {self.initial}.": self.initial >= 1})


class LocalSearch(Strategy):
    """Climbs to a local optimum, then begins anew; no cell is queried twice."""

    name = "local-search"
    title = "local search (White et al., 2021)"
    Config = LocalSearchConfig
    memory: ClassVar = ("current", "asked", "begins")
    config: LocalSearchConfig

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.current = np.full(
            self.runs, -1
        )  # cell whose neighbours are tried; -1 before the first
        self.asked = np.full(self.runs, -1)
        self.begins = np.zeros(self.runs, bool)  # whether the cell asked for begins a climb
        self._told: list[dict[int, float]] = [{} for _ in range(self.runs)]  # values by class

    def propose(self) -> np.ndarray:
        if self.rows.shape[1] < self.config.initial:
            return self.random_rows(1)
        self.candidates.neighbours(self.current)  # of all runs at once, which is faster
        self.asked = np.array([self._next(run) for run in range(self.runs)])
        return self.asked[:, None]

    def _next(self, run: int) -> int:
        self.begins[run] = False
        told = self._told[run]
        while True:
            near = self.candidates.neighbours(self.current[run : run + 1])[0]
            classes = self.candidates.classes[near]
            known = np.array([told.get(label, -np.inf) for label in classes.tolist()])
            if len(near) and known.max() > told[int(self.candidates.classes[self.current[run]])]:
                self.current[run] = near[known.argmax()]  # met on another climb
                continue
            free = near[~self.taken[run, near]]
            if len(free):
                return int(free[self.rngs[run].integers(len(free))])
            self.begins[run] = True
            return int(self.random_untaken(run, 1)[0])

    def keep(self, chosen: np.ndarray) -> None:
        super().keep(chosen)
        self._told = [told for told, stays in zip(self._told, chosen, strict=True) if stays]

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        super().load_state(state)
        self._remember(self.rows, self.values)

    def _remember(self, rows: np.ndarray, values: np.ndarray) -> None:
        for told, labels, scores in zip(
            self._told, self.candidates.classes[rows].tolist(), values.tolist(), strict=True
        ):
            told.update(zip(labels, scores, strict=True))

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        self._remember(rows, values)
        if self.rows.shape[1] <= self.config.initial or (self.current < 0).any():
            self.current = self.best_rows()
            return
        for run, (row, value) in enumerate(zip(rows[:, -1].tolist(), values[:, -1], strict=True)):
            told = self._told[run]
            begins = self.begins[run] and row == self.asked[run]
            if begins or value > told[int(self.candidates.classes[self.current[run]])]:
                self.current[run] = row

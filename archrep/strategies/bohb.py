"""BOHB: Falkner et al. (2018), "BOHB: Robust and Efficient Hyperparameter Optimization at Scale".

Its symbols here::

    eta, b_min..b_max -> `eta` and `schedules`, the training schedules that a table records
    bracket s         -> n cells on a short schedule, the best n / eta of them on the next, and so
                         on
    l(x), g(x)        -> densities of the good and of the other cells on the longest schedule that
                         has enough of both, products of one kernel a choice
    N_s, q, rho       -> `samples`, `good_fraction`, `random_fraction`
    argmax l(x) / g(x) over N_s draws from l -> the next cell, except for a fraction rho at random

The kernels are those of Aitchison and Aitken (1976), as in the authors' code, with three repairs: a
bandwidth never exceeds that of a uniform kernel, beyond which a kernel likes everything but its
centre; the spread of a choice does not depend on the order of its options; and all options count,
not only those that occur. The factor 3 that widens the kernels to draw from is for continuous
parameters there, of which a cell has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from archrep.cells.decisions import Decisions, one_hot
from archrep.settings import check, choices
from archrep.strategies.base import Ask, Strategy, StrategyConfig


@dataclass(frozen=True, kw_only=True)
class BohbConfig(StrategyConfig):
    """Settings of BOHB."""

    schedules: tuple[int, ...] = ()
    """Epochs of the training schedules to use, ascending; empty for the table's default one, which
    makes it a Tree-structured Parzen Estimator."""
    eta: int = 3
    """One in so many goes on to the next schedule."""
    good_fraction: float = 0.15
    """Share of the cells that count as good."""
    samples: int = 64
    """Draws of which the one with the largest ratio of densities is taken."""
    random_fraction: float = 1 / 3
    """Share of cells that are drawn at random."""
    uniform: Literal["cells", "choices"] = "cells"
    """What random cells are uniform over: the candidates, as in other strategies, or choices, as
    in the published programs, which in NAS-Bench-101 favours the smallest cells."""
    min_bandwidth: float = 0.3
    """Least bandwidth; keeps options alive that no good cell has."""
    min_points: int | None = None
    """Least number of good and of other cells for a model; `None` for one more than choices."""
    repeats: bool = False
    """Ask, and pay, again for cells that are known, as the published programs do."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedules", tuple(self.schedules))
        check(
            {
                f"`schedules` must be positive and ascending. Got {self.schedules}.": (
                    all(epochs >= 1 for epochs in self.schedules)
                    and list(self.schedules) == sorted(set(self.schedules))
                ),
                f"`eta` must be at least 2. Got {self.eta}.": self.eta >= 2,
                f"`good_fraction` must lie between 0 and 1. Got {self.good_fraction}.": (
                    0 < self.good_fraction < 1
                ),
                f"`samples` must be at least 1. Got {self.samples}.": self.samples >= 1,
                f"`random_fraction` must lie in [0, 1]. Got {self.random_fraction}.": (
                    0 <= self.random_fraction <= 1
                ),
                f"`min_bandwidth` must lie in (0, 1]. Got {self.min_bandwidth}.": (
                    0 < self.min_bandwidth <= 1
                ),
                f"`min_points` must be at least 1. Got {self.min_points}.": (
                    self.min_points is None or self.min_points >= 1
                ),
            }
            | choices(self)
        )

    @property
    def charge_repeats(self) -> bool:
        return self.repeats


class Place(NamedTuple):
    """What one question is in the sequence of brackets.

    Attributes:
        rung: 0 where cells are new; else they are the best of the rung before.
        number: Of the question within its rung, from 0.
        level: Of the schedule.
        before: Questions of the rung before.
    """

    rung: int
    number: int
    level: int
    before: slice


def place_of(question: int, levels: int, eta: int) -> Place:
    """Where a question, counted from 0, stands in Hyperband (Li et al., 2018, Algorithm 1).

    Bracket sizes are those of the authors' code: `floor(levels / (s + 1)) eta^s` new cells for
    bracket `s = levels - 1, ..., 0`, and so on round.

    Example:
        >>> [place_of(n, 2, 3).level for n in range(6)]  # 3 cells, the best of them, 2 cells
        [0, 0, 0, 1, 1, 1]
    """
    left, start, bracket = question, 0, 0
    while True:
        halvings = levels - 1 - bracket % levels
        size, before = levels // (halvings + 1) * eta**halvings, 0
        for rung in range(halvings + 1):
            count = max(size // eta**rung, 1)
            if left < count:
                return Place(rung, left, levels - 1 - halvings + rung, slice(start - before, start))
            left, start, before = left - count, start + count, count
        bracket += 1


class Density(NamedTuple):
    """R product kernel densities over choices; see `density_of`.

    Attributes:
        centres: `[R, n, K]`.
        bandwidth: `[R, K]`.
        options: Number of options of each choice, `[K]`.
    """

    centres: np.ndarray
    bandwidth: np.ndarray
    options: np.ndarray

    def log(self, choices: np.ndarray) -> np.ndarray:
        """Logarithms at choices `[R, M, K]`: `[R, M]`."""
        same = np.log1p(-self.bandwidth)
        other = np.log(self.bandwidth / (self.options - 1))  # [R, K]
        runs, count = choices.shape[:2]
        marks = one_hot(self.centres, self.options) * (same - other)[:, None, :, None]
        # One product a run: how much the kernels gain by agreeing, summed over the choices.
        gain = np.matmul(
            one_hot(choices, self.options).reshape(runs, count, -1),
            marks.reshape(runs, self.centres.shape[1], -1).transpose(0, 2, 1),
        )
        largest = gain.max(2)
        mean = np.exp(gain - largest[..., None]).mean(2)
        return np.log(mean) + largest + other.sum(1)[:, None]

    def draw(self, run: int, rng: np.random.Generator, count: int) -> np.ndarray:
        """Choices from the density of one run, `[count, K]`."""
        centres = self.centres[run, rng.integers(self.centres.shape[1], size=count)]
        leaves = rng.random(centres.shape) < self.bandwidth[run]
        step = rng.integers(1, self.options, size=centres.shape)  # to one of the other options
        return np.where(leaves, (centres + step) % self.options, centres)


def density_of(choices: np.ndarray, options: np.ndarray, min_bandwidth: float) -> Density:
    """Density around choices `[R, n, K]` by the normal reference rule, `1.06 spread n^(-1/(4+K))`.

    The spread is `sqrt((1 - sum_o p_o^2) / 2)`, which for two options is the standard deviation.
    """
    share = one_hot(choices, options).mean(1)  # [R, K, O]
    spread = np.sqrt((1 - np.square(share).sum(2)).clip(min=0) / 2)
    width = 1.06 * spread * choices.shape[1] ** (-1 / (4 + choices.shape[2]))
    return Density(choices, np.clip(width, min_bandwidth, None).clip(max=1 - 1 / options), options)


class Bohb(Strategy):
    """Hyperband whose new cells come from a Tree-structured Parzen Estimator.

    Cells that a user tells without having been asked count as known, but enter neither a bracket
    nor a model: their schedule is not known.
    """

    name = "bohb"
    title = "BOHB (Falkner et al., 2018)"
    Config = BohbConfig
    presets: ClassVar = {
        # Constants of automl/nas_benchmarks, whose curves arch2vec shows.
        "arch2vec-2020": BohbConfig(random_fraction=0.33, uniform="choices", repeats=True),
    }
    memory: ClassVar = ("asked", "drawn", "answered", "answers", "levels", "choices")
    config: BohbConfig

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.decisions = Decisions(self.candidates.space, self.candidates.positions)
        count = len(self.decisions)
        self.asked = np.full(self.runs, -1)
        self.drawn = np.zeros((self.runs, count), np.int64)
        # Answers in the order of the questions: row, value, level of the schedule, choices.
        self.answered, self.levels = np.zeros((2, self.runs, 0), np.int64)
        self.answers = np.zeros((self.runs, 0))
        self.choices = np.zeros((self.runs, 0, count), np.int64)

    def _place(self) -> Place:
        return place_of(self.answers.shape[1], max(len(self.config.schedules), 1), self.config.eta)

    def propose(self) -> Ask:
        place = self._place()
        if place.rung == 0:
            self.asked, self.drawn = self._new_cells()
        else:
            order = np.argsort(-self.answers[:, place.before], axis=1, kind="stable")
            chosen = place.before.start + order[:, place.number]
            at = np.arange(self.runs)
            self.asked, self.drawn = self.answered[at, chosen], self.choices[at, chosen]
        epochs = None
        if self.config.schedules:
            epochs = np.full((self.runs, 1), self.config.schedules[place.level])
        return Ask(self.asked[:, None], epochs)

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        if rows.shape[1] != 1 or (rows[:, 0] != self.asked).any():
            return  # a user's own values, told to all runs alike
        level = np.full((self.runs, 1), self._place().level)
        self.answered = np.concatenate([self.answered, rows], 1)
        self.answers = np.concatenate([self.answers, values], 1)
        self.levels = np.concatenate([self.levels, level], 1)
        self.choices = np.concatenate([self.choices, self.drawn[:, None]], 1)
        self.asked = np.full(self.runs, -1)

    def recommend(self) -> np.ndarray | None:
        """The best on the longest schedule so far: accuracies of others do not compare."""
        if not self.levels.shape[1]:
            return None
        longest = self.levels == self.levels.max(1, keepdims=True)
        best = np.where(longest, self.answers, -np.inf).argmax(1)
        return self.answered[np.arange(self.runs), best]

    # New cells ------------------------------------------------------------------------------------

    def _new_cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows `[R]` and choices `[R, K]` that the model likes, or random ones."""
        densities = self.densities()
        random = np.array([rng.random() < self.config.random_fraction for rng in self.rngs])
        rows, choices = np.full(self.runs, -1), np.zeros_like(self.drawn)
        if densities is not None:
            guided = np.flatnonzero(~random)
            if len(guided):
                rows[guided], choices[guided] = self._most_promising(guided, *densities)
        left = np.flatnonzero(rows < 0)
        if len(left):
            rows[left], choices[left] = self._random(left)
        return rows, choices

    def _random(self, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A random cell for some of the runs, and its choices."""
        rows, choices = np.full(len(runs), -1), np.zeros((len(runs), len(self.decisions)), np.int64)
        if self.config.uniform == "choices":
            rows, choices = self.decisions.first(
                lambda run, count: self.decisions.uniform(self.rngs[runs[run]], count),
                len(runs),
                None if self.config.repeats else self.taken[runs],
            )
        left = np.flatnonzero(rows < 0)
        if len(left):
            rows[left] = [self.random_untaken(run, 1)[0] for run in runs[left].tolist()]
            choices[left] = self.decisions.choices(rows[left])
        return rows, choices

    def densities(self) -> tuple[Density, Density] | None:
        """Densities of the good and of the other cells, or `None` while there are too few.

        Section 3.2 of the paper, Eq. 2-4: of the longest schedule that has enough of both.
        """
        config, options = self.config, self.decisions.options
        least = config.min_points or len(options) + 1
        for level in reversed(range(max(len(config.schedules), 1))):
            known = np.flatnonzero(self.levels[0] == level)  # runs are at the same place
            if len(known) < 2 * least:
                continue
            order = np.argsort(-self.answers[:, known], axis=1, kind="stable")
            sorted_choices = np.take_along_axis(self.choices[:, known], order[..., None], 1)
            good = max(least, int(config.good_fraction * len(known)))
            parts = sorted_choices[:, :good], sorted_choices[:, good:]
            first, second = (density_of(part, options, config.min_bandwidth) for part in parts)
            return first, second
        return None

    def _most_promising(
        self, runs: np.ndarray, good: Density, other: Density
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of draws from the good cells' density, those with the largest ratio, -1 for none."""
        samples, width = self.config.samples, len(self.decisions)
        rows = np.full((len(runs), 0), -1)
        choices = np.zeros((len(runs), 0, width), np.int64)
        # Draws that are no cell do not count. Of a space of which only part may be proposed few
        # draws do, so that there are more; as many in every run, whatever the others need.
        for _ in range(8):
            drawn = np.stack([good.draw(run, self.rngs[run], samples) for run in runs.tolist()])
            found = self.decisions.rows(drawn.reshape(-1, width)).reshape(len(runs), samples)
            if not self.config.repeats:
                known = np.take_along_axis(self.taken[runs], found.clip(min=0), 1)
                found = np.where(known, -1, found)
            rows, choices = np.concatenate([rows, found], 1), np.concatenate([choices, drawn], 1)
            if len(self.decisions.positions) == self.candidates.space.size:
                break
        counts = (rows >= 0) & ((rows >= 0).cumsum(1) <= samples)
        ratio = good._replace(centres=good.centres[runs], bandwidth=good.bandwidth[runs]).log(
            choices
        ) - other._replace(centres=other.centres[runs], bandwidth=other.bandwidth[runs]).log(
            choices
        )
        best = np.where(counts, ratio, -np.inf).argmax(1)
        at = np.arange(len(runs))
        return np.where(counts.any(1), rows[at, best], -1), choices[at, best]

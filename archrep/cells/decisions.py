"""Cells as independent categorical choices, for strategies that work on a discrete encoding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from archrep.cells.space import Space
from archrep.errors import SpaceError

_LARGEST_ROUND = 1_024  # choices drawn at once for one run


class Decisions:
    """The choices of `Space.decisions` that lead to some of the cells of a space.

    Args:
        space: An enumerated space whose cells are written as choices.
        positions: Rows of `space.enumerate()` that count, `[N]`; results are positions in it.

    Attributes:
        options: Number of options of each choice, `[K]`.

    Raises:
        SpaceError: The cells of the space are not written as choices.
    """

    def __init__(self, space: Space, positions: np.ndarray | None) -> None:
        if not space.decisions or positions is None or space.size is None:
            raise SpaceError(
                f"This strategy needs cells that are written as independent choices. {space.title} "
                "has none here; use a strategy that works on embeddings."
            )
        self.space, self.positions = space, positions
        self.options = np.array(space.decisions)
        self._row_of = np.full(space.size + 1, -1)  # the last is what -1, no cell, leads to
        self._row_of[positions] = np.arange(len(positions))

    def __len__(self) -> int:
        return len(self.options)

    def rows(self, choices: np.ndarray) -> np.ndarray:
        """Rows that choices `[M, K]` lead to, `[M]`; -1 for what is no cell or does not count."""
        return self._row_of[self.space.rows_of_decisions(choices)]

    def choices(self, rows: np.ndarray) -> np.ndarray:
        """One way to choose each of some rows `[M]`: `[M, K]`."""
        return self.space.decisions_of_rows(self.positions[rows])

    def uniform(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Choices without any preference, `[count, K]`."""
        return rng.integers(self.options, size=(count, len(self.options)))

    def first(
        self,
        draw: Callable[[int, int], np.ndarray],
        runs: int,
        taken: np.ndarray | None = None,
        rounds: int = 12,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first choices of each run that lead to a row; all runs are looked up together.

        Args:
            draw: Takes a run and a count and gives choices, `[count, K]`.
            runs: Number R of runs.
            taken: Rows that a run may not have, `[R, N]` of bool.
            rounds: How often to draw: 16 choices, then twice as many each time, at most 1,024.

        Returns:
            Rows `[R]`, -1 for a run where all was in vain, and choices `[R, K]`.
        """
        rows = np.full(runs, -1)
        choices = np.zeros((runs, len(self)), np.int64)
        count, left = 16, np.arange(runs)
        for _ in range(rounds):
            drawn = np.stack([draw(run, count) for run in left.tolist()])
            found = self.rows(drawn.reshape(-1, len(self))).reshape(len(left), count)
            counts = found >= 0
            if taken is not None:
                counts &= ~taken[left[:, None], found]
            at, place = np.flatnonzero(counts.any(1)), counts.argmax(1)
            rows[left[at]] = found[at, place[at]]
            choices[left[at]] = drawn[at, place[at]]
            left = left[rows[left] < 0]
            if not len(left):
                break
            count = min(2 * count, _LARGEST_ROUND)
        return rows, choices


def one_hot(choices: np.ndarray, options: np.ndarray) -> np.ndarray:
    """Choices `[..., K]` as indicators, `[..., K, O]` of float64, O the most options of any."""
    return (choices[..., None] == np.arange(options.max())).astype(np.float64)

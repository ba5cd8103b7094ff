"""Walks through a search space and through its latent space: the data of arch2vec's Figures 3, 5.

Computing stops here: `archrep.plots.latent` draws what this file returns.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from archrep.cells.array import CellArray
from archrep.cells.cell import Cell
from archrep.cells.space import Space
from archrep.errors import ConfigError, ShapeError
from archrep.seeding import numpy_stream

if TYPE_CHECKING:
    from archrep.embeddings import TrainedEncoder


class Distances(NamedTuple):
    """Of P pairs of cells.

    Attributes:
        latent: Euclidean distance of the embeddings, `[P]`.
        edits: Exact graph edit distance, `[P]` of int64.
    """

    latent: np.ndarray
    edits: np.ndarray


def distances_along_walk(
    embed: Callable[[CellArray], np.ndarray],
    space: Space,
    *,
    steps: int = 1_000,
    lags: int = 8,
    seed: int = 0,
) -> Distances:
    """Latent and edit distances of all pairs up to `lags` steps apart on a random walk.

    Figure 3 of Yan et al. (2020). Their walk steps over cells of 7 nodes only; ours over every
    neighbour that the space knows.

    Args:
        embed: Gives embeddings `[N, D]` of N cells.
        space: Where to walk.
        steps: Of the walk.
        lags: Most steps between the two cells of a pair.
        seed: Fixes the walk.

    Raises:
        ConfigError: A number is below 1.
    """
    if steps < 1 or lags < 1:
        raise ConfigError(f"`steps` and `lags` must be at least 1. Got {steps} and {lags}.")
    walk = space.walk(steps, numpy_stream(seed, "walk"))
    embeddings = np.asarray(embed(space.pack(walk)))
    latent, edits = [], []
    for lag in range(1, min(lags, steps) + 1):
        latent.append(np.linalg.norm(embeddings[:-lag] - embeddings[lag:], axis=1))
        edits += [a.edit_distance(b) for a, b in zip(walk[:-lag], walk[lag:], strict=True)]
    return Distances(np.concatenate(latent), np.array(edits))


def nearest_walk(embeddings: np.ndarray, start: int, steps: int = 15) -> np.ndarray:
    """Rows of a walk that always goes on to the nearest cell that it has not visited.

    Figures 5, 11, 12 and 13 of Yan et al. (2020).

    Args:
        embeddings: One a cell, `[N, D]`.
        start: Row of the first cell.
        steps: How many to take, at most N - 1.

    Returns:
        Rows `[steps + 1]`, the start first; of equally near cells the first in the table.

    Raises:
        ConfigError: There is no such row, or there are not so many cells.

    Example:
        >>> nearest_walk(np.array([[0.0], [1.0], [1.5], [-1.2]]), 0, 3).tolist()
        [0, 1, 2, 3]
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2:
        raise ShapeError(f"`embeddings` must be [N, D]. Got shape {embeddings.shape}.")
    if not 0 <= start < len(embeddings) or not 1 <= steps < len(embeddings):
        raise ConfigError(
            f"`start` must be a row and `steps` at least 1 and below the {len(embeddings):,} "
            f"cells. Got {start} and {steps}."
        )
    rows, visited = [start], np.zeros(len(embeddings), bool)
    for _ in range(steps):
        visited[rows[-1]] = True
        distance = np.square(embeddings - embeddings[rows[-1]]).sum(1)
        distance[visited] = np.inf
        rows.append(int(distance.argmin()))
    return np.array(rows)


def interpolate(
    encoder: TrainedEncoder, first: Cell, second: Cell, points: int = 9
) -> list[Cell | None]:
    """Cells decoded from equally spaced points on the line between two embeddings.

    The two ends are the cells themselves.

    Args:
        encoder: Of a preset whose embeddings can be decoded.
        first: Where the line begins.
        second: Where it ends.
        points: Both ends included.

    Returns:
        A cell a point, or `None` where the decoder found no legal one.

    Raises:
        ConfigError: There are fewer than 3 points.
        SpaceError: Embeddings of this encoder cannot be decoded.
    """
    if points < 3:
        raise ConfigError(f"`points` must be at least 3, both ends included. Got {points}.")
    ends = encoder.embed([first, second])
    along = np.linspace(0, 1, points)[1:-1, None]
    between = encoder.decode((1 - along) * ends[0] + along * ends[1])
    return [first, *between, second]


def edits_between(cells: Sequence[Cell]) -> list[int]:
    """Exact edit distance of each cell to the one before it, one fewer than there are cells."""
    return [a.edit_distance(b) for a, b in itertools.pairwise(cells)]

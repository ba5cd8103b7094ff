"""Two-dimensional maps of embeddings, and structural columns of cells to colour them by.

Computing stops here: `archrep.plots.latent_map` draws what this file returns.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from archrep.cells.array import CellArray, node_pairs
from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.errors import ConfigError, RunError, ShapeError
from archrep.files import write_atomically
from archrep.seeding import derive_seed, numpy_stream
from archrep.settings import check

Method = Literal["tsne", "pca"]
METHODS: dict[str, str] = {"tsne": "t-SNE", "pca": "PCA"}
"""Methods of `latent_map`, and what captions call them."""

MIN_POINTS = 4
_MAX_ITER, _ANGLE = 750, 0.7
"""For 5,000 x 16 numbers scikit-learn's own 1000 and 0.5 take 1.8 times as long, and keep no more
neighbours: trustworthiness .979 with both."""


@dataclass(frozen=True, eq=False)
class LatentMap:
    """Places of M cells of a table on a plane, and how they were found.

    Attributes:
        xy: Places `[M, 2]` of float32; only distances between near points mean something.
        rows: Row of each point in the table of embeddings, `[M]` of int64, ascending.
        method: `"tsne"` or `"pca"`.
        perplexity: Neighbours that t-SNE balances, after lowering it for few points; PCA has none.
        seed: Fixes which cells are drawn and the start of t-SNE.
        total: Number N of rows of the table.
    """

    xy: np.ndarray
    rows: np.ndarray
    method: str
    perplexity: float | None
    seed: int
    total: int

    def __post_init__(self) -> None:
        if self.xy.ndim != 2 or self.xy.shape[1] != 2 or self.rows.shape != self.xy.shape[:1]:
            raise ShapeError(
                f"`xy` must be [M, 2] and `rows` [M]. Got {self.xy.shape} and {self.rows.shape}."
            )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def caption(self) -> str:
        """What a reader must know: method, perplexity, seed and how many of the cells."""
        parts = [METHODS.get(self.method, self.method)]
        if self.perplexity is not None:
            parts.append(f"perplexity {self.perplexity:.3g}")
        return ", ".join([*parts, f"seed {self.seed}", f"{len(self):,} of {self.total:,} cells"])

    def values(self, column: np.ndarray) -> np.ndarray:
        """The points' values of a column that has one value a table row, or one a point.

        Raises:
            ShapeError: Neither length.
        """
        column = np.asarray(column)
        if column.shape == (self.total,):
            return column[self.rows]
        if column.shape == (len(self),):
            return column
        raise ShapeError(
            f"A column must have one value a table row, [{self.total}], or one a point, "
            f"[{len(self)}]. Got shape {column.shape}."
        )

    def save(self, path: str | Path) -> Path:
        """Write to an `.npz` file, aside first and then renamed."""
        path = Path(path)

        def write(aside: Path) -> None:
            with aside.open("wb") as file:  # a file, as NumPy appends .npz to a mere name
                np.savez_compressed(
                    file,
                    xy=self.xy,
                    rows=self.rows,
                    method=np.array(self.method),
                    perplexity=np.array(np.nan if self.perplexity is None else self.perplexity),
                    seed=np.array(self.seed),
                    total=np.array(self.total),
                )

        write_atomically(path, write)
        return path

    @classmethod
    def load(cls, path: str | Path) -> LatentMap:
        """Map that `save` wrote.

        Raises:
            RunError: There is no such file, or it is damaged or something else.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                perplexity = float(stored["perplexity"])
                return cls(
                    xy=stored["xy"],
                    rows=stored["rows"],
                    method=str(stored["method"]),
                    perplexity=None if np.isnan(perplexity) else perplexity,
                    seed=int(stored["seed"]),
                    total=int(stored["total"]),
                )
        except FileNotFoundError:
            raise RunError(
                f"No map at {path}. Make one with `latent_map(...).save(path)`."
            ) from None
        except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                f"{path} is not a map, or is damaged ({error}). Make it anew with "
                "`latent_map(...).save(path)`."
            ) from None


def latent_map(
    embeddings: np.ndarray,
    *,
    method: Method = "tsne",
    max_points: int = 5_000,
    perplexity: float = 30.0,
    seed: int = 0,
) -> LatentMap:
    """Places of cells on a plane, near where their embeddings are near.

    t-SNE (van der Maaten and Hinton, 2008; Barnes-Hut, 2014) starts from the first two principal
    components, scaled down, which keeps the large shape (Kobak and Berens, 2019). It runs on one
    thread, about 14 s for 5,000 embeddings of size 16. With fewer than 3 points a neighbour the
    perplexity is lowered. Equal embeddings fall on about one place.

    Args:
        embeddings: One a cell, `[N, D]`.
        method: `"tsne"`, or `"pca"`: the first two principal components, for a quick look.
        max_points: Larger tables are thinned to a random subset of this size.
        perplexity: About how many neighbours a point keeps near.
        seed: Fixes the subset and the method's randomness.

    Raises:
        ShapeError: `embeddings` is not a matrix of at least 4 rows.
        ConfigError: An embedding is not finite, or all are equal; or an option is impossible.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(50, 16))
        >>> latent_map(points, max_points=20, method="pca").caption
        'PCA, seed 0, 20 of 50 cells'
    """
    checks = {
        f"`method` must be one of {', '.join(METHODS)}. Got {method!r}.": method in METHODS,
        f"`max_points` must be at least {MIN_POINTS}. Got {max_points}.": max_points >= MIN_POINTS,
        f"`perplexity` must be at least 1. Got {perplexity}.": perplexity >= 1,
    }
    check(checks)
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) < MIN_POINTS or not embeddings.shape[1]:
        raise ShapeError(
            f"`embeddings` must be [N, D] with N of at least {MIN_POINTS} cells. "
            f"Got shape {embeddings.shape}."
        )
    if len(broken := np.flatnonzero(~np.isfinite(embeddings).all(1))):
        raise ConfigError(
            f"`embeddings` must be finite. {len(broken)} of {len(embeddings)} rows are not, the "
            f"first is row {broken[0]}: did the training that made them diverge?"
        )
    total = len(embeddings)
    rows = np.arange(total)
    if total > max_points:
        rows = np.sort(numpy_stream(seed, "latent_map/rows").permutation(total)[:max_points])
    points = np.asarray(embeddings[rows], np.float64)
    if (points == points[0]).all():
        raise ConfigError(
            f"`embeddings` must differ. All {len(points)} are equal: the encoder tells no two "
            "cells apart."
        )
    if method == "pca":
        return LatentMap(_pca(points), rows, method, None, seed, total)
    perplexity = min(float(perplexity), (len(points) - 1) / 3)
    return LatentMap(_tsne(points, perplexity, seed), rows, method, perplexity, seed, total)


def _pca(points: np.ndarray) -> np.ndarray:
    """First two principal components, `[M, 2]`; the largest loading of each is positive."""
    centred = points - points.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    xy = np.zeros((len(points), 2), np.float32)  # a second column of zeros where D is 1
    xy[:, : axes.shape[1]] = centred @ axes
    return xy


def _tsne(points: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # also because sums, and with them maps, may depend on threads
        points = points - points.mean(0)
        points /= np.abs(points).max()  # t-SNE ignores scale; single precision does not
        start = _pca(points)
        start *= 1e-4 / start[:, 0].std()  # as `init="pca"` does, and without its random solver
        method = TSNE(
            init=start,
            perplexity=perplexity,
            max_iter=_MAX_ITER,
            angle=_ANGLE,
            random_state=derive_seed(seed, "latent_map/tsne") % 2**32,
        )
        return method.fit_transform(points.astype(np.float32))


# Structural columns ---------------------------------------------------------------------------

GROUPS: dict[str, tuple[str, ...]] = {
    "conv_3x3": ("conv3x3-bn-relu", "nor_conv_3x3", "sep_conv_3x3", "dil_conv_3x3"),
    "pool_skip": ("maxpool3x3", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    "conv_1x1": ("conv1x1-bn-relu", "nor_conv_1x1"),
    "conv_5x5": ("sep_conv_5x5", "dil_conv_5x5"),
}
"""Columns that count several operations, so that maps of different spaces compare."""


def space_columns(space: str | Space, cells: CellArray) -> dict[str, np.ndarray]:
    """What can be said of cells without training them: whole numbers `[N]` of int16 by name.

    `edges`, `nodes`, `depth` (edges on the longest path), `count_<op>` for every operation of the
    space, and a column of `GROUPS` where the space has operations of that group.

    Raises:
        ConfigError: The cells are written in another vocabulary than that of the space.

    Example:
        >>> cells = get_space("nasbench201").enumerate()
        >>> int(space_columns("nasbench201", cells)["count_nor_conv_3x3"].max())
        6
    """
    space = get_space(space)
    if cells.vocabulary != space.ops:
        raise ConfigError(
            f"`cells` must be cells of {space.title}, with operations {space.ops}. "
            f"Got {cells.vocabulary}."
        )
    columns = {"edges": cells.num_edges, "nodes": cells.num_nodes, "depth": _depth(cells)}
    counts = {op: (cells.ops == code).sum(1) for code, op in enumerate(space.ops)}
    columns |= {f"count_{op}": count for op, count in counts.items()}
    for name, members in GROUPS.items():
        if present := [counts[op] for op in members if op in counts]:
            columns[name] = np.sum(present, axis=0)
    return {name: column.astype(np.int16) for name, column in columns.items()}


def _depth(cells: CellArray) -> np.ndarray:
    """Edges on the longest path of each cell, `[N]`."""
    reach = np.zeros((len(cells), cells.max_nodes), np.int16)
    for i, j in node_pairs(cells.max_nodes):  # by ascending j: reach[:, i] is final
        np.maximum(reach[:, j], (reach[:, i] + 1) * cells.edge(i, j), out=reach[:, j])
    return reach.max(1, initial=0)


def telling_columns(
    columns: Mapping[str, np.ndarray], points: LatentMap, count: int = 4
) -> dict[str, np.ndarray]:
    """The first columns that differ between points, as values of the points.

    Edges and depth come first, then groups of operations, then single ones that no group counts.
    A column that is the same everywhere, such as the edges of NAS-Bench-201, tells nothing.
    """
    grouped = {f"count_{op}" for members in GROUPS.values() for op in members}
    order = ["edges", "depth", *GROUPS]
    order += [name for name in columns if name not in {*order, *grouped, "nodes"}]
    values = {name: points.values(columns[name]) for name in [*order, "nodes"] if name in columns}
    telling = [name for name, value in values.items() if (value != value[0]).any()]
    return {name: values[name] for name in telling[:count]}

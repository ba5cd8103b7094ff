"""Two-dimensional maps of embeddings.

embeddings -> a sample -> its places on a plane -> places of all others beside their nearest

Computing stops here: `archrep.plots.latent_map` draws what this file returns.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from archrep.cell_columns import GROUPS
from archrep.errors import ConfigError, RunError, ShapeError
from archrep.files import make_folder, write_atomically
from archrep.seeding import derive_seed, numpy_stream
from archrep.settings import check

Method = Literal["tsne", "pca", "umap"]
METHODS: dict[str, str] = {"tsne": "t-SNE", "pca": "PCA", "umap": "UMAP"}
"""Methods of `latent_map`, and what captions call them."""

Report = Callable[[str, int, int], None]
"""Called on the way with what is done, and how many steps of how many."""

MIN_POINTS = 4
NEAREST = 10
"""Fitted points beside which another one is placed."""
_EXAGGERATED, _ITERATIONS, _STRETCH = 250, 500, 50
_TREE_POINTS, _ANGLE, _INTERVAL = 3_000, 0.7, 2
"""Up to so many points a tree sums repulsion, with this angle; beyond, a grid interpolates it, of
this width. openTSNE's own width of 1 takes 3.5 times as long for 10,000 points and keeps no more
neighbours: trustworthiness .980 with both (`benchmarks/map_speed.py --intervals`)."""
_VERSION = 2
"""Of what a map is for given settings; a change makes cached ones void."""


@dataclass(frozen=True, eq=False)
class LatentMap:
    """Places of M cells of a table on a plane, and how they were found.

    Attributes:
        xy: Places `[M, 2]` of float32; only distances between near points mean something.
        rows: Row of each point in the table of embeddings, `[M]` of int64, ascending.
        method: One of `METHODS`.
        perplexity: Neighbours that t-SNE balances, or that UMAP looks at, after lowering it for
            few points; PCA has none.
        seed: Fixes which cells are drawn and the randomness of the method.
        total: Number N of rows of the table.
        placed: How many of the points were not fitted but placed beside fitted ones.
    """

    xy: np.ndarray
    rows: np.ndarray
    method: str
    perplexity: float | None
    seed: int
    total: int
    placed: int = 0

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
            name = "neighbours" if self.method == "umap" else "perplexity"
            parts.append(f"{name} {self.perplexity:.3g}")
        fitted = f"{len(self) - self.placed:,} of {self.total:,} cells"
        others = [f"{self.placed:,} placed beside their nearest"] if self.placed else []
        return ", ".join([*parts, f"seed {self.seed}", fitted, *others])

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
                    placed=np.array(self.placed),
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
                    placed=int(stored["placed"]) if "placed" in stored else 0,
                )
        except FileNotFoundError:
            raise RunError(
                f"No map at {path}. Make one with `latent_map(...).save(path)`."
            ) from None
        except (
            *(KeyError, TypeError, ValueError, OSError, EOFError, NotImplementedError),
            *(zipfile.BadZipFile, zlib.error),
        ) as error:
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
    everything: bool = False,
    report: Report = lambda what, done, of: None,
) -> LatentMap:
    """Places of cells on a plane, near where their embeddings are near.

    t-SNE (van der Maaten and Hinton, 2008; Barnes-Hut, 2014; for many points with interpolated
    repulsion, Linderman et al., 2019) with the learning rate of Belkina et al. (2019) starts from
    the first two principal components, scaled down, which keeps the large shape (Kobak and Berens,
    2019); so maps of two seeds look alike. It runs on one thread, 16 s for 5,000 embeddings of size
    16, 17 s for 10,000, 67 s for 50,000 (`benchmarks/map_speed.py`). With fewer than 3 points a
    neighbour the perplexity is lowered. Equal embeddings fall on about one place.

    Args:
        embeddings: One a cell, `[N, D]`.
        method: `"tsne"`; `"pca"`: the first two principal components, for a quick look; or
            `"umap"` (McInnes et al., 2018) with the extra of that name.
        max_points: Larger tables are thinned to a random subset of this size.
        perplexity: About how many neighbours a point keeps near.
        seed: Fixes the subset and the method's randomness.
        everything: Place the other cells as well, each at the mean of its 10 nearest fitted ones,
            the nearer the heavier (by inverse squared distance); PCA projects them.
        report: Called on the way.

    Raises:
        ShapeError: `embeddings` is not a matrix of at least 4 rows.
        ConfigError: An embedding is not finite, or all are equal; an option is impossible; or
            umap-learn is not installed.

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
    fitted = np.asarray(embeddings[rows], np.float64)
    if (fitted == fitted[0]).all():
        raise ConfigError(
            f"`embeddings` must differ. All {len(fitted)} are equal: the encoder tells no two "
            "cells apart."
        )
    # Of the whole table: those of a sample may point the other way for another seed.
    axes = _principal_axes(embeddings)
    if method == "pca":
        shown = np.arange(total) if everything else rows
        xy = _project(np.asarray(embeddings[shown], np.float64), fitted.mean(0), axes)
        return LatentMap(xy, shown, method, None, seed, total, len(shown) - len(rows))
    perplexity = min(float(perplexity), (len(fitted) - 1) / 3)
    start = _project(fitted, fitted.mean(0), axes)
    if method == "tsne":
        xy = _tsne(fitted, start, perplexity, seed, report)
    else:
        xy = _umap(fitted, start, perplexity, seed)
    points = LatentMap(xy, rows, method, perplexity, seed, total)
    return _with_the_others(points, embeddings, report) if everything else points


def cached_map(
    embeddings: np.ndarray,
    *,
    method: Method = "tsne",
    max_points: int = 5_000,
    perplexity: float = 30.0,
    seed: int = 0,
    everything: bool = False,
    report: Report = lambda what, done, of: None,
    folder: str | Path | None = None,
) -> LatentMap:
    """What `latent_map` gives, kept in a file whose name says what embeddings and settings are.

    Args:
        embeddings: One a cell, `[N, D]`.
        method: See `latent_map`, and for those that follow as well.
        max_points: How many cells are fitted at most.
        perplexity: About how many neighbours a point keeps near.
        seed: Fixes the subset and the method's randomness.
        everything: Place the other cells as well.
        report: Called on the way, if there is a way.
        folder: Where maps are kept; by default `maps_folder()`.
    """
    settings = {
        "method": method,
        "max_points": min(max_points, len(embeddings)),
        "perplexity": float(perplexity),
        "seed": seed,
        "everything": everything and max_points < len(embeddings),
    }
    embeddings = np.ascontiguousarray(embeddings)
    about = settings | {
        "version": _VERSION,
        "shape": embeddings.shape,
        "kind": embeddings.dtype.str,
    }
    content = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    content.update(embeddings.data)
    kept = maps_folder() if folder is None else Path(folder)
    file = kept / f"{content.hexdigest()[:32]}.npz"
    try:
        return LatentMap.load(file)
    except RunError:  # not there, or cut off
        points = latent_map(
            embeddings,
            method=method,
            max_points=max_points,
            perplexity=perplexity,
            seed=seed,
            everything=everything,
            report=report,
        )
        try:
            make_folder(kept)
            points.save(file)
        except RunError as error:  # the map is here; only another time will it take as long
            warnings.warn(f"The map is not kept: {error}", MapNotKept, stacklevel=2)
        return points


class MapNotKept(UserWarning):
    """A map was made and could not be written to the folder of kept maps."""


def maps_folder() -> Path:
    """Folder of kept maps: `ARCHREP_MAPS`, or `archrep/maps` in the user's cache."""
    if named := os.environ.get("ARCHREP_MAPS"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(base).expanduser() / "archrep" / "maps"


def _principal_axes(points: np.ndarray) -> np.ndarray:
    """First two principal axes as columns, `[D, 2]`; the largest loading of each is positive."""
    centred = np.asarray(points, np.float64) - points.mean(0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    return axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])


def _project(points: np.ndarray, centre: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Principal components `[M, 2]` of float32."""
    xy = np.zeros((len(points), 2), np.float32)  # a second column of zeros where D is 1
    xy[:, : axes.shape[1]] = (points - centre) @ axes
    return xy


def _tsne(
    points: np.ndarray, start: np.ndarray, perplexity: float, seed: int, report: Report
) -> np.ndarray:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors
    from scipy.spatial import cKDTree
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # also because sums, and with them maps, may depend on threads
        points = points - points.mean(0)
        points /= np.abs(points).max()  # t-SNE ignores scale
        start = start / np.abs(start).max()
        report("finding neighbours", 0, 1)
        count = min(len(points) - 1, int(3 * perplexity))
        distances, rows = cKDTree(points).query(points, k=count + 1)
        distances, rows = _without_itself(distances, rows)
        affinities = PerplexityBasedNN(
            perplexity=perplexity,
            knn_index=PrecomputedNeighbors(rows, distances),
            n_jobs=1,
        )
        embedding = TSNEEmbedding(
            start * (1e-4 / start[:, 0].std()),
            affinities,
            negative_gradient_method="bh" if len(points) <= _TREE_POINTS else "fft",
            theta=_ANGLE,
            ints_in_interval=_INTERVAL,
            n_jobs=1,
            random_state=derive_seed(seed, "latent_map/tsne") % 2**32,
        )
        total = _EXAGGERATED + _ITERATIONS
        for done in range(0, total, _STRETCH):
            report("t-SNE", done, total)
            early = done < _EXAGGERATED
            embedding = embedding.optimize(
                _STRETCH, exaggeration=12 if early else None, momentum=0.5 if early else 0.8
            )
        return np.asarray(embedding, np.float32)


def _without_itself(distances: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours `[M, k]` of `[M, k + 1]` that hold the point itself, or as many of its equals."""
    itself = rows == np.arange(len(rows))[:, None]
    itself[~itself.any(1), -1] = True
    shape = len(rows), rows.shape[1] - 1
    return distances[~itself].reshape(shape), rows[~itself].reshape(shape)


def _umap(points: np.ndarray, start: np.ndarray, neighbours: float, seed: int) -> np.ndarray:
    try:
        from umap import UMAP
    except ImportError:
        raise ConfigError(
            "The method 'umap' needs umap-learn: `pip install 'archrep[umap]'`. Or take 'tsne'."
        ) from None
    method = UMAP(
        n_neighbors=max(2, round(neighbours)),
        init=start * (10 / np.abs(start).max()),  # the size UMAP gives its own starts
        random_state=derive_seed(seed, "latent_map/umap") % 2**32,
        n_jobs=1,
    )
    return np.asarray(method.fit_transform(points.astype(np.float32)), np.float32)


def _with_the_others(points: LatentMap, embeddings: np.ndarray, report: Report) -> LatentMap:
    """The map with all N rows: those that were not fitted beside their nearest fitted ones."""
    from scipy.spatial import cKDTree

    others = np.setdiff1d(np.arange(points.total), points.rows)
    xy = np.empty((points.total, 2), np.float32)
    xy[points.rows] = points.xy
    tree = cKDTree(np.asarray(embeddings[points.rows], np.float64))
    nearest = min(NEAREST, len(points))
    for at in range(0, len(others), 20_000):
        report("placing the others", at, len(others))
        rows = others[at : at + 20_000]
        distances, near = tree.query(np.asarray(embeddings[rows], np.float64), k=nearest)
        # Of equal cells the weight is all but infinite, and the place theirs.
        weights = 1 / np.maximum(np.square(distances), 1e-20)
        weights /= weights.sum(1, keepdims=True)
        xy[rows] = (points.xy[near] * weights[:, :, None]).sum(1)
    return replace(points, xy=xy, rows=np.arange(points.total), placed=len(others))


class AreaMeans(NamedTuple):
    """Means of a column over the squares of a grid on a map.

    Attributes:
        values: `[Y, X]`; NaN where no point with a value lies.
        edges_x: Of the squares, `[X + 1]`.
        edges_y: `[Y + 1]`.
    """

    values: np.ndarray
    edges_x: np.ndarray
    edges_y: np.ndarray


def area_means(points: LatentMap, column: np.ndarray, squares: int = 51) -> AreaMeans:
    """Means of a column over small squares of a map, as in Figure 4 of Yan et al. (2020).

    Args:
        points: The map.
        column: One value a table row or a point; NaN for none.
        squares: Along the longer side of the map.

    Raises:
        ConfigError: `squares` is below 1.
        ShapeError: The column fits neither the table nor the points.
    """
    if squares < 1:
        raise ConfigError(f"`squares` must be at least 1. Got {squares}.")
    values = points.values(column).astype(float)
    low, high = points.xy.min(0).astype(float), points.xy.max(0).astype(float)
    side = (high - low).max() / squares
    counts = np.maximum(np.ceil((high - low) / side - 1e-9), 1).astype(int)
    edges = [low[k] + side * np.arange(counts[k] + 1) for k in range(2)]
    known = np.isfinite(values)
    place = np.minimum(((points.xy[known] - low) / side).astype(int), counts - 1)
    flat = place[:, 1] * counts[0] + place[:, 0]
    sums = np.bincount(flat, values[known], counts.prod())
    numbers = np.bincount(flat, minlength=counts.prod())
    means = np.full(counts.prod(), np.nan)
    np.divide(sums, numbers, out=means, where=numbers > 0)
    return AreaMeans(means.reshape(counts[::-1]), edges[0], edges[1])


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

"""Pictures of a latent space beside its maps: distances, predictions, places of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from archrep.errors import ConfigError, ShapeError
from archrep.latent_map import AreaMeans, LatentMap
from archrep.plots.style import (
    CATEGORY_COLOURS,
    GREY,
    SMALL_PRINT,
    beside,
    colour_bar,
    colour_map,
    new_axes,
    plain,
    small_print,
    wrapped,
)
from archrep.walks import Distances

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_distances(
    distances: Distances, *, most: int = 7, caption: str = "", ax: Axes | None = None
) -> Axes:
    """Latent distances of pairs of cells by their edit distance, a box each (Figure 3).

    Boxes hold the middle half and the median, whiskers reach 1.5 times as far; points beyond are
    drawn. Below a box stands how many pairs it is of.

    Args:
        distances: What `archrep.walks.distances_along_walk` returned.
        most: Largest edit distance drawn.
        caption: Space, encoder and walk; in small print.
        ax: Axes to draw into; `None` makes a figure, without pyplot.

    Raises:
        ShapeError: There is no pair at most so far apart.
    """
    ax = new_axes(ax)
    groups = {k: distances.latent[distances.edits == k] for k in range(most + 1)}
    drawn = {k: own for k, own in groups.items() if len(own)}
    if not drawn:
        raise ShapeError(f"No two cells are at most {most} edits apart.")
    line = {"color": CATEGORY_COLOURS[0], "linewidth": 1.2}
    ax.boxplot(
        list(drawn.values()),
        positions=list(drawn),
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": CATEGORY_COLOURS[4], "alpha": 0.5, "edgecolor": line["color"]},
        medianprops={"color": CATEGORY_COLOURS[5], "linewidth": 2},
        whiskerprops=line,
        capprops=line,
        flierprops={
            "marker": ".", "markersize": 2, "markeredgecolor": GREY, "rasterized": True,
        },
    )  # fmt: skip
    ax.set_xticks(list(drawn), [f"{k}\n{len(own):,}" for k, own in drawn.items()])
    ax.tick_params(axis="x", labelsize="small", length=0)
    beyond = int((distances.edits > most).sum())
    more = f"; {beyond:,} pairs are further apart" if beyond else ""
    ax.set_xlabel(f"edit distance, and pairs of cells{more}")
    ax.set_ylabel("latent distance (L2)")
    small_print(ax, caption)
    return ax


def plot_prediction(
    truth: np.ndarray,
    predicted: np.ndarray,
    *,
    label: str = "test accuracy",
    unit: str = "%",
    caption: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Predicted against recorded figures, with RMSE and Pearson's r (Figure 2).

    All count for these; of the picture a few extremes are left out.

    Args:
        truth: Recorded, `[N]`.
        predicted: Predicted for the same cells, `[N]`.
        label: What they are.
        unit: `"%"` for fractions, which are drawn in percent; or none.
        caption: Table, encoder, labels and seed; in small print.
        ax: Axes to draw into; `None` makes a figure, without pyplot.

    Raises:
        ShapeError: They are not as many, or fewer than two.
    """
    from matplotlib.colors import LogNorm

    if truth.shape != predicted.shape or truth.ndim != 1 or len(truth) < 2:
        raise ShapeError(
            f"`truth` and `predicted` must be [N], N at least 2. Got {truth.shape} and "
            f"{predicted.shape}."
        )
    ax = new_axes(ax, (4.8, 4.0))
    factor, words = (100, f"{label}, %") if unit == "%" else (1, label)
    (left, right), (low, high) = (_span(factor * values) for values in (truth, predicted))
    bins = ax.hist2d(
        factor * truth,
        factor * predicted,
        bins=120,
        range=((left, right), (low, high)),
        cmap=colour_map(),
        cmin=1,
        norm=LogNorm(),
        rasterized=True,
    )[3]
    colour_bar(ax, bins, "cells")
    ax.axline((left, left), slope=1, color=GREY, linewidth=0.8, linestyle="--")
    ax.set(xlim=(left, right), ylim=(low, high))
    ax.set_xlabel(words)
    ax.set_ylabel(beside(ax, f"predicted {words}"))
    error = float(np.sqrt(np.square(truth - predicted).mean()))
    constant = np.ptp(truth) == 0 or np.ptp(predicted) == 0
    r = float("nan") if constant else float(np.corrcoef(truth, predicted)[0, 1])
    ax.text(
        0.03, 0.03, f"RMSE {error:.4g}\nPearson's r {r:.3f}\n{len(truth):,} cells",
        transform=ax.transAxes, va="bottom", fontsize=8,
        bbox={"facecolor": ax.get_facecolor(), "edgecolor": "none", "alpha": 0.8, "pad": 2},
    )  # fmt: skip
    small_print(ax, caption)
    return ax


def _span(values: np.ndarray) -> tuple[float, float]:
    """Where all but a few extremes lie, and a little more."""
    low, high = np.percentile(values, (0.1, 99.9))
    margin = 0.05 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def plot_areas(areas: AreaMeans, *, label: str, caption: str = "", ax: Axes | None = None) -> Axes:
    """Means of a column over small squares of a map (Figure 4).

    Args:
        areas: What `archrep.latent_map.area_means` returned.
        label: What the column is, with its unit.
        caption: How the map was made; in small print.
        ax: Axes to draw into; `None` makes a figure, without pyplot.

    Raises:
        ConfigError: No square has a value.
    """
    ax = new_axes(ax, (5.2, 4.4))
    values = areas.values
    known = values[np.isfinite(values)]
    if not len(known):
        raise ConfigError(f"No point has a value of {label}: all are NaN.")
    low, high = np.percentile(known, (5, 95))
    if low == high:
        low, high = known.min(), known.max()
    image = ax.pcolormesh(
        areas.edges_x,
        areas.edges_y,
        values,
        cmap=colour_map(),
        vmin=low,
        vmax=high,
        rasterized=True,
    )
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="#cccccc", linewidth=0.6)
    below, above = known.min() < low, known.max() > high
    extend: Any = {
        (0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both",
    }[int(below), int(above)]  # fmt: skip
    colour_bar(ax, image, label, extend=extend)
    ax.set_xlabel(wrapped(ax, plain(caption), SMALL_PRINT["fontsize"]), **SMALL_PRINT)
    return ax


def plot_visits(points: LatentMap, rows: np.ndarray, *, label: str = "search", ax: Axes) -> Axes:
    """The places that a search visited on a map, joined in order, first and last marked.

    Args:
        points: The map.
        rows: Rows of the table of embeddings in the order of the queries, `[Q]`; cells that are
            not on the map are left out.
        label: Of the search, for the legend.
        ax: Axes that the map was drawn into.

    Raises:
        ConfigError: None of the cells is on the map.
    """
    where = np.searchsorted(points.rows, rows).clip(max=len(points) - 1)
    on_map = points.rows[where] == rows
    if not on_map.any():
        raise ConfigError("None of the cells that the search visited is on the map.")
    xy = points.xy[where[on_map]]
    missing = "" if on_map.all() else f", {int((~on_map).sum()):,} of {len(rows):,} not on it"
    colour = CATEGORY_COLOURS[5]
    ax.plot(*xy.T, color=colour, linewidth=0.4, alpha=0.25)
    spots: dict[str, Any] = {"markersize": 4, "markeredgecolor": "white", "markeredgewidth": 0.3}
    ax.plot(*xy.T, "o", color=colour, label=f"queries{missing}", **spots)
    ends: dict[str, Any] = {"markersize": 8, "markeredgecolor": "white", "markeredgewidth": 0.8}
    ax.plot(*xy[0], "o", color=CATEGORY_COLOURS[0], label="first query", **ends)
    ax.plot(*xy[-1], "s", color=CATEGORY_COLOURS[7], label="last query", **ends)
    ax.legend(
        fontsize=7, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0),
        title=wrapped(ax, plain(label), 7), title_fontsize=7,
    )  # fmt: skip
    return ax

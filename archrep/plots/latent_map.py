"""Pictures of a latent map: points coloured by a column, and the overview a run writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from archrep.cell_columns import column_label
from archrep.errors import ConfigError
from archrep.latent_map import LatentMap, telling_columns
from archrep.plots.style import (
    CATEGORY_COLOURS,
    MISSING,
    SMALL_PRINT,
    colour_bar,
    colour_map,
    new_axes,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_latent_map(
    points: LatentMap,
    values: np.ndarray | None = None,
    *,
    label: str | None = None,
    categorical: bool | None = None,
    colours: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Axes with the points of a map, coloured by a column, and in small print how it was made.

    Args:
        points: What `archrep.latent_map.latent_map` returned.
        values: Column to colour by: one value a table row, `[N]`, or one a point, `[M]`. Points
            without a value (NaN) are grey. `None` colours nothing.
        label: What the values are, with their unit.
        categorical: Whether to list values in a legend instead of a colour bar; `None` does so for
            text and truth values.
        colours: Of every category, in the order of the legend; by default as many as can be told
            apart.
        ax: Axes to draw into; `None` makes a figure, without pyplot.

    Raises:
        ShapeError: `values` fits neither the table nor the points.
        ConfigError: There are more categories than a legend can tell apart.
    """
    ax = new_axes(ax, (5.2, 4.4))
    _draw(points, values, label, categorical, ax, colours)
    ax.set_xlabel(wrapped(ax, points.caption, SMALL_PRINT["fontsize"]), **SMALL_PRINT)
    return ax


def map_figure(
    points: LatentMap, columns: Mapping[str, np.ndarray], *, title: str | None = None
) -> Figure:
    """Overview of a map: up to four panels, one for each of the columns that tell most.

    Args:
        points: The map.
        columns: Columns by name, as `archrep.cell_columns.space_columns` returns them; those drawn
            are chosen by `telling_columns`.
        title: Such as the title of the space and the preset of the run.
    """
    from matplotlib.figure import Figure

    chosen = telling_columns(columns, points)
    names: list[str | None] = [*chosen] or [None]
    rows, across = (2, 2) if len(names) == 4 else (1, len(names))
    figure = Figure(figsize=(3.7 * across, 3.1 * rows + 0.5), layout="constrained")
    for name, ax in zip(names, figure.subplots(rows, across, squeeze=False).flat, strict=True):
        if name is None:
            _draw(points, None, None, None, ax)
        else:
            _draw(points, chosen[name], column_label(name), None, ax)
    if title is not None:
        figure.suptitle(title, fontsize="large")
    figure.supxlabel(points.caption, **SMALL_PRINT)
    return figure


def _draw(
    points: LatentMap,
    values: np.ndarray | None,
    label: str | None,
    categorical: bool | None,
    ax: Axes,
    colours: Mapping[str, str] | None = None,
) -> None:
    ax.set_aspect("equal", adjustable="datalim")
    ax.set(xticks=[], yticks=[])  # t-SNE has no axes to read off, and rotates freely
    ax.spines[:].set(visible=True, color="#cccccc", linewidth=0.6)
    extent = ax.get_window_extent()
    area = extent.width * extent.height * (72 / ax.figure.dpi) ** 2
    style: dict[str, Any] = {
        "s": min(max(0.4 * area / len(points), 0.8), 25.0),
        "lw": 0,
        "rasterized": True,
    }
    if values is None:
        ax.scatter(*points.xy.T, color=CATEGORY_COLOURS[0], **style)
        return
    values = points.values(values)
    if categorical is None:
        categorical = values.dtype.kind not in "iuf"
    if categorical:
        _draw_categories(points, values, label, ax, style, colours)
    else:
        _draw_numbers(points, values.astype(float), label, ax, style)


def _draw_categories(
    points: LatentMap,
    values: np.ndarray,
    label: str | None,
    ax: Axes,
    style: dict[str, Any],
    colours: Mapping[str, str] | None,
) -> None:
    names = np.unique(values)
    if not colours and len(names) > len(CATEGORY_COLOURS):
        raise ConfigError(
            f"A legend tells {len(CATEGORY_COLOURS)} categories apart. Got {len(names)} values of "
            f"{label or 'the column'}: merge some, or pass numbers with `categorical=False`."
        )
    for name, colour in (colours or dict(zip(names, CATEGORY_COLOURS, strict=False))).items():
        ax.scatter(*points.xy[values == name].T, color=colour, label=str(name), **style)
    _legend(ax, title=label, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _legend(ax: Axes, **options: Any) -> None:
    legend = ax.legend(frameon=False, fontsize="small", handletextpad=0.2, **options)
    for handle in legend.legend_handles:
        handle.set_sizes([25])  # type: ignore[union-attr]  # points on the map may be tiny


def _draw_numbers(
    points: LatentMap, values: np.ndarray, label: str | None, ax: Axes, style: dict[str, Any]
) -> None:
    """Whole numbers of a small range get one colour each; others a range without extremes."""
    from matplotlib.colors import BoundaryNorm, Normalize

    known = np.isfinite(values)
    if not known.any():
        raise ConfigError(f"No point has a value of {label or 'the column'}: all are NaN.")
    low, high = values[known].min(), values[known].max()
    colours = colour_map()
    norm: Normalize
    bar: dict[str, Any] = {}
    if high - low < 16 and (values[known] == values[known].round()).all():
        norm = BoundaryNorm(np.arange(low - 0.5, high + 1), colours.N)
        step = 1 if high - low < 10 else 2
        bar |= {"ticks": np.arange(low, high + 1, step), "spacing": "proportional"}
    else:
        inner = np.percentile(values[known], (2, 98))
        if 0 < 2 * (inner[1] - inner[0]) < high - low:
            # A few extremes, such as failed trainings, must not flatten the rest to one colour.
            bar["extend"] = "both"
            low, high = inner
        norm = Normalize(low, high)
    if not known.all():
        ax.scatter(*points.xy[~known].T, color=MISSING, label="no value", **style)
        _legend(ax, loc="lower left")
    x, y = points.xy[known].T
    drawn = ax.scatter(x, y, c=values[known], cmap=colours, norm=norm, **style)
    scale = colour_bar(ax, drawn, label, **bar)
    scale.minorticks_off()
    scale.ax.tick_params(labelsize="small", length=2)

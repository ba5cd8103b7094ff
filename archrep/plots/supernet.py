"""Pictures of weight-sharing runs: the cells found, and figures by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from archrep.cells.genotype import Genotype
from archrep.cells.registry import get_space
from archrep.errors import CellError, ShapeError
from archrep.plots.cell import draw_cells
from archrep.plots.style import (
    CATEGORY_COLOURS,
    SMALL_PRINT,
    colour_bar,
    colour_map,
    line_style,
    new_axes,
    place_legend,
    plain,
    small_print,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def found_figure(
    space: str, found: Mapping[str, Sequence[Mapping[str, Any]]], seeds: Sequence[int]
) -> Figure | None:
    """The cells that each seed ended with, one column a seed; of DARTS, both kinds.

    Args:
        space: Search space of the supernet.
        found: What chose a cell, with a list over seeds, as a run's summary has it.
        seeds: Of each run.

    Returns:
        The figure, or `None` where there is no cell to draw: chains of blocks, or noise as an
        operation, which is no cell of a space.
    """
    cells, titles, columns = [], [], 1
    for name, lines in found.items():
        try:
            rows = [_cells_of(space, line["cell"]) for line in lines]
        except CellError:
            continue
        columns = max(columns, len(rows))
        for kind in range(len(rows[0]) if rows else 0):
            for s, own in enumerate(rows):
                label, cell = own[kind]
                cells.append(cell)
                titles.append(
                    ", ".join(w for w in (name.replace("_", " "), f"seed {seeds[s]}", label) if w)
                )
    return draw_cells(cells, titles=titles, columns=columns) if cells else None


def _cells_of(space: str, text: str) -> list[tuple[str, Any]]:
    """Cells of an architecture with what they are.

    Raises:
        CellError: It is no cell of a space.
    """
    if space == "nasbench201":
        return [("", get_space(space).parse(text))]
    genotype = Genotype.parse(text)
    return [("normal", genotype.normal), ("reduction", genotype.reduce)]


def epochs_figure(history: Sequence[Mapping[str, Sequence[Any]]], caption: str = "") -> Figure:
    """Every figure of a run by epoch, one panel each, one line a seed.

    Args:
        history: Of every epoch, a list over seeds by name.
        caption: In small print below.

    Raises:
        ShapeError: There is no epoch.
    """
    from matplotlib.figure import Figure

    if not history:
        raise ShapeError("A picture by epoch needs one epoch at least. Got none.")
    seeds = len(next(iter(history[0].values())))
    names = [
        name
        for name in dict.fromkeys(name for figures in history for name in figures)
        if not any(isinstance(figures.get(name, [0])[0], str) for figures in history)
    ]
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for name, ax in zip(names, axes, strict=True):
        missing = [np.nan] * seeds
        values = np.array([figures.get(name, missing) for figures in history], float)
        for s, own in enumerate(values.T):
            colour = CATEGORY_COLOURS[s % len(CATEGORY_COLOURS)]
            ax.plot(np.arange(1, len(own) + 1), own, color=colour, linewidth=1.2)
        ax.set_title(name.replace("_", " "), fontsize=9)
        ax.set_xlabel("epoch")
        ax.spines[["top", "right"]].set_visible(False)
    if caption:
        figure.supxlabel(caption, **SMALL_PRINT)
    return figure


def plot_by_epoch(
    lines: Mapping[str, Sequence[Sequence[float]]], *, ylabel: str, ax: Axes | None = None
) -> Axes:
    """One figure of several runs by epoch: the mean over seeds, and a band from least to most.

    Args:
        lines: Of each run, by label: of each epoch, a list over seeds.
        ylabel: What is drawn.
        ax: Axes to draw into; `None` makes a figure, without pyplot.
    """
    own, ax = ax is None, new_axes(ax, (5.6, 4.0))
    for number, (label, line) in enumerate(lines.items()):
        values = np.array(line, float)
        colour, _ = line_style(number)
        epochs = np.arange(1, len(values) + 1)
        # Whole numbers of several runs often coincide: a dashed line shows the one below it.
        dashes = (0, (4 + number, 2)) if number % 2 else "-"
        width = 2.4 if number % 2 == 0 else 1.4
        ax.plot(
            epochs, values.mean(1), color=colour, linestyle=dashes, label=plain(label), lw=width
        )
        if values.shape[1] > 1:
            ax.fill_between(
                epochs, values.min(1), values.max(1), color=colour, alpha=0.15, linewidth=0
            )
    seeds = sorted({np.shape(line)[1] for line in lines.values()})
    ax.set_xlabel("epoch")
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    place_legend(ax, grow=own)
    of = " or ".join(map(str, seeds)) + (" seed" if seeds == [1] else " seeds")
    small_print(ax, of if seeds == [1] else f"mean of {of}, band from least to most")
    return ax


def plot_ranks(
    score: np.ndarray,
    accuracy: np.ndarray,
    *,
    label: str,
    tau: float | None = None,
    caption: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Rank by a score against rank by recorded accuracy, how many cells lie where.

    Args:
        score: Of every cell, `[N]`; large is good.
        accuracy: Recorded, `[N]`; cells without it or a score (NaN) are left out.
        label: What the score is.
        tau: Kendall's of the same cells, for the small print.
        caption: Supernet, table, data set and seed.
        ax: Axes to draw into; `None` makes a figure, without pyplot.

    Raises:
        ShapeError: They are not as many, or fewer than two are known.
    """
    from matplotlib.colors import LogNorm

    if score.shape != accuracy.shape or score.ndim != 1:
        raise ShapeError(
            f"`score` and `accuracy` must be [N]. Got {score.shape} and {accuracy.shape}."
        )
    ax = new_axes(ax, (4.8, 4.0))
    known = np.isfinite(accuracy) & np.isfinite(score)
    if known.sum() < 2:
        raise ShapeError("`score` and `accuracy` must both be there for two cells. They are not.")
    ranks = [np.argsort(np.argsort(-values[known], kind="stable")) for values in (accuracy, score)]
    bins = ax.hist2d(
        ranks[0] + 1,
        ranks[1] + 1,
        bins=60,
        cmap=colour_map(),
        cmin=1,
        norm=LogNorm(),
        rasterized=True,
    )[3]
    colour_bar(ax, bins, "cells")
    ax.invert_xaxis()
    ax.invert_yaxis()
    ax.set_xlabel("rank by recorded accuracy, 1 is the best")
    ax.set_ylabel(f"rank by {label}")
    words = [caption] if tau is None else [caption, f"Kendall's tau {tau:.3f}"]
    small_print(ax, ", ".join(word for word in words if word))
    return ax

"""Pictures of searches: regret along a budget with bands over seeds, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from archrep.comparison import Curve
from archrep.plots.style import beside, line_style, new_axes, place_legend, plain, small_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_curves(
    curves: Mapping[str, Curve],
    *,
    xlabel: str,
    ylabel: str,
    caption: str = "",
    log: bool = True,
    mean: bool = False,
    beside: Mapping[str, tuple[int, Curve]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Median (or mean) of each search along its budget, and a band between two quantiles.

    Args:
        curves: What `archrep.comparison.curve` returned, by label.
        xlabel: The budget with its unit.
        ylabel: What is drawn, with its unit; values are drawn in percent.
        caption: Protocol, table, seeds; in small print.
        log: Logarithmic axes.
        mean: Draw the mean instead of the median, without a band.
        beside: Means of other people's searches by label, dotted, each with the number of the curve
            whose colour it takes.
        ax: Axes to draw into; `None` makes a figure, without pyplot.
    """
    own, ax = ax is None, new_axes(ax)
    for number, (label, curve) in enumerate(curves.items()):
        colour, dashes = line_style(number)
        line = curve.mean if mean else curve.middle
        ax.plot(curve.budget, 100 * line, dashes, color=colour, label=plain(label), linewidth=1.5)
        if not mean:
            ax.fill_between(
                curve.budget,
                100 * curve.low,
                100 * curve.high,
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
    for label, (number, curve) in (beside or {}).items():
        colour, _ = line_style(number)
        ax.plot(curve.budget, 100 * curve.mean, ":", color=colour, label=plain(label), linewidth=1)
    if log:
        ax.set_xscale("log")
        ax.set_yscale("log", nonpositive="clip")
        drawn = [*curves.values(), *(curve for _, curve in (beside or {}).values())]
        lowest = [np.min(c.middle[c.middle > 0]) for c in drawn if (c.middle > 0).any()]
        if lowest:  # a regret of zero has no place on a logarithmic axis
            ax.set_ylim(bottom=50 * min(lowest))
        _label_decades_only(ax)
    _finish(ax, xlabel, ylabel, caption, grow=own)
    return ax


def plot_ecdf(
    regrets: Mapping[str, np.ndarray], *, xlabel: str, caption: str = "", ax: Axes | None = None
) -> Axes:
    """Share of runs whose final regret is at most so large; values are drawn in percent.

    Args:
        regrets: Of each search, ascending, `[R]`, by label.
        xlabel: What they are, with their unit.
        caption: Protocol, table, seeds; in small print.
        ax: Axes to draw into; `None` makes a figure, without pyplot.
    """
    own, ax = ax is None, new_axes(ax)
    for number, (label, values) in enumerate(regrets.items()):
        colour, dashes = line_style(number)
        share = np.arange(1, len(values) + 1) / len(values)
        ax.step(
            100 * values,
            share,
            dashes,
            where="post",
            color=colour,
            label=plain(label),
            linewidth=1.5,
        )
    ax.set_ylim(0, 1.02)
    _finish(ax, xlabel, "share of runs", caption, grow=own)
    return ax


def _label_decades_only(ax: Axes) -> None:
    """Labels between powers of ten would overlap; below a decade they are the only ones."""
    from matplotlib.ticker import NullFormatter

    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if high >= 10 * low:
            axis.set_minor_formatter(NullFormatter())


def _finish(ax: Axes, xlabel: str, ylabel: str, caption: str, *, grow: bool) -> None:
    ax.set_ylabel(beside(ax, ylabel))
    ax.set_xlabel(xlabel)
    ax.grid(True, which="major", linewidth=0.4, alpha=0.5)
    ax.spines[["top", "right"]].set_visible(False)
    place_legend(ax, grow=grow)
    small_print(ax, caption)

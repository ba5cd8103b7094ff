"""Drawings of cells: into Matplotlib axes, or as SVG text for notebooks and web pages."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from archrep.cells.cell import Cell
from archrep.errors import ConfigError, ShapeError
from archrep.plots.layout import HEAD_LENGTH, HEAD_WIDTH, CellLayout, Direction, Point, layout
from archrep.plots.operations import describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT_SIZE = 0.128  # of a box width, so that 13 characters fit
CORNER = 0.07
EDGE, FAINT = "#555555", "#c4c4c4"
_BASELINE = 0.36 * FONT_SIZE  # from the middle of a line of text down to its baseline
_PIXELS = 100  # a box width in `cell_svg`


def draw_cell(
    cell: Cell,
    ax: Axes | None = None,
    *,
    title: str | None = None,
    direction: Direction | None = None,
) -> Axes:
    """Axes with the cell drawn from its inputs to its output.

    Labels are outlines that scale with the axes, so a cell looks the same in a small panel. Edges
    of an operation `none`, which carry nothing, are faint. Long edges into one node may join.

    Args:
        cell: Any cell, legal or not.
        ax: Axes to draw into; `None` makes a figure of fitting size, without pyplot.
        title: Text above the cell.
        direction: `"down"` or `"right"`; `None` goes right for cells with several inputs.

    Returns:
        The axes. The box of node v has the group id `node-v`, edge i -> j has `edge-i-j`.
    """
    from matplotlib.figure import Figure

    plan = layout(cell, direction)
    if ax is None:
        size = (0.95 * plan.width, 0.95 * plan.height + (0.3 if title else 0.0))
        ax = Figure(figsize=size, layout="constrained").add_subplot()
    extent = ax.get_window_extent()
    pixels = min(extent.width / plan.width, extent.height / plan.height)
    _draw(cell, plan, ax, title, unit=pixels * 72 / ax.figure.dpi)
    return ax


def draw_cells(
    cells: Sequence[Cell],
    *,
    titles: Sequence[str] | None = None,
    columns: int = 6,
    direction: Direction | None = None,
    box: float = 0.75,
) -> Figure:
    """Figure with the cells in rows, their boxes `box` inches wide in every panel.

    Raises:
        ShapeError: There is no cell, or not one title a cell.
        ConfigError: `columns` is below 1 or `box` not positive.
    """
    from matplotlib.figure import Figure

    if not cells or (titles is not None and len(titles) != len(cells)):
        raise ShapeError(
            "`draw_cells` takes at least one cell and, if any, one title a cell. "
            f"Got {len(cells)} cells and {'no' if titles is None else len(titles)} titles."
        )
    if columns < 1 or not box > 0:
        raise ConfigError(f"`columns` and `box` must be positive. Got {columns=} and {box=}.")
    plans = [layout(cell, direction) for cell in cells]
    columns = min(columns, len(cells))
    width = max(plan.width for plan in plans)
    heights = [
        max(plan.height for plan in plans[first : first + columns])
        for first in range(0, len(cells), columns)
    ]
    figure = Figure(
        figsize=(box * columns * width, sum(box * height + 0.35 for height in heights)),
        layout="constrained",
    )
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
    for k, ax in enumerate(axes.flat):
        ax.set_axis_off()
        if k < len(cells):
            _draw(cells[k], plans[k], ax, titles[k] if titles else None, unit=box * 72)
            middle = plans[k].width / 2
            ax.set(xlim=(middle - width / 2, middle + width / 2), ylim=(heights[k // columns], 0))
    return figure


def _draw(cell: Cell, plan: CellLayout, ax: Axes, title: str | None, unit: float) -> None:
    """Fill axes in which a box is `unit` points wide."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    ax.set(xlim=(0, plan.width), ylim=(plan.height, 0), aspect="equal")
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title, fontsize="medium")
    line = min(max(0.015 * unit, 0.4), 1.6)

    for i, j in _faint_first(cell):
        colour, route = _edge_colour(cell, i, j), plan.routes[i, j]
        path = Path(route, [Path.MOVETO] + [Path.CURVE4] * (len(route) - 1))
        ax.add_patch(
            PathPatch(path, fill=False, edgecolor=colour, lw=line, zorder=2, gid=f"edge-{i}-{j}")
        )
        head = _head(route[-1], plan.tips[i, j])
        ax.add_patch(Polygon(head, color=colour, lw=0, zorder=2, gid=f"head-{i}-{j}"))

    font = FontProperties(family="DejaVu Sans")  # ships with Matplotlib: the same everywhere
    for v, (op, box) in enumerate(zip(cell.ops, plan.boxes, strict=True)):
        label, kind = describe(op)
        ax.add_patch(
            FancyBboxPatch(
                (box.left, box.top),
                box.width,
                box.height,
                boxstyle=f"round,pad=0,rounding_size={CORNER}",
                facecolor=kind.fill,
                edgecolor=kind.line,
                linestyle=(0, (3, 2)) if kind.dashed else "-",
                lw=line,
                zorder=3,
                gid=f"node-{v}",
            )
        )
        text = TextPath((0, 0), label, size=FONT_SIZE, prop=font)
        middle = (text.get_extents().x0 + text.get_extents().x1) / 2
        move = Affine2D().translate(-middle, -_BASELINE).scale(1, -1).translate(box.x, box.y)
        ax.add_patch(PathPatch(move.transform_path(text), color=kind.text, lw=0, zorder=4))


def cell_svg(cell: Cell, *, direction: Direction | None = None) -> str:
    """SVG text of the cell, some kilobytes, always the same for the same cell; no Matplotlib.

    A tooltip over a box gives the full name of its operation.
    """
    plan = layout(cell, direction)
    width, height = (round(size * _PIXELS) for size in (plan.width, plan.height))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="DejaVu Sans, Verdana, Arial, sans-serif" '
        f'font-size="{FONT_SIZE * _PIXELS:.1f}" text-anchor="middle" stroke-width="1.3">',
        f"<title>Cell of {len(cell)} nodes and {len(cell.edges)} edges</title>",
    ]
    for i, j in _faint_first(cell):
        colour, route = _edge_colour(cell, i, j), plan.routes[i, j]
        head = _numbers(_head(route[-1], plan.tips[i, j]))
        lines.append(
            f'<g class="edge"><path d="M{_numbers(route[:1])} C{_numbers(route[1:])}" '
            f'fill="none" stroke="{colour}"/><polygon points="{head}" fill="{colour}"/></g>'
        )
    for op, box in zip(cell.ops, plan.boxes, strict=True):
        label, kind = describe(op)
        dash = ' stroke-dasharray="4 3"' if kind.dashed else ""
        lines.append(
            f'<g class="node"><title>{escape(op)}</title>'
            f'<rect x="{box.left * _PIXELS:.1f}" y="{box.top * _PIXELS:.1f}" '
            f'width="{box.width * _PIXELS:.1f}" height="{box.height * _PIXELS:.1f}" '
            f'rx="{CORNER * _PIXELS:.1f}" fill="{kind.fill}" stroke="{kind.line}"{dash}/>'
            f'<text x="{box.x * _PIXELS:.1f}" y="{(box.y + _BASELINE) * _PIXELS:.1f}" '
            f'fill="{kind.text}">{escape(label)}</text></g>'
        )
    return "\n".join([*lines, "</svg>"])


def _edge_colour(cell: Cell, i: int, j: int) -> str:
    return FAINT if any(describe(cell.ops[v])[1].dashed for v in (i, j)) else EDGE


def _faint_first(cell: Cell) -> list[tuple[int, int]]:
    """Edges in drawing order: where lines join, the one that carries something is on top."""
    return sorted(cell.edges, key=lambda edge: _edge_colour(cell, *edge) != FAINT)


def _head(base: Point, tip: Point) -> list[Point]:
    """Triangle of an arrow head, from the middle of its base to its tip."""
    (x0, y0), (x1, y1) = base, tip
    half = HEAD_WIDTH / 2 / HEAD_LENGTH
    aside = (-(y1 - y0) * half, (x1 - x0) * half)
    return [(x0 + aside[0], y0 + aside[1]), tip, (x0 - aside[0], y0 - aside[1])]


def _numbers(points: Iterable[Point]) -> str:
    return " ".join(f"{x * _PIXELS:.1f}" for x in itertools.chain.from_iterable(points))

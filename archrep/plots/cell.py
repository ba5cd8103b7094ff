"""Drawings of cells: into Matplotlib axes, or as SVG text for notebooks and web pages."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from archrep.cells.cell import Cell
from archrep.cells.space import Space
from archrep.errors import ConfigError, ShapeError
from archrep.operation_looks import describe
from archrep.plots.layout import HEAD_LENGTH, HEAD_WIDTH, CellLayout, Direction, Point, layout
from archrep.plots.style import in_lines, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT_SIZE = 0.128  # of a box width, so that 13 characters fit
TITLE = 8  # points
CORNER = 0.07
WALK_GAP = 0.5  # between the cells of a walk
EDGE, FAINT = "#777777", 0.4  # as far from white as from a dark page; opacity
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
    if title is not None:
        ax.set_title(title, fontsize="medium")
    _add(cell, plan, ax, unit=pixels * 72 / ax.figure.dpi)
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

    Long titles stand in several lines.

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
    across = 72 * box * width  # points of a panel
    texts = [in_lines(title, across, TITLE) for title in titles or [""] * len(cells)]
    places, bottom = [], 0.0  # left and lower side and height of every panel, inches from the top
    for k in range(0, len(cells), columns):
        row = slice(k, k + columns)
        height = box * max(plan.height for plan in plans[row])
        lines = max(text.count("\n") + 1 for text in texts[row])
        bottom += (1.3 * TITLE * lines + 10) / 72 + height
        places += [(box * width * column, bottom, height) for column in range(columns)]
    x, y = box * columns * width, bottom + 0.05
    figure = Figure(figsize=(x, y))
    for cell, plan, text, (left, lower, height) in zip(cells, plans, texts, places, strict=False):
        sides = (left / x, 1 - lower / y, box * width / x, height / y)
        ax = figure.add_axes(sides)
        ax.set_axis_off()
        ax.set_title(text, fontsize=TITLE)
        _add(cell, plan, ax, unit=box * 72)
        middle = plan.width / 2
        ax.set(xlim=(middle - width / 2, middle + width / 2), ylim=(height / box, 0))
    return figure


def plot_encoding(cell: Cell, space: Space, ax: Axes | None = None) -> Axes:
    """The adjacency and operation matrices of a cell, as encoders see it (Figures 7, 8 and 9).

    Rows are nodes, the first is the input. A filled square is a one; smaller cells than the space
    allows are padded with rows of zeros.

    Args:
        cell: A cell of the space.
        space: Its operations are the columns of the operation matrix.
        ax: Axes to draw into; `None` makes a figure, without pyplot.

    Raises:
        CellError: The cell is not legal in the space.
    """
    from matplotlib.patches import Rectangle

    cell = space.validate(cell)
    nodes, operations = space.max_nodes, len(space.ops)
    second = nodes + 1.5  # where the operations begin
    ax = new_axes(ax, encoding_size(space))
    ones = {(float(j), i): EDGE for i, j in cell.edges}
    for node, op in enumerate(cell.ops):
        ones[second + space.ops.index(op), node] = describe(op)[1].solid
    columns = [float(k) for k in range(nodes)] + [second + k for k in range(operations)]
    for x, y in itertools.product(columns, range(nodes)):
        colour = ones.get((x, y), "none")
        square = Rectangle((x, y), 1, 1, facecolor=colour, edgecolor=EDGE, linewidth=0.4)
        ax.add_patch(square).set_clip_on(False)
    names = [describe(op)[0] for op in space.ops]
    numbers = [str(k) for k in range(nodes)]
    ax.set(xlim=(0, second + operations), ylim=(nodes, 0), aspect="equal")
    ax.set_yticks([k + 0.5 for k in range(nodes)], numbers)
    ax.set_xticks([x + 0.5 for x in columns], numbers + names)
    ax.tick_params(length=0, labelsize=7, labeltop=True, labelbottom=False)
    for label in ax.get_xticklabels()[nodes:]:
        label.set(rotation=60, ha="left", rotation_mode="anchor")
    ax.spines[:].set_visible(False)
    ax.set_xlabel("adjacency (row to column), operations", fontsize=TITLE)
    return ax


def encoding_size(space: Space) -> tuple[float, float]:
    """Width and height of `plot_encoding` in inches, with its labels."""
    return 0.27 * (space.max_nodes + 1.5 + len(space.ops)) + 0.8, 0.27 * space.max_nodes + 1.5


def plot_walk(
    cells: Sequence[Cell | None],
    edits: Sequence[int | None] | None = None,
    *,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    box: float = 0.45,
    ax: Axes | None = None,
) -> Axes:
    """Cells in reading order, and between two of them how many edits turn one into the other.

    Figures 5, 11, 12 and 13 of Yan et al. (2020).

    Args:
        cells: Of a walk; `None` leaves a place empty, so that another walk begins in a row.
        edits: Edit distance of each cell to the one before it, one fewer; `None` for no number.
        titles: Text above each cell.
        columns: Cells in a row.
        box: Inches that a box is wide, where a figure is made.
        ax: Axes to draw into; `None` makes a figure of fitting size, without pyplot.

    Raises:
        ShapeError: There is no cell, or the numbers of edits or titles do not fit.
        ConfigError: `columns` is below 1 or `box` not positive.
    """
    from matplotlib.figure import Figure

    counts = {"edits": (edits, len(cells) - 1), "titles": (titles, len(cells))}
    for name, (given, wanted) in counts.items():
        if not any(cells) or (given is not None and len(given) != wanted):
            raise ShapeError(
                f"`plot_walk` takes at least one cell, and {wanted} {name} if any. Got "
                f"{len(cells)} cells and {'none' if given is None else len(given)}."
            )
    if columns < 1 or not box > 0:
        raise ConfigError(f"`columns` and `box` must be positive. Got {columns=} and {box=}.")
    columns = min(columns, len(cells))
    plans = [None if cell is None else layout(cell, "down") for cell in cells]
    width = max(plan.width for plan in plans if plan is not None) + WALK_GAP
    title = 0.3 if titles else 0.0
    tops, below = [], 0.0
    for first in range(0, len(cells), columns):
        tops.append(below + title)
        row = plans[first : first + columns]
        below += title + max((p.height for p in row if p is not None), default=0) + WALK_GAP
    if ax is None:
        size = (box * columns * width, box * below)
        ax = Figure(figsize=size, layout="constrained").add_subplot()
    ax.set(xlim=(0, columns * width), ylim=(below - WALK_GAP / 2, 0), aspect="equal")
    ax.set_axis_off()
    extent = ax.get_window_extent()
    unit = extent.width / (columns * width) * 72 / ax.figure.dpi
    for k, (cell, plan) in enumerate(zip(cells, plans, strict=True)):
        if cell is None or plan is None:
            continue
        left, top = (k % columns) * width, tops[k // columns]
        middle = left + WALK_GAP / 2 + (width - WALK_GAP) / 2
        _add(cell, plan, ax, unit, at=(middle - plan.width / 2, top))
        if titles:
            ax.text(middle, top - 0.06, titles[k], ha="center", va="bottom", fontsize=0.13 * unit)
        if edits is not None and k and edits[k - 1] is not None:
            where: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "fontsize": 0.2 * unit,
                "color": EDGE,
            }
            # A row begins with the step from the end of the row above.
            x = left + (0.14 if k % columns == 0 else 0.0)
            ax.text(x, top + 0.45, f"{edits[k - 1]}", **where, gid=f"edits-{k}")
            ax.annotate(
                "",
                (x + 0.13, top + 0.62),
                (x - 0.13, top + 0.62),
                arrowprops={"arrowstyle": "->", "color": EDGE, "lw": max(0.012 * unit, 0.4)},
            )
    return ax


def _add(cell: Cell, plan: CellLayout, ax: Axes, unit: float, at: Point | None = None) -> None:
    """Put a cell into axes in which a box is `unit` points wide.

    Args:
        cell: What to draw.
        plan: Its layout.
        ax: Where.
        unit: Points of a box width.
        at: Left and top of the cell among others; `None` fits the axes to it.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    if at is None:
        at = (0.0, 0.0)
        ax.set(xlim=(0, plan.width), ylim=(plan.height, 0), aspect="equal")
        ax.set_axis_off()
    line = min(max(0.015 * unit, 0.4), 1.6)
    shift = Affine2D().translate(*at)

    for i, j in _faint_first(cell):
        opacity, route = _opacity(cell, i, j), plan.routes[i, j]
        path = shift.transform_path(Path(route, [Path.MOVETO] + [Path.CURVE4] * (len(route) - 1)))
        look: dict[str, Any] = {"edgecolor": EDGE, "alpha": opacity, "zorder": 2}
        ax.add_patch(PathPatch(path, fill=False, lw=line, gid=f"edge-{i}-{j}", **look))
        head = shift.transform(_head(route[-1], plan.tips[i, j]))
        ax.add_patch(Polygon(head, facecolor=EDGE, lw=0, gid=f"head-{i}-{j}", **look))

    font = FontProperties(family="DejaVu Sans")  # ships with Matplotlib: the same everywhere
    for v, (op, box) in enumerate(zip(cell.ops, plan.boxes, strict=True)):
        label, kind = describe(op)
        ax.add_patch(
            FancyBboxPatch(
                (at[0] + box.left, at[1] + box.top),
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
        move = (
            Affine2D().translate(-middle, -_BASELINE).scale(1, -1).translate(box.x, box.y) + shift
        )
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
        opacity, route = _opacity(cell, i, j), plan.routes[i, j]
        head = _numbers(_head(route[-1], plan.tips[i, j]))
        faint = "" if opacity == 1 else f' opacity="{opacity}"'
        lines.append(
            f'<g class="edge"{faint}><path d="M{_numbers(route[:1])} C{_numbers(route[1:])}" '
            f'fill="none" stroke="{EDGE}"/><polygon points="{head}" fill="{EDGE}"/></g>'
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


def _opacity(cell: Cell, i: int, j: int) -> float:
    return FAINT if any(describe(cell.ops[v])[1].dashed for v in (i, j)) else 1.0


def _faint_first(cell: Cell) -> list[tuple[int, int]]:
    """Edges in drawing order: where lines join, the one that carries something is on top."""
    return sorted(cell.edges, key=lambda edge: _opacity(cell, *edge))


def _head(base: Point, tip: Point) -> list[Point]:
    """Triangle of an arrow head, from the middle of its base to its tip."""
    (x0, y0), (x1, y1) = base, tip
    half = HEAD_WIDTH / 2 / HEAD_LENGTH
    aside = (-(y1 - y0) * half, (x1 - x0) * half)
    return [(x0 + aside[0], y0 + aside[1]), tip, (x0 - aside[0], y0 - aside[1])]


def _numbers(points: Iterable[Point]) -> str:
    return " ".join(f"{x * _PIXELS:.1f}" for x in itertools.chain.from_iterable(points))

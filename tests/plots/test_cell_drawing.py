"""Drawings of cells: what is on them, and that no edge crosses a box that is not its end."""

from __future__ import annotations

import random
import sys
import xml.etree.ElementTree as ElementTree
from subprocess import run

import numpy as np
import pytest

from archrep.cells import SPACES, Cell
from archrep.errors import CellError, ConfigError, ShapeError
from archrep.operation_looks import KINDS, MAX_LABEL, OPERATIONS, describe
from archrep.plots.cell import cell_svg, draw_cell, draw_cells, plot_encoding
from archrep.plots.layout import BOX_HEIGHT, BOX_WIDTH, layout

SVG = "{http://www.w3.org/2000/svg}"
DIRECTIONS = ("down", "right")


def sample(name: str, count: int, seed: int = 0) -> list[Cell]:
    rng = np.random.default_rng(seed)
    return [SPACES[name].sample(rng) for _ in range(count)]


def patches(ax, kind: str) -> dict[str, object]:
    return {p.get_gid(): p for p in ax.patches if (p.get_gid() or "").startswith(f"{kind}-")}


def points_of(route, per_curve: int = 40) -> np.ndarray:
    """Points along joined cubic Bezier curves, `[P, 2]`, by de Casteljau's polynomial."""
    control = np.asarray(route)
    t = np.linspace(0, 1, per_curve)[:, None]
    parts = []
    for k in range(0, len(control) - 1, 3):
        a, b, c, d = control[k : k + 4]
        parts.append(
            a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3
        )
    return np.concatenate(parts)


def crossed_boxes(points: np.ndarray, boxes: np.ndarray) -> set[int]:
    """Boxes `[V, 4]` (left, top, right, bottom) whose inside holds one of the points."""
    x, y = points.T[:, :, None]
    left, top, right, bottom = boxes.T
    slack = 1e-9  # ends touch the border of their own boxes
    inside = (x > left + slack) & (x < right - slack) & (y > top + slack) & (y < bottom - slack)
    return set(np.flatnonzero(inside.any(0)).tolist())


@pytest.mark.parametrize("name", SPACES)
class TestEverySpace:
    def test_drawing_holds_one_box_a_node_and_one_arrow_an_edge(self, name):
        for cell in sample(name, 5):
            ax = draw_cell(cell)
            assert set(patches(ax, "node")) == {f"node-{v}" for v in range(len(cell))}
            assert set(patches(ax, "edge")) == {f"edge-{i}-{j}" for i, j in cell.edges}
            assert set(patches(ax, "head")) == {f"head-{i}-{j}" for i, j in cell.edges}
            assert len(ax.patches) == 2 * len(cell) + 2 * len(cell.edges)  # boxes have a label

    def test_no_drawn_edge_enters_a_box(self, name):
        for cell in sample(name, 8, seed=1):
            ax = draw_cell(cell)
            boxes = np.array(
                [
                    patches(ax, "node")[f"node-{v}"].get_path().get_extents().extents
                    for v in range(len(cell))
                ]
            )
            for edge in patches(ax, "edge").values():
                assert not crossed_boxes(points_of(edge.get_path().vertices), boxes)

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_no_edge_of_a_layout_enters_a_box_and_no_two_boxes_overlap(self, name, direction):
        for cell in sample(name, 60, seed=2):
            plan = layout(cell, direction)
            boxes = np.array(
                [(b.left, b.top, b.left + b.width, b.top + b.height) for b in plan.boxes]
            )
            assert (boxes >= 0).all()
            assert (boxes[:, 2:] <= (plan.width, plan.height)).all()
            centres = (boxes[:, None, :2] - boxes[None, :, :2]) / (BOX_WIDTH, BOX_HEIGHT)
            apart = np.abs(centres).max(-1) + 2 * np.eye(len(cell))
            assert apart.min() > 1.05  # by 5 % of a box at least, sideways or along
            for edge in cell.edges:
                points = points_of(plan.routes[edge])
                assert not crossed_boxes(points, boxes)
                assert points.min() >= 0
                assert (points <= (plan.width, plan.height)).all()

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_edges_leave_their_source_and_end_on_their_target(self, name, direction):
        along = 1 if direction == "down" else 0
        for cell in sample(name, 10, seed=3):
            plan = layout(cell, direction)
            for i, j in cell.edges:
                source, target = plan.boxes[i], plan.boxes[j]
                corner, size = (source.left, source.top), (source.width, source.height)
                start, tip = plan.routes[i, j][0], plan.tips[i, j]
                assert start[along] == pytest.approx(corner[along] + size[along])
                assert corner[1 - along] < start[1 - along] < corner[1 - along] + size[1 - along]
                corner = (target.left, target.top)
                assert tip[along] == pytest.approx(corner[along])
                assert corner[1 - along] < tip[1 - along] < corner[1 - along] + size[1 - along]

    def test_lines_join_only_towards_one_target(self, name):
        """Else a reader could follow a line to a node that the edge does not lead to."""
        for cell in sample(name, 40, seed=4):
            routes = layout(cell).routes
            for (i, j), route in routes.items():
                for (k, m), other in routes.items():
                    if (i, j) < (k, m) and j != m:
                        assert not set(route[3:]) & set(other[3:])

    def test_svg_is_well_formed_and_holds_every_node_and_edge(self, name):
        for cell in sample(name, 5, seed=5):
            root = ElementTree.fromstring(cell_svg(cell))
            assert root.tag == f"{SVG}svg"
            nodes = root.findall(f"{SVG}g[@class='node']")
            assert [node.findtext(f"{SVG}title") for node in nodes] == list(cell.ops)
            assert len(root.findall(f"{SVG}g[@class='edge']")) == len(cell.edges)
            labels = [node.findtext(f"{SVG}text") for node in nodes]
            assert labels == [describe(op)[0] for op in cell.ops]

    def test_every_operation_has_a_label_that_fits_and_a_colour(self, name):
        for op in SPACES[name].ops:
            assert op in OPERATIONS
            assert len(OPERATIONS[op][0]) <= MAX_LABEL

    def test_notebooks_show_the_svg(self, name):
        cell = sample(name, 1)[0]
        assert cell._repr_svg_() == cell_svg(cell)


def test_labels_are_narrower_than_their_boxes():
    ops = list(OPERATIONS)
    ax = draw_cell(Cell((*ops, "my_special_operation_of_mine")))
    labels = [p for p in ax.patches if p.get_gid() is None]
    assert len(labels) == len(ops) + 1
    widths = [p.get_path().get_extents().width for p in labels]
    assert max(widths) < 0.96 * BOX_WIDTH


def test_svg_is_the_same_in_a_process_with_another_hash_seed():
    code = (
        "from archrep.cells import SPACES; from archrep.plots.cell import cell_svg; "
        "import numpy as np; "
        "print(cell_svg(SPACES['darts'].sample(np.random.default_rng(7))), end='')"
    )
    texts = {
        run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert texts == {cell_svg(sample("darts", 1, seed=7)[0])}


def test_svg_needs_no_matplotlib():
    code = (
        "import sys, archrep.plots; from archrep.cells import Cell; "
        "Cell(('input', 'output'), ((0, 1),))._repr_svg_(); "
        "assert 'matplotlib' not in sys.modules and 'sklearn' not in sys.modules"
    )
    run([sys.executable, "-c", code], check=True)


def test_markup_in_an_operation_name_is_escaped():
    root = ElementTree.fromstring(cell_svg(Cell(("input", "a<b&c>", "output"), ((0, 1), (1, 2)))))
    assert root.findall(f"{SVG}g[@class='node']")[1].findtext(f"{SVG}title") == "a<b&c>"


@pytest.mark.parametrize(
    "cell",
    [
        Cell(()),
        Cell(("input",)),
        Cell(("input", "output")),
        Cell(("input", "output"), ((0, 1),)),
        Cell(("input", "unheard_of", "none", "output"), ((0, 1), (0, 3))),
    ],
)
def test_cells_of_no_space_are_drawn_too(cell):
    ElementTree.fromstring(cell_svg(cell))
    draw_cell(cell).figure.canvas.draw()


def test_edges_of_none_are_fainter_than_others():
    cell = Cell(("input", "none", "skip_connect", "output"), ((0, 1), (0, 2), (1, 3), (2, 3)))
    edges = patches(draw_cell(cell), "edge")
    dead, live = edges["edge-0-1"].get_edgecolor(), edges["edge-0-2"].get_edgecolor()
    assert dead[3] < 0.5 < live[3] == 1  # opacity: fainter on a light and on a dark page
    assert edges["edge-1-3"].get_edgecolor() == dead


def test_every_label_stands_out_from_its_box():
    """Contrast of at least 4.5 to 1, the level AA of the web's accessibility guidelines."""
    from matplotlib.colors import to_rgb

    def luminance(colour: str) -> float:
        c = np.array(to_rgb(colour))
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for kind in KINDS.values():
        low, high = sorted((luminance(kind.fill), luminance(kind.text)))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_drawing_changes_neither_pyplot_nor_random_state_nor_settings():
    import matplotlib
    from matplotlib import _pylab_helpers

    settings = dict(matplotlib.rcParams)
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    ax = draw_cell(sample("darts", 1)[0], title="a cell")
    ax.figure.canvas.draw()
    after = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert before == after
    assert dict(matplotlib.rcParams) == settings
    assert not _pylab_helpers.Gcf.figs


def test_cell_is_drawn_into_given_axes_and_they_are_returned():
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert draw_cell(sample("nasbench101", 1)[0], ax, title="best") is ax
    assert ax.get_title() == "best"


def test_rows_of_cells_have_boxes_of_one_size_on_paper():
    cells = sample("nasbench101", 5)
    figure = draw_cells(cells, titles=[f"cell {k}" for k in range(5)], columns=3)
    figure.canvas.draw()
    panels = [ax for ax in figure.axes if patches(ax, "node")]
    assert [ax.get_title() for ax in panels] == [f"cell {k}" for k in range(5)]
    widths = [patches(ax, "node")["node-0"].get_window_extent().width for ax in panels]
    assert max(widths) < 1.02 * min(widths)


def test_rows_of_cells_name_a_wrong_number_of_titles():
    cell = sample("nasbench201", 1)[0]
    with pytest.raises(ShapeError, match=r"one title a cell\. Got 1 cells and 2 titles"):
        draw_cells([cell], titles=["a", "b"])
    with pytest.raises(ShapeError, match="at least one cell"):
        draw_cells([])
    with pytest.raises(ConfigError, match=r"`columns` and `box` must be positive\. Got columns=0"):
        draw_cells([cell], columns=0)


def test_unknown_direction_is_named():
    with pytest.raises(ConfigError, match=r"must be 'down', 'right' or None\. Got 'up'"):
        layout(Cell(("input",)), "up")


class TestEncoding:
    @pytest.mark.parametrize("name", ["nasbench101", "nasbench201", "darts"])
    def test_filled_squares_are_the_ones_of_both_matrices(self, name):
        space = SPACES[name]
        cell = sample(name, 1, seed=4)[0]
        ax = plot_encoding(cell, space)
        nodes = space.max_nodes
        filled = [
            p.get_xy()
            for p in ax.patches
            if p.get_facecolor()[3] > 0 and min(p.get_facecolor()[:3]) < 1
        ]
        edges = {(int(y), int(x)) for x, y in filled if x < nodes}
        ops = {(int(y), int(x - nodes - 1.5)) for x, y in filled if x > nodes}
        assert edges == set(cell.edges)
        assert ops == {(node, space.ops.index(op)) for node, op in enumerate(cell.ops)}
        assert len(ax.patches) == nodes * (nodes + len(space.ops))

    def test_a_cell_of_another_space_is_refused(self):
        cell = sample("darts", 1)[0]
        with pytest.raises(CellError, match="Not a legal NAS-Bench-201 cell"):
            plot_encoding(cell, SPACES["nasbench201"])

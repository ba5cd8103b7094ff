"""Pictures of a latent space: what is drawn is what was given, on light and dark pages."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from archrep.cells import get_space
from archrep.errors import ConfigError, RunError, ShapeError
from archrep.latent_map import LatentMap, area_means
from archrep.plots import (
    house_style,
    plot_areas,
    plot_distances,
    plot_latent_map,
    plot_prediction,
    plot_ranks,
    plot_visits,
    plot_walk,
    save_figure,
)
from archrep.plots.style import check_file
from archrep.walks import Distances

RNG = np.random.default_rng(0)
POINTS = LatentMap(
    RNG.normal(size=(40, 2)).astype(np.float32), np.arange(0, 80, 2), "pca", None, 0, 100
)
CELLS = get_space("nasbench201").enumerate()


def words(ax) -> str:
    return "\n".join(text.get_text() for text in ax.texts)


def test_boxes_hold_the_medians_of_their_edit_distance():
    edits = RNG.integers(0, 10, 500)
    latent = RNG.random(500) + edits
    ax = plot_distances(Distances(latent, edits), caption="a walk")
    drawn = {
        round(float(np.mean(line.get_xdata())), 3): line.get_ydata()[0]
        for line in ax.lines
        if line.get_linewidth() == 2
    }
    assert list(drawn) == list(range(8))  # beyond 7 nothing is drawn
    for k, median in drawn.items():
        assert median == pytest.approx(np.median(latent[edits == k]))
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels[3] == f"3\n{(edits == 3).sum()}"
    assert "a walk" in words(ax)
    with pytest.raises(ShapeError, match="at most 7 edits apart"):
        plot_distances(Distances(latent, edits + 8))


def test_a_prediction_says_how_good_it_is():
    truth = RNG.random(300)
    predicted = truth + 0.1 * RNG.normal(size=300)
    text = words(plot_prediction(truth, predicted))
    assert f"RMSE {np.sqrt(np.mean((truth - predicted) ** 2)):.4f}" in text
    assert f"Pearson's r {np.corrcoef(truth, predicted)[0, 1]:.3f}" in text
    assert "r nan" in words(plot_prediction(truth, np.ones(300)))
    with pytest.raises(ShapeError, match="must be .N., N at least 2"):
        plot_prediction(truth, predicted[:-1])


class TestAreas:
    def test_squares_hold_the_means_of_their_points(self):
        values = RNG.random(40)
        values[:5] = np.nan
        areas = area_means(POINTS, values, squares=6)
        shape = len(areas.edges_y) - 1, len(areas.edges_x) - 1
        assert areas.values.shape == shape
        assert max(shape) == 6
        told = 0
        for row in range(shape[0]):
            for column in range(shape[1]):
                inside = np.isfinite(values)
                for k, (edges, at) in enumerate(((areas.edges_x, column), (areas.edges_y, row))):
                    low, high = edges[at], edges[at + 1]
                    last = at == len(edges) - 2  # the largest coordinate is in the last square
                    own = POINTS.xy[:, k].astype(float)
                    inside &= (own >= low) & ((own < high) | last)
                mean = values[inside].mean() if inside.any() else np.nan
                np.testing.assert_allclose(areas.values[row, column], mean)
                told += inside.sum()
        assert told == 35

    def test_a_picture_of_them_has_its_bar_and_caption(self):
        ax = plot_areas(area_means(POINTS, RNG.random(40)), label="accuracy, %", caption="PCA")
        assert ax.get_xlabel() == "PCA"
        assert ax.figure.axes[1].get_ylabel() == "accuracy, %"

    def test_nothing_to_draw_is_said(self):
        empty = area_means(POINTS, np.full(40, np.nan))
        with pytest.raises(ConfigError, match="No point has a value of accuracy"):
            plot_areas(empty, label="accuracy")
        with pytest.raises(ConfigError, match="`squares` must be at least 1. Got 0"):
            area_means(POINTS, np.ones(40), squares=0)
        with pytest.raises(ShapeError, match=r"\[100\], or one a point, \[40\]"):
            area_means(POINTS, np.ones(41))


class TestVisits:
    def test_queries_stand_where_their_cells_are(self):
        ax = plot_latent_map(POINTS, RNG.random(40))
        plot_visits(POINTS, np.array([4, 5, 0, 78]), label="a search", ax=ax)  # 5 is on no point
        drawn = {line.get_label(): line.get_xydata() for line in ax.lines}
        name = "queries, 1 of 4 not on it"
        np.testing.assert_array_equal(drawn[name], POINTS.xy[[2, 0, 39]])
        np.testing.assert_array_equal(drawn["first query"], POINTS.xy[[2]])
        np.testing.assert_array_equal(drawn["last query"], POINTS.xy[[39]])
        assert ax.get_legend().get_title().get_text() == "a search"

    def test_a_search_elsewhere_is_refused(self):
        with pytest.raises(ConfigError, match="None of the cells"):
            plot_visits(POINTS, np.array([1, 3, 99]), ax=plot_latent_map(POINTS))


class TestWalk:
    def test_cells_and_the_edits_between_them_are_drawn(self):
        cells = [CELLS[k] for k in range(5)]
        ax = plot_walk(cells, [1, 2, 3, 4], titles=list("abcde"), columns=3)
        boxes = [patch for patch in ax.patches if (patch.get_gid() or "").startswith("node-")]
        assert len(boxes) == 5 * len(cells[0])
        numbers = {t.get_gid(): t.get_text() for t in ax.texts if t.get_gid()}
        assert numbers == {f"edits-{k}": str(k) for k in range(1, 5)}
        assert {"a", "e"} <= {text.get_text() for text in ax.texts}
        x, y = ax.get_xlim(), ax.get_ylim()
        for box in boxes:
            assert x[0] <= box.get_x() <= box.get_x() + box.get_width() <= x[1]
            assert y[1] <= box.get_y() <= box.get_y() + box.get_height() <= y[0]

    def test_an_empty_place_has_neither_cell_nor_number(self):
        ax = plot_walk([CELLS[0], None, CELLS[1]], [None, None], columns=2)
        assert len([p for p in ax.patches if p.get_gid() == "node-0"]) == 2
        assert not list(ax.texts)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([],), "at least one cell"),
            (([CELLS[0]], [1]), "0 edits if any. Got 1 cells and 1"),
            (([CELLS[0], CELLS[1]], None), None),
        ],
    )
    def test_numbers_that_do_not_fit_are_refused(self, arguments, message):
        if message is None:
            assert not list(plot_walk(*arguments).texts)
            return
        with pytest.raises(ShapeError, match=message):
            plot_walk(*arguments)

    def test_impossible_sizes_are_refused(self):
        with pytest.raises(ConfigError, match="`columns` and `box` must be positive"):
            plot_walk([CELLS[0]], columns=0)


def test_ranks_leave_cells_without_a_record_out():
    accuracy = RNG.random(200)
    accuracy[::4] = np.nan
    ax = plot_ranks(np.nan_to_num(accuracy), accuracy, label="score", tau=1.0, caption="a table")
    counts = ax.collections[0].get_array()
    assert counts.sum() == 150
    assert "a table, Kendall's tau 1.000" in words(ax)
    with pytest.raises(ShapeError, match="`score` and `accuracy`"):
        plot_ranks(accuracy[1:], accuracy, label="score")


class TestFiles:
    @pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
    def test_the_same_picture_gives_the_same_bytes(self, kind, tmp_path):
        for name in ("a", "b"):
            with house_style():
                ax = plot_latent_map(POINTS, RNG.permutation(1) + np.arange(40))
                save_figure(ax.figure, tmp_path / f"{name}.{kind}")
        first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
        assert first == second

    def test_a_dark_page_has_light_words_and_settings_are_left_as_they_were(self, tmp_path):
        import matplotlib

        before = dict(matplotlib.rcParams)
        for dark in (False, True):
            with house_style(dark):
                ax = plot_latent_map(POINTS, np.arange(40), label="depth")
                page, ink = ax.figure.get_facecolor(), ax.figure.axes[1].yaxis.label.get_color()
                brightness = [np.mean(matplotlib.colors.to_rgb(c)) for c in (page, ink)]
                assert (brightness[0] < 0.2 and brightness[1] > 0.8) == dark
                save_figure(ax.figure, tmp_path / "a.png")
        assert dict(matplotlib.rcParams) == before

    def test_words_of_vector_files_are_words(self, tmp_path):
        with house_style():
            save_figure(plot_latent_map(POINTS).figure, tmp_path / "a.svg")
        assert "40 of 100 cells" in (tmp_path / "a.svg").read_text()

    def test_other_kinds_and_places_are_refused(self, tmp_path):
        with pytest.raises(ConfigError, match=r"takes a .png, .svg or .pdf file. Got 'a.jpg'"):
            save_figure(Figure(), tmp_path.__class__("a.jpg"))
        (tmp_path / "b.png").mkdir()
        with pytest.raises(RunError, match="is a folder"):
            check_file(tmp_path / "b.png")
        (tmp_path / "file").touch()
        with pytest.raises(RunError, match="must be in a folder that can be written"):
            save_figure(Figure(), tmp_path / "file" / "a.png")

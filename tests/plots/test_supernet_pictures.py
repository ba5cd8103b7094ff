"""Pictures of weight-sharing runs."""

import numpy as np
import pytest

from archrep.errors import ShapeError
from archrep.plots.supernet import epochs_figure, found_figure, plot_by_epoch

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|skip_connect~1|avg_pool_3x3~2|"
PAIRS = [("sep_conv_3x3", 0), ("skip_connect", 1)] * 4
GENOTYPE = (
    f"Genotype(normal={PAIRS}, normal_concat=range(2, 6), reduce={PAIRS}, "
    "reduce_concat=range(2, 6))"
)


def titles(figure):
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def test_every_seed_has_its_cell_drawn():
    figure = found_figure(
        "nasbench201", {"angle": [{"cell": CELL}] * 2, "one_shot": [{"cell": CELL}] * 2}, [4, 5]
    )
    assert titles(figure) == [
        "angle, seed 4",
        "angle, seed 5",
        "one shot, seed 4",
        "one shot, seed 5",
    ]


def test_both_cells_of_a_genotype_are_drawn():
    figure = found_figure("darts", {"strength": [{"cell": GENOTYPE}]}, [4])
    assert titles(figure) == ["strength, seed 4, normal", "strength, seed 4, reduction"]


@pytest.mark.parametrize(
    ("space", "cell"),
    [("mobilenet", "0 1 -1"), ("darts", GENOTYPE.replace("skip_connect", "noise"))],
)
def test_what_is_no_cell_of_a_space_is_not_drawn(space, cell):
    assert found_figure(space, {"strength": [{"cell": cell}]}, [0]) is None


def test_numbers_by_epoch_have_a_panel_each_and_texts_none():
    history = [{"loss": [2.0 / n, 1.0 / n], "skips": [n, 0], "cell": ["a", "b"]} for n in (1, 2, 3)]
    figure = epochs_figure(history, "two runs")
    assert titles(figure) == ["loss", "skips"]
    first = figure.axes[0].get_lines()[0]
    np.testing.assert_allclose(first.get_ydata(), [2, 1, 2 / 3])
    with pytest.raises(ShapeError, match="one epoch"):
        epochs_figure([])


def test_runs_by_epoch_are_means_with_a_band():
    ax = plot_by_epoch({"a": [[0, 2], [4, 6]], "b": [[1], [1], [1]]}, ylabel="skips")
    lines = ax.get_lines()
    np.testing.assert_array_equal(lines[0].get_ydata(), [1, 5])
    np.testing.assert_array_equal(lines[1].get_ydata(), [1, 1, 1])
    assert "mean of 1 or 2 seeds" in ax.texts[0].get_text()
    assert len(lines[1].get_xdata()) == 3
    assert len(ax.collections) == 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]

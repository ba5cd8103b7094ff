"""Pictures of searches show what they were given, and say what it is."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from archrep.comparison import Curve
from archrep.errors import ConfigError
from archrep.plots import plot_by_epoch, plot_curves, plot_ecdf


def a_curve(high=40.0, budget=(1.0, 10.0, 100.0)):
    middle = np.geomspace(high, high / 40, len(budget)) / 100
    return Curve(np.array(budget), middle / 2, middle, middle * 2, middle * 1.1)


def labels_between_decades(axis):
    axis.figure.canvas.draw()
    return [tick.get_text() for tick in axis.get_ticklabels(minor=True) if tick.get_text()]


def test_curves_are_drawn_into_the_given_axes_in_percent():
    ax = Figure().add_subplot()
    drawn = plot_curves({"random": a_curve()}, xlabel="queries", ylabel="regret, %", ax=ax)
    assert drawn is ax
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("queries", "regret, %")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 100 * a_curve().middle)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.5, 80))


def test_means_have_no_band():
    ax = plot_curves({"random": a_curve()}, xlabel="queries", ylabel="regret, %", mean=True)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 100 * a_curve().mean)
    assert not ax.collections


def test_a_regret_of_zero_does_not_stretch_a_logarithmic_axis():
    zero = Curve(*(np.array(part) for part in ([1.0, 2.0], [0, 0], [0.1, 0], [0.2, 0], [0.1, 0])))
    ax = plot_curves({"random": zero}, xlabel="queries", ylabel="regret, %")
    assert ax.get_ylim()[0] == pytest.approx(5)


def test_axes_of_a_decade_and_more_have_labels_at_powers_of_ten_alone():
    ax = plot_curves({"random": a_curve()}, xlabel="queries", ylabel="regret, %")
    assert labels_between_decades(ax.xaxis) == []
    ax = plot_curves({"a": a_curve(budget=(2.0, 3.0, 5.0))}, xlabel="seconds", ylabel="regret, %")
    assert labels_between_decades(ax.xaxis) != []


def test_ecdf_rises_by_one_run_at_a_time():
    ax = plot_ecdf({"random": np.array([0.1, 0.2, 0.4])}, xlabel="final regret, %", caption="T")
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [10, 20, 40])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1 / 3, 2 / 3, 1])
    assert ax.get_ylabel() == "share of runs"
    assert [text.get_text() for text in ax.texts] == ["T"]


def test_no_two_of_many_searches_look_alike():
    curves = {str(number): a_curve() for number in range(20)}
    ax = plot_curves(curves, xlabel="queries", ylabel="regret, %")
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 20
    with pytest.raises(ConfigError, match="lines can be told apart"):
        plot_curves({str(n): a_curve() for n in range(99)}, xlabel="queries", ylabel="regret, %")


@pytest.mark.parametrize("count", [2, 12])
@pytest.mark.parametrize("plot", ["curves", "ecdf", "epochs"])
def test_a_long_legend_is_whole_and_hides_nothing(plot, count):
    labels = [f"strategy number {k} over an embedding of a long name (and a preset)"
              for k in range(count)]  # fmt: skip
    if plot == "curves":
        ax = plot_curves({k: a_curve() for k in labels}, xlabel="queries", ylabel="regret " * 12)
    elif plot == "ecdf":
        ax = plot_ecdf({k: np.array([0.1, 0.2]) for k in labels}, xlabel="regret, %")
    else:
        ax = plot_by_epoch({k: [[1.0], [2.0]] for k in labels}, ylabel="skips")
    figure = ax.figure
    figure.draw_without_rendering()
    page, legend = figure.bbox, ax.get_legend().get_window_extent()
    for box in (legend, ax.yaxis.label.get_window_extent(), ax.xaxis.label.get_window_extent()):
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
    assert legend.y1 <= ax.xaxis.label.get_window_extent().y0
    assert ax.get_window_extent().height > 150


def test_a_short_legend_stays_within():
    ax = plot_curves({"random": a_curve()}, xlabel="queries", ylabel="regret, %")
    ax.figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().y0 > ax.get_window_extent().y0

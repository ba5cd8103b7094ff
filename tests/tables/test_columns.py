import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archrep.errors import TableError
from archrep.tables import Column, Measure

MEASURE = Measure(metric="valid_accuracy", dataset="cifar10", epochs=200, seed=777)


@pytest.mark.parametrize(
    ("measure", "name"),
    [
        (MEASURE, "cifar10_valid_accuracy_200ep_s777"),
        (Measure(metric="params"), "params"),
        (
            Measure(metric="test_accuracy", dataset="ImageNet16-120", epochs=12, seed="mean"),
            "imagenet16_120_test_accuracy_12ep_mean",
        ),
        (
            Measure(metric="train_accuracy", epochs=108, at_epoch=54, seed=0),
            "train_accuracy_108ep_at54_s0",
        ),
    ],
)
def test_names_are_fit_for_sql(measure, name):
    assert measure.name == name


@given(
    counts=st.lists(st.one_of(st.none(), st.integers(0, 50_000)), min_size=1),
    grid=st.integers(1, 50_000),
)
def test_counts_come_back_exactly_whatever_the_grid(counts, grid):
    values = np.array([np.nan if c is None else c / grid for c in counts])
    stored, about = Column(MEASURE, values, grid).encode()
    assert stored.dtype.kind == "u"
    back = Column.decode(stored, about)
    assert np.array_equal(back.values, values, equal_nan=True)
    assert (back.measure, back.grid) == (MEASURE, grid)


def test_float32_percentages_snap_to_the_counts_they_came_from():
    counts = np.arange(25_001)
    noisy = (counts / 250).astype(np.float32).astype(np.float64) / 100
    stored, about = Column(MEASURE, noisy, 25_000).encode()
    assert np.array_equal(Column.decode(stored, about).values, counts / 25_000)


def test_a_value_between_two_counts_is_refused():
    with pytest.raises(TableError, match=r"must be multiples of 1/1000. Got 0.12345"):
        Column(MEASURE, np.array([0.5, 0.12345]), 1000).encode()
    with pytest.raises(TableError, match="multiples"):
        Column(MEASURE, np.array([-0.5]), 1000).encode()


def test_an_infinite_value_is_refused():
    with pytest.raises(TableError, match="infinite"):
        Column(MEASURE, np.array([np.inf])).encode()


def test_a_curve_is_known_by_its_shape():
    column = Column(MEASURE, np.zeros((3, 200)))
    assert column.name == MEASURE.name + "_curve"
    stored, about = column.encode()
    assert Column.decode(stored, about).values.shape == (3, 200)
    with pytest.raises(TableError, match="A curve of 200 epochs must have as many values.* has 5"):
        Column(MEASURE, np.zeros((3, 5)))
    with pytest.raises(TableError, match=r"\[M\] or \[M, E\]"):
        Column(MEASURE, np.zeros((3, 200, 2)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "x y"},
        {"metric": "index"},
        {"metric": 3},
        {"dataset": 'a"'},
        {"epochs": 0},
        {"epochs": True},
        {"at_epoch": -1},
        {"seed": -5},
        {"seed": False},
        {"seed": "a b"},
    ],
)
def test_impossible_measures_are_refused(wrong):
    with pytest.raises(TableError, match="A column cannot be named"):
        Measure(**{"metric": "valid_accuracy"} | wrong)


def test_run_zero_is_not_taken_for_no_run():
    column = Column(Measure(metric="valid_accuracy", seed=0), np.zeros(1))
    assert Column.decode(*column.encode()).measure.seed == 0

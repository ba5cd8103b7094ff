"""Rank agreement, by hand."""

import numpy as np
import pytest

from archrep.cells import get_space
from archrep.errors import ShapeError
from archrep.searchers.ranking import agreement, baselines


def test_agreement_of_a_toy():
    accuracies = np.array([0.1, 0.2, 0.3, 0.4])
    found = agreement(np.array([1, 3, 2, 4]), accuracies)  # one of six pairs is the wrong way round
    assert found["kendall"] == pytest.approx((5 - 1) / 6)
    assert found["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found["top_10_percent"] == 1
    assert agreement(-accuracies, accuracies)["kendall"] == -1
    assert agreement(-accuracies, accuracies)["top_10_percent"] == 0


def test_the_best_are_judged_by_themselves():
    rng = np.random.default_rng(0)
    accuracies = rng.permutation(5_000).astype(float)
    scores = np.where(accuracies >= 4_000, 10_000 - accuracies, accuracies)
    assert agreement(scores, accuracies)["kendall"] > 0.9
    assert agreement(scores, accuracies)["kendall_best"] == -1


def test_parameters_rank_as_the_space_counts_them():
    space = get_space("nasbench201")
    params = space.params(space.enumerate())
    assert agreement(baselines(space)["params"], params)["kendall"] > 0.999


def test_live_parameters_leave_dead_ends_out():
    space = get_space("nasbench201")
    three, none = 3, 0
    rows = space.rows_of_decisions(
        np.array([[three] * 6, [three, three, three, none, none, none], [three, none, none] * 2])
    )
    found = baselines(space)
    assert found["live_params"][rows].tolist() == [54, 0, 9]
    assert found["params"][rows].tolist() == [54, 27, 18]


@pytest.mark.parametrize(
    ("scores", "accuracies", "problem"),
    [
        ([1.0, 2.0], [1.0], r"must be \[M\]"),
        ([1.0], [1.0], "two cells at least"),
        ([1.0, np.nan], [1.0, 2.0], "Got a NaN"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, accuracies, problem):
    with pytest.raises(ShapeError, match=problem):
        agreement(np.array(scores), np.array(accuracies))

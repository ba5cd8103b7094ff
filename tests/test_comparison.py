"""Comparisons of searches against closed forms, brute force and SciPy."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from archrep.comparison import (
    Finished,
    compare,
    curve,
    final_regrets,
    found_cell,
    holm,
    load_finished,
    paired,
    published_curve,
)
from archrep.errors import ConfigError, RunError, TableError
from archrep.results import Traces, summarise
from archrep.search import SearchConfig, search
from archrep.tables import open_table


def traces_of(values, seconds=None, first_run=0):
    """Traces of runs with such validation accuracies; test accuracy is a tenth less."""
    rows = []
    for run, accuracies in enumerate(values):
        clock = 0.0
        for query, accuracy in enumerate(accuracies, 1):
            clock += 1.0 if seconds is None else seconds[run][query - 1]
            rows.append((first_run + run, query, 10 * run + query, accuracy, clock, 5, -1))
    traces = Traces.of_rows(rows)
    test = traces.valid_accuracy - 0.1
    return Traces(**{**vars(traces), "test_accuracy": test, "mean_valid_accuracy": test + 0.1})


def finished(tmp_path, traces, **changes):
    summary = {
        "table": "T", "table_sha256": "a" * 64, "dataset": "d", "protocol": "mean",
        "table_best_test_accuracy": 0.9, "table_best_valid_accuracy": 1.0, "encoding": "none",
        "config": {"strategy": "random", "preset": None, "queries": 3, "seconds": None},
        "report_epochs": 9, **summarise(traces), **changes,
    }  # fmt: skip
    return Finished(tmp_path, summary, traces)


VALUES = [[0.5, 0.7, 0.6], [0.4, 0.3, 0.8], [0.9, 0.2, 0.2]]


def test_incumbents_are_the_running_best(tmp_path):
    traces = traces_of(VALUES)
    best = traces.valid_accuracy[traces.incumbents].reshape(3, 3)
    assert (best == np.maximum.accumulate(np.array(VALUES), axis=1)).all()


def test_a_longer_schedule_counts_before_a_higher_accuracy():
    rows = [(0, 1, 5, 0.9, 1.0, 4, -1), (0, 2, 6, 0.5, 2.0, 12, -1), (0, 3, 7, 0.95, 3.0, 4, -1)]
    assert Traces.of_rows(rows).incumbents.tolist() == [0, 1, 1]


def test_curve_along_queries_is_the_regret_of_running_bests(tmp_path):
    found = curve(finished(tmp_path, traces_of(VALUES)), band=(0, 1))
    regret = 0.9 - (np.maximum.accumulate(np.array(VALUES), axis=1) - 0.1)
    np.testing.assert_allclose(found.middle, np.median(regret, 0))
    np.testing.assert_allclose(found.low, regret.min(0))
    np.testing.assert_allclose(found.high, regret.max(0))
    np.testing.assert_allclose(found.mean, regret.mean(0))


def test_curve_along_seconds_is_what_each_run_had_found_by_then(tmp_path):
    seconds = [[1, 1, 1], [2, 5, 1], [3, 3, 3]]
    found = curve(finished(tmp_path, traces_of(VALUES, seconds)), "seconds", points=50)
    for when, middle in zip(found.budget, found.middle, strict=True):
        best = []
        for accuracies, times in zip(VALUES, seconds, strict=True):
            done = np.cumsum(times) <= when + 1e-9
            best.append(max(np.array(accuracies)[done]) - 0.1)
        assert middle == pytest.approx(0.9 - np.median(best))


def test_published_curve_is_of_means_at_the_kth_query_up_to_the_shortest_run(tmp_path):
    traces = traces_of([[0.5, 0.7, 0.6], [0.4, 0.3]], [[1, 1, 1], [2, 4]])
    clock, regret = published_curve(finished(tmp_path, traces))
    assert clock.tolist() == [1.5, 4.0]
    np.testing.assert_allclose(regret, [0.9 - 0.35, 0.9 - (0.6 + 0.3) / 2])


def test_final_regrets_ascend(tmp_path):
    found = final_regrets(finished(tmp_path, traces_of(VALUES)))
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3])


def test_a_surrogate_has_no_regret(tmp_path):
    search = finished(tmp_path, traces_of(VALUES), table_best_test_accuracy=None)
    with pytest.raises(TableError, match="T has no best figure"):
        curve(search)
    assert curve(search, regret=False).middle[-1] == pytest.approx(0.7)


class TestPairs:
    def test_are_those_of_scipy(self):
        rng = np.random.default_rng(0)
        first, second = rng.normal(0.1, 1, 40), rng.normal(0, 1, 40)
        found = compare(first, second)
        oracle = stats.ttest_rel(first, second).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))
        assert found.p == pytest.approx(stats.wilcoxon(first, second).pvalue)
        assert found.won == pytest.approx((first > second).mean())

    def test_equal_searches_are_no_evidence(self):
        found = compare(np.ones(5), np.ones(5))
        assert (found.difference, found.p, found.won) == (0, 1, 0.5)

    def test_confidence_intervals_hold_the_truth_as_often_as_they_say(self):
        rng = np.random.default_rng(1)
        held = 0
        for _ in range(800):
            found = compare(rng.normal(0.3, 1, 20), rng.normal(0, 1, 20))
            held += found.low <= 0.3 <= found.high
        assert 0.925 < held / 800 < 0.975

    def test_go_by_seed(self, tmp_path):
        first = finished(tmp_path, traces_of(VALUES))
        second = finished(tmp_path, traces_of([[0.5], [0.5], [0.5], [0.5]], first_run=-1))
        found = paired(first, second)
        assert found.runs == 3
        assert found.difference == pytest.approx((0.2 + 0.3 + 0.4) / 3)
        assert paired(first, second, query=1).difference == pytest.approx((0 - 0.1 + 0.4) / 3)

    def test_of_different_questions_are_refused(self, tmp_path):
        first = finished(tmp_path, traces_of(VALUES))
        with pytest.raises(RunError, match="differ in protocol: mean, single"):
            paired(first, finished(tmp_path, traces_of(VALUES), protocol="single"))
        with pytest.raises(RunError, match="share 0"):
            paired(first, finished(tmp_path, traces_of(VALUES, first_run=50)))

    def test_of_other_schedules_or_budgets_are_refused(self, tmp_path):
        first = finished(tmp_path, traces_of(VALUES))
        with pytest.raises(RunError, match="differ in schedule of the report: 9, 12"):
            paired(first, finished(tmp_path, traces_of(VALUES), report_epochs=12))
        config = first.summary["config"] | {"queries": 5, "seconds": 8.0}
        second = finished(tmp_path, traces_of(VALUES), config=config)
        with pytest.raises(RunError, match="differ in budget: 3 queries, 5 queries and 8 seconds"):
            paired(first, second)
        assert paired(first, second, query=2).difference == 0

    def test_holm_corrects_from_the_smallest_and_never_turns_the_order(self):
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
        assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_a_folder_without_a_finished_search_is_named(tmp_path):
    with pytest.raises(RunError, match="Expected the summary of a finished search"):
        load_finished(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps({"space": "darts"}))
    with pytest.raises(RunError, match="Expected the summary of a finished search in"):
        load_finished(tmp_path)


def test_queries_to_a_cell_are_infinite_where_it_was_not_met():
    needed = traces_of(VALUES).queries_to([2, 13])
    assert needed.tolist() == [2, 3, np.inf]


class TestOracle:
    def traces(self):
        rows = [(0, k + 1, k, valid, k + 1.0, 5, -1) for k, valid in enumerate((0.5, 0.9, 0.6))]
        seen = Traces.of_rows(rows)
        return Traces(
            **{
                **vars(seen),
                "mean_valid_accuracy": seen.valid_accuracy,
                "test_accuracy": np.array([0.4, 0.3, 0.8]),
            }
        )

    def test_reports_the_best_test_accuracy_queried_at_every_budget(self, tmp_path):
        traces = self.traces()
        figures = summarise(traces, oracle=True)
        assert figures["test_accuracy_mean"] == 0.8
        search = finished(tmp_path, traces, protocol="oracle")
        np.testing.assert_allclose(curve(search).middle, 0.9 - np.array([0.4, 0.4, 0.8]))
        assert final_regrets(search) == pytest.approx([0.1])

    def test_others_report_the_incumbent(self, tmp_path):
        search = finished(tmp_path, self.traces())
        np.testing.assert_allclose(curve(search).middle, 0.9 - np.array([0.4, 0.3, 0.3]))
        assert summarise(self.traces())["test_accuracy_mean"] == 0.3

    def test_what_the_table_lacks_for_one_run_is_reported_for_none(self, tmp_path):
        traces = self.traces()
        partly = Traces(**{**vars(traces), "test_accuracy": np.array([0.4, np.nan, 0.8])})
        assert "test_accuracy_mean" not in summarise(partly)
        search = finished(tmp_path, partly)
        assert search.metric == "mean_valid_accuracy"
        assert search.best == search.summary["table_best_valid_accuracy"]
        whole = finished(tmp_path, traces)
        assert whole.metric == "test_accuracy"
        with pytest.raises(RunError, match="what is known"):
            paired(search, whole)
        unseen = replace(partly, mean_valid_accuracy=np.full(3, np.nan))
        assert finished(tmp_path, unseen).metric == "valid_accuracy"

    def test_cells_without_a_test_accuracy_are_passed_over(self):
        traces = self.traces()
        unknown = Traces(**{**vars(traces), "test_accuracy": np.array([np.nan, 0.3, np.nan])})
        assert unknown.test_incumbents.tolist() == [0, 1, 1]


@pytest.mark.parametrize("protocol", ["mean", "oracle"])
def test_the_cell_that_was_found_is_that_of_the_best_run(tmp_path, protocol):
    config = SearchConfig(
        table="digits", strategy="random", queries=12, runs=5, seed=7, protocol=protocol
    )
    search(config, out=tmp_path / "run", workers=1)
    finished = load_finished(tmp_path / "run")
    table, traces = open_table("digits"), finished.traces
    name = "test_accuracy" if protocol == "oracle" else "valid_accuracy"
    best = int(np.nanargmax(getattr(traces, name)))
    found = found_cell(finished)
    assert found.seed == traces.run[best]
    assert table.space.index(found.cell) == traces.position[best]
    assert found.accuracy == table.query(found.cell).test_accuracy
    own = found_cell(finished, seed=9)
    assert table.space.index(own.cell) in traces.position[traces.run == 9]
    with pytest.raises(ConfigError, match="are 7 to 11. Got 0"):
        found_cell(finished, seed=0)

import dataclasses

import numpy as np
import pytest
from toy_tables import ROWS, info, toy_data

from archrep.cells import get_space
from archrep.errors import (
    BudgetError,
    ConfigError,
    MisleadingFigureWarning,
    UnknownNameError,
    UnmeasuredError,
)
from archrep.tables import PROTOCOLS, Column, Measure, Table, TableData, open_table

SPACE = get_space("nasbench201")


@pytest.fixture(scope="module")
def table():
    return Table(toy_data())


def test_queries_and_seconds_are_counted(table):
    paid = table.paid()
    seconds = [paid.query(row).train_seconds for row in (0, 3, 11)]
    assert paid.queries == 3
    assert paid.seconds == pytest.approx(sum(seconds))
    assert seconds == table.query_array([0, 3, 11])["train_seconds"].tolist()


def test_a_repeat_costs_nothing_and_says_so(table):
    paid = table.paid()
    first, again = paid.query(11), paid.query(SPACE.enumerate()[11])
    assert again == first._replace(train_seconds=0.0, repeat=True)
    assert (paid.queries, len(paid.history)) == (1, 2)


def test_a_cell_of_a_class_that_was_paid_for_brings_back_the_first_answer():
    classes = SPACE.topology_classes()
    rows = np.flatnonzero(classes == np.bincount(classes).argmax())[:2]
    paid = Table(toy_data(rows)).paid()
    first, second = paid.query(rows[0]), paid.query(rows[1])
    assert second.valid_accuracy == first.valid_accuracy
    assert second.position == first.position == rows[0]
    assert paid.queries == 1


def test_the_search_sees_no_test_accuracy(table):
    paid = table.paid()
    observation = paid.query(11)
    assert observation._fields == (
        *("position", "valid_accuracy", "train_seconds", "repeat", "epochs"),
    )
    public = {name for name in dir(paid) if not name.startswith("_")}
    assert public == {
        *("query", "report", "queries", "seconds", "history", "spent", "space", "measured"),
        *("protocol", "seed", "max_queries", "max_seconds", "charge_repeats"),
    }


def test_who_pays_for_repeats_is_answered_for_the_very_cell():
    table = open_table("digits")
    accuracies = table.column("valid_accuracy").copy()
    twin = int(np.flatnonzero(table.classes != np.arange(len(table)))[0])
    first = int(table.classes[twin])
    accuracies[twin] = accuracies[first] / 2  # the table itself has one figure for both
    about = Measure(metric="valid_accuracy", seed="mean", dataset="digits", epochs=1)
    made_up = info(name="made-up", space="nasbench201", dataset="digits", epochs=1)
    table = Table(TableData.of(made_up, [Column(about, accuracies)], rows=np.arange(len(table))))
    knows, repeats = (table.paid(charge_repeats=flag) for flag in (False, True))
    for paid in (knows, repeats):
        paid.query(first)
    assert knows.query(twin).valid_accuracy == accuracies[first]
    assert repeats.query(twin).valid_accuracy == accuracies[twin]
    assert (knows.queries, repeats.queries) == (1, 2)


def test_mean_shows_the_mean_and_reports_the_test_of_the_incumbent(table):
    paid = table.paid(protocol="mean", dataset="b")
    for row in ROWS:
        assert paid.query(row).valid_accuracy == table.query(row, dataset="b").valid_accuracy
    report = paid.report()
    best = table.optimum(dataset="b")
    assert report["incumbent"] == best.valid_accuracy.indices[0]
    assert report["valid_accuracy"] == best.valid_accuracy.value
    assert report["test_accuracy"] == best.test_of_best_valid


def test_oracle_reports_the_best_test_of_all_that_was_queried(table):
    paid = table.paid(protocol="oracle", dataset="b")
    for row in ROWS:
        paid.query(row)
    assert paid.report()["test_accuracy"] == table.optimum(dataset="b").test_accuracy.value
    assert "no headline" in PROTOCOLS["oracle"].title


def test_single_shows_one_recorded_run_drawn_once_for_seed_and_cell(table):
    runs = table.runs("valid_accuracy")
    shown = {}
    for seed in range(40):
        forwards, backwards = (table.paid(protocol="single", seed=seed) for _ in range(2))
        for row in ROWS:
            shown.setdefault(row, []).append(forwards.query(row).valid_accuracy)
        for row in reversed(ROWS):
            assert backwards.query(row).valid_accuracy == shown[row][-1]
    for row, values in shown.items():
        both = [runs[seed][row] for seed in (1, 2)]
        assert set(values) == set(both)
        assert 8 <= sum(value == both[0] for value in values) <= 32
    # Runs of different cells are drawn independently, not all from one seed at a time.
    firsts = np.array([[v == runs[1][row] for v in values] for row, values in shown.items()])
    assert (firsts.min(0) != firsts.max(0)).any()


def test_single_draws_only_among_the_runs_that_a_cell_has():
    columns = [
        Column(Measure(metric="valid_accuracy", dataset="a", epochs=4, seed=seed), values)
        for seed, values in ((0, np.array([0.1, np.nan])), (1, np.array([np.nan, 0.2])))
    ]
    table = Table(TableData.of(info(), columns, rows=np.arange(2)))
    for seed in range(10):
        paid = table.paid(protocol="single", seed=seed)
        assert [paid.query(row).valid_accuracy for row in (0, 1)] == [0.1, 0.2]


def test_single_needs_runs_that_are_told_apart(table):
    with pytest.raises(UnmeasuredError, match="needs two or more recorded runs.* has 1"):
        table.paid(protocol="single", epochs=2)


def test_a_budget_of_queries_ends_the_search_but_not_the_repeats(table):
    paid = table.paid(max_queries=2)
    paid.query(0)
    assert not paid.spent
    paid.query(3)
    assert paid.spent
    assert paid.query(0).repeat
    with pytest.raises(BudgetError, match="The budget is used up: 2 queries"):
        paid.query(11)
    assert paid.queries == 2


def test_a_budget_of_seconds_answers_the_query_that_passes_it(table):
    cost = table.query(0).train_seconds
    paid = table.paid(max_seconds=cost + 0.001)
    paid.query(0)
    paid.query(3)
    assert paid.spent
    with pytest.raises(BudgetError, match="simulated seconds"):
        paid.query(11)


def test_another_schedule_is_paid_for_separately(table):
    paid = table.paid()
    long, short = paid.query(0), paid.query(0, epochs=2)
    assert short.valid_accuracy == table.query(0, epochs=2).valid_accuracy
    assert long.valid_accuracy != short.valid_accuracy
    assert paid.queries == 2


def test_an_unmeasured_cell_is_not_charged(table):
    paid = table.paid()
    with pytest.raises(UnmeasuredError, match="was not measured"):
        paid.query(1)
    assert (paid.queries, paid.history) == (0, ())
    assert np.flatnonzero(paid.measured).tolist() == ROWS.tolist()


def test_the_report_ends_the_search(table):
    paid = table.paid()
    paid.query(0)
    assert paid.report()["queries"] == 1
    assert paid.spent
    with pytest.raises(BudgetError, match="has shown test accuracy"):
        paid.query(3)
    with pytest.raises(AttributeError):
        paid.queries = 0


def test_the_incumbent_is_of_the_longest_schedule(table):
    paid = table.paid()
    paid.query(0, epochs=2)
    assert paid.report()["epochs"] == 2
    paid = table.paid()
    for row in ROWS:
        paid.query(row, epochs=2)
    final = paid.query(3)
    report = paid.report()
    assert (report["incumbent"], report["epochs"]) == (3, 4)
    assert report["valid_accuracy"] == final.valid_accuracy


def test_a_budget_of_seconds_needs_training_times():
    accuracy = Column(Measure(metric="valid_accuracy", dataset="a", epochs=4), np.array([0.5]))
    table = Table(TableData.of(info(), [accuracy], rows=np.array([0])))
    assert table.paid(max_queries=1).query(0).train_seconds == 0
    with pytest.raises(ConfigError, match="`max_seconds` needs training times"):
        table.paid(max_seconds=10)


def test_a_search_that_queried_nothing_reports_nothing(table):
    report = table.paid().report()
    assert (report["queries"], report["incumbent"], report["test_accuracy"]) == (0, None, None)


def test_wrong_options_are_refused(table):
    with pytest.raises(UnknownNameError, match="one of mean, single, oracle. Got 'best'"):
        table.paid(protocol="best")
    with pytest.raises(ConfigError, match="`max_queries` must be a positive number. Got 0"):
        table.paid(max_queries=0)
    with pytest.raises(ConfigError, match="`max_seconds` must be a positive number. Got nan"):
        table.paid(max_seconds=float("nan"))


def test_a_table_of_best_runs_warns_that_its_figures_are_not_means():
    data = toy_data()
    best = dataclasses.replace(data, info=dataclasses.replace(data.info, seed="max"))
    with pytest.warns(MisleadingFigureWarning, match="the max of its recorded runs"):
        paid = Table(best).paid()
    assert paid.query(0).valid_accuracy == Table(data).query(0, seed="max").valid_accuracy

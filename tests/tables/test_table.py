import sys

import numpy as np
import pytest
from toy_tables import ROWS, info, toy_data

from archrep.cells import SPACES, Cell, Darts, Genotype, Space, get_space
from archrep.errors import CellError, ConfigError, TableError, UnmeasuredError
from archrep.tables import Column, Measure, Table, TableData

SPACE = get_space("nasbench201")


@pytest.fixture(scope="module")
def table():
    return Table(toy_data())


@pytest.fixture(scope="module")
def data():
    return toy_data()


def relabelled(cell):
    """The same NAS-Bench-201 graph, with nodes 1 and 4 exchanged, which only hang on the input."""
    return cell.permuted([0, 4, 2, 1, 3, 5, 6, 7])


# Which cell -------------------------------------------------------------------------------------


def test_a_cell_is_found_by_index_notation_object_and_relabelled_graph(table):
    cell = SPACE.enumerate()[6111]
    wanted = table.query(6111)
    assert relabelled(cell) != cell
    for named in (np.int64(6111), "6111", SPACE.format(cell), f" {SPACE.format(cell)}\n", cell):
        assert table.query(named) == wanted
    assert table.query(relabelled(cell)) == wanted


@pytest.mark.parametrize("index", [-1, 15625, "15625", "99999999999999999999"])
def test_an_index_outside_the_table_is_refused(table, index):
    with pytest.raises(CellError, match="between 0 and 15624"):
        table.query(index)


@pytest.mark.parametrize("cell", [None, 1.5, True, ("a",), b"6111"])
def test_what_is_no_cell_is_refused(table, cell):
    with pytest.raises(CellError, match="is a Cell, its notation or its index"):
        table.query(cell)


def test_a_cell_of_another_space_is_refused(table):
    with pytest.raises(CellError):
        table.query(get_space("nasbench101").enumerate()[5])
    with pytest.raises(CellError):
        table.query_array(get_space("nasbench101").enumerate()[:5])


def test_many_cells_are_found_at_once_however_they_are_named(table):
    cells = SPACE.enumerate()[ROWS]
    for named in (ROWS, cells, list(cells), [SPACE.format(c) for c in cells]):
        assert table.index_array(named).tolist() == ROWS.tolist()
    with pytest.raises(CellError, match="between 0 and 15624. Got -2"):
        table.index_array(np.array([3, -2]))
    assert table.index_array([]).tolist() == []


def test_all_hashes_and_cells_of_nasbench101_are_found_in_any_node_order():
    space = get_space("nasbench101")
    count = Column(Measure(metric="rank"), np.arange(space.size))
    about = info(space="nasbench101", dataset=None, epochs=None)
    table = Table(TableData.of(about, [count], rows=np.arange(space.size)))
    rng = np.random.default_rng(1)
    for row in rng.integers(space.size, size=50).tolist():
        cell = space.enumerate()[row]
        order = [0]
        while len(order) < len(cell):
            left = [v for v in range(len(cell)) if v not in order]
            ready = [v for v in left if set(cell.predecessors(v)) <= set(order)]
            order.append(int(rng.choice(ready)))
        for named in (cell, cell.permuted(order), space.module_hash(cell), space.format(cell)):
            assert table.query(named).metrics == {"rank": row}


# What it scored ---------------------------------------------------------------------------------


def test_a_query_gives_the_mean_of_the_runs_and_everything_else(table, data):
    runs = [data.columns[f"a_valid_accuracy_4ep_s{seed}"].values for seed in (1, 2)]
    result = table.query(11)
    assert result.index == 11
    assert result.valid_accuracy == pytest.approx((runs[0][2] + runs[1][2]) / 2, abs=1e-15)
    assert result.test_accuracy == data.columns["a_test_accuracy_4ep_mean"].values[2]
    assert result.train_seconds == data.columns["a_train_seconds_4ep"].values[2]
    assert result.params == data.columns["params"].values[2]
    assert isinstance(result.params, int)
    assert (result.dataset, result.epochs, result.seed) == ("a", 4, "mean")
    assert (result.macs, result.metrics) == (None, {})


def test_data_set_run_and_largest_run_are_what_was_asked_for(table, data):
    runs = [data.columns[f"b_valid_accuracy_4ep_s{seed}"].values[1] for seed in (1, 2)]
    assert table.query(3, dataset="b", seed=2).valid_accuracy == runs[1]
    assert table.query(3, dataset="B", seed="max").valid_accuracy == max(runs)
    # Test accuracy was recorded as a mean alone: a single run has none, rather than that of others.
    assert table.query(3, dataset="b", seed=2).test_accuracy is None


def test_a_learning_curve_answers_for_every_epoch(table, data):
    curve = data.columns["a_valid_accuracy_2ep_s1_curve"].values
    assert table.query(0, epochs=2, at_epoch=1).valid_accuracy == curve[0, 0]
    assert table.query(0, epochs=2, at_epoch=2).valid_accuracy == curve[0, 1]
    assert table.query(0, epochs=2).valid_accuracy == curve[0, 1]
    for epoch in (0, 3):
        with pytest.raises(UnmeasuredError, match=rf"has epochs 1..2. Got at_epoch={epoch}"):
            table.query(0, epochs=2, at_epoch=epoch)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"dataset": "c"}, "Data sets of Toy table are: a, b. Got dataset='c'"),
        ({"epochs": 200}, "have 2, 4 epochs. Got epochs=200"),
        ({"seed": 7}, "dataset='a', epochs=4 are 1, 2, max, mean. Got seed=7"),
        ({"epochs": 2, "seed": 2}, "dataset='a', epochs=2 are 1, max, mean. Got seed=2"),
        ({"at_epoch": 2}, "has no figures for dataset='a', epochs=4, seed='mean', at_epoch=2"),
        ({"seed": "median"}, "Got seed='median'"),
    ],
)
def test_a_setting_that_was_not_recorded_is_refused_by_name(table, setting, message):
    with pytest.raises(UnmeasuredError, match=message):
        table.query(0, **setting)


def test_an_unmeasured_cell_is_an_error_and_the_mask_says_which(table):
    assert np.flatnonzero(table.measured).tolist() == ROWS.tolist()
    with pytest.raises(UnmeasuredError, match="Cell 1 of Toy table was not measured.* 6 of 15,625"):
        table.query(1)


def test_columns_line_up_with_the_space(table, data):
    values = table.column("valid_accuracy", seed=1)
    assert len(values) == len(table) == 15625
    assert np.array_equal(values[ROWS], data.columns["a_valid_accuracy_4ep_s1"].values)
    assert np.isnan(values).sum() == 15625 - len(ROWS)
    assert not values.flags.writeable
    with pytest.raises(UnmeasuredError, match="Got metric='macs'"):
        table.column("macs")


def test_many_queries_at_once_equal_single_ones(table):
    many = table.query_array(ROWS, dataset="b")
    for n, row in enumerate(ROWS.tolist()):
        one = table.query(row, dataset="b")
        for metric in ("valid_accuracy", "test_accuracy", "train_seconds", "params"):
            assert many[metric][n] == getattr(one, metric)
    assert list(table.query_array([1], metrics=["params"])) == ["params"]
    assert np.isnan(table.query_array([1])["valid_accuracy"]).all()


def test_iteration_gives_every_position_once(table):
    records = list(table)
    assert [record.index for record in records] == list(range(len(table)))
    assert records[11] == table[11] == table.query(11) == table[11 - len(table)]
    assert records[1].valid_accuracy is None
    with pytest.raises(IndexError, match="between 0 and 15624"):
        table[15625]


def test_the_optimum_is_read_off_the_table(table):
    best = table.optimum(dataset="b")
    valid, test = (table.column(f"{k}_accuracy", dataset="b") for k in ("valid", "test"))
    assert best.valid_accuracy.value == np.nanmax(valid)
    assert best.valid_accuracy.indices == tuple(np.flatnonzero(valid == np.nanmax(valid)))
    assert best.test_accuracy.value == np.nanmax(test)
    assert best.test_of_best_valid == test[best.valid_accuracy.indices[0]]


def test_missing_values_of_a_run_do_not_hide_the_others():
    first, second = np.array([0.5, np.nan, np.nan]), np.array([0.7, 0.6, np.nan])
    columns = [
        Column(Measure(metric="valid_accuracy", dataset="a", epochs=4, seed=seed), values)
        for seed, values in ((0, first), (1, second))
    ]
    table = Table(TableData.of(info(), columns, rows=np.arange(3)))
    assert table.column("valid_accuracy")[:3] == pytest.approx([0.6, 0.6, np.nan], nan_ok=True)
    assert table.column("valid_accuracy", seed="max")[:2].tolist() == [0.7, 0.6]
    assert table.query(1, seed=1).valid_accuracy == 0.6
    with pytest.raises(UnmeasuredError, match="was not measured"):
        table.query(1, seed=0)
    assert list(table.runs("valid_accuracy")) == [0, 1]


def test_a_record_of_a_class_answers_for_all_its_members():
    classes = SPACE.topology_classes()
    # The recorded member need not be the first of its class.
    rows = np.sort(len(classes) - 1 - np.unique(classes[::-1], return_index=True)[1])
    accuracy = Column(
        Measure(metric="valid_accuracy", dataset="a", epochs=4),
        classes[rows].astype(float) / 20_000,
    )
    table = Table(TableData.of(info(by_class=True), [accuracy], rows=rows))
    assert table.measured.all()
    assert np.array_equal(np.rint(table.column("valid_accuracy") * 20_000), classes)


def test_pandas_gets_all_recorded_columns_by_position(table, data):
    frame = table.to_pandas()
    assert frame.index.tolist() == ROWS.tolist()
    assert list(frame.columns) == list(data.columns)
    assert frame.loc[11, "params"] == table.query(11).params
    assert frame.loc[11, "a_valid_accuracy_2ep_s1_curve"][0] == (
        table.query(11, epochs=2, at_epoch=1).valid_accuracy
    )


def test_to_pandas_says_what_it_needs(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(TableError, match="pip install pandas"):
        table.to_pandas()


def measured(metric, value, **keys):
    return Column(Measure(metric=metric, **keys), np.array([value]))


def toy(*columns, **changes):
    return Table(TableData.of(info(**changes), list(columns), rows=np.array([0])))


def test_final_figures_never_stand_for_an_early_epoch():
    curve = Column(
        Measure(metric="valid_accuracy", dataset="a", epochs=4), np.array([[0.1, 0.2, 0.3, 0.4]])
    )
    test = measured("test_accuracy", 0.77, dataset="a", epochs=4)
    early = toy(curve, test, measured("params", 9)).query(0, at_epoch=1)
    assert (early.valid_accuracy, early.test_accuracy, early.params) == (0.1, None, 9)
    with pytest.raises(UnmeasuredError, match="no figures for"):
        toy(test).query(0, at_epoch=1)


def test_what_is_of_this_data_set_goes_before_what_is_of_none():
    general = measured("valid_accuracy", 0.1, seed="mean")
    own = [measured("valid_accuracy", v, dataset="a", seed=s) for s, v in ((0, 0.8), (1, 0.9))]
    other = measured("params", 1, epochs=4)
    assert toy(general, *own, other).query(0).valid_accuracy == pytest.approx(0.85)
    old = measured("valid_accuracy", 0.1, seed=0)
    assert toy(old, own[1], other).query(0).valid_accuracy == 0.9


def test_a_recorded_mean_keeps_a_largest_run_from_being_made_up():
    columns = [
        measured("valid_accuracy", 0.72, dataset="a", epochs=4, seed=888),
        measured("valid_accuracy", 0.73, dataset="a", epochs=4, seed="mean"),
    ]
    with pytest.raises(UnmeasuredError, match="no figures for .*seed='max'"):
        toy(*columns).query(0, seed="max")


def test_whole_numbers_keep_their_sign_and_missing_ones_are_nan():
    column = Column(Measure(metric="score"), np.array([-1, 5, -3]))
    about = info(dataset=None, epochs=None)
    table = Table(TableData.of(about, [column], rows=np.array([2, 4, 6])))
    assert [table.query(row).metrics["score"] for row in (2, 4, 6)] == [-1, 5, -3]
    assert isinstance(table.query(2).metrics["score"], int)
    assert np.isnan(table.query_array([0, 2])["score"]).tolist() == [True, False]
    assert np.flatnonzero(table.measured).tolist() == [2, 4, 6]


def test_a_cell_with_any_measured_figure_is_measured():
    columns = [
        Column(Measure(metric="valid_accuracy"), np.array([0.5, np.nan])),
        Column(Measure(metric="latency_seconds"), np.array([0.1, 0.2])),
    ]
    about = info(dataset=None, epochs=None)
    table = Table(TableData.of(about, columns, rows=np.array([0, 1])))
    assert table.query(1).metrics == {"latency_seconds": 0.2}
    assert table.query(1).valid_accuracy is None


def test_numpy_numbers_and_capitals_mean_the_same_and_truth_values_nothing(table):
    assert table.query(3, seed=np.int64(2)) == table.query(3, seed=2)
    assert type(table.query(3, seed=np.int64(2)).seed) is int
    assert table.query(np.int64(3), dataset="B").dataset == "b"
    for wrong in ({"seed": True}, {"epochs": 4.0}, {"at_epoch": "2"}, {"seed": [1]}):
        with pytest.raises(ConfigError, match="must be a whole number"):
            table.query(3, **wrong)
    with pytest.raises(UnmeasuredError, match="Got dataset=1"):
        table.query(3, dataset=1)


def test_columns_and_arrays_cannot_be_changed(table, data):
    for array in (
        table.columns["params"].values,
        table.column("params"),
        data.columns["a_valid_accuracy_4ep_s1"].values,
    ):
        assert not array.flags.writeable
    mine = np.array([0.5])
    Column(Measure(metric="valid_accuracy"), mine)
    mine[0] = 0.6  # the caller's own array stays the caller's


# Spaces that are not enumerated -----------------------------------------------------------------


@pytest.fixture(scope="module")
def genotypes():
    cells = Darts().sample_array(6, seed=0)
    columns = [Column(Measure(metric="valid_accuracy", epochs=4), np.array([0.1, 0.2, 0.3]))]
    about = info(space="darts", dataset=None)
    return Table(TableData.of(about, columns, cells=cells[:3], reduction_cells=cells[3:])), cells


def test_a_genotype_is_found_by_its_text_and_in_any_node_order(genotypes):
    table, cells = genotypes
    pair = Genotype(cells[1], cells[4])
    assert table.query(pair).valid_accuracy == 0.2
    assert table.query(pair.format()).index == 1
    assert len(table) == 3
    assert table.measured.all()


def test_another_pair_of_the_same_cells_is_not_in_the_table(genotypes):
    table, cells = genotypes
    with pytest.raises(UnmeasuredError, match="holds 3 cells of DARTS"):
        table.query(Genotype(cells[4], cells[1]))
    with pytest.raises(CellError, match="is of a Genotype"):
        table.query(cells[1])
    with pytest.raises(CellError, match="is of a genotype, not of a cell"):
        table.index_array(cells)


def test_cells_of_a_listed_sample_are_found_among_each_other():
    cells = Darts().sample_array(50, seed=1)
    column = Column(Measure(metric="valid_accuracy"), np.linspace(0, 1, 50))
    table = Table(
        TableData.of(info(space="darts", dataset=None, epochs=None), [column], cells=cells)
    )
    assert table.index_array(cells).tolist() == list(range(50))
    assert table.query(cells[7]).index == 7
    with pytest.raises(UnmeasuredError, match="is not in Toy table"):
        table.index_array(Darts().sample_array(60, seed=2))


# What cannot be a table -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([3, 3, 5], "ascending indices, none twice"),
        ([5, 3, 4], "ascending indices, none twice"),
        ([0, 1, 15625], "must lie in 0..15624"),
        ([-1, 1, 2], "must lie in 0..15624"),
        ([0, 1], "one value for each of 2 cells. Got 3"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, message):
    column = Column(Measure(metric="valid_accuracy"), np.array([0.1, 0.2, 0.3]))
    with pytest.raises(TableError, match=message):
        TableData.of(info(dataset=None, epochs=None), [column], rows=np.array(rows))


def test_two_records_of_one_class_or_one_cell_are_refused():
    classes = SPACE.topology_classes()
    rows = np.flatnonzero(classes == np.bincount(classes).argmax())[:2]
    column = Column(Measure(metric="valid_accuracy"), np.array([0.1, 0.2]))
    with pytest.raises(TableError, match="one record of each class"):
        TableData.of(info(dataset=None, epochs=None, by_class=True), [column], rows=rows)
    cells = Darts().sample_array(1, seed=0)[[0, 0]]
    with pytest.raises(TableError, match="Records 0 and 1 are of the same cell"):
        TableData.of(info(space="darts", dataset=None, epochs=None), [column], cells=cells)


def test_cells_with_equal_hashes_are_told_apart():
    class Layers(Space):
        name, title, ops, max_nodes = "layers-of-a-test", "Layers", ("in", "a", "out"), 10

        def problems(self, cell):
            return []

        parse = format = sample = neighbours = None

    def cell(pairs):
        ends = [(0, v) for v in range(1, 5)] + [(v, 9) for v in range(5, 9)]
        return Cell(("in", *"a" * 8, "out"), (*ends, *pairs))

    ring = [(1, 5), (1, 6), (2, 6), (2, 7), (3, 7), (3, 8), (4, 8), (4, 5)]
    two = [(1, 5), (1, 6), (2, 5), (2, 6), (3, 7), (3, 8), (4, 7), (4, 8)]
    one, other = cell(ring), cell(two)
    assert not one.is_isomorphic(other)
    space = Layers()
    SPACES[space.name] = space
    try:
        assert len(set(space.pack([one, other]).colour_hash().tolist())) == 1
        about = info(space=space.name, dataset=None, epochs=None)
        column = measured("valid_accuracy", 0.123)
        table = Table(TableData.of(about, [column], cells=space.pack([one])))
        assert table.query(one).valid_accuracy == 0.123
        with pytest.raises(UnmeasuredError, match="holds 1 cells"):
            table.query(other)
    finally:
        del SPACES[space.name]


def test_two_columns_of_one_name_are_refused():
    column = Column(Measure(metric="valid_accuracy"), np.array([0.1]))
    with pytest.raises(TableError, match=r"Got \['valid_accuracy'\] twice"):
        TableData.of(info(dataset=None, epochs=None), [column, column], rows=np.array([0]))
    with pytest.raises(TableError, match="No column is of the table's default dataset='a'"):
        TableData.of(info(), [column], rows=np.array([0]))


def test_a_column_must_hold_numbers():
    with pytest.raises(TableError, match="must hold numbers"):
        Column(Measure(metric="valid_accuracy"), np.array(["a"]))


def test_a_single_cell_may_be_queried_without_a_default_data_set():
    column = Column(Measure(metric="latency_seconds"), np.array([0.5]))
    table = Table(TableData.of(info(dataset=None, epochs=None), [column], rows=np.array([3])))
    assert table.query(3).metrics == {"latency_seconds": 0.5}
    with pytest.raises(UnmeasuredError, match="none to choose"):
        table.query(3, dataset="a")
    with pytest.raises(UnmeasuredError, match="was not measured"):
        table.query(4)
    assert isinstance(SPACE.enumerate()[3], Cell)

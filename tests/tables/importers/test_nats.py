"""NATS-Bench files: samples as published, made folders, archives and full files, bad ones."""

from __future__ import annotations

import bz2
import os
import pickle
import tarfile

import numpy as np
import pytest
from making import (
    TRAININGS,
    nats_record,
    whole,
    write_big_nats_folder,
    write_nats_folder,
    write_pickle,
)

from archrep.cells import get_space
from archrep.errors import TableError
from archrep.tables.importers.base import import_file, quiet
from archrep.tables.importers.nats import convert, recognise

TOPOLOGY, SIZE = get_space("nasbench201"), get_space("nats-size")
NAMES = {"nasbench201": "NATS-tss-v1_0-3ffb9", "nats-size": "NATS-sss-v1_0-50262"}
INDICES = (3, 0, 15_624)


@pytest.fixture(params=[TOPOLOGY, SIZE], ids=lambda space: space.name)
def space(request):
    return request.param


@pytest.fixture
def folder(space, tmp_path):
    return write_nats_folder(tmp_path / f"{NAMES[space.name]}-simple", space, INDICES)


def check_against(records, table):
    """Every trial of records of cells (in the order of the table) against the columns."""
    seen = set()
    for position, record in enumerate(records):
        for result in record.values():
            for (training, seed), trial in result["all_results"].items():
                epochs, ours = trial["epochs"], training.lower()
                last = trial["eval_acc1es"]
                expected = {(ours, "train_accuracy"): trial["train_acc1es"][epochs - 1]}
                valid, test = (last.get(f"{s}@{epochs - 1}") for s in ("x-valid", "x-test"))
                if training.startswith("cifar10") and training != "cifar100":
                    test = last[f"ori-test@{epochs - 1}"]
                if valid is not None:
                    expected[ours, "valid_accuracy"] = valid
                    if training == "cifar10-valid":
                        expected["cifar10", "valid_accuracy"] = valid
                expected[ours, "test_accuracy"] = test
                for (dataset, metric), percent in expected.items():
                    name = f"{dataset.replace('-', '_')}_{metric}_{epochs}ep_s{seed}"
                    seen.add(name)
                    assert table.columns[name].grid > 0
                    value = table.columns[name].values[position]
                    assert value == pytest.approx(percent / 100, abs=1e-9)
                seconds = sum(trial["train_times"].values())
                metric = "retrain" if training == "cifar10" else "train"
                name = f"{ours.replace('-', '_')}_{metric}_seconds_{epochs}ep"
                assert table.columns[name].values[position] == pytest.approx(seconds)
    accuracies = {n for n, c in table.columns.items() if c.measure.metric.endswith("accuracy")}
    assert accuracies == seen


class TestForms:
    def test_folder_gives_every_trial(self, space, folder):
        (table,) = import_file(folder)
        assert (table.info.name, table.info.space) == (space.name, space.name)
        assert table.info.epochs == (200 if space is TOPOLOGY else 90)
        assert table.rows.tolist() == sorted(INDICES)
        check_against([nats_record(space, index) for index in sorted(INDICES)], table)

    def test_archive_and_full_file_give_the_same(self, space, folder, tmp_path):
        (expected,) = convert(folder, quiet)
        archive = tmp_path / f"{NAMES[space.name]}-simple.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(folder, folder.name)
        full = tmp_path / f"{NAMES[space.name]}.pickle.pbz2"
        write_pickle(full, whole(space, INDICES))
        for path in (archive, full):
            (table,) = import_file(path)
            assert table.rows.tolist() == expected.rows.tolist()
            assert list(table.columns) == list(expected.columns)
            for name, column in expected.columns.items():
                np.testing.assert_array_equal(table.columns[name].values, column.values)

    def test_curves_end_with_the_final_accuracies(self, space, folder):
        (table,) = convert(folder, quiet, curves=True)
        curves = {n: c for n, c in table.columns.items() if c.values.ndim == 2}
        assert curves
        for name, curve in curves.items():
            final = table.columns[name.removesuffix("_curve")].values
            np.testing.assert_array_equal(curve.values[:, -1], final)
            assert curve.values.shape[1] == curve.measure.epochs

    def test_costs_are_those_of_the_networks(self, space, folder):
        (table,) = convert(folder, quiet)
        cells = space.enumerate()[table.rows]
        for training, (classes, _, _) in TRAININGS.items():
            pixels, ours = (16 if classes == 120 else 32), training.lower().replace("-", "_")
            for metric, truth in (
                ("params", space.params(cells, classes)),
                ("macs", space.macs(cells, classes, pixels)),
            ):
                column = table.columns[f"{ours}_{metric}"]
                assert column.values.tolist() == truth.tolist()
                assert not column.note

    def test_big_made_folders_hold_what_the_official_reader_finds(self, tmp_path):
        """That a benchmark measures the right thing."""
        path = write_big_nats_folder(tmp_path / "NATS-tss-big", TOPOLOGY, cells=20, variants=3)
        for index in range(20):
            with bz2.open(path / f"{index:06d}.pickle.pbz2") as file:
                record = pickle.load(file)
            assert record["200"]["arch_index"] == record["12"]["arch_index"] == index
            trial = record["12"]["all_results"]["cifar10", 111]
            assert trial["arch_config"]["arch_str"] == TOPOLOGY.format(TOPOLOGY.enumerate()[index])
        (table,) = convert(path, quiet)
        assert table.rows.tolist() == list(range(20))


@pytest.mark.data
class TestSamples:
    @pytest.mark.parametrize("space", [TOPOLOGY, SIZE], ids=lambda space: space.name)
    def test_every_trial_is_in_its_column(self, space, data_folder):
        path = data_folder / "samples" / "nats-bench" / f"{NAMES[space.name]}-simple"
        (table,) = import_file(path)
        assert table.rows.tolist() == [0, 11, 284]
        records = []
        for index in table.rows:
            with bz2.open(path / f"{index:06d}.pickle.pbz2") as file:
                records.append(pickle.load(file))
        check_against(records, table)
        notes = {c.note for c in table.columns.values() if c.measure.metric in ("params", "macs")}
        assert notes == {""}  # the records of these cells are right

    def test_topology_figures_are_those_of_the_published_exports(
        self, data_folder, nasbench201_table
    ):
        path = data_folder / "samples" / "nats-bench" / f"{NAMES['nasbench201']}-simple"
        (table,) = convert(path, quiet)
        pairs = {"cifar10_train_seconds_200ep": ("c10v_train_seconds_200ep", 1.0)}
        pairs["cifar10_retrain_seconds_200ep"] = ("c10_train_seconds_200ep", 1.0)
        for seed in (777, 888, 999):
            ours = f"cifar10_valid_accuracy_200ep_s{seed}"
            pairs[ours] = (f"c10v_valid_acc_200ep_s{seed}", 0.01)
        for long, short in (("cifar100", "c100"), ("imagenet16_120", "in16")):
            pairs[f"{long}_train_seconds_200ep"] = (f"{short}_train_seconds_200ep", 1.0)
            for split in ("valid", "test"):
                for end in ("200ep_s888", "12ep_s111"):
                    pairs[f"{long}_{split}_accuracy_{end}"] = (f"{short}_{split}_acc_{end}", 0.01)
        for ours, (theirs, scale) in pairs.items():
            expected = nasbench201_table[theirs].to_numpy()[table.rows] * scale
            np.testing.assert_allclose(table.columns[ours].values, expected, rtol=1e-6)


class TestDefects:
    def test_a_wrong_recorded_number_of_parameters_is_noted(self, tmp_path):
        path = write_nats_folder(tmp_path / "NATS-tss-x", TOPOLOGY, [5])
        record = nats_record(TOPOLOGY, 5)
        record["200"]["all_results"]["cifar10", 777]["params"] = 0.64
        write_pickle(path / "000005.pickle.pbz2", record)
        (table,) = convert(path, quiet)
        column = table.columns["cifar10_params"]
        assert column.values.tolist() == TOPOLOGY.params(TOPOLOGY.enumerate()[[5]]).tolist()
        assert "The 200-epoch records of 1 cells state another number" in column.note
        assert not table.columns["cifar100_params"].note

    def test_times_that_differ_between_runs_are_kept_by_run(self, tmp_path):
        path = write_nats_folder(tmp_path / "NATS-tss-x", TOPOLOGY, [5])
        record = nats_record(TOPOLOGY, 5)
        record["200"]["all_results"]["cifar100", 888]["train_times"][3] = 1000.0
        write_pickle(path / "000005.pickle.pbz2", record)
        (table,) = convert(path, quiet)
        first, second = (
            table.columns[f"cifar100_train_seconds_200ep_s{seed}"].values[0] for seed in (777, 888)
        )
        assert second == first + 1000 - 12.0

    def test_accuracies_off_the_grid_are_kept_as_they_are(self, tmp_path):
        path = write_nats_folder(tmp_path / "NATS-tss-x", TOPOLOGY, [5])
        record = nats_record(TOPOLOGY, 5)
        record["12"]["all_results"]["cifar10", 111]["eval_acc1es"]["ori-test@11"] = 12.34567
        write_pickle(path / "000005.pickle.pbz2", record)
        column = convert(path, quiet)[0].columns["cifar10_test_accuracy_12ep_s111"]
        assert (column.grid, column.values.tolist()) == (0, [pytest.approx(0.1234567)])


def broken(change):
    record = nats_record(TOPOLOGY, 5)
    change(record)
    return record


def first_trial(record):
    return record["12"]["all_results"]["cifar10", 111]


class TestBadFiles:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda r: r["12"].update(arch_index=7), "has results of several cells"),
            (lambda r: [x.update(arch_index=7) for x in r.values()], "calls cell 7 .* Expected"),
            (lambda r: [x.update(arch_index=-1) for x in r.values()], "has no cell -1"),
            (lambda r: [x.update(arch_index=True) for x in r.values()], "has no cell True"),
            (lambda r: [x.update(arch_str="|none|") for x in r.values()], "calls cell 5"),
            (lambda r: r.clear(), "must hold the results of a cell"),
            (lambda r: r.update({"13": r.pop("12")}), "12 epochs under schedule '13'"),
            (lambda r: r.update({"x": r.pop("12")}), "official layout"),
            (lambda r: r["12"].pop("all_results"), "official layout .KeyError"),
            (lambda r: r["12"]["all_results"].update({("mnist", 1): 1}), "trial on 'mnist'"),
            (lambda r: r["12"]["all_results"].update({5: 1}), "official layout .TypeError"),
            (lambda r: first_trial(r).pop("params"), "official layout .KeyError: 'params'"),
            (lambda r: first_trial(r).update(params="many"), "official layout .TypeError"),
            (lambda r: first_trial(r).update(params=np.nan), "params on cifar10 is nan"),
            (lambda r: first_trial(r).update(flop=-1.0), "flop on cifar10 is -1"),
            (lambda r: first_trial(r).update(train_times={0: 1.0}), "1 training times for 12"),
            (lambda r: first_trial(r)["train_acc1es"].update({11: 101.0}), "train on .* is 101"),
            (lambda r: first_trial(r)["train_acc1es"].update({11: np.nan}), "train on .* is nan"),
            (lambda r: first_trial(r)["train_acc1es"].pop(11), "official layout .KeyError: 11"),
        ],
    )
    def test_wrong_records_are_one_clear_error(self, change, message, tmp_path):
        path = write_nats_folder(tmp_path / "NATS-tss-x", TOPOLOGY, [4])
        write_pickle(path / "000005.pickle.pbz2", broken(change))
        with pytest.raises(TableError, match=message) as caught:
            convert(path, quiet)
        assert "000005.pickle.pbz2" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_cell_twice(self, tmp_path):
        path = write_nats_folder(tmp_path / "NATS-tss-x", TOPOLOGY, [4, 5])
        (path / "000009.pickle.pbz2").write_bytes((path / "000004.pickle.pbz2").read_bytes())
        with pytest.raises(TableError, match="holds cell 4 twice"):
            convert(path, quiet)

    def test_another_numbering(self, tmp_path):
        path = write_nats_folder(tmp_path / "NATS-tss-x", TOPOLOGY, [4])
        archs = [TOPOLOGY.format(cell) for cell in TOPOLOGY.enumerate()]
        for wrong in (archs[::-1], archs[:-1]):
            write_pickle(path / "meta.pickle.pbz2", {"meta_archs": wrong})
            with pytest.raises(TableError, match="in the official order"):
                convert(path, quiet)

    @pytest.mark.parametrize("meta", [{}, [], {"meta_archs": None}, {"meta_archs": [[1]]}])
    def test_a_meta_file_of_something_else(self, meta, tmp_path):
        path = write_nats_folder(tmp_path / "NATS-tss-x", TOPOLOGY, [4])
        write_pickle(path / "meta.pickle.pbz2", meta)
        with pytest.raises(TableError, match=r"meta\.pickle\.pbz2"):
            convert(path, quiet)

    def test_cells_of_both_spaces(self, tmp_path):
        path = write_nats_folder(tmp_path / "NATS-tss-x", TOPOLOGY, [4])
        write_pickle(path / "000005.pickle.pbz2", nats_record(SIZE, 5))
        with pytest.raises(TableError, match="calls cell 5 '8:8:8:8:48'. Expected"):
            convert(path, quiet)

    def test_an_empty_folder(self, tmp_path):
        (tmp_path / "NATS-tss-x").mkdir()
        with pytest.raises(TableError, match="holds no results"):
            import_file(tmp_path / "NATS-tss-x")

    def test_a_truncated_or_foreign_archive(self, tmp_path):
        folder = write_nats_folder(tmp_path / "NATS-tss-x", TOPOLOGY, [4])
        path = tmp_path / "NATS-tss-x.tar"
        with tarfile.open(path, "w") as tar:
            tar.add(folder, folder.name)
        data = path.read_bytes()
        for part in (data[: len(data) // 2], data[:100], b"", b"not a tar" * 200):
            path.write_bytes(part)
            with pytest.raises(TableError):
                convert(path, quiet)

    def test_a_full_file_without_results(self, tmp_path):
        path = tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
        write_pickle(path, whole(TOPOLOGY, []))
        with pytest.raises(TableError, match="holds no results"):
            convert(path, quiet)

    def test_a_hostile_record_is_not_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return os.system, (f"touch {tmp_path / 'victim'}",)

        path = write_nats_folder(tmp_path / "NATS-tss-x", TOPOLOGY, [4])
        write_pickle(path / "000005.pickle.pbz2", Evil())
        with pytest.raises(TableError, match=r"names 'posix\.system'"):
            convert(path, quiet)
        assert not (tmp_path / "victim").exists()

    def test_other_paths_are_not_recognised(self, tmp_path):
        assert not recognise(tmp_path)
        assert not recognise(tmp_path / "nowhere.tar")

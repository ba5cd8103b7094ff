"""NAS-Bench-101 records: real and made files come out exactly, changed ones are refused."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest
from making import evaluation, metrics, nasbench101_payloads, write_records

from archrep.cells import get_space
from archrep.errors import TableError
from archrep.tables.file import TableFile
from archrep.tables.importers.base import import_file, quiet
from archrep.tables.importers.nasbench101 import convert, parse_metrics, recognise

SPACE = get_space("nasbench101")
ROWS = (0, 7, 500, 200_000, 423_623)
GOOD = [evaluation(e, 10 * e, (0.5, 0.25, 0.125)) for e in (0, 54, 108)]


@pytest.fixture
def make(tmp_path):
    """Function (payloads): path of a record file of them."""

    def write(payloads):
        path = tmp_path / "nasbench_only108.tfrecord"
        write_records(path, payloads)
        return path

    return write


@pytest.fixture(scope="session")
def samples(data_folder):
    return data_folder / "samples" / "nasbench101"


def changed(payload: bytes, **changes) -> bytes:
    """A record with some of its five items replaced."""
    names = ("module_hash", "epochs", "adjacency", "ops", "metrics")
    record = dict(zip(names, json.loads(payload), strict=True)) | changes
    return json.dumps(list(record.values())).encode()


def with_metrics(payload: bytes, message: bytes) -> bytes:
    return changed(payload, metrics=base64.b64encode(message).decode())


class TestMadeFiles:
    def test_every_figure_is_in_its_column(self, make):
        payloads = list(nasbench101_payloads(ROWS, epochs=(4, 108), runs=3))
        (table,) = convert(make(payloads), quiet, curves=True)
        assert table.rows.tolist() == list(ROWS)
        seen: dict[tuple, int] = {}
        for payload in payloads:
            key, schedule, _, _, encoded = json.loads(payload)
            position = list(ROWS).index(SPACE.index_of_hash(key))
            run = seen[key, schedule] = seen.get((key, schedule), -1) + 1
            values = np.frombuffer(base64.b64decode(encoded)[47:141], np.uint8).reshape(2, 47)
            for where, part in zip((f"_at{schedule // 2}", ""), values, strict=True):
                _, seconds, *accuracies = struct.unpack("<" + "xd" * 5, part[2:].tobytes())
                name = f"{schedule}ep{where}_s{run}"
                assert table.columns[f"cifar10_train_seconds_{name}"].values[position] == seconds
                for metric, accuracy in zip(("train", "valid", "test"), accuracies, strict=True):
                    column = table.columns[f"cifar10_{metric}_accuracy_{name}"]
                    assert column.grid == 9984
                    assert column.values[position] == np.float32(accuracy)
        assert len(table.columns) == 2 * 3 * 2 * 4 + 1

    def test_parameters_are_those_of_the_official_spelling(self, make):
        (table,) = convert(make(nasbench101_payloads(ROWS)), quiet)
        assert (table.columns["params"].values == SPACE.params(SPACE.enumerate()[list(ROWS)])).all()

    def test_halfway_figures_are_an_option(self, make):
        (table,) = convert(make(nasbench101_payloads(ROWS)), quiet)
        assert {c.measure.at_epoch for c in table.columns.values()} == {None}
        assert len(table.columns) == 3 * 4 + 1

    def test_order_of_cells_does_not_matter_and_that_of_runs_is_kept(self, make):
        payloads = list(nasbench101_payloads(ROWS))
        (plain,) = convert(make(payloads), quiet)
        by_run = [p for run in range(3) for p in payloads[run::3][::-1]]
        (mixed,) = convert(make(by_run), quiet)
        for name, column in plain.columns.items():
            np.testing.assert_array_equal(mixed.columns[name].values, column.values)

    def test_missing_runs_are_nan(self, make):
        payloads = list(nasbench101_payloads(ROWS))
        (table,) = convert(make(payloads[:-1]), quiet)
        column = table.columns["cifar10_valid_accuracy_108ep_s2"].values
        assert np.isnan(column).tolist() == [False] * 4 + [True]

    def test_saved_table_gives_the_counts_back(self, make, tmp_path):
        (table,) = convert(make(nasbench101_payloads(ROWS)), quiet)
        table.save(tmp_path / "t.safetensors")
        back = TableFile(tmp_path / "t.safetensors").data()
        for name, column in table.columns.items():
            np.testing.assert_allclose(back.columns[name].values, column.values, atol=1e-7)

    def test_progress_ends_with_the_size_of_the_file(self, make):
        told = []
        path = make(nasbench101_payloads(ROWS))
        convert(path, lambda *news: told.append(news))
        assert told[0] == ("Reading records", path.stat().st_size, path.stat().st_size)

    def test_the_registry_finds_the_importer(self, make):
        path = make(nasbench101_payloads(ROWS))
        assert recognise(path)
        assert [table.info.name for table in import_file(path)] == ["nasbench101"]


@pytest.mark.data
class TestSamples:
    def test_thirty_official_cells_have_their_published_figures(self, samples):
        (table,) = convert(samples / "nasbench_only108_30archs.tfrecord", quiet, curves=True)
        records = json.loads((samples / "nasbench101_30rows.json").read_text())
        published = {SPACE.index_of_hash(record["module_hash"]): record for record in records}
        names = {"train": "train", "validation": "valid", "test": "test"}
        for position, row in enumerate(table.rows):
            record = published[row]
            assert table.columns["params"].values[position] == record["trainable_parameters"]
            for run, figures in enumerate(record["epochs_108"]):
                for when, where in (("halfway", "_at54"), ("final", "")):
                    end = f"108ep{where}_s{run}"
                    seconds = table.columns[f"cifar10_train_seconds_{end}"].values[position]
                    assert seconds == figures[f"{when}_training_time"]
                    for theirs, ours in names.items():
                        value = table.columns[f"cifar10_{ours}_accuracy_{end}"].values[position]
                        assert value == np.float32(figures[f"{when}_{theirs}_accuracy"])

    @pytest.mark.parametrize(
        ("name", "epochs"),
        [
            ("carbon_3V9E", {4, 36, 108}),
            ("carbon_4V9E", {4, 12, 36, 108}),
            ("epochs_4_spec_3V9E", {4}),
        ],
    )
    def test_files_with_further_fields_are_read(self, name, epochs, samples):
        (table,) = convert(samples / f"{name}.tfrecord", quiet, curves=True)
        measures = [column.measure for column in table.columns.values()]
        assert {m.epochs for m in measures} - {None} == epochs
        assert {m.at_epoch for m in measures} == {None, 1}  # they measured after one epoch
        assert {m.seed for m in measures} - {None} == {0, 1, 2}
        table.check()
        truth = SPACE.params(SPACE.enumerate()[table.rows])
        assert (table.columns["params"].values == truth).all()


class TestMetrics:
    def test_fields_in_any_order_and_unknown_ones_are_read_and_skipped(self):
        plain = parse_metrics(metrics(GOOD, 77))
        unknown = b"\x29" + struct.pack("<d", 1) + b"\x35" + b"abcd" + b"\x78" + b"\xff\x01"
        mixed = b"".join(
            b"\x0a" + bytes([len(part) + 3]) + part[::1][9:] + part[:9] + b"\x32\x01p"
            for part in GOOD
        )
        assert parse_metrics(unknown + b"\x10\x4d" + mixed) == plain
        assert plain == (77, 54.0, (540.0, 0.5, 0.25, 0.125), (1080.0, 0.5, 0.25, 0.125))

    def test_absent_figures_are_nan(self):
        short = [part[:18] for part in GOOD]
        found = parse_metrics(b"".join(b"\x0a\x12" + part for part in short))
        assert found.params == -1
        assert found.final[0] == 1080
        assert np.isnan(found.final[1:]).all()

    def test_every_truncation_is_an_error(self):
        message = b"".join(b"\x0a\x2d" + part for part in GOOD)
        for end in range(len(message)):
            with pytest.raises(ValueError, match=r"middle|evaluations|epochs"):
                parse_metrics(message[:end])

    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            (metrics(GOOD[:2], 1), "2 evaluations, not three"),
            (metrics([GOOD[0], GOOD[2], GOOD[1]], 1), "after epochs 108.0 and 54.0"),
            (metrics([*GOOD[:2], evaluation(108, 1, (0.5, np.nan, 0.5))], 1), "figure is nan"),
            (metrics([*GOOD[:2], evaluation(108, 1, (0.5, 1.5, 0.5))], 1), "figure is 1.5"),
            (metrics([*GOOD[:2], evaluation(108, -1, (0.5, 0.5, 0.5))], 1), "figure is -1"),
            (metrics([*GOOD[:2], evaluation(108, np.inf, (0.5, 0.5, 0.5))], 1), "figure is inf"),
            (metrics(GOOD, 2**40), "states 1099511627776 parameters"),
            (b"\x0b", "unknown wire type 3"),
            (b"\xff" * 12, "more than ten bytes"),
        ],
    )
    def test_impossible_messages_are_refused(self, message, reason):
        with pytest.raises(ValueError, match=reason):
            parse_metrics(message)


class TestBadFiles:
    @pytest.fixture
    def payloads(self):
        return list(nasbench101_payloads(ROWS))

    def refused(self, path, message):
        with pytest.raises(TableError, match=message) as caught:
            convert(path, quiet)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500

    def test_an_empty_file(self, make):
        self.refused(make([]), "holds no record")

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            (b"[]", "not a list of five"),
            (b"[" * 100, "Expecting value"),
            (b"\xff\xfe", "ascii"),
            (b'{"a": 1}', "not a list of five"),
            (b'["h", "108", "0100", "input,output", ""]', "schedule is '108'"),
            (b'["h", true, "0100", "input,output", ""]', "schedule is 'True'"),
            (b'["h", 108, 5, "input,output", ""]', "must be text"),
            (b'["h", 108, "0100", "input,output", "!"]', "base64|Invalid|data"),
            (b'["h", 108, "0100", "input,output", ""]', "0 evaluations"),
        ],
    )
    def test_records_of_another_layout(self, payload, reason, make, payloads):
        path = make([*payloads[:4], payload])
        self.refused(path, f"Record 4 of .* is not a NAS-Bench-101 record: .*{reason}")

    def test_deeply_nested_json(self, make):
        self.refused(make([b"[" * 10_000]), "Record 0 .* is not a NAS-Bench-101 record")

    def test_a_graph_outside_of_the_space(self, make, payloads):
        loose = changed(payloads[0], adjacency="010000000", ops="input,maxpool3x3,output")
        self.refused(make([loose]), "no NAS-Bench-101 cell: .*maxpool3x3")

    @pytest.mark.parametrize(
        "change",
        [
            {"adjacency": "01"},
            {"adjacency": "0200"},
            {"adjacency": "0000" * 16, "ops": ",".join(["input"] * 8)},
        ],
    )
    def test_a_graph_that_cannot_be_read(self, change, make, payloads):
        bent = changed(payloads[0], **({"ops": "input,output"} | change))
        self.refused(make([bent]), "graph that cannot be read")

    def test_an_unknown_operation(self, make, payloads):
        bent = changed(payloads[0], adjacency="010001000", ops="input,conv7x7,output")
        self.refused(make([bent]), "no NAS-Bench-101 cell: .*conv7x7")

    def test_a_backward_edge(self, make, payloads):
        bent = changed(payloads[0], adjacency="0110", ops="input,output")
        self.refused(make([bent]), "backward edge")

    def test_exchanged_hashes(self, make, payloads):
        first, last = (json.loads(payloads[n])[0] for n in (0, -1))
        bent = [changed(payloads[0], module_hash=last), changed(payloads[-1], module_hash=first)]
        self.refused(make(bent), "hash that does not belong to its graph")

    def test_a_hash_changed_in_its_last_digit(self, make, payloads, monkeypatch):
        key = json.loads(payloads[3])[0]
        bent = changed(payloads[3], module_hash=key[:-1] + ("0" if key[-1] != "0" else "1"))
        self.refused(make([*payloads[:3], bent]), "hash that does not belong to its graph")

    def test_one_hash_with_two_graphs(self, make, payloads):
        key = json.loads(payloads[0])[0]
        self.refused(make([payloads[0], changed(payloads[-1], module_hash=key)]), "hash that does")

    def test_duplicated_records(self, make, payloads):
        self.refused(make(payloads * 2), "more than 3 records of cell 0 at 108 epochs; .*record 15")

    def test_runs_of_a_cell_with_different_parameters(self, make, payloads):
        bent = with_metrics(payloads[1], metrics(GOOD, 5))
        self.refused(make([payloads[0], bent]), "states .* parameters in record")

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(TableError, match="no such file"):
            import_file(tmp_path / "nasbench.tfrecord")
        assert not recognise(tmp_path / "nasbench.tfrecord")

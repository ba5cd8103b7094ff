import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from toy_tables import info, toy_data

from archrep.cells import Darts
from archrep.errors import ArchrepError, RunError, TableError
from archrep.tables import Column, Measure, Table, TableData, TableFile, open_table, store


@pytest.fixture
def path(tmp_path):
    toy_data().save(tmp_path / "toy.safetensors")
    return tmp_path / "toy.safetensors"


def change_header(path, change):
    """Rewrite a table's header, its arrays untouched."""
    arrays = load_file(path)
    header = json.loads(TableFile(path)._open.metadata()["archrep_table"])
    change(header)
    save_file(arrays, path, {"archrep_table": json.dumps(header)})


def test_what_is_saved_comes_back(path):
    saved, read = toy_data(), TableFile(path).data()
    assert read.info == saved.info
    assert read.measures == saved.measures
    assert np.array_equal(read.rows, saved.rows)
    for name, column in saved.columns.items():
        back = read.columns[name]
        assert np.array_equal(back.values, column.values), name
        assert (back.grid, back.note) == (column.grid, column.note)
    TableFile(path).verify()


def test_genotypes_come_back(tmp_path):
    cells = Darts().sample_array(6, seed=0)
    column = Column(Measure(metric="valid_accuracy"), np.array([0.1, 0.2, 0.3]))
    about = info(space="darts", dataset=None, epochs=None)
    data = TableData.of(about, [column], cells=cells[:3], reduction_cells=cells[3:])
    data.save(tmp_path / "t.safetensors")
    read = TableFile(tmp_path / "t.safetensors").data()
    assert list(read.cells) == list(cells[:3])
    assert list(read.reduction_cells) == list(cells[3:])


def test_the_same_content_gives_the_same_bytes_but_for_their_order(tmp_path):
    for name in "ab":
        toy_data().save(tmp_path / f"{name}.safetensors")
    a, b = (TableFile(tmp_path / f"{name}.safetensors").header for name in "ab")
    assert a == b


def test_opening_reads_no_column(path):
    table = Table.open(path)
    assert "a_train_seconds_4ep" in table.measures
    assert not table.columns._read
    table.column("params", dataset="b", epochs=4)
    assert not any("2ep" in name for name in table.columns._read)


def test_tables_and_what_was_paid_travel_to_other_processes(path):
    for table in (Table.open(path), Table(toy_data())):
        table.query(11)
        paid = table.paid(max_queries=3)
        paid.query(11)
        there, paid_there = pickle.loads(pickle.dumps((table, paid)))
        assert there.query(11) == table.query(11)
        assert paid_there.query(11).repeat
        assert paid_there.query(3) == paid.query(3)


def test_a_changed_byte_is_found(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(TableError, match="has changed since it was written"):
        TableFile(path).verify()


def test_a_newer_layout_is_refused(path):
    change_header(path, lambda header: header.update(schema=99))
    with pytest.raises(TableError, match="layout 99; .* Update archrep"):
        Table.open(path)


def test_other_operations_than_todays_are_refused(path):
    change_header(path, lambda header: header["vocabulary"].reverse())
    with pytest.raises(TableError, match="was made for operations"):
        Table.open(path)


def test_an_unknown_space_is_named(path):
    change_header(path, lambda header: header["info"].update(space="chains"))
    with pytest.raises(ArchrepError, match="Got 'chains'"):
        Table.open(path)


def test_a_field_of_a_later_version_is_ignored(path):
    change_header(path, lambda header: header["info"].update(colour="blue"))
    assert Table.open(path).info.title == "Toy table"


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 40, b"PAR1", b"\xff" * 100, b'{"a": 1}', bytes(8) + b"{}"]
)
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(TableError, match="Expected a table"):
        Table.open(tmp_path / "x.safetensors")


def test_a_missing_file_and_other_safetensors_are_told_apart(tmp_path):
    with pytest.raises(TableError, match="There is no such file"):
        Table.open(tmp_path / "none.safetensors")
    save_file({"a": np.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(TableError, match="of another kind"):
        Table.open(tmp_path / "weights.safetensors")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_lying_header_ends_in_a_traceback(path, data):
    """A well-formed file whose header says something else than its arrays."""
    toy_data().save(path)
    header = TableFile(path).header
    places = [(header,), (header["info"],), (header["columns"],)]
    places += [(about,) for about in header["columns"].values()]
    target = data.draw(st.sampled_from(places))[0]
    key = data.draw(st.sampled_from(sorted(target)))
    junk = st.sampled_from([None, [], {}, "", "x", -1, 0, 3, 1.5, True, ["a"], {"metric": []}])
    target[key] = data.draw(junk)
    save_file(load_file(path), path, {"archrep_table": json.dumps(header)})
    try:
        table = Table.open(path)
        table.query(11)
        table.optimum()
        table.query_array([0, 11])
    except ArchrepError:
        pass


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("column.params", lambda a: a[:3], "Column params .* has 3 values for 6 cells"),
        ("rows", lambda a: a[::-1], "no ascending indices"),
        ("rows", lambda a: a + 20_000, "no ascending indices"),
        ("rows", lambda a: a.astype(np.float32), "no ascending indices"),
    ],
)
def test_arrays_that_do_not_fit_the_header_are_refused(path, name, change, message):
    arrays = load_file(path)
    arrays[name] = np.ascontiguousarray(change(arrays[name]))
    save_file(arrays, path, {"archrep_table": json.dumps(TableFile(path).header)})
    with pytest.raises(TableError, match=message):
        Table.open(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_ends_in_a_traceback(path, tmp_path, data):
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content)
    try:
        table = Table.open(damaged)
        table.query(11)
        table.optimum()
        TableFile(damaged).verify()
    except ArchrepError:
        return
    assert content == path.read_bytes()


def test_a_full_disk_leaves_the_old_table(path, monkeypatch):
    before = path.read_bytes()

    def no_space(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archrep.tables.file.save_file", no_space)
    with pytest.raises(RunError, match="No space left on device. What was there before is intact"):
        toy_data().save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["toy.safetensors"]


WRITER = """
import sys
sys.path.insert(0, {tests!r})
from toy_tables import toy_data
from archrep.tables import store
from pathlib import Path
while True:
    store(toy_data(), Path({folder!r}))
"""


def test_readers_beside_a_writer_that_is_killed_see_whole_tables(tmp_path):
    store(toy_data(), tmp_path)
    tests = os.path.dirname(__file__)
    code = WRITER.format(tests=tests, folder=str(tmp_path))
    writer = subprocess.Popen([sys.executable, "-c", code])
    try:
        end = time.monotonic() + 2
        reads = 0
        while time.monotonic() < end:
            TableFile(tmp_path / "toy.safetensors").verify()
            reads += 1
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert reads > 10
    TableFile(tmp_path / "toy.safetensors").verify()


# Where tables are -------------------------------------------------------------------------------


def test_a_stored_table_is_opened_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHREP_TABLES", str(tmp_path))
    assert store(toy_data()) == tmp_path / "toy.safetensors"
    assert open_table("toy").query(11) == Table(toy_data()).query(11)
    assert open_table(tmp_path / "toy.safetensors").sha256 == open_table("toy").sha256


def test_another_table_of_the_same_name_is_replaced_only_on_demand(tmp_path):
    path = store(toy_data(), tmp_path)
    assert store(toy_data(), tmp_path) == path  # the same content is no loss
    before = path.read_bytes()
    other = toy_data(rows=[1, 2, 3])
    with pytest.raises(TableError, match="Another table 'toy' is there already.*--replace"):
        store(other, tmp_path)
    assert path.read_bytes() == before
    store(other, tmp_path, replace=True)
    assert open_table(path).recorded.tolist() == [1, 2, 3]
    path.write_bytes(b"damaged")
    with pytest.raises(TableError, match="is there already"):
        store(toy_data(), tmp_path)


def test_an_unknown_name_lists_the_known_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHREP_TABLES", str(tmp_path))
    store(toy_data())
    with pytest.raises(ArchrepError, match=r"toy.* Got 'nasbench999'.*archrep tables import"):
        open_table("nasbench999")


@pytest.mark.parametrize("name", ["", "..", ".x", "../up", "a b", "ä", "x.safetensors"])
def test_a_table_needs_a_name_that_can_be_a_file(tmp_path, name):
    with pytest.raises(TableError, match="letters, digits"):
        store(toy_data(name=name), tmp_path)

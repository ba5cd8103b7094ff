"""Every reader against damaged and nonsensical files: a valid table or an `ArchrepError`, no else.

`ARCHREP_FUZZ=20000` runs that many examples of each test instead of a few.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import copy
import functools
import io
import json
import os
import pickle
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import (
    frames,
    hw_nas_bench,
    nasbench101_payloads,
    nasbench201_checkpoint,
    nats_record,
    write_nats_folder,
)

from archrep.cells import get_space
from archrep.errors import ArchrepError
from archrep.tables.importers import hw_nas_bench as hardware
from archrep.tables.importers import nasbench101, nasbench201, nats
from archrep.tables.importers.base import quiet
from archrep.tables.importers.unpickle import read_pickle

EXAMPLES = int(os.environ.get("ARCHREP_FUZZ", 40))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="ARCHREP_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from([0, 11, 199, 777, 12, 2**70, "cifar10", "train_acc1es", "12", "a\nb"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 200), inner, max_size=3)
    ),
    max_leaves=6,
)
CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6
)
ENDS = st.none() | st.floats(0, 1)


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
    """A damaged pickle may ask for a memo of gigabytes; here that is refused at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def archive(folder):
    return write_nats_folder(folder / "NATS-tss-x", get_space("nasbench201"), [4])


def damaged(data: bytes, changes: list[tuple[float, int]], end: float | None) -> bytes:
    """Bytes with some replaced and the rest cut off."""
    bent = bytearray(data)
    for place, value in changes:
        bent[int(place * len(bent))] = value
    return bytes(bent if end is None else bent[: int(end * len(bent))])


def survives(read, path: Path, data: bytes) -> None:
    """Reading gives tables that fit together, or the one kind of error in one line."""
    path.write_bytes(data)
    message = "read"
    try:
        for table in read(path) or ():
            table.check()
    except ArchrepError as error:
        message = str(error)
    assert "\n" not in message
    assert 0 < len(message) < 900


def paths(content: Any, prefix: tuple = ()) -> list[tuple]:
    """Where every value of nested containers stands."""
    items = content.items() if isinstance(content, dict) else ()
    if isinstance(content, (list, tuple)):
        items = enumerate(content)
    found = [prefix] if prefix else []
    for key, value in items:
        found += paths(value, (*prefix, key))
    return found


def replaced(content: Any, path: tuple, value: Any, remove: bool) -> Any:
    """A copy with another value, or none, at a path."""
    if not path:
        return value
    bent = copy.copy(content) if not isinstance(content, tuple) else list(content)
    if remove and len(path) == 1:
        del bent[path[0]]
    else:
        bent[path[0]] = replaced(bent[path[0]], path[1:], value, remove)
    return bent


@functools.cache
def records() -> tuple[bytes, ...]:
    return tuple(nasbench101_payloads((0, 5, 400_000), epochs=(4, 108)))


@functools.cache
def record() -> dict:
    full = nats_record(get_space("nasbench201"), 5)
    for results in full.values():  # a trial of each training set is enough
        kept = {key: t for key, t in results["all_results"].items() if key[1] != 888}
        results["all_results"] = kept
    return {"12": full["12"]}


@functools.cache
def checkpoint(zipped: bool) -> bytes:
    content = nasbench201_checkpoint([5], old=True)
    content["arch2infos"][5].pop("full")
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


class TestRecordFiles:
    read = staticmethod(lambda path: nasbench101.convert(path, quiet, curves=True))

    @FUZZ
    @given(changes=CHANGES, end=ENDS)
    def test_damaged_bytes(self, folder, changes, end):
        survives(self.read, folder / "a.tfrecord", damaged(frames(list(records())), changes, end))

    @FUZZ
    @given(number=st.integers(0, 17), changes=CHANGES, end=ENDS)
    def test_damaged_payloads_with_right_checksums(self, folder, number, changes, end):
        payloads = list(records())
        payloads[number] = damaged(payloads[number], changes, end)
        survives(self.read, folder / "a.tfrecord", frames(payloads))

    @FUZZ
    @given(number=st.integers(0, 17), changes=CHANGES, end=ENDS)
    def test_damaged_messages(self, folder, number, changes, end):
        payloads = list(records())
        items = json.loads(payloads[number])
        items[4] = base64.b64encode(damaged(base64.b64decode(items[4]), changes, end)).decode()
        payloads[number] = json.dumps(items).encode()
        survives(self.read, folder / "a.tfrecord", frames(payloads))

    @FUZZ
    @given(number=st.integers(0, 17), place=st.integers(0, 4), junk=JUNK)
    def test_items_of_other_types(self, folder, number, place, junk):
        payloads = list(records())
        items = json.loads(payloads[number])
        with contextlib.suppress(TypeError, UnicodeEncodeError):  # JSON cannot say everything
            items[place] = junk
            payloads[number] = json.dumps(items).encode()
        survives(self.read, folder / "a.tfrecord", frames(payloads))

    @FUZZ
    @given(data=st.binary(max_size=200))
    def test_any_bytes(self, folder, data):
        survives(self.read, folder / "a.tfrecord", data)
        survives(self.read, folder / "a.tfrecord", frames([data]))


class TestPickles:
    @FUZZ
    @given(data=st.binary(max_size=300))
    def test_any_bytes(self, folder, data):
        for start in (b"", b"\x80\x04", b"BZh9"):
            survives(lambda path: read_pickle(path, 2**20) and None, folder / "a", start + data)

    @FUZZ
    @given(junk=JUNK, protocol=st.integers(0, 5), changes=CHANGES, end=ENDS)
    def test_damaged_pickles_of_anything(self, folder, junk, protocol, changes, end):
        data = damaged(pickle.dumps([junk, junk], protocol), changes, end)
        survives(lambda path: read_pickle(path, 2**20) and None, folder / "a", data)


class TestNatsFolders:
    @staticmethod
    def read(path):
        return nats.convert(path.parent, quiet, curves=True)

    @FUZZ
    @given(changes=CHANGES, end=ENDS, compress=st.booleans())
    def test_damaged_bytes(self, archive, changes, end, compress):
        data = pickle.dumps(record(), 4)
        data = bz2.compress(data, 1) if compress else data
        survives(self.read, archive / "000005.pickle.pbz2", damaged(data, changes, end))

    @FUZZ
    @given(place=st.floats(0, 1, exclude_max=True), junk=JUNK, remove=st.booleans())
    def test_values_of_other_types(self, archive, place, junk, remove):
        where = paths(record())
        where.sort(key=len)  # so that high places come up as often as single figures
        path = where[int(place**3 * len(where))]
        bent = replaced(record(), path, junk, remove)
        survives(self.read, archive / "000005.pickle.pbz2", pickle.dumps(bent, 4))


class TestCheckpoints:
    @FUZZ
    @given(changes=CHANGES, end=ENDS, zipped=st.booleans())
    def test_damaged_bytes(self, folder, changes, end, zipped):
        data = damaged(checkpoint(zipped), changes, end)
        survives(lambda p: nasbench201.convert(p, quiet), folder / "a.pth", data)

    @FUZZ
    @given(junk=JUNK, key=st.sampled_from(["meta_archs", "arch2infos", "evaluated_indexes"]))
    def test_values_of_other_types(self, folder, junk, key):
        content = torch.load(io.BytesIO(checkpoint(False)), weights_only=False) | {key: junk}
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=False)
        survives(lambda p: nasbench201.convert(p, quiet), folder / "a.pth", file.getvalue())


class TestHardware:
    @staticmethod
    @functools.cache
    def content():
        full = hw_nas_bench()["nasbench201"]
        return {"nasbench201": {d: {"fpga_energy": p["fpga_energy"]} for d, p in full.items()}}

    @FUZZ
    @given(changes=CHANGES, end=ENDS, early=st.booleans())
    def test_damaged_bytes(self, folder, changes, end, early):
        data = pickle.dumps(self.content(), 4)
        scale = 400 / len(data) if early else 1  # most bytes are figures: aim at the frame too
        changes = [(place * scale, value) for place, value in changes]
        bent = damaged(data, changes, end)
        survives(lambda path: hardware.convert(path, quiet), folder / "h.pickle", bent)

    @FUZZ
    @given(junk=JUNK, remove=st.booleans(), data=st.data())
    def test_values_of_other_types(self, folder, junk, remove, data):
        path = data.draw(st.sampled_from(paths(self.content())))
        bent = pickle.dumps(replaced(self.content(), path, junk, remove), 4)
        survives(lambda path: hardware.convert(path, quiet), folder / "h.pickle", bent)

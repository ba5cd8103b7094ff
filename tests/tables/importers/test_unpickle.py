"""The restricted unpickler: plain data come back, everything else is refused unexecuted."""

from __future__ import annotations

import bz2
import datetime
import os
import pickle
import pickletools
import struct
from collections import Counter, OrderedDict

import numpy as np
import pytest

from archrep.errors import TableError
from archrep.tables.importers.unpickle import NumpyArray, read_pickle

LIMIT = 2**20
PLAIN = {
    "numbers": [1, -2, 3.5, True, None, 2**80, 1j.real],
    "texts": ("ä", b"bytes", ""),
    ("cifar10", 777): OrderedDict(a=1),
    "sets": [{1, 2}, frozenset({3})],
}


@pytest.fixture
def read(tmp_path):
    """Function (bytes, limit): what the reader makes of a file with that content."""

    def run(data: bytes, limit: int = LIMIT):
        path = tmp_path / "file.pickle"
        path.write_bytes(data)
        return read_pickle(path, limit)

    return run


class TestPlainData:
    @pytest.mark.parametrize("protocol", range(3, 6))
    @pytest.mark.parametrize("compress", [bytes, bz2.compress])
    def test_come_back_equal(self, protocol, compress, read):
        found = read(compress(pickle.dumps(PLAIN, protocol)))
        assert found == PLAIN
        assert type(found["cifar10", 777]) is OrderedDict

    @pytest.mark.parametrize("protocol", range(3, 5))
    @pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
    @pytest.mark.parametrize("kind", ["f8", "f4", "i8", "i4", "u1", "b1", ">f8"])
    def test_numpy_numbers_and_arrays_come_back_as_numbers(self, protocol, module, kind, read):
        array = np.array([[1, 0, 3], [4, 5, 6]]).astype(kind)
        data = pickle.dumps([array[1, 0], array, array.T], protocol)
        number, plain, turned = read(rewritten(data, module))
        assert number == array[1, 0]
        assert type(number) in (int, float, bool)
        assert isinstance(plain, NumpyArray)
        np.testing.assert_array_equal(plain.values, array)
        np.testing.assert_array_equal(turned.values, array.T)


def rewritten(data: bytes, module: str) -> bytes:
    """A pickle with the other module path of NumPy in it, without frames, whose lengths change."""
    parts, frames = [], [op for op, _, _ in pickletools.genops(data) if op.name == "FRAME"]
    text = data.replace(b"\x95" + data[3:11], b"", 1) if frames else data
    old = b"numpy._core.multiarray"
    for part in text.split(b"\x8c" + bytes([len(old)]) + old):
        parts.append(part.replace(b"c" + old + b"\n", b"c" + module.encode() + b"\n"))
    return (b"\x8c" + bytes([len(module)]) + module.encode()).join(parts)


class Evil:
    """Pickles as a call of anything."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class TestHostile:
    @pytest.mark.parametrize("protocol", range(6))
    def test_code_is_refused_by_name_and_not_run(self, protocol, read, tmp_path):
        victim = tmp_path / "victim"
        data = pickle.dumps(Evil(os.system, f"touch {victim}"), protocol)
        with pytest.raises(TableError, match=r"names '(posix|nt)\.system'.*nothing was executed"):
            read(data)
        assert not victim.exists()

    @pytest.mark.parametrize(
        ("thing", "name"),
        [
            (Evil(eval, "1"), "eval"),
            (Evil(getattr, "a", "b"), "getattr"),
            (Evil(bytearray, 10**12), "bytearray"),
            (Counter("ab"), "collections.Counter"),
            (datetime.date(2020, 1, 1), "datetime.date"),
            (np.array, "numpy.array"),
            (np.random.default_rng(0), "numpy.random"),
        ],
    )
    def test_other_names_are_refused(self, thing, name, read):
        with pytest.raises(TableError, match=f"names '.*{name}"):
            read(pickle.dumps(thing))

    def test_dotted_names_do_not_lead_out_of_what_is_admitted(self, read):
        path = b"OrderedDict.__init__.__globals__"
        data = b"\x80\x04\x8c\x0bcollections\x8c" + bytes([len(path)]) + path + b"\x93."
        with pytest.raises(TableError, match="names 'collections.OrderedDict.__init__"):
            read(data)

    def test_stand_ins_cannot_be_changed_for_the_next_file(self, read):
        change = b"\x80\x04cnumpy\ndtype\nN}\x8c\x05numpyK\x05s\x86b."
        with pytest.raises(TableError, match="__setstate__"):
            read(change)
        change = b"\x80\x04cnumpy\nndarray\nN}\x8c\x05numpyK\x05s\x86b."
        with pytest.raises(TableError, match="cannot be changed"):
            read(change)
        assert read(pickle.dumps(np.float64(2.5))) == 2.5

    @pytest.mark.parametrize(
        "array", [np.array(["a"]), np.array([{}], object), np.array([1j]), np.zeros(1, "f8,i4")]
    )
    def test_arrays_of_anything_but_numbers_are_refused(self, array, read):
        with pytest.raises(TableError, match=r"not a readable pickle|names"):
            read(pickle.dumps(array, 4))

    def test_an_array_with_fewer_bytes_than_its_shape_says_is_refused(self, read):
        data = pickle.dumps(np.zeros(3), 4).replace(b"K\x03\x85", b"K\x09\x85")
        with pytest.raises(TableError, match="cannot reshape array of size 3"):
            read(data)

    def test_objects_outside_of_the_file_are_refused(self, read):
        with pytest.raises(TableError, match="outside of the file"):
            read(b"Pid\n.")

    def test_a_decompression_bomb_stops_at_the_limit(self, read):
        bomb = bz2.compress(pickle.dumps(b"\0" * (20 * LIMIT), 4))
        assert len(bomb) < LIMIT / 1000
        with pytest.raises(TableError, match="holds more than 1 MB"):
            read(bomb)

    def test_a_claimed_length_is_not_believed(self, read):
        for opcode in (b"\x8e", b"\x8d", b"\x96", b"\x95"):
            claim = b"\x80\x05" + opcode + struct.pack("<Q", 2**62) + b"abc."
            with pytest.raises(TableError, match="memory|truncated|exceeds|not a readable"):
                read(claim)

    def test_endless_nesting_ends(self, read):
        with pytest.raises(TableError):
            read(b"\x80\x04" + b"(" * 100_000 + b"t" * 100_000 + b"r")


class TestDamaged:
    @pytest.mark.parametrize("compress", [bytes, bz2.compress])
    def test_truncation_anywhere_is_one_clear_error(self, compress, read):
        data = compress(pickle.dumps(PLAIN, 4))
        for end in range(len(data)):
            with pytest.raises(TableError, match="file.pickle is (not a readable|truncated)"):
                read(data[:end])

    def test_a_wrong_bit_in_compressed_data_is_noticed(self, read):
        data = bytearray(bz2.compress(pickle.dumps(PLAIN, 4)))
        for position in range(4, len(data) - 4, 3):
            data[position] ^= 1
            with pytest.raises(TableError):
                read(bytes(data))
            data[position] ^= 1

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(TableError, match="nowhere cannot be read: No such file"):
            read_pickle(tmp_path / "nowhere", LIMIT)

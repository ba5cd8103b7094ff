"""Record files: known checksums, framing in blocks, and damage named with its record."""

from __future__ import annotations

import numpy as np
import pytest
from making import frames, write_records

from archrep.errors import TableError
from archrep.tables.importers import tfrecord
from archrep.tables.importers.tfrecord import crc32c, masked, read_records

PAYLOADS = [bytes([n % 256]) * (n % 90) for n in range(300)]


def checksum(data: bytes) -> int:
    array = np.frombuffer(data, np.uint8)
    return int(crc32c(array, np.array([0]), np.array([len(data)]))[0])


class TestChecksum:
    @pytest.mark.parametrize(  # RFC 3720, appendix B.4, and the common check value
        ("data", "expected"),
        [
            (b"123456789", 0xE3069283),
            (b"\0" * 32, 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
            (bytes(reversed(range(32))), 0x113FDB5C),
        ],
    )
    def test_is_that_of_the_standard(self, data, expected):
        assert checksum(data) == expected

    def test_of_nothing_is_zero(self):
        assert checksum(b"") == 0

    def test_of_many_pieces_is_that_of_each(self):
        rng = np.random.default_rng(0)
        data = rng.integers(0, 256, 5000).astype(np.uint8)
        starts, lengths = rng.integers(0, 4000, 200), rng.integers(0, 1000, 200)
        many = crc32c(data, starts, lengths).tolist()
        pieces = [data[a : a + n].tobytes() for a, n in zip(starts, lengths, strict=True)]
        assert many == [by_bits(piece) for piece in pieces]

    def test_mask_is_the_published_one(self):
        crc = 0x12345678
        turned = (crc >> 15 | crc << 17) & 0xFFFFFFFF
        expected = (turned + 0xA282EAD8) & 0xFFFFFFFF
        assert int(masked(np.array([crc], np.uint32))[0]) == expected


def by_bits(data: bytes) -> int:
    """The definition: a remainder of polynomials, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class TestReading:
    @pytest.mark.parametrize("block", [110, 1000, 2**20])
    def test_payloads_come_back_in_order_whatever_the_blocks(self, block, tmp_path, monkeypatch):
        monkeypatch.setattr(tfrecord, "_BLOCK", block)
        path = tmp_path / "records"
        write_records(path, PAYLOADS)
        assert [p for part in read_records(path) for p in part] == PAYLOADS

    def test_an_empty_file_has_no_records(self, tmp_path):
        (tmp_path / "records").touch()
        assert list(read_records(tmp_path / "records")) == []

    @pytest.mark.data
    @pytest.mark.parametrize(
        ("name", "count"),
        [
            ("nasbench_only108_30archs", 90),
            ("epochs_4_spec_3V9E", 21),
            ("carbon_3V9E", 63),
            ("carbon_4V9E", 84),
        ],
    )
    def test_samples_have_right_checksums(self, name, count, data_folder):
        path = data_folder / "samples" / "nasbench101" / f"{name}.tfrecord"
        assert sum(map(len, read_records(path))) == count


class TestDamage:
    @pytest.fixture
    def read(self, tmp_path):
        def run(data: bytes):
            (tmp_path / "records").write_bytes(data)
            return [p for part in read_records(tmp_path / "records") for p in part]

        return run

    def test_any_cut_names_the_record_unless_it_is_between_two(self, read):
        data, ends = frames(PAYLOADS[50:53]), [0]
        for payload in PAYLOADS[50:53]:
            ends.append(ends[-1] + len(payload) + 16)
        for end in range(len(data)):
            if end in ends:
                assert read(data[:end]) == PAYLOADS[50 : 50 + ends.index(end)]
            else:
                number = sum(end > e for e in ends[1:])
                with pytest.raises(TableError, match=f"in the middle of record {number}"):
                    read(data[:end])

    def test_any_flipped_bit_is_noticed(self, read):
        data = bytearray(frames(PAYLOADS[50:53]))
        for position in range(len(data)):
            for bit in (1, 128):
                data[position] ^= bit
                with pytest.raises(TableError, match="[Rr]ecord [0-2]"):
                    read(bytes(data))
                data[position] ^= bit

    def test_the_record_with_a_wrong_checksum_is_named(self, read):
        first, second = frames(PAYLOADS[:200]), bytearray(frames(PAYLOADS[200:]))
        second[12 + 3] ^= 8
        with pytest.raises(TableError, match="checksum of the payload of record 200 of"):
            read(first + bytes(second))

    def test_an_absurd_length_is_not_read(self, read):
        with pytest.raises(
            TableError, match="Record 0 .* claims a payload of 72,340,172,838,076,673"
        ):
            read(b"\1" * 100)

"""Reading .tfrecord files: framed records with checksums, without TensorFlow.

A record is its length (64 bits, little endian), the masked CRC-32C of these eight bytes, the
payload, and the masked CRC-32C of the payload. Records are read in blocks, and the checksums of a
block are computed together.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from archrep.errors import TableError

MAX_PAYLOAD = 16_384
"""Longest payload in bytes; those of NAS-Bench-101 have some 400."""

_BLOCK = 2**20  # bytes read at a time
_HEAD, _TAIL = 12, 4  # bytes around a payload
_LENGTH = struct.Struct("<Q")


def read_records(path: Path, max_payload: int = MAX_PAYLOAD) -> Iterator[list[bytes]]:
    """Payloads of a file in order, a block of records at a time, every checksum compared.

    Args:
        path: The file.
        max_payload: Longest payload that is taken for one, in bytes.

    Raises:
        TableError: The file cannot be read, is truncated, or a checksum is wrong; the message says
            in which record, counted from 0.
    """
    try:
        with open(path, "rb") as file:
            yield from _blocks(file, path, max_payload)
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}.") from None


def _blocks(file: BinaryIO, path: Path, max_payload: int) -> Iterator[list[bytes]]:
    number, left = 0, b""
    while data := file.read(_BLOCK):
        block = left + data
        starts, lengths, end = _split(block, path, number, max_payload)
        if len(starts):
            _check(block, starts, lengths, path, number)
            ends = starts + lengths
            yield [block[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        number += len(starts)
        left = block[end:]
    if left:
        raise TableError(
            f"{path} ends in the middle of record {number}, {len(left)} bytes into it. "
            "Download or copy it again."
        )


def _split(
    block: bytes, path: Path, number: int, max_payload: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Where the payloads of the whole records of a block start, their lengths, and where all end.

    A length is followed before its checksum is compared, so it must be a plausible one.
    """
    starts: list[int] = []
    lengths: list[int] = []
    position, last = 0, len(block) - _HEAD
    read_length = _LENGTH.unpack_from
    while position <= last:
        (length,) = read_length(block, position)
        if length > max_payload:
            raise TableError(
                f"Record {number + len(starts)} of {path} claims a payload of {length:,} bytes; "
                f"at most {max_payload:,} are expected. It is damaged or of another kind."
            )
        end = position + _HEAD + length + _TAIL
        if end > len(block):
            break
        starts.append(position + _HEAD)
        lengths.append(length)
        position = end
    return np.array(starts, np.int64), np.array(lengths, np.int64), position


def _check(block: bytes, starts: np.ndarray, lengths: np.ndarray, path: Path, number: int) -> None:
    data = np.frombuffer(block, np.uint8)
    for what, first, size in (
        ("length", starts - _HEAD, np.full_like(lengths, _LENGTH.size)),
        ("payload", starts, lengths),
    ):
        stored = data[(first + size)[:, None] + np.arange(4)].view("<u4").ravel()
        wrong = np.flatnonzero(masked(crc32c(data, first, size)) != stored)
        if len(wrong):
            raise TableError(
                f"The checksum of the {what} of record {number + wrong[0]} of {path} is wrong: "
                "the file is damaged. Download or copy it again."
            )


def masked(crc: np.ndarray) -> np.ndarray:
    """Checksums as the format stores them: turned by 15 bits, plus a constant."""
    return (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(0xA282EAD8)


def crc32c(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """CRC-32C (Castagnoli) of many pieces of a buffer at once, `[N]` of uint32.

    The checksum is linear over bits: that of a piece is the sum (exclusive or) of what each byte
    contributes at its distance from the end. So one table look-up a byte, for all pieces together.

    Args:
        data: The buffer, `[B]` of uint8.
        starts: Where the pieces start, `[N]`.
        lengths: Their lengths, `[N]`.
    """
    order = np.argsort(-lengths, kind="stable")
    longest = int(lengths.max(initial=0))
    by_byte, by_length = _crc_tables(1 << max(longest - 1, 0).bit_length())
    last = (starts + lengths - 1)[order]
    longer = np.searchsorted(-lengths[order], -np.arange(longest), side="left")
    crc = by_length[lengths[order]]
    for distance in range(longest):
        n = longer[distance]  # pieces that have a byte at this distance from their end
        crc[:n] ^= by_byte[distance].take(data.take(last[:n] - distance))
    result = np.empty_like(crc)
    result[order] = ~crc
    return result


@functools.lru_cache(4)
def _crc_tables(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Contribution of each byte by its distance from the end, `[size, 256]`, and of a length."""
    one = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        one = np.where(one & 1, np.uint32(0x82F63B78) ^ one >> 1, one >> 1).astype(np.uint32)
    by_byte = np.empty((size, 256), np.uint32)
    by_length = np.empty(size + 1, np.uint32)
    by_byte[0], by_length[0] = one, 0xFFFFFFFF
    for k in range(size):
        by_length[k + 1] = one[by_length[k] & 255] ^ by_length[k] >> np.uint32(8)
        if k:
            before = by_byte[k - 1]
            by_byte[k] = one[before & 255] ^ before >> np.uint32(8)
    return by_byte, by_length

"""Arrays as text for a web page: few bytes, and quick to read back in a browser.

An array is split into the planes of its bytes, which deflate better than the mixture, then comes
raw deflate and base64. `page/data.js` reads what this file writes.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np

from archrep.errors import ShapeError

_KINDS = {"u1": "Uint8Array", "u2": "Uint16Array", "u4": "Uint32Array", "i4": "Int32Array"}
_KINDS |= {"f4": "Float32Array", "f8": "Float64Array"}


@dataclass(frozen=True)
class Packed:
    """One array of the page.

    Attributes:
        kind: Name of the typed array that a browser makes of it.
        length: Number of its values.
        text: Base64 of the deflated planes.
    """

    kind: str
    length: int
    text: str


def pack(array: np.ndarray) -> Packed:
    """An array in C order, its bytes little-endian.

    Raises:
        ShapeError: A browser has no typed array of that kind.
    """
    kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    if kind not in _KINDS:
        raise ShapeError(f"Arrays of a page are of {', '.join(_KINDS)}. Got {array.dtype}.")
    flat = np.ascontiguousarray(array, f"<{kind}").reshape(-1)
    planes = flat.view(np.uint8).reshape(len(flat), array.dtype.itemsize).T
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    compressed = deflate.compress(planes.tobytes()) + deflate.flush()
    return Packed(_KINDS[kind], len(flat), base64.b64encode(compressed).decode())


def unpack(packed: Packed) -> np.ndarray:
    """What `pack` was given, flat."""
    code = next(code for code, kind in _KINDS.items() if kind == packed.kind)
    planes = zlib.decompress(base64.b64decode(packed.text), -zlib.MAX_WBITS)
    split = np.frombuffer(planes, np.uint8).reshape(int(code[1]), packed.length)
    return np.ascontiguousarray(split.T).reshape(-1).view(f"<{code}")


def quantise_positions(xy: np.ndarray) -> np.ndarray:
    """Places `[N, 2]` of uint16; both axes have one scale and the map is centred."""
    xy = np.asarray(xy, np.float64)
    low, high = xy.min(0), xy.max(0)
    span = float((high - low).max()) or 1.0
    return np.rint(((xy - (low + high) / 2) / span + 0.5) * 65535).astype(np.uint16)


def quantise_vectors(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in 256 steps a dimension, and the size of a step.

    Of the ten cells that look nearest then, 96 % are among the ten nearest (300 cells of
    NAS-Bench-101, embeddings of arch2vec, `benchmarks/explorer_speed.py`). With 10 bits, a quarter
    more to store, it is 99 %.

    Returns:
        Steps `[D, N]` of uint8, by dimension since a browser reads them so, and `[D]` of float64.
    """
    vectors = np.asarray(vectors, np.float64)
    low = vectors.min(0)
    step = (vectors.max(0) - low) / 255
    codes = np.rint((vectors - low) / np.where(step > 0, step, 1))
    return np.ascontiguousarray(codes.T.astype(np.uint8)), step


MISSING = {np.uint8: 255, np.uint16: 65535}
"""Code of a value that is not there."""


def encode_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """One value a cell, as codes into the ascending list of distinct ones where these are few.

    Returns:
        Codes `[N]` of uint8 or uint16 and the values they stand for, exact; or the values as
        float32 and `None`, if there are more than 65,535 distinct ones.
    """
    values = np.asarray(values, np.float64)
    missing = np.isnan(values)
    distinct, codes = np.unique(values[~missing], return_inverse=True)
    for kind, absent in MISSING.items():
        if len(distinct) <= absent:
            coded = np.full(len(values), absent, kind)
            coded[~missing] = codes
            return coded, distinct
    return values.astype(np.float32), None

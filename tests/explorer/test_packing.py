"""Arrays survive packing, and quantised ones stay within half a step."""

from __future__ import annotations

import numpy as np
import pytest

from archrep.errors import ShapeError
from archrep.explorer.packing import (
    encode_values,
    pack,
    quantise_positions,
    quantise_vectors,
    unpack,
)


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(0,), (1,), (1000,), (3, 70)])
def test_unpacking_gives_what_was_packed(kind, shape):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=shape) * 1e4).astype(kind if kind[0] != "u" else "i8")
    array = np.abs(values).astype(kind) if kind[0] == "u" else values
    np.testing.assert_array_equal(unpack(pack(array)), array.reshape(-1))


def test_big_endian_and_strided_arrays_are_packed_by_their_values():
    array = np.arange(24, dtype=">u2").reshape(4, 6)[:, ::2]
    np.testing.assert_array_equal(unpack(pack(array)), array.reshape(-1))


def test_a_kind_that_browsers_lack_is_refused():
    with pytest.raises(ShapeError, match=r"Arrays of a page are of u1.*Got int64"):
        pack(np.arange(3))


def test_positions_keep_their_proportions():
    xy = np.array([[0.0, 0.0], [4.0, 1.0], [2.0, 0.5]])
    placed = quantise_positions(xy).astype(float)
    assert placed[:, 0].tolist() == [0, 65535, 32768]
    assert placed[1, 1] - placed[0, 1] == pytest.approx(65535 / 4, abs=1)
    assert placed[2, 1] == pytest.approx(65535 / 2, abs=1)


def test_equal_positions_stand_in_the_middle():
    assert set(quantise_positions(np.ones((4, 2))).ravel().tolist()) == {32768}


def test_vectors_are_right_to_half_a_step():
    vectors = np.random.default_rng(1).normal(size=(500, 5)).astype(np.float32)
    vectors[:, 3] = 7  # a dimension that says nothing
    codes, steps = quantise_vectors(vectors)
    restored = codes.T * steps + vectors.min(0)
    assert (np.abs(restored - vectors) <= steps / 2 + 1e-6).all()
    assert steps[3] == 0
    assert not codes[3].any()


@pytest.mark.parametrize(
    ("distinct", "kind"), [(3, "u1"), (255, "u1"), (256, "u2"), (65_535, "u2")]
)
def test_few_distinct_values_are_stored_exactly(distinct, kind):
    rng = np.random.default_rng(2)
    known = np.sort(rng.normal(size=distinct))
    values = np.concatenate([known, rng.choice(known, 50), [np.nan] * 5])
    codes, listed = encode_values(values)
    assert codes.dtype == kind
    np.testing.assert_array_equal(listed, known)
    padded = np.append(listed, np.nan)
    restored = padded[np.minimum(codes.astype(int), distinct)]
    np.testing.assert_array_equal(restored, values)


def test_many_distinct_values_become_floats_with_their_gaps():
    values = np.append(np.random.default_rng(3).normal(size=70_000), np.nan)
    codes, listed = encode_values(values)
    assert listed is None
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, values, rtol=1e-6)


def test_a_column_without_any_value_is_all_gaps():
    codes, listed = encode_values(np.full(4, np.nan))
    assert codes.tolist() == [255] * 4
    assert not len(listed)

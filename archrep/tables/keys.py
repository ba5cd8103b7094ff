"""Records of spaces that are not enumerated, told apart by their cells in any node order."""

from __future__ import annotations

import numpy as np

from archrep.cells.array import CellArray

Pair = tuple[CellArray | None, CellArray | None]
"""Normal cells, and reduction cells where a record is of a genotype."""


def keys_of(cells: CellArray, reduction: CellArray | None) -> np.ndarray:
    """One number for each record, `[N]` of uint64: equal for isomorphic ones, rarely for others."""
    keys = cells.colour_hash()
    if reduction is None:
        return keys
    return keys * np.uint64(0x9E3779B97F4A7C15) ^ reduction.colour_hash()


def same_record(ours: Pair, row: int, theirs: Pair, other: int) -> bool:
    """Whether two records of equal keys really are isomorphic."""
    for mine, yours in zip(ours, theirs, strict=True):
        if mine is not None and yours is not None:
            a, b = mine[row], yours[other]
            if a != b and a.fingerprint != b.fingerprint:
                return False
    return True


def first_repeat(cells: CellArray, reduction: CellArray | None = None) -> tuple[int, int] | None:
    """The first two records that are the same up to node order; `None` if all differ."""
    keys = keys_of(cells, reduction)
    order = np.argsort(keys, kind="stable")
    equal = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    repeats = []
    for place in equal.tolist():
        a, b = sorted((int(order[place]), int(order[place + 1])))
        if same_record((cells, reduction), a, (cells, reduction), b):
            repeats.append((a, b))
    return min(repeats, default=None)

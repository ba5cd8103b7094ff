"""Which permutations of its tiles a jigsaw puzzle is made of.

Noroozi and Favaro (2016), Algorithm 1, choose some of all 9! greedily: a random one first, then
again and again the one whose average Hamming distance to those chosen is largest. On average that
is as far apart as it can be, 8.008 of 9 places for 1,000; but pairs that differ in two places only
are among them. "max-min" avoids those: 1,512 permutations of 9 differ pairwise in 6 places or
more, the group PGammaL(2, 8) of fractional semilinear maps over the field of 8 elements.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product
from math import factorial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from archrep.seeding import torch_stream
from archrep.settings import check

Selection = Literal["average", "max-min"]

GROUP = 1512
"""Elements of PGammaL(2, 8)."""


@lru_cache(maxsize=8)
def permutation_set(grid: int, count: int, selection: Selection) -> Tensor:
    """Permutations of the tiles of a puzzle, the same in every process.

    Args:
        grid: Tiles of a row and of a column, 2 or 3.
        count: Number of permutations; all of them come in lexicographic order.
        selection: How they are chosen.

    Returns:
        Slot of each patch, `[count, grid * grid]` of int64, on the CPU.

    Raises:
        ConfigError: There are not as many.
    """
    check(permutation_checks(grid, count, selection))
    pool = semilinear_maps() if selection == "max-min" else every_permutation(grid * grid)
    chosen = pool if count == len(pool) else pool[farthest_on_average(pool, count)]
    return torch.from_numpy(chosen.astype(np.int64))


def permutation_checks(grid: int, count: int, selection: Selection) -> dict[str, bool]:
    """Checks that there are as many permutations, see `settings.check`."""
    fixed = selection == "max-min"
    most = GROUP if fixed else factorial(grid * grid)
    return {
        f"`permutations` must lie from 2 to {most:,} for a grid of {grid} and selection "
        f"{selection!r}. Got {count}.": 2 <= count <= most,
        f'`selection="max-min"` needs a grid of 3. Got {grid}, whose permutations can all be '
        "used.": grid == 3 or not fixed,
    }


def every_permutation(places: int) -> np.ndarray:
    """All permutations in lexicographic order, `[places!, places]` of uint8."""
    flat = (slot for slots in permutations(range(places)) for slot in slots)
    return np.fromiter(flat, np.uint8, factorial(places) * places).reshape(-1, places)


def farthest_on_average(pool: np.ndarray, count: int) -> np.ndarray:
    """Rows of the pool, each the farthest on average from those before it.

    The first is drawn, and so is the order in which equals are taken: lexicographically, seventy
    times as many pairs of a thousand would differ in two places only.

    Args:
        pool: Permutations, `[N, P]`.
        count: How many of them.

    Returns:
        `[count]`.
    """
    order = torch.randperm(len(pool), generator=torch_stream(0, "objectives/jigsaw")).numpy()
    columns = np.ascontiguousarray(pool[order].T)
    equal = np.zeros(len(pool), np.int32)  # places shared with all those chosen, summed
    chosen = [0]
    while len(chosen) < count:
        shared = np.zeros(len(pool), np.uint8)
        for column in columns:
            shared += column == column[chosen[-1]]
        equal += shared
        equal[chosen[-1]] = np.iinfo(np.int32).max // 2  # never again
        chosen.append(int(equal.argmin()))
    return order[chosen]


def semilinear_maps() -> np.ndarray:
    """PGammaL(2, 8) on the projective line, `[1512, 9]` of uint8 in lexicographic order.

    The maps `x -> (a s(x) + b) / (c s(x) + d)` with `ad != bc`, where `s` squares zero to two
    times. Field elements 0 to 7 are polynomials over two elements, modulo `x^3 + x + 1`; the ninth
    point is infinity. One that is not the identity fixes at most 3 points, hence distance 6.
    """
    times = np.zeros((8, 8), int)
    for x, y in product(range(8), repeat=2):
        long = (x if y & 1 else 0) ^ (x << 1 if y & 2 else 0) ^ (x << 2 if y & 4 else 0)
        for degree in (4, 3):
            if long >> degree & 1:
                long ^= 0b1011 << (degree - 3)
        times[x, y] = long
    inverse = (times == 1).argmax(1)
    points = np.arange(8)
    found = set()
    for a, b, c, d in product(range(8), repeat=4):
        if times[a, d] == times[b, c]:
            continue
        image = np.empty(9, int)
        over, under = times[a, points] ^ b, times[c, points] ^ d
        image[:8] = np.where(under == 0, 8, times[over, inverse[under]])
        image[8] = times[a, inverse[c]] if c else 8
        squares = np.append(times[points, points], 8)
        for s in (np.arange(9), squares, squares[squares]):
            found.add(tuple(image[s].tolist()))
    return np.array(sorted(found), np.uint8)

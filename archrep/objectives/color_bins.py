"""The 313 colours of Zhang et al. (2016), "Colorful Image Colorization", Section 2.1.

A grid of step 10 in the ab-plane of Lab, of which those are kept that sRGB can show or nearly so.
For each a the kept b are one range. They cannot be derived again from the sRGB cube: rounding
every colour of it reaches 261 of the 313.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

STEP = 10
RANGES: dict[int, tuple[int, int]] = {
    -90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100),
    -40: (-40, 100), -30: (-50, 100), -20: (-50, 100), -10: (-60, 100), 0: (-70, 100),
    10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90), 50: (-100, 80),
    60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0),
}  # fmt: skip
"""First and last b of each a."""

BINS: tuple[tuple[int, int], ...] = tuple(
    (a, b) for a, (low, high) in RANGES.items() for b in range(low, high + 1, STEP)
)
"""Colours (a, b) of the bins, in the order of their numbers."""

LOWEST, CELLS = -128, 256
"""The table covers a and b from -128 to 128, in cells of size 1."""


@lru_cache(maxsize=8)
def bin_table(device: torch.device) -> Tensor:
    """Bin nearest to the middle of every unit cell of the ab-plane, `[256, 256]` of int64.

    Bins meet halfway between grid points, at 5 more than a multiple of 10: at the edge of a cell,
    never inside one. So the table is exact wherever the grid is complete around a colour, as it
    is around every colour that sRGB can show, and a cell is the integer part of a colour rather
    than the nearest integer.
    """
    bins = torch.tensor(BINS)
    middles = torch.arange(LOWEST, LOWEST + CELLS) + 0.5
    a_distance = (middles[:, None] - bins[:, 0]).square()  # [256, 313]
    b_distance = (middles[:, None] - bins[:, 1]).square()
    return torch.stack([(row + b_distance).argmin(1) for row in a_distance]).to(device)


def nearest_bin(ab: Tensor) -> Tensor:
    """Number of the bin nearest to each colour.

    Args:
        ab: Colour axes of Lab, `[B, 2, H, W]`.

    Returns:
        From 0 to 312, `[B, H, W]` of int64.

    Example:
        >>> BINS[int(nearest_bin(torch.tensor([[[[34.9]], [[-5.1]]]])))]
        (30, -10)
    """
    cells = ab.floor().long().sub(LOWEST).clamp(0, CELLS - 1)
    return bin_table(ab.device)[cells[:, 0], cells[:, 1]]

"""From sRGB to CIE Lab, for batches of images on any device."""

from __future__ import annotations

import torch
from torch import Tensor

# IEC 61966-2-1: linear RGB to XYZ under D65.
XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)


def rgb_to_lab(pixels: Tensor) -> Tensor:
    """Lightness L from 0 to 100 and the colour axes a and b, of about -110 to 110.

    White is the image of (1, 1, 1), so that greys have a = b = 0 up to rounding.

    Args:
        pixels: sRGB from 0 to 1, `[B, 3, H, W]`; values outside are cut off.

    Returns:
        Lab, `[B, 3, H, W]`.

    Example:
        >>> rgb_to_lab(torch.ones(1, 3, 1, 1)).flatten().round().abs().tolist()
        [100.0, 0.0, 0.0]
    """
    rgb = pixels.clamp(0, 1)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = torch.tensor(XYZ, device=pixels.device)
    matrix = matrix / matrix.sum(1, keepdim=True)
    ratio = (matrix @ linear.flatten(2)).view_as(linear)  # of X, Y and Z to those of white
    edge = 6 / 29
    root = torch.where(ratio > edge**3, ratio ** (1 / 3), ratio / (3 * edge**2) + 4 / 29)
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)

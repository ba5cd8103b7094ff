"""Augmentation of whole batches, on the device of the images, from a generator on that device.

Every function takes pixels `[B, c, H, W]` of float32 and, optionally, masks `[B, H, W]` that are
moved alike; what a crop reaches beyond an image is 0 there and `IGNORED` in its mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor
from torch.nn import functional

from archrep.data.base import IGNORED
from archrep.errors import ShapeError
from archrep.settings import check


@dataclass(frozen=True)
class Augmentation:
    """What happens to training images: a crop, a flip, and cutout, in this order.

    The default is DARTS's and ResNet's for CIFAR, without cutout (Liu et al., 2019, appendix A.1;
    He et al., 2016, section 4.2); the published 16 pixels of cutout belong to retraining.
    """

    crop_padding: int = 4
    """Pixels of 0 around an image out of which one of its size is cut; 0 is no crop."""
    flip: bool = True
    """Mirror half of the images left to right."""
    cutout: int = 0
    """Side of a square that is set to 0, centred anywhere (DeVries and Taylor, 2017)."""
    resized_crop: tuple[float, float] | None = None
    """Least and largest share of the area of a crop that is stretched back, in place of the
    padded crop: (0.08, 1) for ImageNet, (0.67, 1) for SimMIM."""

    def __post_init__(self) -> None:
        checks = {
            f"`crop_padding` must not be negative. Got {self.crop_padding}.": (
                self.crop_padding >= 0
            ),
            f"`cutout` must not be negative. Got {self.cutout}.": self.cutout >= 0,
        }
        if self.resized_crop is not None:
            fine = len(self.resized_crop) == 2 and 0 < self.resized_crop[0] <= self.resized_crop[1]
            checks[
                "`resized_crop` must be two shares, 0 < least <= largest <= 1. "
                f"Got {self.resized_crop}."
            ] = fine and self.resized_crop[1] <= 1
        check(checks)

    @overload
    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor: ...

    @overload
    def __call__(
        self, pixels: Tensor, generator: torch.Generator, masks: Tensor
    ) -> tuple[Tensor, Tensor]: ...

    def __call__(
        self, pixels: Tensor, generator: torch.Generator, masks: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The pixels after augmentation, and the masks if there are some.

        Args:
            pixels: `[B, c, H, W]` of float32.
            generator: On the device of the pixels.
            masks: `[B, H, W]` of uint8; cutout does not touch them.

        Raises:
            ShapeError: Pixels and masks do not fit together.
        """
        _check(pixels, masks)
        if self.resized_crop is not None:
            pixels, masks = _resized_crop(pixels, generator, self.resized_crop, masks)
        elif self.crop_padding:
            pixels, masks = _crop(pixels, generator, self.crop_padding, masks)
        if self.flip:
            pixels, masks = _flip(pixels, generator, masks)
        if self.cutout:
            pixels = cutout(pixels, generator, self.cutout)
        return pixels if masks is None else (pixels, masks)


@overload
def random_crop(pixels: Tensor, generator: torch.Generator, padding: int = ...) -> Tensor: ...


@overload
def random_crop(
    pixels: Tensor, generator: torch.Generator, padding: int = ..., *, masks: Tensor
) -> tuple[Tensor, Tensor]: ...


def random_crop(
    pixels: Tensor, generator: torch.Generator, padding: int = 4, *, masks: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """Images cut out of themselves within a frame of 0, at any of (2 padding + 1)^2 offsets alike.

    Args:
        pixels: `[B, c, H, W]`.
        generator: On the device of the pixels.
        padding: Width of the frame in pixels.
        masks: `[B, H, W]`, cut alike; their frame is `IGNORED`.

    Raises:
        ShapeError: Pixels and masks do not fit together.
    """
    _check(pixels, masks)
    pixels, masks = _crop(pixels, generator, padding, masks)
    return pixels if masks is None else (pixels, masks)


@overload
def random_flip(pixels: Tensor, generator: torch.Generator) -> Tensor: ...


@overload
def random_flip(
    pixels: Tensor, generator: torch.Generator, *, masks: Tensor
) -> tuple[Tensor, Tensor]: ...


def random_flip(
    pixels: Tensor, generator: torch.Generator, *, masks: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """Images of which each is mirrored left to right with probability 1/2.

    Args:
        pixels: `[B, c, H, W]`.
        generator: On the device of the pixels.
        masks: `[B, H, W]`, mirrored alike.

    Raises:
        ShapeError: Pixels and masks do not fit together.
    """
    _check(pixels, masks)
    pixels, masks = _flip(pixels, generator, masks)
    return pixels if masks is None else (pixels, masks)


def cutout(pixels: Tensor, generator: torch.Generator, side: int) -> Tensor:
    """Images with a square of 0, whose centre is any pixel alike; the border cuts it off.

    DeVries and Taylor (2017), section 3.2. In normalised images 0 is the mean, as published;
    before that it is black.

    Args:
        pixels: `[B, c, H, W]`.
        generator: On the device of the pixels.
        side: Of the square, in pixels.
    """
    batch, _, height, width = pixels.shape
    kept = []
    for size in (height, width):
        centre = torch.randint(
            size, (batch, 1), generator=generator, device=pixels.device
        )  # of a square that begins side // 2 before it
        begin = torch.arange(size, device=pixels.device) - (centre - side // 2)
        kept.append((begin >= 0) & (begin < side))
    hole = kept[0][:, None, :, None] & kept[1][:, None, None, :]
    return pixels.masked_fill(hole, 0)


@overload
def random_resized_crop(
    pixels: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = ...,
    *,
    size: int | None = ...,
) -> Tensor: ...


@overload
def random_resized_crop(
    pixels: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = ...,
    *,
    size: int | None = ...,
    masks: Tensor,
) -> tuple[Tensor, Tensor]: ...


def random_resized_crop(
    pixels: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    *,
    size: int | None = None,
    masks: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Crops of a random share of the area and a side ratio of 3/4 to 4/3, stretched to one size.

    Szegedy et al. (2015), section 6. A crop that would be longer than the image is cut to its
    length, where common code draws again. Pixels are interpolated bilinearly (mask: the nearest).

    Args:
        pixels: `[B, c, H, W]`.
        generator: On the device of the pixels.
        scale: Least and largest share of the area: (0.08, 1) for ImageNet, (0.67, 1) for SimMIM.
        size: Pixels a side of the result; by default height and width stay.
        masks: `[B, H, W]`, cut alike.

    Raises:
        ShapeError: Pixels and masks do not fit together.
        ConfigError: The shares are impossible.
    """
    _check(pixels, masks)
    Augmentation(resized_crop=scale)
    pixels, masks = _resized_crop(pixels, generator, scale, masks, size)
    return pixels if masks is None else (pixels, masks)


def _check(pixels: Tensor, masks: Tensor | None) -> None:
    if pixels.ndim != 4 or not pixels.is_floating_point():
        raise ShapeError(
            f"`pixels` must be floats [B, c, H, W]. Got {pixels.dtype} {tuple(pixels.shape)}; "
            "`ImageSet.pixels` makes them."
        )
    if masks is not None and masks.shape != (len(pixels), *pixels.shape[2:]):
        raise ShapeError(
            f"`masks` must be {[len(pixels), *pixels.shape[2:]]} for these pixels. "
            f"Got {list(masks.shape)}."
        )


def _crop(
    pixels: Tensor, generator: torch.Generator, padding: int, masks: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    batch, _, height, width = pixels.shape
    device = pixels.device
    # `randint` leaves its end out: 2 * padding is an offset too, which NumPy idioms often miss.
    offsets = torch.randint(2 * padding + 1, (2, batch), generator=generator, device=device)
    rows = (offsets[0, :, None] + torch.arange(height, device=device))[:, :, None]  # [B, H, 1]
    columns = (offsets[1, :, None] + torch.arange(width, device=device))[:, None, :]  # [B, 1, W]
    of = torch.arange(batch, device=device)[:, None, None]
    framed = functional.pad(pixels, (padding,) * 4).permute(0, 2, 3, 1)
    cut = framed[of, rows, columns].permute(0, 3, 1, 2).contiguous()
    if masks is None:
        return cut, None
    return cut, functional.pad(masks, (padding,) * 4, value=IGNORED)[of, rows, columns]


def _flip(
    pixels: Tensor, generator: torch.Generator, masks: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    mirrored = torch.rand(len(pixels), generator=generator, device=pixels.device) < 0.5
    flipped = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
    if masks is None:
        return flipped, None
    return flipped, torch.where(mirrored[:, None, None], masks.flip(-1), masks)


def _resized_crop(
    pixels: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float],
    masks: Tensor | None,
    size: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    batch, channels, height, width = pixels.shape
    drawn = torch.rand((4, batch), generator=generator, device=pixels.device)
    area = (scale[0] + (scale[1] - scale[0]) * drawn[0]) * (height * width)
    ratio = torch.exp(math.log(4 / 3) * (2 * drawn[1] - 1))  # width to height, log-uniform
    across = (area * ratio).sqrt().clamp(max=width) / width  # shares of the sides
    down = (area / ratio).sqrt().clamp(max=height) / height
    # Centre of the crop, in coordinates that run from -1 to 1 between the outer edges.
    x, y = (1 - across) * (2 * drawn[2] - 1), (1 - down) * (2 * drawn[3] - 1)
    nought = torch.zeros_like(x)
    matrix = torch.stack(
        [torch.stack([across, nought, x], 1), torch.stack([nought, down, y], 1)], 1
    )  # [B, 2, 3]
    shape = [batch, channels, size or height, size or width]
    grid = functional.affine_grid(matrix, shape, align_corners=False)
    cut = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    if masks is None:
        return cut, None
    moved = functional.grid_sample(
        masks[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    return cut, moved[:, 0].round().to(masks.dtype)

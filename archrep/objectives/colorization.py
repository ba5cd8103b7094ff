"""Colorization: Zhang et al. (2016), as Liu et al. (2020) train it (UnNAS, Section 4.1).

The network sees lightness and tells the colour of every pixel, one of 313. As in UnNAS and unlike
Zhang et al., the target is the nearest colour alone, and rare ones count no more than others.

    coarse logits -> bilinear to the image's size, corners aligned -> cross-entropy over all pixels

At full size the logits of 64 images of 224 x 224 pixels are 4 GB, and as much again for their
gradient. So the head leaves them coarse, and the loss enlarges some rows of pixels at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.base import Head, Objective, Stage
from archrep.objectives.color_bins import BINS, nearest_bin
from archrep.objectives.heads import DenseHead, last_channels
from archrep.objectives.lab import rgb_to_lab

BLOCK = 1 << 24
"""Logits at full size that are held at once, 64 MiB of float32; at least one row of pixels."""


@dataclass(frozen=True, kw_only=True)
class Colorization(Objective):
    """Tell the colour of each pixel from lightness."""

    name: ClassVar[str] = "colorization"
    title: ClassVar[str] = "Colorization (Zhang et al., 2016)"
    metric: ClassVar[str] = "pixel_accuracy"

    def adopt(self, images: ImageSet, seed: int) -> ImageSet:
        """The images as they are.

        Raises:
            ConfigError: They are no colour images: not of three channels, or not from 0 to 1.
        """
        images = super().adopt(images, seed)
        if images.channels != 3:
            raise ConfigError(
                f"The objective {self.name!r} needs colour images of 3 channels. "
                f"{images.name} has {images.channels}."
            )
        if images.images.dtype != torch.uint8:
            low, high = (float(value) for value in images.images.aminmax())
            if low < 0 or high > 1:
                raise ConfigError(
                    f"The objective {self.name!r} needs colours from 0 to 1. Those of "
                    f"{images.name} lie from {low:.3g} to {high:.3g}; noise has no colour."
                )
        return images

    def input_channels(self, images: ImageSet) -> int:
        return 1

    def head(self, stages: Sequence[Stage], images: ImageSet) -> Head:
        return DenseHead(last_channels(stages), len(BINS))

    def prepare(
        self,
        pixels: Tensor,
        targets: Tensor,
        images: ImageSet,
        generator: torch.Generator,
        train: bool,
    ) -> tuple[Tensor, Tensor]:
        """Lightness `[B, 1, H, W]`, and colours `[B, H, W]` from 0 to 312.

        Lightness counts from 0 to 1 and is normalised with the mean over channels of the images'
        means and deviations, as in the code of UnNAS, which crops no small images for this task:
        set `crop_padding` to 0 for the same.
        """
        lab = rgb_to_lab(pixels)
        mean, std = sum(images.mean) / 3, sum(images.std) / 3
        return (lab[:, :1] / 100 - mean) / std, nearest_bin(lab[:, 1:])

    def loss(self, outputs: Tensor, targets: Any) -> Tensor:
        """Mean cross-entropy of a pixel in nats.

        Args:
            outputs: Logits of any resolution, `[B, 313, h, w]`.
            targets: `[B, H, W]`.
        """
        if not torch.is_grad_enabled():
            outputs = outputs.detach()
        total: Tensor = _BlockedCrossEntropy.apply(outputs, targets)  # type: ignore[no-untyped-call]
        return total / targets.numel()

    def score(self, outputs: Tensor, targets: Any) -> Tensor:
        size = targets.shape[1:]
        right = torch.zeros((), dtype=torch.int64, device=outputs.device)
        for rows in _blocks(outputs, targets):
            right += (enlarge(outputs, size, rows).argmax(1) == targets[:, rows]).sum()
        return right / targets.numel()


def enlarge(coarse: Tensor, size: Sequence[int], rows: slice = slice(None)) -> Tensor:
    """Some rows of a map enlarged bilinearly to `size`, with the corner pixels on each other.

    The same as `torch.nn.functional.interpolate(..., align_corners=True)[:, :, rows]`.

    Args:
        coarse: `[B, C, h, w]`.
        size: Height H and width W.
        rows: Which of the H rows.

    Returns:
        `[B, C, R, W]`.
    """
    down, along = (
        _hat(full, part, coarse) for full, part in zip(size, coarse.shape[2:], strict=True)
    )
    return down[rows] @ coarse @ along.mT


def _hat(full: int, part: int, like: Tensor) -> Tensor:
    """What each of `part` places contributes to each of `full`, `[full, part]`."""
    steps = torch.arange(full, device=like.device, dtype=torch.float32)
    places = steps * (part - 1) / max(full - 1, 1)
    distance = places[:, None] - torch.arange(part, device=like.device)
    return (1 - distance.abs()).clamp(min=0).to(like.dtype)


def _blocks(outputs: Tensor, targets: Tensor) -> Iterator[slice]:
    """Rows of pixels whose logits fit into one block."""
    count, height, width = targets.shape
    rows = max(1, BLOCK // (count * outputs.shape[1] * width))
    return (slice(start, min(start + rows, height)) for start in range(0, height, rows))


class _BlockedCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies of all pixels, whose gradient is found block by block as well.

    There is no second derivative: it would need all blocks at once.
    """

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        coarse = outputs.detach().requires_grad_(wanted)
        total = outputs.new_zeros((), dtype=torch.float32)
        gradient = torch.zeros_like(coarse, requires_grad=False) if wanted else None
        for rows in _blocks(outputs, targets):
            with torch.set_grad_enabled(wanted):
                logits = enlarge(coarse, targets.shape[1:], rows).float()
                part = functional.cross_entropy(logits, targets[:, rows], reduction="sum")
            total += part.detach()
            if gradient is not None:
                gradient += torch.autograd.grad(part, coarse)[0]
        ctx.gradient = gradient
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        return ctx.gradient * upstream[0], None

"""Masked reconstruction: MAE-NAS, Sections 3.2 and 3.2.2, which follows SimMIM (Xie et al., 2022).

Some patches of an image are hidden, the network restores the image, and what counts is the
absolute difference at hidden pixels alone, in normalised units.

What stands at hidden places is not said. SimMIM puts one learned token in the place of a hidden
patch's embedding; that belongs to the network, and an objective has no weights before its head.
`fill="channel"` reaches it otherwise: hidden pixels are 0 and the mask is one more input channel.
A stem that is a convolution can then do all that a learned colour could do: where w are its
weights on colours and t is the token, let its weights on the mask be the sum of w t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.base import Head, Objective, Stage
from archrep.objectives.decoders import HierarchicalDecoder, PlainDecoder
from archrep.objectives.heads import last_channels
from archrep.settings import check, choices


@dataclass(frozen=True, kw_only=True)
class Reconstruction(Objective):
    """Restore the hidden patches of an image."""

    name: ClassVar[str] = "reconstruction"
    title: ClassVar[str] = "Masked reconstruction (MAE-NAS; SimMIM of Xie et al., 2022)"
    metric: ClassVar[str] = "reconstruction_score"

    ratio: float = 0.5
    """Part of the patches that are hidden, rounded up; SimMIM hides 0.6."""
    patch: int = 4
    """Height and width of a patch in pixels: 4 for CIFAR-10, 8 for ImageNet."""
    fill: Literal["zeros", "noise", "channel"] = "zeros"
    """What the network sees at hidden places: 0, which is the mean colour; noise of deviation 1,
    drawn each time; or 0, with the mask as a further input channel."""
    decoder: Literal["hierarchical", "plain"] = "hierarchical"
    """What restores the image: maps of all resolutions, or the last one alone."""
    width: int = 32
    """Channels D of the hierarchical decoder."""

    def __post_init__(self) -> None:
        check(
            choices(self)
            | {
                f"`ratio` must lie in (0, 1). Got {self.ratio}.": 0 < self.ratio < 1,
                f"`patch` must be at least 1. Got {self.patch}.": self.patch >= 1,
                f"`width` must be at least 1. Got {self.width}.": self.width >= 1,
            }
        )

    def adopt(self, images: ImageSet, seed: int) -> ImageSet:
        """The images as they are.

        Raises:
            ConfigError: Patches do not divide them, or all patches would be hidden.
        """
        images = super().adopt(images, seed)
        height, width = images.size
        if height % self.patch or width % self.patch:
            raise ConfigError(
                f"`patch` must divide the size of an image. Got {self.patch} and {height} x "
                f"{width} pixels of {images.name}; choose another patch or size."
            )
        patches = height * width // self.patch**2
        if self.hidden(patches) == patches:
            raise ConfigError(
                f"`ratio` must leave a patch to see. Got {self.ratio} of {patches} patches of "
                f"{images.name}; lower it, or choose smaller patches."
            )
        return images

    def input_channels(self, images: ImageSet) -> int:
        return images.channels + (self.fill == "channel")

    def hidden(self, patches: int) -> int:
        """How many of the patches are hidden."""
        return math.ceil(round(self.ratio * patches, 9))  # 0.07 * 100 is a little more than 7

    def head(self, stages: Sequence[Stage], images: ImageSet) -> Head:
        """A decoder.

        Raises:
            ConfigError: The last map of a plain one does not divide the image.
        """
        last_channels(stages)
        if self.decoder == "hierarchical":
            return HierarchicalDecoder(stages, self.width, images.channels)
        stride, (height, width) = stages[-1].stride, images.size
        if height % stride or width % stride:
            raise ConfigError(
                f'`decoder="plain"` needs images that the stride {stride} of the network divides. '
                f"Got {height} x {width} pixels of {images.name}; take the hierarchical one."
            )
        return PlainDecoder(stages[-1], images.channels)

    def prepare(
        self,
        pixels: Tensor,
        targets: Tensor,
        images: ImageSet,
        generator: torch.Generator,
        train: bool,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Masked images, and what they were with the mask `[B, 1, H, W]`, 1 where it hides."""
        shown = images.normalise(pixels)
        mask = self.mask(shown, generator)
        inputs = shown * (1 - mask)
        if self.fill == "noise":
            noise = torch.randn(shown.shape, generator=generator, device=shown.device)
            inputs = inputs + noise * mask
        if self.fill == "channel":
            inputs = torch.cat([inputs, mask], 1)
        return inputs, (shown, mask)

    def mask(self, shown: Tensor, generator: torch.Generator) -> Tensor:
        """A mask for each image, `[B, 1, H, W]`, which hides the same number of patches in each."""
        count, _, height, width = shown.shape
        rows, columns = height // self.patch, width // self.patch
        order = torch.rand(count, rows * columns, generator=generator, device=shown.device)
        hidden = order.argsort(1)[:, : self.hidden(rows * columns)]
        patches = torch.zeros_like(order).scatter_(1, hidden, 1.0).view(count, 1, rows, columns)
        return patches.repeat_interleave(self.patch, 2).repeat_interleave(self.patch, 3)

    def loss(self, outputs: Tensor, targets: Any) -> Tensor:
        """Mean absolute difference of a channel of a hidden pixel, in normalised units.

        Args:
            outputs: Restored images, `[B, c, H, W]`.
            targets: Normalised images of that shape, and their mask `[B, 1, H, W]`.
        """
        images, mask = targets
        difference = ((outputs - images).abs() * mask).sum()
        return difference / (mask.sum() + 1e-5) / images.shape[1]

    def score(self, outputs: Tensor, targets: Any) -> Tensor:
        """The loss, negative: the "image reconstruction score" of MAE-NAS, Section 4.10."""
        return -self.loss(outputs, targets)

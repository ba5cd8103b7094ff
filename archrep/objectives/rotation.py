"""Rotation: Gidaris et al. (2018), as Liu et al. (2020) train it (UnNAS, Section 4.1).

An image is turned by 0, 90, 180 and 270 degrees after it was augmented and normalised, and the
network tells which. All four turns of an image are in the batch, in training and in testing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.base import Head, Stage
from archrep.objectives.classification import Classification
from archrep.objectives.heads import ClassifierHead, last_channels
from archrep.settings import check, choices

TURNS = 4


@dataclass(frozen=True, kw_only=True)
class Rotation(Classification):
    """Tell by how many quarter turns an image was rotated, counterclockwise."""

    name: ClassVar[str] = "rotation"
    title: ClassVar[str] = "Rotation (Gidaris et al., 2018)"

    each: Literal["all", "one"] = "all"
    """Which turns of an image a batch holds: all four, which makes it four times as large, or one
    that is drawn, which costs a quarter and is noisier than anything published."""

    def __post_init__(self) -> None:
        check(choices(self))

    def adopt(self, images: ImageSet, seed: int) -> ImageSet:
        """The images as they are.

        Raises:
            ConfigError: They are not square, so that a quarter turn has another shape.
        """
        images = super().adopt(images, seed)
        height, width = images.size
        if height != width:
            raise ConfigError(
                f"The objective {self.name!r} needs square images. Those of {images.name} are "
                f"{height} x {width}; crop or resize them."
            )
        return images

    def head(self, stages: Sequence[Stage], images: ImageSet) -> Head:
        return ClassifierHead(last_channels(stages), TURNS)

    def prepare(
        self,
        pixels: Tensor,
        targets: Tensor,
        images: ImageSet,
        generator: torch.Generator,
        train: bool,
    ) -> tuple[Tensor, Tensor]:
        """Rotated images, and their quarter turns `[B']`.

        `B'` is 4 `B` with the turns of an image next to each other, or `B` where one is drawn.
        """
        shown, count = images.normalise(pixels), len(pixels)
        turned = torch.stack([shown.rot90(turn, (2, 3)) for turn in range(TURNS)], 1)
        if self.each == "all":
            return turned.flatten(0, 1), torch.arange(TURNS, device=pixels.device).repeat(count)
        turns = torch.randint(TURNS, (count,), generator=generator, device=pixels.device)
        return turned[torch.arange(count, device=pixels.device), turns], turns

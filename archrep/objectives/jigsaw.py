"""Jigsaw puzzles: Noroozi and Favaro (2016), as Liu et al. (2020) train them (UnNAS, Section 4.1).

An image is cut into grid x grid patches, a tile is cut from a random place of each, and the tiles
are shuffled by one of a set of permutations, which the network tells. Tiles pass through the
network as images of their own, and the head sees those of one image together. Details follow the
code of UnNAS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.base import Head, Stage
from archrep.objectives.classification import Classification
from archrep.objectives.heads import TilesHead, last_channels
from archrep.objectives.permutations import Selection, permutation_checks, permutation_set
from archrep.settings import check, choices

LUMINANCE = (0.2125, 0.7154, 0.0721)
"""Parts of red, green and blue in a grey image (ITU-R BT.709)."""

EPSILON = 1e-5
"""Added to the deviation of a tile: the published code divides by 0 where a tile is flat."""


@dataclass(frozen=True, kw_only=True)
class Jigsaw(Classification):
    """Tell how the tiles of an image were shuffled."""

    name: ClassVar[str] = "jigsaw"
    title: ClassVar[str] = "Jigsaw puzzles (Noroozi and Favaro, 2016)"

    grid: Literal[2, 3] = 2
    """Tiles of a row and of a column: 2 for small images, 3 for large ones."""
    permutations: int | None = None
    """Number of permutations; `None` for all 24 of a grid of 2, and 1,000 for one of 3."""
    selection: Selection = "average"
    """How these are chosen: greedily with the largest average distance, as published, or, for a
    grid of 3, from 1,512 of which any two differ in 6 places or more."""
    tile: float = 0.76
    """Height of a tile in that of a patch, rounded down to pixels; 1 for no jitter."""
    grey: float = 0.3
    """Probability that a training image is made grey, so that colour seams give nothing away;
    images of other than three channels stay as they are."""

    def __post_init__(self) -> None:
        check(
            choices(self)
            | {
                f"`tile` must lie in (0, 1]. Got {self.tile}.": 0 < self.tile <= 1,
                f"`grey` must lie in [0, 1]. Got {self.grey}.": 0 <= self.grey <= 1,
            }
        )
        check(permutation_checks(self.grid, self.count, self.selection))

    @property
    def count(self) -> int:
        """Number of permutations."""
        if self.permutations is None:
            return 24 if self.grid == 2 else 1000
        return self.permutations

    def adopt(self, images: ImageSet, seed: int) -> ImageSet:
        """The images as they are.

        Raises:
            ConfigError: The grid does not divide them, or a tile is smaller than a pixel.
        """
        images = super().adopt(images, seed)
        height, width = images.size
        if height % self.grid or width % self.grid:
            raise ConfigError(
                f"`grid` must divide the size of an image. Got {self.grid} and {height} x {width} "
                f"pixels of {images.name}; choose another grid or size."
            )
        if not all(self.tile_size(images.size)):
            raise ConfigError(
                f"Tiles must have a pixel at least. Got {self.tile} of {height // self.grid} x "
                f"{width // self.grid} pixels; enlarge `tile` or the images of {images.name}."
            )
        return images

    def tile_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of a tile of images of this size."""
        height, width = (int(self.tile * (side // self.grid) + 1e-9) for side in size)
        return height, width

    def head(self, stages: Sequence[Stage], images: ImageSet) -> Head:
        return TilesHead(last_channels(stages), self.grid**2, self.count)

    def prepare(
        self,
        pixels: Tensor,
        targets: Tensor,
        images: ImageSet,
        generator: torch.Generator,
        train: bool,
    ) -> tuple[Tensor, Tensor]:
        """Shuffled tiles `[B g^2, c, t, t]`, those of an image in a row, and permutations `[B]`.

        The tile of patch i, counted row by row, is in slot `permutation[i]`. Places and
        permutations are drawn in testing too; only grey images are made in training alone.
        """
        count, device = len(pixels), pixels.device
        if train and self.grey and pixels.shape[1] == 3:
            grey = torch.rand(count, 1, 1, 1, generator=generator, device=device) < self.grey
            parts = torch.tensor(LUMINANCE, device=device).view(3, 1, 1)
            pixels = torch.where(grey, (pixels * parts).sum(1, keepdim=True), pixels)
        tiles = self._cut(images.normalise(pixels), generator)
        whole = (2, 3, 4)  # mean and deviation over all channels of a tile
        mean = tiles.mean(whole, keepdim=True)
        std = tiles.std(whole, correction=0, keepdim=True)
        tiles = (tiles - mean) / (std + EPSILON)
        labels = torch.randint(self.count, (count,), generator=generator, device=device)
        slots = _slots(self.grid, self.count, self.selection, device)[labels]  # [B, g^2]
        shuffled = torch.empty_like(tiles)
        shuffled[torch.arange(count, device=device)[:, None], slots] = tiles
        return shuffled.flatten(0, 1), labels

    def _cut(self, shown: Tensor, generator: torch.Generator) -> Tensor:
        """A tile of every patch, `[B, g^2, c, t, t]`."""
        count, channels, height, width = shown.shape
        grid, device = self.grid, shown.device
        sides = []
        for full, tile in zip((height, width), self.tile_size((height, width)), strict=True):
            patch = full // grid
            shape = (count, grid, grid, 1)
            starts = torch.randint(patch - tile + 1, shape, generator=generator, device=device)
            sides.append((starts + torch.arange(tile, device=device), patch))
        (rows, patch_height), (columns, patch_width) = sides
        places = torch.arange(grid, device=device)
        rows = rows + patch_height * places[:, None, None]  # [B, g, g, t]
        columns = columns + patch_width * places[:, None]
        pixel = rows[..., :, None] * width + columns[..., None, :]  # [B, g, g, t, t]
        index = pixel.flatten(1)[:, None].expand(-1, channels, -1)
        cut = shown.flatten(2).gather(2, index)
        tiles = cut.unflatten(2, (grid**2, *pixel.shape[-2:]))
        return tiles.transpose(1, 2)


@lru_cache(maxsize=8)
def _slots(grid: int, count: int, selection: Selection, device: torch.device) -> Tensor:
    return permutation_set(grid, count, selection).to(device)

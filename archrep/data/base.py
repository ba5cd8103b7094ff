"""Images in memory: what a supernet trains on, with everything that a step needs on one device."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from archrep.errors import DataError, ShapeError

Task = Literal["classes", "masks", "findings"]
"""What targets are: a class of each image, of each pixel, or several findings that may hold."""

IGNORED = 255
"""Class of a pixel that counts for nothing."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N images with targets.

    Attributes:
        name: For records, such as `"cifar10"`.
        images: `[N, c, H, W]`: pixels of uint8 as they are stored, or of float32, which are used as
            they are.
        targets: Classes `[N]` of int64; classes of pixels `[N, H, W]` of uint8, `IGNORED` where
            there is none; or findings `[N, L]` of float32, 0 or 1, NaN where nobody knows.
        classes: Number of classes or of findings L.
        mean: Of each channel over the training images, pixels counted from 0 to 1.
        std: Standard deviation likewise.
        task: What the targets are.

    Raises:
        ShapeError: Images and targets do not fit together.
        DataError: A target is none of the classes, there are fewer than two classes, or `mean` and
            `std` are not those of as many channels.
    """

    name: str
    images: Tensor
    targets: Tensor
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    task: Task = "classes"

    def __post_init__(self) -> None:
        count, channels, *size = self.images.shape if self.images.ndim == 4 else (0, 0)
        wanted = {"classes": (count,), "masks": (count, *size), "findings": (count, self.classes)}
        if not count or tuple(self.targets.shape) != wanted[self.task]:
            raise ShapeError(
                "`images` must be [N, c, H, W] with N > 0, and `targets` "
                f"{'[N]' if self.task == 'classes' else '[N, ...]'}. Got "
                f"{tuple(self.images.shape)} and {tuple(self.targets.shape)} of {self.task}."
            )
        if self.images.dtype not in (torch.uint8, torch.float32):
            raise ShapeError(f"`images` must be of uint8 or float32. Got {self.images.dtype}.")
        if len(self.mean) != channels or len(self.std) != channels or min(self.std) <= 0:
            raise DataError(
                f"`mean` and `std` must have {channels} values, the latter positive. "
                f"Got {self.mean} and {self.std}."
            )
        if self.task == "findings":
            return
        if self.classes < 2:
            raise DataError(f"Classes must be at least 2. Got {self.classes}.")
        known = self.targets[self.targets != IGNORED] if self.task == "masks" else self.targets
        if len(known) and not 0 <= int(known.min()) <= int(known.max()) < self.classes:
            raise DataError(
                f"Targets of {self.name} must be classes from 0 to {self.classes - 1}. "
                f"Got {int(known.min())} to {int(known.max())}."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """Channels c of an image."""
        return int(self.images.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image."""
        return int(self.images.shape[2]), int(self.images.shape[3])

    def pixels(self, rows: Tensor) -> Tensor:
        """Some images `[B, c, H, W]` of float32, from 0 to 1 where they are stored as uint8."""
        chosen = self.images[rows]
        return chosen.float().div_(255) if chosen.dtype == torch.uint8 else chosen

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels `[..., c, H, W]` of the unit of `pixels`, to mean 0 and deviation 1 a channel."""
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]
        return (pixels - mean) / std

    def subset(self, rows: np.ndarray | Tensor) -> ImageSet:
        """Some of the images, in that order."""
        chosen = torch.as_tensor(rows, device=self.images.device)
        return replace(self, images=self.images[chosen], targets=self.targets[chosen])

    def resized(self, size: int) -> ImageSet:
        """Images of `size` x `size` pixels, each the mean of the area that it stands for.

        Masks take the nearest pixel.
        """
        pixels = functional.interpolate(self.images.float(), (size, size), mode="area")
        if self.images.dtype == torch.uint8:
            pixels = pixels.round().clamp(0, 255).to(torch.uint8)
        targets = self.targets
        if self.task == "masks":
            targets = functional.interpolate(targets[:, None].float(), (size, size))[:, 0]
            targets = targets.to(torch.uint8)
        return replace(self, images=pixels, targets=targets)

    def to(self, device: str | torch.device) -> ImageSet:
        """The same on another device."""
        return replace(self, images=self.images.to(device), targets=self.targets.to(device))

    @cached_property
    def sha256(self) -> str:
        """Hash of images and targets, in hex."""
        found = hashlib.sha256(repr((tuple(self.images.shape), self.classes, self.task)).encode())
        for tensor in (self.images, self.targets):
            found.update(tensor.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

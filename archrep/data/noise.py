"""Gaussian noise: the images of "RLRN" (UnrealNAS, section 3)."""

from __future__ import annotations

import torch

from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.seeding import torch_stream


def gaussian_noise(
    count: int = 25_000,
    size: int = 32,
    channels: int = 3,
    classes: int = 10,
    part: str = "train",
    seed: int = 0,
) -> ImageSet:
    """Images `[N, c, size, size]` of float32, every value drawn once from N(0, 1).

    They are not normalised again: mean 0 and deviation 1 are what they were drawn with. Labels
    are uniform over the classes; the paper's 5,000 are the objective's to draw.

    Args:
        count: Images N.
        size: Pixels a side.
        channels: Channels c.
        classes: Of the random labels.
        part: Another one, such as `"test"`, is another draw.
        seed: Fixes everything.

    Raises:
        ConfigError: A number is impossible.

    Example:
        >>> gaussian_noise(count=8, size=4).images.shape
        torch.Size([8, 3, 4, 4])
    """
    for name, value, least in (
        ("count", count, 1),
        ("size", size, 1),
        ("channels", channels, 1),
        ("classes", classes, 2),
    ):
        if value < least:
            raise ConfigError(f"`{name}` must be at least {least}. Got {value}.")
    images = torch.randn(
        (count, channels, size, size), generator=torch_stream(seed, f"data/noise/{part}")
    )
    labels = torch.randint(
        classes, (count,), generator=torch_stream(seed, f"data/noise/{part}/labels")
    )
    return ImageSet(
        name="noise",
        images=images,
        targets=labels,
        classes=classes,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )

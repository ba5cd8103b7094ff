"""Heads of one linear map: over the whole image, over its tiles, or at every place of a map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from archrep.errors import ConfigError
from archrep.objectives.base import Head, Stage


def last_channels(stages: Sequence[Stage]) -> int:
    """Channels of the coarsest feature map.

    Raises:
        ConfigError: There is no stage.
    """
    if not stages:
        raise ConfigError("A head needs the feature maps of at least one stage. Got none.")
    return stages[-1].channels


class ClassifierHead(Head):
    """Global average pool of the last feature map, then a linear layer.

    Args:
        channels: Of that map.
        classes: Outputs.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Logits `[B, classes]`."""
        return self.linear(features[-1].mean((2, 3)))


class TilesHead(Head):
    """Global average pool of each of T tiles, which a linear layer then sees together.

    Args:
        channels: Of the last feature map.
        tiles: Tiles T of an image, which follow one another in the batch.
        classes: Outputs.
    """

    def __init__(self, channels: int, tiles: int, classes: int) -> None:
        super().__init__()
        self.tiles = tiles
        self.linear = nn.Linear(tiles * channels, classes)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Logits `[B / T, classes]`."""
        pooled = features[-1].mean((2, 3))  # [B, C]
        return self.linear(pooled.unflatten(0, (-1, self.tiles)).flatten(1))


class DenseHead(Head):
    """A linear layer at every place of the last feature map, whose resolution stays.

    Args:
        channels: Of that map.
        classes: Outputs of a place.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(channels, classes, 1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Logits `[B, classes, h, w]`, of the size of the map."""
        return self.linear(features[-1])

"""Configuration of a run that makes a tabular benchmark."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from archrep.settings import check, from_plain


@dataclass(frozen=True, kw_only=True)
class TabulateConfig:
    """How every cell is trained; with cells and images, everything that decides the result.

    The defaults are those of the table of digits. One stage is enough there: a residual block of
    the frame learns the digits by itself, and cells would differ by little.
    """

    channels: tuple[int, ...] = (8,)
    """Channels of each stage; resolution is halved between two. Multiples of 8 are fastest."""
    cells_per_stage: int = 1
    """Cells N in each stage."""
    seeds: int = 3
    """Trainings of each cell."""
    epochs: int = 6
    """Passes over the training images."""
    batch_size: int = 32
    """Images in one step; an incomplete last batch of an epoch is left out."""
    learning_rate: float = 0.2
    """Of the first step; it falls to zero along a cosine."""
    momentum: float = 0.9
    """Of SGD in Nesterov's form."""
    weight_decay: float = 5e-4
    """L2 penalty on every weight, as in NAS-Bench-201."""
    max_shift: int = 0
    """Training images are moved by up to so many pixels each way, anew in every epoch."""
    pixel_noise: float = 0.0
    """Standard deviation of Gaussian noise that is drawn once for every image of all parts, in
    standard deviations of the pixels; makes a task harder."""
    train_images: int | None = None
    """Training images to use, the same share of each class; `None` for all."""
    seed: int = 0
    """Fixes initial weights, batch order, shifts, noise and the choice of `train_images`."""
    chunk_cells: int = 64
    """Cells in one file of the run; what is unfinished in a chunk is lost if the run is killed."""

    def __post_init__(self) -> None:
        whole = ("cells_per_stage", "seeds", "epochs", "chunk_cells")
        checks = {
            f"`{name}` must be a whole number, at least 1. Got {getattr(self, name)!r}.": (
                _whole(getattr(self, name), 1)
            )
            for name in whole
        }
        channels = self.channels if isinstance(self.channels, (tuple, list)) else ()
        checks |= {
            f"`channels` must be whole numbers, at least 1. Got {self.channels!r}.": (
                bool(channels) and all(_whole(width, 1) for width in channels)
            ),
            f"`batch_size` must be a whole number, at least 2. Got {self.batch_size!r}.": (
                _whole(self.batch_size, 2)
            ),
            f"`max_shift` must be a whole number, at least 0. Got {self.max_shift!r}.": (
                _whole(self.max_shift, 0)
            ),
            f"`seed` must be a whole number, at least 0. Got {self.seed!r}.": _whole(self.seed, 0),
            f"`train_images` must be a whole number, at least 1. Got {self.train_images!r}.": (
                self.train_images is None or _whole(self.train_images, 1)
            ),
            f"`learning_rate` must be positive. Got {self.learning_rate!r}.": (
                _finite(self.learning_rate) and self.learning_rate > 0
            ),
            f"`momentum` must lie in (0, 1). Got {self.momentum!r}.": (
                _finite(self.momentum) and 0 < self.momentum < 1
            ),
            f"`weight_decay` must not be negative. Got {self.weight_decay!r}.": (
                _finite(self.weight_decay) and self.weight_decay >= 0
            ),
            f"`pixel_noise` must not be negative. Got {self.pixel_noise!r}.": (
                _finite(self.pixel_noise) and self.pixel_noise >= 0
            ),
        }
        check(checks)
        object.__setattr__(self, "channels", tuple(self.channels))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self) | {"channels": list(self.channels)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TabulateConfig:
        """Config of plain values.

        Raises:
            ConfigError: A field is unknown or impossible.
        """
        return from_plain(cls, values)


def _whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)

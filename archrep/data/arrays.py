"""Images of your own: arrays in memory or in an `.npz` file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from archrep.data.base import ImageSet
from archrep.data.files import channels_first, read_npz, statistics
from archrep.data.fractals import load_fractals
from archrep.errors import ConfigError, DataError, ShapeError

SPLIT = {"train": 0, "valid": 1, "test": 2}
"""What `split` calls the parts."""


class Arrays(NamedTuple):
    """Images with a class each, which fit together.

    Attributes:
        images: `[N, H, W, c]`, whole or finite numbers as they were given.
        labels: Whole numbers from 0, `[N]` of int64.
        split: Part of each, `[N]`, see `SPLIT`; `None` if parts are not told apart.
    """

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray | None


def check_arrays(images: np.ndarray, labels: np.ndarray, split: np.ndarray | None = None) -> Arrays:
    """Images and labels that fit together.

    Args:
        images: `[N, H, W]` or `[N, H, W, c]`, whole numbers or floats.
        labels: Whole numbers from 0, `[N]`.
        split: Part of each, `[N]`.

    Raises:
        ShapeError: Lengths or dimensions do not fit.
        DataError: A value is impossible.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim not in (3, 4) or labels.shape != images.shape[:1] or not images.size:
        raise ShapeError(
            "`images` must be [N, H, W] or [N, H, W, c] and `labels` [N]. "
            f"Got {images.shape} and {labels.shape}."
        )
    if split is not None and np.shape(split) != labels.shape:
        raise ShapeError(f"`split` must be [{len(labels)}]. Got {np.shape(split)}.")
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        raise DataError(f"`labels` must be whole numbers from 0. Got {labels[:5]}.")
    if images.dtype.kind not in "iuf" or not np.isfinite(images).all():
        raise DataError(f"`images` must be finite numbers. Got {images.dtype}.")
    return Arrays(
        images.reshape(*images.shape[:3], -1),
        labels.astype(np.int64),
        None if split is None else np.asarray(split),
    )


def read_arrays(path: str | Path) -> Arrays:
    """Arrays `images`, `labels` and, if it is there, `split` of an `.npz` file; see `check_arrays`.

    Raises:
        DataError: It is missing or damaged, or arrays do not fit together.
    """
    path = Path(path).expanduser()
    found = read_npz(path, ("images", "labels", "split"))
    if missing := {"images", "labels"} - set(found):
        raise DataError(f"{path} must hold `images` and `labels`. Missing: {sorted(missing)}.")
    try:
        return check_arrays(**found)
    except (ShapeError, DataError) as error:
        raise DataError(f"{path}: {error}") from None


def load_arrays(path: str | Path, part: str = "train") -> ImageSet:
    """Images of an `.npz` file.

    Args:
        path: A file with `images` `[N, H, W]` or `[N, H, W, c]` of uint8, `labels` `[N]` of whole
            numbers from 0 and, if parts are to be told apart, `split` `[N]`: 0 train, 1
            validation, 2 test. Or one of fractals.
        part: `"train"`, `"valid"` or `"test"`; without `split` there is only `"train"`.

    Raises:
        DataError: It is missing or damaged, or arrays do not fit together.
        ConfigError: There is no such part.
    """
    path = Path(path).expanduser()
    if read_npz(path, ("fractals",)):
        return load_fractals(path)
    images, labels, split = read_arrays(path)
    if images.dtype != np.uint8:
        raise DataError(f"`images` of {path} must be uint8. Got {images.dtype}.")
    if split is None:
        split = np.zeros(len(images), np.uint8)
    if part not in SPLIT or not (split == SPLIT[part]).any():
        raise ConfigError(
            f"`part` of {path} must be one of {', '.join(SPLIT)} that its `split` holds. "
            f"Got {part!r}."
        )
    pixels = channels_first(images)
    train = np.flatnonzero(split == SPLIT["train"])
    mean, std = statistics(pixels[torch.from_numpy(train)] if len(train) else pixels)
    everything = ImageSet(
        name=path.stem,
        images=pixels,
        targets=torch.from_numpy(labels),
        classes=int(labels.max()) + 1,
        mean=mean,
        std=std,
    )
    return everything.subset(np.flatnonzero(split == SPLIT[part]))

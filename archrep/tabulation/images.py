"""Images of `archrep.data` as tables are made on them: scaled, in three parts, batched."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archrep.data import registry
from archrep.data.arrays import check_arrays, read_arrays
from archrep.data.base import ImageSet
from archrep.data.digits import read_digits
from archrep.data.splits import halves
from archrep.errors import ConfigError, DataError
from archrep.seeding import numpy_stream, torch_stream
from archrep.tabulation.config import TabulateConfig

TRAIN, VALID, TEST = 0, 1, 2
"""Values of `ImageData.split`."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images with labels and the part that each belongs to.

    Attributes:
        name: For records.
        images: Pixels `[N, H, W, c]` of float32, scaled to mean 0 and standard deviation 1 over
            the training images, each channel by itself.
        labels: Classes 0.. `[N]` of int64.
        split: `TRAIN`, `VALID` or `TEST`, `[N]` of uint8.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray

    @classmethod
    def from_arrays(
        cls, name: str, images: np.ndarray, labels: np.ndarray, split: np.ndarray | None = None
    ) -> ImageData:
        """Check, scale and, where there is no `split`, divide the images.

        Args:
            name: For records.
            images: `[N, H, W]` or `[N, H, W, c]`, whole numbers or floats.
            labels: Whole numbers 0.., `[N]`.
            split: 0 train, 1 validation, 2 test, `[N]`; see `stratified_split` for the default.

        Raises:
            ShapeError: Lengths or dimensions do not fit.
            DataError: A value is impossible, or a part of the split lacks images.
        """
        pixels, labels, found = check_arrays(images, labels, split)
        parts = stratified_split(labels) if found is None else found
        if missing := {TRAIN, VALID, TEST} ^ set(np.unique(parts).tolist()):
            raise DataError(
                f"`split` of {name} must hold 0 (train), 1 (validation) and 2 (test), each at "
                f"least once. Missing or unknown: {sorted(missing)}."
            )
        pixels = pixels.astype(np.float32)
        mean = pixels[parts == TRAIN].mean((0, 1, 2), dtype=np.float64)
        std = pixels[parts == TRAIN].std((0, 1, 2), dtype=np.float64)
        pixels = ((pixels - mean) / np.where(std > 0, std, 1)).astype(np.float32)
        return cls(name, pixels, labels, parts.astype(np.uint8))

    @classmethod
    def from_sets(cls, train: ImageSet, test: ImageSet) -> ImageData:
        """Training images in two halves, class by class, to train and to validate; test images.

        Raises:
            ConfigError: Images have no class each.
        """
        if train.task != "classes":
            raise ConfigError(
                f"Images of a table must have a class each. Those of {train.name} have "
                f"{train.task}."
            )
        parts = (*halves(train, 0), test)
        return cls.from_arrays(
            _table_name(train.name),
            torch.cat([part.images for part in parts]).permute(0, 2, 3, 1).numpy(),
            torch.cat([part.targets for part in parts]).numpy(),
            np.repeat([TRAIN, VALID, TEST], [len(part) for part in parts]),
        )

    @property
    def classes(self) -> int:
        """Number of classes, those of the largest label included."""
        return int(self.labels.max()) + 1

    @property
    def counts(self) -> tuple[int, int, int]:
        """Training, validation and test images."""
        train, valid, test = np.bincount(self.split, minlength=3).tolist()
        return train, valid, test

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, in hex: equal for the same images, labels and split."""
        found = hashlib.sha256(repr(self.images.shape).encode())
        for array in (self.images, self.labels, self.split):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def stratified_split(labels: np.ndarray) -> np.ndarray:
    """Part of each image, `[N]` of uint8: half train, a quarter validation, a quarter test.

    Every class is divided in this proportion. The division is fixed: it belongs to the data set
    and not to a run, so that tables of it can be compared.
    """
    split = np.empty(len(labels), np.uint8)
    stream = numpy_stream(0, "tabulate/split")
    for label in np.unique(labels):
        rows = stream.permutation(np.flatnonzero(labels == label))
        split[rows] = np.resize([TRAIN, VALID, TRAIN, TEST], len(rows))
    return split


def load_images(name: str | Path) -> ImageData:
    """Images of `archrep.data`, by name or path, in three parts.

    The digits and an `.npz` file stay in their order and are divided as the `split` of the file
    says, else by `stratified_split`; values of a file may be of any type. Of other data sets, see
    `archrep.data.registry.load_images`, training images are halved; see `ImageData.from_sets`.

    Raises:
        UnknownNameError: Neither a name nor a path.
        DataError: Files are missing or damaged.
        ConfigError: Images have no class each.
    """
    path = Path(name).expanduser()
    if str(name) == "digits":
        return load_digits()
    if path.suffix == ".npz" and path.is_file():
        return ImageData.from_arrays(_table_name(path.stem), *read_arrays(path))
    return ImageData.from_sets(*(registry.load_images(name, part=p) for p in ("train", "test")))


def load_digits() -> ImageData:
    """1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn."""
    return ImageData.from_arrays("digits", *read_digits())


def _table_name(name: str) -> str:
    """A name that the columns of a table can bear."""
    words = re.findall(r"[\w.-]+", name.replace(",", ""), re.ASCII)
    return "-".join(words).lstrip("_.-") or "images"


class Batches:
    """The images of a run as tensors, channels first: what every network of a seed sees.

    Args:
        data: All images.
        config: Noise, shifts, seed and number of training images.
    """

    def __init__(self, data: ImageData, config: TabulateConfig) -> None:
        self.config = config
        pixels = torch.from_numpy(data.images).permute(0, 3, 1, 2)
        noise = torch.randn(pixels.shape, generator=torch_stream(config.seed, "tabulate/noise"))
        pixels = (pixels + config.pixel_noise * noise).contiguous()
        labels = torch.from_numpy(data.labels)
        rows = [np.flatnonzero(data.split == part) for part in (TRAIN, VALID, TEST)]
        rows[TRAIN] = rows[TRAIN][_balanced(data.labels[rows[TRAIN]], config)]
        self.parts = [(pixels[r], labels[r]) for r in map(torch.from_numpy, rows)]
        """Images `[n, c, H, W]` and labels `[n]` of the three parts."""

    def epoch(self, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Training images `[n, c, H, W]` and labels of an epoch, in order and shifted."""
        images, labels = self.parts[TRAIN]
        use = f"tabulate/{seed}/epoch/{epoch}"
        order = torch.randperm(len(labels), generator=torch_stream(self.config.seed, use))
        images, labels = images[order], labels[order]
        if reach := self.config.max_shift:
            shifts = numpy_stream(self.config.seed, f"{use}/shift")
            images = _shifted(images, shifts.integers(0, 2 * reach + 1, (len(labels), 2)), reach)
        return images, labels


def _balanced(labels: np.ndarray, config: TabulateConfig) -> np.ndarray:
    """Positions of `config.train_images` of the labels, each class in proportion."""
    stream = numpy_stream(config.seed, "tabulate/train images")
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        own = stream.permutation(np.flatnonzero(labels == label))
        rank[own] = (np.arange(len(own)) + 0.5) / len(own)
    return np.sort(np.argsort(rank, kind="stable")[: config.train_images])


def _shifted(images: Tensor, offsets: np.ndarray, reach: int) -> Tensor:
    """Images `[n, c, H, W]` cut out of themselves with a border of `reach` repeated pixels.

    `offsets`, `[n, 2]` from 0 to 2 `reach`, are the upper left corners; `reach` is no shift.
    """
    height, width = images.shape[-2:]
    framed = torch.nn.functional.pad(images, (reach,) * 4, mode="replicate")
    windows = framed.unfold(2, height, 1).unfold(3, width, 1)  # [n, c, 2r + 1, 2r + 1, H, W]
    rows = torch.arange(len(images))
    return windows[rows, :, torch.from_numpy(offsets[:, 0]), torch.from_numpy(offsets[:, 1])]

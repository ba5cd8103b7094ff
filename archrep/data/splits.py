"""Splits of the images, explicit and seeded; each is a choice of rows and copies nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from archrep.data.base import ImageSet
from archrep.data.files import missing_files, read_npz
from archrep.errors import ConfigError, DataError
from archrep.seeding import numpy_stream

NASBENCH201_FILE = "nas-bench-201-splits.npz"
"""Official index lists of NAS-Bench-201 (Dong and Yang, 2020, section 2.2)."""

NASBENCH201_SPLITS = {
    "cifar10_train": ("train", "valid"),
    "cifar100_test": ("xvalid", "xtest"),
    "imagenet16_test": ("xvalid", "xtest"),
    "imagenet16_120": ("train", "valid"),
}
"""Lists in that file: what is divided, and what its two parts are called."""


def halves(images: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    """Two halves at random, the first one larger by an image if the number is odd.

    Images with classes are divided class by class, so that the halves differ by at most one
    image in each; others are divided as they come. Rows keep their order within a half.

    Args:
        images: At least two.
        seed: The same seed divides the same images alike.

    Raises:
        ConfigError: There is only one image.
    """
    if len(images) < 2:
        raise ConfigError(f"Two halves need at least 2 images. {images.name} has {len(images)}.")
    labels, stream = _strata(images), numpy_stream(seed, "data/halves")
    # One class after another, each in random order: every second row is half of each class.
    order = np.lexsort((stream.permutation(len(labels)), labels))
    return images.subset(np.sort(order[::2])), images.subset(np.sort(order[1::2]))


def ordered_halves(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """The images before and after the middle of their stored order.

    DARTS trains weights on one and architecture weights on the other half of CIFAR-10's training
    images (Liu et al., 2019, section 3.1); its code takes the first 25,000 after the files' order.

    Raises:
        ConfigError: There is only one image.
    """
    if len(images) < 2:
        raise ConfigError(f"Two halves need at least 2 images. {images.name} has {len(images)}.")
    middle = (len(images) + 1) // 2
    return images.subset(np.arange(middle)), images.subset(np.arange(middle, len(images)))


def nasbench201_halves(images: ImageSet, name: str, path: str | Path) -> tuple[ImageSet, ImageSet]:
    """The two parts into which NAS-Bench-201 divides images, by its published index lists.

    Args:
        images: All images of the part that is divided, in their official order.
        name: One of `NASBENCH201_SPLITS`, such as `"cifar10_train"`.
        path: The file, `NASBENCH201_FILE` where image files lie.

    Raises:
        ConfigError: The name is unknown, or the images are not as many as the lists divide.
        DataError: The file is missing or damaged.
    """
    if name not in NASBENCH201_SPLITS:
        raise ConfigError(f"Splits are: {', '.join(NASBENCH201_SPLITS)}. Got {name!r}.")
    path = Path(path)
    if not path.is_file():
        raise missing_files("The NAS-Bench-201 split", path.parent, [path.name])
    keys = [f"{name}__{part}" for part in NASBENCH201_SPLITS[name]]
    found = read_npz(path, keys)
    if missing := [key for key in keys if key not in found]:
        raise DataError(f"{path} must hold {' and '.join(keys)}. It lacks {missing[0]}.")
    first, second = (np.sort(found[key].ravel()) for key in keys)
    both = np.sort(np.concatenate([first, second]))
    if not np.array_equal(both, np.arange(len(both))):
        raise DataError(f"{' and '.join(keys)} of {path} must name every row exactly once.")
    if len(both) != len(images):
        raise ConfigError(
            f"{name} divides {len(both):,} images in their official order. {images.name} has "
            f"{len(images):,}. Load the complete set."
        )
    return images.subset(first), images.subset(second)


def balanced(images: ImageSet, count: int, seed: int) -> ImageSet:
    """Some of the images, each class in proportion to its share; others at random.

    A larger count with the same seed keeps the images of a smaller one. Rows keep their order.

    Args:
        images: N images.
        count: From 1 to N.
        seed: The same seed chooses alike.

    Raises:
        ConfigError: `count` is none of these.
    """
    if not 1 <= count <= len(images):
        raise ConfigError(
            f"`count` must be from 1 to the {len(images):,} images of {images.name}. Got {count}."
        )
    return images.subset(balanced_rows(_strata(images), count, seed))


def balanced_rows(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows `[count]`, ascending, of labels `[N]`: every label in proportion to its share."""
    stream = numpy_stream(seed, "data/balanced")
    # A random row of each label at every of its quantiles, labels in random order at a tie.
    quantile, tie = np.empty(len(labels)), np.empty(len(labels))
    for label in np.unique(labels):
        rows = stream.permutation(np.flatnonzero(labels == label))
        quantile[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        tie[rows] = stream.random()
    return np.sort(np.lexsort((tie, quantile))[:count])


def _strata(images: ImageSet) -> np.ndarray:
    """What is divided evenly: classes `[N]`, or one for all."""
    if images.task == "classes":
        return images.targets.cpu().numpy()
    return np.zeros(len(images), np.int64)

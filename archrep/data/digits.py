"""Handwritten digits: the data set that needs no file."""

from __future__ import annotations

import numpy as np
import torch

from archrep.data.base import ImageSet
from archrep.data.files import choose_part, statistics
from archrep.seeding import numpy_stream


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 images `[N, 8, 8]` of levels 0 to 16 and their classes `[N]`, in stored order."""
    from sklearn import datasets

    digits = datasets.load_digits()
    return digits.images, np.asarray(digits.target, np.int64)


def load_digits(part: str = "train") -> ImageSet:
    """Grey images `[N, 1, 8, 8]` of 10 digits that come with scikit-learn, four in five to train.

    The 1,797 images are divided class by class, once and for all: 1,437 train and 360 test. The
    17 levels 0 to 16 of the original are stretched to 0 to 255.

    Args:
        part: `"train"` or `"test"`.

    Raises:
        ConfigError: There is no such part.
    """
    choose_part(part, {"train": "train", "test": "test"}, "digits")
    levels, labels = read_digits()
    grey = torch.from_numpy(np.rint(levels * (255 / 16)).astype(np.uint8))[:, None]
    stream = numpy_stream(0, "data/digits/split")
    # One class after another, each in random order: every fifth one is a fifth of each class.
    order = np.lexsort((stream.permutation(len(labels)), labels))
    rows = {
        "train": np.sort(np.delete(order, np.s_[::5])),
        "test": np.sort(order[::5]),
    }
    mean, std = statistics(grey[torch.from_numpy(rows["train"])])
    everything = ImageSet(
        name="digits",
        images=grey,
        targets=torch.from_numpy(labels),
        classes=10,
        mean=mean,
        std=std,
    )
    return everything.subset(rows[part])

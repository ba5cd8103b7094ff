"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): official Python batches, or zips of strips.

Both hold the same pixels; images are in the official order, to which published index splits apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from archrep.data.base import ImageSet
from archrep.data.files import (
    Strips,
    channels_first,
    choose_part,
    images_folder,
    missing_files,
    read_bytes,
    read_strips,
    read_tar,
)
from archrep.data.pickles import read_batch
from archrep.errors import DataError

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
"""Of the training images, as the code of DARTS and its successors rounds it."""
CIFAR10_STD = (0.2470, 0.2435, 0.2616)
CIFAR100_MEAN = (129.3 / 255, 124.1 / 255, 112.4 / 255)
"""Of the training images, as the code of NAS-Bench-201 rounds it."""
CIFAR100_STD = (68.2 / 255, 65.4 / 255, 70.4 / 255)

_COUNTS = {"train": 50_000, "test": 10_000}


@dataclass(frozen=True)
class _Source:
    """Where one of the two data sets may be found."""

    name: str
    folder: str
    archive: str
    batches: dict[str, tuple[str, ...]]
    labels: str
    strips: tuple[str, ...]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


_CIFAR10 = _Source(
    name="cifar10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    batches={"train": tuple(f"data_batch_{n}" for n in range(1, 6)), "test": ("test_batch",)},
    labels="labels",
    strips=("cifar10-20k.zip", "cifar10-rest.zip"),
    classes=10,
    mean=CIFAR10_MEAN,
    std=CIFAR10_STD,
)
_CIFAR100 = _Source(
    name="cifar100",
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    batches={"train": ("train",), "test": ("test",)},
    labels="fine_labels",
    strips=("cifar100-28k.zip",),
    classes=100,
    mean=CIFAR100_MEAN,
    std=CIFAR100_STD,
)


def load_cifar10(folder: str | Path | None = None, part: str = "train") -> ImageSet:
    """CIFAR-10: 50,000 training or 10,000 test images `[N, 3, 32, 32]` of 10 classes.

    Looked for in this order: `cifar-10-batches-py`, `cifar-10-python.tar.gz`, and the strips
    `cifar10-20k.zip` and `cifar10-rest.zip`. One of the latter alone is a part of the set, which
    the name then says. Mean and deviation are always those of the complete training images, as
    published.

    Args:
        folder: Where they lie, see `archrep.data.files.images_folder`; or the folder of batches,
            the archive or a strip file itself.
        part: `"train"` or `"test"`.

    Raises:
        DataError: They are not there or damaged.
        ConfigError: There is no such part.
    """
    return _load(_CIFAR10, folder, part)


def load_cifar100(
    folder: str | Path | None = None, part: str = "train", coarse: bool = False
) -> ImageSet:
    """CIFAR-100: 50,000 training or 10,000 test images `[N, 3, 32, 32]` of 100 classes.

    Looked for as `cifar-100-python`, `cifar-100-python.tar.gz`, and `cifar100-28k.zip`, a part.

    Args:
        folder: As for `load_cifar10`.
        part: `"train"` or `"test"`.
        coarse: The 20 superclasses instead.

    Raises:
        DataError: They are not there or damaged.
        ConfigError: There is no such part.
    """
    return _load(_CIFAR100, folder, part, coarse)


def _load(source: _Source, folder: str | Path | None, part: str, coarse: bool = False) -> ImageSet:
    part = choose_part(part, {"train": "train", "test": "test"}, source.name)
    found = _find(source, folder)
    if isinstance(found, Path):
        images, labels = _batches(source, found, part, coarse)
        index = np.arange(len(images))
    else:
        images, labels, index = _strips(source, found, part, coarse)
    if len(index) > _COUNTS[part]:
        raise DataError(
            f"{source.name} has {_COUNTS[part]:,} images of {part}. Got {len(index):,}."
        )
    complete = len(index) == _COUNTS[part]
    name = source.name + ("-coarse" if coarse else "")
    return ImageSet(
        name=name if complete else f"{name} ({len(index):,} of {_COUNTS[part]:,})",
        images=channels_first(images),
        targets=torch.from_numpy(labels),
        classes=20 if coarse else source.classes,
        mean=source.mean,
        std=source.std,
    )


def _find(source: _Source, folder: str | Path | None) -> Path | list[Path]:
    """The folder or archive of batches, or the strip files that are there."""
    if folder is not None and (path := Path(folder).expanduser()).is_file():
        return [path] if path.suffix == ".zip" else path
    at = images_folder(folder)
    if (at / source.batches["test"][0]).is_file():
        return at
    for name in (source.folder, source.archive):
        if (at / name).exists():
            return at / name
    if strips := [at / name for name in source.strips if (at / name).is_file()]:
        return strips
    together = " and ".join(source.strips)
    raise missing_files(source.name, at, [f"{source.folder}/", source.archive, together])


def _batches(source: _Source, path: Path, part: str, coarse: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images `[N, H, W, 3]` and labels `[N]` of the official batches, in their order."""
    names = source.batches[part]
    if path.is_dir():
        if gone := [name for name in names if not (path / name).is_file()]:
            raise missing_files(f"{', '.join(gone)} of {source.name}", path, [", ".join(names)])
        content = {name: read_bytes(path / name) for name in names}
    else:
        wanted = [f"{source.folder}/{name}" for name in names]
        content = {Path(name).name: data for name, data in read_tar(path, wanted).items()}
        if gone := [name for name in names if name not in content]:
            raise DataError(f"{path} must hold {source.folder}/{gone[0]}, and does not.")
    key = "coarse_labels" if coarse else source.labels
    read = [read_batch(content[name], f"{name} in {path}", key) for name in names]
    pixels = np.concatenate([pixels for pixels, _ in read])
    return planar(pixels, 32, str(path)), np.concatenate([labels for _, labels in read])


def planar(pixels: np.ndarray, size: int, name: str) -> np.ndarray:
    """Images `[N, size, size, 3]` of planar pixels `[N, 3 * size^2]`, red plane first.

    Raises:
        DataError: They are of another size.
    """
    if pixels.shape[1] != 3 * size * size:
        raise DataError(
            f"Images of {name} must have {3 * size * size:,} values. Got {pixels.shape[1]:,}."
        )
    return pixels.reshape(-1, 3, size, size).transpose(0, 2, 3, 1)


def _strips(
    source: _Source, paths: Sequence[Path], part: str, coarse: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images `[N, H, W, 3]`, labels and official positions `[N]`, positions ascending."""
    pieces: list[Strips] = []
    for path in paths:
        pieces.append(read_strips(path, part, "coarse" if coarse else "labels"))
        if pieces[-1].images.shape[1] != 32:
            raise DataError(
                f"Images of {source.name} must have 32 x 32 pixels. Those of {path} have "
                f"{pieces[-1].images.shape[1]}."
            )
    images = np.concatenate([piece.images for piece in pieces])
    labels = np.concatenate([piece.labels for piece in pieces])
    index = np.concatenate([piece.index for piece in pieces])
    order = np.argsort(index, kind="stable")
    ascending = index[order]
    bad = ascending[0] < 0 or ascending[-1] >= _COUNTS[part]
    if bad or (np.diff(ascending) == 0).any():
        raise DataError(
            f"Positions of {', '.join(path.name for path in paths)} must be distinct and below "
            f"{_COUNTS[part]:,}. Some repeat or lie outside."
        )
    return images[order], labels[order], ascending

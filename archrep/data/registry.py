"""Data sets by name, and where their files lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from archrep import settings
from archrep.data import cifar, findings, imagenet, segmentation
from archrep.data.arrays import load_arrays
from archrep.data.base import ImageSet
from archrep.data.digits import load_digits
from archrep.data.files import images_folder
from archrep.data.fractals import FractalConfig, fractals
from archrep.data.noise import gaussian_noise
from archrep.data.splits import NASBENCH201_FILE, balanced, nasbench201_halves
from archrep.errors import DataError, UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a loader is asked for.

    A loader may ignore `size` and `count`: `load_images` resizes and chooses afterwards. One that
    heeds them saves time or memory.

    Attributes:
        part: `"train"` or `"test"`; some know `"valid"`.
        folder: Where files lie; by default, see `archrep.data.files.images_folder`.
        size: Pixels a side.
        count: Images.
        seed: Chooses them, or makes them where they are made.
    """

    part: str = "train"
    folder: Path | None = None
    size: int | None = None
    count: int | None = None
    seed: int = 0


Loader = Callable[[Request], ImageSet]

DATASETS: dict[str, Loader] = {}
"""Loaders by name of their data set."""


def register(name: str, loader: Loader) -> None:
    """Add a data set.

    Raises:
        ConfigError: There is one of that name.
    """
    settings.register(DATASETS, name, loader, "A data set")


def load_images(
    name_or_path: str | Path,
    *,
    part: str = "train",
    folder: str | Path | None = None,
    size: int | None = None,
    count: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """Images of a data set by its name, or of a file or folder.

    A path may be an `.npz` file with `images` `[N, H, W]` or `[N, H, W, c]` of uint8 and `labels`
    `[N]` (parts: see `archrep.data.arrays.load_arrays`), or with fractals; a zip of strips or of
    CamVid; the archive or folder of CIFAR's batches; or a folder of ImageNet, ImageNet16,
    Cityscapes or CheXpert.

    Args:
        name_or_path: One of `DATASETS`, or a path.
        part: `"train"` or `"test"`; `"valid"` where there are three.
        folder: Where files lie; by default `ARCHREP_IMAGES`, else `images` in `ARCHREP_DATA`.
        size: Resize to `size` x `size`, each pixel the mean of its area.
        count: Keep so many, classes in proportion; made images are made in this number.
        seed: Chooses them, or makes them.

    Raises:
        UnknownNameError: Neither a name nor a path.
        DataError: Files are missing or damaged.
        ConfigError: There is no such part, or a number is impossible.

    Example:
        >>> load_images("digits", count=100).images.shape
        torch.Size([100, 1, 8, 8])
    """
    settings.check(
        {
            f"`{name}` must be at least 1. Got {value}.": value is None or value >= 1
            for name, value in (("size", size), ("count", count))
        }
    )
    at = None if folder is None else Path(folder).expanduser()
    request = Request(part=part, folder=at, size=size, count=count, seed=seed)
    if str(name_or_path) in DATASETS:
        images = DATASETS[str(name_or_path)](request)
    else:
        images = _load_path(Path(name_or_path).expanduser(), request)
    if count is not None and count != len(images):
        images = balanced(images, count, seed)
    if size is not None and images.size != (size, size):
        images = images.resized(size)
    return images


def _load_path(path: Path, request: Request) -> ImageSet:
    if not path.exists():
        raise UnknownNameError(
            f"Images must be {', '.join(DATASETS)}, or a file or folder. Got {str(path)!r}."
        )
    part, size, count, seed = request.part, request.size, request.count, request.seed
    if path.suffix == ".npz":
        return load_arrays(path, part)
    if path.is_dir():
        if (path / "leftImg8bit").is_dir():
            return segmentation.load_cityscapes(path, part, size, count, seed)
        if (path / "train.csv").is_file() or (path / "valid.csv").is_file():
            return findings.load_chexpert(path, part, size, count, seed)
        if (path / "test_batch").is_file():
            return cifar.load_cifar10(path, part)
        if (path / "meta").is_file() and (path / "test").is_file():
            return cifar.load_cifar100(path, part)
        if (path / "val_data").is_file() or (path / "train_data_batch_1").is_file():
            return imagenet.load_imagenet16(path, part)
        if (path / "train").is_dir() or (path / "val").is_dir():
            return imagenet.load_imagenet(path, part, size or 224, count, seed)
    known: dict[str, Callable[[Path, str], ImageSet]] = {
        "cifar10": cifar.load_cifar10,
        "cifar-10-": cifar.load_cifar10,
        "cifar100": cifar.load_cifar100,
        "cifar-100-": cifar.load_cifar100,
        "imagenet16": imagenet.load_imagenet16,
        "camvid": segmentation.load_camvid,
    }
    if path.is_file():
        # The longest beginning: cifar10 is one of cifar100.
        for beginning in sorted(known, key=len, reverse=True):
            if path.name.startswith(beginning):
                return known[beginning](path, part)
    raise DataError(
        f"{path} is of no known layout. Expected an .npz file of `images` and `labels`, a file "
        f"named {', '.join(f'{name}...' for name in known)}, or a folder of CIFAR, ImageNet, "
        "Cityscapes or CheXpert."
    )


def _fractals(request: Request) -> ImageSet:
    """100 categories, as many images of each as `count` needs; kept in `folder` if it is given."""
    each = 600 if request.count is None else -(-request.count // 100)
    config = FractalConfig(per_category=each, size=request.size or 32, seed=request.seed)
    if config.size > config.drawing:
        config = FractalConfig(
            per_category=each, size=config.size, drawing=config.size, seed=request.seed
        )
    cache = None
    if request.folder is not None and os.access(request.folder, os.W_OK):
        kind = f"{request.part}-{each}-{config.size}-{config.seed}"
        cache = request.folder / f"fractals-{kind}.npz"
    return fractals(config, part=request.part, cache=cache)


def _nasbench201(request: Request) -> tuple[ImageSet, ImageSet]:
    """The halves of CIFAR-10's training images that NAS-Bench-201 trained and validated on."""
    folder = images_folder(request.folder)
    images = cifar.load_cifar10(folder, "train")
    return nasbench201_halves(images, "cifar10_train", folder / NASBENCH201_FILE)


def _cifar10_nasbench201(request: Request) -> ImageSet:
    """CIFAR-10 with the benchmark's training half first, then its validation half."""
    if request.part != "train":
        return cifar.load_cifar10(request.folder, request.part)
    first, second = _nasbench201(request)
    return replace(
        first,
        name="cifar10-nasbench201",
        images=torch.cat([first.images, second.images]),
        targets=torch.cat([first.targets, second.targets]),
    )


def _cifar10_nasbench201_train(request: Request) -> ImageSet:
    """The benchmark's training half alone."""
    if request.part != "train":
        return cifar.load_cifar10(request.folder, request.part)
    return replace(_nasbench201(request)[0], name="cifar10-nasbench201-train")


register("digits", lambda r: load_digits(r.part))
register("cifar10", lambda r: cifar.load_cifar10(r.folder, r.part))
register("cifar10-nasbench201", _cifar10_nasbench201)
register("cifar10-nasbench201-train", _cifar10_nasbench201_train)
register("cifar100", lambda r: cifar.load_cifar100(r.folder, r.part))
register("imagenet16", lambda r: imagenet.load_imagenet16(r.folder, r.part))
register(
    "imagenet",
    lambda r: imagenet.load_imagenet(r.folder, r.part, r.size or 224, r.count, r.seed),
)
register("camvid", lambda r: segmentation.load_camvid(r.folder, r.part, r.size))
register(
    "cityscapes",
    lambda r: segmentation.load_cityscapes(r.folder, r.part, r.size, r.count, r.seed),
)
register("chexpert", lambda r: findings.load_chexpert(r.folder, r.part, r.size, r.count, r.seed))
register(
    "findings",
    lambda r: findings.synthetic_findings(r.count or 2_000, r.size or 32, part=r.part, seed=r.seed),
)
register(
    "noise",
    lambda r: gaussian_noise(r.count or 25_000, r.size or 32, part=r.part, seed=r.seed),
)
register("fractals", _fractals)

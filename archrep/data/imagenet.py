"""ImageNet (Russakovsky et al., 2015) as a folder of pictures, and its 16-pixel versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from archrep.data.base import ImageSet
from archrep.data.cifar import planar
from archrep.data.files import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    channels_first,
    choose_part,
    decode,
    images_folder,
    missing_files,
    read_bytes,
    read_strips,
)
from archrep.data.pickles import read_batch
from archrep.data.splits import balanced_rows
from archrep.errors import ConfigError, DataError

IMAGENET16_MEAN = (122.68 / 255, 116.66 / 255, 104.01 / 255)
"""Of the training images, as the code of NAS-Bench-201 has it."""
IMAGENET16_STD = (63.22 / 255, 61.26 / 255, 65.09 / 255)
IMAGENET16_CLASSES = 120
"""Classes of ImageNet16-120: the first ones of its labels (Dong and Yang, 2020, section 2.2)."""

_PICTURES = {".jpeg", ".jpg", ".png"}
_BATCHES = {
    "train": tuple(f"train_data_batch_{n}" for n in range(1, 11)),
    "test": ("val_data",),
}


def load_imagenet(
    folder: str | Path | None = None,
    part: str = "train",
    size: int = 224,
    count: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """Pictures of the layout `{train,val}/<wnid>/*.JPEG`, `[N, 3, size, size]`, all in memory.

    The shorter side of a picture is scaled to `size`, then its middle is cut out. Classes are the
    folders of `train` in alphabetical order (of `val` where there is no `train`). The whole of
    ImageNet-1k at 224 pixels would be 190 GB: choose a `count`.

    Args:
        folder: Where they lie: the folder of `train` and `val`, or one with `imagenet` in it.
        part: `"train"`, or `"test"` for `val`.
        size: Pixels a side.
        count: Pictures to read, classes in proportion; by default all.
        seed: Chooses them.

    Raises:
        DataError: They are not there, damaged, or of one class only.
        ConfigError: There is no such part, `size` is impossible, or there are fewer than `count`.
    """
    split = choose_part(part, {"train": "train", "test": "val"}, "imagenet")
    if size < 1:
        raise ConfigError(f"`size` must be at least 1. Got {size}.")
    given = images_folder(folder)
    places = [at for at in (given, given / "imagenet") if (at / split).is_dir()]
    if not places:
        expected = [f"{split}/<wnid>/*.JPEG", f"imagenet/{split}/<wnid>/*.JPEG"]
        raise missing_files("imagenet", given, expected)
    at = places[0]
    named = at / "train" if (at / "train").is_dir() else at / split
    wnids = sorted(path.name for path in named.iterdir() if path.is_dir())
    if len(wnids) < 2:
        raise DataError(
            f"{named} must hold folders of at least 2 classes, named by wnid. Got {len(wnids)}."
        )
    if foreign := {path.name for path in (at / split).iterdir() if path.is_dir()} - set(wnids):
        raise DataError(f"{at / split} has classes that {named} lacks: {sorted(foreign)[:3]}.")
    paths: list[Path] = []
    labels: list[int] = []
    for label, wnid in enumerate(wnids):
        own = sorted((at / split / wnid).glob("*"))
        own = [path for path in own if path.suffix.lower() in _PICTURES]
        paths += own
        labels += [label] * len(own)
    if not paths:
        raise DataError(f"{at / split} must hold pictures <wnid>/*.JPEG, and has none.")
    rows = np.arange(len(paths))
    if count is not None:
        if not 1 <= count <= len(paths):
            raise ConfigError(
                f"`count` must be from 1 to the {len(paths):,} pictures there are. Got {count}."
            )
        rows = balanced_rows(np.array(labels), count, seed)
    images = np.empty((len(rows), size, size, 3), np.uint8)
    for image, row in zip(images, rows, strict=True):
        image[:] = _fitted(decode(read_bytes(paths[row]), str(paths[row])), size)
    return ImageSet(
        name="imagenet",
        images=channels_first(images),
        targets=torch.tensor(labels)[torch.from_numpy(rows)],
        classes=len(wnids),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def _fitted(pixels: np.ndarray, size: int) -> np.ndarray:
    """The middle of a picture `[H, W, 3]` whose shorter side is scaled to `size` pixels."""
    from PIL import Image, ImageOps

    picture = Image.fromarray(pixels)
    return np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR))


def load_imagenet16(folder: str | Path | None = None, part: str = "train") -> ImageSet:
    """Images `[N, 3, 16, 16]` of 120 classes: ImageNet16-120, or a small set of its kind.

    Looked for in this order: the official batches `train_data_batch_1` to `10` and `val_data`
    (Chrabaszcz et al., 2017), of which the first 120 classes are kept (151,700 training and 6,000
    validation images), in the folder or in `ImageNet16`; then `imagenet16-like-120.zip`, 120
    classes of Tiny-ImageNet, whose figures compare with nothing published.

    Args:
        folder: Where they lie; or the strip file itself.
        part: `"train"`, or `"test"` for the validation images.

    Raises:
        DataError: They are not there or damaged.
        ConfigError: There is no such part.
    """
    choose_part(part, {"train": "train", "test": "val"}, "imagenet16")
    if folder is not None and (path := Path(folder).expanduser()).is_file():
        return _like(path, part)
    given = images_folder(folder)
    for at in (given, given / "ImageNet16"):
        if (at / _BATCHES["test"][0]).is_file() or (at / _BATCHES["train"][0]).is_file():
            return _official(at, part)
    if (path := given / "imagenet16-like-120.zip").is_file():
        return _like(path, part)
    expected = ["ImageNet16/train_data_batch_1 to _10 and val_data", "imagenet16-like-120.zip"]
    raise missing_files("imagenet16", given, expected)


def _official(folder: Path, part: str) -> ImageSet:
    names = _BATCHES[part]
    if gone := [name for name in names if not (folder / name).is_file()]:
        raise missing_files(f"{', '.join(gone)} of imagenet16", folder, [", ".join(names)])
    pixels, labels = [], []
    for name in names:
        data, classes = read_batch(read_bytes(folder / name), f"{name} in {folder}", "labels")
        if classes.min(initial=1) < 1 or classes.max(initial=1) > 1000:
            raise DataError(
                f"Labels of {name} in {folder} must be from 1 to 1000. Got {classes.min()} to "
                f"{classes.max()}."
            )
        kept = classes <= IMAGENET16_CLASSES
        pixels.append(data[kept])
        labels.append(classes[kept] - 1)
    images = planar(np.concatenate(pixels), 16, str(folder))
    if not len(images):
        raise DataError(f"{folder} must hold images of the first 120 classes, and has none.")
    return ImageSet(
        name="imagenet16-120",
        images=channels_first(images),
        targets=torch.from_numpy(np.concatenate(labels)),
        classes=IMAGENET16_CLASSES,
        mean=IMAGENET16_MEAN,
        std=IMAGENET16_STD,
    )


def _like(path: Path, part: str) -> ImageSet:
    strips = read_strips(path, "train" if part == "train" else "val")
    found: dict[str, tuple[float, ...]] = {}
    for key in ("train_mean", "train_std"):
        values = strips.meta.get(key)
        if (
            not isinstance(values, list)
            or len(values) != 3
            or not all(isinstance(value, (int, float)) for value in values)
        ):
            raise DataError(f"meta.json in {path} must hold `{key}`, three numbers.")
        found[key] = tuple(value / 255 for value in values)
    return ImageSet(
        name=path.stem,
        images=channels_first(strips.images),
        targets=torch.from_numpy(strips.labels),
        classes=IMAGENET16_CLASSES,
        mean=found["train_mean"],
        std=found["train_std"],
    )

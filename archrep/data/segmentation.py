"""Street scenes with a class for each pixel: Cityscapes and CamVid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from archrep.data.base import IGNORED, ImageSet
from archrep.data.files import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Archive,
    channels_first,
    choose_part,
    decode,
    images_folder,
    missing_files,
    read_bytes,
    statistics,
)
from archrep.data.splits import balanced_rows
from archrep.errors import ConfigError, DataError

CITYSCAPES_CLASSES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""The 19 label ids that count (Cordts et al., 2016), in the order of the train ids 0 to 18."""

_LARGEST_ID = 33
CAMVID_CLASSES = 11
"""Classes of CamVid (Brostow et al., 2009) as Badrinarayanan et al. (2017) group them."""
_CAMVID_FILE = "camvid-mini.zip"


def load_cityscapes(
    folder: str | Path | None = None,
    part: str = "train",
    size: int | None = None,
    count: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """Images `[N, 3, H, W]` and train ids `[N, H, W]` of 19 classes, others `IGNORED`.

    The layout is the official one: `leftImg8bit/<split>/<city>/*_leftImg8bit.png` and
    `gtFine/<split>/<city>/*_gtFine_labelIds.png`. Mean and deviation are ImageNet's.

    Args:
        folder: Where they lie: the folder of `leftImg8bit`, or one with `cityscapes` in it.
        part: `"train"`, or `"test"` for `val`, since test images have no public masks.
        size: Resized to `size` x `size` as they are read: means of areas, masks the nearest.
        count: Images to read, chosen at random; by default all.
        seed: Chooses them.

    Raises:
        DataError: They are not there, lack a mask or are damaged.
        ConfigError: There is no such part, or there are fewer than `count`.
    """
    split = choose_part(part, {"train": "train", "test": "val"}, "cityscapes")
    given = images_folder(folder)
    places = [at for at in (given, given / "cityscapes") if (at / "leftImg8bit" / split).is_dir()]
    if not places:
        expected = f"leftImg8bit/{split}/<city>/ and gtFine/{split}/<city>/"
        raise missing_files("cityscapes", given, [expected, f"the same in {given / 'cityscapes'}"])
    ending = "_leftImg8bit.png"
    paths = sorted((places[0] / "leftImg8bit" / split).glob(f"*/*{ending}"))
    if not paths:
        raise missing_files("cityscapes", places[0], [f"leftImg8bit/{split}/<city>/*{ending}"])
    if count is not None:
        if not 1 <= count <= len(paths):
            raise ConfigError(
                f"`count` must be from 1 to the {len(paths):,} images there are. Got {count}."
            )
        rows = balanced_rows(np.zeros(len(paths), np.int64), count, seed)
        paths = [paths[row] for row in rows]
    pairs = []
    for path in paths:
        name = path.name.removesuffix(ending) + "_gtFine_labelIds.png"
        mask = places[0] / "gtFine" / split / path.parent.name / name
        if not mask.is_file():
            raise DataError(f"{path.name} must have its mask in {mask}, which is not there.")
        pixels = decode(read_bytes(path), str(path), size=size)
        ids = decode(read_bytes(mask), str(mask), "index", size)
        pairs.append((pixels, _train_ids(ids, str(mask)), path.name))
    images, masks = _stacked(pairs)
    return ImageSet(
        name="cityscapes",
        images=channels_first(images),
        targets=torch.from_numpy(masks),
        classes=len(CITYSCAPES_CLASSES),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        task="masks",
    )


def _train_ids(ids: np.ndarray, name: str) -> np.ndarray:
    """Train ids of label ids, `[H, W]` of uint8."""
    if ids.max() > _LARGEST_ID and (unknown := ids[(ids > _LARGEST_ID) & (ids != IGNORED)]).size:
        raise DataError(
            f"Label ids of {name} must be from 0 to {_LARGEST_ID}. Got {unknown.max()}; is it "
            "another kind of mask?"
        )
    table = np.full(256, IGNORED, np.uint8)  # license plates, -1, are stored as 255
    table[list(CITYSCAPES_CLASSES)] = np.arange(len(CITYSCAPES_CLASSES))
    return table[ids]


def load_camvid(
    folder: str | Path | None = None, part: str = "train", size: int | None = None
) -> ImageSet:
    """Images `[N, 3, 180, 240]` and classes of pixels `[N, 180, 240]`, 11, others `IGNORED`.

    Args:
        folder: Where `camvid-mini.zip` lies; or the file itself.
        part: `"train"` (74 images), `"valid"` (21) or `"test"` (24).
        size: Resized to `size` x `size` as they are read.

    Raises:
        DataError: It is not there, damaged, or an image lacks its mask.
        ConfigError: There is no such part.
    """
    split = choose_part(part, {"train": "train", "valid": "val", "test": "test"}, "camvid")
    if folder is not None and Path(folder).expanduser().is_file():
        path = Path(folder).expanduser()
    else:
        given = images_folder(folder)
        path = given / _CAMVID_FILE
        if not path.is_file():
            raise missing_files("camvid", given, [_CAMVID_FILE])
    with Archive(path) as archive:
        images, masks = _camvid(archive, split, size)
        training = images if split == "train" else _camvid(archive, "train", size)[0]
    mean, std = statistics(channels_first(training))
    return ImageSet(
        name=path.stem,
        images=channels_first(images),
        targets=torch.from_numpy(masks),
        classes=CAMVID_CLASSES,
        mean=mean,
        std=std,
        task="masks",
    )


def _camvid(archive: Archive, split: str, size: int | None) -> tuple[np.ndarray, np.ndarray]:
    names = [name for name in archive.names if name.startswith(f"images/{split}/")]
    names = [name for name in names if name.endswith(".jpg")]
    if not names:
        raise DataError(f"{archive.path} must hold images/{split}/*.jpg, and has none.")
    pairs = []
    for name in names:
        mask = f"labels/{split}/{Path(name).stem}.png"
        if mask not in archive.names:
            raise DataError(f"{archive.path} must hold {mask}, the mask of {name}.")
        pixels = decode(archive.read(name), f"{name} in {archive.path}", size=size)
        classes = decode(archive.read(mask), f"{mask} in {archive.path}", "index", size)
        if classes.max() > CAMVID_CLASSES:
            raise DataError(
                f"{mask} in {archive.path} must hold classes 0 to {CAMVID_CLASSES - 1}, or "
                f"{CAMVID_CLASSES} where there is none. Got {classes.max()}."
            )
        classes[classes == CAMVID_CLASSES] = IGNORED
        pairs.append((pixels, classes, name))
    return _stacked(pairs)


def _stacked(pairs: list[tuple[np.ndarray, np.ndarray, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Images `[N, H, W, 3]` and masks `[N, H, W]` of one size."""
    size = pairs[0][0].shape[:2]
    for pixels, mask, name in pairs:
        if pixels.shape[:2] != size or mask.shape != size:
            raise DataError(
                f"Images and masks must all have {size[0]} x {size[1]} pixels. {name} has "
                f"{pixels.shape[:2]}, its mask {mask.shape}. Pass `size`."
            )
    return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])

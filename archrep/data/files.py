"""Reading image files: zips of strips, folders, pictures; each failure is one clear line."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archrep.errors import ConfigError, DataError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet's training images, as torchvision's models and most others use them."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation likewise."""


def images_folder(folder: str | Path | None = None) -> Path:
    """Folder where image files lie.

    Args:
        folder: Taken where it is given; else `ARCHREP_IMAGES`, else `images` in `ARCHREP_DATA`.

    Raises:
        DataError: Nothing says where, or it is no folder.
    """
    if folder is not None:
        found = Path(folder).expanduser()
    elif named := os.environ.get("ARCHREP_IMAGES"):
        found = Path(named).expanduser()
    elif named := os.environ.get("ARCHREP_DATA"):
        found = Path(named).expanduser() / "images"
    else:
        raise DataError(
            "Expected a folder of image files, and none is named. Pass `folder`, or set "
            "ARCHREP_IMAGES to it."
        )
    if not found.is_dir():
        raise DataError(
            f"Expected a folder of image files. Got {found}, which is none. Pass `folder`, or set "
            "ARCHREP_IMAGES to it."
        )
    return found


def missing_files(title: str, folder: Path, expected: Iterable[str]) -> DataError:
    """The error for a data set that is not there; it says which files belong where."""
    return DataError(
        f"{title} is not in {folder}. Expected there: {', or '.join(expected)}. Put the files "
        "there, pass another `folder`, or set ARCHREP_IMAGES."
    )


def choose_part(part: str, names: dict[str, str], title: str) -> str:
    """What a data set calls a part.

    Raises:
        ConfigError: It has no such part.
    """
    if part not in names:
        raise ConfigError(f"`part` of {title} must be {' or '.join(names)}. Got {part!r}.")
    return names[part]


# Pictures ------------------------------------------------------------------------------------


def decode(data: bytes, name: str, mode: str = "RGB", size: int | None = None) -> np.ndarray:
    """Pixels of a picture of any format that Pillow reads.

    Args:
        data: The file.
        name: What errors call it.
        mode: `"RGB"`, `"L"`, or `"index"` for a mask, whose values stay as they are.
        size: Resized to `size` x `size`, each pixel the mean of its area (masks: the nearest).

    Returns:
        `[H, W, 3]`, or `[H, W]` for `"L"` and `"index"`, of uint8.

    Raises:
        DataError: It is damaged, or a mask of more than 8 bits.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            if mode == "index" and image.mode not in ("L", "P", "1"):
                raise DataError(
                    f"{name} must be a mask of one 8-bit channel. Got mode {image.mode}."
                )
            converted = image if mode == "index" else image.convert(mode)
            if size is not None:
                how = Image.Resampling.NEAREST if mode == "index" else Image.Resampling.BOX
                converted = converted.resize((size, size), how)
            return np.array(converted, dtype=np.uint8)
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is not a readable picture ({first_line(error)}).") from None


def read_bytes(path: Path) -> bytes:
    """Content of a file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def channels_first(images: np.ndarray) -> Tensor:
    """Images `[N, H, W, c]` as a tensor `[N, c, H, W]`."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of images `[N, c, H, W]`, uint8 counted 0 to 1.

    A channel that never varies gets a deviation of 1.
    """
    flat = images.transpose(0, 1).flatten(1)
    if images.dtype == torch.uint8:  # exact, and without a float copy of everything
        counts = torch.stack([torch.bincount(channel, minlength=256) for channel in flat]).double()
        levels = torch.arange(256, dtype=torch.float64, device=images.device) / 255
        share = counts / counts.sum(1, keepdim=True)
        mean = share @ levels
        std = (share * (levels - mean[:, None]).square()).sum(1).sqrt()
    else:
        mean, std = flat.double().mean(1), flat.double().std(1, correction=0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return tuple(mean.tolist()), tuple(std.tolist())


# Archives ------------------------------------------------------------------------------------

DAMAGED = (OSError, EOFError, ValueError, KeyError, zlib.error, tarfile.TarError)
"""What the readers of archives raise for damaged files."""


class Archive:
    """A zip file that is read member by member.

    Raises:
        DataError: It is not there, truncated, or not a zip file; so do its methods.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} is not a complete zip file ({first_line(error)}). Get it again."
            ) from None
        self.names: list[str] = sorted(self._zip.namelist())

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """One member."""
        try:
            return self._zip.read(name)
        except KeyError:
            raise DataError(f"{self.path} must hold {name}, and does not.") from None
        except (*DAMAGED, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise DataError(
                f"{self.path} is damaged at {name} ({first_line(error)}). Get it again."
            ) from None

    def array(self, name: str) -> np.ndarray:
        """One member that is a NumPy file of numbers."""
        try:
            return np.load(io.BytesIO(self.read(name)), allow_pickle=False)
        except (ValueError, EOFError, OSError, SyntaxError) as error:
            raise DataError(
                f"{name} in {self.path} is not a NumPy array ({first_line(error)})."
            ) from None

    def json(self, name: str) -> dict[str, Any]:
        """One member that is a JSON object."""
        try:
            found = json.loads(self.read(name))
        except ValueError as error:
            raise DataError(f"{name} in {self.path} is not JSON ({first_line(error)}).") from None
        if not isinstance(found, dict):
            raise DataError(f"{name} in {self.path} must be a JSON object.")
        return found


@dataclass(frozen=True)
class Strips:
    """Images of one part of a strip zip.

    Attributes:
        images: `[N, s, s, 3]` of uint8.
        labels: Classes `[N]` of int64.
        index: Where each stands in the original set, `[N]` of int64.
        meta: What the file says of itself.
    """

    images: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    meta: dict[str, Any]


def read_strips(path: Path, part: str, labels: str = "labels") -> Strips:
    """Images of a zip of strips: lossless pictures one image wide, images one below another.

    Members are `<part>-000.webp`, `-001`, ..., `<part>_labels.npy`, `<part>_index.npy` and
    `meta.json`.

    Args:
        path: The file.
        part: As the file calls it, such as `"train"`.
        labels: `"labels"`, or `"coarse"` for CIFAR-100's superclasses.

    Raises:
        DataError: It is damaged, or images and labels differ in number.
    """
    with Archive(path) as archive:
        names = [n for n in archive.names if n.startswith(f"{part}-") and n.endswith(".webp")]
        if not names:
            raise DataError(
                f"{path} must hold strips {part}-000.webp, and has none. "
                f"It begins with {', '.join(archive.names[:3]) or 'nothing'}."
            )
        pieces = []
        for name in names:
            strip = decode(archive.read(name), f"{name} in {path}")
            height, width = strip.shape[:2]
            if height % width:
                raise DataError(
                    f"{name} in {path} must be whole images of {width} x {width} pixels. "
                    f"Got {width} x {height}."
                )
            pieces.append(strip.reshape(-1, width, width, 3))
        if len({piece.shape[1:] for piece in pieces}) > 1:
            raise DataError(f"Strips of {path} must be equally wide.")
        images = np.concatenate(pieces)
        found = {key: archive.array(f"{part}_{key}.npy") for key in (labels, "index")}
        for key, array in found.items():
            if array.shape != (len(images),) or array.dtype.kind not in "iu":
                raise DataError(
                    f"{part}_{key}.npy in {path} must hold {len(images):,} whole numbers, one an "
                    f"image. Got {array.dtype} {array.shape}."
                )
        meta = archive.json("meta.json")
    return Strips(images, found[labels].astype(np.int64), found["index"].astype(np.int64), meta)


def read_npz(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of some arrays of an `.npz` file that it has.

    Raises:
        DataError: It is damaged.
    """
    try:
        # NumPy leaves a file open that it opened and could not read.
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {key: file[key] for key in keys if key in file}
    except (*DAMAGED, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable .npz file ({first_line(error)}).") from None


def read_tar(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Some files of a tar archive by their names in it; those that are not there are left out.

    Raises:
        DataError: It is damaged.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name in names and member.isfile():
                    content = archive.extractfile(member)
                    assert content is not None  # it is a file
                    found[name] = content.read()
    except DAMAGED as error:
        raise DataError(
            f"{path} is truncated or not a tar file ({first_line(error)}). Get it again."
        ) from None
    return found


def first_line(error: BaseException) -> str:
    """First line of an error's text, cut to a readable length."""
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__

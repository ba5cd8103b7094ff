"""Several findings that an image may have: CheXpert, and a synthetic set of the same kind."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from archrep.data.base import ImageSet
from archrep.data.files import (
    IMAGENET_MEAN,
    IMAGENET_STD,
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
from archrep.seeding import numpy_stream
from archrep.settings import check

CHEXPERT_FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Pleural Effusion",
)
"""The five findings that are evaluated (Irvin et al., 2019, section 4)."""

Uncertain = Literal["unknown", "zeros", "ones"]
"""What becomes of uncertain findings, -1: left out of the loss, absent, or present."""

_CHEXPERT_FOLDER = "CheXpert-v1.0-small"
_VALUES = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": 0.0}


def load_chexpert(
    folder: str | Path | None = None,
    part: str = "train",
    size: int | None = None,
    count: int | None = None,
    seed: int = 0,
    uncertain: Uncertain = "unknown",
) -> ImageSet:
    """Radiographs `[N, 3, size, size]`, grey repeated thrice, and five findings `[N, 5]`.

    A finding that the report does not mention, a blank, is absent, as in Irvin et al. (2019),
    section 3. The paper's three simplest treatments of uncertain ones are offered ("U-Ignore",
    "U-Zeros", "U-Ones"). Mean and deviation are ImageNet's.

    Args:
        folder: Where they lie: the folder of `train.csv` and `valid.csv`, or the one above it.
        part: `"train"`, or `"test"` for `valid`.
        size: Pixels a side, 224 by default; each the mean of its area.
        count: Images to read, chosen at random; by default all.
        seed: Chooses them.
        uncertain: What -1 becomes: NaN, 0 or 1.

    Raises:
        DataError: They are not there or damaged, or a value is none of 1, 0, -1 and blank.
        ConfigError: There is no such part or treatment, or there are fewer than `count`.
    """
    split = choose_part(part, {"train": "train", "test": "valid"}, "chexpert")
    if uncertain not in get_args(Uncertain):
        raise ConfigError(
            f"`uncertain` must be {', '.join(get_args(Uncertain))}. Got {uncertain!r}."
        )
    given = images_folder(folder)
    candidates = (given, given / _CHEXPERT_FOLDER, given / "chexpert" / _CHEXPERT_FOLDER)
    places = [at for at in candidates if (at / f"{split}.csv").is_file()]
    if not places:
        expected = [f"{split}.csv and {split}/", f"{_CHEXPERT_FOLDER}/ with both"]
        raise missing_files("chexpert", given, expected)
    at = places[0]
    paths, targets = _table(at / f"{split}.csv", uncertain)
    if count is not None:
        if not 1 <= count <= len(paths):
            raise ConfigError(
                f"`count` must be from 1 to the {len(paths):,} images there are. Got {count}."
            )
        rows = balanced_rows(np.zeros(len(paths), np.int64), count, seed)
        paths, targets = [paths[row] for row in rows], targets[rows]
    pictures = []
    for name in paths:
        # Paths of the table begin with the name of the folder, whatever it is called here.
        path = at / Path(*Path(name).parts[1:])
        if not path.is_file():
            raise DataError(f"{split}.csv names {name}, which is not in {path}.")
        grey = decode(read_bytes(path), str(path), "L", size or 224)
        pictures.append(np.repeat(grey[:, :, None], 3, axis=2))
    return ImageSet(
        name="chexpert",
        images=channels_first(np.stack(pictures)),
        targets=torch.from_numpy(targets),
        classes=len(CHEXPERT_FINDINGS),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        task="findings",
    )


def _table(path: Path, uncertain: Uncertain) -> tuple[list[str], np.ndarray]:
    """Paths and findings `[N, 5]` of a CheXpert table."""
    values = {**_VALUES, "-1.0": {"unknown": np.nan, "zeros": 0.0, "ones": 1.0}[uncertain]}
    values["-1"] = values["-1.0"]
    text = read_bytes(path).decode("utf-8-sig", errors="replace")
    reader = csv.DictReader(text.splitlines())
    columns = ["Path", *CHEXPERT_FINDINGS]
    if gone := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise DataError(f"{path} must have columns {', '.join(columns)}. It lacks {gone[0]}.")
    paths, rows = [], []
    try:
        for line, row in enumerate(reader, start=2):
            if strange := [n for n in CHEXPERT_FINDINGS if (row[n] or "").strip() not in values]:
                raise DataError(
                    f"{strange[0]} in line {line} of {path} must be 1, 0, -1 or blank. "
                    f"Got {row[strange[0]]!r}."
                )
            paths.append(row["Path"] or "")
            rows.append([values[(row[name] or "").strip()] for name in CHEXPERT_FINDINGS])
    except csv.Error as error:
        raise DataError(f"{path} is not a readable table ({error}).") from None
    if not rows:
        raise DataError(f"{path} must name at least one image, and is empty.")
    return paths, np.array(rows, np.float32)


def synthetic_findings(
    count: int = 2_000,
    size: int = 32,
    findings: int = 5,
    uncertain: float = 0.1,
    part: str = "train",
    seed: int = 0,
) -> ImageSet:
    """Noisy grey images `[N, 1, size, size]` in which each finding is a shape of its own.

    Stands in for radiographs, which may not be passed on. Finding l is a soft spot of its own
    place, width and elongation; it is present in 35 % of the images, somewhere near its place.

    Args:
        count: Images N.
        size: Pixels a side, at least 8.
        findings: Findings L, at least 1.
        uncertain: Share of the training findings that are NaN; none in other parts.
        part: `"train"` or `"test"`: other images with the same findings.
        seed: Fixes findings and images.

    Raises:
        ConfigError: A number is impossible.
    """
    choose_part(part, {"train": "train", "test": "test"}, "findings")
    checks = {
        f"`count` must be at least 1. Got {count}.": count >= 1,
        f"`size` must be at least 8. Got {size}.": size >= 8,
        f"`findings` must be at least 1. Got {findings}.": findings >= 1,
        f"`uncertain` must be from 0 to below 1. Got {uncertain}.": 0 <= uncertain < 1,
    }
    check(checks)
    kinds = numpy_stream(seed, "data/findings/kinds")
    place = kinds.uniform(0.25, 0.75, (findings, 2))
    width = kinds.uniform(0.05, 0.15, (findings, 2))

    def drawn(which: str) -> tuple[np.ndarray, np.ndarray]:
        stream = numpy_stream(seed, f"data/findings/{which}/{count}/{size}")
        present = stream.random((count, findings)) < 0.35
        centre = place + stream.normal(0, 0.06, (count, findings, 2))
        strength = stream.uniform(0.2, 0.5, (count, findings)) * present
        axis = (np.arange(size) + 0.5) / size
        # A spot is the product of a profile down and one across.
        away = (axis - centre[..., None]) / width[..., None]  # [N, L, 2, size]
        profile = np.exp(-0.5 * np.square(away))
        shapes = np.einsum("nl,nlh,nlw->nhw", strength, profile[:, :, 0], profile[:, :, 1])
        pixels = 0.3 + shapes + stream.normal(0, 0.1, (count, size, size))
        grey = np.rint(255 * pixels.clip(0, 1)).astype(np.uint8)
        targets = present.astype(np.float32)
        if which == "train":
            targets[stream.random(targets.shape) < uncertain] = np.nan
        return grey, targets

    grey, targets = drawn(part)
    training = grey if part == "train" else drawn("train")[0]
    mean, std = statistics(torch.from_numpy(training[:, None]))
    return ImageSet(
        name="findings",
        images=torch.from_numpy(grey[:, None]),
        targets=torch.from_numpy(targets),
        classes=findings,
        mean=mean,
        std=std,
        task="findings",
    )

"""Fractals of random iterated function systems: the images of "RLGD" (UnrealNAS, section 3).

After FractalDB (Kataoka et al., 2020, "Pre-training without natural images", sections 3.1 to 3.3)
and its published code. A category is a system of n ~ U{2...7} affine maps, six parameters each
from U(-1, 1):

    x' = a x + b y + e,    y' = c x + d y + f,    a map's probability ~ the size of a d - b c

The chaos game starts at (0, 0) and keeps every point. A system is accepted if 100,000 points,
drawn as single pixels on 512 x 512, fill at least a fifth of them. Of 4,000 random systems 81 did
when all played the whole game, 2.0 % with a standard error of 0.2 %, the same ones that
`accepted` finds sooner. Instances of a category multiply one parameter of every map by a weight.

    25 weight rows  -> identity, and each of 6 parameters times .2, .6, 1.4, 1.8
    4 flips         -> none, one axis, the other, both
    repeats         -> other stamps, other hue

Departures from the published code: all systems advance at once, by common random numbers (the
code restarts one generator for every image, which comes to the same); systems that diverge are
refused at once; an axis is always shifted by its minimum; a stamp is centred on its point; one
drawing is flipped, where the code may stamp anew; images are drawn at `drawing` pixels, with as
many points for the area as 200,000 at 362 pixels, and averaged down to `size`, since at 32 pixels
nearly every system would fill a fifth and stamps would leave nothing black. The colour of
UnrealNAS's images is not stated.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.nn import functional

from archrep.data.base import ImageSet
from archrep.data.files import choose_part, first_line, read_npz, statistics
from archrep.errors import ConfigError, DataError
from archrep.files import make_folder, write_atomically
from archrep.seeding import derive_seed, numpy_stream
from archrep.settings import check

Mode = Literal["patch_gray", "patch_color", "point_gray", "point_color"]
"""Points as random stamps of 3 x 3 or as single pixels; of one grey, or of a hue an image."""

MAPS = 7
"""Most maps of a system."""
SEARCH_SIZE, SEARCH_POINTS, FILL = 512, 100_000, 0.2
"""Pixels a side, points, and the least share of pixels with a point of an accepted system."""
WEIGHTS = (0.2, 0.6, 1.4, 1.8)
"""Factors of one parameter of an instance; the published file of steps of .4."""
WEIGHT_ROWS = 1 + 6 * len(WEIGHTS)
FLIPS = 4
GREY, HUES = 127, 128
"""Level of grey points, and hues of coloured ones around the circle."""
PADDING = 6
"""Pixels left free at each side, of the search at 512 and of the published drawing at 362."""
_STAGES = {2_000: 0.8, 10_000: 0.75, 25_000: 0.7}
_BATCH = 500
_LARGEST = 1e30


@dataclass(frozen=True, kw_only=True)
class FractalConfig:
    """One set of fractals; the default is 60,000 images."""

    categories: int = 100
    """Systems, each a class."""
    per_category: int = 600
    """Images of a category: 25 weight rows, 4 flips, and as many repeats as it takes."""
    size: int = 32
    """Pixels a side of an image."""
    mode: Mode = "patch_gray"
    """How points are drawn."""
    drawing: int = 128
    """Pixels a side when drawn, before averaging; published are 362."""
    seed: int = 0
    """Fixes everything."""

    def __post_init__(self) -> None:
        checks = {
            f"`categories` must be at least 2. Got {self.categories}.": self.categories >= 2,
            f"`per_category` must be at least 1. Got {self.per_category}.": self.per_category >= 1,
            f"`size` must be at least 4. Got {self.size}.": self.size >= 4,
            f"`mode` must be {', '.join(get_args(Mode))}. Got {self.mode!r}.": (
                self.mode in get_args(Mode)
            ),
            f"`drawing` must be from `size`, {self.size}, to 1024. Got {self.drawing}.": (
                self.size <= self.drawing <= 1024
            ),
        }
        check(checks)

    @property
    def points(self) -> int:
        """Points of a drawing: 200,000 at 362 x 362 pixels, in proportion to the area."""
        return round(200_000 * (self.drawing / 362) ** 2)


@dataclass(frozen=True, eq=False)
class Systems:
    """K iterated function systems.

    Attributes:
        maps: Parameters a, b, c, d, e, f of each map, `[K, 7, 6]`; zeros beyond a system's maps.
        cumulative: Probability of a map or one before it, `[K, 7]`, 1 beyond a system's maps.
    """

    maps: np.ndarray
    cumulative: np.ndarray

    def __len__(self) -> int:
        return len(self.maps)

    def take(self, rows: np.ndarray) -> Systems:
        """Some of the systems."""
        return Systems(self.maps[rows], self.cumulative[rows])

    def weighted(self) -> Systems:
        """All 25 weight rows of each system, `[25 K]`, those of one system together.

        Probabilities stay those of the unweighted system, as in the published code.
        """
        weights = np.ones((WEIGHT_ROWS, 6))
        for row in range(1, WEIGHT_ROWS):
            weights[row, (row - 1) // len(WEIGHTS)] = WEIGHTS[(row - 1) % len(WEIGHTS)]
        maps = self.maps[:, None] * weights[None, :, None]
        return Systems(maps.reshape(-1, MAPS, 6), np.repeat(self.cumulative, WEIGHT_ROWS, axis=0))


def random_systems(count: int, stream: np.random.Generator) -> Systems:
    """`count` systems as they are drawn, before any is refused."""
    numbers = stream.integers(2, MAPS + 1, count)
    maps = stream.uniform(-1, 1, (count, MAPS, 6))
    real = np.arange(MAPS) < numbers[:, None]
    maps[~real] = 0
    weights = np.abs(maps[..., 0] * maps[..., 3] - maps[..., 1] * maps[..., 2])
    cumulative = np.cumsum(weights, axis=1)
    cumulative /= cumulative[:, -1:]
    cumulative[np.arange(MAPS) >= numbers[:, None] - 1] = 1
    return Systems(maps, cumulative)


def chaos_game(systems: Systems, steps: int, uniforms: np.ndarray) -> np.ndarray:
    """Points of all systems at once, `[2, steps, K]` of float32, the start (0, 0) the first.

    Args:
        systems: K systems.
        steps: Points of each.
        uniforms: Numbers from 0 to below 1, `[steps]` or more, that choose the maps of all.
    """
    count = len(systems)
    points = np.zeros((2, steps, count), np.float32)
    # Factors of x, factors of y and shifts of both coordinates: [3, 2, K * 7].
    table = systems.maps.reshape(-1, 6).T[[0, 2, 1, 3, 4, 5]].reshape(3, 2, -1)
    offsets = np.arange(count) * MAPS
    borders = systems.cumulative.T.copy()  # [7, K]
    point, term = np.zeros((2, count)), np.empty((2, count))
    with np.errstate(over="ignore", invalid="ignore"):
        for begin in range(1, steps, 128):
            drawn = uniforms[begin : min(begin + 128, steps), None]
            chosen = np.broadcast_to(offsets, (len(drawn), count)).copy()
            for border in borders[:-1]:
                chosen += drawn >= border
            of_x, of_y, shift = np.take(table, chosen, axis=2)  # [2, 128, K] each
            for step in range(len(drawn)):
                np.multiply(of_y[:, step], point[1], out=term)
                point = of_x[:, step] * point[0]
                point += term
                point += shift[:, step]
                points[:, begin + step] = point
    return points


def pixel_indices(
    points: np.ndarray, size: int, padding: int, valid: np.ndarray | None = None
) -> np.ndarray:
    """Pixels that points fall into, each axis stretched to the picture without its padding.

    Args:
        points: `[2, T, K]`.
        size: Pixels a side.
        padding: Pixels left free at each side.
        valid: Points that count, `[T, K]`; by default all.

    Returns:
        Row times `size` plus column, `[T, K]` of int32; meaningless where not valid.
    """
    where = True if valid is None else valid
    found = []
    with np.errstate(over="ignore", invalid="ignore"):
        for axis in points:
            low = axis.min(0, initial=np.inf, where=where)
            high = axis.max(0, initial=-np.inf, where=where)
            extent = np.where(high > low, high - low, 1)
            scaled = axis - low
            scaled *= ((size - 2 * padding) / extent).astype(np.float32)
            scaled += padding
            if valid is not None:
                scaled[~valid] = 0
            found.append(scaled.astype(np.int32))
    return found[1] * size + found[0]


def fill_rates(points: np.ndarray, size: int = SEARCH_SIZE) -> np.ndarray:
    """Share of pixels with a point, `[K]`; 0 for systems that diverge."""
    rates = np.zeros(points.shape[2])
    largest = np.abs(points).max((0, 1))  # NaN if there is one
    finite = np.flatnonzero(largest < _LARGEST)
    found = pixel_indices(
        points if len(finite) == len(rates) else points[:, :, finite], size, PADDING
    )
    for system, own in zip(finite, np.ascontiguousarray(found.T), strict=True):
        filled = np.zeros(size * size, bool)
        filled[own] = True
        rates[system] = np.count_nonzero(filled) / filled.size
    return rates


def accepted(systems: Systems, uniforms: np.ndarray) -> np.ndarray:
    """Rows of the systems that fill at least a fifth of 512 x 512 pixels, ascending.

    Few systems play the whole game. Pixels are filled ever more slowly: who fills 52,429 with
    100,000 points has filled some .92 n with the first n = 10,000 and .85 n with 25,000. What has
    filled fewer than .75 n and .7 n by then is refused.

    Args:
        systems: K systems.
        uniforms: Random numbers, `[100,000]`.
    """
    rows = np.arange(len(systems))
    for steps, share in _STAGES.items():
        kept = [rows[:0]]
        for part in _parts(rows, 5_000_000 // steps):
            rates = fill_rates(chaos_game(systems.take(part), steps, uniforms))
            kept.append(part[rates * SEARCH_SIZE**2 >= share * steps])
        rows = np.concatenate(kept)
    kept = [rows[:0]]
    for part in _parts(rows, 200):
        rates = fill_rates(chaos_game(systems.take(part), SEARCH_POINTS, uniforms))
        kept.append(part[rates >= FILL])
    return np.concatenate(kept)


def _parts(rows: np.ndarray, most: int) -> list[np.ndarray]:
    return [rows[at : at + most] for at in range(0, len(rows), most)]


def search_categories(count: int, seed: int) -> tuple[Systems, float]:
    """The first accepted systems of a seed, and the share of random systems that were accepted.

    A larger `count` begins with the systems of a smaller one.

    Args:
        count: Systems K wanted.
        seed: Fixes the candidates and the game.

    Raises:
        ConfigError: `count` is below 1.
    """
    if count < 1:
        raise ConfigError(f"`count` must be at least 1. Got {count}.")
    stream = numpy_stream(seed, "data/fractals/systems")
    uniforms = numpy_stream(seed, "data/fractals/game").random(SEARCH_POINTS)
    found: list[Systems] = []
    tried = 0
    while sum(map(len, found)) < count:
        candidates = random_systems(_BATCH, stream)
        found.append(candidates.take(accepted(candidates, uniforms)))
        tried += _BATCH
    maps = np.concatenate([systems.maps for systems in found])
    cumulative = np.concatenate([systems.cumulative for systems in found])
    return Systems(maps[:count], cumulative[:count]), len(maps) / tried


def draw(systems: Systems, config: FractalConfig, first_repeat: int = 0) -> np.ndarray:
    """Images of each system, `[K, per_category, c, size, size]` of uint8, c 1 if grey, else 3.

    Image k of a system has weight row k mod 25, flip (k // 25) mod 4 and repeat k // 100, so that
    any number of them is spread over the weights. Repeats of single grey points are equal.

    Args:
        systems: K unweighted systems.
        config: Sizes, mode and seed.
        first_repeat: Repeat of the first image.
    """
    uniforms = numpy_stream(config.seed, "data/fractals/game").random(config.points)
    channels = 3 if config.mode.endswith("color") else 1
    shape = (len(systems), config.per_category, channels, config.size, config.size)
    images = np.empty(shape, np.uint8)
    at_once = max(1, 16_000_000 // (config.points * WEIGHT_ROWS))
    for part in _parts(np.arange(len(systems)), at_once):
        rows = systems.take(part).weighted()
        points = chaos_game(rows, config.points, uniforms)
        last = _last_points(points, config).reshape(len(part), WEIGHT_ROWS, -1)
        for category, own in zip(part, last, strict=True):
            images[category] = _images(own, config, int(category), first_repeat)
    return images


def _last_points(points: np.ndarray, config: FractalConfig) -> np.ndarray:
    """What each pixel shows, `[K, drawing^2]` of int32: -1, or 9 times a point plus a stamp's bit.

    The stamp of a later point covers those before it, and its holes erase. So a pixel shows the
    bit of the last point whose stamp reaches it.
    """
    side, count = config.drawing, points.shape[2]
    with np.errstate(invalid="ignore"):
        finite = (np.abs(points) < _LARGEST).all(0)  # [T, K]
    # Points after a system diverged go, and the 100 before, as in the published code.
    ends = np.where(finite.all(0), len(finite), finite.argmin(0) - 100)  # [K]
    valid = np.arange(len(finite))[:, None] < ends
    at = pixel_indices(points, side, max(1, round(PADDING / 362 * side)), valid)
    visited = np.full((count, side * side), -1, np.int32)
    order = np.arange(len(finite), dtype=np.int32)
    for own, pixels, end in zip(visited, np.ascontiguousarray(at.T), ends.clip(0), strict=True):
        own[pixels[:end]] = order[:end]  # the last of equal indices stays, as NumPy documents
    if config.mode.startswith("point"):
        return np.where(visited >= 0, 9 * visited, -1)
    framed = np.pad(
        visited.reshape(count, side, side), ((0, 0), (1, 1), (1, 1)), constant_values=-1
    )
    latest = np.full((count, side, side), -1, np.int32)
    for bit in range(9):
        row, column = divmod(bit, 3)
        seen = framed[:, row : row + side, column : column + side]
        # A point at (row - 1, column - 1) from a pixel shows it the opposite bit of its stamp.
        np.maximum(latest, np.where(seen >= 0, 9 * seen + (8 - bit), -1), out=latest)
    return latest.reshape(count, -1)


def _images(last: np.ndarray, config: FractalConfig, category: int, first: int) -> np.ndarray:
    """Images `[per_category, c, size, size]` of one category; `last` is `[25, drawing^2]`."""
    side, count = config.drawing, config.per_category
    stamped = config.mode.startswith("patch")
    channels = 3 if config.mode.endswith("color") else 1
    each = WEIGHT_ROWS * FLIPS
    images = np.empty((count, channels, config.size, config.size), np.uint8)
    shown, owner, bit = last >= 0, last // 9, (last % 9).astype(np.uint16)
    for repeat in range(-(-count // each)):
        number = first + repeat
        stream = np.random.Generator(
            np.random.SFC64(derive_seed(config.seed, f"data/fractals/draw/{category}/{number}"))
        )
        lit = shown
        if stamped:
            stamps = stream.integers(1, 512, config.points, dtype=np.uint16)
            lit = shown & ((stamps[owner] >> bit) & 1).astype(bool)
        share = torch.from_numpy(lit.reshape(WEIGHT_ROWS, 1, side, side).astype(np.float32))
        share = functional.interpolate(share, (config.size, config.size), mode="area")
        # Means of a picture of one colour are that colour times the share of lit pixels.
        if channels == 1:
            colours = np.full((WEIGHT_ROWS, 1), GREY, np.float32)
        else:
            colours = _hues(stream.integers(0, HUES, WEIGHT_ROWS))
        drawn = share.numpy() * colours[:, :, None, None]
        drawn = np.rint(drawn).astype(np.uint8)  # [25, c, size, size]
        flipped = np.concatenate(
            [drawn, drawn[..., ::-1, :], drawn[..., ::-1], drawn[..., ::-1, ::-1]]
        )
        own = images[repeat * each : (repeat + 1) * each]
        own[:] = flipped[: len(own)]
    return images


def _hues(steps: np.ndarray) -> np.ndarray:
    """Fully saturated colours `[n, 3]`, 0 to 255, of hues counted in 128ths of the circle."""
    angle = 6 * steps[:, None] / HUES
    return (255 * (np.abs((angle + [0, 4, 2]) % 6 - 3) - 1).clip(0, 1)).astype(np.float32)


def fractals(
    config: FractalConfig | None = None,
    *,
    part: str = "train",
    cache: str | Path | None = None,
) -> ImageSet:
    """Images of fractals `[N, 3, size, size]` of uint8, their categories as classes.

    The default takes about 30 seconds of one core, half of it the search for categories.

    Args:
        config: What is drawn; by default 100 categories of 600 images of 32 pixels.
        part: `"train"`, or `"test"`: repeats of the same categories that training lacks; of single
            points, which have no stamps, only hues differ.
        cache: An `.npz` file to keep them in; read if it is there.

    Raises:
        DataError: The file is damaged.
        ConfigError: It holds other fractals or is no `.npz` file, or there is no such part.
        RunError: The file cannot be written.
    """
    config = config or FractalConfig()
    choose_part(part, {"train": "train", "test": "test"}, "fractals")
    parameters = {"kind": "archrep fractals", "version": 1, "part": part, **asdict(config)}
    path = None if cache is None else Path(cache).expanduser()
    if path is not None and path.suffix != ".npz":
        raise ConfigError(f"`cache` must be an .npz file. Got {path}.")
    if path is not None and path.exists():
        found, images = _read_cache(path)
        if found != parameters:
            other = [k for k in parameters if found.get(k) != parameters[k]]
            told = ", ".join(f"{k}={found.get(k)!r} and not {parameters[k]!r}" for k in other)
            raise ConfigError(
                f"{path} holds other fractals: {told or 'unknown parameters'}. Name another file."
            )
        return _image_set(images, config)
    systems, _ = search_categories(config.categories, config.seed)
    # Repeats of a test image are those after all that training could have.
    first = 0 if part == "train" else 1 << 20
    drawn = draw(systems, config, first)
    images = drawn.reshape(-1, *drawn.shape[2:])
    if path is not None:
        make_folder(path.parent)
        text = np.frombuffer(json.dumps(parameters).encode(), np.uint8)
        write_atomically(path, lambda file: np.savez_compressed(file, fractals=images, made=text))
    return _image_set(images, config)


def load_fractals(path: str | Path) -> ImageSet:
    """Fractals that were kept in a file.

    Raises:
        DataError: It is damaged, or no file of fractals.
    """
    found, images = _read_cache(Path(path))
    names = {field.name for field in fields(FractalConfig)}
    try:
        config = FractalConfig(**{k: v for k, v in found.items() if k in names})
    except (TypeError, ConfigError) as error:
        raise DataError(f"{path} has impossible parameters ({first_line(error)}).") from None
    return _image_set(images, config)


def _read_cache(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    found = read_npz(path, ("fractals", "made"))
    try:
        images, parameters = found["fractals"], json.loads(found["made"].tobytes())
    except (KeyError, ValueError):
        raise DataError(f"{path} holds no fractals. Remove it, or name another file.") from None
    if not isinstance(parameters, dict) or images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(f"{path} holds no fractals. Remove it, or name another file.")
    return parameters, images


def _image_set(images: np.ndarray, config: FractalConfig) -> ImageSet:
    count = config.categories * config.per_category
    channels = 3 if config.mode.endswith("color") else 1
    if images.shape != (count, channels, config.size, config.size):
        raise DataError(
            f"Expected {count:,} fractals of {config.size} pixels. Got an array {images.shape}. "
            "Remove the file, or name another one."
        )
    pixels = torch.from_numpy(images)
    mean, std = statistics(pixels)
    if channels == 1:
        pixels, mean, std = pixels.repeat(1, 3, 1, 1), mean * 3, std * 3
    return ImageSet(
        name="fractals",
        images=pixels,
        targets=torch.arange(config.categories).repeat_interleave(config.per_category),
        classes=config.categories,
        mean=mean,
        std=std,
    )

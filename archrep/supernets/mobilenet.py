"""The MobileNet-like space of RLNAS: 21 inverted bottlenecks in a row, each skipped or one of six.

    stem 3 x 3 -> one fixed bottleneck -> 21 places -> 1 x 1 convolution -> features

The skeleton is that of ProxylessNAS (Cai et al., 2019), with the widths of RLNAS (Zhang et al.,
2021, "Neural Architecture Search with Random Labels", and its released code). A place chooses the
kernel k and the expansion e of a bottleneck (Sandler et al., 2018, "MobileNetV2"), or is left out.
S independent supernets, one a seed, train as one program, a single path of each at a time; those
that chose the same operation at a place share its grouped convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from archrep.errors import CellError, ConfigError, ShapeError
from archrep.objectives.base import Stage
from archrep.seeding import torch_stream
from archrep.supernets.base import (
    Affine,
    Candidate,
    Edge,
    Mixture,
    Supernet,
    apart,
    convolve,
    new_weight,
    pick,
    together,
)
from archrep.supernets.norms import BatchStatistics

BOTTLENECKS = ((3, 3), (3, 6), (5, 3), (5, 6), (7, 3), (7, 6))
"""Kernel and expansion of each operation but the last."""

OPERATIONS = (*(f"k{kernel}e{expansion}" for kernel, expansion in BOTTLENECKS), "identity")
IDENTITY = len(BOTTLENECKS)
"""Number of the identity, for which published code writes -1."""

GROUPS = ((32, 4, 2), (56, 4, 2), (112, 4, 2), (128, 4, 1), (256, 4, 2), (432, 1, 1))
"""Channels, places and stride of the first place, of each of six groups of places."""

PLACES = sum(count for _, count, _ in GROUPS)
STEM, FIXED, LAST = 40, 24, 1728
"""Channels of the stem, of the fixed bottleneck and of the last convolution."""


class Place(NamedTuple):
    """Where an operation is chosen.

    Attributes:
        inputs: Channels that enter.
        outputs: Channels that leave.
        stride: Of its bottleneck.
        first: Whether it is the first of its group: nothing passes it by, and it cannot be skipped.
    """

    inputs: int
    outputs: int
    stride: int
    first: bool


class Cost(NamedTuple):
    """What one network costs, or many: integers or arrays of one shape.

    Attributes:
        macs: Multiply-adds of convolutions and the classifier for one image.
        params: Weights, batch norms and classifier included.
    """

    macs: np.ndarray
    params: np.ndarray


class MobileNetSupernet(Supernet):
    """Every network of the space in one, S times; single paths only.

    Initial weights are normal with the variance `2 / (k^2 outputs)`, as the release of RLNAS has
    it. Its fixed and chosen bottlenecks have batch norms with weights of their own.

    Args:
        seeds: One a supernet; each has the initial weights that it would have alone.
        width: Factor of all channels, rounded to even numbers; 1 is published.
        image_channels: Channels c of what it sees.

    Attributes:
        stages: Channels and stride of each resolution, from the stem's on.
        places: Sizes of each place.

    Raises:
        ConfigError: A size is not positive, or there is no seed.
    """

    name = "mobilenet"
    space = "mobilenet"
    operations = OPERATIONS

    def __init__(
        self, seeds: Sequence[int], *, width: float = 1.0, image_channels: int = 3
    ) -> None:
        super().__init__()
        _check_sizes(width, image_channels)
        if not len(seeds):
            raise ConfigError("A supernet needs at least one seed. Got none.")
        self.seeds, count = list(seeds), len(seeds)
        self.edges: tuple[Edge, ...] = ()
        self.allowed = allowed_operations()
        self.width, self.places = width, places_of(width)
        stem, fixed, last = (_scaled(channels, width) for channels in (STEM, FIXED, LAST))
        self.stem = new_weight(count, stem, image_channels, 3)
        self.stem_norm = Affine(count, stem)
        self.fixed = Bottleneck(count, stem, fixed, kernel=3, expansion=1)
        self.blocks = nn.ModuleList(Choice(count, place) for place in self.places)
        self.last = new_weight(count, last, self.places[-1].outputs, 1)
        self.last_norm = Affine(count, last)
        self.stages, channels, stride = [], fixed, 2
        for place in self.places:
            if place.stride == 2:
                self.stages.append(Stage(channels, stride))
            channels, stride = place.outputs, stride * place.stride
        self.stages.append(Stage(last, stride))
        self._draw_weights()

    def forward(
        self,
        images: Tensor,
        path: np.ndarray | None = None,
        *,
        mixture: Mixture | None = None,
        norm: BatchStatistics | None = None,
        draws: Sequence[torch.Generator] | None = None,
    ) -> list[Tensor]:
        if mixture is not None:
            raise ShapeError(f"{self.name} has single paths only. Pass `path` and no `mixture`.")
        self._check(images, path, mixture)
        assert path is not None
        choices, count = self.check_path(path), len(self.seeds)
        norm = BatchStatistics() if norm is None else norm
        norm.begin()
        flat = images.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        features = functional.relu6(self.stem_norm(convolve(flat, self.stem, stride=2), norm))
        features = self.fixed(features, list(range(count)), norm)
        maps = []
        for place, block, ops in zip(self.places, self.blocks, choices.T, strict=True):
            if place.stride == 2:
                maps.append(features)
            features = block(features, ops, norm)
        maps.append(functional.relu6(self.last_norm(convolve(features, self.last), norm)))
        return [m.unflatten(1, (count, -1)) for m in maps]

    def check_path(self, path: np.ndarray) -> np.ndarray:
        """A path as `[S, 21]`.

        Raises:
            ShapeError: It is none, or skips the first place of a group.
        """
        choices, wanted = np.asarray(path), (len(self.seeds), PLACES)
        if choices.shape not in (wanted, wanted[1:]):
            raise ShapeError(
                f"A path is operations of {PLACES} places, [{PLACES}] or {list(wanted)}. "
                f"Got {choices.shape}."
            )
        return check_choices(np.broadcast_to(choices, wanted))

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """A path of one supernet `[21]`: one of the 6 or 7 operations of each place, uniformly."""
        return rng.integers(self.allowed.sum(1))  # the identity, which some lack, is the last

    def candidates(self) -> Iterator[Candidate]:
        for place, op, bottleneck in self._bottlenecks():
            for weights in bottleneck.parameters():
                yield Candidate(op, [place], weights, 1)

    def angle_candidates(self) -> Iterator[Candidate]:
        """Those of `candidates` that angles count.

        As in the release of RLNAS: convolutions and the first two batch norms of a bottleneck.
        """
        for place, op, bottleneck in self._bottlenecks():
            left_out = {id(weights) for weights in bottleneck.norms[-1].parameters()}
            for weights in bottleneck.parameters():
                if id(weights) not in left_out:
                    yield Candidate(op, [place], weights, 1)

    def angle_trunk(self) -> list[nn.Parameter]:
        """Those of `trunk_weights` that angles count: convolutions, as in the release of RLNAS."""
        return [self.stem, self.fixed.depthwise, self.fixed.project, self.last]

    def sampled(self, path: np.ndarray) -> list[np.ndarray]:
        choices = self.check_path(path)
        return [choices[:, c.places] == c.operation for c in self.candidates()]

    def live(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """There is one way through a chain, and nothing breaks it."""
        return np.ones(choices.shape, np.int64), np.ones(len(choices), bool)

    def constants(self) -> dict[str, np.ndarray]:
        identity = np.zeros(self.allowed.shape)
        identity[:, IDENTITY] = [place.outputs for place in self.places]
        return {"pool": np.zeros_like(identity), "identity": identity * self.allowed}

    def describe(self, choices: np.ndarray) -> str:
        """Numbers of the operations as RLNAS prints them; `parse` reads them."""
        return describe(choices)

    def skips(self, choices: np.ndarray) -> int:
        """Places that are left out."""
        return int((np.asarray(choices) == IDENTITY).sum())

    def cost(self, choices: np.ndarray, image_size: int = 224, classes: int = 1000) -> Cost:
        """What networks of this width cost, `[M]` each; see `cost`."""
        channels = self.stem.shape[-3]
        return cost(choices, image_size, classes, width=self.width, image_channels=channels)

    def imagenet_macs(self, choices: np.ndarray) -> np.ndarray:
        return cost(choices).macs  # of the published width, however narrow the supernet is

    def _bottlenecks(self) -> Iterator[tuple[int, int, Bottleneck]]:
        """Those that are chosen, with their place and operation."""
        for place, block in enumerate(self.blocks):
            assert isinstance(block, Choice)
            for op, bottleneck in enumerate(block.operations):
                assert isinstance(bottleneck, Bottleneck)
                yield place, op, bottleneck

    def _draw_weights(self) -> None:
        """By seed and name, normal with the variance two over kernel area times outputs."""
        with torch.no_grad():
            for name, weights in self.named_parameters():
                if "norm" in name:
                    continue
                outputs, kernel = weights.shape[-4], weights.shape[-1]
                spread = math.sqrt(2 / (kernel * kernel * outputs))
                for own, seed in zip(weights, self.seeds, strict=True):
                    drawn = torch.empty(own.shape)
                    drawn.normal_(0, spread, generator=torch_stream(seed, f"supernet/{name}"))
                    own.copy_(drawn)


class Choice(nn.Module):
    """A place of S supernets: six bottlenecks, one of them or none is used."""

    def __init__(self, count: int, place: Place) -> None:
        super().__init__()
        self.residual = not place.first
        self.operations = nn.ModuleList(
            Bottleneck(
                count,
                place.inputs,
                place.outputs,
                kernel=kernel,
                expansion=expansion,
                stride=place.stride,
            )
            for kernel, expansion in BOTTLENECKS
        )

    def forward(self, features: Tensor, ops: np.ndarray, norm: BatchStatistics) -> Tensor:
        """What leaves it, `[B, S O, H', W']`.

        Args:
            features: What enters, `[B, S I, H, W]`.
            ops: Operation of each supernet, `[S]`.
            norm: Statistics of batch norms.
        """
        maps = apart(features, len(ops))
        owners: list[int] = []
        parts = []  # [B, H', W', n, O] of the supernets that chose the same
        for op in np.unique(ops):
            own = np.flatnonzero(ops == op).tolist()
            part = pick(maps, own)
            if op != IDENTITY:
                found = apart(self.operations[op](together(part), own, norm), len(own))
                part = part + found if self.residual else found
            owners += own
            parts.append(part)
        if len(parts) == 1:
            return together(parts[0])
        return together(pick(torch.cat(parts, 3), np.argsort(owners).tolist()))


class Bottleneck(nn.Module):
    """Inverted bottleneck at one place of S supernets; all weights are `[S, 1, ...]`.

    Convolutions 1 x 1, k x k depthwise and 1 x 1, each with batch norm, the first two with ReLU6.
    The first is left out where it would not expand.
    """

    def __init__(
        self,
        count: int,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        expansion: int,
        stride: int = 1,
    ) -> None:
        super().__init__()
        inner, self.stride = inputs * expansion, stride
        self.expand = new_weight(count, inner, inputs, 1, 1) if expansion > 1 else None
        self.depthwise = new_weight(count, inner, 1, kernel, 1)
        self.project = new_weight(count, outputs, inner, 1, 1)
        widths = [inner, outputs] if expansion == 1 else [inner, inner, outputs]
        self.norms = nn.ModuleList(PlaceNorm(count, channels) for channels in widths)

    def forward(self, features: Tensor, owners: list[int], norm: BatchStatistics) -> Tensor:
        """`[B, n O, H', W']` of `[B, n I, H, W]`, of the supernets `owners`."""
        *inner_norms, last_norm = self.norms
        if self.expand is not None:
            features = convolve(features, _of(self.expand, owners))
            features = functional.relu6(inner_norms[0](features, owners, norm))
        filters = _of(self.depthwise, owners)
        features = convolve(features, filters, self.stride, depthwise=True)
        features = functional.relu6(inner_norms[-1](features, owners, norm))
        return last_norm(convolve(features, _of(self.project, owners)), owners, norm)


class PlaceNorm(nn.Module):
    """Batch norm with weights of its own at one place of S supernets."""

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(count, 1, channels))
        self.bias = nn.Parameter(torch.zeros(count, 1, channels))

    def forward(self, features: Tensor, owners: list[int], norm: BatchStatistics) -> Tensor:
        """Normalised maps `[B, n C, H, W]` of the supernets `owners`."""
        weight, bias = _of(self.weight, owners), _of(self.bias, owners)
        return norm(features, weight.flatten(), bias.flatten())


def allowed_operations() -> np.ndarray:
    """Which operations each place has, `[21, 7]` of bool: the first of a group is not skipped."""
    allowed = np.ones((PLACES, len(OPERATIONS)), bool)
    allowed[np.cumsum([0, *(count for _, count, _ in GROUPS[:-1])]), IDENTITY] = False
    return allowed


def places_of(width: float = 1.0) -> list[Place]:
    """Sizes of the 21 places, all channels times `width`."""
    places, inputs = [], _scaled(FIXED, width)
    for channels, count, stride in GROUPS:
        outputs = _scaled(channels, width)
        places.append(Place(inputs, outputs, stride, True))
        places += [Place(outputs, outputs, 1, False)] * (count - 1)
        inputs = outputs
    return places


def check_choices(choices: np.ndarray) -> np.ndarray:
    """Networks `[M, 21]` as they came.

    Raises:
        ShapeError: They are of another shape, or take an operation that a place does not have.
    """
    choices = np.asarray(choices)
    fits = choices.dtype.kind in "iu" and choices.ndim == 2 and choices.shape[1] == PLACES
    if not fits or (choices.size and not 0 <= choices.min() <= choices.max() <= IDENTITY):
        raise ShapeError(
            f"Networks are operations 0..{IDENTITY} of {PLACES} places, [M, {PLACES}]. "
            f"Got {choices.shape} of {choices.dtype}."
        )
    missing = ~allowed_operations()[np.arange(PLACES), choices]
    if missing.any():
        place = int(np.argwhere(missing)[0, 1])
        raise ShapeError(f"Place {place} begins a group and has no 'identity'.")
    return choices


def describe(choices: np.ndarray) -> str:
    """The published notation of a network `[21]`, in which the identity is -1.

    Raises:
        ShapeError: It is none.

    Example:
        >>> describe(parse("2 0 -1 2 2 0 2 4 0 4 4 2 4 2 4 2 0 0 0 2 2"))
        '2 0 -1 2 2 0 2 4 0 4 4 2 4 2 4 2 0 0 0 2 2'
    """
    row = check_choices(np.asarray(choices)[None])[0]
    return " ".join(str(-1 if op == IDENTITY else op) for op in row)


def parse(text: str) -> np.ndarray:
    """The network `[21]` that the published notation stands for.

    Args:
        text: Numbers of the operations, -1 for the identity, separated by spaces or commas.

    Raises:
        CellError: The text is none.
    """
    words = text.strip(" ()[]").replace(",", " ").split()
    known = {"-1": IDENTITY} | {str(op): op for op in range(IDENTITY)}
    if len(words) != PLACES or not set(words) <= set(known):
        raise CellError(
            f"A network is {PLACES} numbers from -1, the identity, to {IDENTITY - 1}. Got {text!r}."
        )
    try:
        return check_choices(np.array([[known[word] for word in words]]))[0]
    except ShapeError as error:
        raise CellError(f"{error} Got {text!r}.") from None


def cost(
    choices: np.ndarray,
    image_size: int = 224,
    classes: int = 1000,
    *,
    width: float = 1.0,
    image_channels: int = 3,
) -> Cost:
    """What networks with a linear classifier cost: multiply-adds and weights, exactly.

    Multiply-adds of convolutions and the classifier alone, the rule under which RLNAS prints 473 M
    for its own (471.5 M here) and limits networks to 475 M. They are sums over the places.

    Args:
        choices: Operation of each place, `[M, 21]`.
        image_size: Height and width of an image in pixels.
        classes: Of the classifier.
        width: Factor of all channels.
        image_channels: Channels of an image.

    Returns:
        `[M]` each, of int64.

    Raises:
        ShapeError: `choices` are none.
        ConfigError: A size is not positive.

    Example:
        >>> published = parse("2 0 -1 2 2 0 2 4 0 4 4 2 4 2 4 2 0 0 0 2 2")
        >>> macs, params = cost(published[None])
        >>> macs.tolist(), params.tolist()
        ([471521184], [5255648])
    """
    _check_sizes(width, image_size, classes, image_channels)
    fixed, of_places = _costs(image_size, classes, width, image_channels)
    of_choices = of_places[:, np.arange(PLACES), check_choices(choices)].sum(2)  # [2, M]
    return Cost(*(fixed[:, None] + of_choices))


@lru_cache
def _costs(
    image_size: int, classes: int, width: float, image_channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Multiply-adds and weights of what all networks have, `[2]`; and by place, `[2, 21, 7]`."""
    stem, fixed, last = (_scaled(channels, width) for channels in (STEM, FIXED, LAST))
    side, places = -(-image_size // 2), places_of(width)
    begin = _bottleneck_cost(Place(stem, fixed, 1, True), 3, 1, side)
    weights = 9 * image_channels * stem
    macs, params = weights * side**2 + begin[0], weights + 2 * stem + begin[1]
    of_places = np.zeros((2, PLACES, len(OPERATIONS)), np.int64)
    for p, place in enumerate(places):
        for op, (kernel, expansion) in enumerate(BOTTLENECKS):
            of_places[:, p, op] = _bottleneck_cost(place, kernel, expansion, side)
        side = -(-side // place.stride)
    weights = places[-1].outputs * last
    macs += weights * side**2 + last * classes
    params += weights + 2 * last + last * classes + classes
    return np.array([macs, params]), of_places


def _bottleneck_cost(place: Place, kernel: int, expansion: int, side: int) -> tuple[int, int]:
    """Multiply-adds and weights of a bottleneck that sees maps of `side` by `side` pixels."""
    inner, after = place.inputs * expansion, -(-side // place.stride)
    expand = place.inputs * inner if expansion > 1 else 0
    depthwise, project = kernel * kernel * inner, inner * place.outputs
    norms = 2 * ((2 if expansion > 1 else 1) * inner + place.outputs)
    macs = expand * side**2 + (depthwise + project) * after**2
    return macs, expand + depthwise + project + norms


def _check_sizes(width: float, *sizes: int) -> None:
    if not (math.isfinite(width) and width > 0) or min(sizes) < 1:
        raise ConfigError(
            "`width` must be positive, numbers of pixels, channels and classes at least 1. "
            f"Got {width} and {', '.join(map(str, sizes))}."
        )


def _scaled(channels: int, width: float) -> int:
    """Channels times a factor, an even number."""
    return max(2, 2 * round(channels * width / 2))


def _of(weights: Tensor, owners: list[int]) -> Tensor:
    """Weights `[n, ...]` of some supernets, of `[S, 1, ...]`."""
    if owners == list(range(len(weights))):
        return weights[:, 0]
    return weights[:, 0].index_select(0, torch.tensor(owners, device=weights.device))

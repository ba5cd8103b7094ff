"""The supernet of NAS-Bench-201 (Dong and Yang, 2020): 5 operations on each of 6 edges of a cell.

    stem -> N cells -> reduction -> N cells -> reduction -> N cells -> batch norm, ReLU -> features

One set of weights serves a single path (one operation an edge; Guo et al., 2020) and the softmax
mixture of all operations (Liu et al., 2019). S independent supernets, one a seed, train as one
program: feature maps hold them side by side, convolutions of all edges and supernets that leave
one node are one grouped convolution, and all candidates of a stage lie in two tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from archrep.cells.nasbench201 import OFFICIAL_EDGES, OPERATIONS
from archrep.errors import ConfigError, ShapeError
from archrep.objectives.base import Stage
from archrep.seeding import torch_stream
from archrep.supernets.norms import BatchStatistics
from archrep.tabulation.operations import AveragePool

NONE, SKIP, CONV_1, CONV_3, POOL = range(5)
"""Places of the operations in `OPERATIONS`, which is also the order of a path's choices."""

NODES, EDGES = 4, len(OFFICIAL_EDGES)
TARGET = [target for _, target in OFFICIAL_EDGES]
FROM = [[e for e, (source, _) in enumerate(OFFICIAL_EDGES) if source == n] for n in range(NODES)]
INTO = [[e for e, (_, target) in enumerate(OFFICIAL_EDGES) if target == n] for n in range(NODES)]
"""Edges that leave and enter each node."""


class NasBench201Supernet(nn.Module):
    """Every cell of NAS-Bench-201 in one network, S times.

    Args:
        seeds: One a supernet; each has the initial weights that it would have alone.
        channels: C of the stem and the first stage; each later stage has twice as many.
        cells: Cells N of a stage.
        stages: Resolutions.
        image_channels: Channels c of what it sees.

    Attributes:
        stages: Channels and stride of each resolution.

    Raises:
        ConfigError: A size is not positive, or there is no seed.
    """

    name = "nasbench201"
    space = "nasbench201"

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        channels: int = 16,
        cells: int = 5,
        stages: int = 3,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        if min(channels, cells, stages, image_channels) < 1 or not len(seeds):
            raise ConfigError(
                "`channels`, `cells`, `stages`, `image_channels` and the number of seeds must be "
                f"at least 1. Got {channels}, {cells}, {stages}, {image_channels}, {len(seeds)}."
            )
        self.seeds, count = list(seeds), len(seeds)
        widths = [channels << n for n in range(stages)]
        self.stages = [Stage(width, 1 << n) for n, width in enumerate(widths)]
        self.per_stage = cells
        self.stem = _weight(count, channels, image_channels, 3)
        self.stem_norm = Affine(count, channels)
        # [S, N, 6, C, C, k, k], one tensor a stage.
        self.conv_1 = nn.ParameterList(_weight(count, w, w, 1, cells, EDGES) for w in widths)
        self.conv_3 = nn.ParameterList(_weight(count, w, w, 3, cells, EDGES) for w in widths)
        self.reductions = nn.ModuleList(Reduction(count, *pair) for pair in pairwise(widths))
        self.last_norm = Affine(count, widths[-1])
        self._draw_weights()

    @property
    def cells(self) -> int:
        """Cells in all."""
        return self.per_stage * len(self.stages)

    def forward(
        self,
        images: Tensor,
        path: np.ndarray | None = None,
        *,
        mixture: Tensor | None = None,
        norm: BatchStatistics | None = None,
    ) -> list[Tensor]:
        """The last feature map of each stage, `[B, S, C_i, H_i, W_i]`, finest first.

        Args:
            images: What each supernet sees, `[B, S, c, H, W]`.
            path: Operation of each edge: the same everywhere `[6]`, of each cell `[cells, 6]`, or
                of each supernet as well `[S, cells, 6]`.
            mixture: In its place, the weight of every operation on every edge, `[S, 6, 5]`.
            norm: Where batch norms take their statistics from; by default the batch.

        Raises:
            ShapeError: Neither or both of `path` and `mixture`, or of another shape.
        """
        count = len(self.seeds)
        if (path is None) == (mixture is None):
            raise ShapeError("Pass either `path` or `mixture`. Got both, or neither.")
        choices = None if path is None else self.check_path(path)
        if mixture is not None and mixture.shape != (count, EDGES, len(OPERATIONS)):
            raise ShapeError(f"`mixture` must be [{count}, 6, 5]. Got {tuple(mixture.shape)}.")
        if images.ndim != 5 or images.shape[1] != count:
            raise ShapeError(f"`images` must be [B, {count}, c, H, W]. Got {tuple(images.shape)}.")
        norm = BatchStatistics() if norm is None else norm
        norm.begin()
        # Channels last in memory: convolutions, norms and pooling take half the time on a CPU.
        flat = images.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        features = convolve(flat, self.stem)
        features = self.stem_norm(features, norm)
        maps = []
        for stage in range(len(self.stages)):
            if stage:
                features = self.reductions[stage - 1](features, norm)
            ones, threes = self.conv_1[stage].unbind(1), self.conv_3[stage].unbind(1)
            for n in range(self.per_stage):
                if choices is not None:
                    ops = choices[:, stage * self.per_stage + n]
                    features = _path_cell(features, ones[n], threes[n], ops, norm)
                else:
                    assert mixture is not None
                    features = _mixed_cell(features, ones[n], threes[n], mixture, norm)
            maps.append(features)
        maps[-1] = self.last_norm(maps[-1], norm).relu()
        return [m.unflatten(1, (count, -1)) for m in maps]

    def check_path(self, path: np.ndarray) -> np.ndarray:
        """A path as `[S, cells, 6]`.

        Raises:
            ShapeError: It is none.
        """
        choices, wanted = np.asarray(path), (len(self.seeds), self.cells, EDGES)
        fits = choices.dtype.kind in "iu" and choices.shape == wanted[3 - choices.ndim :]
        if not fits or choices.min() < 0 or choices.max() >= len(OPERATIONS):
            raise ShapeError(
                f"A path is operations 0..4 of 6 edges, [6], [{wanted[1]}, 6] or "
                f"[{wanted[0]}, {wanted[1]}, 6]. Got {choices.shape} of {choices.dtype}."
            )
        return np.broadcast_to(choices, wanted)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """A path of one supernet `[cells, 6]`: uniform, but no node has `none` on all edges.

        Each cell is drawn by itself; RLNAS (Zhang et al., 2021), released code.
        """
        path = rng.integers(len(OPERATIONS), size=(self.cells, EDGES))
        for into in INTO[1:]:
            while len(bad := np.flatnonzero((path[:, into] == NONE).all(1))):
                drawn = rng.integers(len(OPERATIONS), size=(len(bad), len(into)))
                path[bad[:, None], into] = drawn
        return path

    def candidate_weights(self) -> Iterator[tuple[int, nn.Parameter]]:
        """Operation and weights `[S, N, 6, C, C, k, k]`, stage by stage."""
        for ones, threes in zip(self.conv_1, self.conv_3, strict=True):
            yield CONV_1, ones
            yield CONV_3, threes

    def trunk_weights(self) -> list[nn.Parameter]:
        """What every path has, `[S, ...]` each: stem, reductions and all norms with weights."""
        own = {id(weights) for _, weights in self.candidate_weights()}
        return [weights for weights in self.parameters() if id(weights) not in own]

    def _draw_weights(self) -> None:
        """Uniform within one over the root of the fan-in, as in torch; by seed and name."""
        with torch.no_grad():
            for name, weights in self.named_parameters():
                if "norm" in name:
                    continue
                bound = 1 / math.sqrt(math.prod(weights.shape[-3:]))
                for own, seed in zip(weights, self.seeds, strict=True):
                    drawn = torch.empty(own.shape)
                    drawn.uniform_(-bound, bound, generator=torch_stream(seed, f"supernet/{name}"))
                    own.copy_(drawn)


class Affine(nn.Module):
    """Batch norm with weights of its own, of S networks."""

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(count, channels))
        self.bias = nn.Parameter(torch.zeros(count, channels))

    def forward(self, features: Tensor, norm: BatchStatistics) -> Tensor:
        return norm(features, self.weight.flatten(), self.bias.flatten())


class Reduction(nn.Module):
    """Residual block that halves resolution: two convolutions; average pooling as shortcut."""

    def __init__(self, count: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.first = _weight(count, outputs, channels, 3)
        self.first_norm = Affine(count, outputs)
        self.second = _weight(count, outputs, outputs, 3)
        self.second_norm = Affine(count, outputs)
        self.shortcut = _weight(count, outputs, channels, 1)

    def forward(self, images: Tensor, norm: BatchStatistics) -> Tensor:
        inner = convolve(images.relu(), self.first, stride=2)
        inner = self.first_norm(inner, norm).relu()
        inner = self.second_norm(convolve(inner, self.second), norm)
        # Rounds up, as the strided convolution does; the same for the even sizes of the benchmark.
        pooled = functional.avg_pool2d(images, 2, ceil_mode=True)
        return inner + convolve(pooled, self.shortcut)


def convolve(features: Tensor, weights: Tensor, stride: int = 1) -> Tensor:
    """M convolutions side by side, `[B, M I, H, W]` with `[M, O, I, k, k]` to `[B, M O, H, W]`."""
    padding = weights.shape[-1] // 2
    return functional.conv2d(
        features, weights.flatten(0, 1), stride=stride, padding=padding, groups=len(weights)
    )


def _path_cell(
    source: Tensor, ones: Tensor, threes: Tensor, ops: np.ndarray, norm: BatchStatistics
) -> Tensor:
    """Output of a cell with one operation an edge, `[B, S C, H, W]`.

    Args:
        source: Its input, likewise.
        ones: Weights of the 1 x 1 convolutions, `[S, 6, C, C, 1, 1]`.
        threes: Of the 3 x 3 convolutions.
        ops: Operation of each edge, `[S, 6]`.
        norm: Statistics of batch norms.
    """
    count = len(ops)
    values = [_apart(source, count), *(None for _ in range(NODES - 1))]
    for node in range(NODES - 1):
        value = values[node]
        if value is None:
            continue
        rectified: Tensor | None = None
        for op, weights in ((CONV_1, ones), (CONV_3, threes)):
            pairs = [(s, e) for e in FROM[node] for s in range(count) if ops[s, e] == op]
            if not pairs:
                continue
            rectified = value.relu() if rectified is None else rectified
            owners = [s for s, _ in pairs]
            chosen = weights.flatten(0, 1)[[s * EDGES + e for s, e in pairs]]
            found = norm(convolve(_together(_pick(rectified, owners)), chosen))
            terms = _apart(found, len(pairs))
            for edge in FROM[node]:
                places = [at for at, (_, e) in enumerate(pairs) if e == edge]
                _add(values, edge, terms, places, [owners[at] for at in places])
        pooled: Tensor | None = None
        for edge in FROM[node]:
            own = [s for s in range(count) if ops[s, edge] == SKIP]
            _add(values, edge, value, own, own)
            own = [s for s in range(count) if ops[s, edge] == POOL]
            if own:
                pooled = _apart(_pool(_together(value)), count) if pooled is None else pooled
                _add(values, edge, pooled, own, own)
    output = values[-1]
    return torch.zeros_like(source) if output is None else _together(output)


def _mixed_cell(
    source: Tensor, ones: Tensor, threes: Tensor, mixture: Tensor, norm: BatchStatistics
) -> Tensor:
    """Output of a cell whose edges are weighted sums of all operations, `[B, S C, H, W]`.

    The convolutions that leave a node are one; their weights in the mixture are the scales of its
    batch norm. For the arguments see `_path_cell`; `mixture` is `[S, 6, 5]`.
    """
    count = len(mixture)
    channels = source.shape[1] // count
    values: list[Tensor] = [_apart(source, count)]
    sums: dict[int, Tensor] = {}
    for node in range(NODES - 1):
        value = values[node]
        edges = FROM[node]
        inputs = _together(value)
        rectified, pooled = inputs.relu(), _apart(_pool(inputs), count)
        terms = None
        for op, weights in ((CONV_1, ones), (CONV_3, threes)):
            scale = mixture[:, edges, op].repeat_interleave(channels, 1).flatten()
            found = convolve(rectified, weights[:, edges].flatten(1, 2))  # [B, S E C, H, W]
            found = norm(found, scale, torch.zeros_like(scale))
            terms = found if terms is None else terms + found
        assert terms is not None
        by_edge = _apart(terms, count).unflatten(4, (len(edges), channels)).unbind(4)
        for edge, term in zip(edges, by_edge, strict=True):
            skip, pool = mixture[:, edge, SKIP, None], mixture[:, edge, POOL, None]
            term = term + skip * value + pool * pooled
            target = TARGET[edge]
            sums[target] = sums[target] + term if target in sums else term
        values.append(sums[node + 1])
    return _together(values[-1])


def _apart(features: Tensor, count: int) -> Tensor:
    """Feature maps `[B, n C, H, W]` as `[B, H, W, n, C]`; they lie so in memory."""
    return features.permute(0, 2, 3, 1).unflatten(3, (count, -1))


def _together(features: Tensor) -> Tensor:
    """`[B, H, W, n, C]` as `[B, n C, H, W]`, channels last in memory."""
    return features.flatten(3).permute(0, 3, 1, 2)


def _pick(features: Tensor, places: list[int]) -> Tensor:
    """Some of n maps, `[B, H, W, m, C]`."""
    if places == list(range(features.shape[3])):
        return features
    return features.index_select(3, torch.tensor(places, device=features.device))


def _add(
    values: list[Tensor | None], edge: int, terms: Tensor, places: list[int], owners: list[int]
) -> None:
    """Add to the value of an edge's target, `[B, H, W, S, C]`, what some supernets send there.

    Args:
        values: Of the nodes so far.
        edge: The edge.
        terms: `[B, H, W, n, C]`.
        places: Those of the n that belong to this edge.
        owners: Supernet of each.
    """
    if not places:
        return
    source = values[0]
    assert source is not None
    target, term = TARGET[edge], _pick(terms, places)
    before = values[target]
    if owners == list(range(source.shape[3])):
        values[target] = term if before is None else before + term
        return
    before = torch.zeros_like(source) if before is None else before
    values[target] = before.index_add(3, torch.tensor(owners, device=source.device), term)


_pool = AveragePool()


def _weight(count: int, outputs: int, inputs: int, kernel: int, *more: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(count, *more, outputs, inputs, kernel, kernel))

"""The supernet of NAS-Bench-201 (Dong and Yang, 2020): 5 operations on each of 6 edges of a cell.

    stem -> N cells -> reduction -> N cells -> reduction -> N cells -> batch norm, ReLU -> features

One set of weights serves a single path (one operation an edge; Guo et al., 2020) and the softmax
mixture of all operations (Liu et al., 2019). S independent supernets, one a seed, train as one
program: feature maps hold them side by side, convolutions of all edges and supernets that leave
one node are one grouped convolution, and all candidates of a stage lie in two tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from archrep.cells.nasbench201 import OFFICIAL_EDGES, OPERATIONS
from archrep.cells.registry import get_space
from archrep.errors import ConfigError, ShapeError
from archrep.objectives.base import Stage
from archrep.supernets.base import (
    Affine,
    Candidate,
    Edge,
    Mixture,
    Supernet,
    apart,
    convolve,
    new_weight,
    together,
)
from archrep.supernets.norms import BatchStatistics
from archrep.tabulation.operations import AveragePool

NONE, SKIP, CONV_1, CONV_3, POOL = range(5)
"""Places of the operations in `OPERATIONS`, which is also the order of a path's choices."""

NODES, EDGES = 4, len(OFFICIAL_EDGES)
TARGET = [target for _, target in OFFICIAL_EDGES]
FROM = [[e for e, (source, _) in enumerate(OFFICIAL_EDGES) if source == n] for n in range(NODES)]
INTO = [[e for e, (_, target) in enumerate(OFFICIAL_EDGES) if target == n] for n in range(NODES)]
"""Edges that leave and enter each node."""

PATHS = ((3,), (1, 5), (0, 4), (0, 2, 5))
"""Edges of the four ways from the input of a cell to its output."""


class NasBench201Supernet(Supernet):
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
    operations = OPERATIONS

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
        self.edges = tuple(Edge("cell", *edge) for edge in OFFICIAL_EDGES)
        self.allowed = np.ones((EDGES, len(OPERATIONS)), bool)
        widths = [channels << n for n in range(stages)]
        self.stages = [Stage(width, 1 << n) for n, width in enumerate(widths)]
        self.per_stage = cells
        self.stem = new_weight(count, channels, image_channels, 3)
        self.stem_norm = Affine(count, channels)
        # [S, N, 6, C, C, k, k], one tensor a stage.
        self.conv_1 = nn.ParameterList(new_weight(count, w, w, 1, cells, EDGES) for w in widths)
        self.conv_3 = nn.ParameterList(new_weight(count, w, w, 3, cells, EDGES) for w in widths)
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
        mixture: Mixture | None = None,
        norm: BatchStatistics | None = None,
        draws: Sequence[torch.Generator] | None = None,
    ) -> list[Tensor]:
        self._check(images, path, mixture)
        count = len(self.seeds)
        choices = None if path is None else self.check_path(path)
        weights = None if mixture is None else _weights(mixture)
        dropout = 0.0 if mixture is None else mixture.dropout
        if dropout and draws is None:
            raise ShapeError("Dropout needs `draws`, a generator for each supernet.")
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
                    assert weights is not None
                    drop = None if draws is None else Dropout(dropout, draws)
                    features = _mixed_cell(features, ones[n], threes[n], weights, norm, drop)
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

    def candidates(self) -> Iterator[Candidate]:
        for ones, threes in zip(self.conv_1, self.conv_3, strict=True):
            yield Candidate(CONV_1, range(EDGES), ones, 2)
            yield Candidate(CONV_3, range(EDGES), threes, 2)

    def sampled(self, path: np.ndarray) -> list[np.ndarray]:
        stages = np.split(self.check_path(path), len(self.stages), axis=1)  # [S, N, 6] each
        return [choices == op for choices in stages for op in (CONV_1, CONV_3)]

    def live(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return live_edges(choices)

    def constants(self) -> dict[str, np.ndarray]:
        pool, identity = np.zeros((2, EDGES, len(OPERATIONS)))
        for stage in self.stages:
            pool[:, POOL] += self.per_stage * stage.channels / 9  # C x 3 x 3 times 1/9
            identity[:, SKIP] += self.per_stage * stage.channels
        return {"pool": pool, "identity": identity}

    def derive(self, probabilities: np.ndarray, *, with_none: bool = False) -> np.ndarray:
        """The strongest operation of each edge; Dong and Yang (2020) let `none` win."""
        strengths = np.array(probabilities, np.float64)
        if not with_none:
            strengths[:, NONE] = -1.0
        return np.asarray(strengths.argmax(1))

    def describe(self, choices: np.ndarray) -> str:
        space = get_space(self.space)
        rows = space.rows_of_decisions(np.asarray(choices)[None])  # type: ignore[attr-defined]
        return space.format(space.enumerate()[int(rows[0])])


class Reduction(nn.Module):
    """Residual block that halves resolution: two convolutions; average pooling as shortcut."""

    def __init__(self, count: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.first = new_weight(count, outputs, channels, 3)
        self.first_norm = Affine(count, outputs)
        self.second = new_weight(count, outputs, outputs, 3)
        self.second_norm = Affine(count, outputs)
        self.shortcut = new_weight(count, outputs, channels, 1)

    def forward(self, images: Tensor, norm: BatchStatistics) -> Tensor:
        inner = convolve(images.relu(), self.first, stride=2)
        inner = self.first_norm(inner, norm).relu()
        inner = self.second_norm(convolve(inner, self.second), norm)
        # Rounds up, as the strided convolution does; the same for the even sizes of the benchmark.
        pooled = functional.avg_pool2d(images, 2, ceil_mode=True)
        return inner + convolve(pooled, self.shortcut)


def live_edges(choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Live paths through each edge of cells `[M, 6]`, `[M, 6]`; and whether there is any, `[M]`.

    A path is dead if one of its edges is `none`.
    """
    counts = np.zeros(choices.shape, np.int64)
    for path in PATHS:
        lives = (choices[:, path] != NONE).all(1)
        counts[:, path] += lives[:, None]
    return counts, np.asarray(counts.sum(1) > 0)


class Dropout(NamedTuple):
    """Drops elements of skip connections.

    Attributes:
        probability: Of dropping one.
        draws: A generator of each supernet.
    """

    probability: float
    draws: Sequence[torch.Generator]

    def __call__(self, value: Tensor) -> Tensor:
        """A value `[B, H, W, S, C]`, elements of it dropped, the others scaled up."""
        if not self.probability:
            return value
        keep = torch.empty_like(value)
        for s, draws in enumerate(self.draws):
            drawn = torch.rand(value[:, :, :, s].shape, generator=draws, device=draws.device)
            keep[:, :, :, s] = (drawn >= self.probability).to(keep) / (1 - self.probability)
        return value * keep


def _weights(mixture: Mixture) -> Tensor:
    """Weight of every operation on every edge, `[S, 6, 5]`, with all that a mixture says."""
    weights = mixture.weights
    if mixture.active is not None:
        weights = weights * torch.from_numpy(mixture.active).to(weights)
    if mixture.edges is not None:
        weights = weights * mixture.edges[:, :, None]
    if mixture.auxiliary:
        skip = torch.zeros(len(OPERATIONS), device=weights.device, dtype=weights.dtype)
        skip[SKIP] = mixture.auxiliary
        weights = weights + skip
    return weights


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
    values: list[list[Tensor | None]] = [[None] * len(ops) for _ in range(NODES)]
    values[0] = list(apart(source, len(ops)).unbind(3))  # of each node and supernet, [B, H, W, C]

    def send(pairs: list[tuple[int, int]], terms: Sequence[Tensor]) -> None:
        for (s, edge), term in zip(pairs, terms, strict=True):
            before = values[TARGET[edge]][s]
            values[TARGET[edge]][s] = term if before is None else before + term

    for node in range(NODES - 1):
        value = values[node]
        live = [(s, e) for e in FROM[node] for s in range(len(ops)) if value[s] is not None]
        for op in (SKIP, POOL, CONV_1, CONV_3):
            pairs = [pair for pair in live if ops[pair] == op]
            terms = [term for s, _ in pairs if (term := value[s]) is not None]
            if not pairs or op == SKIP:
                send(pairs, terms)
                continue
            inputs = _beside(terms)
            if op == POOL:
                found = _pool(together(inputs))
            else:
                weights = ones if op == CONV_1 else threes
                chosen = weights.flatten(0, 1)[[s * EDGES + e for s, e in pairs]]
                found = norm(convolve(together(inputs.relu()), chosen))
            send(pairs, apart(found, len(pairs)).unbind(3))
    nothing = torch.zeros_like(apart(source, len(ops))[:, :, :, 0])
    return together(_beside([nothing if found is None else found for found in values[-1]]))


def _mixed_cell(
    source: Tensor,
    ones: Tensor,
    threes: Tensor,
    mixture: Tensor,
    norm: BatchStatistics,
    drop: Dropout | None,
) -> Tensor:
    """Output of a cell whose edges are weighted sums of all operations, `[B, S C, H, W]`.

    The convolutions that leave a node are one; their weights in the mixture are the scales of its
    batch norm. Skips and pooling are one product with a matrix, their weights times the identity:
    faster than products with broadcast weights, forward and backward. For the arguments see
    `_path_cell`; `mixture` is `[S, 6, 5]`.
    """
    count = len(mixture)
    channels = source.shape[1] // count
    identity = torch.eye(channels, device=source.device, dtype=source.dtype)
    values: list[Tensor] = [apart(source, count)]
    sums: dict[int, Tensor] = {}
    for node in range(NODES - 1):
        value = values[node]
        edges = FROM[node]
        inputs = together(value)
        skip, pool = mixture[:, edges, SKIP], mixture[:, edges, POOL, None]
        if drop is None or not drop.probability:
            passed, shares = [value], skip[:, :, None]
        else:
            passed, shares = [drop(value) for _ in edges], skip.diag_embed()
        shares = torch.cat([shares, pool], 2)  # of what passes and of the pooled value, [S, E, n]
        parts = torch.cat([*passed, apart(_pool(inputs), count)], 4)
        matrix = shares.transpose(1, 2)[:, :, None, :, None] * identity[:, None]  # [S, n, C, E, C]
        matrix = matrix.flatten(3).flatten(1, 2)
        pixels = parts.flatten(0, 2).transpose(0, 1)  # [S, B H W, n C]
        terms = together((pixels @ matrix).transpose(0, 1).unflatten(0, parts.shape[:3]))
        rectified = inputs.relu()
        for op, weights in ((CONV_1, ones), (CONV_3, threes)):
            scale = mixture[:, edges, op].repeat_interleave(channels, 1).flatten()
            found = convolve(rectified, weights[:, edges].flatten(1, 2))
            terms = terms + norm(found, scale, torch.zeros_like(scale))
        by_edge = apart(terms, count).unflatten(4, (len(edges), channels)).unbind(4)
        for edge, term in zip(edges, by_edge, strict=True):
            target = TARGET[edge]
            sums[target] = sums[target] + term if target in sums else term
        values.append(sums[node + 1])
    return together(values[-1])


def _beside(values: Sequence[Tensor]) -> Tensor:
    """Values `[B, H, W, C]` side by side, `[B, H, W, n, C]`; of one nothing is copied."""
    return values[0].unsqueeze(3) if len(values) == 1 else torch.stack(list(values), 3)


_pool = AveragePool()
_pool.LARGEST_MATRIX = 64  # at 16 x 16 pixels the matrix takes twice as long as torch's loops

"""Supernets in the plain way: one module an operation, loops over edges, one seed, float32.

Question: what do the supernets of `archrep.supernets` compute, and how fast is that written as
          released search code has it? These are the oracle of tests and the slow side of timings.
Command:  python benchmarks/plain_supernets.py       (weights and multiply-adds beside known ones)
Time:     half a minute; nothing is trained.

Batch norms take their statistics from the batch and keep none of their own, whatever the mode. All
maps that a network returns come finest first, the last one of each resolution.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from archrep.cells.nasbench201 import OFFICIAL_EDGES
from archrep.cells.nasbench201 import OPERATIONS as NASBENCH201_OPERATIONS
from archrep.errors import ConfigError, ShapeError

DARTS_OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "noise",
)
"""Columns of a mixture and numbers in a path; the ninth belongs to S4 alone."""

DARTS_EDGES = tuple((source, node) for node in range(2, 6) for source in range(node))
"""Edges (source, target) of a cell, node-major; 0 and 1 are the outputs of the two cells before."""

_SHORT = {
    "none": "none",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "skip": "skip_connect",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
    "noise": "noise",
}
_S1_NORMAL = (
    "skip|dil3 skip|dil5 skip|dil5 skip|sep3 skip|dil3 max|skip skip|sep3 "
    "skip|sep3 skip|dil3 skip|sep3 max|skip skip|dil3 dil3|dil5 dil3|dil5"
)
_S1_REDUCE = (
    "max|avg max|dil3 max|avg max|avg skip|dil5 max|avg max|sep3 "
    "skip|dil3 skip|dil5 max|avg max|avg skip|dil5 skip|dil5 skip|dil5"
)
_EVERYWHERE = {
    "s0": "none|max|avg|skip|sep3|sep5|dil3|dil5",
    "s2": "skip|sep3",
    "s3": "none|skip|sep3",
    "s4": "noise|sep3",
}

MOBILE_CHOICES = tuple((kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6))
"""Kernel and expansion of operations 0..5; -1 is the identity."""

MOBILE_STAGES = ((32, 4, 2), (56, 4, 2), (112, 4, 2), (128, 4, 1), (256, 4, 2), (432, 1, 1))
"""Channels, blocks and stride of the first block; that of the others is 1."""

MOBILE_FIRST = (0, 4, 8, 12, 16, 20)
"""First blocks of the stages, which cannot be the identity."""

Noise = Iterable[Tensor] | torch.Generator | None
"""Where the noise of S4 comes from: tensors in order of use, a generator, or torch's own.

Order of use: cell by cell, in it edge by edge, edges without noise left out.
"""


def darts_choices(space: str) -> list[tuple[str, ...]]:
    """Candidate operations of each of the 28 edges, in the order of `DARTS_OPERATIONS`.

    Liu et al. (2019) for "s0"; Zela et al. (2020) for "s1" to "s4".

    Args:
        space: Its name. Edges 0..13 are of normal cells, 14..27 of reduction cells.

    Raises:
        ConfigError: No such space.
    """
    if space == "s1":
        texts = f"{_S1_NORMAL} {_S1_REDUCE}".split()
    elif space in _EVERYWHERE:
        texts = [_EVERYWHERE[space]] * 28
    else:
        raise ConfigError(f"`space` is one of s0, s1, s2, s3, s4. Got {space!r}.")
    named = [{_SHORT[short] for short in text.split("|")} for text in texts]
    return [tuple(op for op in DARTS_OPERATIONS if op in names) for names in named]


# Operations --------------------------------------------------------------------------------------


def batch_norm(channels: int, affine: bool = True) -> nn.BatchNorm2d:
    """Batch norm with the statistics of the batch, always."""
    return nn.BatchNorm2d(channels, affine=affine, track_running_stats=False)


def relu_conv_norm(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, affine: bool
) -> nn.Sequential:
    """ReLU, convolution, batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, batch_norm(outputs, affine))


def separable(
    channels: int, kernel: int, *, stride: int, dilation: int = 1, affine: bool
) -> nn.Sequential:
    """ReLU, depthwise and 1 x 1 convolution, batch norm."""
    padding = dilation * (kernel // 2)
    depthwise = nn.Conv2d(
        channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
    )
    pointwise = nn.Conv2d(channels, channels, 1, bias=False)
    return nn.Sequential(nn.ReLU(), depthwise, pointwise, batch_norm(channels, affine))


class Zero(nn.Module):
    """Zeros of the strided shape."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        return features[:, :, :: self.stride, :: self.stride].mul(0.0)


class NoiseOperation(nn.Module):
    """A tensor of the strided shape that has nothing to do with the input."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, features: Tensor, source: NoiseSource) -> Tensor:
        return source.like(features[:, :, :: self.stride, :: self.stride])


class NoiseSource:
    """Draws what `NoiseOperation` returns, or takes it from where it was put."""

    def __init__(self, source: Noise) -> None:
        listed = source is not None and not isinstance(source, torch.Generator)
        self.generator = source if isinstance(source, torch.Generator) else None
        self.tensors: Iterator[Tensor] | None = iter(source) if listed else None  # type: ignore[arg-type]

    def like(self, wanted: Tensor) -> Tensor:
        """The next tensor.

        Raises:
            ShapeError: It does not have the shape of `wanted`, or there is none.
        """
        if self.tensors is None:
            return torch.randn(
                wanted.shape, generator=self.generator, dtype=wanted.dtype, device=wanted.device
            )
        found = next(self.tensors, None)
        if found is None or found.shape != wanted.shape:
            shape = None if found is None else tuple(found.shape)
            raise ShapeError(f"The next noise must be {tuple(wanted.shape)}. Got {shape}.")
        return found


class FactorizedReduce(nn.Module):
    """Half the resolution without losing pixels: two 1 x 1 convolutions, one a pixel further."""

    def __init__(self, inputs: int, outputs: int, *, affine: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
        self.second = nn.Conv2d(inputs, outputs - outputs // 2, 1, 2, bias=False)
        self.norm = batch_norm(outputs, affine)

    def forward(self, features: Tensor) -> Tensor:
        features = features.relu()
        height, width = features.shape[-2:]
        shifted = features
        if height % 2 or width % 2:  # else both have the same number of pixels
            shifted = functional.pad(features, (0, width % 2, 0, height % 2))
        both = [self.first(features), self.second(shifted[:, :, 1:, 1:])]
        return self.norm(torch.cat(both, 1))


def darts_operation(name: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """The candidate of that name."""
    kernel = int(name[-1]) if name[-1].isdigit() else 0
    if name == "none":
        return Zero(stride)
    if name == "noise":
        return NoiseOperation(stride)
    if name == "skip_connect":
        if stride == 1:
            return nn.Identity()
        return FactorizedReduce(channels, channels, affine=affine)
    if name == "max_pool_3x3":
        return nn.Sequential(nn.MaxPool2d(3, stride, 1), batch_norm(channels, affine))
    if name == "avg_pool_3x3":
        pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, batch_norm(channels, affine))
    if name.startswith("dil"):
        return separable(channels, kernel, stride=stride, dilation=2, affine=affine)
    return nn.Sequential(
        separable(channels, kernel, stride=stride, affine=affine),
        separable(channels, kernel, stride=1, affine=affine),
    )


# NAS-Bench-201 -----------------------------------------------------------------------------------


class PlainNasBench201Cell(nn.Module):
    """Cell of NAS-Bench-201; `edges[e][op]` is the operation with number `op` on edge e."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            nn.ModuleList(
                [
                    Zero(1),
                    nn.Identity(),
                    relu_conv_norm(channels, channels, 1, affine=False),
                    relu_conv_norm(channels, channels, 3, affine=False),
                    nn.AvgPool2d(3, 1, 1, count_include_pad=False),
                ]
            )
            for _ in OFFICIAL_EDGES
        )

    def forward(
        self, features: Tensor, on_edge: Callable[[int, nn.Module, Tensor], Tensor]
    ) -> Tensor:
        """`on_edge(e, operations, source)` is what edge e sends."""
        nodes = [features]
        for node in (1, 2, 3):
            terms = [
                on_edge(e, self.edges[e], nodes[source])
                for e, (source, target) in enumerate(OFFICIAL_EDGES)
                if target == node
            ]
            nodes.append(sum(terms[1:], start=terms[0]))
        return nodes[-1]


class ResidualReduction(nn.Module):
    """Two convolutions that halve the resolution; average pooling as shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = relu_conv_norm(inputs, outputs, 3, stride=2, affine=True)
        self.second = relu_conv_norm(outputs, outputs, 3, affine=True)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.second(self.first(features)) + self.shortcut(self.pool(features))


class PlainNasBench201(nn.Module):
    """Supernet of NAS-Bench-201 (Dong and Yang, 2020).

    Args:
        channels: Of the first of three stages; each later one has twice as many.
        cells: Cells of a stage.
        image_channels: Of the images.
        seed: Of the initial weights.

    Attributes:
        stem: Convolution and batch norm.
        cells: `3 * cells` cells, `cells[k].edges[e][op]`; convolutions are `[...][1]`.
        reductions: Before the second and the third stage.
        last_norm: Before the last ReLU.
        widths: Channels of the returned maps.
        allowed: Which operations each edge may have, `[6, 5]`.
    """

    def __init__(
        self, channels: int = 16, cells: int = 5, image_channels: int = 3, *, seed: int = 0
    ) -> None:
        super().__init__()
        self.per_stage = cells
        self.widths = [channels, 2 * channels, 4 * channels]
        self.allowed = np.ones((len(OFFICIAL_EDGES), len(NASBENCH201_OPERATIONS)), bool)
        with _seeded(seed):
            conv = nn.Conv2d(image_channels, channels, 3, padding=1, bias=False)
            self.stem = nn.Sequential(conv, batch_norm(channels))
            self.cells = nn.ModuleList(
                PlainNasBench201Cell(width) for width in self.widths for _ in range(cells)
            )
            self.reductions = nn.ModuleList(
                ResidualReduction(*pair) for pair in itertools.pairwise(self.widths)
            )
            self.last_norm = batch_norm(self.widths[-1])

    def forward_mixed(self, images: Tensor, mixture: Tensor) -> list[Tensor]:
        """The last map of each stage, `[B, C_i, H_i, W_i]`, all operations of an edge summed.

        Args:
            images: `[B, c, H, W]`.
            mixture: Weight of each operation on each edge of every cell, `[6, 5]`.
        """
        _check_shape("mixture", mixture, (6, 5))

        def on_edge(edge: int, operations: nn.Module, source: Tensor) -> Tensor:
            assert isinstance(operations, nn.ModuleList)
            weighted = zip(mixture[edge], operations, strict=True)
            terms = [weight * operation(source) for weight, operation in weighted]
            return sum(terms[1:], start=terms[0])

        return self._forward(images, lambda cell: on_edge)

    def forward_path(self, images: Tensor, path: np.ndarray) -> list[Tensor]:
        """The last map of each stage, one operation on each edge.

        Args:
            images: `[B, c, H, W]`.
            path: Operation of each edge of each cell, `[3 * cells, 6]`.
        """
        _check_shape("path", path, (len(self.cells), 6))

        def of_cell(cell: int) -> Callable[[int, nn.Module, Tensor], Tensor]:
            def on_edge(edge: int, operations: nn.Module, source: Tensor) -> Tensor:
                assert isinstance(operations, nn.ModuleList)
                return operations[int(path[cell, edge])](source)

            return on_edge

        return self._forward(images, of_cell)

    def _forward(
        self, images: Tensor, of_cell: Callable[[int], Callable[[int, nn.Module, Tensor], Tensor]]
    ) -> list[Tensor]:
        features, maps = self.stem(images), []
        for stage in range(len(self.widths)):
            if stage:
                features = self.reductions[stage - 1](features)
            for cell in range(stage * self.per_stage, (stage + 1) * self.per_stage):
                features = self.cells[cell](features, of_cell(cell))
            maps.append(features)
        maps[-1] = self.last_norm(maps[-1]).relu()
        return maps

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """A path: uniform, cell by cell, but no node has `none` on all its edges."""
        path = np.zeros((len(self.cells), 6), int)
        into = [[0], [1, 2], [3, 4, 5]]
        for row, edges in itertools.product(path, into):
            while not row[edges].any():
                row[edges] = rng.integers(len(NASBENCH201_OPERATIONS), size=len(edges))
        return path


# DARTS -------------------------------------------------------------------------------------------


class PlainEdge(nn.Module):
    """All candidates of one edge; `operations` maps names to modules, in the order of numbers.

    Args:
        names: The candidates.
        channels: Of input and output.
        stride: 2 halves the resolution.
        affine: Batch norms have weights.
        partial: K; candidates see the first 1 / K of the channels (Xu et al., 2020).
        auxiliary: A skip beside the mixture (Chu et al., 2021), of the channels candidates see.
    """

    def __init__(
        self,
        names: Sequence[str],
        channels: int,
        *,
        stride: int,
        affine: bool,
        partial: int,
        auxiliary: bool,
    ) -> None:
        super().__init__()
        self.partial, self.seen = partial, channels // partial
        self.operations = nn.ModuleDict(
            {name: darts_operation(name, self.seen, stride, affine) for name in names}
        )
        self.auxiliary = (
            darts_operation("skip_connect", self.seen, stride, affine) if auxiliary else None
        )
        self.bypass = nn.MaxPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()

    def mixed(
        self,
        features: Tensor,
        weights: Tensor,
        auxiliary_weight: float | Tensor,
        noise: NoiseSource,
    ) -> Tensor:
        """Weighted sum of all candidates; `weights` has one entry for each of the 9 operations."""
        seen = features[:, : self.seen]
        terms = [
            weights[DARTS_OPERATIONS.index(name)] * self._one(name, seen, noise)
            for name in self.operations
        ]
        if self.auxiliary is not None:
            terms.append(auxiliary_weight * self.auxiliary(seen))
        return self._complete(features, sum(terms[1:], start=terms[0]))

    def single(self, features: Tensor, operation: int, noise: NoiseSource) -> Tensor | None:
        """Output of one candidate; None, if it is `none`: the edge is not there."""
        name = DARTS_OPERATIONS[operation]
        if name == "none":
            return None
        return self._complete(features, self._one(name, features[:, : self.seen], noise))

    def _one(self, name: str, seen: Tensor, noise: NoiseSource) -> Tensor:
        operation = self.operations[name]
        return operation(seen, noise) if name == "noise" else operation(seen)

    def _complete(self, features: Tensor, found: Tensor) -> Tensor:
        """With the channels that no candidate saw, shuffled in K groups."""
        if self.partial == 1:
            return found
        whole = torch.cat([found, self.bypass(features[:, self.seen :])], 1)
        grouped = whole.unflatten(1, (self.partial, -1))
        return grouped.transpose(1, 2).flatten(1, 2)


class PlainDartsCell(nn.Module):
    """Cell of 4 nodes and 14 edges.

    Args:
        before: Channels of the outputs of the two cells before.
        channels: Of a node; the output has four times as many.
        choices: Candidates of each edge.
        reduces: Halves the resolution.
        after_reduction: So did the cell before, so that the first input is twice as large.
        affine: Batch norms have weights.
        partial: See `PlainEdge`.
        auxiliary: See `PlainEdge`.
    """

    def __init__(
        self,
        before: tuple[int, int],
        channels: int,
        choices: Sequence[Sequence[str]],
        *,
        reduces: bool,
        after_reduction: bool,
        affine: bool,
        partial: int,
        auxiliary: bool,
    ) -> None:
        super().__init__()
        self.reduces = reduces
        self.first: nn.Module
        if after_reduction:
            self.first = FactorizedReduce(before[0], channels, affine=affine)
        else:
            self.first = relu_conv_norm(before[0], channels, 1, affine=affine)
        self.second = relu_conv_norm(before[1], channels, 1, affine=affine)
        self.edges = nn.ModuleList(
            PlainEdge(
                names,
                channels,
                stride=2 if reduces and source < 2 else 1,
                affine=affine,
                partial=partial,
                auxiliary=auxiliary,
            )
            for (source, _), names in zip(DARTS_EDGES, choices, strict=True)
        )

    def forward(
        self,
        older: Tensor,
        newer: Tensor,
        on_edge: Callable[[int, PlainEdge, Tensor], Tensor | None],
    ) -> Tensor:
        """`on_edge(e, edge, source)` is what edge e sends; None is nothing."""
        nodes = [self.first(older), self.second(newer)]
        like = nodes[1][:, :, ::2, ::2] if self.reduces else nodes[1]
        for node in range(2, 6):
            total: Tensor | None = None
            for e, (source, target) in enumerate(DARTS_EDGES):
                if target != node:
                    continue
                edge = self.edges[e]
                assert isinstance(edge, PlainEdge)
                term = on_edge(e, edge, nodes[source])
                if term is not None:
                    total = term if total is None else total + term
            nodes.append(torch.zeros_like(like) if total is None else total)
        return torch.cat(nodes[2:], 1)


class PlainDarts(nn.Module):
    """Supernet of the DARTS space S0 (Liu et al., 2019) or of S1 to S4 (Zela et al., 2020).

    Args:
        space: "s0", "s1", "s2", "s3" or "s4".
        channels: Of a node before the first reduction.
        cells: Number L; those at L // 3 and 2 L // 3 are reductions.
        image_channels: Of the images.
        stem: That for small images, or "imagenet", which divides the resolution by 8.
        affine: Batch norms inside cells have weights; those of stems always have.
        partial: K of PC-DARTS (Xu et al., 2020): candidates see 1 / K of the channels.
        auxiliary: A skip beside each mixture (DARTS-minus, Chu et al., 2021).
        seed: Of the initial weights.

    Attributes:
        stems: One or two modules.
        cells: `cells[k].first`, `.second` (what makes inputs equally wide) and
            `.edges[e].operations[name]`, `.edges[e].auxiliary`.
        reductions: Places of the reduction cells.
        widths: Channels of the returned maps.
        allowed: Which operations each edge may have, `[28, 9]`; rows 0..13 of normal cells.

    Raises:
        ConfigError: Unknown space or stem, fewer than 3 cells, or K does not divide the channels.
    """

    def __init__(
        self,
        space: str = "s0",
        channels: int = 16,
        cells: int = 8,
        image_channels: int = 3,
        stem: Literal["cifar", "imagenet"] = "cifar",
        affine: bool = False,
        partial: int = 1,
        *,
        auxiliary: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if stem not in ("cifar", "imagenet") or cells < 3 or channels % partial:
            raise ConfigError(
                "`stem` is 'cifar' or 'imagenet', `cells` at least 3, `channels` a multiple of "
                f"`partial`. Got {stem!r}, {cells}, {channels}, {partial}."
            )
        choices = darts_choices(space)
        self.allowed = np.array([[op in names for op in DARTS_OPERATIONS] for names in choices])
        self.reductions = (cells // 3, 2 * cells // 3)
        self.widths = [4 * channels, 8 * channels, 16 * channels]
        with _seeded(seed):
            stems = _imagenet_stems if stem == "imagenet" else _cifar_stems
            self.stems, wide = stems(image_channels, channels)
            self.cells = nn.ModuleList()
            before, after_reduction = (wide, wide), stem == "imagenet"
            for place in range(cells):
                reduces = place in self.reductions
                channels *= 2 if reduces else 1
                self.cells.append(
                    PlainDartsCell(
                        before,
                        channels,
                        choices[14:] if reduces else choices[:14],
                        reduces=reduces,
                        after_reduction=after_reduction,
                        affine=affine,
                        partial=partial,
                        auxiliary=auxiliary,
                    )
                )
                before, after_reduction = (before[1], 4 * channels), reduces
        self.auxiliary = auxiliary

    def forward_mixed(
        self,
        images: Tensor,
        mixture: Tensor,
        edge_weights: Tensor | None = None,
        *,
        auxiliary_weight: float | Tensor = 0.0,
        noise: Noise = None,
    ) -> list[Tensor]:
        """The last map of each resolution, all candidates of an edge summed.

        Args:
            images: `[B, c, H, W]`.
            mixture: Weight of each operation on each edge, `[28, 9]`; rows 0..13 of normal cells.
                Entries of operations that the space does not have there are not used.
            edge_weights: Factor of each edge's output, `[28]`, bypassed channels included.
            auxiliary_weight: Factor of the auxiliary skips.
            noise: See `Noise`; S4 alone needs it.
        """
        _check_shape("mixture", mixture, (28, len(DARTS_OPERATIONS)))
        if edge_weights is not None:
            _check_shape("edge_weights", edge_weights, (28,))
        if not self.auxiliary and not isinstance(auxiliary_weight, Tensor) and auxiliary_weight:
            raise ConfigError("`auxiliary_weight` needs a network made with `auxiliary=True`.")
        source = NoiseSource(noise)

        def on_edge(row: int, edge: PlainEdge, features: Tensor) -> Tensor:
            found = edge.mixed(features, mixture[row], auxiliary_weight, source)
            return found if edge_weights is None else edge_weights[row] * found

        return self._forward(images, on_edge)

    def forward_path(
        self, images: Tensor, path: np.ndarray, *, noise: Noise = None
    ) -> list[Tensor]:
        """The last map of each resolution, one operation on each edge.

        The same as a mixture of ones and zeros, with 0 for the weight of an edge without operation.

        Args:
            images: `[B, c, H, W]`.
            path: Operation of each edge, `[28]`; 0, which every space has here, sends nothing,
                not even channels that bypass the operations.
            noise: See `Noise`; S4 alone needs it.
        """
        _check_shape("path", path, (28,))
        source = NoiseSource(noise)

        def on_edge(row: int, edge: PlainEdge, features: Tensor) -> Tensor | None:
            return edge.single(features, int(path[row]), source)

        return self._forward(images, on_edge)

    def _forward(
        self, images: Tensor, on_edge: Callable[[int, PlainEdge, Tensor], Tensor | None]
    ) -> list[Tensor]:
        """`on_edge` is called with the row of an edge, 0..27."""

        def on_reduction(e: int, edge: PlainEdge, features: Tensor) -> Tensor | None:
            return on_edge(14 + e, edge, features)

        older = self.stems[0](images)
        newer = self.stems[1](older) if len(self.stems) > 1 else older
        maps = []
        for place, cell in enumerate(self.cells):
            if place in self.reductions:
                maps.append(newer)
            here = on_reduction if place in self.reductions else on_edge
            older, newer = newer, cell(older, newer, here)
        return [*maps, newer]

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """A path `[28]`: two edges into each node, on each one of the operations but none."""
        path = np.zeros(28, int)
        for half, node in itertools.product((0, 14), range(2, 6)):
            into = [half + e for e, (_, target) in enumerate(DARTS_EDGES) if target == node]
            for row in rng.choice(into, 2, replace=False):
                path[row] = rng.choice(np.flatnonzero(self.allowed[row, 1:]) + 1)
        return path


def _cifar_stems(image_channels: int, channels: int) -> tuple[nn.ModuleList, int]:
    conv = nn.Conv2d(image_channels, 3 * channels, 3, padding=1, bias=False)
    return nn.ModuleList([nn.Sequential(conv, batch_norm(3 * channels))]), 3 * channels


def _imagenet_stems(image_channels: int, channels: int) -> tuple[nn.ModuleList, int]:
    half = channels // 2
    first = nn.Sequential(
        nn.Conv2d(image_channels, half, 3, 2, 1, bias=False),
        batch_norm(half),
        nn.ReLU(),
        nn.Conv2d(half, channels, 3, 2, 1, bias=False),
        batch_norm(channels),
    )
    second = relu_conv_norm(channels, channels, 3, stride=2, affine=True)
    return nn.ModuleList([first, second]), channels


# MobileNet ---------------------------------------------------------------------------------------


class InvertedBottleneck(nn.Module):
    """1 x 1, depthwise and 1 x 1 convolution; the first is left out at expansion 1."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, expansion: int, stride: int, residual: bool
    ) -> None:
        super().__init__()
        middle = inputs * expansion
        self.residual = residual
        self.expand = nn.Identity() if expansion == 1 else conv_norm_relu6(inputs, middle, 1)
        self.depthwise = conv_norm_relu6(middle, middle, kernel, stride=stride, groups=middle)
        self.project = nn.Sequential(nn.Conv2d(middle, outputs, 1, bias=False), batch_norm(outputs))

    def forward(self, features: Tensor) -> Tensor:
        found = self.project(self.depthwise(self.expand(features)))
        return found + features if self.residual else found


def conv_norm_relu6(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, batch_norm(outputs), nn.ReLU6())


class PlainMobileNet(nn.Module):
    """Supernet of the MobileNet-like space: ProxylessNAS (Cai et al., 2019) as in RLNAS.

    Args:
        image_channels: Of the images.
        seed: Of the initial weights.

    Attributes:
        stem: Convolution and a block of expansion 1.
        blocks: `blocks[b][choice]`, see `MOBILE_CHOICES`.
        head: 1 x 1 convolution to 1,728 channels.
        widths: Channels of the returned maps, at strides 2, 4, 8, 16 and 32.
    """

    def __init__(self, image_channels: int = 3, *, seed: int = 0) -> None:
        super().__init__()
        self.widths = [24, 32, 56, 128, 1728]
        with _seeded(seed):
            first = InvertedBottleneck(40, 24, kernel=3, expansion=1, stride=1, residual=False)
            self.stem = nn.Sequential(conv_norm_relu6(image_channels, 40, 3, stride=2), first)
            self.blocks = nn.ModuleList()
            inputs = 24
            for channels, count, first_stride in MOBILE_STAGES:
                for stride in (first_stride, *[1] * (count - 1)):
                    self.blocks.append(_mobile_block(inputs, channels, stride))
                    inputs = channels
            self.head = conv_norm_relu6(inputs, self.widths[-1], 1)

    def forward_path(self, images: Tensor, path: Sequence[int] | np.ndarray) -> list[Tensor]:
        """The last map of each resolution.

        Args:
            images: `[B, c, H, W]`.
            path: Choice of each of the 21 blocks, -1..5.

        Raises:
            ShapeError: Of another length, or identities where the shape changes.
        """
        choices = np.asarray(path)
        _check_shape("path", choices, (len(self.blocks),))
        if (choices[list(MOBILE_FIRST)] < 0).any():
            raise ShapeError(f"Blocks {MOBILE_FIRST} cannot be the identity. Got {path}.")
        features, maps = self.stem(images), []
        for place, choice in enumerate(choices):
            if place in (0, 4, 8, 16):
                maps.append(features)
            if choice >= 0:
                operations = self.blocks[place]
                assert isinstance(operations, nn.ModuleList)
                features = operations[int(choice)](features)
        return [*maps, self.head(features)]

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """A path `[21]`, uniform over all networks."""
        path = rng.integers(-1, len(MOBILE_CHOICES), size=len(self.blocks))
        path[list(MOBILE_FIRST)] = rng.integers(len(MOBILE_CHOICES), size=len(MOBILE_FIRST))
        return path


def _mobile_block(inputs: int, outputs: int, stride: int) -> nn.ModuleList:
    return nn.ModuleList(
        InvertedBottleneck(
            inputs,
            outputs,
            kernel=kernel,
            expansion=expansion,
            stride=stride,
            residual=stride == 1 and inputs == outputs,
        )
        for kernel, expansion in MOBILE_CHOICES
    )


# Training ----------------------------------------------------------------------------------------


PlainSupernet = PlainNasBench201 | PlainDarts | PlainMobileNet


class PlainClassifier(nn.Module):
    """A supernet, the mean over pixels of its last map, and a linear layer.

    Args:
        network: The supernet.
        classes: Number of classes.
        seed: Of the initial weights of the layer.
    """

    def __init__(self, network: PlainSupernet, classes: int = 10, *, seed: int = 0) -> None:
        super().__init__()
        self.network = network
        with _seeded(seed):
            self.linear = nn.Linear(network.widths[-1], classes)

    def forward_path(self, images: Tensor, path: np.ndarray) -> Tensor:
        """Logits `[B, classes]` along a path."""
        return self._classify(self.network.forward_path(images, path))

    def forward_mixed(
        self,
        images: Tensor,
        mixture: Tensor,
        edge_weights: Tensor | None = None,
        auxiliary_weight: float = 0.0,
    ) -> Tensor:
        """Logits `[B, classes]` of the mixture; the last two arguments are for the DARTS spaces."""
        if isinstance(self.network, PlainDarts):
            maps = self.network.forward_mixed(
                images, mixture, edge_weights, auxiliary_weight=auxiliary_weight
            )
        else:
            assert isinstance(self.network, PlainNasBench201)
            maps = self.network.forward_mixed(images, mixture)
        return self._classify(maps)

    def _classify(self, maps: list[Tensor]) -> Tensor:
        return self.linear(maps[-1].mean((2, 3)))


class PlainImages(Dataset[tuple[Tensor, int]]):
    """Images that are cropped, flipped and normalised one by one, in Python, as they are asked for.

    Args:
        images: `[N, c, H, W]` of bytes, c being 1 or 3.
        labels: `[N]`.
        padding: Zeros around an image before a random crop of its size; 0 crops nothing.
        flip: Mirrors half of the images.

    Crops and flips come from torch's generator of the worker process.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, *, padding: int = 4, flip: bool = True
    ) -> None:
        rows = np.moveaxis(images, 1, 3)
        rows = rows[..., 0] if rows.shape[3] == 1 else rows
        self.images, self.labels = np.ascontiguousarray(rows), labels
        self.padding, self.flip = padding, flip
        scaled = images.reshape(*images.shape[:2], -1) / 255
        self.mean = torch.tensor(scaled.mean((0, 2)), dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(scaled.std((0, 2)), dtype=torch.float32)[:, None, None]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[place])
        if self.padding:
            width, height = image.size
            padded = ImageOps.expand(image, self.padding)
            left, top = torch.randint(2 * self.padding + 1, (2,)).tolist()
            image = padded.crop((left, top, left + width, top + height))
        if self.flip and torch.rand(1).item() < 0.5:
            image = ImageOps.mirror(image)
        pixels = torch.from_numpy(np.array(image))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
        return (pixels.float() / 255 - self.mean) / self.std, int(self.labels[place])


def plain_loader(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    batch: int = 64,
    workers: int = 2,
    padding: int = 4,
    flip: bool = True,
    seed: int = 0,
) -> DataLoader[tuple[Tensor, int]]:
    """Shuffled batches from worker processes, which stay between epochs; whole batches only."""
    return DataLoader(
        PlainImages(images, labels, padding=padding, flip=flip),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(seed),
    )


def plain_sgd(
    network: nn.Module, *, lr: float = 0.025, momentum: float = 0.9, weight_decay: float = 3e-4
) -> torch.optim.SGD:
    """SGD with Nesterov momentum, one tensor after the other."""
    return torch.optim.SGD(
        network.parameters(),
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=True,
        foreach=False,
    )


class AlphaSearch:
    """Architecture weights that learn from batches of their own: first-order DARTS.

    Args:
        allowed: Which operations each edge may have, as `network.allowed`, `[E, O]`.
        loader: Batches that the weights of the network do not see.
        edges: Learn weights of edges as well, as in PC-DARTS; for the DARTS spaces.
        auxiliary_weight: Factor of auxiliary skips, in both kinds of steps; for the DARTS spaces.
        lr: Of Adam.
        weight_decay: Of Adam.
        seed: Of the initial values, 1e-3 times normal ones.
        device: Where they are.

    Attributes:
        alphas: `[E, O]`.
        betas: `[28]`, or None.
        optimizer: Adam.
    """

    def __init__(
        self,
        allowed: np.ndarray,
        loader: DataLoader[tuple[Tensor, int]],
        *,
        edges: bool = False,
        auxiliary_weight: float = 0.0,
        lr: float = 3e-4,
        weight_decay: float = 1e-3,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        drawn = 1e-3 * torch.randn(allowed.shape, generator=generator)
        self.forbidden = torch.from_numpy(~allowed).to(device)
        self.alphas = nn.Parameter(drawn.to(device))
        self.betas: nn.Parameter | None = None
        if edges:
            drawn = 1e-3 * torch.randn(len(allowed), generator=generator)
            self.betas = nn.Parameter(drawn.to(device))
        learned = [self.alphas] if self.betas is None else [self.alphas, self.betas]
        self.optimizer = torch.optim.Adam(
            learned, lr=lr, betas=(0.5, 0.999), weight_decay=weight_decay, foreach=False
        )
        self.auxiliary_weight = auxiliary_weight
        self._batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def mixture(self) -> tuple[Tensor, Tensor | None]:
        """Softmax over the operations of each edge; with `edges`, also over those into a node."""
        mixture = self.alphas.masked_fill(self.forbidden, -torch.inf).softmax(1)
        if self.betas is None:
            return mixture, None
        return mixture, torch.cat([b.softmax(0) for b in self.betas.split([2, 3, 4, 5] * 2)])

    def step(self, network: PlainClassifier) -> None:
        """One step on one batch; leaves gradients in the weights of the network."""
        images, labels = _onto(network, next(self._batches))
        self.optimizer.zero_grad()
        logits = network.forward_mixed(images, *self.mixture(), self.auxiliary_weight)
        functional.cross_entropy(logits, labels).backward()
        self.optimizer.step()


def plain_epoch(
    network: PlainClassifier,
    loader: DataLoader[tuple[Tensor, int]],
    optimizer: torch.optim.Optimizer,
    *,
    sample: Callable[[], np.ndarray] | None = None,
    search: AlphaSearch | None = None,
    clip: float | None = 5.0,
    steps: int | None = None,
    set_to_none: bool = False,
) -> float:
    """Train for one epoch; the mean training loss in nats.

    Args:
        network: Supernet and classifier.
        loader: Training batches.
        optimizer: Of the weights of the network.
        sample: Draws the path of each step, say `partial(supernet.sample, rng)`.
        search: In its place, a step of the architecture weights before each step of the weights.
        clip: Largest norm of the gradient of all weights, if any.
        steps: Stop after so many.
        set_to_none: False, as in releases made for torch 1: operations that were sampled once
            decay ever after. True leaves those alone that were not sampled in a step.

    Raises:
        ConfigError: Neither or both of `sample` and `search`.
    """
    if (sample is None) == (search is None):
        raise ConfigError("Pass either `sample` or `search`. Got both, or neither.")
    network.train()
    losses = []
    for batch in itertools.islice(loader, steps):
        images, labels = _onto(network, batch)
        if search is not None:
            search.step(network)
        optimizer.zero_grad(set_to_none=set_to_none)
        if sample is not None:
            logits = network.forward_path(images, sample())
        else:
            assert search is not None
            with torch.no_grad():  # releases compute these gradients as well, for nothing
                mixture, edge_weights = search.mixture()
            logits = network.forward_mixed(images, mixture, edge_weights, search.auxiliary_weight)
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip, foreach=False)
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _onto(network: nn.Module, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    device = next(network.parameters()).device
    return batch[0].to(device), batch[1].to(device)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Modules draw their weights from the global generator, which is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _check_shape(name: str, found: Tensor | np.ndarray, wanted: tuple[int, ...]) -> None:
    if tuple(found.shape) != wanted:
        raise ShapeError(f"`{name}` must be {list(wanted)}. Got {tuple(found.shape)}.")


# Known sizes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A network whose weights and multiply-adds of one image are known, in millions.

    Attributes:
        label: Its name.
        network: Makes it.
        forward: Runs a classifier on images.
        weights: What is known; None, if not.
        macs: Of convolutions and the linear layer.
        pixels: Side of the image.
        classes: Of the linear layer.
        digits: To which both are known.
        used_only: Counts only weights that have a gradient afterwards.
    """

    label: str
    network: Callable[[], PlainSupernet]
    forward: Callable[[PlainClassifier, Tensor], Tensor]
    weights: float | None
    macs: float | None
    pixels: int = 32
    classes: int = 10
    digits: tuple[int, int] = (2, 0)
    used_only: bool = False


def _mixed(network: PlainClassifier, images: Tensor) -> Tensor:
    assert not isinstance(network.network, PlainMobileNet)
    return network.forward_mixed(images, torch.ones(network.network.allowed.shape))


def _along(path: Sequence[int]) -> Callable[[PlainClassifier, Tensor], Tensor]:
    return lambda network, images: network.forward_path(images, np.array(path))


RLNAS_MOBILE = (2, 0, -1, 2, 2, 0, 2, 4, 0, 4, 4, 2, 4, 2, 4, 2, 0, 0, 0, 2, 2)
"""The network that RLNAS (Zhang et al., 2021) found in the MobileNet-like space."""

ALL_3X3 = np.full((15, 6), 3)

KNOWN = (
    Known("NAS-Bench-201, mixed", PlainNasBench201, _mixed, 1.686, 243.7, digits=(3, 1)),
    Known(
        "NAS-Bench-201, all 3 x 3",
        PlainNasBench201,
        lambda network, images: network.forward_path(images, ALL_3X3),
        1.5248,  # 1.5315 in the table, whose 90 norms have 6,720 weights more
        220.12,
        digits=(4, 2),
        used_only=True,
    ),
    Known("DARTS S0", PlainDarts, _mixed, 1.930618, 300.3, digits=(6, 1)),
    Known("DARTS S2", lambda: PlainDarts("s2"), _mixed, 0.665, 100.9, digits=(3, 1)),
    Known("PC-DARTS, K = 4", lambda: PlainDarts(partial=4), _mixed, 0.2996, 56.6, digits=(4, 1)),
    Known("DARTS S0, L = 5", lambda: PlainDarts(cells=5), _mixed, 1.28, 187),
    Known("DARTS S0, L = 11", lambda: PlainDarts(cells=11), _mixed, 2.59, 414),
    Known("DARTS S0, L = 17", lambda: PlainDarts(cells=17), _mixed, 3.89, 640),
    Known(
        "DARTS S0, ImageNet",
        lambda: PlainDarts(stem="imagenet"),
        _mixed,
        2.19,
        236,
        pixels=224,
        classes=1000,
    ),
    Known(
        "MobileNet, RLNAS",
        PlainMobileNet,
        _along(RLNAS_MOBILE),
        5.256,
        471.5,
        pixels=224,
        classes=1000,
        digits=(3, 1),
        used_only=True,
    ),
    Known(
        "MobileNet, all k3e3",
        PlainMobileNet,
        _along([0] * 21),
        None,
        461,
        pixels=224,
        classes=1000,
        used_only=True,
    ),
)
"""Published or counted from published code."""


def sizes(known: Known) -> tuple[float, float]:
    """Weights and multiply-adds of one image, both in millions; nothing is computed."""
    with torch.device("meta"):
        network = PlainClassifier(known.network(), known.classes)
        images = torch.zeros(2, 3, known.pixels, known.pixels)
        with FlopCounterMode(display=False) as counter:
            logits = known.forward(network, images)
        if known.used_only:
            logits.sum().backward()
    counted = [
        weights.numel()
        for weights in network.parameters()
        if weights.grad is not None or not known.used_only
    ]
    return sum(counted) / 1e6, counter.get_total_flops() / 2 / len(images) / 1e6


def main() -> None:
    """Print found sizes beside known ones."""
    print(f"{'':26}{'weights, M':>12}{'known':>10}{'MACs, M':>12}{'known':>10}")
    for known in KNOWN:
        parts, same = [], True
        wants = (known.weights, known.macs)
        for found, wanted, digits in zip(sizes(known), wants, known.digits, strict=True):
            same &= wanted is None or round(found, digits) == wanted
            parts.append(f"{found:12.{digits + 1}f}{'' if wanted is None else wanted:>10}")
        print(f"{known.label:26}{''.join(parts)}  {'same' if same else 'DIFFERS'}")


if __name__ == "__main__":
    main()

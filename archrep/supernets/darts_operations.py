"""Operations of the DARTS space on the edges of a cell, of many edges and S supernets at once.

Each is what Liu et al. (2019) have; one module holds it at all edges of a cell where it may stand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from archrep.supernets.base import apart, convolve, new_weight, pick, together
from archrep.supernets.norms import BatchStatistics

NODES = 6
"""Of a cell: two inputs and four blocks, which all go into the output."""
NODE_COUNT = NODES - 2
"""Blocks whose concatenation is a cell's output."""
CELL_EDGES = [(source, target) for target in range(2, NODES) for source in range(target)]
"""The 14 edges of a cell, as its alphas are numbered."""
NOISE = "noise"


def is_dense(channels: int, dilation: int) -> bool:
    """Whether depthwise and pointwise convolution are computed as one dense one.

    Nothing stands between them, so that the function is the same. On a CPU the dense one is faster
    where channels are few, and with dilation always, although it multiplies more often.
    """
    return channels <= 16 or dilation > 1


class Pairs(NamedTuple):
    """Supernets and edges that one operation is computed for.

    Attributes:
        owners: Supernet of each.
        edges: Edge of each.
        full: All supernets times some edges, supernets first.
    """

    owners: list[int]
    edges: list[int]
    full: bool


class Gates(NamedTuple):
    """What a cell computes.

    Attributes:
        active: Operations that are computed, `[S, 14, O]` of bool.
        weights: How much of each, `[S, 14, O]`; `None` for the sum of what is active.
        edges: Weight of each edge, for the channels that pass it by, `[S, 14]`, or `None`.
        auxiliary: Weight of a skip connection beside each mixture.
        dropout: Probability of dropping an element of a skip connection of stride 1.
        draws: A generator of each supernet, for noise and dropout.
        norm: Statistics of batch norms.
    """

    active: np.ndarray
    weights: Tensor | None
    edges: Tensor | None
    auxiliary: float
    dropout: float
    draws: Sequence[torch.Generator] | None
    norm: BatchStatistics


def make_operation(
    name: str, count: int, edges: list[int], channels: int, affine: bool, reduction: bool
) -> Operation | None:
    """An operation by its name; `None` for `none`, which is not computed."""
    if name.startswith(("sep", "dil")):
        dilation = 2 if name.startswith("dil") else 1
        return Separable(count, edges, channels, int(name[-1]), dilation, affine)
    if name.endswith("pool_3x3"):
        return Pool(count, edges, channels, name.startswith("avg"), affine)
    if name == "skip_connect":
        return StridedSkip(count, edges, channels, affine) if reduction else Skip(edges)
    return Noise(edges) if name == NOISE else None


class Operation(nn.Module, ABC):
    """One type of operation on some edges of a cell, for S supernets."""

    edges: list[int]
    rectified = False
    """Whether it begins with a ReLU, which all of a node's operations share."""

    def placed(self) -> Iterator[tuple[list[int], nn.Parameter]]:
        """Its weights `[S, n, ...]`, with the n edges that they belong to."""
        for weights in self.parameters():
            yield self.edges, weights

    @abstractmethod
    def forward(
        self, source: Tensor, pairs: Pairs, gates: Gates, stride: int, scale: Tensor | None
    ) -> Tensor:
        """What it makes of a node's value `[B, S C, H, W]` for pairs, `[B, H', W', n, C]`.

        Args:
            source: The value, rectified where the operation wants it so.
            pairs: Supernets and edges.
            gates: Of the cell.
            stride: Of the edges.
            scale: Factor of each pair, `[n]`; `None` for one.
        """


class Separable(Operation):
    """Depthwise and pointwise convolution, then batch norm; separable ones do it twice."""

    rectified = True

    def __init__(
        self, count: int, edges: list[int], channels: int, kernel: int, dilation: int, affine: bool
    ) -> None:
        super().__init__()
        self.edges, self.channels, self.dilation = edges, channels, dilation
        n, times = len(edges), 1 if dilation > 1 else 2
        self.depthwise = nn.ParameterList(
            new_weight(count, channels, 1, kernel, n) for _ in range(times)
        )
        self.pointwise = nn.ParameterList(
            new_weight(count, channels, channels, 1, n) for _ in range(times)
        )
        self.norms = nn.ModuleList(PlacedNorm(count, n, channels, affine) for _ in range(times))

    def forward(
        self, source: Tensor, pairs: Pairs, gates: Gates, stride: int, scale: Tensor | None
    ) -> Tensor:
        rows = _rows(self.edges, pairs)
        features = self._first(source, pairs, rows, stride)
        for n in range(1, len(self.depthwise)):
            features = self.norms[n - 1](features, rows, None, gates.norm).relu()
            features = convolve(features, rows_of(self.depthwise[n], rows), depthwise=True)
            features = convolve(features, rows_of(self.pointwise[n], rows))
        features = self.norms[-1](features, rows, scale, gates.norm)
        return apart(features, len(rows))

    def _first(self, source: Tensor, pairs: Pairs, rows: list[int], stride: int) -> Tensor:
        """The first two convolutions, nothing in between: also one dense convolution."""
        depthwise = rows_of(self.depthwise[0], rows)
        pointwise = rows_of(self.pointwise[0], rows)
        dilation, count = self.dilation, source.shape[1] // self.channels
        if not is_dense(self.channels, dilation):
            chosen = together(pick(apart(source, count), pairs.owners))
            inner = convolve(chosen, depthwise, stride, dilation, depthwise=True)
            return convolve(inner, pointwise)
        dense = pointwise * depthwise.transpose(1, 2)  # [n, C, C, k, k]
        if pairs.full:  # every edge of a supernet reads the same value
            dense = dense.unflatten(0, (count, -1)).flatten(1, 2)
            return convolve(source, dense, stride, dilation)
        chosen = together(pick(apart(source, count), pairs.owners))
        return convolve(chosen, dense, stride, dilation)


class Pool(Operation):
    """Maximum or mean over 3 x 3 pixels of the image, then batch norm."""

    def __init__(self, count: int, edges: list[int], channels: int, mean: bool, affine: bool):
        super().__init__()
        self.edges, self.mean = edges, mean
        self.norm = PlacedNorm(count, len(edges), channels, affine)

    def forward(
        self, source: Tensor, pairs: Pairs, gates: Gates, stride: int, scale: Tensor | None
    ) -> Tensor:
        if self.mean:
            pooled = functional.avg_pool2d(source, 3, stride, 1, count_include_pad=False)
        else:
            pooled = functional.max_pool2d(source, 3, stride, 1)
        value = apart(gates.norm(pooled), len(gates.active))  # the same on every edge
        weight, bias = self.norm.chosen(_rows(self.edges, pairs))
        if weight is None or bias is None:
            return _scaled(value, pairs, scale)
        terms = pick(value, pairs.owners) * weight + bias
        return terms if scale is None else terms * scale[:, None]


class Skip(Operation):
    """The value itself."""

    def __init__(self, edges: list[int]) -> None:
        super().__init__()
        self.edges = edges

    def forward(
        self, source: Tensor, pairs: Pairs, gates: Gates, stride: int, scale: Tensor | None
    ) -> Tensor:
        value = apart(source, len(gates.active))
        if not gates.dropout:
            return _scaled(value, pairs, scale)
        assert gates.draws is not None
        terms = pick(value, pairs.owners)
        keep = torch.empty_like(terms)
        for n, owner in enumerate(pairs.owners):
            draws = gates.draws[owner]
            drawn = torch.rand(terms[:, :, :, n].shape, generator=draws, device=draws.device)
            keep[:, :, :, n] = (drawn >= gates.dropout).to(keep) / (1 - gates.dropout)
        terms = terms * keep
        return terms if scale is None else terms * scale[:, None]


class Noise(Operation):
    """Gaussian noise in the place of the value, new each time (S4 of Zela et al., 2020)."""

    def __init__(self, edges: list[int]) -> None:
        super().__init__()
        self.edges = edges

    def forward(
        self, source: Tensor, pairs: Pairs, gates: Gates, stride: int, scale: Tensor | None
    ) -> Tensor:
        assert gates.draws is not None
        count = len(gates.active)
        batch, channels = len(source), source.shape[1] // count
        height, width = (-(-side // stride) for side in source.shape[2:])
        shape = (batch, height, width, channels)
        drawn = [
            torch.randn(shape, generator=gates.draws[s], device=gates.draws[s].device)
            for s in pairs.owners
        ]
        terms = torch.stack(drawn, 3).to(source)
        return terms if scale is None else terms * scale[:, None]


class Pointwise(nn.Module):
    """1 x 1 convolution and batch norm at n places of S supernets; what it sees is rectified."""

    def __init__(self, count: int, places: int, channels: int, outputs: int, affine: bool) -> None:
        super().__init__()
        self.weights = new_weight(count, outputs, channels, 1, places)
        self.norm = PlacedNorm(count, places, outputs, affine)

    def forward(
        self, source: Tensor, pairs: Pairs, norm: BatchStatistics, scale: Tensor | None = None
    ) -> Tensor:
        """`[B, n O, H, W]` of a value `[B, S I, H, W]`."""
        rows = _rows([0], pairs)
        features = convolve(source, rows_of(self.weights, rows))
        return self.norm(features, rows, scale, norm)


class FactorizedReduce(nn.Module):
    """Two 1 x 1 convolutions of stride 2, one of them a pixel further, and batch norm."""

    def __init__(self, count: int, places: int, channels: int, outputs: int, affine: bool) -> None:
        super().__init__()
        self.channels = channels
        self.even = new_weight(count, outputs // 2, channels, 1, places)
        self.odd = new_weight(count, outputs - outputs // 2, channels, 1, places)
        self.norm = PlacedNorm(count, places, outputs, affine)

    def forward(
        self, source: Tensor, pairs: Pairs, norm: BatchStatistics, scale: Tensor | None = None
    ) -> Tensor:
        """`[B, n O, H / 2, W / 2]` of a rectified value `[B, S I, H, W]`."""
        count = source.shape[1] // self.channels
        places = self.even.shape[1]
        rows = [s * places + e for s, e in zip(pairs.owners, pairs.edges, strict=True)]
        halves = []
        for shift, weights in ((0, self.even), (1, self.odd)):
            moved = source
            if shift:  # beyond the border are zeros, where the size is odd
                odd = [side % 2 for side in source.shape[2:]]
                moved = functional.pad(source, (0, odd[1], 0, odd[0]))[:, :, 1:, 1:]
            small = moved[:, :, ::2, ::2]
            chosen = together(pick(apart(small, count), pairs.owners))
            halves.append(apart(convolve(chosen, rows_of(weights, rows)), len(rows)))
        return self.norm(together(torch.cat(halves, 4)), rows, scale, norm)


class Placed(Operation):
    """`FactorizedReduce` as the operation of some edges."""

    rectified = True

    def __init__(self, inner: FactorizedReduce, edges: list[int]) -> None:
        super().__init__()
        self.inner, self.edges = inner, edges

    def forward(
        self, source: Tensor, pairs: Pairs, gates: Gates, stride: int, scale: Tensor | None
    ) -> Tensor:
        own = pairs._replace(edges=[self.edges.index(e) for e in pairs.edges])
        return apart(self.inner(source, own, gates.norm, scale), len(pairs.owners))


class StridedSkip(Operation):
    """A skip connection of a reduction cell: `FactorizedReduce` where the stride is 2."""

    def __init__(self, count: int, edges: list[int], channels: int, affine: bool) -> None:
        super().__init__()
        self.edges = edges
        strided = [e for e in edges if CELL_EDGES[e][0] < 2]
        self.strided = Placed(
            FactorizedReduce(count, len(strided), channels, channels, affine), strided
        )
        self.plain = Skip([e for e in edges if CELL_EDGES[e][0] >= 2])

    def placed(self) -> Iterator[tuple[list[int], nn.Parameter]]:
        return self.strided.placed()

    def forward(
        self, source: Tensor, pairs: Pairs, gates: Gates, stride: int, scale: Tensor | None
    ) -> Tensor:
        if stride == 2:
            return self.strided(source.relu(), pairs, gates, stride, scale)
        return self.plain(source, pairs, gates, stride, scale)


class PlacedNorm(nn.Module):
    """Batch norm at n places of S supernets, with or without weights of its own."""

    def __init__(self, count: int, places: int, channels: int, affine: bool) -> None:
        super().__init__()
        if affine:
            self.norm_weight = nn.Parameter(torch.ones(count, places, channels))
            self.norm_bias = nn.Parameter(torch.zeros(count, places, channels))

    def chosen(self, rows: list[int]) -> tuple[Tensor | None, Tensor | None]:
        """Scale and shift `[n, C]` at some places, or nothing."""
        if not hasattr(self, "norm_weight"):
            return None, None
        return rows_of(self.norm_weight, rows), rows_of(self.norm_bias, rows)

    def forward(
        self, features: Tensor, rows: list[int], scale: Tensor | None, norm: BatchStatistics
    ) -> Tensor:
        """Normalised maps `[B, n C, H, W]`, times the scale of each of the n.

        Args:
            features: What is normalised.
            rows: Place of each of the n in supernets times places.
            scale: `[n]`, or `None` for one.
            norm: Statistics.
        """
        weight, bias = self.chosen(rows)
        if scale is not None:
            channels = features.shape[1] // len(rows)
            if weight is None or bias is None:
                weight, bias = scale.new_ones(1), scale.new_zeros(1)
            weight = (weight * scale[:, None]).expand(-1, channels)
            bias = (bias * scale[:, None]).expand(-1, channels)
        if weight is None or bias is None:
            return norm(features)
        return norm(features, weight.flatten(), bias.flatten())


def pairs_of(active: np.ndarray, own: list[int]) -> Pairs:
    """Supernets and edges where an operation is active, `[S, edges]`."""
    if (active == active[:1]).all():
        edges = [e for e, on in zip(own, active[0], strict=True) if on]
        count = len(active)
        return Pairs([s for s in range(count) for _ in edges], edges * count, True)
    owners, places = np.nonzero(active)
    return Pairs(owners.tolist(), [own[n] for n in places], False)


def _rows(edges: list[int], pairs: Pairs) -> list[int]:
    """Row of each pair in supernets times an operation's edges."""
    at = {e: n for n, e in enumerate(edges)}
    return [s * len(edges) + at[e] for s, e in zip(pairs.owners, pairs.edges, strict=True)]


def _scaled(value: Tensor, pairs: Pairs, scale: Tensor | None) -> Tensor:
    """A value `[B, H, W, S, C]` for each pair, times its scale `[n]`: `[B, H, W, n, C]`."""
    if scale is None:
        return pick(value, pairs.owners)
    if not pairs.full:
        return pick(value, pairs.owners) * scale[:, None]
    count = value.shape[3]
    return (value.unsqueeze(4) * scale.view(count, -1, 1)).flatten(3, 4)  # nothing is copied first


def rows_of(weights: Tensor, rows: list[int]) -> Tensor:
    """Weights `[n, ...]` at some places, of those of S supernets, `[S, places, ...]`."""
    flat = weights.flatten(0, 1)
    if rows == list(range(len(flat))):
        return flat
    return flat.index_select(0, torch.tensor(rows, device=weights.device))

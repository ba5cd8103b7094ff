"""The supernet of the DARTS space S0 (Liu et al., 2019), and of S1 to S4 of R-DARTS.

    stem -> cells, of which those at one and two thirds reduce -> last map of each resolution

A cell reads the two cells before it; each of its 14 edges carries one operation, or a mixture of
them (Zela et al., 2020, "Understanding and Robustifying Differentiable Architecture Search", for S1
to S4). All operations of one type that leave a node, of all edges and seeds, are one convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from archrep.cells.darts import CANDIDATES, IMAGENET, network_cost
from archrep.cells.genotype import Genotype
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
    pick,
    together,
)
from archrep.supernets.darts_operations import (
    CELL_EDGES,
    NODE_COUNT,
    NODES,
    NOISE,
    FactorizedReduce,
    Gates,
    Operation,
    Pairs,
    Placed,
    Pointwise,
    make_operation,
    pairs_of,
)
from archrep.supernets.norms import BatchStatistics

OPERATIONS = (*CANDIDATES, NOISE)
NONE, MAX_POOL, AVG_POOL, SKIP = range(4)

_SHORT = {
    "none": "none", "max": "max_pool_3x3", "avg": "avg_pool_3x3", "skip": "skip_connect",
    "sep3": "sep_conv_3x3", "sep5": "sep_conv_5x5", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5",
    "noise": NOISE,
}  # fmt: skip
_S1_NORMAL = (
    "skip|dil3 skip|dil5 skip|dil5 skip|sep3 skip|dil3 max|skip skip|sep3 skip|sep3 skip|dil3 "
    "skip|sep3 max|skip skip|dil3 dil3|dil5 dil3|dil5"
)
_S1_REDUCE = (
    "max|avg max|dil3 max|avg max|avg skip|dil5 max|avg max|sep3 skip|dil3 skip|dil5 max|avg "
    "max|avg skip|dil5 skip|dil5 skip|dil5"
)
CHOICES: dict[str, tuple[str, str]] = {
    "s0": (" ".join(["none|max|avg|skip|sep3|sep5|dil3|dil5"] * 14),) * 2,
    "s1": (_S1_NORMAL, _S1_REDUCE),
    "s2": (" ".join(["skip|sep3"] * 14),) * 2,
    "s3": (" ".join(["none|skip|sep3"] * 14),) * 2,
    "s4": (" ".join(["noise|sep3"] * 14),) * 2,
}
"""Operations of each edge of the normal and of the reduction cell."""


class DartsSupernet(Supernet):
    """Every normal and reduction cell of a DARTS space in one network, S times.

    Args:
        seeds: One a supernet.
        variant: The space, `"s0"` to `"s4"`.
        channels: C of the first cells; the stem has three times as many.
        cells: Cells in all.
        image_channels: Channels c of what it sees.
        stem: One convolution, or three of stride 2 for ImageNet.
        affine: Scale and shift of the batch norms in cells, those after pooling included; the
            single-path supernets of RLNAS have them, those of DARTS do not.
        partial: K; mixtures see the first channel in K, the others pass by (Xu et al., 2020,
            "PC-DARTS").
        auxiliary: Weights for skip connections of stride 2 beside mixtures (Chu et al., 2021,
            "DARTS-").

    Raises:
        ConfigError: A size is impossible.
    """

    space = "darts"
    inputs_of_a_block = 2

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        variant: str = "s0",
        channels: int = 16,
        cells: int = 8,
        image_channels: int = 3,
        stem: Literal["cifar", "imagenet"] = "cifar",
        affine: bool = False,
        partial: int = 1,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        if min(channels, image_channels, partial, len(seeds)) < 1 or cells < 3:
            raise ConfigError(
                "A supernet of DARTS needs `channels`, `image_channels`, `partial` and seeds of at "
                f"least 1 and `cells` of at least 3. Got {channels}, {image_channels}, {partial}, "
                f"{len(seeds)} and {cells}."
            )
        if channels % (2 * partial):
            raise ConfigError(
                f"`channels` must be a multiple of {2 * partial} with `partial` {partial}, since "
                f"strided skip connections halve them. Got {channels}."
            )
        self.name = "darts" if variant == "s0" else f"darts-{variant}"
        self.seeds, count = list(seeds), len(seeds)
        self.operations = OPERATIONS if variant == "s4" else CANDIDATES
        self.edges = tuple(Edge(kind, *e) for kind in ("normal", "reduce") for e in CELL_EDGES)
        self.allowed = _allowed(variant)
        self.cells, self.partial = cells, partial
        self.stem = Stem(count, channels, image_channels, imagenet=stem == "imagenet")
        stride = 8 if stem == "imagenet" else 1
        inputs = (channels, channels) if stem == "imagenet" else (3 * channels, 3 * channels)
        after_reduction = stem == "imagenet"
        self.stages, blocks = [], []
        self.is_reduction = [n in (cells // 3, 2 * cells // 3) for n in range(cells)]
        width = channels
        for reduction in self.is_reduction:
            if reduction:
                self.stages.append(Stage(NODE_COUNT * width, stride))
                width, stride = 2 * width, 2 * stride
            blocks.append(
                DartsCell(
                    count,
                    inputs,
                    width,
                    self.allowed[14:] if reduction else self.allowed[:14],
                    reduction=reduction,
                    after_reduction=after_reduction,
                    affine=affine,
                    partial=partial,
                    auxiliary=auxiliary,
                )
            )
            inputs, after_reduction = (inputs[1], NODE_COUNT * width), reduction
        self.stages.append(Stage(NODE_COUNT * width, stride))
        self.blocks = nn.ModuleList(blocks)
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
        self._check(images, path, mixture)
        norm = BatchStatistics() if norm is None else norm
        norm.begin()
        gates = self._gates(path, mixture, draws, norm)
        flat = images.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        before, last = self.stem(flat, norm)
        maps = []
        for block, reduction in zip(self.blocks, self.is_reduction, strict=True):
            if reduction:
                maps.append(last)
            before, last = last, block(before, last, gates[int(reduction)])
        maps.append(last)
        return [m.unflatten(1, (len(self.seeds), -1)) for m in maps]

    def check_path(self, path: np.ndarray) -> np.ndarray:
        """A path as `[S, 28]`.

        Raises:
            ShapeError: It is none, or takes an operation that its edge does not have.
        """
        choices, wanted = np.asarray(path), (len(self.seeds), len(self.edges))
        fits = choices.dtype.kind in "iu" and choices.shape in (wanted, wanted[1:])
        if not fits or choices.min() < 0 or choices.max() >= len(self.operations):
            raise ShapeError(
                f"A path is operations 0..{len(self.operations) - 1} of 28 edges, [28] or "
                f"{list(wanted)}. Got {choices.shape} of {choices.dtype}."
            )
        choices = np.broadcast_to(choices, wanted)
        missing = ~self.allowed[np.arange(len(self.edges)), choices] & (choices != NONE)
        if missing.any():
            row, edge = np.argwhere(missing)[0]
            raise ShapeError(
                f"Edge {edge} of {self.name} has no {self.operations[choices[row, edge]]!r}."
            )
        return choices

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """A path `[28]`: two inputs of each block and their operations, uniformly.

        One normal and one reduction cell serve all places, as in the released code of RLNAS
        (Zhang et al., 2021); `none` is not drawn.
        """
        path = np.full(len(self.edges), NONE)
        for half in (0, 14):
            for target in range(2, NODES):
                into = [half + e for e, edge in enumerate(CELL_EDGES) if edge[1] == target]
                for edge in rng.choice(into, 2, replace=False):
                    path[edge] = rng.choice(np.flatnonzero(self.allowed[edge, 1:]) + 1)
        return path

    def candidates(self) -> Iterator[Candidate]:
        for block, reduction in zip(self.blocks, self.is_reduction, strict=True):
            assert isinstance(block, DartsCell)
            for name, operation in block.operations.items():
                assert isinstance(operation, Operation)
                for edges, weights in operation.placed():
                    places = [14 * reduction + edge for edge in edges]
                    yield Candidate(self.operations.index(name), places, weights, 1)

    def sampled(self, path: np.ndarray) -> list[np.ndarray]:
        choices = self.check_path(path)
        return [choices[:, c.places] == c.operation for c in self.candidates()]

    def live(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts = np.zeros(choices.shape, np.int64)
        for half in (0, 14):
            lives = choices[:, half : half + 14] != NONE
            into = np.zeros((len(choices), NODES), np.int64)
            onward = np.ones((len(choices), NODES), np.int64)
            into[:, :2] = 1
            for e, (source, target) in enumerate(CELL_EDGES):
                into[:, target] += lives[:, e] * into[:, source]
            for e, (source, target) in reversed(list(enumerate(CELL_EDGES))):
                onward[:, source] += lives[:, e] * onward[:, target]
            for e, (source, target) in enumerate(CELL_EDGES):
                counts[:, half + e] = lives[:, e] * into[:, source] * onward[:, target]
        return counts, np.asarray((counts[:, :14].sum(1) > 0) & (counts[:, 14:].sum(1) > 0))

    def constants(self) -> dict[str, np.ndarray]:
        shape = len(self.edges), len(self.operations)
        pool, identity = np.zeros(shape), np.zeros(shape)
        for block, reduction in zip(self.blocks, self.is_reduction, strict=True):
            assert isinstance(block, DartsCell)
            for e, (source, _) in enumerate(CELL_EDGES):
                place = 14 * reduction + e
                pool[place, [MAX_POOL, AVG_POOL]] += block.inner / 9
                identity[place, SKIP] += block.inner * (not reduction or source > 1)
        return {"pool": pool * self.allowed, "identity": identity * self.allowed}

    def derive(self, probabilities: np.ndarray, *, with_none: bool = False) -> np.ndarray:
        """The two strongest edges of each block with their strongest operation other than `none`.

        Liu et al. (2019), section 2.4. `with_none` has no effect: an edge that `none` would win is
        as strong as its next operation.
        """
        strengths = np.where(self.allowed, probabilities, -1.0)
        strengths[:, NONE] = -1.0
        best, choices = strengths.argmax(1), np.full(len(self.edges), NONE)
        for half in (0, 14):
            for target in range(2, NODES):
                into = [half + e for e, edge in enumerate(CELL_EDGES) if edge[1] == target]
                order = sorted(into, key=lambda e: -strengths[e].max())
                kept = order[: self.inputs_of_a_block]
                choices[kept] = best[kept]
        return choices

    def imagenet_macs(self, choices: np.ndarray) -> np.ndarray:
        genotypes = [Genotype.parse(self.describe(row)) for row in choices]
        return np.array([int(network_cost(own, IMAGENET).macs) for own in genotypes])

    def describe(self, choices: np.ndarray) -> str:
        """Text of a genotype, `archrep.cells.genotype.Genotype` reads it where it has no noise."""
        cells = [
            [
                (self.operations[choices[half + e]], source)
                for e, (source, _) in enumerate(CELL_EDGES)
                if choices[half + e] != NONE
            ]
            for half in (0, 14)
        ]
        return (
            f"Genotype(normal={cells[0]}, normal_concat=range(2, 6), reduce={cells[1]}, "
            "reduce_concat=range(2, 6))"
        )

    def _gates(
        self,
        path: np.ndarray | None,
        mixture: Mixture | None,
        draws: Sequence[torch.Generator] | None,
        norm: BatchStatistics,
    ) -> list[Gates]:
        """Of normal and of reduction cells."""
        count, (places, ops) = len(self.seeds), self.allowed.shape
        if mixture is None:
            assert path is not None
            active = np.eye(ops, dtype=bool)[self.check_path(path)]
            mixture = Mixture(torch.empty(0))
            weights = None
        else:
            own = self.allowed if mixture.active is None else mixture.active & self.allowed
            active = np.broadcast_to(own, (count, places, ops))
            weights = mixture.weights
            if mixture.edges is not None:
                weights = weights * mixture.edges[:, :, None]
        active = active & (np.arange(ops) != NONE)
        if draws is None and (mixture.dropout or self.name.endswith("s4")):
            raise ShapeError("Noise and dropout need `draws`, a generator for each supernet.")
        return [
            Gates(
                active[:, half],
                None if weights is None else weights[:, half],
                None if mixture.edges is None else mixture.edges[:, half],
                mixture.auxiliary,
                mixture.dropout,
                draws,
                norm,
            )
            for half in (slice(0, 14), slice(14, 28))
        ]


class DartsCell(nn.Module):
    """One cell of S supernets.

    Args:
        count: S.
        inputs: Channels of the cell before the last and of the last one.
        width: Channels of a node.
        allowed: Operations of each edge, `[14, O]`.
        reduction: Whether edges from the inputs have stride 2.
        after_reduction: Whether the last cell reduced, so that the one before is twice as large.
        affine: Scale and shift of batch norms.
        partial: K.
        auxiliary: Skip connections of stride 2 with weights of their own.
    """

    def __init__(
        self,
        count: int,
        inputs: tuple[int, int],
        width: int,
        allowed: np.ndarray,
        *,
        reduction: bool,
        after_reduction: bool,
        affine: bool,
        partial: int,
        auxiliary: bool,
    ) -> None:
        super().__init__()
        self.count, self.reduction, self.partial = count, reduction, partial
        self.inner = width // partial
        first = FactorizedReduce if after_reduction else Pointwise
        self.first = first(count, 1, inputs[0], width, affine)
        self.second = Pointwise(count, 1, inputs[1], width, affine)
        self.operations = nn.ModuleDict()
        for op, name in enumerate(OPERATIONS[: allowed.shape[1]]):
            edges = [e for e in range(len(CELL_EDGES)) if allowed[e, op]]
            if edges and (
                made := make_operation(name, count, edges, self.inner, affine, reduction)
            ):
                self.operations[name] = made
        if auxiliary and reduction:
            strided = [e for e, (source, _) in enumerate(CELL_EDGES) if source < 2]
            self.auxiliary = Placed(
                FactorizedReduce(count, len(strided), self.inner, self.inner, False), strided
            )

    def forward(self, before: Tensor, last: Tensor, gates: Gates) -> Tensor:
        """Its output, `[B, S 4 C, H, W]`, of those of the two cells before it."""
        everyone = Pairs(list(range(self.count)), [0] * self.count, True)
        nodes = [
            apart(self.first(before.relu(), everyone, gates.norm), self.count),
            apart(self.second(last.relu(), everyone, gates.norm), self.count),
        ]
        sums: dict[int, Tensor] = {}
        passed: dict[int, Tensor] = {}  # what goes by the mixtures, with partial channels
        for node in range(NODES - 1):
            if node > 1:
                nodes.append(self._node(node, sums, passed, nodes))
            self._send(node, nodes[node], gates, sums, passed)
        nodes.append(self._node(NODES - 1, sums, passed, nodes))
        return together(torch.cat(nodes[2:], 4))

    def _node(
        self, node: int, sums: dict[int, Tensor], passed: dict[int, Tensor], nodes: list[Tensor]
    ) -> Tensor:
        """Value of a block, `[B, H, W, S, C]`."""
        if node not in sums:
            like = nodes[0] if not self.reduction else nodes[0][:, ::2, ::2]
            sums[node] = torch.zeros_like(like[..., : self.inner])
        value = sums[node]
        if self.partial == 1:
            return value
        joined = torch.cat([value, passed[node]], 4)
        return joined.unflatten(4, (self.partial, -1)).transpose(4, 5).flatten(4)  # shuffle

    def _send(
        self,
        node: int,
        value: Tensor,
        gates: Gates,
        sums: dict[int, Tensor],
        passed: dict[int, Tensor],
    ) -> None:
        """Add to later blocks what a node sends them along its edges."""
        own = [e for e, (source, _) in enumerate(CELL_EDGES) if source == node]
        stride = 2 if self.reduction and node < 2 else 1
        if self.partial > 1:
            seen, rest = value[..., : self.inner], value[..., self.inner :]
            if stride == 2:
                rest = apart(functional.max_pool2d(together(rest), 2, ceil_mode=True), self.count)
            for e in own:
                alive = np.asarray(gates.active[:, e].any(1))
                weight = torch.from_numpy(alive[:, None]).to(rest)
                weight = weight if gates.edges is None else weight * gates.edges[:, e, None]
                _add(passed, CELL_EDGES[e][1], rest * weight)
            value = seen
        flat = together(value)
        rectified = flat.relu()
        # All edges at once, [B, H, W, S, edges, C], as long as every supernet does the same.
        common: Tensor | None = None
        for name, operation in self.operations.items():
            op = OPERATIONS.index(name)
            pairs = pairs_of(gates.active[:, own, op], own)
            if not pairs.owners:
                continue
            scale = None if gates.weights is None else _chosen(gates.weights[:, :, op], pairs)
            source = rectified if operation.rectified else flat
            terms = operation(source, pairs, gates, stride, scale)
            if pairs.full and pairs.edges[: len(own)] == own:
                terms = terms.unflatten(3, (self.count, len(own)))
                common = terms if common is None else common + terms
                continue
            self._spread(terms, pairs, sums, value)
        if gates.auxiliary:
            pairs = pairs_of(np.ones((self.count, len(own)), bool), own)
            if stride == 2:
                terms = self.auxiliary(rectified, pairs, gates, stride, None) * gates.auxiliary
                self._spread(terms, pairs, sums, value)
            else:
                for e in own:
                    _add(sums, CELL_EDGES[e][1], value * gates.auxiliary)
        if common is not None:
            for e, term in zip(own, common.unbind(4), strict=True):
                _add(sums, CELL_EDGES[e][1], term)

    def _spread(self, terms: Tensor, pairs: Pairs, sums: dict[int, Tensor], value: Tensor) -> None:
        """Add terms `[B, H, W, n, C]` of some edges of some supernets to their targets."""
        if pairs.full:
            edges = pairs.edges[: len(pairs.edges) // self.count]
            by_edge = terms.unflatten(3, (self.count, len(edges))).unbind(4)
            for e, term in zip(edges, by_edge, strict=True):
                _add(sums, CELL_EDGES[e][1], term)
            return
        for e in sorted(set(pairs.edges)):
            at = [n for n, edge in enumerate(pairs.edges) if edge == e]
            owners = torch.tensor([pairs.owners[n] for n in at], device=terms.device)
            target, term = CELL_EDGES[e][1], pick(terms, at)
            whole = sums.get(target)
            if whole is None:
                shape = (*term.shape[:3], self.count, term.shape[4])
                whole = term.new_zeros(shape)
            dtype = torch.promote_types(whole.dtype, term.dtype)  # differ under autocast
            sums[target] = whole.to(dtype).index_add(3, owners, term.to(dtype))


class Stem(nn.Module):
    """What the cells see first: one convolution, or three of stride 2 for ImageNet."""

    def __init__(self, count: int, channels: int, image_channels: int, *, imagenet: bool) -> None:
        super().__init__()
        widths = (
            [image_channels, channels // 2, channels, channels]
            if imagenet
            else [image_channels, 3 * channels]
        )
        pairs = list(pairwise(widths))
        self.weights = nn.ParameterList(new_weight(count, o, i, 3) for i, o in pairs)
        self.norms = nn.ModuleList(Affine(count, o) for _, o in pairs)
        self.imagenet = imagenet

    def forward(self, images: Tensor, norm: BatchStatistics) -> tuple[Tensor, Tensor]:
        """The two maps that the first cell reads."""
        if not self.imagenet:
            features = self.norms[0](convolve(images, self.weights[0]), norm)
            return features, features
        features = self.norms[0](convolve(images, self.weights[0], 2), norm).relu()
        before = self.norms[1](convolve(features, self.weights[1], 2), norm)
        return before, self.norms[2](convolve(before.relu(), self.weights[2], 2), norm)


def _allowed(variant: str) -> np.ndarray:
    """Operations of each of the 28 edges, `[28, O]` of bool.

    Raises:
        ConfigError: No such space.
    """
    if variant not in CHOICES:
        raise ConfigError(f"`variant` must be one of {', '.join(CHOICES)}. Got {variant!r}.")
    operations = OPERATIONS if variant == "s4" else CANDIDATES
    rows = [
        [op in {_SHORT[word] for word in words.split("|")} for op in operations]
        for cell in CHOICES[variant]
        for words in cell.split()
    ]
    return np.array(rows)


def _chosen(weights: Tensor, pairs: Pairs) -> Tensor:
    """Weights `[n]` of pairs, of `[S, 14]`."""
    return weights[pairs.owners, pairs.edges]


def _add(sums: dict[int, Tensor], target: int, term: Tensor) -> None:
    sums[target] = sums[target] + term if target in sums else term

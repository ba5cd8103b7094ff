"""The interface of a supernet: every candidate of a search space in one network, for S seeds.

    images [B, S, c, H, W] -> supernet(path) or supernet(mixture) -> the last map of each stage

A supernet has places, where one of its operations is chosen: the edges of a cell, shared by all
cells of its kind, or the blocks of a chain. A path chooses one operation a place (Guo et al.,
2020); a mixture weighs all of them (Liu et al., 2019). S independent supernets, one a seed, train
as one program; each begins with the weights that it would have alone, and sees what it would see.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from archrep.errors import ConfigError, ShapeError
from archrep.objectives.base import Stage
from archrep.seeding import torch_stream
from archrep.supernets.norms import BatchStatistics


class Edge(NamedTuple):
    """A place on an edge of a cell.

    Attributes:
        cell: Kind of the cell: `"normal"`, `"reduce"`, or `"cell"` where there is one kind only.
        source: Node that it leaves; the cell's inputs come first.
        target: Node that it enters.
    """

    cell: str
    source: int
    target: int


class Candidate(NamedTuple):
    """Weights of one operation at several places.

    Attributes:
        operation: Its number.
        places: Number of each place.
        weights: `[S, ...]`, places along `axis`.
        axis: Of the places.
    """

    operation: int
    places: Sequence[int]
    weights: nn.Parameter
    axis: int


@dataclass(frozen=True)
class Mixture:
    """How much of every operation there is at every place.

    Attributes:
        weights: `[S, P, O]`; those of operations that are not `active` have no effect.
        active: Operations that are computed, `[P, O]` of bool; all by default.
        edges: Weight of everything that comes along a place's edge, `[S, P]`; PC-DARTS learns it.
        auxiliary: Weight of a skip connection beside every mixture, as DARTS-minus has it.
        dropout: Probability with which an element of a skip connection of stride 1 is dropped, the
            others being scaled up, as P-DARTS does.
    """

    weights: Tensor
    active: np.ndarray | None = None
    edges: Tensor | None = None
    auxiliary: float = 0.0
    dropout: float = 0.0


class Supernet(nn.Module, ABC):
    """S supernets of one search space, side by side.

    Attributes:
        name: Of the supernet.
        space: Name of the search space that its cells belong to.
        operations: The O operations, by number.
        edges: Of each place, for supernets of cells; empty for a chain of blocks.
        allowed: Which operations there are at each of the P places, `[P, O]` of bool.
        seeds: Of each supernet.
        stages: Channels and stride of each resolution.
    """

    name: str
    space: ClassVar[str]
    operations: tuple[str, ...]
    edges: tuple[Edge, ...]
    allowed: np.ndarray
    seeds: list[int]
    stages: list[Stage]
    inputs_of_a_block: int | None = None
    """Edges that each node of a derived cell keeps; `None` for all."""

    @abstractmethod
    def forward(
        self,
        images: Tensor,
        path: np.ndarray | None = None,
        *,
        mixture: Mixture | None = None,
        norm: BatchStatistics | None = None,
        draws: Sequence[torch.Generator] | None = None,
    ) -> list[Tensor]:
        """The last feature map of each stage, `[B, S, C_i, H_i, W_i]`, finest first.

        Args:
            images: What each supernet sees, `[B, S, c, H, W]`.
            path: Operation of each place, the same for all supernets or of each, `[S, ...]`.
            mixture: Or how much of each.
            norm: Where batch norms take their statistics from; by default the batch.
            draws: Of each supernet, for what is random within it: noise and dropout.

        Raises:
            ShapeError: Neither or both of `path` and `mixture`, or of another shape.
        """

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """A path of one supernet, drawn as its publication does."""

    @abstractmethod
    def candidates(self) -> Iterator[Candidate]:
        """All weights that belong to an operation."""

    @abstractmethod
    def sampled(self, path: np.ndarray) -> list[np.ndarray]:
        """Of each of `candidates`, which weights the paths `[S, ...]` use.

        Arrays of bool over the first axes of the weights, up to the places' axis.
        """

    @abstractmethod
    def live(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Paths from input to output through each place, `[M, P]`, and if there is any, `[M]`.

        Args:
            choices: Operation of each place, `[M, P]`.
        """

    @abstractmethod
    def constants(self) -> dict[str, np.ndarray]:
        """Squares of weights that never move, as angles count them, `[P, O]` each.

        `pool` are the shares of average pooling, `identity` the identity matrices of skips.
        """

    @abstractmethod
    def describe(self, choices: np.ndarray) -> str:
        """Notation of the architecture that chooses these operations, `[P]`."""

    def derive(self, probabilities: np.ndarray, *, with_none: bool = False) -> np.ndarray:
        """The architecture that a search of mixtures ends with.

        Args:
            probabilities: Strength of each operation at each place, `[P, O]`, at least 0.
            with_none: Let `none` win, where the space's own code does.

        Returns:
            Operation of each place, `[P]`; `none` where an edge is left out.
        """
        raise NotImplementedError(f"{self.name} has no mixtures.")

    def skips(self, choices: np.ndarray) -> int:
        """Skip connections of an architecture, in its normal cell where there are two kinds."""
        skip = self.operations.index("skip_connect")
        first = self.edges[0].cell
        return sum(
            int(c == skip)
            for c, edge in zip(choices, self.edges, strict=True)
            if edge.cell == first
        )

    def trunk_weights(self) -> list[nn.Parameter]:
        """What every path has, `[S, ...]` each."""
        own = {id(candidate.weights) for candidate in self.candidates()}
        return [weights for weights in self.parameters() if id(weights) not in own]

    def angle_candidates(self) -> Iterator[Candidate]:
        """Those of `candidates` that angles count; all by default."""
        yield from self.candidates()

    def angle_trunk(self) -> list[nn.Parameter]:
        """Those of `trunk_weights` that angles count; all by default."""
        return self.trunk_weights()

    def imagenet_macs(self, choices: np.ndarray) -> np.ndarray:
        """Multiply-adds of an ImageNet network of architectures `[M, P]`, `[M]`.

        Raises:
            ConfigError: The space has no such network.
        """
        raise ConfigError(f"Networks of {self.name} are not made for ImageNet: there is no limit.")

    def _check(self, images: Tensor, path: np.ndarray | None, mixture: Mixture | None) -> None:
        """Refuse what no supernet can work with."""
        count = len(self.seeds)
        if (path is None) == (mixture is None):
            raise ShapeError("Pass either `path` or `mixture`. Got both, or neither.")
        if mixture is not None:
            wanted = (count, *self.allowed.shape)
            if tuple(mixture.weights.shape) != wanted:
                raise ShapeError(
                    f"Weights of a mixture must be {list(wanted)}. "
                    f"Got {tuple(mixture.weights.shape)}."
                )
        if images.ndim != 5 or images.shape[1] != count:
            raise ShapeError(f"`images` must be [B, {count}, c, H, W]. Got {tuple(images.shape)}.")

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


def convolve(
    features: Tensor,
    weights: Tensor,
    stride: int = 1,
    dilation: int = 1,
    *,
    depthwise: bool = False,
) -> Tensor:
    """M convolutions side by side, `[B, M I, H, W]` to `[B, M O, H, W]`; resolution stays.

    Args:
        features: Their inputs, channel by channel.
        weights: `[M, O, I, k, k]`.
        stride: Of all.
        dilation: Of all.
        depthwise: `weights` are `[M, C, 1, k, k]`, one filter a channel.
    """
    # Beyond the border are only zeros: on small maps the outer weights of a filter meet nothing
    # else, and depthwise filters larger than their map are thirty times slower on a CPU (oneDNN).
    reach, middle = (max(features.shape[2:]) - 1) // dilation, weights.shape[-1] // 2
    if reach < middle:
        near = slice(middle - reach, middle + reach + 1)
        weights = weights[..., near, near]
    padding = dilation * (weights.shape[-1] // 2)
    groups = len(weights) * (weights.shape[1] if depthwise else 1)
    return functional.conv2d(
        features,
        weights.flatten(0, 1),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


def apart(features: Tensor, count: int) -> Tensor:
    """Feature maps `[B, n C, H, W]` as `[B, H, W, n, C]`; they lie so in memory."""
    return features.permute(0, 2, 3, 1).unflatten(3, (count, -1))


def together(features: Tensor) -> Tensor:
    """`[B, H, W, n, C]` as `[B, n C, H, W]`, channels last in memory."""
    return features.flatten(3).permute(0, 3, 1, 2)


def pick(features: Tensor, places: list[int]) -> Tensor:
    """Some of n maps, `[B, H, W, m, C]`."""
    if places == list(range(features.shape[3])):
        return features
    return features.index_select(3, torch.tensor(places, device=features.device))


def new_weight(count: int, outputs: int, inputs: int, kernel: int, *more: int) -> nn.Parameter:
    """Room for weights of S networks, `[S, ..., O, I, k, k]`."""
    return nn.Parameter(torch.empty(count, *more, outputs, inputs, kernel, kernel))

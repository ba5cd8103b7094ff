"""The network that a cell is trained in, for many networks side by side.

The skeleton of NAS-Bench-201 (Dong and Yang, 2020, section 2.1) in any size: a 3 x 3 convolution
with batch norm, stages of equal cells, a residual block that halves resolution between two stages,
then batch norm, ReLU, global average and a linear classifier.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from archrep.cells.cell import Cell
from archrep.seeding import torch_stream
from archrep.tabulation.operations import GlobalAverage, convolution, make_operation, relu_conv_bn
from archrep.tabulation.plan import BatchPlan, group_nodes, plan_cell


@dataclass(frozen=True)
class Skeleton:
    """Sizes that the networks of a run share.

    Attributes:
        channels: Channels of each stage; the stem has those of the first.
        cells: Cells N in each stage.
        classes: Outputs of the classifier.
        image_channels: Channels of an image.
    """

    channels: tuple[int, ...]
    cells: int
    classes: int
    image_channels: int = 1


class _Distribute(torch.autograd.Function):
    """Copies of members of `values` `[B, H, W, n, S * C]`, one for each index tensor.

    `index_select` for each would do; its gradient fills and adds a whole tensor for every copy.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, *indices: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*indices)
        ctx.shape = values.shape
        return tuple(values.index_select(3, index) for index in indices)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        total = gradients[0].new_zeros(ctx.shape)
        for index, gradient in zip(ctx.saved_tensors, gradients, strict=True):
            total.index_add_(3, index, gradient)
        return total, *(None for _ in gradients)


_distribute: Callable[..., tuple[Tensor, ...]] = _Distribute.apply


class BatchedCell(nn.Module):
    """The cells at one place of the skeleton, each S times; feature maps are `[B, K * C, H, W]`.

    Where a group would hold one network it gets a second that is fed zeros: for a single group,
    oneDNN takes other kernels, and a network must not depend to the last bit on its neighbours.
    """

    def __init__(self, plan: BatchPlan, seeds: int, channels: int) -> None:
        super().__init__()
        least = 2 if seeds == 1 else 1
        self.owners = [group.owners for group in plan.groups]
        # Of the groups, then of the output; so are `members` and `selects`.
        self.sizes = [*(max(least, len(owners)) for owners in self.owners), plan.output.size]
        self.operations = nn.ModuleList(
            make_operation(group.op, channels, size * seeds)
            for group, size in zip(plan.groups, self.sizes, strict=False)
        )
        gathers = [*(group.inputs for group in plan.groups), plan.output]
        self.members = [[torch.tensor(m) for _, _, m in gather.sources] for gather in gathers]
        self.selects = [
            [m for _, _, m in gather.sources] == [tuple(range(size))]
            for gather, size in zip(gathers, self.sizes, strict=True)
        ]
        # For each value, the input first: who takes which members of it.
        self.uses: list[list[tuple[int, Tensor]]] = [[] for _ in gathers]
        for target, gather in enumerate(gathers):
            for source, positions, _ in gather.sources:
                self.uses[source].append((target, torch.tensor(positions)))

    def forward(self, images: Tensor) -> Tensor:
        parts: list[list[Tensor]] = [[] for _ in self.sizes]
        value = images.permute(0, 2, 3, 1).unflatten(3, (self.sizes[-1], -1))
        self._hand_on(value, 0, parts)
        for number, operation in enumerate(self.operations):
            computed = operation(_channels_first(self._total(number, parts, value)))
            computed = computed.permute(0, 2, 3, 1).unflatten(3, (self.sizes[number], -1))
            self._hand_on(computed, number + 1, parts)
        return _channels_first(self._total(-1, parts, value))

    def _hand_on(self, value: Tensor, source: int, parts: list[list[Tensor]]) -> None:
        """Give every sum its terms of `value`, `[B, H, W, n, S * C]`."""
        if uses := self.uses[source]:
            copies = _distribute(value, *(positions for _, positions in uses))
            for (target, _), copy in zip(uses, copies, strict=True):
                parts[target].append(copy)

    def _total(self, target: int, parts: list[list[Tensor]], like: Tensor) -> Tensor:
        """Sum `[B, H, W, n, S * C]` of what was given to the n members of a group."""
        if self.selects[target]:
            return parts[target][0]
        total = like.new_zeros(*like.shape[:3], self.sizes[target], like.shape[4])
        for members, part in zip(self.members[target], parts[target], strict=True):
            total.index_add_(3, members, part)
        return total


def _channels_first(value: Tensor) -> Tensor:
    """`[B, H, W, n, S * C]` as feature maps `[B, n * S * C, H, W]`, channels last in memory."""
    return value.flatten(3).permute(0, 3, 1, 2)


class Reduction(nn.Module):
    """Residual block that halves resolution: two convolutions, average pooling as shortcut."""

    def __init__(self, channels: int, outputs: int, networks: int) -> None:
        super().__init__()
        self.first = relu_conv_bn(channels, outputs, networks, kernel=3, stride=2)
        self.second = relu_conv_bn(outputs, outputs, networks, kernel=3)
        # Rounds up, as the strided convolution does; the same for the even sizes of the benchmark.
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True),
            convolution(channels, outputs, networks, kernel=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.shortcut(images) + self.second(self.first(images))


class NetworkBatch(nn.Module):
    """K = cells x S independent networks, those of a cell side by side.

    `forward` takes images `[B, K, c, H, W]` to logits `[B, K, Y]`.

    Args:
        cells: What to repeat in the stages.
        seeds: Networks S of each cell; at least two networks in all.
        skeleton: Sizes.
    """

    def __init__(self, cells: Sequence[Cell], seeds: int, skeleton: Skeleton) -> None:
        super().__init__()
        plan = group_nodes([plan_cell(cell) for cell in cells])
        self.seeds, self.networks = seeds, len(cells) * seeds
        channels = skeleton.channels
        self.stem = nn.Sequential(
            convolution(skeleton.image_channels, channels[0], self.networks, kernel=3),
            nn.BatchNorm2d(self.networks * channels[0]),
        )
        self.stages = len(channels)
        cells_in_order = [
            BatchedCell(plan, seeds, c) for c in channels for _ in range(skeleton.cells)
        ]
        self.cells = cast(Sequence[BatchedCell], nn.ModuleList(cells_in_order))
        self.reductions = nn.ModuleList(
            Reduction(width, wider, self.networks) for width, wider in itertools.pairwise(channels)
        )
        width, outputs = self.networks * channels[-1], self.networks * skeleton.classes
        self.head = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            GlobalAverage(),
            nn.Conv2d(width, outputs, 1, groups=self.networks),
        )

    def forward(self, images: Tensor) -> Tensor:
        # Channels last in memory: batch norm and convolutions take half the time.
        features = self.stem(images.flatten(1, 2).contiguous(memory_format=torch.channels_last))
        for number, cell in enumerate(self.cells):
            stage, place = divmod(number, len(self.cells) // self.stages)
            if stage and not place:
                features = self.reductions[stage - 1](features)
            features = cell(features)
        return self.head(features).view(len(images), self.networks, -1)

    def slices(self) -> Iterator[tuple[int, str, Tensor]]:
        """Every weight and batch-norm buffer of every network: (network, name, view of it).

        A name is that in one network alone, such as `cells.0.3.1.weight` for node 3 of the
        first cell; it does not depend on what else is in the batch.
        """
        for module, members, names in self._parts():
            for key, tensor in module.state_dict().items():
                if tensor.dim():  # not batch norm's number of batches
                    views = tensor.view(members, -1, *tensor.shape[1:])
                    for (network, name), view in zip(names, views, strict=False):
                        yield network, f"{name}.{key}", view

    def _parts(self) -> Iterator[tuple[nn.Module, int, list[tuple[int, str]]]]:
        """Modules, the networks that each holds, and (network, name) of those."""
        frame = {"stem": self.stem, "reductions": self.reductions, "head": self.head}
        for name, part in frame.items():
            yield part, self.networks, [(network, name) for network in range(self.networks)]
        for place, cell in enumerate(self.cells):
            for operation, size, owners in zip(
                cell.operations, cell.sizes, cell.owners, strict=False
            ):
                names = [
                    (number * self.seeds + seed, f"cells.{place}.{node}")
                    for number, node in owners
                    for seed in range(self.seeds)
                ]
                yield operation, size * self.seeds, names


def build_networks(cells: Sequence[Cell], seeds: Sequence[int], skeleton: Skeleton) -> NetworkBatch:
    """Networks with initial weights that depend on nothing but seed, cell and name of the weight.

    Weights of convolutions are uniform within one over the root of their fan-in, the default of
    torch, which the benchmark uses; biases are zero and scales one.
    """
    with torch.random.fork_rng(devices=[]):  # modules draw weights as they are made
        networks = NetworkBatch(cells, len(seeds), skeleton)
    for network, name, view in networks.slices():
        if view.dim() > 1:
            cell, seed = divmod(network, len(seeds))
            bound = 1 / math.sqrt(view[0].numel())
            use = f"tabulate/init/{cells[cell]}/{name}"
            view.uniform_(-bound, bound, generator=torch_stream(seeds[seed], use))
        elif name.endswith("bias"):
            view.zero_()
    return networks

"""Parameters and multiply-adds of the network of a cell."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from archrep.cells.cell import Cell
from archrep.tabulation.network import NetworkBatch, Skeleton
from archrep.tabulation.operations import IDENTITY, INPUT, OUTPUT, ZERO, make_operation


@dataclass(frozen=True)
class Cost:
    """Trainable parameters, and multiply-adds of one image.

    Multiply-adds are those of convolutions and of the classifier with its bias, and nothing for
    batch norm and pooling: what NAS-Bench-201 calls FLOPs.
    """

    params: int
    macs: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.params * times, self.macs * times)


def network_cost(ops: Iterable[str], skeleton: Skeleton, height: int, width: int) -> Cost:
    """Cost of a network whose cells have these operations, on images of `height` x `width`.

    Pass `cell.ops` to count every node, as the benchmarks do, or only those that are computed.
    """
    total = _frame_cost(skeleton, height, width)
    inner = [op for op in ops if op not in (INPUT, OUTPUT, ZERO, IDENTITY)]
    for channels in skeleton.channels:
        for op in inner:
            total += _operation_cost(op, channels, height, width) * skeleton.cells
        height, width = (height + 1) // 2, (width + 1) // 2
    return total


@functools.cache
def _frame_cost(skeleton: Skeleton, height: int, width: int) -> Cost:
    with torch.device("meta"):
        plain = Cell((INPUT, OUTPUT), ((0, 1),))
        pair = NetworkBatch([plain], 2, skeleton)  # it holds two networks or more
        both = _measured(pair, torch.empty(1, 2, skeleton.image_channels, height, width))
    return Cost(both.params // 2, both.macs // 2)


@functools.cache
def _operation_cost(op: str, channels: int, height: int, width: int) -> Cost:
    with torch.device("meta"):
        return _measured(make_operation(op, channels, 1), torch.empty(1, channels, height, width))


def _measured(module: nn.Module, images: Tensor) -> Cost:
    """Cost of `module` on one input, from what its convolutions put out; on the meta device."""
    macs = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        weights = sum(parameter.numel() for parameter in layer.parameters())
        macs += weights * output.shape[-2] * output.shape[-1]

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    module.eval()(images)
    return Cost(sum(parameter.numel() for parameter in module.parameters()), macs)

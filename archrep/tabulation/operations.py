"""What the node of a cell computes, written for many networks side by side.

An operation is an ordinary `torch.nn.Module` that holds the same layer of `networks` networks:
feature maps are `[B, networks * C, H, W]`, a convolution takes `groups=networks`, and batch norm
works on each channel alone anyway. A new operation is one more entry in `OPERATIONS`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from archrep.errors import ConfigError, UnknownNameError

MakeOperation = Callable[[int, int], nn.Module]
"""Function of the channels C of one network and of the number of networks."""

INPUT, OUTPUT = "input", "output"
"""Labels of the first and the last node of a cell."""

ZERO, IDENTITY = "none", "skip_connect"
"""Operations that are planned away rather than computed: nothing, and the sum itself."""


KEEPS_ZERO = {IDENTITY, "avg_pool_3x3", "maxpool3x3"}
"""Operations that make zeros of zeros; one with a batch norm does not, which adds a bias."""


def convolution(
    channels: int, outputs: int, networks: int, *, kernel: int, stride: int = 1
) -> nn.Conv2d:
    """Convolution without bias of `networks` networks that keeps resolution at stride 1."""
    return nn.Conv2d(
        networks * channels,
        networks * outputs,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=networks,
        bias=False,
    )


def relu_conv_bn(
    channels: int, outputs: int, networks: int, *, kernel: int, stride: int = 1
) -> nn.Module:
    """ReLU, convolution, batch norm: the order of NAS-Bench-201 (Dong and Yang, 2020)."""
    conv = convolution(channels, outputs, networks, kernel=kernel, stride=stride)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(networks * outputs))


def conv_bn_relu(channels: int, networks: int, *, kernel: int) -> nn.Module:
    """Convolution, batch norm, ReLU: the order of NAS-Bench-101 (Ying et al., 2019)."""
    conv = convolution(channels, channels, networks, kernel=kernel)
    return nn.Sequential(conv, nn.BatchNorm2d(networks * channels), nn.ReLU())


class AveragePool(nn.Module):
    """Mean over 3 x 3 pixels, of those inside the image: the pooling of NAS-Bench-201.

    The same as `nn.AvgPool2d(3, 1, 1, count_include_pad=False)` up to rounding; on small images a
    product with a matrix is some eight times faster.
    """

    LARGEST_MATRIX = 256
    """Pixels from which on the matrix costs more than it saves."""

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height * width > self.LARGEST_MATRIX:
            return functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
        pixels = images.permute(0, 2, 3, 1).flatten(1, 2)  # [B, H W, C], as it lies in memory
        pooled = _pooling_matrix(height, width).to(pixels) @ pixels
        return pooled.unflatten(1, (height, width)).permute(0, 3, 1, 2)


class GlobalAverage(nn.Module):
    """Mean over all pixels, `[B, C, 1, 1]`.

    Where channels lie last in memory, `nn.AdaptiveAvgPool2d` sums in an order that depends on the
    number of channels, and with it on how many networks there are.
    """

    def forward(self, images: Tensor) -> Tensor:
        return images.contiguous().flatten(2).mean(2)[:, :, None, None]


@functools.cache
def _pooling_matrix(height: int, width: int) -> Tensor:
    """Share of each pixel (column) in the mean around each pixel (row), `[H W, H W]`."""
    pixels = torch.eye(height * width, device="cpu").view(-1, 1, height, width)  # kept: never meta
    return functional.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False).flatten(1).T


OPERATIONS: dict[str, MakeOperation] = {
    "nor_conv_1x1": lambda c, n: relu_conv_bn(c, c, n, kernel=1),
    "nor_conv_3x3": lambda c, n: relu_conv_bn(c, c, n, kernel=3),
    "avg_pool_3x3": lambda c, n: AveragePool(),
    "conv1x1-bn-relu": lambda c, n: conv_bn_relu(c, n, kernel=1),
    "conv3x3-bn-relu": lambda c, n: conv_bn_relu(c, n, kernel=3),
    "maxpool3x3": lambda c, n: nn.MaxPool2d(3, 1, padding=1),
}
"""Operations by the label of a node; `ZERO` and `IDENTITY` are known besides."""


def register_operation(label: str, make: MakeOperation) -> None:
    """Make the cells that use `label` trainable.

    Args:
        label: As in the cells.
        make: Builds the module for (channels, networks). Networks must not mix: keep channel
            `k * channels + c` of the input with that of the output. Convolutions and batch norms
            may hold weights.

    Raises:
        ConfigError: The label is taken.
    """
    if label in known_operations():
        raise ConfigError(f"Operation {label!r} is registered already. Choose another label.")
    OPERATIONS[label] = make


def known_operations() -> tuple[str, ...]:
    """Every label that the node of a trainable cell may carry."""
    return (INPUT, OUTPUT, ZERO, IDENTITY, *OPERATIONS)


def make_operation(label: str, channels: int, networks: int) -> nn.Module:
    """The operation of that label for `networks` networks.

    Raises:
        UnknownNameError: No such operation.
    """
    if label == IDENTITY:
        return nn.Identity()  # of a sum; a single term is passed on by the plan
    if label not in OPERATIONS:
        raise UnknownNameError(
            f"Operations that can be trained are {', '.join(known_operations())}. Got {label!r}. "
            "Add it with `archrep.tabulation.register_operation`."
        )
    return OPERATIONS[label](channels, networks)

"""Atrous spatial pyramid pooling: Chen et al. (2017), "Rethinking Atrous Convolution ...".

    1 x 1          \
    3 x 3, rate r_1 \
    ...              > concat -> 1 x 1 -> 1 x 1 to classes -> bilinear to the image's size
    global pool     /

Every convolution but the last has batch norm and ReLU. UnNAS searches with 64 channels and rate 6,
and evaluates with 256 channels and rates 6, 12 and 18, on maps of stride 16.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from archrep.objectives.base import Head


class ConvNorm(nn.Module):
    """Convolution without bias that keeps the size, batch norm, ReLU.

    Args:
        channels: Of its input.
        width: Of its output.
        kernel: Height and width of the kernel, odd.
        rate: Pixels from one tap of the kernel to the next.
    """

    def __init__(self, channels: int, width: int, kernel: int = 1, rate: int = 1) -> None:
        super().__init__()
        padding = rate * (kernel // 2)
        self.conv = nn.Conv2d(channels, width, kernel, padding=padding, dilation=rate, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, features: Tensor) -> Tensor:
        """Of the same height and width."""
        mapped = self.conv(features)
        if self.training and mapped.numel() == mapped.shape[1]:
            # One value a channel has no deviation, and torch refuses it: take what was seen before.
            norm = self.norm
            mapped = functional.batch_norm(
                mapped, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        else:
            mapped = self.norm(mapped)
        return mapped.relu()


class AsppHead(Head):
    """Classes of pixels from what lies around them near and far.

    Args:
        channels: Of the last feature map.
        width: Channels of every branch.
        rates: Of the dilated branches.
        classes: Outputs of a pixel.
    """

    def __init__(self, channels: int, width: int, rates: Sequence[int], classes: int) -> None:
        super().__init__()
        dilated = (ConvNorm(channels, width, 3, rate) for rate in rates)
        self.local = nn.ModuleList([ConvNorm(channels, width), *dilated])
        self.pooled = ConvNorm(channels, width)
        self.joined = ConvNorm((len(rates) + 2) * width, width)
        self.linear = nn.Conv2d(width, classes, 1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Logits `[B, classes, H, W]`, of the size of the inputs."""
        last = features[-1]
        # Norms see the pooled map at every place, so that a batch of one image has deviations; over
        # several images these are the same either way.
        pooled = self.pooled(last.mean((2, 3), keepdim=True).expand_as(last))
        branches = torch.cat([*(branch(last) for branch in self.local), pooled], 1)
        logits = self.linear(self.joined(branches))
        return functional.interpolate(logits, size, mode="bilinear", align_corners=True)

"""Decoders: from feature maps back to an image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from archrep.errors import ShapeError
from archrep.objectives.base import Head, Stage


class PlainDecoder(Head):
    """A linear layer from each place of the last map to the pixels that it stands for.

    The prediction head of SimMIM (Xie et al., 2022): 1 x 1 convolution, then pixel shuffle.

    Args:
        stage: The last one.
        channels: Of the image.
    """

    def __init__(self, stage: Stage, channels: int) -> None:
        super().__init__()
        self.stride = stage.stride
        self.linear = nn.Conv2d(stage.channels, stage.stride**2 * channels, 1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Images `[B, c, H, W]`.

        Raises:
            ShapeError: The map is not `stride` times smaller than the inputs.
        """
        image = functional.pixel_shuffle(self.linear(features[-1]), self.stride)
        if image.shape[2:] != size:
            raise ShapeError(
                f"The last map must be {self.stride} times smaller than the inputs, "
                f"{size[0]} x {size[1]}. Got {tuple(features[-1].shape[2:])}."
            )
        return image


class HierarchicalDecoder(Head):
    """Maps of all resolutions, enlarged to the image's size and added (MAE-NAS, Eq. 3).

        image = Linear( sum_i Upsample( Conv_i(F_i) ) )

    The printed factors 2, 4 and 8 fit neither of the paper's networks, whose strides are 1, 2, 4
    and 8, 16, 32; so every map is enlarged to the image's size, bilinearly. Conv_i is a 1 x 1
    convolution, the paper says "simple". Since Linear and Upsample commute, Linear comes first
    here: the same function of the same weights, with `channels` maps to enlarge, not `width`.

    Args:
        stages: Of the network.
        width: Channels D that all maps are brought to, which the paper leaves open.
        channels: Of the image.
    """

    def __init__(self, stages: Sequence[Stage], width: int, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(stage.channels, width, 1) for stage in stages)
        self.linear = nn.Conv2d(width, channels, 1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Images `[B, c, H, W]`.

        Raises:
            ShapeError: There are not as many maps as stages.
        """
        if len(features) != len(self.convs):
            raise ShapeError(f"Expected {len(self.convs)} feature maps. Got {len(features)}.")
        maps = [conv(feature) for conv, feature in zip(self.convs, features, strict=True)]
        small = [self.linear(maps[0])]  # the bias once; enlarging leaves a constant as it is
        small += [functional.conv2d(other, self.linear.weight) for other in maps[1:]]
        return sum((_enlarged(image, size) for image in small[1:]), _enlarged(small[0], size))


def _enlarged(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[2:] == size:
        return image
    return functional.interpolate(image, size, mode="bilinear", align_corners=False)

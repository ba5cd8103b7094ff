"""Images made by hand, of every kind of target."""

from __future__ import annotations

import torch

from archrep.data.base import IGNORED, ImageSet
from archrep.objectives.base import Stage

STAGES = [Stage(6, 1), Stage(8, 2), Stage(12, 4)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(
    task: str = "classes", *, count: int = 12, size: int = 24, channels: int = 3, classes: int = 5
) -> ImageSet:
    draws = generator(7)
    shape = (count, size, size)
    if task == "classes":
        targets = torch.randint(classes, (count,), generator=draws)
    elif task == "masks":
        targets = torch.randint(classes, shape, generator=draws).to(torch.uint8)
        targets[:, 0] = IGNORED
    else:
        targets = torch.randint(2, (count, classes), generator=draws).float()
        targets[0, 1] = torch.nan
    return ImageSet(
        name="toy",
        images=torch.randint(256, (count, channels, *shape[1:]), generator=draws).to(torch.uint8),
        targets=targets,
        classes=classes,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        task=task,
    )


def features_of(inputs: torch.Tensor, stages=STAGES, seed: int = 3) -> list[torch.Tensor]:
    """Feature maps of each stage for inputs, as a network would give them, that need gradients."""
    draws = generator(seed)
    height, width = inputs.shape[2:]
    return [
        torch.randn(
            len(inputs), channels, -(-height // stride), -(-width // stride), generator=draws
        ).requires_grad_()
        for channels, stride in stages
    ]

"""Semantic segmentation, as Liu et al. (2020) search and evaluate with it (UnNAS, Section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from archrep.data.base import IGNORED, ImageSet
from archrep.objectives.aspp import AsppHead
from archrep.objectives.base import Head, Objective, Stage
from archrep.objectives.heads import last_channels
from archrep.settings import check


@dataclass(frozen=True, kw_only=True)
class Segmentation(Objective):
    """Tell the class of each pixel."""

    name: ClassVar[str] = "segmentation"
    title: ClassVar[str] = "Segmentation with ASPP (Chen et al., 2017)"
    metric: ClassVar[str] = "mean_iou"
    tasks: ClassVar[tuple[str, ...]] = ("masks",)

    width: int = 64
    """Channels of every branch of the head; 256 in evaluation."""
    rates: tuple[int, ...] = (6,)
    """Dilations of its branches; 6, 12, 18 in evaluation."""

    def __post_init__(self) -> None:
        check(
            {
                f"`width` must be at least 1. Got {self.width}.": self.width >= 1,
                f"`rates` must be at least 1 each. Got {self.rates}.": (
                    all(rate >= 1 for rate in self.rates)
                ),
            }
        )

    def head(self, stages: Sequence[Stage], images: ImageSet) -> Head:
        return AsppHead(last_channels(stages), self.width, self.rates, images.classes)

    def prepare(
        self,
        pixels: Tensor,
        targets: Tensor,
        images: ImageSet,
        generator: torch.Generator,
        train: bool,
    ) -> tuple[Tensor, Tensor]:
        """Images, and classes of pixels as int64.

        Masks are taken as they are: whatever moves pixels must have moved the masks as well.
        """
        return images.normalise(pixels), targets.long()

    def loss(self, outputs: Tensor, targets: Any) -> Tensor:
        """Mean cross-entropy of the pixels that count, in nats; 0 where none does."""
        total = functional.cross_entropy(outputs, targets, ignore_index=IGNORED, reduction="sum")
        return total / (targets != IGNORED).sum().clamp(min=1)

    def score(self, outputs: Tensor, targets: Any) -> Tensor:
        """Mean intersection over union of the batch; that of a whole set is not its average."""
        return mean_iou(outputs.argmax(1), targets, outputs.shape[1])


def mean_iou(predicted: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Intersection over union of each class, averaged over those that occur in either.

    Args:
        predicted: Classes of pixels, of any shape.
        targets: Of the same shape; `IGNORED` where a pixel counts for nothing.
        classes: Their number.

    Returns:
        From 0 to 1; 0 where no pixel counts.

    Example:
        >>> round(float(mean_iou(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 3)), 3)
        0.5
    """
    known = targets != IGNORED
    targets = torch.where(known, targets, classes)  # one spare class for all that is ignored
    predicted = torch.where(known, predicted, classes)
    both = torch.where(targets == predicted, targets, classes)
    found, wanted, shared = (_count(labels, classes) for labels in (predicted, targets, both))
    union = found + wanted - shared
    return (shared / union.clamp(min=1)).sum() / (union > 0).sum().clamp(min=1)


def _count(labels: Tensor, classes: int) -> Tensor:
    """Occurrences of each class but the spare one, `[classes]`, without waiting for the device."""
    zeros = torch.zeros(classes + 1, dtype=torch.int64, device=labels.device)
    flat = labels.flatten()
    return zeros.scatter_add_(0, flat, torch.ones_like(flat))[:classes]

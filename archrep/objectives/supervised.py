"""Classes as they are given: what supervised search learns, the yardstick of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from archrep.data.base import ImageSet
from archrep.objectives.base import Head, Stage
from archrep.objectives.classification import Classification
from archrep.objectives.heads import ClassifierHead, last_channels
from archrep.settings import check


@dataclass(frozen=True, kw_only=True)
class Supervised(Classification):
    """Tell the class of an image."""

    name: ClassVar[str] = "supervised"
    title: ClassVar[str] = "True labels"
    tasks: ClassVar[tuple[str, ...]] = ("classes",)

    label_smoothing: float = 0.0
    """Part of the target that is spread evenly over all classes; 0.1 for networks on ImageNet."""

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        check(
            {f"`label_smoothing` must lie in [0, 1). Got {smoothing}.": 0 <= smoothing < 1},
        )

    def head(self, stages: Sequence[Stage], images: ImageSet) -> Head:
        return ClassifierHead(last_channels(stages), images.classes)

    def prepare(
        self,
        pixels: Tensor,
        targets: Tensor,
        images: ImageSet,
        generator: torch.Generator,
        train: bool,
    ) -> tuple[Tensor, Tensor]:
        return images.normalise(pixels), targets

    def loss(self, outputs: Tensor, targets: Any) -> Tensor:
        return functional.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

"""What objectives that choose one of several classes for an image have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from archrep.objectives.base import Objective


@dataclass(frozen=True, kw_only=True)
class Classification(Objective):
    """Cross-entropy in nats, and top-1 accuracy."""

    def loss(self, outputs: Tensor, targets: Any) -> Tensor:
        return functional.cross_entropy(outputs, targets)

    def score(self, outputs: Tensor, targets: Any) -> Tensor:
        return (outputs.argmax(1) == targets).float().mean()

"""Several findings that may hold at once, as on chest X-rays (Irvin et al., 2019, CheXpert)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from archrep.data.base import ImageSet
from archrep.errors import ConfigError, ShapeError
from archrep.objectives.base import Head, Objective, Stage
from archrep.objectives.heads import ClassifierHead, last_channels


@dataclass(frozen=True, kw_only=True)
class MultiLabel(Objective):
    """Tell of each finding whether it holds."""

    name: ClassVar[str] = "multi-label"
    title: ClassVar[str] = "Findings that may hold together"
    metric: ClassVar[str] = "mean_auroc"
    tasks: ClassVar[tuple[str, ...]] = ("findings",)

    def adopt(self, images: ImageSet, seed: int) -> ImageSet:
        """The images as they are.

        Raises:
            ConfigError: There is no finding, or one is neither 0 nor 1 nor unknown.
        """
        images = super().adopt(images, seed)
        targets = images.targets
        fits = (targets == 0) | (targets == 1) | targets.isnan()
        if not targets.numel() or not bool(fits.all()):
            wrong = targets[~fits].flatten()[:1].tolist()
            raise ConfigError(
                f"Findings of {images.name} must be 0, 1 or NaN for unknown, one or more an image. "
                f"Got {wrong[0] if wrong else 'none'}."
            )
        return images

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
        """Mean binary cross-entropy of the findings that are known, in nats; 0 where none is."""
        known = ~targets.isnan()
        each = functional.binary_cross_entropy_with_logits(
            outputs, targets.nan_to_num(0.0), reduction="none"
        )
        return (each * known).sum() / known.sum().clamp(min=1)

    def score(self, outputs: Tensor, targets: Any) -> Tensor:
        """Area under the ROC curve, averaged over findings that the batch has both cases of.

        Where it has both of none, a half, which is what guessing reaches. Small batches are noisy
        and their average is not the area over a whole set; call `auroc` on that.
        """
        areas = auroc(outputs, targets)
        defined = ~areas.isnan()
        mean = areas.nan_to_num(0.0).sum() / defined.sum().clamp(min=1)
        return torch.where(defined.any(), mean, 0.5).to(outputs.dtype)


def auroc(outputs: Tensor, targets: Tensor) -> Tensor:
    """Area under the ROC curve of each finding; equal outputs count a half.

    The probability that a case where the finding holds is ranked above one where it does not, from
    the rank sum of Mann and Whitney (1947).

    Args:
        outputs: Scores, larger where the finding is likelier, `[N, L]`.
        targets: 0, 1 or NaN, `[N, L]`.

    Returns:
        `[L]` of float64, from 0 to 1; NaN where cases of one kind are missing.

    Raises:
        ShapeError: The shapes differ.

    Example:
        >>> auroc(torch.tensor([[0.1], [0.4], [0.3]]), torch.tensor([[0.0], [1.0], [1.0]])).tolist()
        [1.0]
    """
    if outputs.shape != targets.shape or outputs.ndim != 2:
        raise ShapeError(
            f"`outputs` and `targets` must be [N, L]. Got {tuple(outputs.shape)} and "
            f"{tuple(targets.shape)}."
        )
    known = ~targets.isnan()
    # Unknown cases go to the end, where they move no other rank.
    scores = outputs.double().masked_fill(~known, torch.inf).T.contiguous()  # [L, N]
    ordered = scores.sort(1).values
    below = torch.searchsorted(ordered, scores)
    up_to = torch.searchsorted(ordered, scores, right=True)
    ranks = (below + up_to + 1) / 2  # from 1, the mean of equals
    holds = (targets == 1).T
    positives = holds.sum(1).double()
    negatives = known.T.sum(1) - positives
    above = (ranks * holds).sum(1) - positives * (positives + 1) / 2
    return above / (positives * negatives)  # 0 / 0 is NaN

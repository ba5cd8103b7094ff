"""The interface of a predictor: what cells score, from the scores of some."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from archrep.errors import ShapeError


class Predictor(ABC):
    """R models that are fitted together, each on its own labels.

    Every model comes out bit for bit as it would if fitted alone: sums over labels or units stay
    within a run, and arrays give each run whole vector registers.
    """

    @abstractmethod
    def fit(
        self, features: Tensor, values: Tensor, rngs: Sequence[np.random.Generator] | None = None
    ) -> Self:
        """Fit to labels.

        Args:
            features: Vectors of n labelled cells for each of R models, `[R, n, D]`.
            values: Their labels, `[R, n]`; larger is better.
            rngs: One a model; `None` for the same default seed in each. Models without
                randomness do not use them.

        Raises:
            ShapeError: These are not of that shape.
        """

    @abstractmethod
    def predict(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of N cells under every model, `[R, N]` of float64 each.

        In the unit of the labels, without the noise of a label.

        Args:
            vectors: `[N, D]`.
        """


def standardised(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels of mean zero and deviation one in each run, their centre and scale, `[R]` each."""
    centre = torch.stack([row.mean() for row in values])
    scale = torch.stack([row.std(correction=0) for row in values]).clamp(min=1e-8)
    return (values - centre[:, None]) / scale[:, None], centre, scale


def checked(features: Tensor, values: Tensor) -> None:
    """Refuse labels that do not belong to the features.

    Raises:
        ShapeError: They are not `[R, n, D]` and `[R, n]`, or there are none.
    """
    if features.ndim != 3 or features.shape[:2] != values.shape or not values.numel():
        raise ShapeError(
            "`features` and `values` must be [R, n, D] and [R, n]. "
            f"Got {tuple(features.shape)} and {tuple(values.shape)}."
        )

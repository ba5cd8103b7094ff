"""How many directions the features of an architecture have, before any training.

The entropy of the normalised eigenvalues of the covariance of a feature map: the expressivity of
AZ-NAS (Lee and Ham, 2024, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search"),
here of every architecture with the initial weights of a supernet, at the end of each resolution.
It needs images, and no labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from archrep.objectives.base import Objective
from archrep.searchers.base import Lane
from archrep.searchers.one_shot import batches_of, distinct
from archrep.supernets.base import Supernet


def spectra(
    supernet: Supernet,
    objective: Objective,
    lanes: Sequence[Lane],
    images: int,
    choices: np.ndarray,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> np.ndarray:
    """Entropies in nats of the last feature map of each stage, `[S, M, stages]`.

    Args:
        supernet: With its initial weights.
        objective: Prepares what the supernet sees.
        lanes: Images of each seed.
        images: How many of them, from the first on.
        choices: Operations of each place of M architectures, `[M, P]`.
        report: Called now and then with how many of how many are measured.
    """
    unlike, place = distinct(supernet, choices)
    shown = list(batches_of(objective, lanes, images, "spectrum"))
    found = np.zeros((len(supernet.seeds), len(unlike), len(supernet.stages)))
    with torch.no_grad():
        for m, path in enumerate(unlike):
            for inputs, _ in shown:
                for n, features in enumerate(supernet(inputs, path)):
                    found[:, m, n] += _entropy(features).cpu().numpy() / len(shown)
            if m % 50 == 0:
                report(m, len(unlike))
    return found[:, place]


def _entropy(features: Tensor) -> Tensor:
    """Of the eigenvalues of the covariance over images and places of maps, `[S]`.

    Args:
        features: `[B, S, C, H, W]`.
    """
    flat = features.permute(1, 0, 3, 4, 2).flatten(1, 3)  # [S, B H W, C]
    flat = flat - flat.mean(1, keepdim=True)
    values = torch.linalg.eigvalsh(flat.mT @ flat / flat.shape[1]).clamp(min=0)
    share = values / values.sum(1, keepdim=True).clamp(min=1e-12)
    return -torch.special.xlogy(share, share).sum(1)

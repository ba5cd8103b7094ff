"""Acquisition functions: how much a query promises, from a predicted mean and standard deviation.

All maximise, all are elementwise over tensors of one shape, in float64 where precision matters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_SQRT_2_PI = math.log(2 * math.pi) / 2


def expected_improvement(mean: Tensor, std: Tensor, best: Tensor | float) -> Tensor:
    """Expected amount by which a value exceeds `best`, in the unit of the values.

    Jones et al. (1998), Eq. 15: `std (phi(u) + u Phi(u))` with `u = (mean - best) / std`.

    Example:
        >>> round(expected_improvement(torch.tensor(0.0), torch.tensor(1.0), 0.0).item(), 4)
        0.3989
    """
    u = (mean - best) / std
    return std * ((-u.square() / 2 - _LOG_SQRT_2_PI).exp() + u * torch.special.ndtr(u))


def log_expected_improvement(mean: Tensor, std: Tensor, best: Tensor | float) -> Tensor:
    """Logarithm of `expected_improvement`, finite where that underflows.

    Ament et al. (2023), "Unexpected Improvements to Expected Improvement", Eq. 8-9. It ranks like
    expected improvement and tells hopeless candidates apart, so that ties do not decide.
    """
    u = (mean - best) / std
    low = u.clamp(max=-1.0)
    # phi(u) + u Phi(u) = phi(u) (1 + u sqrt(pi / 2) erfcx(-u / sqrt 2)); it tends to phi(u) / u^2.
    share = 1 + low * math.sqrt(math.pi / 2) * torch.special.erfcx(-low / math.sqrt(2))
    far = low < -1e3  # there the sum above has lost its digits
    log_share = torch.where(far, -2 * low.abs().log(), share.clamp(min=1e-30).log())
    below = -low.square() / 2 - _LOG_SQRT_2_PI + log_share
    high = u.clamp(min=-1.0)
    above = ((-high.square() / 2 - _LOG_SQRT_2_PI).exp() + high * torch.special.ndtr(high)).log()
    return torch.where(u < -1, below, above) + std.log()


def upper_confidence_bound(mean: Tensor, std: Tensor, beta: float = 2.0) -> Tensor:
    """`mean + beta std` (Srinivas et al., 2010, with beta for the square root of theirs)."""
    return mean + beta * std

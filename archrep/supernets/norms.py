"""Where batch norms take their statistics from: the batch, or batches that were seen before.

The batch norms of a supernet see every path. Running statistics would be those of none of them, so
there are none: a step normalises by its own batch, and a path that is to be judged by itself may
have its statistics measured first (Guo et al., 2020, "Single Path One-Shot", section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-5


class BatchStatistics:
    """Every batch norm normalises by the batch that it sees."""

    def begin(self) -> None:
        """A new forward pass begins."""

    def __call__(
        self, features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Normalised maps `[B, C, H, W]`, times `weight` plus `bias`, `[C]` each."""
        # The backward pass of torch reads beyond the end of an expanded weight (2.13, on a CPU).
        weight = None if weight is None else weight.contiguous()
        return functional.batch_norm(features, None, None, weight, bias, True, 0.0, EPSILON)


@dataclass(frozen=True)
class SharedStatistics(BatchStatistics):
    """A batch lies in equal shares on R processes, and every norm sees the whole of it.

    Attributes:
        gather: `[...]` of each process to `[R, ...]` of all, with its gradient.
    """

    gather: Callable[[Tensor], Tensor]

    def __call__(
        self, features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        kind = features.dtype
        features = features.float() if kind == torch.bfloat16 else features  # sums need digits
        moments = torch.var_mean(features, (0, 2, 3), correction=0)
        variances, means = self.gather(torch.stack(moments)).unbind(1)  # [R, C]
        mean = means.mean(0)
        # Of all shares together: how far images are from their share's mean, and that from `mean`.
        variance = (variances + (means - mean).square()).mean(0)
        scale = (variance + EPSILON).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return torch.addcmul(shift[:, None, None], features, scale[:, None, None]).to(kind)


@dataclass
class CollectedStatistics(BatchStatistics):
    """Means of the statistics of several batches of one path, then fixed.

    While `collecting`, every forward pass adds its own; afterwards their means are used. Batch
    norms are told apart by their order, so all passes must be of the same path.
    """

    collecting: bool = True
    passes: int = 0
    moments: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    _at: int = 0

    def begin(self) -> None:
        self._at = 0
        self.passes += self.collecting

    def __call__(
        self, features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        if self.collecting:
            mean, variance = features.mean((0, 2, 3)), features.var((0, 2, 3), correction=0)
            if self._at == len(self.moments):
                self.moments.append((mean, variance))
            else:
                before = self.moments[self._at]
                share = 1 / self.passes
                self.moments[self._at] = (
                    before[0].lerp(mean, share),
                    before[1].lerp(variance, share),
                )
            self._at += 1
            return super().__call__(features, weight, bias)
        mean, variance = self.moments[self._at]
        self._at += 1
        return functional.batch_norm(features, mean, variance, weight, bias, False, 0.0, EPSILON)

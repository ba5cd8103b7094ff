"""Batch norms of a shared batch, by one process: those of torch, in either precision."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from archrep.supernets.norms import EPSILON, SharedStatistics


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_are_summed_in_float32(dtype):
    generator = torch.Generator().manual_seed(0)
    features = (5 + torch.randn(64, 3, 8, 8, generator=generator)).to(dtype)
    shared = SharedStatistics(lambda part: part[None])
    weight, bias = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, -1.0, 1.0])
    found = shared(features, weight, bias)
    exact = functional.batch_norm(
        features.double(), None, None, weight.double(), bias.double(), True, 0.0, EPSILON
    )
    assert found.dtype == dtype
    rounding = 2**-8 if dtype == torch.bfloat16 else 1e-6
    error = (found.double() - exact).abs() / exact.abs().clamp(min=1)
    assert error.max() <= rounding

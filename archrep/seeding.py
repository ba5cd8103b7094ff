"""Named random streams: one seed, one independent generator for every use.

Library code neither seeds nor reads a global generator. A new use of randomness takes a new name
and so moves no existing stream.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, use: str) -> int:
    """64-bit seed of one named use, the same in every process and on every platform."""
    digest = hashlib.sha256(f"{seed}/{use}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def numpy_stream(seed: int, use: str) -> np.random.Generator:
    """NumPy generator of one named use, such as `numpy_stream(0, "split")`."""
    return np.random.default_rng(derive_seed(seed, use))


def torch_stream(seed: int, use: str, device: str = "cpu") -> torch.Generator:
    """Torch generator of one named use, such as `torch_stream(0, "init")`."""
    import torch

    return torch.Generator(device).manual_seed(derive_seed(seed, use))

"""Where to compute."""

from __future__ import annotations

import torch

from archrep.errors import ConfigError


def resolve_device(device: str) -> torch.device:
    """Device of `"cpu"`, `"cuda"`, or `"auto"`: a GPU if there is one.

    Raises:
        ConfigError: Another name, or `"cuda"` where torch sees no GPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"`device` must be 'auto', 'cpu' or 'cuda'. Got {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`device` is 'cuda', and torch sees no GPU. Run `archrep doctor`.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)

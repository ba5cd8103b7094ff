"""Where to compute, and what to write about it beside a figure."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import archrep
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


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and machine that belong beside every figure."""
    return {
        "archrep": archrep.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor_name() if device.type == "cpu" else torch.cuda.get_device_name(),
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: sums in a fixed order, and parallel work is left to processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

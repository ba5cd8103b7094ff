"""The supernets by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial as bound
from inspect import signature
from typing import Any

from archrep.errors import ConfigError
from archrep.settings import named
from archrep.supernets.base import Supernet
from archrep.supernets.darts import CHOICES, DartsSupernet
from archrep.supernets.mobilenet import MobileNetSupernet
from archrep.supernets.nasbench201 import NasBench201Supernet

SUPERNETS: dict[str, Callable[..., Supernet]] = {
    "nasbench201": NasBench201Supernet,
    "darts": DartsSupernet,
    **{f"darts-{v}": bound(DartsSupernet, variant=v) for v in CHOICES if v != "s0"},
    "mobilenet": MobileNetSupernet,
}
"""`archrep supernet --list` prints them."""


def make_supernet(name: str, seeds: Sequence[int], **sizes: Any) -> Supernet:
    """Supernet of that name.

    Args:
        name: Of the supernet.
        seeds: One a supernet.
        sizes: Arguments of its class; those that are `None` are left at its defaults.

    Raises:
        UnknownNameError: No such supernet; the message lists the known ones.
        ConfigError: It has no such size, or a size is impossible.
    """
    make = named(SUPERNETS, name, "Supernet")
    given = {key: value for key, value in sizes.items() if value is not None}
    known = signature(make).parameters
    if strange := [key for key in given if key not in known]:
        raise ConfigError(
            f"The supernet {name!r} has no {' and no '.join(f'`{key}`' for key in strange)}. Leave "
            "it out, or choose another supernet or searcher."
        )
    return make(seeds, **given)

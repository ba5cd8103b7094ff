"""The search spaces by name."""

from __future__ import annotations

from archrep.cells.darts import Darts
from archrep.cells.nasbench101 import NasBench101
from archrep.cells.nasbench201 import NasBench201
from archrep.cells.nats_size import NatsSize
from archrep.cells.space import Space
from archrep.settings import named, register

SPACES: dict[str, Space] = {
    space.name: space for space in (NasBench101(), NasBench201(), Darts(), NatsSize())
}


def get_space(space: str | Space) -> Space:
    """The space of that name; a `Space` is passed through.

    Raises:
        UnknownNameError: No such space; the message lists the known ones.
    """
    if isinstance(space, Space):
        return space
    return named(SPACES, space, "Search space")


def register_space(space: Space) -> Space:
    """Make a space of your own known by its name to every command and function.

    Raises:
        ConfigError: Another space already has that name.
    """
    return register(SPACES, space.name, space, "A space")

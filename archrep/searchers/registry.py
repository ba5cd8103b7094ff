"""The searchers by name."""

from __future__ import annotations

from archrep.errors import UnknownNameError
from archrep.searchers.base import Searcher
from archrep.searchers.gradient import Darts
from archrep.searchers.single_path import SinglePath

SEARCHERS: dict[str, type[Searcher]] = {"single-path": SinglePath, "darts": Darts}
"""`archrep supernet --list` prints them."""


def get_searcher(name: str) -> type[Searcher]:
    """Searcher of that name.

    Raises:
        UnknownNameError: No such searcher; the message lists the known ones.
    """
    if name not in SEARCHERS:
        raise UnknownNameError(f"Searcher must be one of {', '.join(SEARCHERS)}. Got {name!r}.")
    return SEARCHERS[name]

"""The searchers by name."""

from __future__ import annotations

from archrep.searchers.base import Searcher
from archrep.searchers.gradient import Darts
from archrep.searchers.greedy import Sgas
from archrep.searchers.partial_channels import DartsMinus, PcDarts
from archrep.searchers.progressive import PDarts
from archrep.searchers.random_choice import RandomChoice
from archrep.searchers.single_path import SinglePath
from archrep.settings import named

SEARCHERS: dict[str, type[Searcher]] = {
    searcher.name: searcher
    for searcher in (SinglePath, Darts, PcDarts, PDarts, Sgas, DartsMinus, RandomChoice)
}
"""`archrep supernet --list` prints them with their settings."""


def get_searcher(name: str) -> type[Searcher]:
    """Searcher of that name.

    Raises:
        UnknownNameError: No such searcher; the message lists the known ones.
    """
    return named(SEARCHERS, name, "Searcher")

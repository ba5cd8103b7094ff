"""The strategies by name."""

from __future__ import annotations

from archrep.settings import named, register
from archrep.strategies.aging_evolution import AgingEvolution
from archrep.strategies.bananas import Bananas
from archrep.strategies.base import Strategy
from archrep.strategies.bohb import Bohb
from archrep.strategies.dngo import Dngo
from archrep.strategies.gp import Gp
from archrep.strategies.latent_reinforce import LatentReinforce
from archrep.strategies.local_search import LocalSearch
from archrep.strategies.nao import Nao
from archrep.strategies.random_search import RandomSearch
from archrep.strategies.reinforce import Reinforce
from archrep.strategies.structure_gp import StructureGp
from archrep.strategies.supervised import SupervisedDngo, SupervisedReinforce

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy
    for strategy in (
        RandomSearch,
        AgingEvolution,
        LocalSearch,
        LatentReinforce,
        Dngo,
        Gp,
        Bananas,
        StructureGp,
        Reinforce,
        Bohb,
        Nao,
        SupervisedDngo,
        SupervisedReinforce,
    )
}
"""Registered strategies; `archrep search --list` prints them with their settings."""


def get_strategy(name: str) -> type[Strategy]:
    """Strategy of that name.

    Raises:
        UnknownNameError: No such strategy; the message lists the known ones.
    """
    return named(STRATEGIES, name, "Strategy")


def register_strategy(strategy: type[Strategy]) -> type[Strategy]:
    """Make a strategy of your own known by its name.

    Raises:
        ConfigError: Another strategy already has that name.
    """
    return register(STRATEGIES, strategy.name, strategy, "A strategy")

"""The strategies by name."""

from __future__ import annotations

from archrep.errors import ConfigError, UnknownNameError
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
    if name not in STRATEGIES:
        raise UnknownNameError(f"Strategy must be one of {', '.join(STRATEGIES)}. Got {name!r}.")
    return STRATEGIES[name]


def register_strategy(strategy: type[Strategy]) -> type[Strategy]:
    """Make a strategy of your own known by its name.

    Raises:
        ConfigError: Another strategy already has that name.
    """
    if strategy.name in STRATEGIES:
        raise ConfigError(
            f"A strategy named {strategy.name!r} is registered already. Choose another name."
        )
    STRATEGIES[strategy.name] = strategy
    return strategy

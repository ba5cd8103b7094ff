"""The objectives by name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_type_hints

from archrep.errors import ConfigError, UnknownNameError
from archrep.objectives.base import Objective
from archrep.objectives.colorization import Colorization
from archrep.objectives.jigsaw import Jigsaw
from archrep.objectives.multilabel import MultiLabel
from archrep.objectives.random_labels import RandomLabels
from archrep.objectives.reconstruction import Reconstruction
from archrep.objectives.rotation import Rotation
from archrep.objectives.segmentation import Segmentation
from archrep.objectives.settings import typed
from archrep.objectives.supervised import Supervised

OBJECTIVES: dict[str, type[Objective]] = {
    objective.name: objective
    for objective in (
        Supervised,
        Rotation,
        Colorization,
        Jigsaw,
        RandomLabels,
        Reconstruction,
        Segmentation,
        MultiLabel,
    )
}
"""Registered objectives; `archrep supernet --list` prints them with their settings."""


def get_objective(name: str) -> type[Objective]:
    """Objective of that name.

    Raises:
        UnknownNameError: No such objective; the message lists the known ones.
    """
    if name not in OBJECTIVES:
        raise UnknownNameError(f"Objective must be one of {', '.join(OBJECTIVES)}. Got {name!r}.")
    return OBJECTIVES[name]


def make_objective(name: str, settings: dict[str, Any] | None = None) -> Objective:
    """Objective of that name with some settings changed.

    Args:
        name: Of the objective.
        settings: Values by field, as text or as they are.

    Raises:
        UnknownNameError: No such objective or setting.
        ConfigError: A value is impossible.

    Example:
        >>> make_objective("jigsaw", {"grid": "3", "permutations": "100"}).count
        100
    """
    objective = get_objective(name)
    kinds = get_type_hints(objective)
    known = [field.name for field in fields(objective)]
    for setting in settings or {}:
        if setting not in known:
            listed = ", ".join(known) or "none"
            raise UnknownNameError(f"Settings of {name!r} are: {listed}. Got {setting!r}.")
    given = {key: typed(key, value, kinds[key]) for key, value in (settings or {}).items()}
    return objective(**given)


def register_objective(objective: type[Objective]) -> type[Objective]:
    """Make an objective of your own known by its name.

    Raises:
        ConfigError: Another objective already has that name.
    """
    if objective.name in OBJECTIVES:
        raise ConfigError(
            f"An objective named {objective.name!r} is registered already. Choose another name."
        )
    OBJECTIVES[objective.name] = objective
    return objective

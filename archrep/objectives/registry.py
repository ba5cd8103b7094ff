"""The objectives by name."""

from __future__ import annotations

from typing import Any

from archrep.objectives.base import Objective
from archrep.objectives.colorization import Colorization
from archrep.objectives.jigsaw import Jigsaw
from archrep.objectives.multilabel import MultiLabel
from archrep.objectives.random_labels import RandomLabels
from archrep.objectives.reconstruction import Reconstruction
from archrep.objectives.rotation import Rotation
from archrep.objectives.segmentation import Segmentation
from archrep.objectives.supervised import Supervised
from archrep.settings import named, read_settings, register

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
    return named(OBJECTIVES, name, "Objective")


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
    return objective(**read_settings(objective, settings, name))


def register_objective(objective: type[Objective]) -> type[Objective]:
    """Make an objective of your own known by its name.

    Raises:
        ConfigError: Another objective already has that name.
    """
    return register(OBJECTIVES, objective.name, objective, "An objective")

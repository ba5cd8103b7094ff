"""Settings of an objective: checked as it is made, typed where they come as text."""

from __future__ import annotations

import math
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from archrep.errors import ConfigError

MOST = 100_000
"""Whole numbers above this are slips of the keyboard: a head of that many outputs fits nowhere."""


def check(checks: dict[str, bool]) -> None:
    """Raise one error that names every check which failed.

    Raises:
        ConfigError: One did.
    """
    if problems := [problem for problem, fine in checks.items() if not fine]:
        raise ConfigError("\n".join(problems))


def choices(settings: Any) -> dict[str, bool]:
    """Checks that every field which is one of a few words or numbers is one of them."""
    checks = {}
    for name, kind in get_type_hints(type(settings)).items():
        if get_origin(kind) is Literal:
            words, value = " or ".join(map(repr, get_args(kind))), getattr(settings, name)
            checks[f"`{name}` must be {words}. Got {value!r}."] = value in get_args(kind)
    return checks


def typed(name: str, value: Any, kind: Any) -> Any:
    """A value, given as text, read from JSON or as it is, as what a field holds.

    Args:
        name: Of the field.
        value: For it.
        kind: The annotation of the field.

    Raises:
        ConfigError: It is no such value.

    Example:
        >>> typed("rates", "6,12", tuple[int, ...]), typed("classes", "none", int | None)
        ((6, 12), None)
    """
    options = get_args(kind) if get_origin(kind) in (UnionType, Union) else (kind,)
    for option in options:
        try:
            found = _convert(value, option)
        except (TypeError, ValueError, OverflowError):
            continue
        if isinstance(found, int) and found > MOST:
            raise ConfigError(f"`{name}` must be at most {MOST:,}. Got {value!r}.")
        return found
    words = " or ".join(_word(option) for option in options)
    raise ConfigError(f"`{name}` must be {words}. Got {value!r}.")


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if kind is NoneType:
        return "none"
    return f"of type {kind.__name__ if isinstance(kind, type) else kind}"


def _convert(value: Any, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        by_text = {str(option): option for option in get_args(kind)}
        if isinstance(value, bool) or str(value) not in by_text:
            raise ValueError
        return by_text[str(value)]
    if get_origin(kind) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(_convert(part, get_args(kind)[0]) for part in parts if part != "")
    if kind is NoneType:
        if value is not None and value != "none":
            raise ValueError
        return None
    if kind is bool:
        words = {"true": True, "false": False}
        found = words.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(found, bool):
            raise ValueError
        return found
    if kind in (int, float):
        number = float(value)
        if isinstance(value, bool) or not math.isfinite(number) or kind(number) != number:
            raise ValueError
        return kind(number)
    if not isinstance(value, str):
        raise TypeError
    return value

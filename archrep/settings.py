"""Settings in dataclasses and things with names: checked, typed where they come as text, listed.

What strategies, objectives, spaces and image sets share. A registry is one visible dict; `named`
and `register` read and fill it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from archrep.errors import ConfigError, UnknownNameError

T = TypeVar("T")

MOST = 100_000
"""Whole numbers above this are slips of the keyboard: a search would never come to an end, a head
of that many outputs fits nowhere."""


# Fields -----------------------------------------------------------------------------------------


def check(checks: Mapping[str, bool]) -> None:
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
            value = getattr(settings, name)
            checks[f"`{name}` must be {_word(kind)}. Got {value!r}."] = value in get_args(kind)
    return checks


def from_plain(kind: type[T], values: Mapping[str, Any]) -> T:
    """A settings dataclass of plain values, such as a JSON file holds.

    Raises:
        ConfigError: A field is unknown, or a value impossible.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := [name for name in values if name not in known]:
        raise ConfigError(f"Settings are: {', '.join(known)}. Got {_quoted(unknown)}.")
    return kind(**values)


def read_settings(kind: type, values: Mapping[str, Any] | None, owner: str) -> dict[str, Any]:
    """Values for some fields of a settings dataclass, as what these hold.

    Args:
        kind: The dataclass.
        values: Values by field, as text, read from JSON or as they are.
        owner: Whose settings they are, as errors name it.

    Raises:
        UnknownNameError: There is no such field.
        ConfigError: Values are of the wrong type; the message names every one.
    """
    known, values = [field.name for field in fields(kind)], values or {}
    if unknown := [name for name in values if name not in known]:
        raise UnknownNameError(
            f"Settings of {owner!r} are: {', '.join(known) or 'none'}. Got {_quoted(unknown)}."
        )
    kinds, found, problems = get_type_hints(kind), {}, []
    for name, value in values.items():
        try:
            found[name] = typed(name, value, kinds[name])
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return found


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
        except (TypeError, ValueError, KeyError, OverflowError):
            continue
        if isinstance(found, int) and found > MOST:
            raise ConfigError(f"`{name}` must be at most {MOST:,}. Got {value!r}.")
        return found
    words = " or ".join(_word(option) for option in options)
    raise ConfigError(f"`{name}` must be {words}. Got {value!r}.")


def assignments(texts: Iterable[str], flag: str = "--set") -> dict[str, Any]:
    """Values by field of texts `name=value`, in whose names `-` stands for `_` as well.

    Raises:
        ConfigError: A text is none.

    Example:
        >>> assignments(["batch-size=32"])
        {'batch_size': '32'}
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"`{flag}` takes name=value. Got {text!r}.")
        found[name.replace("-", "_")] = value
    return found


def _quoted(names: Iterable[object]) -> str:
    return ", ".join(map(repr, names))


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if kind is NoneType:
        return "none"
    return f"of type {kind.__name__ if isinstance(kind, type) else kind}"


def _convert(value: Any, kind: Any) -> Any:
    yes_or_no = isinstance(value, (bool, np.bool_))
    if get_origin(kind) is Literal:
        by_text = {str(option): option for option in get_args(kind)}
        if yes_or_no or str(value) not in by_text:
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
        if isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        if not yes_or_no:
            raise ValueError
        return bool(value)
    if kind in (int, float):
        number = float(value)
        if yes_or_no or not math.isfinite(number) or kind(number) != number:
            raise ValueError
        return kind(number)
    if not isinstance(value, str):
        raise TypeError
    return value


# Registries -------------------------------------------------------------------------------------


def named(known: Mapping[str, T], name: str, title: str) -> T:
    """Entry of a registry.

    Args:
        known: The registry.
        name: Of the entry.
        title: What is registered there, such as `"Strategy"`.

    Raises:
        UnknownNameError: No such entry; the message lists the known ones.
    """
    if name not in known:
        raise UnknownNameError(f"{title} must be one of {', '.join(known)}. Got {name!r}.")
    return known[name]


def register(known: dict[str, T], name: str, entry: T, title: str) -> T:
    """Add an entry to a registry.

    Args:
        known: The registry.
        name: Of the entry.
        entry: What is added, and returned.
        title: What it is, with its article, such as `"A strategy"`.

    Raises:
        ConfigError: Another entry already has that name.
    """
    if name in known:
        raise ConfigError(f"{title} named {name!r} is registered already. Choose another name.")
    known[name] = entry
    return entry

"""Parsing shared by the commands whose options are a dataclass."""

from __future__ import annotations

import inspect
from typing import TypeVar

import tyro

T = TypeVar("T")


def parse_options(options: type[T], command: str, argv: list[str], examples: str) -> T:
    """An `options` dataclass from arguments; its docstring and the examples become the help."""
    return tyro.cli(
        options,
        prog=f"archrep {command}",
        args=argv,
        description=f"{inspect.getdoc(options)}\n\n{examples}",
        config=(tyro.conf.FlagCreatePairsOff,),
    )

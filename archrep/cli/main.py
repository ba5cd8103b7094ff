"""Entry point of `archrep`: picks the command and turns its errors into one line and an exit code.

Only the standard library is imported here, so that help is instant; a command's module, and torch
with it, is imported when that command runs. Exit codes: 0 done, 1 something the user can fix,
2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from archrep import __version__
from archrep.errors import ArchrepError, UnknownNameError

COMMANDS: dict[str, tuple[str, str]] = {
    "pretrain": ("archrep.cli.pretrain", "train an encoder of a search space, without labels"),
    "embed": ("archrep.cli.embed", "turn cells into vectors"),
    "decode": ("archrep.cli.decode", "turn vectors into cells"),
    "report": ("archrep.cli.report", "print the quality of trained encoders"),
    "search": ("archrep.cli.search", "search a benchmark table, for many seeds at once"),
    "supernet": (
        "archrep.cli.supernet",
        "train a supernet, with labels or without, and rank cells",
    ),
    "plot": ("archrep.cli.plot", "draw maps, walks, predictions, regret and supernets"),
    "draw": ("archrep.cli.draw", "draw cells"),
    "explore": ("archrep.cli.explore", "write a space into one web page to look around in"),
    "query": ("archrep.cli.query", "look cells up in a benchmark table"),
    "tables": ("archrep.cli.tables", "list, import, download, build and export benchmark tables"),
    "cells": ("archrep.cli.cells", "list, draw at random and check cells of a search space"),
    "doctor": ("archrep.cli.doctor", "find out what is wrong with an installation"),
}
"""Module and help line of every command."""


def usage() -> str:
    """Help of `archrep` itself."""
    commands = "\n".join(f"  {name:<10} {line}" for name, (_, line) in COMMANDS.items())
    return (
        "usage: archrep [--help] [--version] [--import MODULE] COMMAND ...\n\n"
        "Embeddings of neural architectures, benchmark tables, and search in both.\n\n"
        f"commands:\n{commands}\n\n"
        "`archrep COMMAND --help` explains one of them. `--import MODULE` first loads a module of\n"
        "yours, such as one that registers a search space.\n"
        "example: archrep pretrain nasbench201 --out runs/nasbench201"
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; `None` for those of this process.

    Returns:
        The exit code.
    """
    args = sys.argv[1:] if argv is None else argv
    name = ""
    try:
        while args[:1] == ["--import"]:
            _import(args[1] if len(args) > 1 else "")
            args = args[2:]
        name = args[0] if args else ""
        if name in ("-h", "--help"):
            print(usage())
            code = 0
        elif name == "--version":
            print(f"archrep {__version__}")
            code = 0
        elif name in COMMANDS:
            code = _run(name, args[1:])
        else:
            return _usage_error(name)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ArchrepError as error:
        return _fail(name, str(error))
    except BrokenPipeError:
        # The reader, such as `head`, has had enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(name, f"{error.strerror or error}{where}.")
    except UnicodeDecodeError as error:
        return _fail(name, f"expected UTF-8 text, and got byte {error.object[error.start]:#04x}.")
    except KeyboardInterrupt:
        return _fail(name, "interrupted.", code=130)
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        return _fail(
            name,
            "there is not enough free memory. Ask for less at a time: smaller batches, networks or "
            f"images, fewer runs. {str(error).splitlines()[0] if str(error) else ''}".strip(),
        )
    return code


def _is_memory(error: Exception) -> bool:
    """Whether memory ran out: torch says so with errors of other types."""
    words = ("allocate memory", "out of memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def _run(name: str, args: list[str]) -> int:
    try:
        module = import_module(COMMANDS[name][0])
    except ArchrepError:
        raise
    except ImportError as error:
        return _fail(name, f"{error}. `archrep doctor` says what is missing and what to do.")
    try:
        return int(module.main(args))
    except SystemExit as exit_:  # how argparse and tyro end after help and on wrong usage
        if isinstance(exit_.code, str):
            return _fail(name, exit_.code)
        return exit_.code or 0


def _import(module: str) -> None:
    """Load a user's module from the working directory or wherever Python finds it."""
    sys.path.insert(0, os.getcwd())
    try:
        import_module(module)
    except Exception as error:  # whatever a user's module raises is theirs to mend
        raise UnknownNameError(
            f"`--import` needs the name of a Python module, such as `chains` for chains.py here. "
            f"Got {module!r} ({type(error).__name__}: {error})."
        ) from None
    finally:
        sys.path.remove(os.getcwd())


def _usage_error(name: str) -> int:
    if not name:
        print(usage(), file=sys.stderr)
        return 2
    import difflib

    kind = "option" if name.startswith("-") else "command"
    close = difflib.get_close_matches(name, [*COMMANDS, "--help", "--version"], n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(COMMANDS)}."
    return _fail("", f"no {kind} {name!r}. {hint}", code=2)


def _fail(name: str, message: str, code: int = 1) -> int:
    line = " ".join(part.strip() for part in message.splitlines() if part.strip())
    print(f"archrep {name}: {line}" if name else f"archrep: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

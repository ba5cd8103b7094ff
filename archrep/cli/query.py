"""`archrep query`: look cells up in a benchmark table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from archrep.cli.lines import print_lines
from archrep.cli.options import parse_options
from archrep.errors import CellError, UnmeasuredError

if TYPE_CHECKING:
    from archrep.tables.base import Table
    from archrep.tables.surrogate import Nasbench301Surrogate

EXAMPLES = """examples:
  archrep query digits 6111
  archrep query nasbench201 6111 9930 --dataset cifar100 --csv
  archrep cells nasbench201 --count 5 | archrep query digits --metric valid_accuracy"""


@dataclass(frozen=True)
class Options:
    """Look cells up in a table: accuracies as fractions, times in seconds.

    Prints one JSON line a cell. This is the free path: test accuracy is shown.
    """

    table: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TABLE")]
    """Name of a table (`archrep tables`), or its file."""
    cells: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CELL")] = ()
    """Official notation, hash or index; none: one a line from standard input."""
    dataset: str | None = None
    """Data set; by default the table's."""
    epochs: int | None = None
    """Length of the training schedule; by default the table's."""
    seed: str | None = None
    """A recorded run, or `mean` or `max` over them; by default the table's."""
    at_epoch: int | None = None
    """Figures after that epoch rather than the last."""
    metric: tuple[str, ...] = ()
    """Print these metrics only."""
    csv: bool = False
    """Print CSV instead."""


def main(argv: list[str]) -> int:
    """Run the command; see `Options`."""
    options = parse_options(Options, "query", argv, EXAMPLES)
    from archrep.tables.base import Table
    from archrep.tables.registry import open_table
    from archrep.tables.view import SHARED

    table = open_table(options.table)
    seed: int | str | None = options.seed
    if options.seed is not None and options.seed.lstrip("-").isdecimal():
        seed = int(options.seed)
    if unknown := [metric for metric in options.metric if metric not in table.metrics]:
        raise UnmeasuredError(
            f"{table.info.title} records {', '.join(table.metrics)}. Got metric={unknown[0]!r}."
        )
    setting = {
        "dataset": options.dataset,
        "epochs": options.epochs,
        "seed": seed,
        "at_epoch": options.at_epoch,
    }
    recorded = table.metrics
    if isinstance(table, Table):  # a wrong setting is no fault of the first cell
        recorded = table.view(**setting).metrics  # type: ignore[arg-type]
    fields = ("index", *SHARED, "dataset", "epochs", "seed")
    further = tuple(metric for metric in recorded if metric not in SHARED)
    names = ("cell", *(options.metric or fields + further))
    print_lines(_records(table, options, setting), names if options.csv else None)
    return 0


def _records(
    table: Table | Nasbench301Surrogate, options: Options, setting: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(_texts(options.cells), 1):
        try:
            flat = table.query(text, **setting).flat()
        except (CellError, UnmeasuredError) as error:
            raise type(error)(f"Cell {number}: {error}") from None
        if options.metric:
            yield {"cell": text} | {metric: flat.get(metric) for metric in options.metric}
        else:
            yield {"cell": text} | {name: v for name, v in flat.items() if v is not None}


def _texts(cells: tuple[str, ...]) -> Iterator[str]:
    if not cells and sys.stdin.isatty():
        print("Reading cells from the terminal, one a line.", file=sys.stderr)
    lines = cells or (line.strip() for line in sys.stdin)
    return (text for text in lines if text)

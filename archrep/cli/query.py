"""`archrep query`: look cells up in a benchmark table."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import tyro

from archrep.cli.options import parse_options
from archrep.errors import ArchrepError, CellError, UnmeasuredError

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

    table = open_table(options.table)
    seed: int | str | None = options.seed
    if options.seed is not None and options.seed.lstrip("-").isdecimal():
        seed = int(options.seed)
    if unknown := [metric for metric in options.metric if metric not in table.metrics]:
        raise UnmeasuredError(
            f"{table.info.title} records {', '.join(table.metrics)}. Got metric={unknown[0]!r}."
        )
    setting = {"dataset": options.dataset, "epochs": options.epochs}
    if isinstance(table, Table):  # a wrong setting is no fault of the first cell
        table.view(**setting, seed=seed, at_epoch=options.at_epoch)  # type: ignore[arg-type]
    writer = None
    for number, text in enumerate(_texts(options.cells), 1):
        try:
            result = table.query(text, **setting, seed=seed, at_epoch=options.at_epoch)  # type: ignore[arg-type]
        except (CellError, UnmeasuredError) as error:
            raise _numbered(error, number) from None
        line: dict[str, Any] = {"cell": text} | _flat(asdict(result), options.metric)
        if not options.csv:
            print(json.dumps(line))
            continue
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(line), restval="", lineterminator="\n")
            writer.writeheader()
        writer.writerow(line)
    return 0


def _flat(record: dict[str, Any], metrics: tuple[str, ...]) -> dict[str, Any]:
    """The record with its further metrics beside the shared ones, or the wanted metrics alone."""
    flat = record | record.pop("metrics")
    if metrics:
        return {metric: flat.get(metric) for metric in metrics}
    return {name: value for name, value in flat.items() if value is not None}


def _texts(cells: tuple[str, ...]) -> Iterator[str]:
    lines = cells or (line.strip() for line in sys.stdin)
    return (text for text in lines if text)


def _numbered(error: ArchrepError, number: int) -> ArchrepError:
    return type(error)(f"Cell {number}: {error}")

"""`archrep tables`: list, describe, rank, export, import, download and build benchmark tables."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from archrep.cli.lines import print_lines
from archrep.cli.options import parse_options
from archrep.cli.progress import SECONDS_BETWEEN_LINES, Display
from archrep.errors import ConfigError, UnknownNameError

USAGE = """usage: archrep tables [list | describe | top | export | import | download | build] ...

  list                  tables that are here: size, source, licence, hash (also without a word)
  describe TABLE        what a table records, its notes, its best cells
  top TABLE             its best cells
  export TABLE FILE     as Parquet or CSV
  import FILE...        official files, published collections, a table of your own
  download NAME         an official file, from its official address
  build                 train cells on a data set and make a table of it

`archrep tables WORD --help` explains one of them.
example: archrep tables top digits -n 3"""

Table = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TABLE")]


@dataclass(frozen=True)
class ListOptions:
    """List the tables that are here; one JSON line each when the output is not a terminal."""

    json: bool = False
    """JSON lines on a terminal too."""


@dataclass(frozen=True)
class DescribeOptions:
    """Say what a table records: columns, data sets, schedules, runs, notes, best cells."""

    table: Table
    """Name or file."""
    verify: bool = False
    """Read every byte and compare with the table's hash."""


@dataclass(frozen=True)
class TopOptions:
    """Print the best cells of a table by one metric, as JSON lines."""

    table: Table
    """Name or file."""
    count: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10
    """How many."""
    metric: str = "valid_accuracy"
    """By which metric; large is best unless its name ends in seconds, joules, params or macs."""
    dataset: str | None = None
    """Data set; by default the table's."""
    epochs: int | None = None
    """Schedule; by default the table's."""
    csv: bool = False
    """Print CSV instead."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a table as Parquet or CSV, for pandas, polars and DuckDB."""

    table: Table
    """Name or file."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Ends in .parquet or .csv."""


@dataclass(frozen=True)
class ImportOptions:
    """Turn official files into tables; nothing in a file is executed.

    Reads: NAS-Bench-101 .tfrecord, NAS-Bench-201 .pth, NATS-Bench folders and files, HW-NAS-Bench
    .pickle, the published Parquet collections, and a table of your own that a .toml describes.
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Files, or folders where the benchmark is one."""
    folder: Path | None = None
    """Where to put the tables, instead of the user's own folder."""
    curves: bool = False
    """Keep learning curves too (NAS-Bench-201, NATS-Bench), or half-way figures (NAS-Bench-101)."""
    name: str | None = None
    """Another name for the table, if there is just one in the files."""
    replace: bool = False
    """Put the table in the place of another one of that name."""


@dataclass(frozen=True)
class DownloadOptions:
    """Fetch an official file from its official address, or say how to get it.

    Goes on where an earlier call was cut off, checks the checksum where one is known, and imports
    what it fetched.
    """

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None
    """Which; none: list what there is."""
    folder: Path = Path("downloads")
    """Where to put the file."""
    timeout: float = 30.0
    """Seconds without a byte after which to try again."""
    only_download: bool = False
    """Do not import it."""
    replace: bool = False
    """Put the table in the place of another one of that name."""


def main(argv: list[str]) -> int:
    """Run the command; see `USAGE`."""
    word = argv[0] if argv else "list"
    if word in ("-h", "--help"):
        print(USAGE)
        return 0
    if word.startswith("-"):
        return list_tables(argv)
    if word not in WORDS:
        raise UnknownNameError(f"`archrep tables` knows {', '.join(WORDS)}. Got {word!r}.")
    return WORDS[word](argv[1:])


def list_tables(argv: list[str]) -> int:
    """`archrep tables list`."""
    options = parse_options(ListOptions, "tables list", argv, "example: archrep tables list")
    from archrep.tables.registry import listing, tables_folder

    lines = list(listing())
    if options.json or not sys.stdout.isatty():
        for line in lines:
            print(json.dumps(line))
        return 0
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid("name", "title", "cells", "size", "licence", "source", "SHA-256")
    for line in lines:
        if "problem" in line:
            grid.add_row(str(line["name"]), str(line["problem"]))
            continue
        keys = ("name", "title", "recorded", "bytes", "licence", "source", "sha256")
        name, title, recorded, size, licence, source, sha256 = (line[key] for key in keys)
        figures = (f"{recorded:,}", f"{int(str(size)) / 1e6:.1f} MB")
        grid.add_row(*map(str, (name, title, *figures, licence, source, str(sha256)[:12])))
    Console().print(grid)
    print(f"Imported tables are in {tables_folder()}.", file=sys.stderr)
    return 0


def describe(argv: list[str]) -> int:
    """`archrep tables describe`."""
    options = parse_options(
        DescribeOptions, "tables describe", argv, "example: archrep tables describe digits"
    )
    from archrep.errors import UnmeasuredError
    from archrep.tables.file import TableFile
    from archrep.tables.registry import open_recorded

    table = open_recorded(options.table)
    if options.verify and table.path is not None:
        TableFile(table.path).verify()
    about: dict[str, Any] = asdict(table.info) | {
        "positions": len(table),
        "recorded": len(table.recorded),
        "measured": int(table.measured.sum()),
        "sha256": table.sha256,
        "columns": {
            name: {k: v for k, v in asdict(measure).items() if v is not None and v is not False}
            for name, measure in table.measures.items()
        },
        "optimum": {},
    }
    for dataset in table.datasets or (None,):
        try:
            best = table.optimum(dataset=dataset)
        except UnmeasuredError:
            continue
        about["optimum"][dataset or ""] = {
            "valid_accuracy": best.valid_accuracy._asdict(),
            "test_accuracy": best.test_accuracy and best.test_accuracy._asdict(),
            "test_of_best_valid": best.test_of_best_valid,
        }
    print(json.dumps(about, indent=2))
    return 0


def top(argv: list[str]) -> int:
    """`archrep tables top`."""
    options = parse_options(
        TopOptions, "tables top", argv, "example: archrep tables top nasbench201 -n 5"
    )
    if options.count < 1:
        raise ConfigError(f"`--count` must be at least 1. Got {options.count}.")
    import numpy as np

    from archrep.tables.export import notation
    from archrep.tables.registry import open_recorded

    table = open_recorded(options.table)
    setting = {"dataset": options.dataset, "epochs": options.epochs}
    values = table.column(options.metric, **setting).astype(np.float64)  # type: ignore[arg-type]
    small_is_best = options.metric.endswith(("seconds", "joules", "params", "macs"))
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known] if small_is_best else -values[known], kind="stable")]
    lines = []
    for position in order[: options.count].tolist():
        flat = table.query(position, **setting).flat()  # type: ignore[arg-type]
        shown = {k: v for k, v in flat.items() if v is not None}
        lines.append({"cell": notation(table, position), **shown})
    names = list(dict.fromkeys(name for line in lines for name in line))
    print_lines(lines, names if options.csv else None)
    return 0


def export(argv: list[str]) -> int:
    """`archrep tables export`."""
    options = parse_options(
        ExportOptions, "tables export", argv, "example: archrep tables export digits digits.parquet"
    )
    from archrep.tables.export import export as write
    from archrep.tables.registry import open_recorded

    table = open_recorded(options.table)
    for name in write(table, options.out):
        print(f"Left out, since CSV has no lists: {name}", file=sys.stderr)
    print(json.dumps({"out": str(options.out), "rows": len(table.recorded)}))
    return 0


def import_files(argv: list[str]) -> int:
    """`archrep tables import`."""
    options = parse_options(
        ImportOptions,
        "tables import",
        argv,
        "example: archrep tables import nasbench_only108.tfrecord",
    )
    if not options.files:
        raise ConfigError("Name at least one file, such as nasbench_only108.tfrecord.")
    if options.name is not None and len(options.files) > 1:
        raise ConfigError("`--name` goes with one file. Got several.")
    if options.name is not None:
        from archrep.tables.registry import place_of

        place_of(options.name, options.folder)  # better refused now than after reading a file
    for path in options.files:
        _import(path, options)
    return 0


def _import(path: Path, options: ImportOptions) -> None:
    import dataclasses

    from archrep.tables.file import TableData
    from archrep.tables.importers.base import import_file
    from archrep.tables.registry import store

    with progress() as report:
        tables = import_file(path, report, curves=options.curves)
    if (name := options.name) is not None:
        if len(tables) != 1:
            names = ", ".join(data.info.name for data in tables)
            raise ConfigError(f"`--name` goes with one table. {path} holds {names}.")
        if not isinstance(tables[0], TableData):
            raise ConfigError("`--name` goes with a table of records. Got a surrogate.")
        info = dataclasses.replace(tables[0].info, name=name)
        tables = [dataclasses.replace(tables[0], info=info)]
    for data in tables:
        out = store(data, options.folder, replace=options.replace)
        line: dict[str, Any] = {"table": data.info.name}
        if isinstance(data, TableData):
            line |= {"recorded": len(data), "columns": len(data.columns)}
        print(json.dumps(line | {"bytes": out.stat().st_size, "file": str(out)}))


def download_file(argv: list[str]) -> int:
    """`archrep tables download`."""
    options = parse_options(
        DownloadOptions, "tables download", argv, "example: archrep tables download nasbench101-108"
    )
    from archrep.tables.download import download
    from archrep.tables.sources import SOURCES, get_source

    if options.name is None:
        for source in SOURCES.values():
            print(json.dumps(asdict(source)))
        return 0
    source = get_source(options.name)
    with progress() as report:
        path = download(
            source,
            options.folder,
            timeout=options.timeout,
            report=lambda done, total: report("downloading, bytes", done, total),
        )
    print(json.dumps({"file": str(path), "bytes": path.stat().st_size}))
    if not options.only_download:
        _import(path, ImportOptions((path,), replace=options.replace))
    return 0


def build(argv: list[str]) -> int:
    """`archrep tables build`."""
    from archrep.cli.build import main as build_table

    return build_table(argv)


WORDS: dict[str, Callable[[list[str]], int]] = {
    "list": list_tables,
    "describe": describe,
    "top": top,
    "export": export,
    "import": import_files,
    "download": download_file,
    "build": build,
}
"""Function of every word."""


@contextmanager
def progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """What importers and downloads take as `report`, shown on stderr."""
    started = time.monotonic()
    with Display(patience=SECONDS_BETWEEN_LINES) as display:

        def report(what: str, done: int, total: int | None) -> None:
            text = f"{done:,}"
            if total and done:
                left = (total - done) * (time.monotonic() - started) / done
                text += f" of {total:,}  {max(0.0, left):,.0f} s left"
            display.show(what, done, total, text)

        yield report

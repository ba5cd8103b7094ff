"""A user's own table: a Parquet or CSV file and a few lines of TOML that say what is in it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archrep.cells.array import CellArray
from archrep.cells.genotype import Genotype
from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.errors import ArchrepError, CellError, TableError
from archrep.tables.columns import Column, Measure
from archrep.tables.file import TableData, TableInfo
from archrep.tables.importers.base import Importer, Report
from archrep.tables.keys import first_repeat

if TYPE_CHECKING:
    import pyarrow

UNITS = {
    "fraction": 1.0,
    "percent": 0.01,
    "seconds": 1.0,
    "milliseconds": 1e-3,
    "minutes": 60.0,
    "hours": 3600.0,
    "joules": 1.0,
    "millijoules": 1e-3,
    "count": 1.0,
    "thousands": 1e3,
    "millions": 1e6,
}
"""What a figure in the file is multiplied with; tables hold fractions, seconds, joules, counts."""

EXAMPLE = """name = "my-table"
title = "My table"
space = "nasbench201"
file = "results.csv"
cell = "arch"
source = "our cluster, 2026"
licence = "CC-BY-4.0"
dataset = "cifar10"
epochs = 50

[columns.acc]
metric = "valid_accuracy"
dataset = "cifar10"
epochs = 50
unit = "percent"
"""

_TOP = {
    "name": str,
    "title": str,
    "space": str,
    "file": str,
    "cell": str,
    "source": str,
    "licence": str,
    "citation": str,
    "dataset": str,
    "epochs": int,
    "seed": (int, str),
    "notes": list,
    "by_class": bool,
    "columns": dict,
}
_COLUMN = {
    "metric": str,
    "dataset": str,
    "epochs": int,
    "at_epoch": int,
    "seed": (int, str),
    "unit": str,
    "grid": int,
    "note": str,
}
_NEEDED = ("name", "space", "file", "cell", "columns")
_ROWS_NAMED = 3


def recognise(path: Path) -> bool:
    """A description ends in `.toml`."""
    return path.suffix == ".toml" and path.is_file()


def convert(path: Path, report: Report) -> list[TableData]:
    """The table that a description describes.

    Raises:
        TableError: The description or its file is damaged, lacks something, or names a cell that is
            not legal or comes twice.
    """
    about = _read_description(path)
    try:
        space = get_space(about["space"])
    except ArchrepError as error:
        raise TableError(
            f"{path}: {error} For a space of your own: `archrep --import MODULE tables import`."
        ) from None
    rows = _read_rows(path.parent / about["file"])
    columns = [
        _column(rows, name, spec, path.parent / about["file"])
        for name, spec in about["columns"].items()
    ]
    texts = [str(text) for text in _field(rows, about["cell"], path.parent / about["file"])]
    report("reading cells", 0, len(texts))
    order, placed = _place(space, texts, path.parent / about["file"])
    columns = [Column(c.measure, c.values[order], c.grid, c.note) for c in columns]
    info = TableInfo(
        name=about["name"],
        title=about.get("title", about["name"]),
        space=space.name,
        source=about.get("source", f"{about['file']} of the user"),
        licence=about.get("licence", "not stated"),
        notes=tuple(map(str, about.get("notes", ()))),
        made_with="archrep tables import",
        **{
            k: about[k] for k in ("citation", "dataset", "epochs", "seed", "by_class") if k in about
        },
    )
    report("reading cells", len(texts), len(texts))
    return [TableData.of(info, columns, **placed)]


def _read_description(path: Path) -> dict[str, Any]:
    try:
        about = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TableError(f"Expected a description in TOML in {path}: {error}.") from None
    problems = [f"`{key}` is missing." for key in _NEEDED if key not in about]
    problems += _check(about, _TOP, "")
    columns = about.get("columns")
    for name, spec in columns.items() if isinstance(columns, dict) else ():
        if not isinstance(spec, dict):
            problems.append(f"[columns.{name}] must be a table.")
            continue
        problems += _check(spec, _COLUMN, f"columns.{name}.")
        if "metric" not in spec:
            problems.append(f"`columns.{name}.metric` is missing.")
        if spec.get("unit", "count") not in UNITS:
            problems.append(f"`columns.{name}.unit` must be one of {', '.join(UNITS)}.")
    if problems:
        raise TableError(f"The description in {path} cannot be used: {' '.join(problems)}")
    return about


def _check(given: dict[str, Any], known: dict[str, Any], prefix: str) -> list[str]:
    problems = [
        f"`{prefix}{key}` is unknown (known: {', '.join(known)})."
        for key in given
        if key not in known
    ]
    for key, kind in known.items():
        if key not in given:
            continue
        is_bool = isinstance(given[key], bool)
        if is_bool != (kind is bool) or not isinstance(given[key], kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            expected = " or ".join(k.__name__ for k in kinds)
            problems.append(f"`{prefix}{key}` must be of {expected}. Got {given[key]!r}.")
    return problems


def _read_rows(path: Path) -> pyarrow.Table:
    import pyarrow
    from pyarrow import csv, parquet

    try:
        if path.suffix == ".parquet":
            return parquet.read_table(path)
        if path.suffix == ".csv":
            return csv.read_csv(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TableError(f"{path} cannot be read: {reason[:150]}.") from None
    raise TableError(f"`file` must end in .parquet or .csv. Got {path.name}.")


def _field(rows: pyarrow.Table, name: str, path: Path) -> list[Any]:
    if name not in rows.column_names:
        raise TableError(f"{path} has no column {name!r}. It has {', '.join(rows.column_names)}.")
    values = rows.column(name).to_pylist()
    if not values:
        raise TableError(f"{path} has no rows.")
    if None in values:
        raise TableError(f"Row {values.index(None) + 1} of {path} has no {name!r}.")
    return values


def _column(rows: pyarrow.Table, name: str, spec: dict[str, Any], path: Path) -> Column:
    if name not in rows.column_names:
        raise TableError(f"{path} has no column {name!r}. It has {', '.join(rows.column_names)}.")
    try:
        raw = rows.column(name).to_pylist()
        values = np.array([np.nan if v is None else v for v in raw], np.float64)
    except (TypeError, ValueError):
        raise TableError(
            f"Column {name!r} of {path} must hold numbers, or lists of one length for curves."
        ) from None
    unit = spec.get("unit", "count")
    if spec["metric"].endswith("accuracy") and not spec.get("unit"):
        raise TableError(f"`columns.{name}.unit` must say 'fraction' or 'percent'.")
    values = values * UNITS[unit]
    if spec["metric"].endswith("accuracy"):
        known = values[~np.isnan(values)]
        if ((known < 0) | (known > 1)).any():
            odd = known[(known < 0) | (known > 1)][0]
            raise TableError(
                f"Column {name!r} of {path} has an accuracy of {odd:g}: not of 0 to 1. "
                f"Its unit is {unit!r}; is it 'percent'?"
            )
    if unit == "count" and (np.abs(values) < 2**53).all() and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    keys = ("metric", "dataset", "epochs", "at_epoch", "seed")
    measure = Measure(**{k: spec[k] for k in keys if k in spec})
    return Column(measure, values, spec.get("grid", 0), spec.get("note", ""))


def _place(space: Space, texts: list[str], path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Order of the rows in the table, and where they stand in the space."""
    read = [_parsed(space, text, row, path) for row, text in enumerate(texts, 1)]
    if space.size is not None:
        if any(isinstance(cell, Genotype) for cell in read):
            raise TableError(f"{path}: {space.title} is listed by cell, not by genotype.")
        rows = np.array([space.index(cell) for cell in read])
        _refuse_twice(rows, texts, path)
        order = np.argsort(rows)
        return order, {"rows": rows[order]}
    pairs = [(c.normal, c.reduce) if isinstance(c, Genotype) else (c,) for c in read]
    if len({len(pair) for pair in pairs}) != 1:
        raise TableError(f"{path} mixes cells and genotypes.")
    parts: list[CellArray] = [space.pack(list(part)) for part in zip(*pairs, strict=True)]
    names = ("cells", "reduction_cells")
    if pair := first_repeat(*parts):
        raise _twice([pair[0] + 1, pair[1] + 1], texts[pair[0]], path)
    return np.arange(len(texts)), dict(zip(names, parts, strict=False))


def _parsed(space: Space, text: str, row: int, path: Path) -> Any:
    try:
        is_genotype = text.lstrip().startswith("Genotype(")
        return Genotype.parse(text) if is_genotype else space.parse(text)
    except CellError as error:
        raise TableError(f"Row {row} of {path}: {error}") from None


def _refuse_twice(keys: np.ndarray, texts: list[str], path: Path) -> None:
    _, first, count = np.unique(keys, return_index=True, return_counts=True)
    if (count > 1).any():
        n = int(first[count > 1][0])
        raise _twice((np.flatnonzero(keys == keys[n])[:_ROWS_NAMED] + 1).tolist(), texts[n], path)


def _twice(rows: list[int], text: str, path: Path) -> TableError:
    return TableError(
        f"Rows {', '.join(map(str, rows))} of {path} are the same cell ({text[:80]}). Keep one, or "
        "give each run a column of its own with its `seed`."
    )


IMPORTER = Importer("a table of your own described in TOML", recognise, convert)

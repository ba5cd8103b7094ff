"""Tables on disk: one safetensors file of columns, with everything else in its header.

A file is memory-mapped and columns are read when they are first asked for, so opening costs a
millisecond, whatever the size. It is written aside and renamed: a reader never meets half of one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from archrep.cells.array import CellArray
from archrep.cells.registry import get_space
from archrep.errors import ArchrepError, TableError
from archrep.files import make_folder, write_atomically
from archrep.tables.columns import Column, Measure
from archrep.tables.keys import first_repeat

SCHEMA = 1
"""Version of the layout; a reader refuses a higher one."""

SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class TableInfo:
    """What a table is, where it comes from and what a query without options means."""

    name: str
    """What users type: `nasbench201`."""
    title: str
    """What papers print: `NAS-Bench-201`."""
    space: str
    """Name of the search space."""
    source: str
    """Where the figures come from."""
    licence: str
    """Terms of the source."""
    citation: str = ""
    """Whom to cite."""
    dataset: str | None = None
    """Data set of a query that names none."""
    epochs: int | None = None
    """Schedule of a query that names none."""
    seed: int | str = "mean"
    """Run of a query that names none: `mean` of the recorded ones where they are recorded."""
    by_class: bool = False
    """Whether a record stands for all cells of its class (`Space.topology_classes`)."""
    notes: tuple[str, ...] = ()
    """What a reader must know."""
    made_with: str = ""
    """Command or version that made the file."""


@dataclass(frozen=True, eq=False)
class TableData:
    """The content of a table: what importers make and files hold.

    Exactly one of `rows` and `cells` is given.

    Attributes:
        info: Name, source, defaults.
        columns: By their names, all of length M.
        rows: Recorded cells as positions in `Space.enumerate()`, `[M]`, ascending, none twice.
        cells: Recorded cells of a space that is not enumerated, `[M]`.
        reduction_cells: Their reduction cells, where a record is of a DARTS genotype.
    """

    info: TableInfo
    columns: Mapping[str, Column]
    rows: np.ndarray | None = None
    cells: CellArray | None = None
    reduction_cells: CellArray | None = None

    def __post_init__(self) -> None:
        if (self.rows is None) == (self.cells is None):
            raise TableError("A table needs either `rows` or `cells`.")

    @classmethod
    def of(cls, info: TableInfo, columns: list[Column], **kwargs: Any) -> TableData:
        """From a list of columns.

        Raises:
            TableError: Two columns have one name, a length differs, or rows are not ascending.
        """
        data = cls(info, {column.name: column for column in columns}, **kwargs)
        data.check()
        if len(data.columns) != len(columns):
            names = [column.name for column in columns]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise TableError(f"Columns must have different names. Got {twice} twice.")
        return data

    def __len__(self) -> int:
        """Number M of recorded cells."""
        return len(self.rows if self.rows is not None else self.cells)  # type: ignore[arg-type]

    @property
    def measures(self) -> Mapping[str, Measure]:
        """What each column measures; reads no values."""
        if isinstance(self.columns, _LazyColumns):
            return self.columns.measures
        return {name: column.measure for name, column in self.columns.items()}

    def check(self) -> None:
        """Compare lengths and rows with each other and with the space.

        Raises:
            TableError: They do not fit; the message says what.
        """
        space = get_space(self.info.space)
        for key in ("dataset", "epochs"):
            default = getattr(self.info, key)
            known = {getattr(measure, key) for measure in self.measures.values()}
            if default is not None and default not in known:
                raise TableError(f"No column is of the table's default {key}={default!r}.")
        for column in self.columns.values():
            if len(column.values) != len(self):
                raise TableError(
                    f"Column {column.name} must have one value for each of {len(self)} cells. "
                    f"Got {len(column.values)}."
                )
        if self.rows is not None:
            if space.size is None:
                raise TableError(f"{space.title} is not enumerated: a table of it needs `cells`.")
            rows = self.rows
            if rows.ndim != 1 or rows.dtype.kind not in "iu" or (np.diff(rows) <= 0).any():
                raise TableError("`rows` must be ascending indices, none twice.")
            if len(rows) and (rows[0] < 0 or rows[-1] >= space.size):
                raise TableError(f"`rows` must lie in 0..{space.size - 1}.")
            if self.info.by_class and len(np.unique(space.topology_classes()[rows])) < len(rows):
                raise TableError("A table `by_class` must have one record of each class at most.")
        for cells in (self.cells, self.reduction_cells):
            if cells is not None:
                space.validate_array(cells)
                if len(cells) != len(self):
                    raise TableError(f"Expected {len(self)} cells. Got {len(cells)}.")
        if self.cells is not None and (pair := first_repeat(self.cells, self.reduction_cells)):
            raise TableError(f"Records {pair[0]} and {pair[1]} are of the same cell.")

    def encode(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and header of the file.

        Raises:
            TableError: The content does not fit together.
        """
        self.check()
        arrays: dict[str, np.ndarray] = {}
        if self.rows is not None and len(self) != get_space(self.info.space).size:
            arrays["rows"] = self.rows.astype(np.int32)
        for prefix, cells in (("cells", self.cells), ("reduction_cells", self.reduction_cells)):
            if cells is not None:
                arrays[f"{prefix}.ops"] = np.ascontiguousarray(cells.ops)
                arrays[f"{prefix}.adjacency_bits"] = cells.adjacency_bits.view(np.int64)
        about = {}
        for name, column in self.columns.items():
            arrays[f"column.{name}"], about[name] = column.encode()
        header = {
            "schema": SCHEMA,
            "info": asdict(self.info),
            "columns": about,
            "vocabulary": list(get_space(self.info.space).ops),
        }
        header["sha256"] = content_hash(header, arrays)
        return arrays, header

    @property
    def sha256(self) -> str:
        """Hash of everything the table says; computed at each call."""
        return str(self.encode()[1]["sha256"])

    def save(self, path: str | Path) -> None:
        """Write the file, atomically.

        Raises:
            TableError: The content does not fit together.
            RunError: The disk is full or the folder cannot be written.
        """
        arrays, header = self.encode()
        text = {"archrep_table": json.dumps(header)}
        path = Path(path)
        make_folder(path.parent)
        write_atomically(path, lambda temporary: save_file(arrays, temporary, text))


def content_hash(header: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of everything a table says, whatever the order in which the file stores it."""
    digest = hashlib.sha256()
    said = {key: value for key, value in header.items() if key != "sha256"}
    if "info" in said:  # how a file was made is not what it says
        said["info"] = {k: v for k, v in said["info"].items() if k != "made_with"}
    digest.update(json.dumps(said, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


_INFO_TYPES: dict[str, Any] = {
    **dict.fromkeys(("name", "title", "space", "source", "licence", "citation"), str),
    "dataset": (str, type(None)),
    "epochs": (int, type(None)),
    "seed": (int, str),
    "by_class": bool,
    "notes": tuple,
}


class _LazyColumns(Mapping[str, Column]):
    """Columns of an open file, read when they are first asked for."""

    def __init__(self, file: TableFile, about: dict[str, dict[str, Any]]) -> None:
        self._file, self._about = file, about
        self.measures = {name: Measure.from_header(text) for name, text in about.items()}
        self._read: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._read:
            self._read[name] = Column.decode(self._file.array(f"column.{name}"), self._about[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._about)

    def __len__(self) -> int:
        return len(self._about)


@dataclass(eq=False)
class TableFile:
    """An open table file.

    Attributes:
        path: The file.
        header: What `TableData.save` wrote beside the arrays.
    """

    path: Path
    header: dict[str, Any] = field(init=False)
    _open: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            opened: Any = safe_open(self.path, "numpy")
            text = (opened.metadata() or {}).get("archrep_table")
        except FileNotFoundError:
            raise TableError(f"Expected a table in {self.path}. There is no such file.") from None
        except (SafetensorError, OSError) as error:
            raise TableError(
                f"Expected a table of archrep in {self.path}, and it cannot be read "
                f"({_first_line(error)}). Import it again."
            ) from None
        self._open = opened
        if text is None:
            raise TableError(
                f"Expected a table of archrep in {self.path}. Got a safetensors file of another "
                "kind. `archrep tables import` makes tables of official files."
            )
        try:
            self.header = json.loads(text)
            schema = int(self.header["schema"])
        except (ValueError, KeyError, TypeError):
            raise TableError(f"The header of the table in {self.path} is damaged.") from None
        if schema > SCHEMA:
            raise TableError(
                f"The table in {self.path} has layout {schema}; this version of archrep reads up "
                f"to {SCHEMA}. Update archrep."
            )

    @cached_property
    def names(self) -> frozenset[str]:
        """Arrays in the file."""
        return frozenset(self._open.keys())

    def array(self, name: str) -> np.ndarray:
        """One array, read-only.

        Raises:
            TableError: It is not there or cannot be read.
        """
        try:
            array: np.ndarray = self._open.get_tensor(name)
        except (SafetensorError, OSError, ValueError) as error:
            raise TableError(
                f"Array {name} of the table in {self.path} cannot be read ({_first_line(error)})."
            ) from None
        array.setflags(write=False)
        return array

    def data(self) -> TableData:
        """The content; columns are read when they are first asked for.

        Raises:
            TableError: The header does not fit the arrays or the space.
        """
        try:
            known = {f.name for f in fields(TableInfo)}
            given = {k: v for k, v in self.header["info"].items() if k in known}
            info = TableInfo(**given | {"notes": tuple(given.get("notes", ()))})
            about = self.header["columns"]
            if missing := [name for name in about if f"column.{name}" not in self.names]:
                raise TableError(f"The table in {self.path} lacks column {missing[0]}.")
            if wrong := [
                name
                for name, kinds in _INFO_TYPES.items()
                if not isinstance(getattr(info, name), kinds)
            ]:
                raise TableError(f"The header of the table in {self.path} is damaged: {wrong[0]}.")
            space = get_space(info.space)
            if tuple(self.header["vocabulary"]) != tuple(space.ops):
                raise TableError(
                    f"The table in {self.path} was made for operations "
                    f"{tuple(self.header['vocabulary'])}; {space.title} now has {space.ops}."
                )
            rows = None
            if "cells.ops" not in self.names:
                whole = np.arange(space.size or 0, dtype=np.int32)
                rows = self.array("rows") if "rows" in self.names else whole
            data = TableData(
                info,
                _LazyColumns(self, about),
                rows,
                self._cells("cells", space.ops),
                self._cells("reduction_cells", space.ops),
            )
            self._check_shapes(data, space.size)
            return data
        except ArchrepError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(
                f"The header of the table in {self.path} is damaged ({_first_line(error)})."
            ) from None

    def _check_shapes(self, data: TableData, size: int | None) -> None:
        """Refuse what would be read wrongly; reads the rows and no column."""
        for name in data.columns:
            length = self._open.get_slice(f"column.{name}").get_shape()[0]
            if length != len(data):
                raise TableError(
                    f"Column {name} of the table in {self.path} has {length} values for "
                    f"{len(data)} cells."
                )
        rows = data.rows
        if rows is not None and len(rows):
            whole = rows.ndim == 1 and rows.dtype.kind in "iu"
            if not whole or rows[0] < 0 or rows[-1] >= (size or 0) or (np.diff(rows) <= 0).any():
                raise TableError(f"The rows of the table in {self.path} are no ascending indices.")

    def _cells(self, prefix: str, vocabulary: tuple[str, ...]) -> CellArray | None:
        if f"{prefix}.ops" not in self.names:
            return None
        bits = self.array(f"{prefix}.adjacency_bits").view(np.uint64)
        return CellArray(self.array(f"{prefix}.ops"), bits, vocabulary)

    def verify(self) -> None:
        """Read everything and compare with the hash in the header.

        Raises:
            TableError: A byte has changed, or the content does not fit together.
        """
        found = content_hash(self.header, {name: self.array(name) for name in self.names})
        if found != self.header.get("sha256"):
            raise TableError(
                f"The table in {self.path} has changed since it was written: expected SHA-256 "
                f"{self.header.get('sha256')}, got {found}. Import it again."
            )
        self.data().check()


def is_surrogate(path: Path) -> bool:
    """Whether a file of ours holds a surrogate rather than records; `False` for what is damaged."""
    try:
        opened: Any = safe_open(path, "numpy")
        return "archrep_surrogate" in (opened.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]

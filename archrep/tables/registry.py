"""Where tables are: those that come with the package, those a user imported, any file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from archrep.errors import ArchrepError, TableError, UnknownNameError
from archrep.tables.base import Table
from archrep.tables.file import SUFFIX, TableInfo, is_surrogate

if TYPE_CHECKING:
    from archrep.tables.surrogate import Nasbench301Surrogate

PACKAGED = Path(__file__).parent / "packaged"
"""Tables that come with the package."""


def tables_folder() -> Path:
    """Folder of imported tables: `ARCHREP_TABLES`, or `archrep/tables` among the user's data."""
    if named := os.environ.get("ARCHREP_TABLES"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    else:
        base = os.environ.get("XDG_DATA_HOME", "~/.local/share")
    return Path(base).expanduser() / "archrep" / "tables"


def table_paths() -> dict[str, Path]:
    """Files of all known tables by name; an imported one goes before one of the package."""
    found: dict[str, Path] = {}
    for folder in (PACKAGED, tables_folder()):
        files = sorted(folder.glob(f"*{SUFFIX}"))
        found |= {path.stem: path for path in files if not path.name.startswith(".")}
    return dict(sorted(found.items()))


def open_table(name: str | Path) -> Table | Nasbench301Surrogate:
    """A table, or a surrogate of one, by its name or file; both have `query` and `query_array`.

    Args:
        name: Such as `"nasbench201"`; `archrep tables` lists what is there. Or a path.

    Raises:
        UnknownNameError: There is no such table; the message says how to get it.
        TableError: The file is damaged, or made by a newer archrep.

    Example:
        >>> open_table("digits").query(6111).dataset
        'digits'
    """
    path = Path(name)
    if path.suffix == SUFFIX or os.sep in str(name):
        return _open(path)
    paths = table_paths()
    if str(name) not in paths:
        raise UnknownNameError(
            f"Expected a table that is here: {', '.join(paths) or 'none yet'}. Got {str(name)!r}. "
            "Get others with `archrep tables import FILE` or `archrep tables download NAME`."
        )
    return _open(paths[str(name)])


def open_recorded(name: str | Path) -> Table:
    """`open_table` for what needs records: columns, positions, a best cell.

    Raises:
        TableError: It is a surrogate, which predicts and records nothing.
    """
    table = open_table(name)
    if not isinstance(table, Table):
        raise TableError(f"{table.info.title} predicts: it has no records. Use `archrep query`.")
    return table


def _open(path: Path) -> Table | Nasbench301Surrogate:
    if path.exists() and is_surrogate(path):
        from archrep.tables.surrogate import Nasbench301Surrogate

        return Nasbench301Surrogate.load(path)
    return Table.open(path)


class Storable(Protocol):
    """What can be kept under a name: `TableData`, or a surrogate."""

    @property
    def info(self) -> TableInfo:
        """Name and source."""

    @property
    def sha256(self) -> str:
        """Hash of everything it says."""

    def save(self, path: Path) -> None:
        """Write it, atomically."""


def store(data: Storable, folder: Path | None = None, *, replace: bool = False) -> Path:
    """Save a table under its name among the user's.

    Args:
        data: What to save.
        folder: Where; by default `tables_folder()`.
        replace: Whether it may take the place of another table of that name.

    Returns:
        The file.

    Raises:
        TableError: The name cannot be a file's, the content does not fit together, or another table
            of that name is there and `replace` is not set.
        RunError: The disk is full or the folder cannot be written.
    """
    path = place_of(data.info.name, folder)
    if path.exists() and not replace and _sha256(path) != data.sha256:
        raise TableError(
            f"Another table {data.info.name!r} is there already: {path}. Pass `--replace` to put "
            "this one in its place, or `--name` to give it another name."
        )
    data.save(path)
    return path


def place_of(name: str, folder: Path | None = None) -> Path:
    """File of a table of that name.

    Raises:
        TableError: The name cannot be a file's.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII) or name.endswith(SUFFIX):
        raise TableError(
            "A table's name is of letters, digits, '-', '_' and '.', begins with a letter or digit "
            f"and does not end in {SUFFIX}. Got {name!r}."
        )
    return (folder or tables_folder()) / f"{name}{SUFFIX}"


def _sha256(path: Path) -> str:
    """Hash of the table in a file; empty for a damaged one."""
    try:
        return _open(path).sha256
    except ArchrepError:
        return ""


def listing() -> Iterator[dict[str, object]]:
    """One line a known table: name, title, space, records, size, source, licence, hash, file."""
    for name, path in table_paths().items():
        line: dict[str, object] = {"name": name, "file": str(path)}
        try:
            line["bytes"] = path.stat().st_size
            table = _open(path)
            line |= {
                "title": table.info.title,
                "space": table.info.space,
                "recorded": len(table.recorded) if isinstance(table, Table) else 0,
                "columns": len(table.measures) if isinstance(table, Table) else 0,
                "source": table.info.source,
                "licence": table.info.licence,
                "sha256": table.sha256,
            }
        except (ArchrepError, OSError) as error:
            line["problem"] = str(error)
        yield line

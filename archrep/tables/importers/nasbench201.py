"""NAS-Bench-201 files (Dong and Yang, 2020): v1.0 (`...e61699.pth`) and v1.1 (`...096897.pth`).

A file is what `torch.save` makes of a dict: `meta_archs`, `evaluated_indexes`, and `arch2infos`
with the schedules "less" (12 epochs) and "full" (200) of each cell, otherwise as in NATS-Bench,
which superseded it. It is read by the restricted loader of torch; NumPy numbers in it are made by
the stand-ins of `unpickle`. All of it has to be in memory at once, a megabyte for each cell.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from archrep.errors import TableError
from archrep.tables.file import TableData
from archrep.tables.importers.base import Importer, Report
from archrep.tables.importers.nats import TrialColumns, read_whole, shown
from archrep.tables.importers.unpickle import NUMPY

SCHEDULES = {"less": "12", "full": "200"}
"""Names of the schedules in the file, and their epochs."""

_NAME = re.compile(r"NAS-Bench-[12]0[12]-v1_[01]-[0-9a-f]{6}\.pth")
_NOTES = (
    "Release {release} of NAS-Bench-201. NATS-Bench has more runs of the same trainings and "
    "states times for all of them.",
)


def load_checkpoint(path: Path) -> Any:
    """What `torch.save` wrote: plain containers, numbers, strings and tensors only.

    Raises:
        TableError: It is damaged, or names anything else; nothing it names was executed.
    """
    import torch

    allowed: list[Any] = [
        (stand_in, f"{module}.{name}") for (module, name), stand_in in NUMPY.items()
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            # Only the newer, zipped form can be mapped.
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except MemoryError:
        raise TableError(f"{path} asks for more memory than there is.") from None
    except Exception as error:
        # torch raises many kinds for a damaged file: RuntimeError, EOFError, UnpicklingError, ...
        raise TableError(f"{path} is no readable torch file ({_reason(error)}).") from None


def _reason(error: Exception) -> str:
    """What is wrong, out of torch's long advice."""
    text = str(error)
    named = re.search(r"(?:GLOBAL|global) `?([\w.]+)", text)
    if named:
        return f"it names {named[1][:80]!r}, which no benchmark file needs; nothing was executed"
    lines = text.strip().splitlines()
    return lines[0][:100] if lines else type(error).__name__


def convert(path: Path, report: Report, *, curves: bool = False) -> list[TableData]:
    """The table in a file.

    Args:
        path: The file.
        report: Told the progress in cells.
        curves: See `nats.convert`.

    Raises:
        TableError: It is damaged or not as published.
    """
    report("Reading the whole benchmark into memory", 0, None)
    content = load_checkpoint(path)
    infos = content.get("arch2infos") if isinstance(content, dict) else None
    if not isinstance(infos, dict):
        raise TableError(f"{path} must hold a dict with `meta_archs` and `arch2infos`.")
    renamed = {index: _by_epochs(info, index, path) for index, info in infos.items()}
    columns = TrialColumns(curves)
    read_whole({**content, "arch2infos": renamed}, columns, str(path), report)
    release = "1.1" if "v1_1" in path.name else "1.0" if "v1_0" in path.name else "unknown"
    return [
        columns.table(f"official file {path.name}", *(n.format(release=release) for n in _NOTES))
    ]


def _by_epochs(info: Any, index: Any, path: Path) -> dict[str, Any]:
    if not isinstance(info, dict) or not info or set(info) - set(SCHEDULES):
        raise TableError(
            f"Cell {shown(index)} in {path} must have the schedules {' and '.join(SCHEDULES)}."
        )
    return {SCHEDULES[name]: result for name, result in info.items()}


def recognise(path: Path) -> bool:
    """Whether a file is called like one of the official ones."""
    try:
        return _NAME.fullmatch(path.name) is not None and path.is_file()
    except OSError:
        return False


IMPORTER = Importer("NAS-Bench-201 (.pth)", recognise, convert, takes_curves=True)

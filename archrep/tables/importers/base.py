"""What an importer is, and how a file finds its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from archrep.errors import TableError
from archrep.tables.registry import Storable

Report = Callable[[str, int, int | None], None]
"""Progress: what is being done, how many units are done, and of how many if that is known."""


@dataclass(frozen=True)
class Importer:
    """Reader of one kind of file.

    Attributes:
        title: What it reads, for people.
        recognise: Whether a file or folder is of this kind, from its name and first bytes; cheap,
            and never raises.
        convert: The tables in it. Raises `TableError` for a damaged file.
        takes_curves: Whether `convert` knows `curves=True`: what was recorded during a training.
    """

    title: str
    recognise: Callable[[Path], bool]
    convert: Callable[..., Sequence[Storable]]
    takes_curves: bool = False


MODULES: tuple[str, ...] = (
    "nasbench101",
    "nasbench201",
    "nats",
    "hw_nas_bench",
    "nasbench301",
    "yahpo",
    "collection",
    "description",
)
"""Modules of this package, each with an `IMPORTER`; imported when a file is looked at."""


def quiet(what: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""


def import_file(
    path: str | Path, report: Report = quiet, *, curves: bool = False
) -> Sequence[Storable]:
    """The tables in an official or published file.

    Args:
        path: File, or folder where the benchmark is one.
        report: Called now and then with the progress.
        curves: Keep what was recorded during trainings too: learning curves, or the half-way
            figures of NAS-Bench-101. Makes large tables.

    Raises:
        TableError: There is no such file, nobody knows its kind, it has no curves, or it is
            damaged.
    """
    path = Path(path)
    if not path.exists():
        raise TableError(f"Expected a benchmark file in {path}. There is no such file.")
    importers: list[Importer] = [
        import_module(f"archrep.tables.importers.{name}").IMPORTER for name in MODULES
    ]
    for importer in importers:
        if importer.recognise(path):
            if not curves:
                return importer.convert(path, report)
            if not importer.takes_curves:
                raise TableError(f"There are no optional curves in {path}: {importer.title}.")
            return importer.convert(path, report, curves=True)
    known = "; ".join(importer.title for importer in importers)
    raise TableError(f"{path} is of no known kind. Known are: {known}.")

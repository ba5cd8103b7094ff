"""The small NAS-Bench-301 network that was published with the data of YAHPO Gym, as .npz."""

from __future__ import annotations

from pathlib import Path

from archrep.tables.importers.base import Importer, Report
from archrep.tables.surrogate import Nasbench301Surrogate


def recognise(path: Path) -> bool:
    """The published file is called `nasbench301_mlp_surrogate.npz`."""
    return path.suffix == ".npz" and "nasbench301" in path.name and path.is_file()


def convert(path: Path, report: Report) -> list[Nasbench301Surrogate]:
    """The surrogate.

    Raises:
        TableError: The file is damaged or of another kind.
    """
    return [Nasbench301Surrogate.load(path)]


IMPORTER = Importer("the NAS-Bench-301 surrogate network (.npz)", recognise, convert)

"""The official ensembles of NAS-Bench-301 (figshare 12962432 and 13061510): recognised, not read.

The archives `nasbench301_models_v0_9.zip` and `nasbench301_models_v1_0.zip` (1.8 GB) hold a folder
`nb_models` with one folder for each ensemble: `xgb_v1.0`, `lgb_runtime_v1.0`, `gnn_gin_v1.0`. Each
member of an ensemble is a folder with `surrogate_model.model`, `model_config.json` and
`data_config.json`.

- XGBoost and LightGBM members are pickles of `Booster` objects. Loading a pickle runs code, and one
  of a Booster is only promised to load in the version of the library that wrote it, here of 2020.
- GNN members are torch weights of network classes that exist in the package `nasbench301` only.
- Features are arrays of a ConfigSpace 0.4 configuration, whose order and scaling are not stored.

A reader that avoids all this could not be tested without the models themselves, so there is none:
a surrogate that is slightly wrong is worse than none.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NoReturn

from archrep.errors import TableError
from archrep.tables.importers.base import Importer, Report

_MEMBER = "surrogate_model.model"
_ENSEMBLE = re.compile(r"(xgb|lgb|lgb_runtime|gnn_gin|gnn\w*|svr|forest)_v\d+\.\d+")
_ARCHIVE = re.compile(r"nasbench301_models_v\d+[._]\d+.*\.zip")


def recognise(path: Path) -> bool:
    """Whether a path is the archive, `nb_models`, an ensemble, a member of one, or its file."""
    try:
        if not path.is_dir():
            return path.name == _MEMBER or _ARCHIVE.fullmatch(path.name) is not None
        return bool(_members(path)) or any(_is_ensemble(child) for child in path.iterdir())
    except OSError:
        return False


def convert(path: Path, report: Report) -> NoReturn:
    """Say what these files are and what to use.

    Raises:
        TableError: Always.
    """
    kinds = sorted({kind for member in _all_members(path) if (kind := _kind(member))})
    raise TableError(
        f"{path} holds official NAS-Bench-301 ensembles ({', '.join(kinds) or 'kind not stated'}), "
        "which archrep does not read: xgb and lgb members are pickles, which run code when they "
        "are loaded and need the xgboost and lightgbm of 2020; gnn members need the classes of the "
        "package nasbench301. Use the table `nasbench301` (Nasbench301Surrogate, rank correlation "
        "0.90 with the xgb ensemble), or predict with that package in an environment of its own."
    )


def _is_ensemble(folder: Path) -> bool:
    return _ENSEMBLE.fullmatch(folder.name) is not None and bool(_members(folder))


def _members(folder: Path) -> list[Path]:
    """Files of the members of an ensemble, or of the folder as the only one."""
    return [*folder.glob(_MEMBER), *folder.glob(f"*/{_MEMBER}")] if folder.is_dir() else []


def _all_members(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.name == _MEMBER else []
    ensembles = [child for child in path.iterdir() if _is_ensemble(child)]
    return [member for folder in (path, *ensembles) for member in _members(folder)]


def _kind(member: Path) -> str | None:
    """Model of a member as its configuration names it: `xgb`, `lgb_time`, `gnn_gin`."""
    try:
        kind = json.loads((member.parent / "model_config.json").read_text())["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kind if isinstance(kind, str) and kind.isidentifier() else None


IMPORTER = Importer("the official ensembles of NAS-Bench-301", recognise, convert)

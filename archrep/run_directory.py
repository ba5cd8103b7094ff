"""Run directories: which run one holds, and whether it may go on there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from archrep.errors import RunError
from archrep.files import read_json, write_json


def begin_run(folder: Path, record: dict[str, Any], parts: Iterable[str], *, resume: bool) -> bool:
    """Make a locked run directory ready, and say whether its run is finished already.

    Args:
        folder: The directory; its `config.json` holds the record of the run.
        record: Everything that decides the result.
        parts: Names or patterns of files that a run leaves there, `summary.json` when finished.
        resume: Go on with the run in `folder`.

    Raises:
        RunError: It holds another run, or this one without `resume`, or files of an unknown one.
    """
    file = folder / "config.json"
    if not file.exists():
        if any(any(folder.glob(part)) for part in parts):
            raise RunError(
                f"{folder} holds files of a run but no config.json. Pass another `--out`."
            )
        write_json(file, record)
        return False
    stored = read_json(file, "a run's configuration")
    if not isinstance(stored, dict):
        raise RunError(f"Expected a run's configuration in {file}. Got {stored!r:.60}.")
    differing = [
        f"`{name}` {stored.get(name)!r} there, {value!r} asked"
        for name, value in json.loads(json.dumps(record)).items()
        if stored.get(name) != value
    ]
    if differing:
        raise RunError(
            f"{folder} holds another run: {'; '.join(differing[:3])}. Pass another `--out`."
        )
    finished = (folder / "summary.json").exists()
    if not resume:
        state = "finished" if finished else "unfinished"
        raise RunError(
            f"{folder} holds this run, {state}. Pass `--resume` to "
            + ("read it" if finished else "go on with it")
            + ", or another `--out`."
        )
    return finished

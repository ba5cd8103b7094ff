"""The way that searches took through a space, as rows of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from archrep.cells.registry import get_space
from archrep.comparison import Finished, check_searched, load_finished
from archrep.embeddings import EmbeddingTable
from archrep.errors import ArchrepError, RunError, TableError
from archrep.tables.base import Table
from archrep.tables.registry import open_table


@dataclass(frozen=True, eq=False)
class Trajectories:
    """The first runs of one search; queries of all of them, run after run.

    Attributes:
        name: Folder of the search.
        label: Strategy, data set, protocol and budget.
        seeds: Seed of each run, by which they are numbered, `[R]`.
        starts: Where each run begins and the last ends, `[R + 1]`.
        rows: Row of the queried cell in the page, `[M]`; -1 where the page lacks it.
        accuracies: Validation accuracy as the search saw it, `[M]`.
        runs: How many runs the search had in all.
    """

    name: str
    label: str
    seeds: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    accuracies: np.ndarray
    runs: int


def load_trajectories(
    folder: Path, embeddings: EmbeddingTable, table: Table | None, most: int
) -> Trajectories:
    """Trajectories of a finished search of the same space, and of the same table if there is one.

    Args:
        folder: Its run directory.
        embeddings: Of the cells of the page, where they stand by ascending `cell_ids`.
        table: Table of the page.
        most: Runs to keep.

    Raises:
        RunError: It is no finished search, or nothing that it queried is on the page.
        TableError: It is of another space or table, or of other sampled cells.
    """
    search = load_finished(folder)
    _check_question(search, embeddings.space, table)
    if get_space(embeddings.space).size is None:
        check_searched(search, embeddings)
    ids = np.sort(embeddings.cell_ids)
    traces = search.traces
    count = min(most, len(traces.runs))
    end = int(traces.starts[count])
    positions = traces.position[:end]
    places = np.searchsorted(ids, positions).clip(max=len(ids) - 1)
    rows = np.where(ids[places] == positions, places, -1)
    if not (rows >= 0).any():
        raise RunError(f"{folder} queried none of the cells of the page. Is it of another run?")
    parts = [search.label, search.summary.get("dataset"), search.summary["protocol"]]
    return Trajectories(
        name=folder.resolve().name,
        label=", ".join([*(str(part) for part in parts if part), search.budget]),
        seeds=traces.runs[:count].astype(np.int32),
        starts=traces.starts[: count + 1].astype(np.int32),
        rows=rows.astype(np.int32),
        accuracies=traces.valid_accuracy[:end].astype(np.float32),
        runs=len(traces.runs),
    )


def told_apart(searches: Sequence[Trajectories]) -> list[Trajectories]:
    """The same searches, with names and labels of which no two are equal."""
    found: list[Trajectories] = []
    for search in searches:
        names = [other.name.rsplit("#", 1)[0] for other in found]
        number = names.count(search.name)
        name = f"{search.name}#{number + 1}" if number else search.name
        alike = [other.label for other in searches].count(search.label) > 1
        label = f"{search.label}, folder {name}" if alike else search.label
        found.append(replace(search, name=name, label=label))
    return found


def _check_question(search: Finished, space: str, table: Table | None) -> None:
    """Refuse a search of another space or table."""
    title, sha256 = search.summary["table"], search.summary["table_sha256"]
    if table is not None:
        if sha256 != table.sha256:
            raise TableError(
                f"{search.folder} is a search of {title} ({sha256[:12]}), and `--table` is "
                f"{table.info.title} ({table.sha256[:12]}). Show each with its own table."
            )
        return
    name = search.summary["config"]["table"]
    try:
        searched = open_table(name).space.name
    except ArchrepError as error:
        raise TableError(
            f"Whether {search.folder} is a search of this space is written in its table, and that "
            f"is not here: {error}"
        ) from None
    if searched != space:
        raise TableError(
            f"{search.folder} is a search of {title}, whose space is {searched}. These cells are "
            f"of {space}."
        )

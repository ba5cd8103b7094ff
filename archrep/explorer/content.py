"""Everything that a page shows, gathered and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archrep.cell_columns import CellColumn, graph_columns, table_columns, telling
from archrep.cells.array import CellArray
from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.embeddings import EmbeddingTable
from archrep.errors import ConfigError, RunError, TableError
from archrep.explorer.searches import Trajectories, load_trajectories, told_apart
from archrep.latent_map import LatentMap
from archrep.tables.base import Table


@dataclass(frozen=True, eq=False)
class Content:
    """The cells of a page in ascending order of their indices, and all that is said of them.

    Attributes:
        space: Their space.
        cells: The cells, `[N]`.
        ids: Official index of each, or its row in the embeddings file, `[N]`, ascending.
        vectors: Embeddings, `[N, D]`.
        xy: Places on the map, `[N, 2]`.
        caption: How the map was made.
        run: Name of the run, and how the encoder was trained.
        columns: Figures of the cells.
        table: Title and notes of the table, if there is one.
        searches: Searches to lay over the map.
    """

    space: Space
    cells: CellArray
    ids: np.ndarray
    vectors: np.ndarray
    xy: np.ndarray
    caption: str
    run: str
    columns: Sequence[CellColumn]
    table: dict[str, Any] | None = None
    searches: Sequence[Trajectories] = ()

    def __len__(self) -> int:
        return len(self.cells)


def gather(
    embeddings: EmbeddingTable,
    points: LatentMap,
    *,
    run: str,
    table: Table | None = None,
    searches: Sequence[Path] = (),
    runs: int = 100,
) -> Content:
    """What a page of a space shows.

    Args:
        embeddings: The cells and their vectors.
        points: Places of all of them.
        run: Where the vectors come from, in words.
        table: What was recorded of the cells.
        searches: Run directories of searches to lay over the map.
        runs: How many runs of each search to keep.

    Raises:
        ConfigError: The map lacks cells.
        TableError: The table, or a search, is of another space or table.
        RunError: A search is unfinished or damaged.
    """
    total = len(embeddings)
    if points.total != total or not np.array_equal(points.rows, np.arange(total)):
        raise ConfigError(
            f"`points` must place all {total:,} cells. Got {len(points):,} of {points.total:,}: "
            "make the map with `everything=True`."
        )
    space = get_space(embeddings.space)
    check_parts(embeddings, table)
    order = np.argsort(embeddings.cell_ids, kind="stable")
    cells, ids = embeddings.cells[order], embeddings.cell_ids[order]
    if len(ids) and ids[0] < 0:
        raise RunError(f"Row {order[0]} of the embeddings is no cell of {space.title}.")
    columns = list(graph_columns(space, cells))
    if table is not None:
        columns += table_columns(table, ids)
    return Content(
        space=space,
        cells=cells,
        ids=ids,
        vectors=embeddings.embeddings[order],
        xy=points.xy[order],
        caption=points.caption,
        run=run,
        columns=telling(columns),
        table=None if table is None else {"title": table.info.title, "notes": table.info.notes},
        searches=told_apart([load_trajectories(f, embeddings, table, runs) for f in searches]),
    )


def check_parts(
    embeddings: EmbeddingTable, table: Table | None, searches: Sequence[Path] = ()
) -> None:
    """Refuse, before a map is made, what cannot be shown together.

    Raises:
        TableError: The table, or a search, is of another space or table.
        RunError: A search is unfinished or damaged.
    """
    space = get_space(embeddings.space)
    if table is not None:
        _check_table(table, space)
    for folder in searches:
        load_trajectories(folder, embeddings, table, most=1)


def _check_table(table: Table, space: Space) -> None:
    if table.space.name != space.name:
        raise TableError(
            f"{table.info.title} is a table of {table.space.title}. The run is of {space.title}."
        )
    if space.size is None:
        raise TableError(
            f"{table.info.title} numbers its records itself, as {space.title} has no official "
            "indices. A page shows tables of enumerated spaces."
        )

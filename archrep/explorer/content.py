"""Everything that a page shows, gathered and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archrep.cells.array import CellArray
from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.embeddings import EmbeddingTable
from archrep.errors import ConfigError, RunError, TableError, UnknownNameError
from archrep.explorer.columns import PageColumn, graph_columns, table_columns, telling
from archrep.explorer.searches import Trajectories, load_trajectories
from archrep.files import read_json
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
    columns: Sequence[PageColumn]
    table: dict[str, Any] | None = None
    searches: Sequence[Trajectories] = ()

    def __len__(self) -> int:
        return len(self.cells)


def load_run(run: Path) -> tuple[EmbeddingTable, str]:
    """Embeddings of a run directory or of a file, and a description of where they come from.

    Raises:
        RunError: There are none, or the file is damaged or of something else.
        UnknownNameError: They are of a space that is not registered.
    """
    file = run / "embeddings.safetensors" if run.is_dir() else run
    if run.is_dir() and not file.exists():
        raise RunError(
            f"{run} holds no embeddings.safetensors. RUN is a finished run of `archrep pretrain`, "
            "or an embeddings file."
        )
    table = EmbeddingTable.load(file)
    try:
        get_space(table.space)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"{error} If it is of your own, pass `--import MODULE` before the command."
        ) from None
    if table.embeddings.ndim != 2 or len(table.embeddings) != len(table.cells):
        raise RunError(f"{file} does not hold one embedding a cell. Make it anew.")
    name = file.resolve().parent.name if file.name == "embeddings.safetensors" else file.stem
    config = file.parent / "config.json"
    if file.name == "embeddings.safetensors" and config.exists():
        about = read_json(config, "a run's configuration")
        if isinstance(about, dict) and "preset" in about:
            name += f" (preset {about['preset']}, seed {about.get('seed')})"
    return table, name


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
    if table is not None:
        _check_table(table, space)
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
        searches=[load_trajectories(f, space.name, ids, table, runs) for f in searches],
    )


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

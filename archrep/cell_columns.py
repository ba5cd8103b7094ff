"""Columns: what can be said of every cell, from its graph and from what a table recorded.

cells -> figures of the graph          \
                                        > one column by name, or all that tell cells apart
table -> figures by data set, schedule /

Maps and pages colour, filter and list cells by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from archrep.cells.array import CellArray, node_pairs
from archrep.cells.nasbench201 import OFFICIAL_EDGES
from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.errors import ConfigError, UnknownNameError, UnmeasuredError
from archrep.operation_looks import describe
from archrep.tables.base import Table
from archrep.tables.columns import Measure
from archrep.tables.view import STRUCTURAL


@dataclass(frozen=True, eq=False)
class CellColumn:
    """One figure a cell.

    Attributes:
        name: Key of the column, in links too.
        label: What a reader sees.
        values: `[N]` of float64; NaN where there is none.
        unit: `"%"` (the values are fractions), `"s"` or none.
        group: Heading it stands under.
        note: What a reader must know, in a sentence.
        categories: Names and colours, if the values are numbers of categories 0, 1, ...
    """

    name: str
    label: str
    values: np.ndarray
    unit: str = ""
    group: str = "Graph"
    note: str = ""
    categories: tuple[tuple[str, str], ...] = ()

    def repeats(self, other: CellColumn) -> bool:
        """Whether every value it has is also that of `other`."""
        told = ~np.isnan(self.values)
        return bool((self.values[told] == other.values[told]).all())


def telling(columns: Iterable[CellColumn]) -> list[CellColumn]:
    """Columns in which cells differ, without those that repeat an earlier one."""
    kept: list[CellColumn] = []
    for column in columns:
        told = column.values[~np.isnan(column.values)]
        differ = len(told) > 0 and (told != told[0]).any()
        if differ and not any(column.repeats(other) for other in kept):
            kept.append(column)
    return kept


def find_column(
    space: Space,
    cells: CellArray,
    ids: np.ndarray,
    name: str | None = None,
    *,
    table: Table | None = None,
    dataset: str | None = None,
) -> CellColumn:
    """One column of cells.

    Args:
        space: Their space.
        cells: The cells, `[N]`.
        ids: Their positions in the table, `[N]`.
        name: A figure of the graph or a metric of the table; by default the accuracy that the table
            has of most cells, or depth without a table.
        table: What was recorded of them, at its own schedule and choice of runs.
        dataset: Of the table; by default its own. Figures of the graph are those of the space's own
            network, whatever the data set.

    Raises:
        UnknownNameError: There is no such column, or the table records no accuracy.
    """
    if name is None:
        name = "depth" if table is None else _best_known_accuracy(table, dataset)
    recorded = () if table is None else table.metrics
    known = []
    if name not in recorded or name in STRUCTURAL:
        for column in graph_columns(space, cells):
            if column.name == name:
                return column
            known.append(column.name)
    if table is None or name not in recorded:
        more = "" if table is not None else "; with `--table`, its metrics as well"
        raise UnknownNameError(
            f"The column must be one of {', '.join(dict.fromkeys([*recorded, *known]))}{more}. Got "
            f"{name!r}."
        )
    values = np.asarray(table.column(name, dataset=dataset), np.float64)[ids]
    info = table.info
    return _table_column(table, name, dataset or info.dataset, info.epochs, values)


def _best_known_accuracy(table: Table, dataset: str | None) -> str:
    """Test accuracy, or validation accuracy where a table recorded that of more cells."""
    known = {
        name: int(np.isfinite(np.asarray(table.column(name, dataset=dataset), float)).sum())
        for name in ("test_accuracy", "valid_accuracy")
        if name in table.metrics
    }
    if not known:
        raise UnknownNameError(
            f"{table.info.title} records no accuracy. Name a column of it: "
            f"{', '.join(table.metrics)}."
        )
    return max(known, key=lambda name: known[name])


# Of the graph -----------------------------------------------------------------------------------

GROUPS: dict[str, tuple[str, ...]] = {
    "conv_3x3": ("conv3x3-bn-relu", "nor_conv_3x3", "sep_conv_3x3", "dil_conv_3x3"),
    "pool_skip": ("maxpool3x3", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    "conv_1x1": ("conv1x1-bn-relu", "nor_conv_1x1"),
    "conv_5x5": ("sep_conv_5x5", "dil_conv_5x5"),
}
"""Columns that count several operations, so that maps of different spaces compare."""


def space_columns(space: str | Space, cells: CellArray) -> dict[str, np.ndarray]:
    """What can be said of cells without training them: whole numbers `[N]` of int16 by name.

    `edges`, `nodes`, `depth` (edges on the longest path), `count_<op>` for every operation of the
    space, and a column of `GROUPS` where the space has operations of that group.

    Raises:
        ConfigError: The cells are written in another vocabulary than that of the space.

    Example:
        >>> cells = get_space("nasbench201").enumerate()
        >>> int(space_columns("nasbench201", cells)["count_nor_conv_3x3"].max())
        6
    """
    space = get_space(space)
    if cells.vocabulary != space.ops:
        raise ConfigError(
            f"`cells` must be cells of {space.title}, with operations {space.ops}. "
            f"Got {cells.vocabulary}."
        )
    columns = {"edges": cells.num_edges, "nodes": cells.num_nodes, "depth": _depth(cells)}
    counts = {op: (cells.ops == code).sum(1) for code, op in enumerate(space.ops)}
    columns |= {f"count_{op}": count for op, count in counts.items()}
    for name, members in GROUPS.items():
        if present := [counts[op] for op in members if op in counts]:
            columns[name] = np.sum(present, axis=0)
    return {name: column.astype(np.int16) for name, column in columns.items()}


def _depth(cells: CellArray) -> np.ndarray:
    """Edges on the longest path of each cell, `[N]`."""
    reach = np.zeros((len(cells), cells.max_nodes), np.int16)
    for i, j in node_pairs(cells.max_nodes):  # by ascending j: reach[:, i] is final
        np.maximum(reach[:, j], (reach[:, i] + 1) * cells.edge(i, j), out=reach[:, j])
    return reach.max(1, initial=0)


LABELS = {
    "depth": "depth (edges on the longest path)",
    "conv_3x3": "number of all 3x3 convolutions",
    "conv_1x1": "number of all 1x1 convolutions",
    "conv_5x5": "number of all 5x5 convolutions",
    "pool_skip": "number of pooling and skip",
    "params": "parameters",
    "macs": "multiply-adds",
}
"""What readers see of metrics whose names do not say it."""


def column_label(name: str) -> str:
    """What readers see of a figure of the graph."""
    if name.startswith("count_"):
        return f"number of {describe(name.removeprefix('count_'))[0]}"
    return LABELS.get(name, name.replace("_", " "))


def column_words(metric: str) -> str:
    """What readers see of a metric of a table."""
    words = metric.replace("valid_", "validation_").replace("train_", "training_")
    return LABELS.get(metric, words.replace("seconds", "time").replace("_", " "))


def graph_columns(space: Space, cells: CellArray) -> Iterator[CellColumn]:
    """Figures that follow from the cells alone."""
    found = space_columns(space, cells)
    for name in sorted(found, key=GROUPS.__contains__):  # single operations, then groups of them
        yield CellColumn(name, column_label(name), found[name].astype(np.float64))
    for name in ("params", "macs"):
        if count := getattr(space, name, None):
            values = count(cells).astype(np.float64)
            yield CellColumn(
                name, column_label(name), values, note="Of the benchmark's own network."
            )
    if len(cells) and (cells.adjacency_bits == cells.adjacency_bits[0]).all():
        yield from _node_columns(space, cells)


def _node_columns(space: Space, cells: CellArray) -> Iterator[CellColumn]:
    """The operation of each node, where all cells have the same edges."""
    for node in range(1, cells.max_nodes - 1):
        codes, values = np.unique(cells.ops[:, node], return_inverse=True)
        label = f"operation of node {node}"
        if space.name == "nasbench201":
            source, target = OFFICIAL_EDGES[node - 1]
            label = f"operation {target} ← {source}"
        categories = tuple(_category(space.ops[code]) for code in codes.tolist())
        yield CellColumn(f"op_{node}", label, values.astype(np.float64), categories=categories)


def _category(op: str) -> tuple[str, str]:
    label, kind = describe(op)
    if op.startswith("width_"):  # all of one kind, so that its colour would tell nothing
        shade = 230 - 3 * int(op.removeprefix("width_"))
        return label, f"#{shade:02x}{shade:02x}ff"
    return label, kind.solid


# Of a table -------------------------------------------------------------------------------------


def table_columns(table: Table, ids: np.ndarray) -> Iterator[CellColumn]:
    """What a table recorded of cells, under every data set and schedule.

    Accuracies come at every schedule, anything else at that of the table alone; single runs and
    learning curves stay in the table.

    Args:
        table: A table of the space.
        ids: Official indices of the cells, `[N]`.
    """
    info = table.info
    trained = sorted({m.epochs for m in table.measures.values() if m.epochs}, reverse=True)
    schedules = sorted(trained, key=lambda epochs: epochs != info.epochs)  # the table's own first
    datasets = sorted(table.datasets, key=lambda dataset: dataset != info.dataset)
    for dataset in datasets or (None,):
        for epochs in schedules or (None,):
            try:
                view = table.view(dataset=dataset, epochs=epochs)
            except UnmeasuredError:
                continue
            for metric in view.metrics:
                if epochs in (None, info.epochs) or metric.endswith("accuracy"):
                    values = np.asarray(view.array(metric), np.float64)[ids]
                    yield _table_column(table, metric, dataset, epochs, values)


def _table_column(
    table: Table, metric: str, dataset: str | None, epochs: int | None, values: np.ndarray
) -> CellColumn:
    unit = ""
    setting: list[object] = [dataset]
    if metric.endswith("accuracy"):
        unit = "%"
    elif metric.endswith("seconds"):
        unit = "s"
    if epochs and metric not in STRUCTURAL:
        setting.append(f"{epochs} epochs")
    if unit == "%":
        setting.append(f"{table.info.seed} of runs")
    words, about = column_words(metric), ", ".join(str(part) for part in setting if part)
    return CellColumn(
        name=".".join(str(part) for part in (metric, dataset, epochs) if part),
        label=f"{words} ({about})" if about else words,
        values=values,
        unit=unit,
        group=table.info.title,
        note=_note(table, metric, dataset, epochs),
    )


def _note(table: Table, metric: str, dataset: str | None, epochs: int | None) -> str:
    for seed in (table.info.seed, None):
        name = Measure(metric=metric, dataset=dataset, epochs=epochs, seed=seed).name
        if name in table.measures:
            return table.columns[name].note
    return ""

"""What a page says of every cell: figures of the graph, and what a table recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from archrep.cells.array import CellArray
from archrep.cells.nasbench201 import OFFICIAL_EDGES
from archrep.cells.space import Space
from archrep.errors import UnmeasuredError
from archrep.latent_map import GROUPS, space_columns
from archrep.plots.operations import describe
from archrep.tables.base import Table
from archrep.tables.columns import Measure
from archrep.tables.view import STRUCTURAL


@dataclass(frozen=True, eq=False)
class PageColumn:
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

    def repeats(self, other: PageColumn) -> bool:
        """Whether every value it has is also that of `other`."""
        told = ~np.isnan(self.values)
        return bool((self.values[told] == other.values[told]).all())


def telling(columns: Iterable[PageColumn]) -> list[PageColumn]:
    """Columns in which cells differ, without those that repeat an earlier one."""
    kept: list[PageColumn] = []
    for column in columns:
        told = column.values[~np.isnan(column.values)]
        differ = len(told) > 0 and (told != told[0]).any()
        if differ and not any(column.repeats(other) for other in kept):
            kept.append(column)
    return kept


# Of the graph -----------------------------------------------------------------------------------

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


def graph_columns(space: Space, cells: CellArray) -> Iterator[PageColumn]:
    """Figures that follow from the cells alone."""
    found = space_columns(space, cells)
    for name in sorted(found, key=GROUPS.__contains__):  # single operations, then groups of them
        label = LABELS.get(name, name)
        if name.startswith("count_"):
            label = f"number of {describe(name.removeprefix('count_'))[0]}"
        yield PageColumn(name, label, found[name].astype(np.float64))
    for name in ("params", "macs"):
        if count := getattr(space, name, None):
            values = count(cells).astype(np.float64)
            yield PageColumn(name, LABELS[name], values, note="Of the benchmark's own network.")
    if len(cells) and (cells.adjacency_bits == cells.adjacency_bits[0]).all():
        yield from _node_columns(space, cells)


def _node_columns(space: Space, cells: CellArray) -> Iterator[PageColumn]:
    """The operation of each node, where all cells have the same edges."""
    for node in range(1, cells.max_nodes - 1):
        codes, values = np.unique(cells.ops[:, node], return_inverse=True)
        label = f"operation of node {node}"
        if space.name == "nasbench201":
            source, target = OFFICIAL_EDGES[node - 1]
            label = f"operation {target} ← {source}"
        categories = tuple(_category(space.ops[code]) for code in codes.tolist())
        yield PageColumn(f"op_{node}", label, values.astype(np.float64), categories=categories)


def _category(op: str) -> tuple[str, str]:
    label, kind = describe(op)
    if op.startswith("width_"):  # all of one kind, so that its colour would tell nothing
        shade = 230 - 3 * int(op.removeprefix("width_"))
        return label, f"#{shade:02x}{shade:02x}ff"
    return label, kind.line if kind.dashed else kind.fill


def operation_looks(space: Space) -> list[dict[str, Any]]:
    """Label and colours of every operation of a space, in the order of its codes."""
    looks = []
    for op in space.ops:
        label, kind = describe(op)
        look = {"name": op, "label": label, "fill": kind.fill, "line": kind.line}
        looks.append(look | {"text": kind.text, "dashed": kind.dashed})
    return looks


# Of a table -------------------------------------------------------------------------------------


def table_columns(table: Table, ids: np.ndarray) -> Iterator[PageColumn]:
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
) -> PageColumn:
    words, unit = metric, ""
    setting: list[object] = [dataset]
    if metric.endswith("accuracy"):
        words, unit = metric.replace("valid_", "validation_"), "%"
    elif metric.endswith("seconds"):
        words, unit = metric.replace("seconds", "time"), "s"
    if epochs and metric not in STRUCTURAL:
        setting.append(f"{epochs} epochs")
    if unit == "%":
        setting.append(f"{table.info.seed} of runs")
    words = LABELS.get(metric, words.replace("_", " "))
    about = ", ".join(str(part) for part in setting if part)
    return PageColumn(
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

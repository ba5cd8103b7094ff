"""The result of a run as a benchmark table."""

from __future__ import annotations

from typing import Any

import numpy as np

from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.errors import TableError
from archrep.tables.columns import Column, Measure
from archrep.tables.file import TableData, TableInfo
from archrep.tables.keys import first_repeat
from archrep.tabulation.result import TabulateResult


def to_table(
    result: TabulateResult,
    space: str | Space,
    name: str,
    *,
    title: str | None = None,
    licence: str = "not stated",
    by_class: bool = False,
) -> TableData:
    """Validation curves, final test and training accuracies, seconds, parameters, multiply-adds.

    Args:
        result: Of `tabulate`.
        space: The search space of the cells.
        name: What users will type.
        title: What people will read; by default the name.
        licence: Of the images, or of the table.
        by_class: Whether a cell's record stands for its whole class (`Space.topology_classes`).

    Raises:
        TableError: Two cells are the same, or (`by_class`) of one class.
    """
    space = get_space(space)
    about = result.info
    dataset, config, counts = about["images"]["name"], about["config"], about["image_counts"]
    epochs = config["epochs"]
    columns = []
    for run in range(config["seeds"]):
        key = {"dataset": dataset, "epochs": epochs, "seed": run}
        columns += [
            _accuracy("valid", result.valid_accuracy[:, run], counts["valid"], key),
            _accuracy("test", result.test_accuracy[:, run, -1], counts["test"], key),
            _accuracy("train", result.train_accuracy[:, run], counts["train"], key),
            Column(Measure(metric="train_seconds", **key), result.train_seconds[:, run]),
        ]
    for metric, counts_of in (("params", result.params), ("macs", result.macs)):
        small = counts_of.astype(np.min_scalar_type(counts_of.max()))
        columns.append(Column(Measure(metric=metric), small))
    order, where = _places(result, space, by_class)
    columns = [Column(c.measure, c.values[order], c.grid, c.note) for c in columns]
    machine = about["environment"]
    info = TableInfo(
        name=name,
        title=title or name,
        space=space.name,
        source=(
            f"trained by archrep: {len(result.cells):,} cells, {config['seeds']} runs of {epochs} "
            f"epochs on {dataset}, {about['cpu_seconds'] / 3600:.1f} CPU-hours"
        ),
        licence=licence,
        dataset=dataset,
        epochs=epochs,
        by_class=by_class,
        notes=(
            f"Configuration: {config}.",
            f"Images: {counts['train']} to train, {counts['valid']} to validate, {counts['test']} "
            f"to test; SHA-256 of the data {about['images']['sha256'][:16]}.",
            f"Machine: {machine}.",
            "train_seconds is the share of a network, by multiply-adds, in the CPU time of those "
            "that were trained beside it; evaluations included.",
            f"{int(result.diverged.sum())} of {result.diverged.size:,} trainings diverged.",
        ),
        made_with="archrep tables build",
    )
    return TableData.of(info, columns, **where)


def _accuracy(part: str, values: np.ndarray, images: int, key: dict[str, Any]) -> Column:
    # float32 fractions are counts of right answers; a guess of a diverged run need not be one.
    exact = values.astype(np.float64)
    on_grid = (np.abs(exact * images - np.rint(exact * images)) < 0.01).all()
    grid = images if on_grid else 0
    return Column(Measure(metric=f"{part}_accuracy", **key), exact if on_grid else values, grid)


def _places(
    result: TabulateResult, space: Space, by_class: bool
) -> tuple[np.ndarray, dict[str, object]]:
    """Order of the rows in the table, and where they stand in the space."""
    cells = result.cells
    if space.size is None:
        if first_repeat(cells):
            raise TableError("The list of cells holds one twice. Give each once.")
        return np.arange(len(cells)), {"cells": cells}
    rows = space.index_array(cells)
    kinds = space.topology_classes()[rows] if by_class else rows
    if len(np.unique(kinds)) != len(kinds):
        raise TableError("The list of cells holds one (or one class) twice. Give each once.")
    order = np.argsort(rows)
    return order, {"rows": rows[order]}

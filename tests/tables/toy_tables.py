"""Small tables for tests, made by machine: nothing in them was measured."""

from __future__ import annotations

import numpy as np

from archrep.cells import get_space
from archrep.tables import Column, Measure, TableData, TableInfo

ROWS = np.array([0, 3, 11, 500, 6111, 15624])


def info(**changes):
    values = {
        "name": "toy",
        "title": "Toy table",
        "space": "nasbench201",
        "source": "tests",
        "licence": "Apache-2.0",
        "dataset": "a",
        "epochs": 4,
    }
    return TableInfo(**values | changes)


def toy_data(rows=ROWS, **changes):
    """Two data sets, two schedules, two runs and a learning curve over some NAS-Bench-201 cells."""
    rng = np.random.default_rng(0)
    count = len(rows)

    def accuracies():
        return rng.integers(100, 1000, count) / 1000

    columns = []
    for dataset in ("a", "b"):
        for seed in (1, 2):
            measure = Measure(metric="valid_accuracy", dataset=dataset, epochs=4, seed=seed)
            columns.append(Column(measure, accuracies(), grid=1000))
        mean = Measure(metric="test_accuracy", dataset=dataset, epochs=4, seed="mean")
        columns.append(Column(mean, accuracies(), grid=1000))
        seconds = Measure(metric="train_seconds", dataset=dataset, epochs=4)
        columns.append(Column(seconds, rng.uniform(10, 20, count)))
    curve = rng.integers(0, 1000, (count, 2)) / 1000
    measure = Measure(metric="valid_accuracy", dataset="a", epochs=2, seed=1)
    columns.append(Column(measure, curve, grid=1000))
    params = get_space("nasbench201").params(get_space("nasbench201").enumerate())[rows]
    columns.append(Column(Measure(metric="params"), params))
    return TableData.of(info(**changes), columns, rows=np.asarray(rows))

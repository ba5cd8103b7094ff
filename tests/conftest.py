"""Fixtures of the real benchmark tables, for tests that carry the marker `data`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder that holds the Parquet tables."""
    folder = os.environ.get("ARCHREP_DATA")
    if not folder:
        pytest.skip("ARCHREP_DATA does not say where the benchmark tables are")
    return Path(folder)


@pytest.fixture(scope="session")
def nasbench101_table(data_folder):
    """Graphs, hashes and parameters of all 423,624 cells, as a `pyarrow.Table`."""
    from pyarrow import parquet

    columns = ["module_hash", "adjacency_bits", "ops", "params"]
    return parquet.read_table(data_folder / "nasbench101.parquet", columns=columns)


@pytest.fixture(scope="session")
def nasbench201_table(data_folder):
    """All columns of the 15,625 cells, as a `pyarrow.Table`."""
    from pyarrow import parquet

    return parquet.read_table(data_folder / "nasbench201.parquet")

"""Tables as Parquet or CSV, for pandas, polars, DuckDB and spreadsheets."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from archrep.cells.genotype import Genotype
from archrep.errors import TableError
from archrep.files import write_atomically
from archrep.tables.base import Table

if TYPE_CHECKING:
    import pyarrow

FORMATS = (".parquet", ".csv")


def export(table: Table, path: str | Path) -> list[str]:
    """Write all recorded columns, one row a recorded cell.

    Columns `index` (position) and `cell` (official notation) come first. Parquet keeps learning
    curves as lists and the description of the table in its metadata under `archrep_table`; CSV
    has their last value and leaves the rest out.

    Returns:
        Names of the columns that were left out.

    Raises:
        TableError: The suffix is neither `.parquet` nor `.csv`, or there is no such folder.
        RunError: The disk is full or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise TableError(f"A table is exported to {' or '.join(FORMATS)}. Got {path.name!r}.")
    if not path.parent.is_dir():
        raise TableError(f"Expected the folder of {path} to exist. Create it first.")
    if path.suffix == ".parquet":
        from pyarrow import parquet

        rows = to_arrow(table)
        write_atomically(
            path, lambda temporary: parquet.write_table(rows, temporary, compression="zstd")
        )
        return []
    from pyarrow import csv

    rows = to_arrow(table, curves=False)
    write_atomically(path, lambda temporary: csv.write_csv(rows, temporary))
    return [name for name, measure in table.measures.items() if measure.curve]


def to_arrow(table: Table, *, curves: bool = True) -> pyarrow.Table:
    """The recorded columns as a `pyarrow.Table`."""
    import pyarrow as pa

    arrays: dict[str, pa.Array] = {
        "index": pa.array(table.recorded),
        "cell": pa.array([notation(table, int(row)) for row in table.recorded]),
    }
    for name, column in table.columns.items():
        values = column.values
        if values.ndim == 1:
            arrays[name] = pa.array(values, from_pandas=True)  # NaN becomes null
        elif curves:
            flat = pa.array(values.reshape(-1), from_pandas=True)
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        else:
            last = name.removesuffix("_curve") + "_last"
            arrays[last] = pa.array(values[:, -1], from_pandas=True)
    about = {"info": asdict(table.info), "sha256": table.sha256}
    return pa.table(arrays).replace_schema_metadata({"archrep_table": json.dumps(about)})


def notation(table: Table, position: int) -> str:
    """Official notation of the cell or genotype at a position."""
    cell = table.cells[position]
    if table.reduction_cells is None:
        return table.space.format(cell)
    return Genotype(cell, table.reduction_cells[position]).format()

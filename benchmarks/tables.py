"""Opening and querying tables, against what a user does today.

Question: how long does it take, and how much memory, to open NAS-Bench-101 and NAS-Bench-201 and to
look cells up; beside a pickle of the same table as a dictionary, and JSON as arch2vec ships it?
Command:  python benchmarks/tables.py --data FOLDER        (the published Parquet collections)
          python benchmarks/tables.py --quick              (a made table: a test)
Time:     two minutes on one core.

Every side runs in processes of its own, alternating; writes benchmarks/results/tables.json.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archrep.tables import Table

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "tables.json"
NAMES = ("nasbench101", "nasbench201")


def resident_bytes() -> int:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def per_call(function: Callable[[], object], calls: int) -> float:
    """CPU-seconds of one call, on average over the fastest of five rounds."""
    rounds = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(calls):
            function()
        rounds.append((time.process_time() - started) / calls)
    return min(rounds)


def ours(folder: str) -> dict[str, float]:
    """Open both tables in our form and query them."""
    started = time.perf_counter()
    from archrep.tables import open_table

    imported = time.perf_counter()
    tables = [open_table(Path(folder) / f"{name}.safetensors") for name in NAMES]
    opened = time.perf_counter()
    figures = {"import_seconds": imported - started, "open_seconds": opened - imported}
    figures["resident_bytes_after_open"] = resident_bytes()
    nb101, nb201 = tables
    nb201.query(int(nb201.recorded[0]))
    figures["first_query_seconds"] = time.perf_counter() - opened
    figures["resident_bytes_after_query"] = resident_bytes()
    figures["torch_imported"] = float("torch" in sys.modules)

    import numpy as np

    rng = np.random.default_rng(0)
    for name, table in zip(NAMES, tables, strict=True):
        known = np.flatnonzero(table.measured)
        rows = rng.choice(known, 2_000)
        numbers = rows.tolist()
        cells = [table.cells[row] for row in numbers]
        texts = [table.space.format(cell) for cell in cells]
        table.query(cells[0])
        for kind, keys in (("index", numbers), ("cell", cells), ("notation", texts)):
            figures[f"{name}_query_by_{kind}_seconds"] = per_call(
                lambda table=table, keys=keys: [table.query(key) for key in keys], 1
            ) / len(rows)
        many = rng.choice(known, 2_000_000)
        figures[f"{name}_lookups_per_second"] = len(many) / per_call(
            lambda table=table, many=many: table.query_array(many, metrics=["valid_accuracy"]), 1
        )
        packed = table.space.pack(cells)
        figures[f"{name}_lookups_by_cell_per_second"] = len(packed) / per_call(
            lambda table=table, packed=packed: table.query_array(
                packed, metrics=["valid_accuracy"]
            ),
            1,
        )
    figures["resident_bytes_after_queries_by_cell"] = resident_bytes()
    figures |= slow_keys(nb101, nb201)
    all_cells = nb101.cells
    started = time.process_time()
    all_cells.colour_hash()
    figures["hash_nasbench101_seconds"] = time.process_time() - started
    return figures


def slow_keys(nb101: Table, nb201: Table) -> dict[str, float]:
    """Seconds of a query by what takes longer than an official spelling."""
    from archrep.cells import Darts, Genotype
    from archrep.tables import Column, Measure, Table, TableData, TableInfo

    first = nb101.recorded[:20].tolist()
    hashes = [nb101.space.module_hash(nb101.cells[row]) for row in first]  # type: ignore[attr-defined]
    some = nb201.recorded[:50].tolist()
    moved = [nb201.cells[row].permuted([0, 4, 2, 1, 3, 5, 6, 7]) for row in some]
    drawn = Darts().sample_array(100, seed=0)
    pairs = [Genotype(drawn[n], drawn[n + 50]) for n in range(50)]
    info = TableInfo(name="made", title="made", space="darts", source="made up", licence="none")
    column = Column(Measure(metric="valid_accuracy"), [n / 50 for n in range(50)])
    darts = Table(TableData.of(info, [column], cells=drawn[:50], reduction_cells=drawn[50:]))
    return {
        f"{name}_query_seconds": per_call(
            lambda table=table, keys=keys: [table.query(key) for key in keys], 1
        )
        / len(keys)
        for name, table, keys in (
            ("nasbench101_hash", nb101, hashes),
            ("nasbench201_other_node_order", nb201, moved),
            ("darts_genotype", darts, pairs),
        )
    }


def dictionaries(folder: str, kind: str) -> dict[str, float]:
    """Read the same tables from pickled or JSON dictionaries and query them by their key."""
    started = time.perf_counter()
    loaded = []
    for name in NAMES:
        content = (Path(folder) / f"{name}.{kind}").read_bytes()
        loaded.append(pickle.loads(content) if kind == "pickle" else json.loads(content))
    figures = {"open_seconds": time.perf_counter() - started}
    figures["resident_bytes_after_open"] = resident_bytes()
    for name, table in zip(NAMES, loaded, strict=True):
        keys = list(table)[:2_000]
        figures[f"{name}_query_by_notation_seconds"] = per_call(
            lambda table=table, keys=keys: [table[key]["valid_accuracy"] for key in keys], 1
        ) / len(keys)
    return figures


def prepare(data: Path | None, folder: Path) -> dict[str, int]:
    """Our files and the dictionaries of the same content in `folder`; their sizes in bytes."""
    if data is None:
        made(folder)
    else:
        from archrep.tables import store
        from archrep.tables.importers.base import import_file

        for name in NAMES:
            for table in import_file(data / f"{name}.parquet"):
                store(table, folder)
    from archrep.tables import open_table
    from archrep.tables.export import notation

    sizes = {}
    for name in NAMES:
        table = open_table(folder / f"{name}.safetensors")
        rows = {}
        for position in table.recorded.tolist():
            record = table[position]
            rows[notation(table, position)] = {
                field: getattr(record, field)
                for field in ("valid_accuracy", "test_accuracy", "train_seconds", "params")
            }
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(rows))
        (folder / f"{name}.json").write_text(json.dumps(rows))
        for suffix in ("safetensors", "pickle", "json"):
            sizes[f"{name}.{suffix}"] = (folder / f"{name}.{suffix}").stat().st_size
    return sizes


def made(folder: Path) -> None:
    """Two tables of some cells with made-up accuracies, for `--quick`."""
    import numpy as np

    from archrep.tables import Column, Measure, TableData, TableInfo, store

    for name in NAMES:
        info = TableInfo(name=name, title=name, space=name, source="made up", licence="none")
        rows, values = np.arange(0, 15_000, 5), np.linspace(0, 1, 3_000)
        columns = [
            Column(Measure(metric="valid_accuracy", seed=0), values),
            Column(Measure(metric="params"), rows),
        ]
        store(TableData.of(info, columns, rows=rows), folder)


def main() -> None:
    """Measure, write the record and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with nasbench101.parquet and so on")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a made table, one repeat")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.data is None and not args.quick:
        parser.error("--data must say where the published collections are")
    sides = {
        "archrep": "ours({folder!r})",
        "pickle": "dictionaries({folder!r}, 'pickle')",
        "json": "dictionaries({folder!r}, 'json')",
    }
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        sizes = prepare(None if args.quick else args.data, Path(folder))
        for _ in range(1 if args.quick else args.repeats):
            for name, call in sides.items():
                samples[name].append(in_process(call.format(folder=folder)))
    import torch

    from archrep.devices import environment
    from archrep.files import write_json

    record = {
        "environment": environment(torch.device("cpu")),
        "bytes": sizes,
        "samples": samples,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, record)
    for name, size in sizes.items():
        print(f"{name:32} {size / 1e6:>14,.2f} MB")
    for side, runs in samples.items():
        for key in runs[0]:
            values = [run[key] for run in runs]
            scale, unit = (1e-6, "MB") if "bytes" in key else (1, "")
            if key.endswith("_query_seconds") or "query_by" in key:
                scale, unit = 1e6, "µs"
            low, middle, high = min(values), statistics.median(values), max(values)
            print(
                f"{side:8} {key:42} {middle * scale:>14,.3f} {unit} "
                f"({low * scale:,.3f} .. {high * scale:,.3f})"
            )


def in_process(call: str) -> dict[str, float]:
    """Result of a call of this file in a fresh process."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(HERE)!r}); import tables;"
        f"print(json.dumps(tables.{call}))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()

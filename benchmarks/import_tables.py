"""Seconds, memory and size of importing the large official files, made by machine in their layout.

Question: how long does `archrep tables import` take, how much memory, how large is the table?
Command:  python benchmarks/import_tables.py            (10 minutes on one core, 2 GB of disk)
          python benchmarks/import_tables.py --quick    (seconds; a few cells)

The files have as many cells and records as the official ones (three 200-epoch seeds for every cell
of NATS-Bench, where half of the official ones have two), random figures, and real cells. Each
import is a process of its own with one thread. Writes benchmarks/results/import_tables.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "import_tables.json"
MAKING = HERE.parent / "tests" / "tables" / "importers"


def make_nasbench101(folder: Path, cells: int) -> Path:
    """`nasbench_only108.tfrecord` with three records a cell."""
    import making

    path = folder / "nasbench_only108.tfrecord"
    making.write_records(path, making.nasbench101_payloads(range(cells)))
    return path


def make_nats(folder: Path, cells: int) -> Path:
    """The `...-simple` folder of the topology space."""
    import making

    from archrep.cells import get_space

    path = folder / "NATS-tss-v1_0-3ffb9-simple"
    return making.write_big_nats_folder(path, get_space("nasbench201"), cells)


def measure(module: str, source: str, option: str = "") -> dict[str, float]:
    """Import a file in this process, save the table beside it, and report."""
    import importlib

    from archrep.memory import peak_memory_bytes
    from archrep.tables.file import SUFFIX
    from archrep.tables.importers.base import quiet

    importer = importlib.import_module(f"archrep.tables.importers.{module}")
    path = Path(source)
    wall, cpu = time.perf_counter(), time.process_time()
    (table,) = importer.convert(path, quiet, **({option: True} if option else {}))
    imported_wall, imported_cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = peak_memory_bytes()
    out = path.with_name(f"{path.name}{option}{SUFFIX}")
    table.save(out)
    files = [path] if path.is_file() else list(path.iterdir())
    return {
        "source_bytes": sum(file.stat().st_size for file in files),
        "cells": len(table),
        "columns": len(table.columns),
        "cpu_seconds": imported_cpu,
        "wall_seconds": imported_wall,
        "peak_memory_bytes": peak,
        "table_bytes": out.stat().st_size,
    }


def in_process(call: str) -> dict[str, float]:
    """Result of a call of this file in a fresh process with one thread."""
    code = (
        f"import json, sys; sys.path[:0] = [{str(HERE)!r}, {str(MAKING)!r}]; import import_tables;"
        f"print(json.dumps(import_tables.{call}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Make the files, import each, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few cells of each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    cells101, cells201 = (200, 20) if args.quick else (423_624, 15_625)
    sys.path.insert(0, str(MAKING))
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        records = make_nasbench101(Path(folder), cells101)
        figures["nasbench_only108"] = in_process(f"measure('nasbench101', {str(records)!r})")
        figures["nasbench_only108 with halfway figures"] = in_process(
            f"measure('nasbench101', {str(records)!r}, 'curves')"
        )
        records.unlink()
        archive = make_nats(Path(folder), cells201)
        figures["NATS-tss simple folder"] = in_process(f"measure('nats', {str(archive)!r})")

    import torch

    from archrep.devices import environment
    from archrep.files import write_json

    torch.set_num_threads(1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"threads": 1, "environment": environment(torch.device("cpu")), "imports": figures}
    write_json(args.out, record)
    for name, measured in figures.items():
        print(
            f"{name:40} {measured['cells']:>8,} cells  {measured['cpu_seconds']:8.1f} s  "
            f"{measured['peak_memory_bytes'] / 1e6:7.0f} MB peak  "
            f"{measured['table_bytes'] / 1e6:6.1f} MB table"
        )


if __name__ == "__main__":
    main()

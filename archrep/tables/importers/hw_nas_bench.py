"""HW-NAS-Bench (Li et al., 2021): latency and energy of the NAS-Bench-201 networks on six devices.

`HW-NAS-Bench-v1_0.pickle` holds, for three data sets, one list a metric with a number for each
official index: latencies in milliseconds, energies in millijoules, for one image. Its other part,
look-up tables of FBNet layers, is of another space and not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from archrep import __version__
from archrep.cells.nasbench201 import NasBench201
from archrep.errors import TableError
from archrep.tables.columns import Column, Measure
from archrep.tables.file import TableData, TableInfo
from archrep.tables.importers.base import Importer, Report
from archrep.tables.importers.unpickle import MEGABYTE, NumpyArray, read_pickle

LIMIT = 1024 * MEGABYTE
DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
METRICS = (
    "edgegpu_latency",
    "edgegpu_energy",
    "raspi4_latency",
    "edgetpu_latency",
    "pixel3_latency",
    "eyeriss_latency",
    "eyeriss_energy",
    "eyeriss_arithmetic_intensity",
    "fpga_latency",
    "fpga_energy",
)
"""Official names; a file may lack some (the first release has no intensity)."""

_MISSING = -1.0  # how the file says that a device could not run a network
_UNITS = {"latency": ("latency_seconds", 1e-3), "energy": ("energy_joules", 1e-3)}


def convert(path: Path, report: Report) -> list[TableData]:
    """The table in the file.

    Args:
        path: The file.
        report: Told the progress in columns.

    Raises:
        TableError: It is damaged or not as published.
    """
    content = read_pickle(path, LIMIT)
    part = content.get("nasbench201") if isinstance(content, dict) else None
    if not isinstance(part, dict):
        raise TableError(f"{path} must hold a dict with `nasbench201`. It does not.")
    columns: list[Column] = []
    for dataset in DATASETS:
        recorded = part.get(dataset)
        if not isinstance(recorded, dict):
            raise TableError(f"{path} must have figures for {dataset}. It has none.")
        _check_cells(recorded.get("config"), dataset, path)
        for metric in METRICS:
            if metric in recorded:
                report("Reading figures", len(columns), len(DATASETS) * len(METRICS))
                columns.append(_column(recorded[metric], metric, dataset, path))
    if not columns:
        raise TableError(f"{path} has none of the metrics {', '.join(METRICS)}.")
    info = TableInfo(
        name="nasbench201-hardware",
        title="HW-NAS-Bench",
        space="nasbench201",
        source=f"official file {path.name}",
        licence="MIT",
        citation="Li et al. (2021), HW-NAS-Bench: Hardware-Aware Neural Architecture Search "
        "Benchmark. ICLR.",
        dataset="cifar10",
        notes=(
            "Edge GPU, Raspberry Pi 4, Edge TPU and Pixel 3 are measured; Eyeriss and FPGA are "
            "estimated by simulators.",
        ),
        made_with=f"archrep {__version__}",
    )
    return [TableData.of(info, columns, rows=np.arange(NasBench201.size))]


def _check_cells(configs: Any, dataset: str, path: Path) -> None:
    """Compare the listed networks, if there are any, with the official numbering."""
    if configs is None:
        return
    space = NasBench201()
    expected = [space.format(cell) for cell in space.enumerate()]
    try:
        found = [config["arch_str"] for config in configs]
    except (TypeError, KeyError):
        raise TableError(f"{path} lists networks of {dataset} that have no `arch_str`.") from None
    if found != expected:
        raise TableError(
            f"{path} must list the {len(expected):,} networks of {dataset} in the official order."
        )


def _column(recorded: Any, metric: str, dataset: str, path: Path) -> Column:
    values = _numbers(recorded)
    if values is None or values.shape != (NasBench201.size,) or np.isnan(values).any():
        raise TableError(
            f"{path} must have {NasBench201.size:,} numbers as {metric} of {dataset}. It has not."
        )
    values = np.where(values == _MISSING, np.nan, values)
    wrong = np.flatnonzero(~(np.isnan(values) | (values >= 0) & (values < 1e9)))
    if len(wrong):
        raise TableError(
            f"{path} has {values[wrong[0]]} as {metric} of cell {wrong[0]} on {dataset}."
        )
    device, _, what = metric.partition("_")
    name, scale = _UNITS.get(what, (what, 1.0))
    note = "" if what in _UNITS else "Operations per byte of memory traffic, as stored."
    if np.isnan(values).any():
        note += f"{int(np.isnan(values).sum()):,} cells have no figure: the file says -1."
    measure = Measure(metric=f"{device}_{name}", dataset=dataset.lower())
    return Column(measure, values * scale, note=note)


def _numbers(recorded: Any) -> np.ndarray | None:
    """Array of a list or array of numbers, `[N]`; `None` of anything else."""
    if isinstance(recorded, NumpyArray):
        return recorded.values.astype(np.float64)
    if isinstance(recorded, list) and all(type(value) in (int, float) for value in recorded):
        try:
            return np.array(recorded, np.float64)
        except OverflowError:
            return None
    return None


def recognise(path: Path) -> bool:
    """Whether a file is called like the official one."""
    return path.name.startswith("HW-NAS-Bench") and path.suffix in (".pickle", ".pkl")


IMPORTER = Importer("HW-NAS-Bench (.pickle)", recognise, convert)

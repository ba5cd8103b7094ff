"""NAS-Bench-101 record files (Ying et al., 2019): `nasbench_only108.tfrecord`, `nasbench_full...`.

A record is one training: a JSON list of module hash, epochs, adjacency matrix ("0100..." row by
row), operations ("input,...,output") and a base64 protocol buffer `ModelMetrics`. The official API
calls the second of its three evaluations halfway and the third final; so does this reader. A cell
was trained three times on each schedule, and a record does not say which time it is: runs are
numbered 0, 1, 2 in the order of the file.
"""

from __future__ import annotations

import binascii
import json
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from archrep import __version__
from archrep.cells.array import PAD, CellArray
from archrep.cells.nasbench101 import NasBench101
from archrep.cells.registry import get_space
from archrep.errors import TableError
from archrep.tables.columns import Column, Measure
from archrep.tables.file import TableData, TableInfo
from archrep.tables.importers.base import Importer, Report
from archrep.tables.importers.tfrecord import read_records

GRID = 9_984
"""Images behind every accuracy: the 39 whole batches of 256 among 10,000."""

RUNS = 3
"""Trainings of a cell on one schedule."""

METRICS = ("train_seconds", "train_accuracy", "valid_accuracy", "test_accuracy")
"""Figures of an evaluation, in the order of their protocol buffer fields 2 to 5."""

_CHECKED_HASHES = 2_000  # recomputed at 45 microseconds each; the others are compared by order
_NOTES = (
    "Runs of a cell are numbered 0, 1, 2 in the order of the official file, which does not "
    "number them.",
    "Accuracies are counts of right answers among 9,984 images; the training accuracy is of a "
    "fixed part of the training images.",
    "train_seconds is cumulative and without evaluation, on one TPU v2.",
)


# Protocol buffers --------------------------------------------------------------------------------


class Metrics(NamedTuple):
    """The part of `ModelMetrics` that tables hold.

    Attributes:
        params: Trainable parameters, or -1 if it is not stated.
        epoch: After which the halfway figures were measured.
        halfway: `METRICS` halfway through the training; NaN for what is not stated.
        final: The same at its end.
    """

    params: int
    epoch: float
    halfway: tuple[float, ...]
    final: tuple[float, ...]


_EVALUATION = struct.Struct("<BdBdBdBdBd")  # fields 1 to 5 as written by every known file
_TAGS = tuple(field << 3 | 1 for field in range(1, 6))
_HIGHEST = {1: 1e6, 2: 1e9, 3: 1.0, 4: 1.0, 5: 1.0}  # epoch, seconds, accuracies


def parse_metrics(data: bytes) -> Metrics:
    """The figures in a serialised `ModelMetrics`; fields it does not know are skipped.

    Raises:
        ValueError: The bytes are no such message, or a figure is impossible.
    """
    evaluations, params = [], -1
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            evaluations.append(_evaluation(value))
        elif field == 2 and isinstance(value, int):
            params = value
    if len(evaluations) != 3:
        raise ValueError(f"it has {len(evaluations)} evaluations, not three")
    _, halfway, final = evaluations
    if not halfway[0] < final[0]:
        raise ValueError(f"its evaluations are after epochs {halfway[0]} and {final[0]}")
    if not -1 <= params < 2**31:
        raise ValueError(f"it states {params} parameters")
    return Metrics(params, halfway[0], halfway[1:], final[1:])


def _evaluation(data: bytes) -> tuple[float, ...]:
    """Epoch and `METRICS` of an `EvaluationData`."""
    if len(data) >= _EVALUATION.size:
        a, epoch, b, seconds, c, train, d, valid, e, test = _EVALUATION.unpack_from(data)
        if (a, b, c, d, e) == _TAGS and (
            0 <= epoch < 1e6
            and 0 <= seconds < 1e9
            and 0 <= train <= 1
            and 0 <= valid <= 1
            and 0 <= test <= 1
        ):
            return epoch, seconds, train, valid, test  # further fields are not of this table
    values = dict.fromkeys(range(1, 6), float("nan"))
    for field, value in _fields(data):
        if field in values and isinstance(value, float):
            if not 0 <= value <= _HIGHEST[field]:
                raise ValueError(f"a figure is {value}, not one of 0 to {_HIGHEST[field]:g}")
            values[field] = value
    return tuple(values.values())


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers of the fields of a message and their values: int, float or bytes."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        kind = tag & 7
        value: Any
        if kind == 0:
            value, position = _varint(data, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value = data[position : position + size]
            position += size
            if position <= end:
                (value,) = struct.unpack("<d" if kind == 1 else "<f", value)
        elif kind == 2:
            size, position = _varint(data, position)
            value = data[position : position + size]
            position += size
        else:
            raise ValueError(f"field {tag >> 3} has the unknown wire type {kind}")
        if position > end:
            raise ValueError("it ends in the middle of a field")
        yield tag >> 3, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while shift < 64:
        if position >= len(data):
            raise ValueError("it ends in the middle of a number")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise ValueError("a number has more than ten bytes")


# Records -----------------------------------------------------------------------------------------


class _Records:
    """Figures of the records read so far, in columns.

    Attributes:
        cells: Hash, adjacency and operations of each different cell, and its number.
        cell: Number of the cell of each record.
        epochs: Schedule of each record.
        params: Parameters of each record.
        halfway: Epoch of the halfway figures of each record.
        figures: Halfway and final `METRICS` of each record, one after the other; float32, as the
            official figures are.
    """

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str, str], int] = {}
        self.cell, self.epochs, self.params = array("i"), array("i"), array("i")
        self.halfway, self.figures = array("f"), array("f")

    def add(self, payload: bytes) -> None:
        """Read one record.

        Raises:
            ValueError: It is not in the official layout.
        """
        record = json.loads(payload.decode("ascii"))
        if not isinstance(record, list) or len(record) != 5:
            raise ValueError("it is not a list of five items")
        module_hash, epochs, adjacency, ops, metrics = record
        if type(epochs) is not int or not 0 < epochs < 10_000:
            raise ValueError(f"its schedule is {str(epochs)[:20]!r}")
        if not all(isinstance(text, str) for text in (module_hash, adjacency, ops, metrics)):
            raise ValueError("hash, adjacency, operations and metrics must be text")
        message = binascii.a2b_base64(metrics.replace("\n", ""), strict_mode=True)
        params, epoch, halfway, final = parse_metrics(message)
        key = (module_hash, adjacency, ops)
        self.cell.append(self.cells.setdefault(key, len(self.cells)))
        self.epochs.append(epochs)
        self.params.append(params)
        self.halfway.append(epoch)
        self.figures.extend(halfway)
        self.figures.extend(final)


def _read(path: Path, report: Report) -> _Records:
    records, size, done = _Records(), path.stat().st_size, 0
    for payloads in read_records(path):
        for payload in payloads:
            try:
                records.add(payload)
            except (ValueError, RecursionError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
                raise TableError(
                    f"Record {len(records.cell)} of {path} is not a NAS-Bench-101 record: {reason}."
                ) from None
        done += sum(map(len, payloads)) + 16 * len(payloads)
        report("Reading records", done, size)
    if not records.cell:
        raise TableError(f"{path} holds no record. Download or copy it again.")
    return records


# Cells -------------------------------------------------------------------------------------------


def _official_rows(cells: list[tuple[str, str, str]], path: Path) -> np.ndarray:
    """Official index of each cell, `[C]`, from its graph.

    Official indices are the order of the module hashes, so the hash of another cell breaks the
    order: in a complete file always, in a part of one unless no cell of the part lies between.
    Besides, up to 2,000 hashes, evenly spread, are recomputed.

    Raises:
        TableError: A graph is no cell of the space, or has the hash of another.
    """
    space = get_space("nasbench101")
    assert isinstance(space, NasBench101)
    packed = _pack(cells, path)
    rows = space.index_array(packed)
    if (rows < 0).any():
        odd = int(rows.argmin())
        raise TableError(f"{path} has a graph that is no NAS-Bench-101 cell: {_shown(cells[odd])}.")
    order = np.argsort(rows, kind="stable")
    hashes, ascending = np.array([cell[0] for cell in cells])[order], rows[order]
    same_hash, same_row = hashes[1:] == hashes[:-1], ascending[1:] == ascending[:-1]
    wrong = np.flatnonzero((hashes[1:] < hashes[:-1]) | (same_hash != same_row)).tolist()
    some = np.unique(np.linspace(0, len(cells) - 1, _CHECKED_HASHES).astype(int))
    wrong += [n for n in some if space.module_hash(packed[int(order[n])]) != hashes[n]]
    if wrong:
        odd = int(order[wrong[0]])
        raise TableError(
            f"{path} has a hash that does not belong to its graph, at or next to "
            f"{_shown(cells[odd])}. The file was changed."
        )
    return rows


def _pack(cells: list[tuple[str, str, str]], path: Path) -> CellArray:
    space = get_space("nasbench101")
    ops = np.full((len(cells), space.max_nodes), PAD, np.uint8)
    adjacency = np.zeros((len(cells), space.max_nodes, space.max_nodes), np.uint8)
    codes = {op: code for code, op in enumerate(space.ops)}
    known: dict[str, tuple[int, ...]] = {}
    for n, (_, matrix, names) in enumerate(cells):
        if names not in known:
            known[names] = tuple(codes.get(name, PAD - 1) for name in names.split(","))
        labels = known[names]
        size = len(labels)
        if size > space.max_nodes or len(matrix) != size * size or set(matrix) - {"0", "1"}:
            raise TableError(
                f"{path} has a graph that cannot be read: {_shown(cells[n])}. Expected at most "
                f"{space.max_nodes} operations and as many rows of zeros and ones."
            )
        ops[n, :size] = labels
        bits = np.frombuffer(matrix.encode(), np.uint8).reshape(size, size) - ord("0")
        adjacency[n, :size, :size] = bits
    if np.tril(adjacency).any():
        odd = int(np.tril(adjacency).any((1, 2)).argmax())
        raise TableError(f"{path} has a graph with a backward edge: {_shown(cells[odd])}.")
    return CellArray.from_adjacency(ops, adjacency, space.ops)


def _shown(cell: tuple[str, str, str]) -> str:
    return ", ".join(repr(text[:90]) for text in cell)


# Table -------------------------------------------------------------------------------------------


def _runs(row: np.ndarray, epochs: np.ndarray, path: Path) -> np.ndarray:
    """Number of each record among those of its cell and schedule, `[R]`, in file order."""
    key = row * np.int64(10_000) + epochs
    order = np.argsort(key, kind="stable")
    first = np.ones(len(key), bool)
    first[1:] = key[order][1:] != key[order][:-1]
    place = np.arange(len(key))
    run = np.empty(len(key), np.int64)
    run[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    if run.max(initial=0) >= RUNS:
        odd = int((run >= RUNS).argmax())
        raise TableError(
            f"{path} has more than {RUNS} records of cell {row[odd]} at {epochs[odd]} epochs; the "
            f"first too many is record {odd}. Records are duplicated."
        )
    return run


def _params_column(place: np.ndarray, params: np.ndarray, count: int, path: Path) -> Column | None:
    """Parameters of each cell, which all its records must agree on."""
    stated = np.full(count, -1, np.int64)
    stated[place] = params
    odd = np.flatnonzero(stated[place] != params)
    if len(odd):
        raise TableError(
            f"{path} states {params[odd[0]]} parameters in record {odd[0]} and "
            f"{stated[place[odd[0]]]} in another record of the same cell."
        )
    if (stated < 0).any():
        return None
    return Column(Measure(metric="params"), stated.astype(np.uint32))


def _figure_columns(
    records: _Records, place: np.ndarray, run: np.ndarray, count: int, halfway: bool
) -> Iterator[Column]:
    """One column for each metric, schedule, epoch and run; NaN where a cell has no such record."""
    figures = np.frombuffer(records.figures, np.float32).reshape(-1, 2, len(METRICS))
    epochs = np.frombuffer(records.epochs, np.int32)
    middles = np.frombuffer(records.halfway, np.float32)
    for schedule in np.unique(epochs).tolist():
        middle = int(np.rint(np.median(middles[epochs == schedule])))
        for number in range(RUNS):
            chosen = np.flatnonzero((epochs == schedule) & (run == number))
            for at_epoch in (middle, None) if halfway else (None,):
                for k, metric in enumerate(METRICS):
                    values = np.full(count, np.nan, np.float32)
                    values[place[chosen]] = figures[chosen, 1 if at_epoch is None else 0, k]
                    if np.isnan(values).all():
                        continue
                    measure = Measure(
                        metric=metric,
                        dataset="cifar10",
                        epochs=schedule,
                        at_epoch=at_epoch,
                        seed=number,
                    )
                    grid = GRID if metric.endswith("accuracy") and _on_grid(values) else 0
                    yield Column(measure, values, grid)


def _on_grid(values: np.ndarray) -> bool:
    exact = values[~np.isnan(values)].astype(np.float64) * GRID
    return bool((np.abs(exact - np.rint(exact)) <= 0.01).all())


def convert(path: Path, report: Report, *, curves: bool = False) -> list[TableData]:
    """The table in a record file.

    Args:
        path: The file.
        report: Told the progress in bytes.
        curves: Keep the figures of the middle of each training too, under the `at_epoch` that the
            records state; they nearly double the table.

    Raises:
        TableError: The file is damaged, not in the official layout, or changed.
    """
    records = _read(path, report)
    report("Looking up cells", 0, None)
    rows_of_cells = _official_rows(list(records.cells), path)
    record_rows = rows_of_cells[np.frombuffer(records.cell, np.int32)]
    rows, place = np.unique(record_rows, return_inverse=True)
    epochs = np.frombuffer(records.epochs, np.int32)
    run = _runs(record_rows, epochs, path)
    columns = list(_figure_columns(records, place, run, len(rows), curves))
    params = _params_column(place, np.frombuffer(records.params, np.int32), len(rows), path)
    info = TableInfo(
        name="nasbench101",
        title="NAS-Bench-101",
        space="nasbench101",
        source=f"official record file {path.name}",
        licence="Apache-2.0",
        citation="Ying et al. (2019), NAS-Bench-101: Towards Reproducible Neural Architecture "
        "Search. ICML.",
        dataset="cifar10",
        epochs=int(epochs.max()),
        notes=_NOTES,
        made_with=f"archrep {__version__}",
    )
    return [TableData.of(info, columns + ([params] if params else []), rows=rows)]


def recognise(path: Path) -> bool:
    """Whether the first record of a .tfrecord file begins like one of NAS-Bench-101."""
    try:
        with open(path, "rb") as file:
            return path.suffix == ".tfrecord" and file.read(14)[12:] == b'["'
    except OSError:
        return False


IMPORTER = Importer("NAS-Bench-101 records (.tfrecord)", recognise, convert, takes_curves=True)

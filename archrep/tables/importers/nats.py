"""NATS-Bench files (Dong et al., 2021): topology (`tss`) and size (`sss`) space.

Three forms of the same content are read: the `...-simple` folder with one compressed pickle a cell,
the `.tar` it comes in, and the single `NATS-tss-v1_0-3ffb9.pickle.pbz2` with everything. The last
has to be in memory at once, a megabyte for each cell; the others need next to none.

A cell has one `ArchResults` for each schedule ("12", "200"; "01", "12", "90" for sizes), with one
trial for each training set and seed. Of the four training sets, "cifar10-valid" is half of the
CIFAR-10 training images, validated on the other half, and "cifar10" all of them. Papers report the
validation accuracy of the one and the test accuracy of the other as "CIFAR-10", and so does data
set `cifar10` here; `cifar10-valid` has the figures of that training alone.
"""

from __future__ import annotations

import functools
import re
import tarfile
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from archrep import __version__
from archrep.cells.nasbench201 import NasBench201
from archrep.cells.nats_size import NatsSize
from archrep.cells.registry import get_space
from archrep.errors import TableError
from archrep.tables.columns import Column, Measure
from archrep.tables.file import TableData, TableInfo
from archrep.tables.importers.base import Importer, Report
from archrep.tables.importers.unpickle import MEGABYTE, load_pickle, read_pickle

RECORD_LIMIT = 64 * MEGABYTE
"""Largest pickle of one cell, or list of all cells; official ones have up to 1.4 MB."""

FULL_LIMIT = 65_536 * MEGABYTE
"""Largest pickle of a whole space."""


class Figure(NamedTuple):
    """Where an accuracy of a trial goes.

    Attributes:
        training: Official name of the training set.
        split: Images it was measured on: "train", or the official name of an evaluation.
        dataset: Data set of the column.
        metric: Metric of the column.
        grid: Number of the images.
    """

    training: str
    split: str
    dataset: str
    metric: str
    grid: int


FIGURES = (
    Figure("cifar10-valid", "train", "cifar10-valid", "train_accuracy", 25_000),
    Figure("cifar10-valid", "x-valid", "cifar10-valid", "valid_accuracy", 25_000),
    Figure("cifar10-valid", "ori-test", "cifar10-valid", "test_accuracy", 10_000),
    Figure("cifar10", "train", "cifar10", "train_accuracy", 50_000),
    Figure("cifar10-valid", "x-valid", "cifar10", "valid_accuracy", 25_000),
    Figure("cifar10", "ori-test", "cifar10", "test_accuracy", 10_000),
    Figure("cifar100", "train", "cifar100", "train_accuracy", 50_000),
    Figure("cifar100", "x-valid", "cifar100", "valid_accuracy", 5_000),
    Figure("cifar100", "x-test", "cifar100", "test_accuracy", 5_000),
    Figure("ImageNet16-120", "train", "imagenet16-120", "train_accuracy", 151_700),
    Figure("ImageNet16-120", "x-valid", "imagenet16-120", "valid_accuracy", 3_000),
    Figure("ImageNet16-120", "x-test", "imagenet16-120", "test_accuracy", 3_000),
)
"""All accuracies of a table. "ori-test" of the last two sets is x-valid and x-test together."""

SECONDS = (
    ("cifar10-valid", "cifar10-valid", "train_seconds", ""),
    (
        "cifar10-valid",
        "cifar10",
        "train_seconds",
        "Of the training on half of the images, which gives valid_accuracy: what a search pays, as "
        "in the official API.",
    ),
    (
        "cifar10",
        "cifar10",
        "retrain_seconds",
        "Of the training on all images, which gives test_accuracy.",
    ),
    ("cifar100", "cifar100", "train_seconds", ""),
    ("ImageNet16-120", "imagenet16-120", "train_seconds", ""),
)
"""Official training set, data set and metric of the durations, and a note."""

TRAININGS = {"cifar10-valid": 10, "cifar10": 10, "cifar100": 100, "ImageNet16-120": 120}
"""Official training sets and their classes."""

_SPLITS = {
    training: sorted({f.split for f in FIGURES if f.training == training} - {"train"})
    for training in TRAININGS
}
_NOTES = (
    "Data set cifar10 has the validation accuracy of a training on half of the CIFAR-10 training "
    "images and the test accuracy of another training on all of them, as papers report it.",
    "train_seconds is the official per-epoch time, measured once for each cell, times the epochs; "
    "evaluation is not included.",
)


@dataclass(frozen=True)
class Kind:
    """One of the two spaces.

    Attributes:
        space: Its search space.
        title: What papers print.
        citation: Whom to cite.
    """

    space: NasBench201 | NatsSize
    title: str
    citation: str


def _kinds() -> tuple[Kind, Kind]:
    topology, size = get_space("nasbench201"), get_space("nats-size")
    assert isinstance(topology, NasBench201)
    assert isinstance(size, NatsSize)
    nats = (
        "Dong et al. (2021), NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and "
        "Size. IEEE TPAMI."
    )
    return Kind(topology, "NAS-Bench-201", nats), Kind(size, "NATS-Bench size", nats)


@functools.cache
def _notations(space: str) -> list[str]:
    """Official notation of every cell of a space, in official order."""
    return [get_space(space).format(cell) for cell in get_space(space).enumerate()]


def shown(value: Any) -> str:
    """A value of a foreign file for an error message: short, whatever it is."""
    if isinstance(value, str):
        return repr(value[:100])
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**64):
        return repr(value)
    return f"a value of type {type(value).__name__}"


class _Key(NamedTuple):
    """What one recorded number is of."""

    training: str
    split: str
    epochs: int
    seed: int


class TrialColumns:
    """Columns of the trials of many cells, filled cell by cell.

    Args:
        curves: Keep the accuracies after every epoch too.
    """

    def __init__(self, curves: bool = False) -> None:
        self._curves = curves
        self._rows: list[int] = []
        self._kind: Kind | None = None
        self._texts: list[str] = []
        # Position of the cell, and its number or numbers.
        self._numbers: dict[_Key, tuple[array[int], array[float]]] = defaultdict(
            lambda: (array("i"), array("d"))
        )
        self._series: dict[_Key, tuple[array[int], array[float]]] = defaultdict(
            lambda: (array("i"), array("d"))
        )

    def __len__(self) -> int:
        """Number of cells so far."""
        return len(self._rows)

    def check_numbering(self, meta_archs: Any, name: str) -> None:
        """Compare an official list of all cells with our numbering.

        Raises:
            TableError: They differ.
        """
        if not isinstance(meta_archs, list) or not meta_archs:
            raise TableError(f"{name} must list the cells of the benchmark. It does not.")
        self._choose_kind(meta_archs[0], name)
        if meta_archs != self._texts:
            raise TableError(
                f"{name} must list the {len(self._texts):,} cells in the official order. "
                f"It lists {len(meta_archs):,} others, or in another order."
            )

    def add(self, results: Any, name: str) -> None:
        """Read one cell.

        Args:
            results: `ArchResults` by schedule, as plain dicts.
            name: What errors call it.

        Raises:
            TableError: They are not in the official layout, or of another cell.
        """
        try:
            self._add(results, name)
        except TableError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"{type(error).__name__}: {str(error)[:80]}"
            raise TableError(f"{name} is not in the official layout ({reason}).") from None

    def _add(self, results: Any, name: str) -> None:
        if not isinstance(results, dict) or not results:
            raise TableError(f"{name} must hold the results of a cell by schedule. It does not.")
        named = {(r["arch_index"], r["arch_str"]) for r in results.values()}
        index, text = named.pop()
        if named:
            raise TableError(f"{name} has results of several cells: {shown(text)} and others.")
        self._choose_kind(text, name)
        if type(index) is not int or not 0 <= index < len(self._texts):
            raise TableError(f"{name} has no cell {shown(index)} of NATS-Bench.")
        if self._texts[index] != text:
            raise TableError(
                f"{name} calls cell {index} {shown(text)}. Expected {self._texts[index]!r}."
            )
        position = len(self._rows)
        for schedule, result in results.items():
            for (training, seed), trial in result["all_results"].items():
                if training not in TRAININGS or type(seed) is not int:
                    raise TableError(
                        f"{name} has a trial on {shown(training)} with seed {shown(seed)}. "
                        f"Training sets are {', '.join(TRAININGS)}."
                    )
                if trial["epochs"] != int(schedule):
                    raise TableError(
                        f"{name} has a trial of {shown(trial['epochs'])} epochs under schedule "
                        f"{shown(schedule)}."
                    )
                self._add_trial(position, training, int(schedule), seed, trial)
        self._rows.append(index)

    def _choose_kind(self, text: Any, name: str) -> None:
        if self._kind is not None:
            return
        for kind in _kinds():
            if text in _notations(kind.space.name):
                self._kind, self._texts = kind, _notations(kind.space.name)
                return
        raise TableError(f"{name} has {shown(text)}, which is no cell of NATS-Bench.")

    def _add_trial(
        self, position: int, training: str, epochs: int, seed: int, trial: Mapping[str, Any]
    ) -> None:
        last, trained, evaluated = epochs - 1, trial["train_acc1es"], trial["eval_acc1es"]
        self._put(position, _Key(training, "train", epochs, seed), trained[last], 100)
        for split in _SPLITS[training]:
            if (accuracy := evaluated.get(f"{split}@{last}")) is not None:
                self._put(position, _Key(training, split, epochs, seed), accuracy, 100)
        if self._curves:
            self._put_curves(position, training, epochs, seed, trial)
        if (times := trial["train_times"]) is not None:
            if len(times) != epochs:
                raise ValueError(f"{len(times)} training times for {epochs} epochs")
            self._put(position, _Key(training, "seconds", epochs, seed), sum(times.values()), 1e9)
        for what in ("params", "flop"):
            self._put(position, _Key(training, what, epochs, seed), trial[what], 1e6)
        if latencies := trial["latency"]:
            mean = sum(latencies) / len(latencies)
            self._put(position, _Key(training, "latency", epochs, seed), mean, 1e3)

    def _put(self, position: int, key: _Key, value: Any, highest: float) -> None:
        if not 0 <= value <= highest:  # also for NaN
            raise ValueError(f"{key.split} on {key.training} is {shown(value)}")
        positions, values = self._numbers[key]
        positions.append(position)
        values.append(value)

    def _put_curves(
        self, position: int, training: str, epochs: int, seed: int, trial: Mapping[str, Any]
    ) -> None:
        trained, evaluated = trial["train_acc1es"], trial["eval_acc1es"]
        curves = {"train": [trained.get(e) for e in range(epochs)]}
        for split in _SPLITS[training]:
            curves[split] = [evaluated.get(f"{split}@{e}") for e in range(epochs)]
        for split, curve in curves.items():
            key = _Key(training, split, epochs, seed)
            if odd := [value for value in curve if value is not None and not 0 <= value <= 100]:
                raise ValueError(f"{split} on {training} is {shown(odd[0])} after some epoch")
            positions, values = self._series[key]
            positions.append(position)
            values.extend(float("nan") if value is None else value for value in curve)

    # Columns --------------------------------------------------------------------------------------

    def table(self, source: str, *notes: str) -> TableData:
        """The table of everything read.

        Args:
            source: Where it was read.
            *notes: What a reader must know besides.

        Raises:
            TableError: Nothing was read, or a cell twice.
        """
        if self._kind is None or not self._rows:
            raise TableError(f"{source} holds no results of a cell.")
        rows, order = np.unique(self._rows, return_index=True)
        if len(rows) != len(self._rows):
            twice = next(row for row in rows if self._rows.count(row) > 1)
            raise TableError(f"{source} holds cell {twice} twice.")
        columns = [*self._accuracy_columns(order), *self._second_columns(order)]
        columns += self._cost_columns(order, rows)
        info = TableInfo(
            name=self._kind.space.name,
            title=self._kind.title,
            space=self._kind.space.name,
            source=source,
            licence="MIT",
            citation=self._kind.citation,
            dataset="cifar10",
            epochs=max(key.epochs for key in self._numbers),
            notes=_NOTES + notes,
            made_with=f"archrep {__version__}",
        )
        return TableData.of(info, columns, rows=rows)

    def _values(self, key: _Key, order: np.ndarray) -> np.ndarray:
        """Numbers of the cells in the order of the table, `[M]`, NaN where there is none."""
        positions, values = self._numbers[key]
        full = np.full(len(order), np.nan)
        full[positions] = values
        return full[order]

    def _curve_values(self, key: _Key, order: np.ndarray) -> np.ndarray:
        positions, values = self._series[key]
        full = np.full((len(order), key.epochs), np.nan)
        full[positions] = np.reshape(values, (-1, key.epochs))
        return full[order]

    def _accuracy_columns(self, order: np.ndarray) -> Iterator[Column]:
        for figure in FIGURES:
            for key in sorted(self._numbers):
                if (key.training, key.split) != figure[:2]:
                    continue
                measure = Measure(
                    metric=figure.metric,
                    dataset=figure.dataset,
                    epochs=key.epochs,
                    seed=key.seed,
                )
                yield _accuracies(measure, self._values(key, order), figure.grid)
                if self._curves and not np.isnan(curve := self._curve_values(key, order)).all():
                    yield _accuracies(measure, curve, figure.grid)

    def _second_columns(self, order: np.ndarray) -> Iterator[Column]:
        """One column where all runs state the same time, as those of the official files do."""
        for training, dataset, metric, note in SECONDS:
            keys = [k for k in self._numbers if k.training == training and k.split == "seconds"]
            for epochs in sorted({key.epochs for key in keys}):
                runs: dict[int | None, np.ndarray] = {
                    k.seed: self._values(k, order) for k in sorted(keys) if k.epochs == epochs
                }
                shared = _first(list(runs.values()))
                if all((np.isnan(run) | (run == shared)).all() for run in runs.values()):
                    runs = {None: shared}
                for seed, values in runs.items():
                    measure = Measure(metric=metric, dataset=dataset, epochs=epochs, seed=seed)
                    yield Column(measure, values, note=note)

    def _cost_columns(self, order: np.ndarray, rows: np.ndarray) -> Iterator[Column]:
        assert self._kind is not None
        space = self._kind.space
        cells = space.enumerate()[rows]
        for training, classes in TRAININGS.items():
            pixels = 16 if training == "ImageNet16-120" else 32
            truth = {
                "params": space.params(cells, classes),
                "flop": space.macs(cells, classes, pixels),
            }
            for what, metric in (("params", "params"), ("flop", "macs")):
                if recorded := self._runs(training, what, order):
                    measure = Measure(metric=metric, dataset=training.lower())
                    note = _disagreement(recorded, truth[what] / 1e6)
                    yield Column(measure, truth[what].astype(np.uint32), note=note)
            if recorded := self._runs(training, "latency", order):
                yield Column(
                    Measure(metric="latency_seconds", dataset=training.lower()),
                    _first(list(recorded.values())),
                    note="Of a batch of 256 images, as the official API says; first recorded run.",
                )

    def _runs(self, training: str, what: str, order: np.ndarray) -> dict[_Key, np.ndarray]:
        """Numbers of all runs, short schedules first, `[M]` each."""
        keys = [k for k in self._numbers if (k.training, k.split) == (training, what)]
        return {key: self._values(key, order) for key in sorted(keys)}


def _accuracies(measure: Measure, percent: np.ndarray, grid: int) -> Column:
    """Column of accuracies in percent; those that are no counts of so many stay as they are."""
    exact = percent[~np.isnan(percent)] / 100 * grid
    counted = bool((np.abs(exact - np.rint(exact)) <= 0.01).all())
    return Column(measure, percent / 100, grid if counted else 0)


def _first(runs: list[np.ndarray]) -> np.ndarray:
    """The first number that is known of each cell, `[M]`."""
    first = runs[0].copy()
    for run in runs[1:]:
        first = np.where(np.isnan(first), run, first)
    return first


def _disagreement(recorded: dict[_Key, np.ndarray], truth: np.ndarray) -> str:
    """What to say of runs whose recorded cost is not that of the network."""
    odd = np.zeros(len(truth), bool)
    schedules = set()
    for key, values in recorded.items():
        wrong = np.abs(values - truth) > 1e-6 * truth
        odd |= wrong
        schedules |= {key.epochs} if wrong.any() else set()
    if not odd.any():
        return ""
    listed = " and ".join(f"{epochs}-epoch" for epochs in sorted(schedules))
    return (
        f"Counted from the structure. The {listed} records of {int(odd.sum()):,} cells state "
        "another number: a known defect of the official files (NATS-Bench issue 36)."
    )


# Files -------------------------------------------------------------------------------------------

_RECORD = re.compile(r"(?:.*/)?\d{1,6}\.pickle\.pbz2")
_META = "meta.pickle.pbz2"


def _meta_archs(content: Any, name: str) -> Any:
    if not isinstance(content, dict) or "meta_archs" not in content:
        raise TableError(f"{name} must be a dict with `meta_archs`. It is not.")
    return content["meta_archs"]


def _read_folder(path: Path, columns: TrialColumns, report: Report) -> None:
    if (path / _META).is_file():
        meta = read_pickle(path / _META, RECORD_LIMIT)
        columns.check_numbering(_meta_archs(meta, str(path / _META)), str(path / _META))
    files = sorted(file for file in path.iterdir() if _RECORD.fullmatch(file.name))
    for done, file in enumerate(files):
        if done % 100 == 0:
            report("Reading cells", done, len(files))
        columns.add(read_pickle(file, RECORD_LIMIT), str(file))


def _read_tar(path: Path, columns: TrialColumns, report: Report) -> None:
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = f"{shown(member.name)} in {path}"
                file: IO[bytes] | None = archive.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                if member.name.rpartition("/")[2] == _META:
                    meta = load_pickle(file, name, RECORD_LIMIT)
                    columns.check_numbering(_meta_archs(meta, name), name)
                elif _RECORD.fullmatch(member.name):
                    columns.add(load_pickle(file, name, RECORD_LIMIT), name)
                    if len(columns) % 100 == 0:
                        report("Reading cells", len(columns), None)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise TableError(f"{path} is no readable tar archive ({str(error)[:100]}).") from None


def read_whole(content: Any, columns: TrialColumns, name: str, report: Report) -> None:
    """Read a dict of everything: `meta_archs` and `arch2infos`.

    Raises:
        TableError: It is not in the official layout.
    """
    columns.check_numbering(_meta_archs(content, name), name)
    infos = content.get("arch2infos")
    if not isinstance(infos, dict) or not infos:
        raise TableError(f"{name} holds no results: `arch2infos` must be a dict of them.")
    for done, (index, results) in enumerate(infos.items()):
        if done % 100 == 0:
            report("Reading cells", done, len(infos))
        columns.add(results, f"Cell {shown(index)} in {name}")


def convert(path: Path, report: Report, *, curves: bool = False) -> list[TableData]:
    """The table in an official folder, archive or file.

    Args:
        path: Folder, `.tar` or `.pickle.pbz2`.
        report: Told the progress in cells.
        curves: Keep the accuracies after every epoch, as `[M, E]` columns. They take some two
            hundred megabytes for the topology space.

    Raises:
        TableError: Something is damaged, or not as published.
    """
    columns = TrialColumns(curves)
    if path.is_dir():
        _read_folder(path, columns, report)
    elif path.suffix == ".tar":
        _read_tar(path, columns, report)
    else:
        report("Reading the whole benchmark into memory", 0, None)
        read_whole(read_pickle(path, FULL_LIMIT), columns, str(path), report)
    return [columns.table(f"official files {path.name}")]


def recognise(path: Path) -> bool:
    """Whether a folder, archive or compressed pickle is called like those of NATS-Bench."""
    try:
        if path.is_dir():
            return (path / _META).is_file() or path.name.startswith(("NATS-tss-", "NATS-sss-"))
        return path.name.startswith(("NATS-tss-", "NATS-sss-")) and path.name.endswith(
            (".tar", ".pickle.pbz2")
        )
    except OSError:
        return False


IMPORTER = Importer(
    "NATS-Bench (folder, .tar or .pickle.pbz2)", recognise, convert, takes_curves=True
)

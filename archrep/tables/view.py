"""A table under one setting: which columns answer a query, and their values by position."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from archrep.errors import ConfigError, UnmeasuredError

if TYPE_CHECKING:
    from archrep.tables.base import Table

STATISTICS = ("mean", "max")
"""What may be asked for in place of a single run."""

SHARED = ("valid_accuracy", "test_accuracy", "train_seconds", "params", "macs")
"""Metrics that every record has a field for."""

STRUCTURAL = ("params", "macs")
"""Metrics that are known without a measurement."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a table records of one cell; `None` where it records nothing.

    Attributes:
        index: Position of the cell in the table.
        valid_accuracy: Fraction.
        test_accuracy: Fraction. Never to be shown to a search.
        train_seconds: Seconds of the whole training.
        params: Trainable parameters.
        macs: Multiply-adds for one image.
        dataset: Data set of the training.
        epochs: Length of the training.
        seed: Of the recorded run, or `"mean"` or `"max"` over the runs.
        metrics: Whatever else the table has: `{"edgegpu_latency_seconds": 0.0058, ...}`.
    """

    index: int
    valid_accuracy: float | None
    test_accuracy: float | None
    train_seconds: float | None
    params: int | None
    macs: int | None
    dataset: str | None
    epochs: int | None
    seed: int | str
    metrics: dict[str, float | int]

    def flat(self) -> dict[str, float | int | str | None]:
        """All fields, with the further metrics beside the shared ones."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "metrics"}
        return fields | self.metrics


@dataclass(frozen=True)
class Setting:
    """One way to ask: data set, schedule, run and epoch."""

    dataset: str | None
    epochs: int | None
    seed: int | str
    at_epoch: int | None

    def __str__(self) -> str:
        words = f"dataset={self.dataset!r}, epochs={self.epochs}, seed={self.seed!r}"
        return words if self.at_epoch is None else f"{words}, at_epoch={self.at_epoch}"


def whole_number(name: str, value: object) -> int | None:
    """`value` as a plain int, `None` as it is.

    Raises:
        ConfigError: It is neither.
    """
    if value is None:
        return None
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ConfigError(f"`{name}` must be a whole number. Got {value!r}.") from None


_Getter = Callable[[int], float | int | None]
_Found = dict[tuple[int | str | None, int | None, bool], str]
"""Column names by run, epoch and whether it is a curve."""


class View:
    """A table under one setting: one value of each metric for each position.

    Attributes:
        setting: Data set, schedule, run and epoch.
        metrics: Names of what is recorded in this setting.

    Raises:
        UnmeasuredError: Nothing is.
    """

    def __init__(self, table: Table, setting: Setting) -> None:
        self._table, self.setting = table, setting
        self._arrays: dict[str, np.ndarray] = {}
        self._check_seed()
        found = {metric: self._find(metric) for metric in table.metrics}
        self._columns = {metric: names for metric, names in found.items() if names}
        self.metrics = tuple(self._columns)
        accuracies = {m.metric for m, _ in self._fitting() if m.metric.endswith("accuracy")}
        if not self.metrics or (accuracies and not accuracies & set(self.metrics)):
            raise UnmeasuredError(
                f"{table.info.title} has no figures for {setting}. "
                "`archrep tables describe` lists what it has."
            )

    def array(self, metric: str) -> np.ndarray:
        """Values of a metric, `[N]`, read-only; NaN where it was not measured.

        Raises:
            UnmeasuredError: It is not recorded in this setting.
        """
        if metric not in self._columns:
            raise UnmeasuredError(
                f"{self._table.info.title} records {', '.join(self.metrics)} for {self.setting}. "
                f"Got metric={metric!r}."
            )
        if metric not in self._arrays:
            values = [self._values(name) for name in self._columns[metric]]
            statistic = str(self.setting.seed)
            joined = values[0] if len(values) == 1 else _over_runs(values, statistic)
            self._arrays[metric] = self._table.expand(joined)
        return self._arrays[metric]

    def record(self, index: int) -> QueryResult:
        """The record of one position; `None` where nothing is known."""
        shared, others = self._getters
        values = [get(index) for get in shared]
        further = {metric: get(index) for metric, get in others}
        if None in further.values():
            further = {metric: value for metric, value in further.items() if value is not None}
        asked = self.setting
        return QueryResult(  # type: ignore[call-arg]
            index,
            *values,  # type: ignore[arg-type]
            asked.dataset,
            asked.epochs,
            asked.seed,
            further,  # type: ignore[arg-type]
        )

    @cached_property
    def measured(self) -> np.ndarray:
        """Positions with any figure that takes a measurement (any at all, if none does), `[N]`."""
        names = [metric for metric in self.metrics if metric not in STRUCTURAL] or self.metrics
        return np.logical_or.reduce([_known(self.array(name)) for name in names])

    @cached_property
    def _getters(self) -> tuple[list[_Getter], list[tuple[str, _Getter]]]:
        """Functions that read the shared fields of a record, and those of the other metrics."""
        others = [metric for metric in self.metrics if metric not in SHARED]
        shared = [self._getter(metric) for metric in SHARED]
        return shared, [(metric, self._getter(metric)) for metric in others]

    def _getter(self, metric: str) -> _Getter:
        """Plain figure of a position, `None` where it is missing; the hot path of a query."""
        if metric not in self._columns:
            return lambda index: None
        array = self.array(metric)
        if _known(array).all():
            return array.item
        # Counts of a part of the space are kept as floats, for the sake of NaN.
        kinds = {self._table.columns[name].values.dtype.kind for name in self._columns[metric]}
        plain = float if "f" in kinds else int

        def get(index: int) -> float | int | None:
            value = array.item(index)
            return plain(value) if value == value else None

        return get

    def _fitting(self) -> list[tuple]:  # type: ignore[type-arg]
        """Measures of this data set and schedule, or of none, and the names of their columns."""
        dataset, epochs = self.setting.dataset, self.setting.epochs
        return [
            (m, name)
            for name, m in self._table.measures.items()
            if m.dataset in (dataset, None) and m.epochs in (epochs, None)
        ]

    def _find(self, metric: str) -> tuple[str, ...]:
        """Columns that answer for a metric in this setting: one, or one for each run.

        What was recorded for this data set and schedule goes before what belongs to none.
        """
        groups: dict[tuple[bool, bool], _Found] = {}
        for m, name in self._fitting():
            if m.metric == metric:
                group = groups.setdefault((m.dataset is not None, m.epochs is not None), {})
                group[m.seed, m.at_epoch, m.curve] = name
        for (_, of_a_schedule), found in sorted(groups.items(), reverse=True):
            timeless = not of_a_schedule and not metric.endswith("accuracy")
            if names := self._in_group(found, timeless):
                return names
        return ()

    def _in_group(self, found: _Found, timeless: bool) -> tuple[str, ...]:
        seed = self.setting.seed
        for wanted in (seed, None):
            if name := self._at(found, wanted, timeless):
                return (name,)
        recorded = {run for run, _, _ in found if isinstance(run, str)}
        if seed not in STATISTICS or recorded:
            return ()  # a recorded statistic knows more runs than are stored one by one
        runs = sorted({run for run, _, _ in found if isinstance(run, int)})
        return tuple(name for run in runs if (name := self._at(found, run, timeless)))

    def _at(self, found: _Found, seed: int | str | None, timeless: bool) -> str | None:
        """Column of one run that holds this setting's epoch; `timeless` ones hold any."""
        at_epoch, epochs = self.setting.at_epoch, self.setting.epochs
        last, curve = found.get((seed, None, False)), found.get((seed, None, True))
        if at_epoch is None or at_epoch == epochs:
            return found.get((seed, at_epoch, False)) or last or curve
        return found.get((seed, at_epoch, False)) or curve or (last if timeless else None)

    def _values(self, name: str) -> np.ndarray:
        """Values of one column at this setting's epoch, `[M]`."""
        values, at_epoch = self._table.columns[name].values, self.setting.at_epoch
        if values.ndim == 1:
            return values
        if at_epoch is not None and at_epoch > values.shape[1]:
            raise UnmeasuredError(
                f"Column {name} of {self._table.info.title} has {values.shape[1]} epochs. "
                f"Got at_epoch={at_epoch}."
            )
        return values[:, -1 if at_epoch is None else at_epoch - 1]

    def _check_seed(self) -> None:
        known = {m.seed for m, _ in self._fitting()} - {None}
        if self.setting.seed not in known | set(STATISTICS):
            raise UnmeasuredError(
                f"Runs of {self._table.info.title} with dataset={self.setting.dataset!r}, epochs="
                f"{self.setting.epochs} are {listed(known | set(STATISTICS))}. "
                f"Got seed={self.setting.seed!r}."
            )


def listed(values: Iterable[object]) -> str:
    """Values in words, sorted."""
    return ", ".join(str(v) for v in sorted(values, key=str))


def _known(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)


def _over_runs(values: Sequence[np.ndarray], statistic: str) -> np.ndarray:
    """Mean or largest of the recorded runs, `[M]` each, NaN where there is none."""
    runs = np.stack(values)
    known = ~np.isnan(runs)
    count = known.sum(0)
    if statistic == "mean":
        total = np.where(known, runs, 0).sum(0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.where(count > 0, np.where(known, runs, -np.inf).max(0), np.nan)

"""What one column of a table measures, and how its values are stored without loss."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from archrep.errors import TableError

RESERVED = ("cell", "index", "dataset", "epochs", "seed", "metrics")
"""Names that a metric cannot have: records and exports have fields of these names."""

_METRIC, _DATASET = re.compile(r"[a-z][a-z0-9_]*"), re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a column says about a cell.

    Attributes:
        metric: Such as `"valid_accuracy"`; in fractions, seconds, joules, counts, and named so
            that the unit shows: `latency_seconds`.
        dataset: Data set of the training, or `None` if the figure does not depend on one.
        epochs: Length of the training schedule, or `None` if there was no training.
        at_epoch: Epoch after which it was measured; `None`: the last.
        seed: Of the recorded run; `"mean"` or `"max"` over all recorded runs; `None` if the figure
            does not depend on a run.
        curve: Whether there is a figure for every epoch; a `Column` sets it.

    Raises:
        TableError: One of these is impossible; all that are, are named.
    """

    metric: str
    dataset: str | None = None
    epochs: int | None = None
    at_epoch: int | None = None
    seed: int | str | None = None
    curve: bool = False

    def __post_init__(self) -> None:
        checks = {
            f"a metric is of lower-case letters, digits and '_', not {self.metric!r}": (
                isinstance(self.metric, str)
                and _METRIC.fullmatch(self.metric)
                and self.metric not in RESERVED
            ),
            f"a data set is of letters, digits, '-', '_' and '.', not {self.dataset!r}": (
                self.dataset is None
                or (isinstance(self.dataset, str) and _DATASET.fullmatch(self.dataset))
            ),
            f"`epochs` is a positive whole number, not {self.epochs!r}": (
                self.epochs is None or (type(self.epochs) is int and self.epochs > 0)
            ),
            f"`at_epoch` is a positive whole number, not {self.at_epoch!r}": (
                self.at_epoch is None or (type(self.at_epoch) is int and self.at_epoch > 0)
            ),
            f"`seed` is a whole number or a word, not {self.seed!r}": (
                self.seed is None
                or (type(self.seed) is int and self.seed >= 0)
                or (isinstance(self.seed, str) and bool(_METRIC.fullmatch(self.seed)))
            ),
        }
        if problems := [problem for problem, fine in checks.items() if not fine]:
            raise TableError(f"A column cannot be named: {'; '.join(problems)}.")

    @property
    def name(self) -> str:
        """Name of the column, fit for SQL: `cifar10_valid_accuracy_200ep_s777`."""
        parts = [self.dataset, self.metric]
        parts.append(None if self.epochs is None else f"{self.epochs}ep")
        parts.append(None if self.at_epoch is None else f"at{self.at_epoch}")
        parts.append(f"s{self.seed}" if isinstance(self.seed, int) else self.seed)
        parts.append("curve" if self.curve else None)
        return "_".join(part for part in parts if part).replace("-", "_").lower()

    @classmethod
    def from_header(cls, about: Mapping[str, Any]) -> Measure:
        """From the description that `Column.encode` made.

        Raises:
            TableError: It is damaged.
        """
        if not isinstance(about, Mapping) or "metric" not in about:
            raise TableError("The description of a column is damaged.")
        return cls(**{f.name: about[f.name] for f in fields(cls) if f.name in about})


@dataclass(frozen=True, eq=False)
class Column:
    """One measured quantity of the M recorded cells.

    Attributes:
        measure: What it is.
        values: `[M]`, or `[M, E]` for a learning curve whose column e is the figure after epoch
            e + 1. NaN (in floats) where it was not recorded.
        grid: If not 0, all values are multiples of 1 / grid (counts of right answers out of so
            many), and are stored and given back as such, exactly.
        note: What a reader must know, in a sentence.
    """

    measure: Measure
    values: np.ndarray
    grid: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim not in (1, 2) or values.dtype.kind not in "fiu":
            raise TableError(
                f"Column {self.measure.name} must hold numbers, [M] or [M, E]. "
                f"Got {values.dtype} of shape {values.shape}."
            )
        epochs = self.measure.epochs
        if values.ndim == 2 and epochs is not None and values.shape[1] != epochs:
            raise TableError(
                f"A curve of {epochs} epochs must have as many values. Column "
                f"{self.measure.name} has {values.shape[1]}."
            )
        values = values.view()
        values.setflags(write=False)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "measure", replace(self.measure, curve=values.ndim == 2))

    @property
    def name(self) -> str:
        """See `Measure.name`."""
        return self.measure.name

    def encode(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Array to store and what `decode` must know.

        Raises:
            TableError: A value is off the grid or infinite.
        """
        about = {k: v for k, v in asdict(self.measure).items() if v is not None and v is not False}
        if self.note:
            about["note"] = self.note
        if np.isinf(self.values).any():
            raise TableError(f"Column {self.name} holds an infinite value.")
        if not self.grid:
            return np.ascontiguousarray(self.values), about
        missing = np.isnan(self.values)
        exact = np.where(missing, 0, self.values) * float(self.grid)
        counts = np.rint(exact)
        if (np.abs(exact - counts) > 0.02).any() or counts.min(initial=0) < 0:
            worst = self.values.flat[int(np.abs(exact - counts).argmax())]
            raise TableError(
                f"Values of column {self.name} must be multiples of 1/{self.grid}. Got {worst}."
            )
        kind = np.min_scalar_type(int(counts.max(initial=0)) + 1)  # the largest code means missing
        codes = np.where(missing, np.iinfo(kind).max, counts).astype(kind)
        return np.ascontiguousarray(codes), about | {"grid": self.grid}

    @classmethod
    def decode(cls, stored: np.ndarray, about: Mapping[str, Any]) -> Column:
        """What `encode` was given.

        Raises:
            TableError: The description is damaged, or does not fit the array.
        """
        measure = Measure.from_header(about)
        grid, note = about.get("grid", 0), about.get("note", "")
        if type(grid) is not int or grid < 0 or (grid and stored.dtype.kind != "u"):
            raise TableError(f"The grid of column {measure.name} is damaged: {grid!r}.")
        if grid:
            missing = stored == np.iinfo(stored.dtype).max
            stored = np.where(missing, np.nan, stored / grid)
        return cls(measure, stored, grid, str(note))

"""What one column of a table measures, and how its values are stored without loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from archrep.errors import TableError

UNITS = {
    "valid_accuracy": "fraction",
    "test_accuracy": "fraction",
    "train_accuracy": "fraction",
    "train_seconds": "seconds",
    "params": "count",
    "macs": "count",
}
"""Units of the metrics that every table shares; others name theirs: `latency_seconds`."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a column says about a cell.

    Attributes:
        metric: Such as `"valid_accuracy"`; fractions, seconds, joules, counts (see `UNITS`).
        dataset: Data set of the training, or `None` if the figure does not depend on one.
        epochs: Length of the training schedule, or `None` if there was no training.
        at_epoch: Epoch after which it was measured; `None`: the last.
        seed: Of the recorded run; `"mean"` or `"max"` over all recorded runs; `None` if the figure
            does not depend on a run.
        curve: Whether there is a figure for every epoch; a `Column` sets it.
    """

    metric: str
    dataset: str | None = None
    epochs: int | None = None
    at_epoch: int | None = None
    seed: int | str | None = None
    curve: bool = False

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
        """From the description that `Column.encode` made."""
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
        """What `encode` was given."""
        measure = Measure.from_header(about)
        grid = int(about.get("grid", 0))
        if grid:
            missing = stored == np.iinfo(stored.dtype).max
            stored = np.where(missing, np.nan, stored / grid)
        return cls(measure, stored, grid, about.get("note", ""))

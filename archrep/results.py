"""What searches found: every paid query in order, and the figures drawn from them.

A `Traces` object knows what a search saw and paid; `with_figures` then adds what only a report may
know. All accuracies are fractions, all times simulated seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archrep.errors import RunError, TableError
from archrep.files import write_atomically

if TYPE_CHECKING:
    from archrep.tables.base import Table

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
CHECKPOINTS = (20, 50, 100, 150, 200, 300, 400, 500, 1000)
"""Queries at which a summary states accuracies."""


@dataclass(frozen=True, eq=False)
class Traces:
    """Paid queries of several runs, run after run, each in order: `[M]` arrays.

    Attributes:
        run: Number of the run.
        query: 1, 2, ... within a run.
        position: Of the cell in the table; of the cell in the embeddings file where there is no
            table.
        valid_accuracy: As the search saw it.
        seconds: Simulated seconds spent so far in the run, this query included.
        epochs: Training schedule; 0 where there is none.
        recommended: Position that the strategy would have chosen after this query; -1 within a
            batch, and for a strategy that recommends nothing but the incumbent.
        mean_valid_accuracy: What the table has over all its runs, at the schedule of the report;
            NaN before `with_figures`, or where the table has none.
        test_accuracy: The same of the test accuracy.
    """

    run: np.ndarray
    query: np.ndarray
    position: np.ndarray
    valid_accuracy: np.ndarray
    seconds: np.ndarray
    epochs: np.ndarray
    recommended: np.ndarray
    mean_valid_accuracy: np.ndarray
    test_accuracy: np.ndarray

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[int, int, int, float, float, int, int]]) -> Traces:
        """Traces of (run, query, position, validation, seconds, epochs, recommended) rows."""
        names = [field.name for field in fields(cls)][:7]
        kinds = (np.int32, np.int32, np.int64, np.float64, np.float64, np.int32, np.int64)
        columns = list(zip(*rows, strict=True)) or [()] * 7
        arrays = {n: np.array(c, k) for n, c, k in zip(names, columns, kinds, strict=True)}
        unknown = np.full(len(rows), np.nan)
        return cls(**arrays, mean_valid_accuracy=unknown, test_accuracy=unknown)

    @classmethod
    def concatenate(cls, parts: Iterable[Traces]) -> Traces:
        """All runs of several traces, ordered by run."""
        parts = list(parts)
        arrays = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)
        }
        order = np.lexsort((arrays["query"], arrays["run"]))
        return cls(**{name: values[order] for name, values in arrays.items()})

    def __len__(self) -> int:
        return len(self.run)

    # Files --------------------------------------------------------------------------------------

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write a Parquet file, atomically, with `about` in its metadata."""
        import pyarrow
        from pyarrow import parquet

        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        table = pyarrow.table(columns).replace_schema_metadata({"archrep": json.dumps(about)})
        write_atomically(
            path,
            lambda temporary: parquet.write_table(
                table, temporary, compression="zstd", write_page_checksum=True
            ),
        )

    @classmethod
    def load(cls, path: Path) -> tuple[Traces, dict[str, Any]]:
        """Traces of a file that `save` wrote, and what they are about.

        Raises:
            RunError: It is missing, damaged or of another kind.
        """
        import pyarrow
        from pyarrow import parquet

        try:
            table = parquet.read_table(path, page_checksum_verification=True)
            about = json.loads((table.schema.metadata or {})[b"archrep"])
            return cls(**{f.name: table[f.name].to_numpy() for f in fields(cls)}), about
        except (OSError, KeyError, ValueError, pyarrow.ArrowException) as error:
            reason = (str(error).splitlines() or [""])[0][:120]
            raise RunError(
                f"Expected the traces of searches in {path}, and they cannot be read: {reason}."
            ) from None

    # Figures ------------------------------------------------------------------------------------

    def with_figures(self, table: Table, dataset: str | None, epochs: int | None) -> Traces:
        """The same with the table's mean validation and test accuracy of every cell.

        Args:
            table: Where the queries were answered.
            dataset: Data set of the search; by default the table's.
            epochs: Schedule of the report; by default the table's.

        Raises:
            TableError: A figure lies above the maximum of the table.
        """
        view = table.view(dataset=dataset, epochs=epochs)
        found: dict[str, np.ndarray] = {}
        for field, metric in (
            ("mean_valid_accuracy", "valid_accuracy"),
            ("test_accuracy", "test_accuracy"),
        ):
            found[field] = np.full(len(self), np.nan)
            if metric in view.metrics:
                found[field] = view.array(metric)[self.position]
        traces = replace(self, **found)
        traces.check_ceiling(table, dataset, epochs)
        return traces

    def check_ceiling(self, table: Table, dataset: str | None, epochs: int | None) -> None:
        """Refuse accuracies that the table does not contain.

        Raises:
            TableError: One lies above the maximum of the table.
        """
        best = table.optimum(dataset=dataset, epochs=epochs)
        ceilings = {"mean_valid_accuracy": best.valid_accuracy, "test_accuracy": best.test_accuracy}
        for name, ceiling in ceilings.items():
            values = getattr(self, name)
            if ceiling is None or np.isnan(values).all():
                continue
            if np.nanmax(values) > ceiling.value + 1e-9:
                raise TableError(
                    f"A figure of these traces lies above the maximum of {table.info.title}: "
                    f"{name} {np.nanmax(values):.5f}, and the table's best is {ceiling.value:.5f}. "
                    "They were not made from this table."
                )

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each run begins and the last ends, `[R + 1]`."""
        begins = np.flatnonzero(np.diff(self.run, prepend=self.run[:1] - 1))
        return np.append(begins, len(self))

    @property
    def runs(self) -> np.ndarray:
        """Numbers of the runs, `[R]`."""
        return self.run[self.starts[:-1]]

    @cached_property
    def incumbents(self) -> np.ndarray:
        """Row of the best so far by validation, the first of equals, for every query, `[M]`.

        Where schedules differ, a longer one counts before a higher accuracy.
        """
        return self._running_best(self.valid_accuracy + 10.0 * self.epochs)  # at most 1 each

    @cached_property
    def test_incumbents(self) -> np.ndarray:
        """Row of the best so far by *test*, which no search knows: the protocol `oracle`, `[M]`."""
        return self._running_best(np.nan_to_num(self.test_accuracy, nan=-1.0))

    def _running_best(self, key: np.ndarray) -> np.ndarray:
        rows = np.arange(len(self))
        for begin, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            best = np.maximum.accumulate(key[begin:end])
            new = np.diff(best, prepend=-np.inf) > 0
            rows[begin:end] = begin + np.maximum.accumulate(
                np.where(new, np.arange(end - begin), 0)
            )
        return rows

    def at_queries(self, query: int) -> np.ndarray:
        """Row of each run after so many queries, or its last if it is shorter, `[R]`."""
        return np.minimum(self.starts[:-1] + query, self.starts[1:]) - 1

    def at_seconds(self, seconds: float) -> np.ndarray:
        """Row of each run's last query within so many simulated seconds, or its first, `[R]`."""
        rows = [
            begin + max(int(np.searchsorted(self.seconds[begin:end], seconds, "right")) - 1, 0)
            for begin, end in zip(self.starts[:-1], self.starts[1:], strict=True)
        ]
        return np.array(rows)

    def final(self) -> np.ndarray:
        """Last row of each run, `[R]`."""
        return self.starts[1:] - 1

    def queries_to(self, positions: Sequence[int]) -> np.ndarray:
        """Queries each run needed to meet one of some cells, `[R]`; infinite where it did not."""
        hit = np.isin(self.position, np.asarray(positions))
        needed = []
        for begin, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            found = np.flatnonzero(hit[begin:end])
            needed.append(float(found[0] + 1) if len(found) else np.inf)
        return np.array(needed)


def summarise(
    traces: Traces,
    table: Table | None = None,
    *,
    dataset: str | None = None,
    epochs: int | None = None,
    oracle: bool = False,
) -> dict[str, Any]:
    """Figures of all runs: means, standard errors, deviations and quantiles.

    The incumbent is the best by validation as the search saw it; its accuracies are the table's
    means. `recommended_*` are of what the strategy itself chose at the end, where it does.

    Args:
        traces: Traces with figures.
        table: Where the queries were answered; `None` for a surrogate.
        dataset: Data set of the search.
        epochs: Schedule of the report.
        oracle: Report the best test accuracy of everything queried instead of the incumbent's.
    """
    final = traces.final()
    rows = traces.incumbents[final]
    figures: dict[str, Any] = {
        "runs": len(final),
        "queries_mean": float(traces.query[final].mean()),
        "seconds_mean": float(traces.seconds[final].mean()),
    }
    figures |= _spread("seen_valid_accuracy", traces.valid_accuracy[rows])
    figures |= _spread("valid_accuracy", traces.mean_valid_accuracy[rows])
    tested = traces.test_incumbents if oracle else traces.incumbents
    figures |= _spread("test_accuracy", traces.test_accuracy[tested[final]])
    if table is not None and (traces.recommended[final] >= 0).any():
        view = table.view(dataset=dataset, epochs=epochs)
        chosen = np.where(
            traces.recommended[final] >= 0, traces.recommended[final], traces.position[rows]
        )
        for metric in ("valid_accuracy", "test_accuracy"):
            if metric in view.metrics:
                figures |= _spread(f"recommended_{metric}", view.array(metric)[chosen])
    longest = int(traces.query[final].max())
    figures["after_queries"] = {
        str(query): _at(traces, traces.at_queries(query), tested)
        for query in CHECKPOINTS
        if query <= longest
    }
    if table is not None:
        best = table.optimum(dataset=dataset, epochs=epochs).valid_accuracy.indices
        label = table.classes[list(best)]
        needed = traces.queries_to(np.flatnonzero(np.isin(table.classes, label)).tolist())
        figures["queries_to_best_valid"] = {
            "reached": int(np.isfinite(needed).sum()),
            **{f"q{round(100 * q)}": _finite(_rank_quantile(needed, q)) for q in QUANTILES},
        }
    return figures


def _at(traces: Traces, rows: np.ndarray, tested: np.ndarray) -> dict[str, float]:
    valid = traces.mean_valid_accuracy[traces.incumbents[rows]]
    seen = traces.valid_accuracy[traces.incumbents[rows]]
    figures = {"seconds_mean": float(traces.seconds[rows].mean())}
    figures |= _spread("seen_valid_accuracy", seen, quantiles=False)
    figures |= _spread("valid_accuracy", valid, quantiles=False)
    return figures | _spread("test_accuracy", traces.test_accuracy[tested[rows]], quantiles=False)


def _spread(name: str, values: np.ndarray, *, quantiles: bool = True) -> dict[str, Any]:
    """Mean, standard deviation, standard error and quantiles of one value a run.

    Nothing where the table lacks a value: those that it has are no fair sample of the runs.
    """
    if not len(values) or np.isnan(values).any():
        return {}
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    figures: dict[str, Any] = {
        f"{name}_mean": float(values.mean()),
        f"{name}_sd": deviation,
        f"{name}_sem": deviation / len(values) ** 0.5,
    }
    if quantiles:
        figures[f"{name}_quantiles"] = {
            f"q{round(100 * q)}": float(np.quantile(values, q)) for q in QUANTILES
        }
    return figures


def _rank_quantile(values: np.ndarray, share: float) -> float:
    """The smallest value that at least that share does not exceed; infinities sort last."""
    return float(np.sort(values)[max(int(np.ceil(share * len(values))) - 1, 0)])


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None

"""A table as a search sees it: every query is paid for, and test accuracy stays out of sight.

Protocols differ in what the search sees and what its report shows; each figure names its own.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from archrep.cells.cell import Cell
from archrep.cells.genotype import Genotype
from archrep.cells.space import Space
from archrep.errors import (
    BudgetError,
    CellError,
    ConfigError,
    MisleadingFigureWarning,
    UnknownNameError,
    UnmeasuredError,
)
from archrep.seeding import numpy_stream
from archrep.tables.base import CellLike, Table

if TYPE_CHECKING:
    from archrep.tables.surrogate import Nasbench301Surrogate


class Protocol(NamedTuple):
    """What a search sees and what its report shows.

    Attributes:
        sees: `"mean"` of the recorded validation runs, or a `"single"` one of them, drawn once for
            each seed and cell.
        reports: Mean test accuracy of the `"incumbent"` (best validation so far), or the best test
            accuracy of `"all"` that was queried.
        title: The same in words.
    """

    sees: str
    reports: str
    title: str


PROTOCOLS = {
    "mean": Protocol(
        "mean", "incumbent", "mean validation accuracy seen, mean test accuracy of the incumbent"
    ),
    "single": Protocol(
        "single",
        "incumbent",
        "one random validation run seen, mean test accuracy of the incumbent",
    ),
    "oracle": Protocol(
        "mean",
        "all",
        "mean validation accuracy seen, best test accuracy of all queried: no headline",
    ),
}
"""Protocols by name."""


class Observation(NamedTuple):
    """What a search gets for a query.

    Attributes:
        position: Of the cell in the table; -1 where there are no positions.
        valid_accuracy: Fraction.
        train_seconds: Simulated seconds of the training; 0 for a repeat.
        repeat: Whether this cell, or one of its class, had been paid for.
        epochs: Schedule of the training.
    """

    position: int
    valid_accuracy: float
    train_seconds: float
    repeat: bool
    epochs: int | None


class PaidQueries(ABC):
    """Queries that count.

    A cell that was paid for, or one of its class, brings back the first answer and costs nothing,
    unless `charge_repeats` is set.
    Nothing here leads to a test accuracy but `report`, which ends the search: whoever has seen it
    gets no further answer.

    Attributes:
        protocol: One of `PROTOCOLS`.
        space: The search space.
        max_queries: Paid queries allowed, or `None` for any number.
        max_seconds: Simulated seconds allowed, or `None` for any number.
        charge_repeats: Whether a repeat counts and costs like the first query.
    """

    protocol: str
    space: Space

    def __init__(
        self, max_queries: int | None, max_seconds: float | None, charge_repeats: bool = False
    ) -> None:
        for name, limit in (("max_queries", max_queries), ("max_seconds", max_seconds)):
            number = isinstance(limit, (int, float, np.number)) and not isinstance(limit, bool)
            if limit is not None and not (number and limit > 0):
                raise ConfigError(f"`{name}` must be a positive number. Got {limit!r}.")
        self.max_queries, self.max_seconds = max_queries, max_seconds
        self.charge_repeats = charge_repeats
        self._queries, self._seconds, self._closed = 0, 0.0, False
        self._history: list[Observation] = []
        self._paid: dict[Hashable, Observation] = {}

    @property
    def queries(self) -> int:
        """Paid queries so far."""
        return self._queries

    @property
    def seconds(self) -> float:
        """Simulated training seconds so far."""
        return self._seconds

    @property
    def history(self) -> tuple[Observation, ...]:
        """All observations in order, repeats too."""
        return tuple(self._history)

    @property
    def spent(self) -> bool:
        """Whether the budget is used up, or the report was made."""
        return (
            self._closed
            or (self.max_queries is not None and self.queries >= self.max_queries)
            or (self.max_seconds is not None and self.seconds >= self.max_seconds)
        )

    def query(self, cell: CellLike, *, epochs: int | None = None) -> Observation:
        """Validation accuracy and cost of training one cell.

        Args:
            cell: A cell in any node order, its official notation or hash, or its index.
            epochs: Another schedule than the default.

        Raises:
            CellError: The cell is not legal here.
            UnmeasuredError: There is no record of it; nothing is charged.
            BudgetError: The budget was used up before, or the report was made.
        """
        if self._closed:
            raise BudgetError("`report` has shown test accuracy and so ended this search.")
        key, look_up = self._find(cell, epochs)
        if key in self._paid and not self.charge_repeats:
            observation = self._paid[key]._replace(train_seconds=0.0, repeat=True)
        else:
            if self.spent:
                raise BudgetError(
                    f"The budget is used up: {self.queries} queries, {self.seconds:.0f} simulated "
                    "seconds. Got another query; check `spent` first."
                )
            observation = self._paid.get(key) or look_up()
            self._paid[key] = observation
            self._queries += 1
            self._seconds += observation.train_seconds
        self._history.append(observation)
        return observation

    def report(self) -> dict[str, float | int | str | None]:
        """What came of it, test accuracy included; ends the search.

        The incumbent is the best by validation among the cells of the longest schedule that was
        queried. Its test accuracy is that of the schedule that the search was given.

        Returns:
            `protocol`, `runs` (what the table shows of several recorded runs), `queries`,
            `seconds`, the `incumbent`'s position, its `valid_accuracy` as the search saw it and the
            `epochs` of that, and `test_accuracy` by the protocol; `None` where nothing is known.
        """
        self._closed = True
        paid = [entry for entry in self._history if not entry.repeat]
        longest = max((entry.epochs or 0 for entry in paid), default=0)
        paid = [entry for entry in paid if (entry.epochs or 0) == longest]
        best = max(paid, key=lambda entry: entry.valid_accuracy, default=None)
        shown = paid
        if best is not None and PROTOCOLS[self.protocol].reports == "incumbent":
            shown = [best]
        return {
            "protocol": self.protocol,
            "runs": self._runs(),
            "queries": self.queries,
            "seconds": self.seconds,
            "incumbent": None if best is None else best.position,
            "valid_accuracy": None if best is None else best.valid_accuracy,
            "epochs": None if best is None else best.epochs,
            "test_accuracy": self._best_test(shown),
        }

    @abstractmethod
    def _find(
        self, cell: CellLike, epochs: int | None
    ) -> tuple[Hashable, Callable[[], Observation]]:
        """What is equal for cells that count as one, and the look-up that is to be paid for."""

    @abstractmethod
    def _best_test(self, shown: list[Observation]) -> float | None:
        """Best test accuracy of these, if there is any."""

    @abstractmethod
    def _runs(self) -> int | str:
        """What is shown of several recorded runs."""


class PaidTable(PaidQueries):
    """A table as a search sees it; cells of a class (`Space.topology_classes`) count as one.

    Args:
        table: The table.
        protocol: One of `PROTOCOLS`.
        dataset: Data set; by default the table's.
        epochs: Schedule; by default the table's. `query` may ask for another (multi-fidelity).
        seed: Fixes which run `"single"` shows of which cell.
        max_queries: Paid queries allowed, or `None` for any number.
        max_seconds: Simulated seconds allowed; the query that passes them is still answered.
        charge_repeats: Whether a repeat counts and costs like the first query.

    Raises:
        UnknownNameError: No such protocol.
        ConfigError: A budget is not positive.
        UnmeasuredError: The table has no validation accuracy in this setting, or, for `"single"`,
            does not tell runs apart.
    """

    def __init__(
        self,
        table: Table,
        *,
        protocol: str = "mean",
        dataset: str | None = None,
        epochs: int | None = None,
        seed: int = 0,
        max_queries: int | None = None,
        max_seconds: float | None = None,
        charge_repeats: bool = False,
    ) -> None:
        super().__init__(max_queries, max_seconds, charge_repeats)
        if protocol not in PROTOCOLS:
            raise UnknownNameError(
                f"Protocol must be one of {', '.join(PROTOCOLS)}. Got {protocol!r}."
            )
        self.protocol, self.seed, self.space = protocol, seed, table.space
        self._table = table
        self._dataset, self._epochs = table.setting(dataset, epochs)
        self._shown: dict[int | None, tuple[np.ndarray, np.ndarray]] = {}
        self._limited = max_seconds is not None
        self._figures(self._epochs)
        if table.info.seed != "mean":
            warnings.warn(
                f"{table.info.title} shows the {table.info.seed} of its recorded runs, not their "
                "mean; figures of this search do not compare with those under the mean.",
                MisleadingFigureWarning,
                stacklevel=3,
            )

    @property
    def measured(self) -> np.ndarray:
        """Positions that can be queried, `[N]` of bool."""
        return ~np.isnan(self._figures(self._epochs)[0])

    def _find(
        self, cell: CellLike, epochs: int | None
    ) -> tuple[Hashable, Callable[[], Observation]]:
        epochs = self._epochs if epochs is None else epochs
        accuracies, seconds = self._figures(epochs)
        position = self._table.index(cell)

        def look_up() -> Observation:
            accuracy, cost = accuracies.item(position), seconds.item(position)
            if accuracy != accuracy:
                raise self._table.unmeasured(position)
            if cost != cost:
                if self._limited:
                    raise UnmeasuredError(
                        f"{self._table.info.title} has no training time of cell {position}, and "
                        "the budget is in seconds."
                    )
                cost = 0.0
            return Observation(position, accuracy, cost, repeat=False, epochs=epochs)

        # Whoever pays for repeats does not know that other cells compute the same.
        key = position if self.charge_repeats else int(self._table.classes[position])
        return (key, epochs), look_up

    def _best_test(self, shown: list[Observation]) -> float | None:
        view = self._table.view(dataset=self._dataset, epochs=self._epochs)
        if not shown or "test_accuracy" not in view.metrics:
            return None
        tests = view.array("test_accuracy")[[entry.position for entry in shown]]
        return None if np.isnan(tests).all() else float(np.nanmax(tests))

    def _runs(self) -> int | str:
        return self._table.info.seed

    def _figures(self, epochs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Accuracies as this protocol shows them and seconds, `[N]` each."""
        if epochs not in self._shown:
            view = self._table.view(dataset=self._dataset, epochs=epochs)
            accuracies = view.array("valid_accuracy")
            if PROTOCOLS[self.protocol].sees == "single":
                accuracies = self._single_runs(epochs)
            seconds = np.full(len(accuracies), np.nan)
            if "train_seconds" in view.metrics:
                seconds = view.array("train_seconds")
            elif self._limited:
                raise ConfigError(
                    f"`max_seconds` needs training times; {self._table.info.title} has none for "
                    f"{view.setting}. Use `max_queries`."
                )
            self._shown[epochs] = accuracies, seconds
        return self._shown[epochs]

    def _single_runs(self, epochs: int | None) -> np.ndarray:
        """One recorded run of each cell, the same whenever it is asked for, `[N]`."""
        runs = self._table.runs("valid_accuracy", dataset=self._dataset, epochs=epochs)
        if len(runs) < 2:
            raise UnmeasuredError(
                f"Protocol 'single' needs two or more recorded runs; {self._table.info.title} has "
                f"{len(runs)} for dataset={self._dataset!r}, epochs={epochs}. Use 'mean'."
            )
        stacked = np.stack(list(runs.values()))  # [S, N]
        draw = numpy_stream(self.seed, f"single run/{epochs}").random(stacked.shape[1])
        known = ~np.isnan(stacked)
        count = known.sum(0)
        # The k-th run among those that a cell has.
        chosen = (known.cumsum(0) == np.floor(draw * count) + 1) & known
        return np.where(count > 0, np.where(chosen, stacked, 0).sum(0), np.nan)


class PaidSurrogate(PaidQueries):
    """A surrogate as a search sees it: no test accuracy, and isomorphic genotypes count as one.

    Args:
        surrogate: The surrogate.
        epochs: Epochs of a training; by default the surrogate's. `query` may ask for others.
        max_queries: Paid queries allowed, or `None` for any number.
        max_seconds: Predicted seconds allowed; the query that passes them is still answered.
        charge_repeats: Whether a repeat counts and costs like the first query.

    Raises:
        ConfigError: A budget is not positive.
    """

    protocol = "mean"

    def __init__(
        self,
        surrogate: Nasbench301Surrogate,
        *,
        epochs: int | None = None,
        max_queries: int | None = None,
        max_seconds: float | None = None,
        charge_repeats: bool = False,
    ) -> None:
        super().__init__(max_queries, max_seconds, charge_repeats)
        self.space = surrogate.space
        self._surrogate, self._epochs = surrogate, epochs

    def _find(
        self, cell: CellLike, epochs: int | None
    ) -> tuple[Hashable, Callable[[], Observation]]:
        if not isinstance(cell, (Cell, Genotype, str)):
            raise CellError(f"A surrogate takes a Genotype, a Cell or their text. Got {cell!r}.")
        wanted, epochs = cell, self._epochs if epochs is None else epochs

        def look_up() -> Observation:
            result = self._surrogate.query(wanted, epochs=epochs)
            assert result.valid_accuracy is not None
            assert result.train_seconds is not None
            return Observation(
                -1, result.valid_accuracy, result.train_seconds, repeat=False, epochs=result.epochs
            )

        return (self._surrogate.key(wanted), epochs), look_up

    def _best_test(self, shown: list[Observation]) -> float | None:
        return None

    def _runs(self) -> int | str:
        return self._surrogate.info.seed

"""The query interface: what a cell scored, in microseconds, by whatever a user calls the cell.

`Table.query` is the free path: it shows everything that was recorded, test accuracy too. A search
pays, and sees validation alone: that is `archrep.tables.paid`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from archrep.cells.array import CellArray
from archrep.cells.cell import Cell
from archrep.cells.genotype import Genotype
from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.errors import CellError, TableError, UnmeasuredError
from archrep.tables.columns import Column, Measure
from archrep.tables.file import TableData, TableFile, TableInfo
from archrep.tables.keys import keys_of, same_record
from archrep.tables.view import QueryResult, Setting, View, listed, whole_number

if TYPE_CHECKING:
    import pandas

    from archrep.tables.paid import PaidTable

CellLike = Cell | Genotype | str | int | np.integer
"""What a query takes: a cell, its official notation or hash, or its index."""


class Best(NamedTuple):
    """The largest value of a column and the cells that have it."""

    value: float
    indices: tuple[int, ...]


class Optimum(NamedTuple):
    """Ceilings of a table under one data set and schedule; accuracies are fractions.

    Attributes:
        valid_accuracy: Best validation accuracy.
        test_accuracy: Best test accuracy, or `None` if the table has none.
        test_of_best_valid: Test accuracy of the best cell by validation (the first, if several
            tie): what a perfect search by validation ends with.
    """

    valid_accuracy: Best
    test_accuracy: Best | None
    test_of_best_valid: float | None


class Table:
    """Recorded trainings of a search space.

    Positions 0..N-1 are those of `space.enumerate()`, also where only part of the space was
    measured (`measured` says which); for a space that is not enumerated, the records in their
    order. So columns line up with the embeddings of a space.

    Attributes:
        info: Name, source, defaults.
        space: The search space.

    Example:
        >>> from archrep.tables import open_table
        >>> table = open_table("digits")
        >>> table.query("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|").epochs
        6
    """

    def __init__(self, data: TableData, path: Path | None = None, sha256: str = "") -> None:
        self.info: TableInfo = data.info
        self.space: Space = get_space(data.info.space)
        self.path, self.sha256 = path, sha256
        self._data = data
        self._size = len(data) if data.rows is None else int(self.space.size or 0)
        self._views: dict[Setting, View] = {}

    @classmethod
    def open(cls, path: str | Path) -> Table:
        """The table in a file; columns are read when they are first asked for.

        Raises:
            TableError: There is none, it is damaged, or it was made by a newer archrep.
        """
        file = TableFile(Path(path))
        return cls(file.data(), file.path, str(file.header.get("sha256", "")))

    def __reduce__(self) -> tuple[Callable[..., Table], tuple[object, ...]]:
        """For worker processes: a table of a file is opened again there."""
        if self.path is not None:
            return Table.open, (self.path.absolute(),)
        return Table, (self._data,)

    # What is there ------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Number N of positions."""
        return self._size

    def __iter__(self) -> Iterator[QueryResult]:
        """The record of every position, with `None` where nothing was measured."""
        return (self[n] for n in range(len(self)))

    def __getitem__(self, index: int) -> QueryResult:
        """Record of a position under the default data set, schedule and run."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"A position is between 0 and {len(self) - 1}. Got {index}.")
        return self.view().record(int(index) % len(self))

    @property
    def columns(self) -> Mapping[str, Column]:
        """Recorded columns by name, one value for each *recorded* cell."""
        return self._data.columns

    @property
    def recorded(self) -> np.ndarray:
        """Positions of the recorded cells, `[M]`, ascending."""
        return np.arange(len(self)) if self._data.rows is None else self._data.rows

    @property
    def measures(self) -> Mapping[str, Measure]:
        """What each column measures, by the name of the column."""
        return self._data.measures

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of what is recorded."""
        return tuple(dict.fromkeys(m.metric for m in self.measures.values()))

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets."""
        return tuple(dict.fromkeys(m.dataset for m in self.measures.values() if m.dataset))

    @property
    def cells(self) -> CellArray:
        """The cells of all positions."""
        return self.space.enumerate() if self._data.cells is None else self._data.cells

    @property
    def reduction_cells(self) -> CellArray | None:
        """The reduction cells of all positions, where a record is of a DARTS genotype."""
        return self._data.reduction_cells

    @cached_property
    def measured(self) -> np.ndarray:
        """Which positions have a figure under the default data set, schedule and run, `[N]`."""
        return self.view().measured

    @cached_property
    def classes(self) -> np.ndarray:
        """First position that is the same to a search as each position, `[N]`."""
        if self._data.rows is not None:
            return self.space.topology_classes()
        _, first, inverse = np.unique(self._keys, return_index=True, return_inverse=True)
        return first[inverse]

    # Which cell ---------------------------------------------------------------------------------

    def index(self, cell: CellLike) -> int:
        """Position of a cell.

        Args:
            cell: A cell in any node order, its official notation or hash, an index, or a genotype
                where the table is of genotypes.

        Raises:
            CellError: It is not legal, or no index of this table.
            UnmeasuredError: It is legal and not in this table.
        """
        if type(cell) is int and 0 <= cell < self._size:  # the hot path
            return cell
        if isinstance(cell, (int, np.integer)) and not isinstance(cell, bool):
            if not 0 <= cell < self._size:
                raise CellError(
                    f"An index of {self.info.title} is between 0 and {len(self) - 1}. Got {cell}."
                )
            return int(cell)
        if isinstance(cell, str):
            return self._index_of_text(cell)
        if self._data.cells is None:
            if not isinstance(cell, Cell):
                raise CellError(
                    f"A cell of {self.info.title} is a Cell, its notation or its index. "
                    f"Got {_shown(cell)}."
                )
            try:
                return self.space.index(cell)
            except CellError:
                return self.space.index(self.space.canonical(cell))
        return self._index_by_key(cell)

    def index_array(self, cells: CellArray | np.ndarray | Iterable[CellLike]) -> np.ndarray:
        """Positions of many cells, `[Q]` of int64.

        Raises:
            CellError: A cell is not legal, or no index of this table.
            UnmeasuredError: One is legal and not in this table.
        """
        if isinstance(cells, CellArray):
            self.space.check_columns(cells)
            if self._data.cells is None:
                found = self.space.index_array(cells)
            elif self._data.reduction_cells is None:
                found = self._positions(cells, None)
            else:
                raise CellError(f"A record of {self.info.title} is of a genotype, not of a cell.")
            if (found < 0).any():
                row = int(found.argmin())
                self.space.validate_array(cells[row : row + 1])
                raise UnmeasuredError(f"Row {row} is not in {self.info.title}: {cells[row]}.")
            return found
        if not (isinstance(cells, np.ndarray) and cells.dtype.kind in "iu"):
            if isinstance(cells, (str, Cell, Genotype)):
                cells = [cells]
            return np.fromiter((self.index(cell) for cell in cells), np.int64)
        cells = np.atleast_1d(cells)
        low, high = cells.min(initial=0), cells.max(initial=0)
        if low < 0 or high >= len(self):
            raise CellError(
                f"An index of {self.info.title} is between 0 and {len(self) - 1}. "
                f"Got {low if low < 0 else high}."
            )
        return cells.astype(np.int64, copy=False)

    def _index_of_text(self, text: str) -> int:
        text = text.strip()
        if text.isascii() and text.isdecimal() and len(text) < 12:
            return self.index(int(text))
        if self._data.reduction_cells is not None:
            return self.index(Genotype.parse(text))
        return self.index(self.space.parse(text))

    def _index_by_key(self, cell: CellLike) -> int:
        pair = (cell.normal, cell.reduce) if isinstance(cell, Genotype) else (cell,)
        wanted = 1 if self._data.reduction_cells is None else 2
        if len(pair) != wanted or not all(isinstance(part, Cell) for part in pair):
            kind = "Cell" if wanted == 1 else "Genotype"
            raise CellError(f"A record of {self.info.title} is of a {kind}. Got {_shown(cell)}.")
        packed = [self.space.pack([self.space.validate(part)]) for part in pair]  # type: ignore[arg-type]
        found = int(self._positions(packed[0], packed[1] if wanted == 2 else None)[0])
        if found < 0:
            raise UnmeasuredError(
                f"{self.info.title} holds {len(self):,} cells of {self.space.title}, and not "
                f"{_shown(cell)}."
            )
        return found

    @cached_property
    def _keys(self) -> np.ndarray:
        """Keys of the records of a space that is not enumerated, `[N]`; see `keys_of`."""
        assert self._data.cells is not None
        return keys_of(self._data.cells, self._data.reduction_cells)

    @cached_property
    def _key_order(self) -> np.ndarray:
        return np.argsort(self._keys, kind="stable")

    def _positions(self, cells: CellArray, reduction: CellArray | None) -> np.ndarray:
        """Records of cells or pairs, `[Q]`; -1 where there is none."""
        order, wanted = self._key_order, keys_of(cells, reduction)
        found = np.full(len(wanted), -1, np.int64)
        if not len(order):
            return found
        place = np.searchsorted(self._keys, wanted, sorter=order).clip(max=len(order) - 1)
        ours = (self._data.cells, self._data.reduction_cells)
        for query in np.flatnonzero(self._keys[order[place]] == wanted).tolist():
            record = int(order[place[query]])
            if same_record(ours, record, (cells, reduction), query):
                found[query] = record
        return found

    # What it scored -----------------------------------------------------------------------------

    def query(
        self,
        cell: CellLike,
        *,
        dataset: str | None = None,
        epochs: int | None = None,
        seed: int | str | None = None,
        at_epoch: int | None = None,
    ) -> QueryResult:
        """Everything that is recorded of one cell.

        Args:
            cell: See `index`.
            dataset: Data set; by default the table's.
            epochs: Length of the training schedule; by default the table's.
            seed: A recorded run, or `"mean"` or `"max"` over them; by default the table's.
            at_epoch: Figures after that epoch of the schedule; by default the last.

        Raises:
            CellError: The cell is not legal here.
            UnmeasuredError: The cell was not measured, or the table has no such data set, schedule,
                run or epoch.

        Example:
            >>> from archrep.tables import open_table
            >>> round(open_table("digits").query(6111, seed=0).valid_accuracy, 3)
            0.987
        """
        index = self.index(cell)
        if dataset is None and epochs is None and seed is None and at_epoch is None:
            view = self._default_view
        else:
            view = self.view(dataset=dataset, epochs=epochs, seed=seed, at_epoch=at_epoch)
        result = view.record(index)
        if result.valid_accuracy is None and not view.measured[index]:
            raise self.unmeasured(index)
        return result

    def query_array(
        self,
        cells: CellArray | np.ndarray | Iterable[CellLike],
        *,
        dataset: str | None = None,
        epochs: int | None = None,
        seed: int | str | None = None,
        at_epoch: int | None = None,
        metrics: Iterable[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """`query` for many cells: arrays `[Q]` by metric, NaN where nothing was measured.

        Args:
            cells: Indices `[Q]`, a `CellArray`, or cells, notations and hashes.
            dataset: See `query`.
            epochs: See `query`.
            seed: See `query`.
            at_epoch: See `query`.
            metrics: The metrics wanted; by default all that the setting has.

        Raises:
            CellError: A cell is not legal here.
            UnmeasuredError: The table has no such metric, data set, schedule, run or epoch, or a
                cell is not among its positions.
        """
        index = self.index_array(cells)
        view = self.view(dataset=dataset, epochs=epochs, seed=seed, at_epoch=at_epoch)
        if isinstance(metrics, str):
            metrics = (metrics,)
        names = view.metrics if metrics is None else tuple(metrics)
        return {name: view.array(name).take(index) for name in names}

    def column(
        self,
        metric: str,
        *,
        dataset: str | None = None,
        epochs: int | None = None,
        seed: int | str | None = None,
        at_epoch: int | None = None,
    ) -> np.ndarray:
        """One metric of all positions, `[N]`, read-only; NaN where it was not measured.

        Raises:
            UnmeasuredError: The table has no such metric, data set, schedule, run or epoch.
        """
        return self.view(dataset=dataset, epochs=epochs, seed=seed, at_epoch=at_epoch).array(metric)

    def runs(
        self, metric: str, *, dataset: str | None = None, epochs: int | None = None
    ) -> dict[int, np.ndarray]:
        """One metric of each recorded run, `[N]` by seed; empty if runs are not told apart."""
        dataset, epochs = self.setting(dataset, epochs)
        seeds = sorted(
            m.seed
            for m in self.measures.values()
            if isinstance(m.seed, int)
            and (m.metric, m.dataset, m.epochs) == (metric, dataset, epochs)
            and m.at_epoch is None
        )
        return {
            seed: self.column(metric, dataset=dataset, epochs=epochs, seed=seed) for seed in seeds
        }

    def view(
        self,
        *,
        dataset: str | None = None,
        epochs: int | None = None,
        seed: int | str | None = None,
        at_epoch: int | None = None,
    ) -> View:
        """The columns of one setting, kept for the next query with it."""
        dataset, epochs = self.setting(dataset, epochs)
        run: int | str = self.info.seed
        if seed is not None:
            run = seed if isinstance(seed, str) else whole_number("seed", seed) or 0
        at_epoch = whole_number("at_epoch", at_epoch)
        if at_epoch is not None and not 1 <= at_epoch <= (epochs or at_epoch):
            raise UnmeasuredError(
                f"A training of {self.info.title} has epochs 1..{epochs or ''}. "
                f"Got at_epoch={at_epoch}."
            )
        setting = Setting(dataset, epochs, run, at_epoch)
        if setting not in self._views:
            self._views[setting] = View(self, setting)
        return self._views[setting]

    @cached_property
    def _default_view(self) -> View:
        return self.view()

    def setting(self, dataset: str | None, epochs: int | None) -> tuple[str | None, int | None]:
        """Data set and schedule of a query, defaults filled in.

        Raises:
            UnmeasuredError: The table has none such.
        """
        named = self.info.dataset if dataset is None else dataset
        if named is not None:
            spellings = {known.lower(): known for known in self.datasets}
            if not isinstance(named, str) or named.lower() not in spellings:
                known = ", ".join(self.datasets) or "none to choose"
                raise UnmeasuredError(
                    f"Data sets of {self.info.title} are: {known}. Got dataset={dataset!r}."
                )
            named = spellings[named.lower()]
        epochs = whole_number("epochs", epochs)
        if epochs is None:
            return named, self.info.epochs
        schedules = {m.epochs for m in self.measures.values() if m.epochs is not None}
        if epochs not in schedules:
            raise UnmeasuredError(
                f"Schedules of {self.info.title} have {listed(schedules)} epochs. "
                f"Got epochs={epochs!r}."
            )
        return named, epochs

    def unmeasured(self, index: int) -> UnmeasuredError:
        """The error for a position without a record."""
        count = int(self.measured.sum())
        return UnmeasuredError(
            f"Cell {index} of {self.info.title} was not measured: this table has figures of "
            f"{count:,} of {len(self):,} cells. `table.measured` says which."
        )

    # All of it ----------------------------------------------------------------------------------

    def optimum(
        self,
        *,
        dataset: str | None = None,
        epochs: int | None = None,
        seed: int | str | None = None,
    ) -> Optimum:
        """Best validation, best test, and the test of the best by validation, of what is recorded.

        Raises:
            UnmeasuredError: The table has no validation accuracy in this setting.
        """
        view = self.view(dataset=dataset, epochs=epochs, seed=seed)
        best = _best(view.array("valid_accuracy"))
        if "test_accuracy" not in view.metrics:
            return Optimum(best, None, None)
        test = view.array("test_accuracy")
        final = float(test[best.indices[0]])
        return Optimum(best, _best(test), None if np.isnan(final) else final)

    def to_pandas(self) -> pandas.DataFrame:
        """All recorded columns, one row a recorded cell, indexed by position.

        Learning curves hold one array a row.

        Raises:
            TableError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise TableError("`to_pandas` needs pandas: pip install pandas.") from None
        columns = {
            name: list(c.values) if c.values.ndim == 2 else c.values
            for name, c in self.columns.items()
        }
        return pandas.DataFrame(columns, index=pandas.Index(self.recorded, name="index"))

    def paid(
        self,
        *,
        protocol: str = "mean",
        dataset: str | None = None,
        epochs: int | None = None,
        seed: int = 0,
        max_queries: int | None = None,
        max_seconds: float | None = None,
        charge_repeats: bool = False,
    ) -> PaidTable:
        """The same table as a search sees it: validation only, and every query is paid for.

        See `archrep.tables.paid.PaidTable`.
        """
        from archrep.tables.paid import PaidTable

        return PaidTable(
            self,
            protocol=protocol,
            dataset=dataset,
            epochs=epochs,
            seed=seed,
            max_queries=max_queries,
            max_seconds=max_seconds,
            charge_repeats=charge_repeats,
        )

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.info.title}: {len(self._data):,} of {len(self):,} cells "
            f"recorded, {', '.join(self.metrics)}>"
        )

    @cached_property
    def _record_of(self) -> np.ndarray | None:
        """Record of each position, `[N]`, -1 where there is none; `None` if position is record."""
        rows = self._data.rows
        if rows is None or len(rows) == len(self):
            return None
        record = np.full(len(self), -1, np.int32)
        if not self.info.by_class:
            record[rows] = np.arange(len(rows))
            return record
        classes = self.space.topology_classes()
        record[classes[rows]] = np.arange(len(rows))
        return record[classes]

    def expand(self, values: np.ndarray) -> np.ndarray:
        """Values of the records `[M]` as values of all positions, `[N]`, read-only.

        Where only some positions have a record, whole numbers become floats and the rest NaN.
        """
        if self._record_of is None:
            values = values.view()
        elif (self._record_of >= 0).all():
            values = values[self._record_of]
        elif not len(values):
            values = np.full(len(self), np.nan)
        else:
            values = np.where(
                self._record_of >= 0, values.astype(np.float64)[self._record_of], np.nan
            )
        values.setflags(write=False)
        return values


def _best(values: np.ndarray) -> Best:
    if np.isnan(values).all():
        raise UnmeasuredError("No cell has a figure in this setting.")
    value = float(np.nanmax(values))
    # Means of the same counts may differ in the last bit by the order of summation.
    ties = np.flatnonzero(values >= value - 1e-12)
    return Best(value, tuple(ties.tolist()))


def _shown(cell: object) -> str:
    text = cell.format() if isinstance(cell, Genotype) else repr(cell)
    return text if len(text) <= 200 else text[:197] + "..."

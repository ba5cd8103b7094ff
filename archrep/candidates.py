"""What a search may propose: cells, which of them count as one, their vectors and neighbours.

A strategy knows cells by their row here; only `search.run` translates rows into queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from archrep.cells.array import CellArray
from archrep.cells.space import Space
from archrep.errors import ConfigError, ShapeError, SpaceError

if TYPE_CHECKING:
    from archrep.tables.base import Table


@dataclass(frozen=True, eq=False)
class Candidates:
    """N cells of a search space.

    Attributes:
        space: The search space.
        cells: The cells, one a row.
        positions: Position of each in the table, `[N]`; what a query is made of. `None` for cells
            of a space that is not enumerated, which are queried by themselves.
        classes: First row that counts as the same cell, `[N]`.
        features: What a model sees of each cell, `[N, D]` of float32; `None` if nothing.
        encoding: What the features are, in a word.
    """

    space: Space
    cells: CellArray
    positions: np.ndarray | None
    classes: np.ndarray
    features: np.ndarray | None = None
    encoding: str = "none"

    def __post_init__(self) -> None:
        if not len(self.cells):
            raise ConfigError("A search needs at least one cell to propose. Got none.")
        if self.features is not None and (
            self.features.ndim != 2 or len(self.features) != len(self.cells)
        ):
            raise ShapeError(
                f"`features` must be [{len(self.cells)}, D], one row a cell. "
                f"Got {self.features.shape}."
            )

    @classmethod
    def of_table(
        cls, table: Table, *, dataset: str | None = None, epochs: Iterable[int | None] = (None,)
    ) -> Candidates:
        """The cells of a table that are measured in all of some schedules.

        Args:
            table: A table whose space is enumerated.
            dataset: Data set; by default the table's.
            epochs: Schedules; `None` is the table's.

        Raises:
            UnmeasuredError: The table has no validation accuracy in this setting.
            SpaceError: The table is of a space that is not enumerated.
        """
        if table.space.size is None:
            raise SpaceError(
                f"{table.info.title} records cells of {table.space.title}, which is not "
                "enumerated. Search its surrogate over an embeddings file instead."
            )
        measured = np.ones(len(table), bool)
        for schedule in epochs:
            measured &= ~np.isnan(table.column("valid_accuracy", dataset=dataset, epochs=schedule))
        positions = np.flatnonzero(measured)
        _, first, inverse = np.unique(
            table.classes[positions], return_index=True, return_inverse=True
        )
        return cls(table.space, table.cells[positions], positions, first[inverse])

    @classmethod
    def of_space(cls, space: Space, *, sample: int = 20_000, seed: int = 0) -> Candidates:
        """All cells of an enumerated space, or distinct ones drawn from another.

        Args:
            space: The search space.
            sample: Cells drawn from a space that is not enumerated, before duplicates go.
            seed: Of that sample.

        Example:
            >>> from archrep.cells import get_space
            >>> len(Candidates.of_space(get_space("nasbench201")))
            15625
        """
        if space.size is not None:
            cells = space.enumerate()
            return cls(space, cells, np.arange(len(cells)), space.topology_classes())
        cells = space.sample_array(sample, seed)
        _, first = np.unique(cells.colour_hash(), return_index=True)
        return cls.of_cells(space, cells[np.sort(first)])

    @classmethod
    def of_cells(cls, space: Space, cells: CellArray) -> Candidates:
        """Distinct cells that are queried by themselves, such as a sample of the DARTS space."""
        return cls(space, cells, None, np.arange(len(cells)))

    def with_features(self, features: np.ndarray, encoding: str) -> Candidates:
        """The same cells with other vectors, `[N, D]`."""
        vectors = np.ascontiguousarray(features, np.float32)
        if not np.isfinite(vectors).all():
            raise ShapeError("`features` must be finite. Got a NaN or an infinity.")
        return replace(self, features=vectors, encoding=encoding)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def vectors(self) -> np.ndarray:
        """`features`, for strategies that cannot do without.

        Raises:
            ConfigError: There are none.
        """
        if self.features is None:
            raise ConfigError("This strategy needs an encoding of the cells. Got none.")
        return self.features

    @cached_property
    def members(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows sorted by class, `[N]`, and where each class begins and the last ends, by class.

        Class c has `rows[starts[c] : starts[c + 1]]`; a row that is no class has none.
        """
        order = np.argsort(self.classes, kind="stable")
        starts = np.searchsorted(self.classes[order], np.arange(len(self) + 1))
        return order, starts

    def same_as(self, row: int) -> np.ndarray:
        """All rows that count as the same cell."""
        order, starts = self.members
        label = self.classes[row]
        return order[starts[label] : starts[label + 1]]

    @cached_property
    def sha256(self) -> str:
        """What tells these candidates from others: cells, classes, and vectors that were loaded.

        Vectors that are computed here are left out: they may round differently elsewhere.
        """
        from archrep.encodings import RAW_ENCODINGS

        digest = hashlib.sha256(self.cells.colour_hash().tobytes())
        digest.update(self.classes.astype(np.int64).tobytes())
        digest.update(self.encoding.encode())
        if self.features is not None and self.encoding not in ("archrep", *RAW_ENCODINGS):
            digest.update(self.features.tobytes())
        return digest.hexdigest()

    # Neighbours -----------------------------------------------------------------------------

    def neighbours(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows of the neighbours of some cells, ascending, one array a cell; kept once known.

        A neighbour is one elementary change away (`Space.neighbours`). Where less than half of a
        space may be proposed, cells two changes away are neighbours as well: of NAS-Bench-101 cells
        of which one in twenty is measured, most have no measured neighbour one change away.

        Raises:
            SpaceError: The space is not enumerated.
        """
        if self.space.size is None or self.positions is None:
            raise SpaceError(
                f"Neighbours are known among the cells of an enumerated space. {self.space.title} "
                "is not; use a strategy that works on embeddings."
            )
        if len(self) < self.space.size / 2:
            rows_of, ends = self._near
            return [rows_of[ends[row] : ends[row + 1]] for row in rows]
        wanted = [int(row) for row in rows if int(row) not in self._known]
        if wanted:
            found, ends = self.space.neighbour_rows(self.positions[wanted])
            for n, row in enumerate(wanted):
                near = self._row_of_position[found[ends[n] : ends[n + 1]]]
                self._known[row] = near[near >= 0]
        return [self._known[int(row)] for row in rows]

    @cached_property
    def _known(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def _row_of_position(self) -> np.ndarray:
        """Row of each cell of the space, `[S]`; -1 for those that may not be proposed."""
        assert self.space.size is not None
        rows = np.full(self.space.size, -1)
        rows[self.positions] = np.arange(len(self))
        return rows

    @cached_property
    def _near(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows one or two changes away from every row, and where those of each begin."""
        from scipy.sparse import csr_array

        assert self.positions is not None
        found, ends = self.space.neighbour_rows(self.positions)
        step = csr_array(
            (np.ones(len(found), np.int32), found, ends), shape=(len(self), self.space.size)
        )
        near = step @ step.T  # two changes: a common neighbour
        near = (near + step[:, self.positions]).tocsr()
        near.setdiag(0)
        near.eliminate_zeros()
        near.sort_indices()
        return near.indices.astype(np.int64), near.indptr

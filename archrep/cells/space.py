"""The interface of a search space: which cells are legal, and how to write, list and vary them.

A new space is one file with one subclass; everything else (embedding, search, maps) follows.
No torch in here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from archrep.cells.array import CellArray
from archrep.cells.cell import Cell
from archrep.errors import CellError, SpaceError

_PATIENCE = 1_000_000  # draws without a new cell


class Space(ABC):
    """A set of legal cells over one vocabulary of operations.

    Attributes:
        name: What users type, such as `"nasbench101"`.
        title: What papers print, such as `"NAS-Bench-101"`.
        ops: All operation labels, inputs and outputs included; codes are positions in it.
        max_nodes: Nodes V of the largest cell; smaller ones are padded behind the last node.
        size: Number of distinct cells, or `None` where they are sampled rather than enumerated.
        default_sample: Cells a run draws from a space that is too large to enumerate.
        decisions: Options of each of the independent choices that a cell can be written as; empty
            where it cannot. See `rows_of_decisions`.
    """

    name: str
    title: str
    ops: tuple[str, ...]
    max_nodes: int
    size: int | None = None
    default_sample: int = 100_000
    decisions: tuple[int, ...] = ()

    # What a new space must say ---------------------------------------------------------------

    @abstractmethod
    def problems(self, cell: Cell) -> list[str]:
        """Everything that makes `cell` illegal as it stands, in words; empty for a legal cell."""

    @abstractmethod
    def parse(self, text: str) -> Cell:
        """Legal cell of its official notation.

        Raises:
            NotationError: The text is not of the notation.
            CellError: The cell is not legal.
        """

    @abstractmethod
    def format(self, cell: Cell) -> str:
        """Official notation of a legal cell; `parse` reads it back."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Cell:
        """One random legal cell."""

    @abstractmethod
    def neighbours(self, cell: Cell) -> list[Cell]:
        """All distinct legal cells one elementary change away, `cell` itself excluded."""

    # What follows from it; a space overrides where it knows something faster -------------------

    def validate(self, cell: Cell) -> Cell:
        """`cell` itself if it is legal.

        Raises:
            CellError: It is not; the message lists every reason.
        """
        if problems := self.problems(cell):
            raise CellError(f"Not a legal {self.title} cell: " + " ".join(problems))
        return cell

    def is_legal(self, cell: Cell) -> bool:
        """Whether `cell` belongs to this space as it stands."""
        return not self.problems(cell)

    def legal(self, cells: CellArray) -> np.ndarray:
        """`is_legal` of many cells, `[N]` of bool.

        Raises:
            CellError: The columns are those of another space.
        """
        self.check_columns(cells)
        return np.array([not self._row_problems(cells, n) for n in range(len(cells))], bool)

    def validate_array(self, cells: CellArray) -> CellArray:
        """`cells` itself if every row is legal.

        Raises:
            CellError: One is not; the message lists every reason of the first.
        """
        legal = self.legal(cells)
        if not legal.all():
            n = int(np.argmin(legal))
            raise CellError(
                f"Row {n} is not a legal {self.title} cell: "
                + " ".join(self._row_problems(cells, n))
            )
        return cells

    def check_columns(self, cells: CellArray) -> None:
        """Refuse an array that was packed for another space, whose codes mean something else."""
        if cells.vocabulary != tuple(self.ops) or cells.max_nodes != self.max_nodes:
            raise CellError(
                f"An array of {self.title} cells has {self.max_nodes} node slots and operations "
                f"{self.ops}. Got {cells.max_nodes} slots and {cells.vocabulary}."
            )

    def _row_problems(self, cells: CellArray, n: int) -> list[str]:
        try:
            cell = cells[n]
        except CellError as error:
            return [str(error)]
        packed = self.pack([cell])
        if (packed.ops[0] != cells.ops[n]).any() or packed.adjacency_bits[0] != (
            cells.adjacency_bits[n]
        ):
            return ["Unused slots must stand behind its nodes, and no edge may touch them."]
        return self.problems(cell)

    def enumerate(self) -> CellArray:
        """Every cell of the space once, in the space's order.

        Raises:
            SpaceError: The space is too large; use `sample_array` or `stream`.
        """
        raise SpaceError(
            f"{self.title} is too large to enumerate. Draw cells with `sample_array(count, seed)` "
            "or `stream(count, seed)`."
        )

    def stream(self, count: int, seed: int = 0, chunk: int = 65_536) -> Iterator[CellArray]:
        """`count` distinct random cells, at most `chunk` at a time; a seed always gives the same.

        Raises:
            SpaceError: There are not so many.
        """
        check_request(count, chunk)
        rng = np.random.default_rng(seed)
        seen: set[int] = set()
        misses = 0
        while len(seen) < count:
            wanted = min(chunk, max(count - len(seen), 1_000))
            cells = [self.sample(rng) for _ in range(wanted)]
            packed = self.canonical_array(self.pack(cells))
            fresh = []
            for n, key in enumerate(packed.colour_hash().tolist()):
                if key not in seen and len(seen) < count:
                    seen.add(key)
                    fresh.append(n)
            misses = 0 if fresh else misses + len(cells)
            if misses >= _PATIENCE:
                raise SpaceError(
                    f"Expected {count} distinct cells of {self.title}; {_PATIENCE:,} draws gave no "
                    f"new one beyond {len(seen)}. Ask for fewer."
                )
            if fresh:
                yield packed[np.array(fresh)]

    def sample_array(self, count: int, seed: int = 0) -> CellArray:
        """`count` distinct random cells; see `stream`."""
        return CellArray.concatenate([self.pack([]), *self.stream(count, seed)])

    def canonical(self, cell: Cell) -> Cell:
        """The way this space writes `cell`; isomorphic cells give the same."""
        return cell.canonical

    def canonical_array(self, cells: CellArray) -> CellArray:
        """`canonical` of many legal cells.

        Raises:
            CellError: A row is not legal.
        """
        return self.pack([self.canonical(cell) for cell in self.validate_array(cells)])

    def pack(self, cells: list[Cell]) -> CellArray:
        """Cells as columns; node order is kept."""
        return CellArray.from_cells(cells, self.ops, self.max_nodes)

    def mutate(self, cell: Cell, rng: np.random.Generator) -> Cell:
        """A uniformly drawn neighbour."""
        neighbours = self.neighbours(cell)
        return neighbours[rng.integers(len(neighbours))]

    def walk(self, steps: int, rng: np.random.Generator) -> list[Cell]:
        """Random walk over neighbours: `steps` + 1 cells from a random start."""
        cells = [self.sample(rng)]
        for _ in range(steps):
            cells.append(self.mutate(cells[-1], rng))
        return cells

    @cached_property
    def _row_of_hash(self) -> tuple[np.ndarray, np.ndarray]:
        hashes = self.enumerate().colour_hash()
        order = np.argsort(hashes)
        if (hashes[order[1:]] == hashes[order[:-1]]).any():
            raise SpaceError(f"Two cells of {self.title} are isomorphic or share their hash.")
        return hashes[order], order

    def index_array(self, cells: CellArray) -> np.ndarray:
        """Position of each cell (in any node order) in `enumerate()`, `[N]`; -1 if absent."""
        self.check_columns(cells)
        hashes, rows = self._row_of_hash
        wanted = cells.colour_hash()
        place = np.searchsorted(hashes, wanted).clip(max=len(hashes) - 1)
        return np.where(hashes[place] == wanted, rows[place], -1)

    def index(self, cell: Cell) -> int:
        """Position of a legal cell in `enumerate()`, whichever way it is written.

        Raises:
            CellError: The cell is not legal here.
            SpaceError: The space is not enumerated.
        """
        self.validate(cell)
        return int(self.index_array(self.pack([cell]))[0])

    def neighbour_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`neighbours` of many cells of `enumerate`, as rows of it.

        Args:
            rows: Cells, `[Q]`.

        Returns:
            The neighbours of all of them, one cell after the other, `[M]`, ascending for each; and
            where those of each begin and the last end, `[Q + 1]`.
        """
        cells = self.enumerate()
        found = [
            np.unique(self.index_array(self.pack(self.neighbours(cells[int(row)])))) for row in rows
        ]
        ends = np.cumsum([0, *map(len, found)])
        return np.concatenate([np.zeros(0, np.int64), *found]), ends

    def rows_of_decisions(self, choices: np.ndarray) -> np.ndarray:
        """Rows of `enumerate` that independent choices lead to, `[M]`; -1 for what is no cell.

        Args:
            choices: Option taken at each of the K `decisions`, from 0, `[M, K]`.

        Raises:
            SpaceError: Cells of this space are not written as independent choices.
            CellError: These are not K choices each, or an option does not exist.
        """
        raise SpaceError(f"Cells of {self.title} are not written as independent choices.")

    def decisions_of_rows(self, rows: np.ndarray) -> np.ndarray:
        """Choices `[M, K]` that `rows_of_decisions` takes to these rows of `enumerate`, `[M]`.

        Raises:
            SpaceError: Cells of this space are not written as independent choices.
        """
        raise SpaceError(f"Cells of {self.title} are not written as independent choices.")

    def _checked_choices(self, choices: np.ndarray) -> np.ndarray:
        """`choices` as int64.

        Raises:
            CellError: They do not fit `decisions`.
        """
        choices = np.asarray(choices)
        options = np.array(self.decisions)
        if choices.ndim != 2 or choices.shape[1] != len(options):
            raise CellError(
                f"A {self.title} cell is {len(options)} choices, `[M, {len(options)}]`. "
                f"Got {choices.shape}."
            )
        choices = choices.astype(np.int64)
        if ((choices < 0) | (choices >= options)).any():
            row, k = np.argwhere((choices < 0) | (choices >= options))[0]
            raise CellError(
                f"Choice {k} of a {self.title} cell has options 0..{options[k] - 1}. "
                f"Got {choices[row, k]}."
            )
        return choices

    def topology_classes(self) -> np.ndarray:
        """First cell that computes the same as each cell, `[size]`; each its own, unless known.

        Searches count a cell and the others of its class as one.
        """
        return np.arange(len(self.enumerate()))

    def _listed(self, text: str) -> Cell | None:
        """Cell of an index in decimal digits; `None` for any other text."""
        if not (text.isascii() and text.isdecimal()):
            return None
        cells, digits = self.enumerate(), text.lstrip("0") or "0"
        # Lengths first: Python refuses to read numbers of thousands of digits.
        if len(digits) > len(str(len(cells))) or int(digits) >= len(cells):
            raise CellError(f"An index is between 0 and {len(cells) - 1}. Got {text[:80]}.")
        return cells[int(digits)]

    def __repr__(self) -> str:
        size = "sampled" if self.size is None else f"{self.size:,} cells"
        return f"<{type(self).__name__} {self.title}: {size}>"


def check_request(count: int, chunk: int) -> None:
    """Refuse a stream of a negative number of cells, or in empty chunks."""
    if count < 0 or chunk < 1:
        raise SpaceError(f"`count` must be at least 0 and `chunk` 1. Got {count} and {chunk}.")


def stream_enumerated(space: Space, count: int, seed: int, chunk: int) -> Iterator[CellArray]:
    """Draw without repetition from a space that is listed anyway."""
    check_request(count, chunk)
    cells = space.enumerate()
    if count > len(cells):
        raise SpaceError(f"{space.title} has {len(cells)} cells. Got a request for {count}.")
    order = np.random.default_rng(seed).permutation(len(cells))[:count]
    for start in range(0, count, chunk):
        yield cells[order[start : start + chunk]]

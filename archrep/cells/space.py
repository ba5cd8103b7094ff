"""The interface of a search space: which cells are legal, and how to write, list and vary them.

A new space is one file with one subclass; everything else (embedding, search, maps) follows.
No torch in here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from archrep.cells.array import PAD, CellArray
from archrep.cells.cell import Cell
from archrep.errors import CellError, SpaceError


class Space(ABC):
    """A set of legal cells over one vocabulary of operations.

    Attributes:
        name: What users type, such as `"nasbench101"`.
        title: What papers print, such as `"NAS-Bench-101"`.
        ops: All operation labels, inputs and outputs included; codes are positions in it.
        max_nodes: Nodes V of the largest cell; smaller ones are padded behind the last node.
        size: Number of distinct cells, or `None` where they are sampled rather than enumerated.
        default_sample: Cells a run draws from a space that is too large to enumerate.
    """

    name: str
    title: str
    ops: tuple[str, ...]
    max_nodes: int
    size: int | None = None
    default_sample: int = 100_000

    # What a new space must say ---------------------------------------------------------------

    @abstractmethod
    def problems(self, cell: Cell) -> list[str]:
        """Everything that makes `cell` illegal as it stands, in words; empty for a legal cell."""

    @abstractmethod
    def parse(self, text: str) -> Cell:
        """Legal cell of its official notation.

        Raises:
            CellError: The text is not of the notation, or the cell is not legal.
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
        """`is_legal` of many cells, `[N]` of bool."""
        return np.array([self._row_is_legal(cells, n) for n in range(len(cells))], bool)

    def _row_is_legal(self, cells: CellArray, n: int) -> bool:
        used = int((cells.ops[n] != PAD).sum())
        if (cells.ops[n, :used] == PAD).any() or int(cells.adjacency_bits[n]) >> (
            used * (used - 1) // 2
        ):
            return False  # a hole between nodes, or an edge of an unused slot
        return self.is_legal(cells[n])

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
        """`count` distinct random cells in chunks; the same seed gives the same cells."""
        rng = np.random.default_rng(seed)
        seen: set[int] = set()
        misses = 0
        while len(seen) < count:
            cells: list[Cell] = []
            while len(cells) < min(chunk, count - len(seen)) and misses < 1_000_000:
                cells.append(self.sample(rng))
            packed = self.canonical_array(self.pack(cells))
            fresh = []
            for n, key in enumerate(packed.colour_hash().tolist()):
                if key in seen:
                    misses += 1
                else:
                    seen.add(key)
                    fresh.append(n)
            if misses >= 1_000_000:
                raise SpaceError(
                    f"Expected {count} distinct cells of {self.title}; a million draws gave no new "
                    f"one beyond {len(seen)}. Ask for fewer."
                )
            if fresh:
                yield packed[np.array(fresh)]

    def sample_array(self, count: int, seed: int = 0) -> CellArray:
        """`count` distinct random cells; see `stream`."""
        return CellArray.concatenate(list(self.stream(count, seed)))

    def canonical(self, cell: Cell) -> Cell:
        """The way this space writes `cell`; isomorphic cells give the same."""
        return cell.canonical

    def canonical_array(self, cells: CellArray) -> CellArray:
        """`canonical` of many legal cells."""
        return self.pack([self.canonical(cell) for cell in cells])

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
        if (np.diff(hashes[order].astype(np.float64)) == 0).any() and len(np.unique(hashes)) != len(
            hashes
        ):
            raise SpaceError(f"Two cells of {self.title} are isomorphic or share their hash.")
        return hashes[order], order

    def index_array(self, cells: CellArray) -> np.ndarray:
        """Position of each cell (in any node order) in `enumerate()`, `[N]`; -1 if absent."""
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

    def identifier(self, row: int, cell: Cell) -> str:
        """Text that names a cell in files: its official notation unless a space has shorter."""
        return self.format(cell)

    def __repr__(self) -> str:
        size = "sampled" if self.size is None else f"{self.size:,} cells"
        return f"<{type(self).__name__} {self.title}: {size}>"


def stream_enumerated(space: Space, count: int, seed: int, chunk: int) -> Iterator[CellArray]:
    """Draw without repetition from a space that is listed anyway."""
    cells = space.enumerate()
    if count > len(cells):
        raise CellError(f"{space.title} has {len(cells)} cells. Got a request for {count}.")
    order = np.random.default_rng(seed).permutation(len(cells))[:count]
    for start in range(0, count, chunk):
        yield cells[order[start : start + chunk]]

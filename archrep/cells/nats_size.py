"""NATS-Bench size space (Dong et al., 2021): five layers of 8, 16, .. or 64 channels; 32,768 cells.

The candidates are whole networks: one fixed topology, whose five layers differ in width. As a
`Cell` a candidate is the chain input -> width of layer 1 -> ... -> width of layer 5 -> output, so
the whole content is in the operations. The official numbering counts up with the last width
fastest: 0 is 8:8:8:8:8, 1 is 8:8:8:8:16, 32767 is 64:64:64:64:64.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import numpy as np

from archrep.cells.array import CellArray, edge_bit
from archrep.cells.cell import Cell
from archrep.cells.space import Space, stream_enumerated
from archrep.errors import NotationError

WIDTHS = (8, 16, 24, 32, 40, 48, 56, 64)
"""Candidate numbers of channels, in the order of the official code."""

LAYERS = 5

EDGES = tuple((v, v + 1) for v in range(LAYERS + 1))
"""The six edges of the chain that every cell is."""

_EDGE_BITS = sum(1 << edge_bit(i, j) for i, j in EDGES)
_PLACES = len(WIDTHS) ** np.arange(LAYERS)[::-1]  # worth of each layer's choice in an index
_REDUCTION_LAYERS = (1, 3)  # halve the resolution; the other layers are cells


class NatsSize(Space):
    """The size space of NATS-Bench; `index` and `enumerate` follow the official numbering."""

    name = "nats-size"
    title = "NATS-Bench size"
    ops = ("input", *(f"width_{width}" for width in WIDTHS), "output")
    max_nodes = LAYERS + 2
    size = len(WIDTHS) ** LAYERS

    def problems(self, cell: Cell) -> list[str]:
        found = []
        if (
            len(cell) != self.max_nodes
            or cell.ops[:1] != ("input",)
            or cell.ops[-1:] != ("output",)
        ):
            found.append("It must have 7 nodes, 'input' first and 'output' last.")
        if wrong := sorted(set(cell.ops[1:-1]) - set(self.ops[1:-1])):
            found.append(f"Inner operations must be of {self.ops[1:-1]}; it has {wrong}.")
        if cell.edges != EDGES:
            found.append(f"Its edges must be {EDGES}; it has {cell.edges}.")
        return found

    def legal(self, cells: CellArray) -> np.ndarray:
        self.check_columns(cells)
        inner = cells.ops[:, 1:-1]
        return (
            (cells.ops[:, 0] == 0)
            & (cells.ops[:, -1] == len(self.ops) - 1)
            & ((inner >= 1) & (inner <= len(WIDTHS))).all(1)
            & (cells.adjacency_bits == np.uint64(_EDGE_BITS))
        )

    # Text -------------------------------------------------------------------------------------

    def parse(self, text: str) -> Cell:
        """Cell of the official notation or of an official index.

        Example:
            >>> NatsSize().parse("8:16:24:8:64").ops[1:4]
            ('width_8', 'width_16', 'width_24')
        """
        text = text.strip()
        if (listed := self._listed(text)) is not None:
            return listed
        ops = tuple(f"width_{width}" for width in text.split(":", LAYERS))
        if len(ops) != LAYERS or not all(op.removeprefix("width_").isdecimal() for op in ops):
            raise NotationError(
                f"A {self.title} cell is written as an official index or as five widths of "
                f"{WIDTHS}, such as 8:16:24:32:64. Got {text[:80]!r}."
            )
        return self.validate(Cell(("input", *ops, "output"), EDGES))

    def format(self, cell: Cell) -> str:
        return ":".join(op.removeprefix("width_") for op in self.validate(cell).ops[1:-1])

    # Listing ----------------------------------------------------------------------------------

    def enumerate(self) -> CellArray:
        """All 32,768 cells in official order."""
        return _all_cells()

    def index(self, cell: Cell) -> int:
        return int(self.index_array(self.pack([self.validate(cell)]))[0])

    def index_array(self, cells: CellArray) -> np.ndarray:
        """Official index of each cell, `[N]`; -1 if absent. A chain has one node order only."""
        choices = cells.ops[:, 1:-1].astype(np.int64) - 1
        return np.where(self.legal(cells), choices @ _PLACES[: choices.shape[1]], -1)

    def sample(self, rng: np.random.Generator) -> Cell:
        return self.enumerate()[int(rng.integers(self.size))]

    def stream(self, count: int, seed: int = 0, chunk: int = 65_536) -> Iterator[CellArray]:
        return stream_enumerated(self, count, seed, chunk)

    def canonical(self, cell: Cell) -> Cell:
        """The cell itself: a chain can be written in one way only."""
        return self.validate(cell)

    def canonical_array(self, cells: CellArray) -> CellArray:
        """The cells themselves.

        Raises:
            CellError: A row is not legal.
        """
        return self.validate_array(cells)

    # Moves ------------------------------------------------------------------------------------

    def neighbours(self, cell: Cell) -> list[Cell]:
        """The 35 cells that differ in the width of one layer."""
        self.validate(cell)
        return [
            Cell((*cell.ops[:v], op, *cell.ops[v + 1 :]), EDGES)
            for v in range(1, LAYERS + 1)
            for op in self.ops[1:-1]
            if op != cell.ops[v]
        ]

    # Cost -------------------------------------------------------------------------------------

    def params(self, cells: CellArray, classes: int = 10) -> np.ndarray:
        """Trainable parameters of the network that the benchmark trained, `[N]` of int64.

        A 3 x 3 convolution to the first width, the five layers and a classifier. Layers 2 and 4
        are residual blocks of two 3 x 3 convolutions and a 1 x 1 shortcut; the others are one
        NAS-Bench-201 cell with 3 x 3 convolutions on every edge but 3 <- 0, which is a skip (a
        1 x 1 convolution where the width changes). All convolutions have a batch norm, the
        shortcut of a residual block has none.

        Raises:
            CellError: A row is not legal.
        """
        widths = self._widths(cells)
        total = (27 + 2) * widths[:, 0]
        for layer, (c_in, c_out) in enumerate(_layers(widths)):
            total += _weights(layer, c_in, c_out)
            if layer in _REDUCTION_LAYERS:
                total += 2 * 2 * c_out
            else:
                total += 5 * 2 * c_out + (c_in != c_out) * 2 * c_out
        last = widths[:, -1]
        return total + 2 * last + last * classes + classes

    def macs(self, cells: CellArray, classes: int = 10, image_size: int = 32) -> np.ndarray:
        """Multiply-adds of one image as the benchmark counts them (its "FLOPs"), `[N]` of int64.

        Convolutions and the classifier with its bias; nothing for batch norms.

        Args:
            cells: Legal cells.
            classes: Outputs of the classifier: 10, 100, or 120 for ImageNet16-120.
            image_size: Input height and width in pixels, a multiple of 4; 16 for ImageNet16-120.

        Raises:
            CellError: A row is not legal.
        """
        widths = self._widths(cells)
        area = image_size**2
        total = 27 * widths[:, 0] * area
        for layer, (c_in, c_out) in enumerate(_layers(widths)):
            if layer in _REDUCTION_LAYERS:
                area //= 4
            total += _weights(layer, c_in, c_out) * area
        return total + widths[:, -1] * classes + classes

    def _widths(self, cells: CellArray) -> np.ndarray:
        """Channels of each layer, `[N, 5]` of int64."""
        return np.array((0, *WIDTHS, 0))[self.validate_array(cells).ops[:, 1:-1]]


def _layers(widths: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Channels that enter and leave each layer, `[N]` each."""
    return ((widths[:, max(k - 1, 0)], widths[:, k]) for k in range(LAYERS))


def _weights(layer: int, c_in: np.ndarray, c_out: np.ndarray) -> np.ndarray:
    """Weights of the convolutions of a layer, `[N]`."""
    if layer in _REDUCTION_LAYERS:
        return 9 * c_in * c_out + 9 * c_out * c_out + c_in * c_out
    return 18 * c_in * c_out + 27 * c_out * c_out + (c_in != c_out) * c_in * c_out


@functools.cache
def _all_cells() -> CellArray:
    ops = np.zeros((NatsSize.size, NatsSize.max_nodes), np.uint8)
    ops[:, 1:-1] = list(itertools.product(range(1, len(WIDTHS) + 1), repeat=LAYERS))
    ops[:, -1] = len(NatsSize.ops) - 1
    return CellArray(ops, np.full(NatsSize.size, _EDGE_BITS, np.uint64), NatsSize.ops)

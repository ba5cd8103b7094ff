"""NAS-Bench-201 (Dong and Yang, 2020): 4 nodes, 6 edges with one of 5 operations; 15,625 cells.

As a `Cell` the operations sit on nodes, as in arch2vec (Yan et al., 2020, Appendix A.2): node 0 is
the input, nodes 1..6 are the official edges 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2, node 7 the output.
Every cell has the same edges, so the whole content is in the operations.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from archrep.cells.array import CellArray, edge_bit
from archrep.cells.cell import Cell
from archrep.cells.space import Space, stream_enumerated
from archrep.errors import CellError, NotationError

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Candidate operations in the order of the official code."""

OFFICIAL_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Official feature-map edges (source, target), in the order of the architecture string."""

EDGES = tuple(
    [(0, 1 + k) for k, (source, _) in enumerate(OFFICIAL_EDGES) if source == 0]
    + [
        (1 + k, 1 + m)
        for k, (_, target) in enumerate(OFFICIAL_EDGES)
        for m, (source, _) in enumerate(OFFICIAL_EDGES)
        if source == target
    ]
    + [(1 + k, 7) for k, (_, target) in enumerate(OFFICIAL_EDGES) if target == 3]
)
"""The ten edges every cell has when operations are nodes."""

_EDGE_BITS = sum(1 << edge_bit(i, j) for i, j in EDGES)
_DIGIT_WORTH = 5 ** np.arange(5, -1, -1)
_DIGIT = {op: digit for digit, op in enumerate(OPERATIONS)}
_ORDER_FILE = Path(__file__).parent / "data" / "nasbench201_order.npy"
_SLOT = re.compile(r"([a-z0-9_]+)~([0-9])")


class NasBench201(Space):
    """The NAS-Bench-201 space; `index` and `enumerate` follow the official numbering."""

    name = "nasbench201"
    title = "NAS-Bench-201"
    ops = (
        "input",
        "nor_conv_1x1",
        "nor_conv_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "none",
        "output",
    )
    max_nodes = 8
    size = 15_625
    decisions = (5,) * 6

    def problems(self, cell: Cell) -> list[str]:
        found = []
        if len(cell) != 8 or cell.ops[:1] != ("input",) or cell.ops[-1:] != ("output",):
            found.append("It must have 8 nodes, 'input' first and 'output' last.")
        if wrong := sorted(set(cell.ops[1:-1]) - set(OPERATIONS)):
            found.append(f"Inner operations must be of {OPERATIONS}; it has {wrong}.")
        if set(cell.edges) != set(EDGES):
            found.append(f"Its edges must be {tuple(sorted(EDGES))}; it has {cell.edges}.")
        return found

    def legal(self, cells: CellArray) -> np.ndarray:
        self.check_columns(cells)
        inner = cells.ops[:, 1:7]
        return (
            (cells.ops[:, 0] == 0)
            & (cells.ops[:, 7] == 6)
            & ((inner >= 1) & (inner <= 5)).all(1)
            & (cells.adjacency_bits == np.uint64(_EDGE_BITS))
        )

    # Text -------------------------------------------------------------------------------------

    def parse(self, text: str) -> Cell:
        """Cell of an official architecture string or of an official index.

        Example:
            >>> cell = NasBench201().parse(
            ...     "|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_3x3~1|none~2|")
            >>> cell.ops[4]
            'skip_connect'
        """
        text = text.strip()
        if (listed := self._listed(text)) is not None:
            return listed
        slots = _SLOT.findall(text)
        cell = (
            Cell(("input", *(op for op, _ in slots), "output"), EDGES) if len(slots) == 6 else None
        )
        if cell is None or self.format(cell) != text:
            raise NotationError(
                f"A {self.title} cell is written as an official index or as "
                "|op~0|+|op~0|op~1|+|op~0|op~1|op~2| with operations of "
                f"{OPERATIONS}. Got {text[:120]!r}."
            )
        return self.validate(cell)

    def format(self, cell: Cell) -> str:
        self.validate(cell)
        nodes = []
        for target in (1, 2, 3):
            slots = [
                f"{cell.ops[1 + k]}~{source}"
                for k, (source, end) in enumerate(OFFICIAL_EDGES)
                if end == target
            ]
            nodes.append("|" + "|".join(slots) + "|")
        return "+".join(nodes)

    def index(self, cell: Cell) -> int:
        """Official index of a legal cell; the graph has no symmetry, so a spelling is a number.

        Raises:
            CellError: The cell is not legal here.
        """
        self.validate(cell)
        code = 0
        for op in cell.ops[1:-1]:
            code = 5 * code + _DIGIT[op]
        return int(_row_of_code()[code])

    # Listing ----------------------------------------------------------------------------------

    def enumerate(self) -> CellArray:
        """All 15,625 cells in official order."""
        return _all_cells()

    def sample(self, rng: np.random.Generator) -> Cell:
        return self.enumerate()[int(rng.integers(self.size))]

    def stream(self, count: int, seed: int = 0, chunk: int = 65_536) -> Iterator[CellArray]:
        return stream_enumerated(self, count, seed, chunk)

    def canonical(self, cell: Cell) -> Cell:
        """The official spelling of a cell whose nodes may stand in another order."""
        row = int(self.index_array(self.pack([cell]))[0])
        if row < 0:
            raise CellError(f"Not isomorphic to any {self.title} cell: {cell}.")
        return self.enumerate()[row]

    def canonical_array(self, cells: CellArray) -> CellArray:
        """The graph has no symmetry, so legal cells are written in one way already.

        Raises:
            CellError: A row is not legal.
        """
        return self.validate_array(cells)

    def topology_classes(self) -> np.ndarray:
        """Published class of each cell by its topology, `[15625]`: 6,466, numbered by first member.

        Dong and Yang (2020) call these isomorphic: an edge `none` removes everything that flows
        through it, `skip_connect` passes its input on, and the order of summands does not matter.
        Cells of one class compute the same. The converse does not hold, because zeros stay in a sum
        and sums of sums are not merged, as in the official code: there are 4,930 functions.
        """
        return _topology_classes()

    # Moves ------------------------------------------------------------------------------------

    def neighbours(self, cell: Cell) -> list[Cell]:
        """The 24 cells that differ in the operation of one official edge."""
        self.validate(cell)
        return [
            Cell((*cell.ops[:v], op, *cell.ops[v + 1 :]), cell.edges)
            for v in range(1, 7)
            for op in OPERATIONS
            if op != cell.ops[v]
        ]

    def neighbour_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes = np.load(_ORDER_FILE)[np.asarray(rows)]  # spellings, numbers of six digits to base 5
        digits = codes[:, None] // _DIGIT_WORTH % 5
        others = (digits[..., None] + np.arange(1, 5)) % 5 - digits[..., None]  # [Q, 6, 4]
        found = _row_of_code()[
            codes[:, None] + (others * _DIGIT_WORTH[:, None]).reshape(len(codes), 24)
        ]
        return np.sort(found, 1).ravel(), np.arange(0, 24 * len(codes) + 1, 24)

    def rows_of_decisions(self, choices: np.ndarray) -> np.ndarray:
        """The operation of each official edge, by its place in `OPERATIONS`; all are cells."""
        return _row_of_code()[self._checked_choices(choices) @ _DIGIT_WORTH]

    def decisions_of_rows(self, rows: np.ndarray) -> np.ndarray:
        codes = np.load(_ORDER_FILE)[np.asarray(rows)].astype(np.int64)
        return codes[:, None] // _DIGIT_WORTH % 5

    # Cost -------------------------------------------------------------------------------------

    def params(self, cells: CellArray, classes: int = 10) -> np.ndarray:
        """Trainable parameters of the network that the benchmark trained, `[N]` of int64.

        Three stages of five cells with 16, 32 and 64 channels and a residual block between them
        (Dong and Yang, 2020, section 2.1): a 3 x 3 convolution adds 243,040 and a 1 x 1 28,000.

        Raises:
            CellError: A row is not legal.
        """
        frame = 9 * 3 * 16 + 2 * 16 + 2 * 64 + 64 * classes + classes
        frame += sum(_residual_weights(c) + 3 * 2 * c - 2 * c for c in (32, 64))
        return self._sum_over_convolutions(cells, frame, lambda k, c: 5 * (k * k * c * c + 2 * c))

    def macs(self, cells: CellArray, classes: int = 10, image_size: int = 32) -> np.ndarray:
        """Multiply-adds of one image as the benchmark counts them (its "FLOPs"), `[N]` of int64.

        Convolutions and the classifier with its bias; nothing for batch norms and pooling.

        Args:
            cells: Legal cells.
            classes: Outputs of the classifier: 10, 100, or 120 for ImageNet16-120.
            image_size: Input height and width in pixels, a multiple of 4; 16 for ImageNet16-120.

        Raises:
            CellError: A row is not legal.
        """
        area = {c: (image_size * 16 // c) ** 2 for c in (16, 32, 64)}
        frame = 9 * 3 * 16 * area[16] + 64 * classes + classes
        frame += sum(_residual_weights(c) * area[c] for c in (32, 64))
        return self._sum_over_convolutions(cells, frame, lambda k, c: 5 * k * k * c * c * area[c])

    def _sum_over_convolutions(
        self, cells: CellArray, frame: int, cost: Callable[[int, int], int]
    ) -> np.ndarray:
        """`frame` and the cost of every k x k convolution of c channels in the cells."""
        table = np.zeros(len(self.ops), np.int64)
        for op, kernel in (("nor_conv_1x1", 1), ("nor_conv_3x3", 3)):
            table[self.ops.index(op)] = sum(cost(kernel, c) for c in (16, 32, 64))
        return frame + table[self.validate_array(cells).ops].sum(1)


def _residual_weights(channels: int) -> int:
    """Weights of the block that halves resolution: two 3 x 3 convolutions and a 1 x 1 shortcut."""
    half = channels // 2
    return 9 * half * channels + 9 * channels * channels + half * channels


def _term(source: str, op: str) -> str:
    """What one edge adds to the sum of its target; "#" is zero, as in the official code."""
    if op == "none" or source == "#":
        return "#"
    return source if op == "skip_connect" else f"({source})@{op}"


@functools.cache
def _topology_classes() -> np.ndarray:
    cells = _all_cells()
    known: dict[str, int] = {}
    classes = np.zeros(len(cells), np.int64)
    for row, codes in enumerate(cells.ops[:, 1:7]):
        names = (NasBench201.ops[code] for code in codes)
        edge_ops = dict(zip(OFFICIAL_EDGES, names, strict=True))
        sums = ["x"]
        for target in (1, 2, 3):
            terms = [_term(sums[source], edge_ops[source, target]) for source in range(target)]
            sums.append("+".join(sorted(terms)))
        classes[row] = known.setdefault(sums[3], row)
    classes.setflags(write=False)
    return classes


@functools.cache
def _row_of_code() -> np.ndarray:
    """Official index of each spelling, read as a number in base five, `[15625]`."""
    rows = np.empty(len(_all_cells()), np.int64)
    rows[np.load(_ORDER_FILE)] = np.arange(len(rows))
    return rows


@functools.cache
def _all_cells() -> CellArray:
    codes = np.array([NasBench201.ops.index(op) for op in OPERATIONS], np.uint8)
    digits = np.array(list(itertools.product(range(5), repeat=6)))
    ops = np.zeros((len(digits), 8), np.uint8)
    ops[:, 1:7], ops[:, 7] = codes[digits], 6
    order = np.load(_ORDER_FILE)
    bits = np.full(len(order), _EDGE_BITS, np.uint64)
    return CellArray(ops[order], bits, NasBench201.ops)

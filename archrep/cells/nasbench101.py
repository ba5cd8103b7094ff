"""NAS-Bench-101 (Ying et al., 2019): at most 7 nodes, 9 edges and 3 operations; 423,624 cells.

Cells are listed in the official order, which is the lexicographic order of their module hashes, and
written as in the official file: of all ways to write a cell, that with the smallest
`adjacency_bits` and then the smallest operation codes, the first that the authors' generator meets.
`python -m archrep.cells.nasbench101` recomputes the order (30 s) and rewrites the packaged file.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from archrep.cells.array import PAD, CellArray, edge_bit, hash_graphs, node_pairs
from archrep.cells.cell import Cell
from archrep.cells.space import Space, stream_enumerated
from archrep.errors import CellError, NotationError

MAX_EDGES = 9
CONV3X3, CONV1X1, MAXPOOL3X3 = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"
_ORDER_FILE = Path(__file__).parent / "data" / "nasbench101_order.npz"
_EDGE_BIT = {(i, j): 1 << edge_bit(i, j) for i, j in node_pairs(7)}
_LABEL = {CONV3X3: 0, CONV1X1: 1, MAXPOOL3X3: 2}
_LOW_EDGES = (1 << 11) - 1  # the part of `adjacency_bits` that one look-up moves
_ILLEGAL = 1 << 50  # added to a relabelled graph for each edge that would run backwards


class NasBench101(Space):
    """The NAS-Bench-101 space; `index` and `enumerate` follow the official record file."""

    name = "nasbench101"
    title = "NAS-Bench-101"
    ops = ("input", CONV3X3, CONV1X1, MAXPOOL3X3, "output")
    max_nodes = 7
    size = 423_624
    decisions = (2,) * 21 + (3,) * 5

    def problems(self, cell: Cell) -> list[str]:
        found = []
        if not 2 <= len(cell) <= self.max_nodes:
            found.append(f"It must have 2 to {self.max_nodes} nodes; it has {len(cell)}.")
        if cell.ops[:1] != ("input",) or cell.ops[-1:] != ("output",):
            found.append("Its first node must be 'input' and its last 'output'.")
        if wrong := sorted(set(cell.ops[1:-1]) - set(self.ops[1:-1])):
            found.append(f"Inner operations must be of {self.ops[1:-1]}; it has {wrong}.")
        if len(cell.edges) > MAX_EDGES:
            found.append(f"It must have at most {MAX_EDGES} edges; it has {len(cell.edges)}.")
        sources, targets = {i for i, _ in cell.edges}, {j for _, j in cell.edges}
        loose = [v for v in range(len(cell) - 1) if v not in sources]
        loose += [v for v in range(1, len(cell)) if v not in targets]
        if loose:
            found.append(
                f"Every node must lie on a path from input to output; {sorted(set(loose))} do not."
            )
        return found

    def legal(self, cells: CellArray) -> np.ndarray:
        self.check_columns(cells)
        used = cells.ops != PAD
        count = used.sum(1)
        node = np.arange(self.max_nodes)
        last = np.maximum(count - 1, 0)
        inner = (node > 0) & (node < last[:, None])
        adjacency = cells.adjacency.astype(bool)
        has_in, has_out = adjacency.any(1), adjacency.any(2)
        return (
            (count >= 2)
            & (used == (node < count[:, None])).all(1)
            & (cells.ops[:, 0] == 0)
            & (cells.ops[np.arange(len(cells)), last] == 4)
            & (((cells.ops >= 1) & (cells.ops <= 3)) | ~inner).all(1)
            & (cells.num_edges <= MAX_EDGES)
            & (cells.adjacency_bits >> np.uint64(len(node_pairs(self.max_nodes))) == 0)
            & (has_in == (used & (node > 0))).all(1)
            & (has_out == (node < last[:, None])).all(1)
        )

    # Text -------------------------------------------------------------------------------------

    def parse(self, text: str) -> Cell:
        """Cell of a JSON object with `matrix` and `ops`, of a module hash, or of an official index.

        Example:
            >>> NasBench101().parse('{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"]}')
            Cell(ops=('input', 'output'), edges=((0, 1),))
        """
        text = text.strip()
        if len(text) == 32 and set(text.lower()) <= set("0123456789abcdef"):
            return self.enumerate()[self.index_of_hash(text)]
        if (listed := self._listed(text)) is not None:
            return listed
        try:
            record = json.loads(text)
            matrix, ops = record["matrix"], record["ops"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise NotationError(
                f"A {self.title} cell is written as an official index, a 32-digit module hash or "
                '{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"]}. '
                f"Got {text[:80]!r}."
            ) from None
        return self.validate(Cell.from_matrix(matrix, ops))

    def format(self, cell: Cell) -> str:
        """One line of JSON with the official fields `matrix` and `ops`."""
        self.validate(cell)
        return json.dumps({"matrix": cell.adjacency.tolist(), "ops": list(cell.ops)})

    def module_hash(self, cell: Cell) -> str:
        """The official key of a cell: 32 hex digits, equal for isomorphic cells.

        Colour refinement with MD5 as in `hash_module` of the official package (Ying et al., 2019,
        section 2.3): labels are -1 for input, -2 for output, 0.. for the inner operations.
        """
        self.validate(cell)
        preds = [cell.predecessors(v) for v in range(len(cell))]
        succs = [cell.successors(v) for v in range(len(cell))]
        label = {"input": -1, "output": -2} | {op: n for n, op in enumerate(self.ops[1:-1])}
        colours = [
            _md5(str((len(succs[v]), len(preds[v]), label[op]))) for v, op in enumerate(cell.ops)
        ]
        for _ in range(len(cell)):
            colours = [
                _md5(
                    "".join(sorted(colours[p] for p in preds[v]))
                    + "|"
                    + "".join(sorted(colours[s] for s in succs[v]))
                    + "|"
                    + colours[v]
                )
                for v in range(len(cell))
            ]
        return _md5(str(sorted(colours)))

    def index_of_hash(self, module_hash: str) -> int:
        """Official index of a module hash, by bisection over the hashes of 19 cells.

        Raises:
            CellError: No cell of the space has that hash.
        """
        wanted, cells = module_hash.lower(), self.enumerate()
        low, high = 0, self.size
        while low < high:
            middle = (low + high) // 2
            if self.module_hash(cells[middle]) < wanted:
                low = middle + 1
            else:
                high = middle
        if low == self.size or self.module_hash(cells[low]) != wanted:
            raise CellError(f"No {self.title} cell has the module hash {module_hash!r}.")
        return low

    def index(self, cell: Cell) -> int:
        """Official index of a legal cell, whichever way it is written; some 20 microseconds.

        Raises:
            CellError: The cell is not legal here.
        """
        self.validate(cell)
        n = len(cell)
        low, high, digits = _relabelings(n)
        bits = sum(_EDGE_BIT[edge] for edge in cell.edges)
        graphs = low[bits & _LOW_EDGES] + high[bits >> _LOW_EDGES.bit_length()]
        labels = [_LABEL[op] for op in cell.ops[1:-1]]
        keys, rows = _row_of_key()
        return int(rows[keys.searchsorted((graphs + digits @ labels).min())])

    # Listing ----------------------------------------------------------------------------------

    def enumerate(self) -> CellArray:
        """All 423,624 cells in official order, each written canonically; 0.3 s, then kept."""
        return _all_cells()

    def sample(self, rng: np.random.Generator) -> Cell:
        """A cell drawn uniformly from the unique ones, not from random matrices."""
        return self.enumerate()[int(rng.integers(self.size))]

    def stream(self, count: int, seed: int = 0, chunk: int = 65_536) -> Iterator[CellArray]:
        return stream_enumerated(self, count, seed, chunk)

    def canonical_array(self, cells: CellArray) -> CellArray:
        """The spelling of `enumerate`, that is of the official file.

        Raises:
            CellError: A row is not legal.
        """
        self.validate_array(cells)
        ops = np.full_like(cells.ops, PAD)
        bits = np.zeros(len(cells), np.uint64)
        count = cells.num_nodes
        for n in range(2, self.max_nodes + 1):
            rows = np.flatnonzero(count == n)
            if len(rows):
                keys = _smallest_keys(cells.adjacency_bits[rows], cells.ops[rows, :n], n)
                bits[rows], ops[rows, :n] = _read_keys(keys, n)
        return CellArray(ops, bits, self.ops)

    def canonical(self, cell: Cell) -> Cell:
        return self.canonical_array(self.pack([self.validate(cell)]))[0]

    # Moves ------------------------------------------------------------------------------------

    def neighbours(self, cell: Cell) -> list[Cell]:
        """Legal cells one change away: an inner operation, an edge, or a node on a single path.

        A node is inserted with one edge in and one edge out, and removed only if it has just those,
        so being neighbours is mutual and the whole space is connected. Nothing is pruned.
        """
        self.validate(cell)
        moves: list[Cell] = []
        for v in range(1, len(cell) - 1):
            for op in self.ops[1:-1]:
                moves.append(Cell((*cell.ops[:v], op, *cell.ops[v + 1 :]), cell.edges))
            if len(cell.predecessors(v)) == len(cell.successors(v)) == 1:
                moves.append(_without_node(cell, v))
        for v in range(len(cell)):
            # An edge may leave v for every node that does not lead to v: written with v as early
            # as possible, these stand behind it.
            early, place = _written_early(cell, v)
            for j in range(place + 1, len(cell)):
                moves.append(Cell(early.ops, tuple(set(early.edges) ^ {(place, j)})))
                if len(cell) < self.max_nodes:
                    moves.extend(_with_node(early, place, j, op) for op in self.ops[1:-1])
        legal = [move for move in moves if self.is_legal(move)]
        own = cell.canonical
        return list({move.canonical: move for move in legal if move.canonical != own}.values())

    def neighbour_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of all neighbours; some 100 microseconds a cell, where `neighbours` takes 2,000."""
        rows = np.asarray(rows, np.int64)
        parts = [_moved_rows(rows[at : at + 512]) for at in range(0, len(rows), 512)]
        owner = np.concatenate(
            [np.zeros(0, np.int64), *(k + 512 * n for n, (k, _) in enumerate(parts))]
        )
        found = np.concatenate([np.zeros(0, np.int64), *(row for _, row in parts)])
        return found, np.searchsorted(owner, np.arange(len(rows) + 1))

    def rows_of_decisions(self, choices: np.ndarray) -> np.ndarray:
        """Upper triangle of a 7 x 7 matrix, row by row, and the operations of nodes 1..5.

        Encoding "A" of Ying et al. (2019), section 4.1, and its published code: what is not on a
        path from node 0 to node 6 is pruned, which favours small cells. More than 9 edges, counted
        before anything is pruned, are no cell, and neither is a matrix without such a path.
        """
        choices = self._checked_choices(choices)
        adjacency = np.zeros((len(choices), 7, 7), bool)
        adjacency[:, *np.triu_indices(7, 1)] = choices[:, :21] == 1
        few = adjacency.sum((1, 2)) <= MAX_EDGES
        from_input, to_output = np.zeros((2, len(choices), 7), bool)
        from_input[:, 0] = to_output[:, 6] = True
        for v in range(1, 7):
            from_input[:, v] = (from_input & adjacency[:, :, v]).any(1)
        for v in reversed(range(6)):
            to_output[:, v] = (to_output & adjacency[:, v]).any(1)
        kept = from_input & to_output
        ops = np.full((len(choices), 7), PAD, np.uint8)
        ops[:, 0], ops[:, 1:6], ops[:, 6] = 0, choices[:, 21:] + 1, 4
        ops[~kept] = PAD
        adjacency &= kept[:, :, None] & kept[:, None]
        legal = np.flatnonzero(few & kept[:, 6])
        rows = np.full(len(choices), -1)
        rows[legal] = _rows_of_graphs(ops[legal], adjacency[legal])
        return rows

    def decisions_of_rows(self, rows: np.ndarray) -> np.ndarray:
        """As `enumerate` writes a cell, its output moved to node 6; what is unused is option 0."""
        cells = self.enumerate()[np.asarray(rows)]
        adjacency, last = cells.adjacency, cells.num_nodes - 1
        at, small = np.arange(len(cells)), last < 6
        edges = adjacency[at[small], :, last[small]]
        adjacency[at[small], :, last[small]] = 0
        adjacency[small, :, 6] = edges
        inner = np.arange(1, 6) < last[:, None]
        ops = np.where(inner, cells.ops[:, 1:6].astype(np.int64) - 1, 0)
        return np.concatenate([adjacency[:, *np.triu_indices(7, 1)], ops], 1).astype(np.int64)

    # Cost -------------------------------------------------------------------------------------

    def params(self, cells: CellArray) -> np.ndarray:
        """Trainable parameters of the network that the benchmark trained, `[N]` of int64.

        A convolution to 128 channels, three stacks of three modules with 128, 256 and 512 channels,
        and a classifier of 10 classes (Ying et al., 2019, section 2.2). As in the official code the
        numbers depend a little on the order in which the nodes are written, because channels that
        do not divide evenly go to the first branches; `enumerate` has the official order.

        Raises:
            CellError: A row is not legal.
        """
        self.validate_array(cells)
        graphs, row = np.unique(cells.adjacency_bits, return_inverse=True)
        frame, vertex = _graph_params(graphs)
        total = frame[row]
        for v in range(1, self.max_nodes - 1):
            total += vertex[row, v, np.minimum(cells.ops[:, v], 4)]  # padding costs nothing
        return total


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _without_node(cell: Cell, v: int) -> Cell:
    place = {old: new for new, old in enumerate(u for u in range(len(cell)) if u != v)}
    return Cell(
        cell.ops[:v] + cell.ops[v + 1 :],
        tuple((place[i], place[j]) for i, j in cell.edges if v not in (i, j)),
    )


def _written_early(cell: Cell, v: int) -> tuple[Cell, int]:
    """The cell with v, and what leads to v, in front of everything else; and the place of v."""
    leading = {v}
    for u in reversed(range(v)):
        if leading.intersection(cell.successors(u)):
            leading.add(u)
    rest = [u for u in range(len(cell)) if u not in leading]
    return cell.permuted([*sorted(leading), *rest]), len(leading) - 1


def _with_node(cell: Cell, i: int, j: int, op: str) -> Cell:
    """A new node between i and j, written just before j."""
    shift = [v + (v >= j) for v in range(len(cell))]
    edges = [(shift[a], shift[b]) for a, b in cell.edges]
    return Cell((*cell.ops[:j], op, *cell.ops[j:]), (*edges, (shift[i], j), (j, j + 1)))


# Neighbours of many cells: every move is written down, in whatever node order, and looked up by its
# hash, which finds legal cells only.

_MOVE_ROUNDS = 3  # two tell all cells apart; a move that is no cell must not look like one either


def _moved_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of some cells as pairs (place in `rows`, row), `[M]` each, ascending."""
    cells = _all_cells()[rows]
    ops, adjacency, count = cells.ops, cells.adjacency.astype(bool), cells.num_nodes
    reach = _reachable(adjacency)
    moves: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # owner, ops, adjacency

    def move(owner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        moves.append((owner, ops[owner], adjacency[owner]))
        return np.arange(len(owner)), *moves[-1][1:]

    inner = np.arange(1, 6) < count[:, None] - 1
    owner, node = np.nonzero(inner)
    for step in (1, 2):
        at, new_ops, _ = move(owner)
        new_ops[at, node + 1] = (new_ops[at, node + 1] - 1 + step) % 3 + 1
    single = (adjacency.sum(1) == 1) & (adjacency.sum(2) == 1)
    owner, node = np.nonzero(inner & single[:, 1:6])
    at, new_ops, new_edges = move(owner)
    new_ops[at, node + 1] = PAD
    new_edges[at, node + 1] = new_edges[at, :, node + 1] = False

    used = np.arange(7) < count[:, None]
    apart = used[:, :, None] & used[:, None] & ~reach.transpose(0, 2, 1) & ~np.eye(7, dtype=bool)
    owner, i, j = np.nonzero(apart)
    at, _, new_edges = move(owner)
    new_edges[at, i, j] ^= True
    owner, i, j = np.nonzero(apart & (count < 7)[:, None, None])
    for op in (1, 2, 3):
        at, new_ops, new_edges = move(owner)
        node = count[owner]
        new_ops[at, node] = op
        new_edges[at, i, node] = new_edges[at, node, j] = True
    owner = np.concatenate([part[0] for part in moves])
    new_ops = np.concatenate([part[1] for part in moves])
    new_edges = np.concatenate([part[2] for part in moves])
    few = new_edges.sum((1, 2)) <= MAX_EDGES
    found = _rows_of_graphs(new_ops[few], new_edges[few])
    owner = owner[few]
    keep = (found >= 0) & (found != rows[owner])
    pairs = np.unique(np.stack([owner[keep], found[keep]], 1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _reachable(adjacency: np.ndarray) -> np.ndarray:
    """Whether a path leads from node i to node j, `[N, 7, 7]`."""
    reach = adjacency.copy()
    for k in range(7):
        reach |= reach[:, :, k, None] & reach[:, None, k]
    return reach


def _rows_of_graphs(ops: np.ndarray, adjacency: np.ndarray) -> np.ndarray:
    """Rows of graphs in any node order, `[N]`; -1 for what is no cell."""
    hashes = np.empty(len(ops), np.uint64)
    for at in range(0, len(ops), 4096):
        part = slice(at, at + 4096)
        links = ((i, j, adjacency[part, i, j]) for i, j in itertools.permutations(range(7), 2))
        hashes[part] = hash_graphs(ops[part], links, _MOVE_ROUNDS)
    known, row = _row_of_short_hash()
    place = np.searchsorted(known, hashes).clip(max=len(known) - 1)
    return np.where(known[place] == hashes, row[place], -1)


@functools.cache
def _row_of_short_hash() -> tuple[np.ndarray, np.ndarray]:
    hashes = _all_cells().colour_hash(_MOVE_ROUNDS)
    order = np.argsort(hashes)
    return hashes[order], order


def _graph_params(graphs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parameters outside the operations of each graph, `[G]`, and of operations, `[G, V, 5]`.

    The second is for each operation code at each node; both are summed over the nine modules.
    """

    def conv_norm(kernel: int, c_in: np.ndarray | int, c_out: np.ndarray | int) -> np.ndarray:
        return np.asarray(kernel**2 * c_in * c_out + 2 * c_out)

    nodes = NasBench101.max_nodes
    no_ops = np.full((len(graphs), nodes), PAD, np.uint8)
    adjacency = CellArray(no_ops, graphs, NasBench101.ops).adjacency.astype(np.int64)
    output = nodes - 1 - adjacency.max(1)[:, ::-1].argmax(1)
    branch = adjacency[np.arange(len(graphs)), :, output]  # nodes that the output concatenates
    direct = branch[:, 0].copy()  # the input is not one of them: it is projected and added
    branch[:, 0] = 0

    frame = np.full(len(graphs), conv_norm(3, 3, 128) + 512 * 10 + 10)
    vertex = np.zeros((len(graphs), nodes, 5), np.int64)
    for channels in (128, 256, 512):
        # Branches share the channels of the output, the first ones take what is left over; any
        # other node is as wide as its widest successor.
        share, left = np.divmod(channels, np.maximum(branch.sum(1, keepdims=True), 1))
        width = branch * (share + (branch.cumsum(1) <= left))
        for v in range(nodes - 2, 0, -1):
            widest = (adjacency[:, v] * width).max(1)
            width[:, v] = np.where(branch[:, v], width[:, v], widest)
        for c_in in (max(channels // 2, 128), channels, channels):
            frame += (adjacency[:, 0] * conv_norm(1, c_in, width)).sum(1)
            frame += direct * conv_norm(1, c_in, channels)
            vertex[..., 1] += conv_norm(3, width, width)
            vertex[..., 2] += conv_norm(1, width, width)
    return frame, vertex


# Enumeration: all graphs first, then all labelings up to the symmetries of each graph.


@functools.cache
def _all_cells() -> CellArray:
    parts = [_cells_of_size(n) for n in range(2, NasBench101.max_nodes + 1)]
    cells = CellArray.concatenate(parts)
    with np.load(_ORDER_FILE) as stored:
        order = stored["order"].astype(np.int64) @ (256 ** np.arange(3))
    return cells[order]


def _cells_of_size(n: int) -> CellArray:
    graphs = np.arange(1 << (n * (n - 1) // 2), dtype=np.uint64)
    graphs = graphs[np.bitwise_count(graphs) <= MAX_EDGES]
    for v in range(n):
        incoming = sum(1 << edge_bit(i, v) for i in range(v))
        outgoing = sum(1 << edge_bit(v, j) for j in range(v + 1, n))
        for mask in (incoming if v else 0, outgoing if v < n - 1 else 0):
            if mask:
                graphs = graphs[graphs & np.uint64(mask) != 0]
    bits = np.unique(_smallest_graphs(graphs, n))

    inner = n - 2
    labels = np.array(list(itertools.product(range(3), repeat=inner)), np.int64)
    labels = labels.reshape(3**inner, inner)
    weights = 3 ** np.arange(inner)[::-1]
    code = labels @ weights
    keep = np.ones((len(bits), len(labels)), bool)
    for order in itertools.permutations(range(inner)):
        same = _relabelled(bits, n, order) == bits
        moved = np.empty_like(labels)
        moved[:, list(order)] = labels
        keep[same] &= code <= moved @ weights
    shape, label = np.nonzero(keep)
    ops = np.full((len(shape), NasBench101.max_nodes), PAD, np.uint8)
    ops[:, 0], ops[:, n - 1] = 0, 4
    ops[:, 1 : n - 1] = labels[label] + 1
    return CellArray(ops, bits[shape], NasBench101.ops)


def _relabelled(bits: np.ndarray, n: int, order: tuple[int, ...]) -> np.ndarray:
    """Graphs after inner node v + 1 becomes node `order[v]` + 1; over `_ILLEGAL` if backwards."""
    moved = np.zeros(len(bits), np.uint64)
    for start, table in _tables(n, order):
        moved += table[(bits >> np.uint64(start)) & np.uint64(len(table) - 1)]
    return moved


@functools.cache
def _tables(n: int, order: tuple[int, ...]) -> list[tuple[int, np.ndarray]]:
    """Where the edges go, by 11 bits of a graph at a time: one look-up replaces 11 tests."""
    place = (0, *(v + 1 for v in order), n - 1)
    pairs = node_pairs(n)
    tables = []
    for start in range(0, len(pairs), 11):
        part = pairs[start : start + 11]
        chosen = np.arange(1 << len(part), dtype=np.uint64)
        table = np.zeros_like(chosen)
        for k, (i, j) in enumerate(part):
            a, b = place[i], place[j]
            worth = 1 << edge_bit(a, b) if a < b else _ILLEGAL
            table += (chosen >> np.uint64(k) & np.uint64(1)) * np.uint64(worth)
        tables.append((start, table))
    return tables


@functools.cache
def _relabelings(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How the key of one cell of n nodes moves under all P relabelings at once.

    Returns:
        Keys by the low and by the high part of the graph, `[2048, P]` and `[1024, P]` of int64,
        and the worth of each label, `[P, n - 2]`.
    """
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    digits = []
    for order in itertools.permutations(range(n - 2)):
        tables = [table for _, table in _tables(n, order)]
        tables += [np.zeros(1, np.uint64)] * (2 - len(tables))
        for part, table in zip(parts, tables, strict=True):
            part.append(table.astype(np.int64) * 243)
        digits.append([3 ** (n - 3 - place) for place in order])
    low, high = (np.ascontiguousarray(np.stack(part, 1)) for part in parts)
    return low, high, np.array(digits, np.int64).reshape(len(digits), n - 2)


@functools.cache
def _row_of_key() -> tuple[np.ndarray, np.ndarray]:
    """Smallest keys of all cells, ascending, and their official indices, `[423624]` each."""
    cells = _all_cells()
    keys = np.zeros(len(cells), np.int64)
    count = cells.num_nodes
    for n in range(2, NasBench101.max_nodes + 1):
        rows = np.flatnonzero(count == n)
        digits = np.array([3 ** (n - 3 - v) for v in range(n - 2)], np.int64)
        labels = cells.ops[rows, 1 : n - 1].astype(np.int64) - 1
        keys[rows] = cells.adjacency_bits[rows].astype(np.int64) * 243 + labels @ digits
    order = np.argsort(keys)
    return keys[order], order


def _smallest_graphs(bits: np.ndarray, n: int) -> np.ndarray:
    best = bits
    for order in itertools.permutations(range(n - 2)):
        best = np.minimum(best, _relabelled(bits, n, order))
    return best


def _smallest_keys(bits: np.ndarray, ops: np.ndarray, n: int) -> np.ndarray:
    """Smallest (graph, labels) key of each cell over all relabelings."""
    labels = ops[:, 1 : n - 1].astype(np.uint64) - np.uint64(1)
    digits = np.array([3 ** (n - 3 - v) for v in range(n - 2)], np.uint64)
    best = np.full(len(bits), np.iinfo(np.uint64).max)
    for order in itertools.permutations(range(n - 2)):
        key = _relabelled(bits, n, order) * np.uint64(243) + labels @ digits[list(order)]
        np.minimum(best, key, out=best)
    return best


def _read_keys(keys: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    graphs, code = np.divmod(keys, np.uint64(243))
    ops = np.zeros((len(keys), n), np.uint8)
    ops[:, n - 1] = 4
    for v in range(1, n - 1):
        ops[:, v] = code // np.uint64(3 ** (n - 2 - v)) % np.uint64(3) + np.uint64(1)
    return graphs, ops


def _write_official_order() -> None:
    """Sort our enumeration by module hash and store the order as three bytes a cell."""
    cells = CellArray.concatenate([_cells_of_size(n) for n in range(2, NasBench101.max_nodes + 1)])
    space = NasBench101()
    order = np.argsort(np.array([space.module_hash(cell) for cell in cells]))
    planes = np.stack([order >> shift & 255 for shift in (0, 8, 16)], 1).astype(np.uint8)
    _ORDER_FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(_ORDER_FILE, order=planes)


if __name__ == "__main__":
    _write_official_order()

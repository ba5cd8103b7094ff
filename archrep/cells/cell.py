"""One cell: the operation-labelled directed acyclic graph that a network repeats."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from archrep.errors import CellError

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class Cell:
    """An immutable labelled DAG whose edges run from lower to higher nodes.

    Two cells are `==` if they are written the same way; `is_isomorphic` asks whether they are the
    same graph. A cell knows nothing of a search space: `Space.validate` says whether it is legal.

    Attributes:
        ops: One operation label a node, in topological order.
        edges: Pairs `(i, j)` with `i < j`, sorted.

    Raises:
        CellError: An edge runs backwards, repeats, or names a node that does not exist.

    Example:
        >>> Cell(("input", "maxpool3x3", "output"), ((0, 1), (1, 2))).adjacency.tolist()
        [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    """

    ops: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        try:
            given = tuple(self.edges)
            edges = tuple(sorted((operator.index(i), operator.index(j)) for i, j in given))
        except (TypeError, ValueError):
            raise CellError(
                f"`edges` must be pairs of node numbers such as ((0, 1), (1, 2)). "
                f"Got {self.edges!r}."
            ) from None
        object.__setattr__(self, "ops", _labels(self.ops))
        object.__setattr__(self, "edges", edges)
        for i, j in edges:
            if i >= j:
                raise CellError(
                    f"Edges of a cell run from a lower to a higher node. Got edge {i} -> {j}. "
                    "If the rows of your matrix are edge targets, pass `adjacency.T`."
                )
            if i < 0 or j >= len(self.ops):
                raise CellError(
                    f"Edges must join two of the {len(self.ops)} nodes 0..{len(self.ops) - 1}. "
                    f"Got edge {i} -> {j}."
                )
        if len(set(edges)) != len(edges):
            raise CellError(f"An edge is given twice in {edges}. Give each edge once.")

    @classmethod
    def from_matrix(
        cls, adjacency: Sequence[Sequence[int]] | np.ndarray, ops: Iterable[str]
    ) -> Cell:
        """Cell of a square 0/1 matrix (edge i -> j at row i, column j) and its labels."""
        ops = _labels(ops)
        try:
            matrix = np.asarray(adjacency)
        except ValueError:
            raise CellError(
                "`adjacency` must be a square matrix. Got rows of unequal length."
            ) from None
        if matrix.shape != (len(ops), len(ops)):
            raise CellError(
                f"`adjacency` must be {len(ops)} x {len(ops)} for {len(ops)} operations. "
                f"Got shape {matrix.shape}."
            )
        if not np.isin(matrix, (0, 1)).all():
            raise CellError(f"`adjacency` must hold only 0 and 1. Got {matrix.tolist()}.")
        return cls(ops, tuple((i, j) for i, j in np.argwhere(matrix).tolist()))

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self.ops)

    @cached_property
    def adjacency(self) -> np.ndarray:
        """Read-only matrix `[V, V]` of uint8: 1 at row i, column j for an edge i -> j."""
        matrix = np.zeros((len(self), len(self)), np.uint8)
        for i, j in self.edges:
            matrix[i, j] = 1
        matrix.setflags(write=False)
        return matrix

    def predecessors(self, node: int) -> tuple[int, ...]:
        """Nodes with an edge into `node`, ascending."""
        return tuple(i for i, j in self.edges if j == node)

    def successors(self, node: int) -> tuple[int, ...]:
        """Nodes that `node` has an edge to, ascending."""
        return tuple(j for i, j in self.edges if i == node)

    def permuted(self, order: Sequence[int]) -> Cell:
        """The same graph with node `order[k]` written as node k.

        Raises:
            CellError: `order` is not a permutation, or puts the end of an edge before its start.
        """
        if sorted(order) != list(range(len(self))):
            raise CellError(
                f"`order` must be a permutation of the {len(self)} nodes. Got {list(order)}."
            )
        place = {old: new for new, old in enumerate(order)}
        return Cell(
            tuple(self.ops[old] for old in order),
            tuple((place[i], place[j]) for i, j in self.edges),
        )

    @cached_property
    def canonical(self) -> Cell:
        """One fixed way to write this graph, equal for isomorphic cells and only for them.

        Nodes are placed one by one in topological order. Among the free nodes, colour refinement
        (Weisfeiler and Leman, 1968) picks the smallest colour, and every node of a tie is tried,
        of nodes with the same neighbours only one; the smallest result wins. Exact; exponential
        only in the symmetries that remain.
        """
        colours = _stable_colours(self)
        preds = [self.predecessors(v) for v in range(len(self))]
        succs = [self.successors(v) for v in range(len(self))]
        best: tuple[Any, ...] | None = None
        best_order: list[int] = []

        def place(order: list[int], written: list[tuple[Any, ...]]) -> None:
            nonlocal best, best_order
            if len(order) == len(self):
                if best is None or tuple(written) < best:
                    best, best_order = tuple(written), list(order)
                return
            position = {v: k for k, v in enumerate(order)}
            free = [
                v
                for v in range(len(self))
                if v not in position and all(p in position for p in preds[v])
            ]
            smallest = min(colours[v] for v in free)
            tied = {(preds[v], succs[v]): v for v in free if colours[v] == smallest}
            for v in tied.values():
                row = (colours[v], tuple(sorted(position[p] for p in preds[v])))
                if best is None or (*written, row) <= best[: len(written) + 1]:
                    place([*order, v], [*written, row])

        place([], [])
        return self.permuted(best_order)

    def is_isomorphic(self, other: Cell) -> bool:
        """Whether some relabelling of nodes turns one cell into the other."""
        return self.canonical == other.canonical

    @property
    def fingerprint(self) -> str:
        """Hex digest of the canonical form: equal exactly for isomorphic cells of any space."""
        canonical = self.canonical
        return hashlib.sha256(repr((canonical.ops, canonical.edges)).encode()).hexdigest()[:32]

    def edit_distance(self, other: Cell, upper_bound: int | None = None) -> int:
        """Exact graph edit distance; see `archrep.cells.edit_distance.edit_distance`."""
        from archrep.cells.edit_distance import edit_distance

        return edit_distance(self, other, upper_bound)

    def to_networkx(self) -> networkx.DiGraph:
        """Directed graph with the operation of a node in its attribute `op`."""
        import networkx

        graph = networkx.DiGraph()
        graph.add_nodes_from((v, {"op": op}) for v, op in enumerate(self.ops))
        graph.add_edges_from(self.edges)
        return graph

    @classmethod
    def from_networkx(cls, graph: networkx.DiGraph) -> Cell:
        """Cell of a directed acyclic graph whose nodes carry an attribute `op`."""
        import networkx

        if graph.is_multigraph() or not networkx.is_directed_acyclic_graph(graph):
            raise CellError(
                "A cell is a directed acyclic graph. Got a graph with a cycle, undirected or with "
                "parallel edges."
            )
        listed = {v: n for n, v in enumerate(graph)}
        order = list(networkx.lexicographical_topological_sort(graph, key=listed.__getitem__))
        if missing := [v for v in order if "op" not in graph.nodes[v]]:
            raise CellError(f"Every node needs the attribute `op`. Missing on {missing}.")
        place = {v: k for k, v in enumerate(order)}
        return cls(
            tuple(graph.nodes[v]["op"] for v in order),
            tuple((place[i], place[j]) for i, j in graph.edges),
        )

    def _repr_svg_(self) -> str:
        """Drawing for notebooks."""
        from archrep.plots.cell import cell_svg

        return cell_svg(self)


def _labels(ops: Iterable[str]) -> tuple[str, ...]:
    """Operation names as a tuple of plain `str`; NumPy strings would print differently."""
    labels = tuple(ops) if isinstance(ops, Iterable) and not isinstance(ops, str) else (None,)
    if not all(isinstance(op, str) for op in labels):
        raise CellError(f"`ops` must be a sequence of operation names. Got {ops!r}.")
    return tuple(str(op) for op in labels)


def _stable_colours(cell: Cell) -> list[int]:
    """Isomorphism-invariant node colours 0.. from refinement until no class splits further."""
    preds = [cell.predecessors(v) for v in range(len(cell))]
    succs = [cell.successors(v) for v in range(len(cell))]
    keys: list[Any] = list(cell.ops)
    colours: list[int] = []
    while True:
        rank = {key: r for r, key in enumerate(sorted(set(keys)))}
        refined = [rank[key] for key in keys]
        if len(rank) == len(set(colours)):
            return refined
        colours = refined
        keys = [
            (
                colours[v],
                tuple(sorted(colours[p] for p in preds[v])),
                tuple(sorted(colours[s] for s in succs[v])),
            )
            for v in range(len(cell))
        ]

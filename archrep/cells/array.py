"""Many cells of one search space as two columns of numbers, and their vectorised hashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from archrep.cells.cell import Cell
from archrep.errors import CellError, ShapeError

PAD = 255
"""Operation code of a node slot that a small cell does not use."""

MAX_NODES = 11
"""Edges of at most 11 nodes (55 pairs) fit the 64 bits of `CellArray.adjacency_bits`."""


def edge_bit(i: int, j: int) -> int:
    """Position of edge i -> j (i < j) in `adjacency_bits`; does not depend on the cell's size."""
    return i + j * (j - 1) // 2


def node_pairs(num_nodes: int) -> list[tuple[int, int]]:
    """All pairs (i, j), i < j, in the order of their bits."""
    return [(i, j) for j in range(num_nodes) for i in range(j)]


@dataclass(frozen=True, eq=False)
class CellArray:
    """N cells over one vocabulary: compact, sliceable, and what every vectorised path works on.

    Attributes:
        ops: Operation codes `[N, V]` of uint8; `vocabulary[code]`, `PAD` behind the last node.
        adjacency_bits: Edges `[N]` of uint64; bit `i + j (j - 1) / 2` is edge i -> j.
        vocabulary: Operation names, in the order of their codes.
    """

    ops: np.ndarray
    adjacency_bits: np.ndarray
    vocabulary: tuple[str, ...]

    def __post_init__(self) -> None:
        ops, bits = np.asarray(self.ops), np.asarray(self.adjacency_bits)
        if ops.ndim != 2 or bits.shape != ops.shape[:1]:
            raise ShapeError(
                f"`ops` must be [N, V] and `adjacency_bits` [N]. Got {ops.shape} and {bits.shape}."
            )
        if ops.shape[1] > MAX_NODES:
            raise ShapeError(f"Cells have at most {MAX_NODES} nodes. Got {ops.shape[1]}.")
        object.__setattr__(self, "ops", ops.astype(np.uint8, copy=False))
        object.__setattr__(self, "adjacency_bits", bits.astype(np.uint64, copy=False))
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))

    @classmethod
    def from_cells(
        cls, cells: Iterable[Cell], vocabulary: Sequence[str], max_nodes: int
    ) -> CellArray:
        """Pack cells; node order is kept.

        Raises:
            CellError: A cell has more than `max_nodes` nodes or an operation not in `vocabulary`.
        """
        code = {op: c for c, op in enumerate(vocabulary)}
        cells = list(cells)
        ops = np.full((len(cells), max_nodes), PAD, np.uint8)
        bits = np.zeros(len(cells), np.uint64)
        for n, cell in enumerate(cells):
            if len(cell) > max_nodes:
                raise CellError(f"A cell here has at most {max_nodes} nodes. Got {len(cell)}.")
            if unknown := [op for op in cell.ops if op not in code]:
                raise CellError(f"Operations must be of {tuple(vocabulary)}. Got {unknown[0]!r}.")
            ops[n, : len(cell)] = [code[op] for op in cell.ops]
            bits[n] = sum(1 << edge_bit(i, j) for i, j in cell.edges)
        return cls(ops, bits, tuple(vocabulary))

    @classmethod
    def from_adjacency(
        cls, ops: np.ndarray, adjacency: np.ndarray, vocabulary: Sequence[str]
    ) -> CellArray:
        """Pack operation codes `[N, V]` and upper-triangular 0/1 matrices `[N, V, V]`."""
        bits = np.zeros(len(ops), np.uint64)
        for i, j in node_pairs(ops.shape[1]):
            bits |= (adjacency[:, i, j] != 0).astype(np.uint64) << np.uint64(edge_bit(i, j))
        return cls(ops, bits, tuple(vocabulary))

    @classmethod
    def concatenate(cls, parts: Sequence[CellArray]) -> CellArray:
        """One array of several with the same vocabulary and width.

        Raises:
            ShapeError: There is no part, or they are not of one space.
        """
        if len({(part.vocabulary, part.max_nodes) for part in parts}) != 1:
            raise ShapeError(
                "`parts` must be one or more arrays with the same vocabulary and width. "
                f"Got {[(len(part), part.max_nodes) for part in parts]}."
            )
        return cls(
            np.concatenate([part.ops for part in parts]),
            np.concatenate([part.adjacency_bits for part in parts]),
            parts[0].vocabulary,
        )

    def __len__(self) -> int:
        return len(self.ops)

    @property
    def max_nodes(self) -> int:
        """Width V of the padded columns."""
        return self.ops.shape[1]

    @property
    def num_nodes(self) -> np.ndarray:
        """Nodes in use, `[N]`."""
        return (self.ops != PAD).sum(1)

    @property
    def num_edges(self) -> np.ndarray:
        """Edges, `[N]`."""
        return np.bitwise_count(self.adjacency_bits).astype(np.int64)

    @property
    def adjacency(self) -> np.ndarray:
        """Matrices `[N, V, V]` of uint8: row i, column j is edge i -> j. Made anew at each call."""
        matrices = np.zeros((len(self), self.max_nodes, self.max_nodes), np.uint8)
        for i, j in node_pairs(self.max_nodes):
            matrices[:, i, j] = self.edge(i, j)
        return matrices

    def edge(self, i: int, j: int) -> np.ndarray:
        """Whether each cell has edge i -> j, `[N]` of bool."""
        return (self.adjacency_bits >> np.uint64(edge_bit(i, j))) & np.uint64(1) == 1

    @overload
    def __getitem__(self, key: int | np.integer) -> Cell: ...
    @overload
    def __getitem__(self, key: slice | np.ndarray | Sequence[int]) -> CellArray: ...
    def __getitem__(self, key):  # type: ignore[no-untyped-def]
        """A `Cell` for a number, a `CellArray` for a slice, mask or list of numbers."""
        if not isinstance(key, (int, np.integer)):
            return CellArray(self.ops[key], self.adjacency_bits[key], self.vocabulary)
        codes, bits = self.ops[key], int(self.adjacency_bits[key])
        codes = codes[codes != PAD].tolist()
        if unknown := [code for code in codes if code >= len(self.vocabulary)]:
            raise CellError(
                f"Operation codes must be below {len(self.vocabulary)}. "
                f"Got {unknown[0]} in row {key}."
            )
        return Cell(
            tuple(self.vocabulary[code] for code in codes),
            tuple((i, j) for i, j in node_pairs(len(codes)) if bits >> edge_bit(i, j) & 1),
        )

    def __iter__(self) -> Iterator[Cell]:
        return (self[n] for n in range(len(self)))

    def permuted(self, order: np.ndarray) -> CellArray:
        """Each cell rewritten with its node `order[n, k]` as node k; `order` is `[N, V]`.

        Padding must stay behind the nodes and edges must still run forward; neither is checked.
        """
        rows = np.arange(len(self))[:, None]
        adjacency = self.adjacency[rows[:, :, None], order[:, :, None], order[:, None, :]]
        return CellArray.from_adjacency(self.ops[rows, order], adjacency, self.vocabulary)

    def colour_hash(self, rounds: int = 6) -> np.ndarray:
        """Isomorphism-invariant 64-bit hash of every cell, `[N]` of uint64.

        Colour refinement over predecessors and successors, as in the module hash of NAS-Bench-101
        (Ying et al., 2019) with 64-bit mixing in place of MD5, so some hundred times faster. Two
        rounds already tell all 423,624 NAS-Bench-101 cells apart.
        """
        hashes = np.empty(len(self), np.uint64)
        for start in range(0, len(self), _BLOCK):
            block = slice(start, start + _BLOCK)
            hashes[block] = _colour_hash(self[block], rounds)
        return hashes


_BLOCK = 4096  # cells at a time, so that everything stays in the cache of the processor


def _colour_hash(cells: CellArray, rounds: int) -> np.ndarray:
    links = [(i, j, cells.edge(i, j)) for i, j in node_pairs(cells.max_nodes)]
    return hash_graphs(cells.ops, [link for link in links if link[2].any()], rounds)


def hash_graphs(
    ops: np.ndarray, links: Iterable[tuple[int, int, np.ndarray]], rounds: int = 6
) -> np.ndarray:
    """`CellArray.colour_hash` of graphs whose nodes stand in any order, `[N]` of uint64.

    Args:
        ops: Operation codes `[N, V]`; `PAD` for a slot without a node, wherever it stands.
        links: Pairs of nodes i, j and which graphs have the edge i -> j, `[N]` of bool.
        rounds: See `CellArray.colour_hash`.
    """
    used = (ops != PAD).T  # [V, N], like everything below
    masks = [(i, j, -present.astype(np.uint64)) for i, j, present in links]
    colour = _mix(ops.T.astype(np.uint64) + _ODD[0]) * used
    for _ in range(rounds):
        as_pred, as_succ = _mix(colour * _ODD[1]), _mix(colour * _ODD[2])
        preds, succs = np.full_like(colour, _ODD[4]), np.full_like(colour, _ODD[5])
        for i, j, mask in masks:
            preds[j] += as_pred[i] & mask
            succs[i] += as_succ[j] & mask
        colour = _mix(colour * _ODD[3] + _mix(preds) + _mix(succs) * _ODD[1]) * used
    return _mix((_mix(colour * _ODD[5]) * used).sum(0, dtype=np.uint64))


_ODD = np.array(
    [
        0x9E3779B97F4A7C15,
        0xD6E8FEB86659FD93,
        0xA0761D6478BD642F,
        0xE7037ED1A0B428DB,
        0x8EBC6AF09C88C6E3,
        0x589965CC75374CC3,
    ],
    np.uint64,
)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64 finaliser (Steele et al., 2014): a bijection of 64-bit words."""
    x = x ^ (x >> np.uint64(30))
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x

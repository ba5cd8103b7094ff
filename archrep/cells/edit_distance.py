"""Exact graph edit distance between two labelled cells.

The least number of unit edits that turn one cell into the other: insert or delete a node, change
the operation of a node, insert or delete an edge. It is the distance that
`networkx.graph_edit_distance` computes with matching on operations, found here by depth-first
branch and bound over the images of the nodes.

Deleting one node and inserting another never costs less than turning the one into the other. So
the nodes of the smaller cell are never deleted, and the free nodes of the larger one are inserted.
"""

from __future__ import annotations

from archrep.cells.cell import Cell


def edit_distance(first: Cell, second: Cell, upper_bound: int | None = None) -> int:
    """Smallest number of node and edge edits from `first` to `second`.

    Args:
        first: Any cell.
        second: Any cell, of any size.
        upper_bound: Stop looking for anything that is not smaller, and return this value then;
            `None` for the exact distance whatever it is.

    Returns:
        The distance, symmetric in its arguments and zero exactly for isomorphic cells.

    Example:
        >>> path = Cell(("input", "maxpool3x3", "output"), ((0, 1), (1, 2)))
        >>> edit_distance(path, Cell(("input", "output"), ((0, 1),)))
        3
    """
    if len(first) > len(second):
        first, second = second, first
    n, m = len(first), len(second)
    in_1, _ = _neighbour_masks(first)
    in_2, out_2 = _neighbour_masks(second)
    succs = [first.successors(k) for k in range(n)]
    relabel = [[int(a != b) for b in second.ops] for a in first.ops]
    best = n + m + len(first.edges) + len(second.edges) if upper_bound is None else upper_bound
    placed_preds = [0] * n  # nodes of `second` that stand for predecessors placed so far

    def visit(k: int, used: int, cost: int) -> None:
        """Place nodes k.. of `first`; `cost` is that of nodes ..k and of the edges among them."""
        nonlocal best
        free = [w for w in range(m) if not used >> w & 1]
        # Of each free node: its placed predecessors, and the number of its placed successors, free
        # predecessors and free successors.
        edges = [
            (
                in_2[w] & used,
                (out_2[w] & used).bit_count(),
                (in_2[w] & ~used).bit_count(),
                (out_2[w] & ~used).bit_count(),
            )
            for w in free
        ]
        # Twice the cost of each node of `first` (row) on each free node (column), as far as it is
        # certain: an edge to an open node is shared by its two ends, so each end counts a half.
        insertion = [
            2 + 2 * (p.bit_count() + s) + open_p + open_s for p, s, open_p, open_s in edges
        ]
        if k == n:
            best = min(best, cost + sum(insertion) // 2)
            return
        table = []
        for u in range(k, n):
            preds, open_preds = placed_preds[u], (in_1[u] >> k).bit_count()
            table.append(
                [
                    2 * (relabel[u][w] + (preds ^ p).bit_count() + s)
                    + abs(open_preds - open_p)
                    + abs(len(succs[u]) - open_s)
                    for w, (p, s, open_p, open_s) in zip(free, edges, strict=True)
                ]
            )
        # No assignment costs less than the cheapest entries of all rows, or of all columns.
        by_row = sum(map(min, table)) + sum(sorted(insertion)[: m - n])
        if 2 * cost + by_row > 2 * best - 2:
            return
        rows = [*table, insertion] if m > n else table
        if 2 * cost + sum(map(min, zip(*rows, strict=True))) > 2 * best - 2:
            return
        for _, w in sorted(zip(table[0], free, strict=True)):
            edits = (placed_preds[k] ^ in_2[w] & used).bit_count() + (out_2[w] & used).bit_count()
            total = cost + relabel[k][w] + edits
            if total < best:
                for u in succs[k]:
                    placed_preds[u] |= 1 << w
                visit(k + 1, used | 1 << w, total)
                for u in succs[k]:
                    placed_preds[u] ^= 1 << w

    visit(0, 0, 0)
    return best


def _neighbour_masks(cell: Cell) -> tuple[list[int], list[int]]:
    """Predecessors and successors of every node as bits."""
    preds, succs = [0] * len(cell), [0] * len(cell)
    for i, j in cell.edges:
        preds[j] |= 1 << i
        succs[i] |= 1 << j
    return preds, succs

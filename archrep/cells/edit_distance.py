"""Exact graph edit distance between two labelled cells.

The least number of unit edits that turn one cell into the other: insert or delete a node, change
the operation of a node, insert or delete an edge. It is the distance that
`networkx.graph_edit_distance` computes with matching on operations, found here by depth-first
branch and bound over the images of the nodes.
"""

from __future__ import annotations

from collections import Counter

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
    """
    n, m = len(first), len(second)
    out_1, out_2 = _successor_masks(first), _successor_masks(second)
    in_1, in_2 = _predecessor_masks(first), _predecessor_masks(second)
    # Operations and edge counts still open when nodes k.. of `first` are left to place.
    open_ops = [Counter(first.ops[k:]) for k in range(n + 1)]
    open_edges = [sum(1 for i, j in first.edges if j >= k) for k in range(n + 1)]
    trivial = n + m + len(first.edges) + len(second.edges)
    best = trivial if upper_bound is None else upper_bound
    image = [-1] * n  # -1: deleted

    def visit(k: int, used: int, cost: int) -> None:
        nonlocal best
        rest = [second.ops[w] for w in range(m) if not used >> w & 1]
        placed_edges = sum(
            (out_2[w] & used).bit_count() for w in range(m) if used >> w & 1
        )
        rest_edges = len(second.edges) - placed_edges
        if k == n:
            best = min(best, cost + len(rest) + rest_edges)
            return
        common = (open_ops[k] & Counter(rest)).total()
        bound = max(n - k, len(rest)) - common + abs(open_edges[k] - rest_edges)
        if cost + bound >= best:
            return
        moves = []
        for w in range(m):
            if used >> w & 1:
                continue
            price = int(first.ops[k] != second.ops[w])
            for v in range(k):
                u = image[v]
                for mask_1, mask_2 in ((out_1, out_2), (in_1, in_2)):
                    has_1 = mask_1[k] >> v & 1
                    has_2 = mask_2[w] >> u & 1 if u >= 0 else 0
                    price += has_1 != has_2
            moves.append((price, w))
        deletion = 1 + sum((out_1[k] >> v & 1) + (in_1[k] >> v & 1) for v in range(k))
        moves.append((deletion, -1))
        for price, w in sorted(moves):
            if cost + price < best:
                image[k] = w
                visit(k + 1, used | (1 << w if w >= 0 else 0), cost + price)
        image[k] = -1

    visit(0, 0, 0)
    return best


def _successor_masks(cell: Cell) -> list[int]:
    masks = [0] * len(cell)
    for i, j in cell.edges:
        masks[i] |= 1 << j
    return masks


def _predecessor_masks(cell: Cell) -> list[int]:
    masks = [0] * len(cell)
    for i, j in cell.edges:
        masks[j] |= 1 << i
    return masks

"""What is known of a cell without training it, as numbers for a predictor."""

from __future__ import annotations

import numpy as np

from archrep.cells.array import CellArray
from archrep.cells.space import Space
from archrep.encodings import IDENTITY, ZERO


def structure_features(space: Space, cells: CellArray) -> np.ndarray:
    """Sizes and counts, each of mean zero and deviation one over the cells, `[N, F]` of float64.

    Logarithm of the parameters (where the space knows them), numbers of nodes and edges, longest
    and shortest path from an input to the output in operations that compute something, edges into
    the output, and how often each operation occurs. Columns
    that are the same for all cells are left out.

    Args:
        space: Their space.
        cells: N cells.
    """
    adjacency, ops = cells.adjacency.astype(bool), cells.ops
    count, size = len(cells), cells.max_nodes
    at, last = np.arange(count), cells.num_nodes - 1
    idle = [n for n, op in enumerate(cells.vocabulary) if op == IDENTITY]
    dead = [n for n, op in enumerate(cells.vocabulary) if op == ZERO]
    step = (~np.isin(ops, idle)).astype(float)
    longest = np.full((count, size), -np.inf)
    shortest = np.full((count, size), np.inf)
    # A node without a predecessor is an input.
    source = ~adjacency.any(1)
    longest[source], shortest[source] = 0, 0
    for v in range(size):
        works = ~np.isin(ops[:, v], dead)
        for u in range(v):
            edge = adjacency[:, u, v] & works
            own = np.where(v == last, 0.0, step[:, v])
            far, near = longest[:, u] + own, shortest[:, u] + own
            longest[:, v] = np.where(edge, np.maximum(longest[:, v], far), longest[:, v])
            shortest[:, v] = np.where(edge, np.minimum(shortest[:, v], near), shortest[:, v])
    ends = [path[at, last] for path in (longest, shortest)]
    columns = [
        *[np.where(np.isfinite(end), end, -1.0) for end in ends],
        cells.num_nodes,
        adjacency.sum((1, 2)),
        adjacency[:, 0].sum(1),
        adjacency[at, :, last].sum(1),
        *[(ops == n).sum(1) for n in range(len(cells.vocabulary))],
    ]
    if (params := getattr(space, "params", None)) is not None:
        columns.append(np.log(np.maximum(params(cells), 1)))
    table = np.stack([np.asarray(column, np.float64) for column in columns], 1)
    table = table[:, (table != table[:1]).any(0)]
    return (table - table.mean(0)) / table.std(0)

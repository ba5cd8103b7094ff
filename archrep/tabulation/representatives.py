"""One cell for each published topology class of NAS-Bench-201."""

from __future__ import annotations

import numpy as np

from archrep.cells.nasbench201 import NasBench201


def nasbench201_representatives() -> tuple[np.ndarray, np.ndarray]:
    """Cells to train so that all 15,625 have an accuracy.

    The representative of a class is its cell with the fewest parameters, the first of those: where
    the class says that an edge carries nothing, it has no convolution there whose batch norm would
    still add a constant.

    Returns:
        Official indices of the representatives, `[6466]`, ascending by class; and for each cell
        the position in them of its own, `[15625]`.
    """
    space = NasBench201()
    classes, params = space.topology_classes(), space.params(space.enumerate())
    order = np.lexsort((params, classes))  # stable: equal ones stay in the official order
    _, first, position = np.unique(classes[order], return_index=True, return_inverse=True)
    place = np.empty(len(classes), np.int64)
    place[order] = position
    return order[first], place

"""From cells to tensors: padded dense batches, and torch-geometric batches of the same graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from archrep.cells.array import PAD, CellArray, edge_bit, node_pairs
from archrep.errors import ShapeError

if TYPE_CHECKING:
    from torch_geometric.data import Batch


@dataclass(frozen=True)
class GraphBatch:
    """B padded graphs.

    Attributes:
        ops: Operation codes `[B, V]` of int64; the number of operations, O, marks an unused slot.
        adjacency: Edge i -> j at row i, column j, `[B, V, V]` of float; unused slots have none.
        num_ops: O.
    """

    ops: Tensor
    adjacency: Tensor
    num_ops: int

    def __len__(self) -> int:
        return len(self.ops)

    @property
    def mask(self) -> Tensor:
        """Used slots, `[B, V]` of bool."""
        return self.ops < self.num_ops

    def one_hot(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Operations `[B, V, O]`; all zero for an unused slot."""
        classes = torch.arange(self.num_ops, device=self.ops.device)
        return (self.ops[..., None] == classes).to(dtype)


class PackedGraphs:
    """All cells of a run in their packed form (V + 8 bytes each), unpacked batch by batch."""

    def __init__(self, cells: CellArray, device: torch.device | str = "cpu") -> None:
        self.num_ops = len(cells.vocabulary)
        ops = np.where(cells.ops == PAD, self.num_ops, cells.ops).astype(np.uint8)
        self.ops = torch.from_numpy(ops).to(device)
        self.bits = torch.from_numpy(cells.adjacency_bits.astype(np.int64)).to(device)
        nodes = cells.max_nodes
        pairs = node_pairs(nodes)
        self._shifts = torch.tensor([edge_bit(i, j) for i, j in pairs], device=device)
        self._columns = torch.tensor([i * nodes + j for i, j in pairs], device=device)

    def __len__(self) -> int:
        return len(self.ops)

    def batch(self, rows: Tensor | slice) -> GraphBatch:
        """The graphs of some rows, in their order."""
        ops = self.ops[rows].long()
        edges = (self.bits[rows][:, None] >> self._shifts) & 1
        nodes = ops.shape[1]
        flat = torch.zeros(len(ops), nodes * nodes, device=ops.device)
        flat[:, self._columns] = edges.float()
        return GraphBatch(ops, flat.view(-1, nodes, nodes), self.num_ops)


def dense_batch(cells: CellArray, device: torch.device | str = "cpu") -> GraphBatch:
    """All cells of an array as one batch.

    Example:
        >>> from archrep.cells import get_space
        >>> space = get_space("nasbench201")
        >>> dense_batch(space.enumerate()[:3]).adjacency.shape
        torch.Size([3, 8, 8])
    """
    return PackedGraphs(cells, device).batch(slice(None))


def unpack_decoded(ops: Tensor, adjacency: Tensor, vocabulary: Sequence[str]) -> CellArray:
    """Cells of decoded codes `[B, V]` (O for unused) and upper-triangular matrices `[B, V, V]`."""
    codes = ops.cpu().numpy()
    codes = np.where(codes >= len(vocabulary), PAD, codes).astype(np.uint8)
    return CellArray.from_adjacency(codes, adjacency.cpu().numpy(), vocabulary)


def to_pyg(cells: CellArray, *, padding: bool = False) -> Batch:
    """The cells as one torch-geometric batch.

    Args:
        cells: N cells.
        padding: Keep the unused slots as isolated nodes with zero features, as the dense form has
            them; the presets that pool over padding need it.

    Returns:
        A `Batch` with `x` `[nodes, O]`, `edge_index` (source over target) and `batch`.

    Raises:
        ShapeError: There are no cells.
    """
    from torch_geometric.data import Batch, Data

    if not len(cells):
        raise ShapeError("A torch-geometric batch needs at least one cell. Got none.")
    dense = dense_batch(cells)
    features = dense.one_hot()
    graphs = []
    for n, used in enumerate(cells.num_nodes.tolist()):
        graphs.append(
            Data(
                x=features[n] if padding else features[n, :used],
                edge_index=dense.adjacency[n].nonzero().T.contiguous(),
            )
        )
    return Batch.from_data_list(graphs)

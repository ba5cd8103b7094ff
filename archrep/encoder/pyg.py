"""The trained encoders as torch-geometric modules: same weights, same numbers, PyG batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch
from torch_geometric.nn import GCNConv, GINConv, SimpleConv, global_add_pool, global_mean_pool

from archrep.encoder.gin import GIN, DirectedGIN, DirectedGINLayer
from archrep.encoder.models import Autoencoder, CellVAE, NodeVAE


class DirectedGINConv(nn.Module):
    """`DirectedGINLayer` on an edge list."""

    def __init__(self, layer: DirectedGINLayer) -> None:
        super().__init__()
        self.layer, self.sum = layer, SimpleConv(aggr="sum")

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """New node states `[nodes, H]`; `edge_index` is source over target."""
        own, from_predecessor, from_successor = self.layer.message(x).chunk(3, -1)
        total = own + self.sum(from_predecessor, edge_index)
        total = total + self.sum(from_successor, edge_index.flip(0))
        return self.layer.update(F.relu(total + self.layer.bias))


class PyGEncoder(nn.Module):
    """Encoder that reads torch-geometric batches and shares its weights with the dense one.

    Embeddings equal those of `model.embed` to float32 rounding, and gradients reach the same
    parameters, so it can be fine-tuned inside any torch-geometric model.

    Args:
        model: A dense encoder, trained or not.

    Example:
        >>> from archrep import get_space, load_encoder
        >>> from archrep.graphs import to_pyg
        >>> encoder = load_encoder("nasbench201")
        >>> pyg = PyGEncoder(encoder.model)
        >>> batch = to_pyg(get_space("nasbench201").enumerate()[:2], padding=pyg.needs_padding)
        >>> pyg(batch).shape
        torch.Size([2, 16])
    """

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model
        encoder = model.encoder
        if isinstance(encoder, DirectedGIN):
            layers = cast("Iterable[DirectedGINLayer]", encoder.layers)
            convs: list[nn.Module] = [DirectedGINConv(layer) for layer in layers]
        elif isinstance(encoder, GIN):
            convs = [
                _shared_gin_conv(eps, mlp)
                for eps, mlp in zip(encoder.eps, encoder.mlps, strict=True)
            ]
        else:
            convs = [_shared_gcn_conv(linear) for linear in encoder.linears]  # type: ignore[union-attr]
        self.convs = nn.ModuleList(convs)

    @property
    def needs_padding(self) -> bool:
        """Whether batches must be made with `to_pyg(cells, padding=True)`."""
        return isinstance(self.model, NodeVAE) and self.model.config.pooling == "padded-mean"

    def forward(self, data: Batch) -> Tensor:
        """Embeddings `[B, D]` of a batch made by `archrep.graphs.to_pyg`."""
        x, edges = data.x, data.edge_index
        if isinstance(self.model, CellVAE):
            states = self.convs[0](x, edges)
            for conv in self.convs[1:]:
                states = states + conv(states, edges)
            states = F.relu(self.model.readout(states))
            return self.model.mean(global_add_pool(states, data.batch))
        assert isinstance(self.model, NodeVAE)
        undirected = torch.cat([edges, edges.flip(0)], 1)
        for conv in self.convs:
            x = conv(x, undirected)
            x = F.relu(x) if isinstance(conv, GCNConv) else x
        pool = global_mean_pool if self.needs_padding else global_add_pool
        return pool(self.model.mean(x), data.batch)


def _shared_gin_conv(eps: nn.Parameter, mlp: nn.Module) -> GINConv:
    conv = GINConv(mlp, train_eps=True)
    conv.eps = eps
    return conv


def _shared_gcn_conv(linear: nn.Linear) -> GCNConv:
    conv = GCNConv(linear.in_features, linear.out_features)
    conv.lin.weight, conv.bias = linear.weight, linear.bias
    return conv

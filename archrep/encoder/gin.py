"""Graph encoders over padded dense batches: directed GIN, the undirected GIN of 2020, and GCN.

Graphs of at most 11 nodes are so small that a dense product with the adjacency beats scattered
messages; `archrep.encoder.pyg` runs the same weights on torch-geometric batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DirectedGINLayer(nn.Module):
    """Graph isomorphism layer that sums predecessors and successors separately.

    `h_v <- MLP(W0 h_v + W1 sum_{u -> v} h_u + W2 sum_{v -> u} h_u)`: Xu et al. (2019), Eq. 4.1,
    with a weight for each direction in place of `1 + eps`, so that an edge and its reverse differ.
    """

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__()
        self.message = nn.Linear(in_features, 3 * hidden, bias=False)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.update = nn.Linear(hidden, hidden)

    def forward(self, states: Tensor, neighbourhood: Tensor) -> Tensor:
        """New states `[B, V, H]` of `states` `[B, V, in]`; see `neighbourhood_matrix`."""
        batch, nodes = states.shape[:2]
        messages = self.message(states).view(batch, nodes * 3, -1)
        # In place: on a processor these sums are bound by memory, not by arithmetic.
        received = torch.bmm(neighbourhood, messages).add_(self.bias.to(messages.dtype))
        return self.update(received.relu_())


def neighbourhood_matrix(adjacency: Tensor) -> Tensor:
    """Self, predecessors and successors of every node side by side, `[B, V, 3 V]`.

    Column `3 u + k` is node u as itself (k = 0), as a predecessor (1) or as a successor (2), in the
    order in which `DirectedGINLayer` lays out its three messages.
    """
    batch, nodes = adjacency.shape[:2]
    itself = torch.eye(nodes, dtype=adjacency.dtype, device=adjacency.device)
    itself = itself.expand(batch, nodes, nodes)
    return torch.stack([itself, adjacency.transpose(1, 2), adjacency], -1).view(
        batch, nodes, 3 * nodes
    )


class DirectedGIN(nn.Module):
    """Stack of `DirectedGINLayer` with residuals; two layers tell all NAS-Bench-101 cells apart."""

    def __init__(self, num_ops: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DirectedGINLayer(num_ops if k == 0 else hidden, hidden) for k in range(layers)
        )

    def forward(self, features: Tensor, adjacency: Tensor) -> Tensor:
        """Node states `[B, V, H]` of one-hot operations `[B, V, O]` and edges `[B, V, V]`."""
        neighbourhood = neighbourhood_matrix(adjacency)
        states = self.layers[0](features, neighbourhood)
        for layer in self.layers[1:]:
            states = layer(states, neighbourhood).add_(states)
        return states


class BatchNormNodes(nn.BatchNorm1d):
    """Batch norm over all nodes of a batch, padding included, as in arch2vec's code."""

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states.flatten(0, -2)).view_as(states)


class GIN(nn.Module):
    """Undirected graph isomorphism network: arch2vec (Yan et al., 2020), Eq. 2.

    `H <- MLP((1 + eps) H + (A + A^T) H)` with one trainable `eps` a layer.

    Args:
        widths: O, then the width of each layer.
        two_linear: MLP of the authors' code (Linear, BN, ReLU, Linear, then BN, ReLU) rather than
            the one the paper prints (Linear, BN, ReLU).
    """

    def __init__(self, widths: Sequence[int], *, two_linear: bool) -> None:
        super().__init__()
        self.eps = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in widths[1:])
        self.mlps = nn.ModuleList()
        for before, width in pairwise(widths):
            block: list[nn.Module] = [nn.Linear(before, width), BatchNormNodes(width), nn.ReLU()]
            if two_linear:
                block += [nn.Linear(width, width), BatchNormNodes(width), nn.ReLU()]
            self.mlps.append(nn.Sequential(*block))

    def forward(self, features: Tensor, adjacency: Tensor) -> Tensor:
        """Node states `[B, V, H]`; the adjacency may be directed, it is symmetrised here."""
        undirected = adjacency + adjacency.transpose(1, 2)
        states = features
        for eps, mlp in zip(self.eps, self.mlps, strict=True):
            states = mlp((1 + eps) * states + torch.bmm(undirected, states))
        return states


class GCN(nn.Module):
    """Graph convolutional encoder of GAE and VGAE (Kipf and Welling, 2016), Eq. 2.

    `H <- ReLU(D^-1/2 (A + A^T + I) D^-1/2 H W)`. The self loop that the authors' unused class
    leaves out keeps padding nodes from dividing by zero. Its `widths` are O, then each layer's.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, features: Tensor, adjacency: Tensor) -> Tensor:
        """Node states `[B, V, H]`."""
        nodes = adjacency.shape[1]
        loops = torch.eye(nodes, dtype=adjacency.dtype, device=adjacency.device)
        undirected = adjacency + adjacency.transpose(1, 2) + loops
        scale = undirected.sum(2).rsqrt()
        propagate = scale[:, :, None] * undirected * scale[:, None, :]
        states = features
        for linear in cast("Iterable[nn.Linear]", self.linears):
            messages = F.linear(states, linear.weight)
            states = F.relu(torch.bmm(propagate, messages) + linear.bias)
        return states

"""Decoders: autoregressive from the latent of a whole cell, inner product from node latents."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archrep.graphs import GraphBatch


class Decoded(NamedTuple):
    """Graphs as decoded, legal or not.

    Attributes:
        ops: Operation codes `[B, V]`; O marks an unused slot.
        adjacency: Strictly upper-triangular 0/1 matrices `[B, V, V]` of uint8.
    """

    ops: Tensor
    adjacency: Tensor


class MaskedLinear(nn.Linear):
    """Linear layer whose weight is zero wherever `mask` `[out, in]` is."""

    mask: Tensor

    def __init__(self, in_features: int, out_features: int, mask: Tensor) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class AutoregressiveDecoder(nn.Module):
    """Distribution of a cell given its latent, one decision after the other.

    The decisions are, for node j = 0..V-1, its operation (O classes and "no more nodes") and then
    whether each edge i -> j, i < j, is there. All are computed in one pass by a masked network
    (MADE: Germain et al., 2015) whose hidden units see the latent and the decisions before theirs.
    Unlike independent Bernoulli edges, it can say "one of these two", so what it decodes is whole.

    Args:
        num_ops: O.
        max_nodes: V.
        latent_dim: D.
        width: Hidden units of a masked layer.
        layers: Masked layers.
        trunk: Hidden units of the network that reads the latent.
    """

    def __init__(
        self, num_ops: int, max_nodes: int, latent_dim: int, width: int, layers: int, trunk: int
    ) -> None:
        super().__init__()
        self.num_ops, self.max_nodes = num_ops, max_nodes
        classes = num_ops + 1
        self.slots: list[tuple[int, int, slice]] = []  # (node, source or -1, columns) of a decision
        column = 0
        for j in range(max_nodes):
            self.slots.append((j, -1, slice(column, column + classes)))
            column += classes
            for i in range(j):
                self.slots.append((j, i, slice(column, column + 1)))
                column += 1
        decisions = len(self.slots)
        step = torch.zeros(column, dtype=torch.long)
        for t, (_, _, columns) in enumerate(self.slots):
            step[columns] = t
        op_columns = [c for _, i, cols in self.slots if i < 0 for c in range(cols.start, cols.stop)]
        edges = [(i, j, cols.start) for j, i, cols in self.slots if i >= 0]
        buffers = {
            "op_columns": op_columns,
            "edge_columns": [c for _, _, c in edges],
            "edge_sources": [i for i, _, _ in edges],
            "edge_targets": [j for _, j, _ in edges],
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)

        # A unit of degree d sees decisions 0..d-1; units are sorted by degree.
        degree = torch.arange(width) * decisions // width
        self.units = [int((degree <= t).sum()) for t in range(decisions)]
        self.read_latent = nn.Sequential(
            nn.Linear(latent_dim, trunk), nn.ReLU(), nn.Linear(trunk, trunk), nn.ReLU()
        )
        self.read_cell = MaskedLinear(column, width, degree[:, None] > step[None])
        self.from_latent = nn.ModuleList(nn.Linear(trunk, width) for _ in range(layers))
        self.hidden = nn.ModuleList(
            MaskedLinear(width, width, degree[:, None] >= degree[None]) for _ in range(layers)
        )
        self.out = MaskedLinear(width, column, step[:, None] >= degree[None])

    def encode_cells(self, batch: GraphBatch, dtype: torch.dtype = torch.float32) -> Tensor:
        """The decisions that write each cell, `[B, columns]`."""
        cells = torch.zeros(len(batch), len(self.out.bias), dtype=dtype, device=batch.ops.device)
        cells[:, self.op_columns] = F.one_hot(batch.ops, self.num_ops + 1).flatten(1).to(dtype)
        edges = batch.adjacency[:, self.edge_sources, self.edge_targets]
        cells[:, self.edge_columns] = edges.to(dtype)
        return cells

    def forward(self, latents: Tensor, cells: Tensor) -> Tensor:
        """Logits of every decision `[B, columns]` given latents `[B, D]` and the true cells."""
        trunk = self.read_latent(latents)
        states = self.read_cell(cells)
        for from_latent, hidden in zip(self.from_latent, self.hidden, strict=True):
            states = F.relu(states + from_latent(trunk))
            states = states + F.relu(hidden(states))
        return self.out(states)

    def negative_log_likelihood(self, logits: Tensor, cells: Tensor, batch: GraphBatch) -> Tensor:
        """Nats needed to write each cell, `[B]`; nothing is charged behind "no more nodes"."""
        ops_logits = logits[:, self.op_columns].view(len(batch), self.max_nodes, -1)
        used = batch.mask
        ops_nats = F.cross_entropy(
            ops_logits.flatten(0, 1).float(), batch.ops.flatten(), reduction="none"
        ).view_as(batch.ops)
        first_unused = used.sum(1, keepdim=True)
        charged = torch.arange(self.max_nodes, device=used.device) <= first_unused
        edge_nats = F.binary_cross_entropy_with_logits(
            logits[:, self.edge_columns].float(),
            cells[:, self.edge_columns].float(),
            reduction="none",
        )
        return (ops_nats * charged).sum(1) + (edge_nats * used[:, self.edge_targets]).sum(1)

    @torch.no_grad()
    def decode(self, latents: Tensor, generator: torch.Generator | None = None) -> Decoded:
        """Decide one thing after the other.

        Each hidden unit is computed once, as soon as the decisions it sees are made, so decoding
        costs as much as one forward pass.

        Args:
            latents: `[B, D]`.
            generator: Draw every decision from its distribution; `None` takes the likeliest.
        """
        batch, device = len(latents), latents.device
        trunk = self.read_latent(latents)
        drives = [layer(trunk) for layer in self.from_latent]
        width = self.hidden[0].in_features if len(self.hidden) else self.out.in_features
        inputs = [torch.zeros(batch, width, device=device) for _ in self.hidden]
        last = torch.zeros(batch, width, device=device)
        cells = torch.zeros(batch, len(self.out.bias), device=device)
        ops = torch.full((batch, self.max_nodes), self.num_ops, device=device)
        adjacency = torch.zeros(
            batch, self.max_nodes, self.max_nodes, dtype=torch.uint8, device=device
        )
        more = torch.ones(batch, dtype=torch.bool, device=device)
        known = 0
        for t, (j, i, columns) in enumerate(self.slots):
            new = slice(known, self.units[t])
            known = self.units[t]
            if new.stop > new.start:
                seen = columns.start
                read = self.read_cell
                states = F.linear(cells[:, :seen], read.weight[new, :seen], read.bias[new])
                for drive, hidden, inside in zip(drives, self.hidden, inputs, strict=True):
                    states = F.relu(states + drive[:, new])
                    inside[:, new] = states
                    states = states + F.relu(
                        F.linear(inside[:, :known], hidden.weight[new, :known], hidden.bias[new])
                    )
                last[:, new] = states
            logits = F.linear(
                last[:, :known], self.out.weight[columns, :known], self.out.bias[columns]
            )
            if i < 0:
                if generator is None:
                    choice = logits.argmax(1)
                else:
                    choice = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
                choice = torch.where(more, choice, self.num_ops)
                more = more & (choice < self.num_ops)
                ops[:, j] = choice
                cells[:, columns] = F.one_hot(choice, self.num_ops + 1).float()
            else:
                if generator is None:
                    edge = logits[:, 0] > 0
                else:
                    drawn = torch.rand(batch, generator=generator, device=device)
                    edge = drawn < logits[:, 0].sigmoid()
                edge = edge & more
                cells[:, columns.start] = edge.float()
                adjacency[:, i, j] = edge.to(torch.uint8)
        return Decoded(ops, adjacency)


class InnerProductDecoder(nn.Module):
    """Independent operations and edges from node latents: arch2vec (Yan et al., 2020), Eqs. 3, 4."""

    def __init__(self, num_ops: int, latent_dim: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.ops = nn.Linear(latent_dim, num_ops)

    def forward(
        self, latents: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits of operations `[B, V, O]` and edges `[B, V, V]` (symmetric) of `[B, V, D]`.

        Dropout acts on the latents in training mode, drawn from `generator`.
        """
        if self.training and self.dropout:
            keep = torch.rand(latents.shape, generator=generator, device=latents.device)
            latents = latents * (keep >= self.dropout) / (1 - self.dropout)
        return self.ops(latents), torch.bmm(latents, latents.transpose(1, 2))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Decoded:
        """Likeliest operation of every slot, and each edge above the diagonal with p > 0.5."""
        ops, edges = self(latents)
        return Decoded(ops.argmax(-1), (edges > 0).triu(1).to(torch.uint8))

"""Decoders: autoregressive from the latent of a whole cell, inner product from node latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archrep.cells.array import node_pairs
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

    The decisions are how many nodes there are, then each edge i -> j, then the operation of each
    node, so that operations are told with the whole graph in view. All are computed in one pass by
    a masked network (MADE: Germain et al., 2015) whose hidden units see the latent and what was
    decided before. Unlike independent edges it can say "one of these two": what it writes is whole.

    Args:
        num_ops: O.
        max_nodes: V.
        latent_dim: D.
        width: Hidden units of a masked layer.
        layers: Masked layers.
        trunk: Hidden units of the network that reads the latent.
    """

    edge_columns: Tensor
    edge_sources: Tensor
    edge_targets: Tensor

    def __init__(
        self, num_ops: int, max_nodes: int, latent_dim: int, width: int, layers: int, trunk: int
    ) -> None:
        super().__init__()
        self.num_ops, self.max_nodes = num_ops, max_nodes
        pairs = node_pairs(max_nodes)
        self.count_columns = slice(0, max_nodes + 1)
        first_op = max_nodes + 1 + len(pairs)
        self.op_columns = slice(first_op, first_op + max_nodes * num_ops)
        # The columns of each decision, in the order in which they are made.
        edges = [slice(max_nodes + 1 + k, max_nodes + 2 + k) for k in range(len(pairs))]
        ops = [
            slice(first_op + v * num_ops, first_op + (v + 1) * num_ops) for v in range(max_nodes)
        ]
        self.decisions = [self.count_columns, *edges, *ops]
        columns, decisions = self.op_columns.stop, len(self.decisions)
        buffers = {
            "edge_columns": [columns.start for columns in edges],
            "edge_sources": [i for i, _ in pairs],
            "edge_targets": [j for _, j in pairs],
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)

        # A unit of degree d sees decisions 0..d-1; units are sorted by degree.
        step = torch.zeros(columns, dtype=torch.long)
        for t, where in enumerate(self.decisions):
            step[where] = t
        degree = torch.arange(width) * decisions // width
        self.units = [int((degree <= t).sum()) for t in range(decisions)]
        self.read_latent = nn.Sequential(
            nn.Linear(latent_dim, trunk), nn.ReLU(), nn.Linear(trunk, trunk), nn.ReLU()
        )
        self.read_cell = MaskedLinear(columns, width, degree[:, None] > step[None])
        self.from_latent = nn.ModuleList(nn.Linear(trunk, width) for _ in range(layers))
        self.hidden = nn.ModuleList(
            MaskedLinear(width, width, degree[:, None] >= degree[None]) for _ in range(layers)
        )
        self.out = MaskedLinear(width, columns, step[:, None] >= degree[None])

    def encode_cells(self, batch: GraphBatch, dtype: torch.dtype = torch.float32) -> Tensor:
        """The decisions that write each cell, `[B, columns]`."""
        cells = torch.zeros(len(batch), len(self.out.bias), dtype=dtype, device=batch.ops.device)
        cells[:, self.count_columns] = F.one_hot(batch.mask.sum(1), self.max_nodes + 1).to(dtype)
        edges = batch.adjacency[:, self.edge_sources, self.edge_targets]
        cells[:, self.edge_columns] = edges.to(dtype)
        cells[:, self.op_columns] = batch.one_hot(dtype).flatten(1)
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
        """Nats needed to write each cell, `[B]`; nothing is charged for unused slots."""
        logits, cells, used = logits.float(), cells.float(), batch.mask
        count = F.cross_entropy(logits[:, self.count_columns], used.sum(1), reduction="none")
        edges = F.binary_cross_entropy_with_logits(
            logits[:, self.edge_columns], cells[:, self.edge_columns], reduction="none"
        )
        # An unused slot has no true class; any will do, since it is not counted.
        classes = batch.ops.clamp(max=self.num_ops - 1).flatten()
        scores = logits[:, self.op_columns].reshape(len(classes), self.num_ops)
        ops = F.cross_entropy(scores, classes, reduction="none").view_as(used)
        return count + (edges * used[:, self.edge_targets]).sum(1) + (ops * used).sum(1)

    @torch.no_grad()
    def decode(self, latents: Tensor, generator: torch.Generator | None = None) -> Decoded:
        """Decide one thing after the other.

        Each hidden unit is computed once, as soon as the decisions it sees are made, so decoding
        costs as much as one forward pass.

        Args:
            latents: `[B, D]`.
            generator: Draw every decision from its distribution; `None` takes the likeliest.
        """
        cells = torch.zeros(len(latents), len(self.out.bias), device=latents.device)
        nodes = torch.zeros(len(latents), dtype=torch.long, device=latents.device)
        for columns, logits in self._decisions(latents, cells):
            if columns.stop - columns.start == 1:
                k = columns.start - self.count_columns.stop
                chance = logits[:, 0].sigmoid()
                bar = 0.5 if generator is None else _uniform(chance, generator)
                cells[:, columns.start] = ((chance > bar) & (nodes > self._target(k))).float()
                continue
            if generator is None:
                choice = logits.argmax(1)
            else:
                choice = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
            cells[:, columns] = F.one_hot(choice, columns.stop - columns.start).float()
            if columns == self.count_columns:
                nodes = choice
        ops = cells[:, self.op_columns].view(-1, self.max_nodes, self.num_ops).argmax(2)
        unused = torch.arange(self.max_nodes, device=ops.device) >= nodes[:, None]
        adjacency = torch.zeros(
            len(ops), self.max_nodes, self.max_nodes, dtype=torch.uint8, device=ops.device
        )
        edges = cells[:, self.edge_columns].to(torch.uint8)
        adjacency[:, self.edge_sources, self.edge_targets] = edges
        return Decoded(ops.masked_fill(unused, self.num_ops), adjacency)

    def _target(self, k: int) -> int:
        return int(self.edge_targets[k])

    def _decisions(self, latents: Tensor, cells: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Columns and logits of each decision in turn; the caller writes its choice to `cells`."""
        trunk = self.read_latent(latents)
        drives = [layer(trunk) for layer in self.from_latent]
        width = self.out.in_features
        inputs = [torch.zeros(len(latents), width, device=latents.device) for _ in self.hidden]
        last = torch.zeros(len(latents), width, device=latents.device)
        known = 0
        for columns, units in zip(self.decisions, self.units, strict=True):
            new, known, seen = slice(known, units), units, columns.start
            if new.stop > new.start:
                read = self.read_cell
                states = F.linear(cells[:, :seen], read.weight[new, :seen], read.bias[new])
                for drive, layer, inside in zip(drives, self.hidden, inputs, strict=True):
                    states = F.relu(states + drive[:, new])
                    inside[:, new] = states
                    weight, bias = cast("Tensor", layer.weight), cast("Tensor", layer.bias)
                    inner = F.linear(inside[:, :known], weight[new, :known], bias[new])
                    states = states + F.relu(inner)
                last[:, new] = states
            weight, bias = self.out.weight[columns, :known], self.out.bias[columns]
            yield columns, F.linear(last[:, :known], weight, bias)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device)


class InnerProductDecoder(nn.Module):
    """Independent operations and edges from node latents: Yan et al. (2020), Eqs. 3 and 4."""

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

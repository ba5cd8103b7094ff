"""The encoder of arch2vec as R independent networks that are trained together on labels.

    X, A       operations, and edges with or without their reverses
    M_l        A + (1 + eps_l) I, one trainable eps a layer
    H_l        two times (product with W, batch norm, ReLU) of M_l H_(l-1)
    embedding  a linear layer of the mean of H_L over the nodes of a cell

Runs share no number: all sums over nodes and cells are products of one run (`torch.bmm`),
everything else is elementwise, and each run has whole vector registers of every array, so that a
run gives the same bits in any company. Linear layers in front of a batch norm have no bias, which
that would take out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from archrep.graphs import PackedGraphs

REGISTERS = 64
"""Numbers that a run has a multiple of in each array, so that no vector loop ends inside of it."""

_EPSILON = 1e-5  # of torch's batch norm


class RunGraphs(NamedTuple):
    """B graphs for each of R runs.

    Attributes:
        features: One-hot operations, `[R, B V, O]`.
        links: Edges, `[R, B, V, V]`.
        used: Nodes that count, `[R, B, V]` of 0 and 1.
    """

    features: Tensor
    links: Tensor
    used: Tensor

    @classmethod
    def of_rows(
        cls, graphs: PackedGraphs, rows: Tensor, *, symmetric: bool, padding: bool
    ) -> RunGraphs:
        """The graphs of rows `[R, B]`.

        Args:
            graphs: All of them.
            rows: Which.
            symmetric: Whether messages go along an edge in both directions, or only to its source.
            padding: Whether unused slots count as nodes, as in the authors' code.
        """
        runs, count = rows.shape
        batch = graphs.batch(rows.reshape(-1))
        links = batch.adjacency
        if symmetric:
            links = links + links.transpose(1, 2)
        used = torch.ones_like(batch.mask) if padding else batch.mask
        nodes = links.shape[1]
        return cls(
            batch.one_hot().view(runs, count * nodes, -1),
            links.view(runs, count, nodes, nodes),
            used.float().view(runs, count, nodes),
        )

    def part(self, cells: Tensor) -> RunGraphs:
        """Some of the graphs of each run, `[R, b]`."""
        runs, count, nodes = self.used.shape
        at = torch.arange(runs, device=cells.device)[:, None]
        features = self.features.view(runs, count, nodes, -1)[at, cells]
        return RunGraphs(features.flatten(1, 2), self.links[at, cells], self.used[at, cells])

    @property
    def share(self) -> Tensor:
        """Weight of each node in the mean over all nodes, `[R, 1, B V]`."""
        flat = self.used.flatten(1)[:, None]
        return flat / flat.sum(2, keepdim=True)

    def pooled(self, states: Tensor) -> Tensor:
        """Mean of node states `[R, B V, H]` over the nodes of each graph, `[R, B, H]`."""
        runs, count, nodes = self.used.shape
        weight = self.used / self.used.sum(2, keepdim=True)
        states = states.view(runs * count, nodes, -1)
        return torch.bmm(weight.view(runs * count, 1, nodes), states).view(runs, count, -1)


@dataclass(frozen=True)
class GinShape:
    """Shape of the networks.

    Attributes:
        num_ops: O.
        hidden: Width H of each layer, a multiple of 64.
        layers: L.
        latent: Size D of the embedding.
    """

    num_ops: int
    hidden: int = 128
    layers: int = 4
    latent: int = 16

    @property
    def norms(self) -> int:
        """Number of batch norms."""
        return 2 * self.layers

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """Shapes of the weights of one run, by name."""
        wide = (1, self.hidden)
        shapes: dict[str, tuple[int, int]] = {}
        for norm in range(self.norms):
            fan_in = self.hidden if norm else self.num_ops
            shapes |= {f"weight{norm}": (fan_in, self.hidden), f"gain{norm}": wide}
            shapes |= {f"shift{norm}": wide}
        # Of these rows the first number, or the first D, count.
        shapes |= {f"eps{layer}": (1, REGISTERS) for layer in range(self.layers)}
        narrow = -(-self.latent // REGISTERS) * REGISTERS
        return shapes | {"head": (self.hidden, self.latent), "bias": (1, narrow)}

    def initial(self, rngs: Sequence[np.random.Generator]) -> dict[str, Tensor]:
        """Weights as torch draws them, uniform within `1 / sqrt(fan_in)`, `[R, ...]` of float32."""
        weights = {}
        for name, shape in self.parts.items():
            if name.startswith(("weight", "head", "bias")):
                bound = (self.hidden if name == "bias" else shape[0]) ** -0.5
                drawn = np.stack([rng.uniform(-bound, bound, shape) for rng in rngs])
                weights[name] = torch.from_numpy(drawn.astype(np.float32))
            else:
                fill = 1.0 if name.startswith("gain") else 0.0
                weights[name] = torch.full((len(rngs), *shape), fill)
        return weights


class Statistics(NamedTuple):
    """Means and variances of all batch norms, `[R, norms, H]` each."""

    mean: Tensor
    variance: Tensor

    def moved_by(self, other: Statistics, used: Tensor, momentum: float = 0.1) -> Statistics:
        """Running statistics after a batch with nodes `used`, `[R, B, V]`, as torch keeps them."""
        nodes = used.sum((1, 2))[:, None, None]
        unbiased = other.variance * (nodes / (nodes - 1))
        return Statistics(
            self.mean * (1 - momentum) + other.mean * momentum,
            self.variance * (1 - momentum) + unbiased * momentum,
        )


def initial_statistics(runs: int, shape: GinShape) -> Statistics:
    """Those of a batch norm that has seen nothing: mean 0, variance 1."""
    size = runs, shape.norms, shape.hidden
    return Statistics(torch.zeros(size), torch.ones(size))


def embed(
    weights: dict[str, Tensor],
    shape: GinShape,
    graphs: RunGraphs,
    statistics: Statistics | None = None,
) -> tuple[Tensor, Statistics]:
    """Embeddings `[R, B, D]`, and the statistics that were used.

    Args:
        weights: Of R networks.
        shape: Theirs.
        graphs: B for each.
        statistics: Of the batch norms, held constant; `None` for those of this batch.
    """
    runs, count, nodes = graphs.used.shape
    states, share = graphs.features, graphs.share
    loops = torch.eye(nodes, dtype=states.dtype, device=states.device)
    loops = loops.repeat(count, 1).view(1, 1, -1).expand(runs, 1, -1)
    used_mean, used_variance = [], []
    for norm in range(shape.norms):
        if norm % 2 == 0:
            eps = 1 + weights[f"eps{norm // 2}"][:, :, :1]
            mixing = torch.bmm(eps, loops).view(runs, count, nodes, nodes) + graphs.links
            mixed = torch.bmm(
                mixing.view(runs * count, nodes, nodes), states.view(runs * count, nodes, -1)
            )
            states = mixed.view(runs, count * nodes, -1)
        mean = variance = None
        if statistics is not None:
            mean = statistics.mean[:, norm : norm + 1]
            variance = statistics.variance[:, norm : norm + 1]
        states, mean, variance = _NormRelu.apply(  # type: ignore[no-untyped-call]
            torch.bmm(states, weights[f"weight{norm}"]),
            weights[f"gain{norm}"],
            weights[f"shift{norm}"],
            share,
            mean,
            variance,
        )
        used_mean.append(mean)
        used_variance.append(variance)
    ones = states.new_ones(runs, count, 1)
    bias = torch.bmm(ones, weights["bias"][:, :, : shape.latent])
    latent = torch.bmm(graphs.pooled(states), weights["head"]) + bias
    return latent, Statistics(
        torch.cat(used_mean, 1).detach(), torch.cat(used_variance, 1).detach()
    )


class _NormRelu(torch.autograd.Function):
    """Batch norm over the nodes of each run, weighted by `share`, and ReLU."""

    @staticmethod
    def forward(
        ctx: Any,
        before: Tensor,
        gain: Tensor,
        shift: Tensor,
        share: Tensor,
        mean: Tensor | None,
        variance: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.constant = mean is not None
        if mean is None or variance is None:
            mean = torch.bmm(share, before)
            centred = before - mean
            variance = torch.bmm(share, centred.square())
        else:
            centred, mean, variance = before - mean, mean.clone(), variance.clone()
        inverse = 1 / (variance + _EPSILON).sqrt()
        normal = centred.mul_(inverse)
        after = torch.addcmul(shift, normal, gain).relu_()
        ctx.save_for_backward(normal, gain, inverse, share, after)
        ctx.mark_non_differentiable(mean, variance)
        return after, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        normal, gain, inverse, share, after = ctx.saved_tensors
        passed = gradients[0] * (after > 0)
        ones = torch.ones_like(share)
        d_shift, d_gain = torch.bmm(ones, passed), torch.bmm(ones, passed * normal)
        if not ctx.constant:  # what moves the mean and the variance goes back to all nodes
            weight = share.transpose(1, 2)
            passed = passed.sub_(weight * d_shift).sub_((weight * d_gain).mul_(normal))
        return passed.mul_(gain * inverse), d_gain, d_shift, None, None, None


def tanh(values: Tensor) -> Tensor:
    """`values.tanh()` of `[R, B, D]`, the same in any company of runs."""
    count, width = values.shape[1:]
    step = REGISTERS // np.gcd(REGISTERS, width)
    padded = torch.nn.functional.pad(values, (0, 0, 0, int(-count % step)))
    return padded.tanh()[:, :count]


@torch.no_grad()
def embed_all(
    weights: dict[str, Tensor],
    shape: GinShape,
    graphs: PackedGraphs,
    statistics: Statistics,
    *,
    symmetric: bool,
    padding: bool,
) -> Tensor:
    """Embeddings of all N graphs with given statistics, `[R, N, D]`.

    Norms are folded into the weights. On a processor a chunk of cells of one run stays in the
    cache.
    """
    scale = 1 / (statistics.variance + _EPSILON).sqrt()
    runs = len(scale)
    result = torch.empty(runs, len(graphs), shape.latent, device=scale.device)
    chunk = 64 if scale.device.type == "cpu" else 16_384
    folded, shifts = [], []
    for norm in range(shape.norms):
        factor = weights[f"gain{norm}"] * scale[:, norm : norm + 1]
        folded.append(weights[f"weight{norm}"] * factor)
        shifts.append(weights[f"shift{norm}"] - statistics.mean[:, norm : norm + 1] * factor)
    for start in range(0, len(graphs), chunk):
        rows = torch.arange(start, min(start + chunk, len(graphs)), device=scale.device)
        part = RunGraphs.of_rows(graphs, rows[None], symmetric=symmetric, padding=padding)
        loops = torch.eye(part.links.shape[2], device=scale.device)
        for run in range(runs):
            states = part.features[0]
            for norm in range(shape.norms):
                if norm % 2 == 0:
                    mixing = part.links[0] + (1 + weights[f"eps{norm // 2}"][run, 0, 0]) * loops
                    mixed = torch.bmm(mixing, states.view(len(rows), len(loops), -1))
                    states = mixed.view(len(states), -1)
                states = torch.addmm(shifts[norm][run], states, folded[norm][run]).relu_()
            pooled = part.pooled(states[None])[0]
            bias = weights["bias"][run, :, : shape.latent]
            result[run, start : start + len(rows)] = torch.mm(pooled, weights["head"][run]) + bias
    return result


def train_on_values(
    shape: GinShape,
    graphs: RunGraphs,
    values: Tensor,
    rngs: Sequence[np.random.Generator],
    *,
    epochs: int = 100,
    batch_size: int = 10,
    learning_rate: float = 1e-2,
) -> tuple[dict[str, Tensor], Statistics]:
    """Train R networks from scratch to predict values as `w . tanh(embedding) + c`.

    Squared errors, Adam, batches drawn anew every epoch, an incomplete last batch dropped: the
    loop of DNGO, as in the supervised scripts of arch2vec.

    Args:
        shape: Of the networks.
        graphs: n a run.
        values: `[R, n]` of float32.
        rngs: One a run; draws weights and the order of batches.
        epochs: Passes over the data.
        batch_size: Cells in one step; all if there are fewer.
        learning_rate: Of Adam.

    Returns:
        Weights, and the running statistics of the batch norms.
    """
    runs, count = values.shape
    device = values.device
    weights = shape.initial(rngs)
    bound = shape.latent**-0.5
    out = np.stack([rng.uniform(-bound, bound, (shape.latent + 1, 1)) for rng in rngs])
    # A row of registers for the output layer: D weights and the constant.
    padded = torch.zeros(runs, -(-(shape.latent + 1) // REGISTERS) * REGISTERS, 1)
    padded[:, : shape.latent + 1] = torch.from_numpy(out.astype(np.float32))
    weights = {name: part.to(device) for name, part in (weights | {"out": padded}).items()}
    leaves = [part.requires_grad_() for part in weights.values()]
    adam = torch.optim.Adam(leaves, lr=learning_rate, fused=True)
    size = min(batch_size, count)
    steps = count // size
    statistics = Statistics(*(part.to(device) for part in initial_statistics(runs, shape)))
    tiled = np.tile(np.arange(count), (epochs, 1))
    drawn = np.stack([rng.permuted(tiled, axis=1)[:, : steps * size] for rng in rngs])
    batches = torch.from_numpy(drawn.reshape(runs, epochs * steps, size)).to(device)
    ones = torch.ones(runs, size, 1, device=device)
    for cells in batches.unbind(1):
        batch = graphs.part(cells)
        latent, seen = embed(weights, shape, batch)
        units = torch.cat([tanh(latent), ones], 2)
        predicted = torch.bmm(units, weights["out"][:, : shape.latent + 1])
        error = (predicted.detach() - values.gather(1, cells)[..., None]) * (2 / size)
        for leaf, gradient in zip(
            leaves, torch.autograd.grad(predicted, leaves, error), strict=True
        ):
            leaf.grad = gradient
        adam.step()
        statistics = statistics.moved_by(seen, batch.used)
    return {name: part.detach() for name, part in weights.items()}, statistics

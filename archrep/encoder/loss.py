"""Divergences, and the two ways to weigh node reconstructions against them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from archrep.errors import ShapeError
from archrep.graphs import GraphBatch


def gaussian_kl(mean: Tensor, log_std: Tensor) -> Tensor:
    """Divergence of a diagonal Gaussian from the standard normal, in nats.

    Kingma and Welling (2014), Appendix B, in log standard deviations: the sum over D of
    `(mean^2 + std^2 - 1) / 2 - log_std`.

    Args:
        mean: Posterior means, `[..., D]`.
        log_std: Log standard deviations (not log variances), `[..., D]`.

    Returns:
        One divergence per latent, `[...]`, never negative. Averaging is left to the caller.

    Raises:
        ShapeError: The shapes differ; broadcasting would hide a transposed batch.

    Example:
        >>> gaussian_kl(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)).tolist()
        [[0.0, 0.0]]
    """
    if mean.shape != log_std.shape:
        raise ShapeError(f"Shapes must be equal. Got {mean.shape=} and {log_std.shape=}.")
    return ((mean.square() + (2 * log_std).exp() - 1) / 2 - log_std).sum(dim=-1)


def node_elbo(
    ops_logits: Tensor, edge_logits: Tensor, batch: GraphBatch, kl: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Negative evidence lower bound in nats a cell: arch2vec (Yan et al., 2020), Eqs. 3 to 5.

    Softmax over the operation of every node, one Bernoulli variable for each of the V x V entries
    of the undirected adjacency, divergence summed over nodes. Padding has no operation to predict.

    Args:
        ops_logits: `[B, V, O]`.
        edge_logits: `[B, V, V]`.
        batch: The true cells.
        kl: Divergences `[B, V]`, or `None` for a plain autoencoder.

    Returns:
        Mean reconstruction and mean divergence of a cell, both in nats.
    """
    undirected = batch.adjacency + batch.adjacency.transpose(1, 2)
    mask = batch.mask
    ops = F.cross_entropy(ops_logits[mask], batch.ops[mask], reduction="sum")
    edges = F.binary_cross_entropy_with_logits(edge_logits, undirected, reduction="sum")
    divergence = ops_logits.new_zeros(()) if kl is None else kl.sum() / len(batch)
    return (ops + edges) / len(batch), divergence


def arch2vec_2020_loss(
    ops_logits: Tensor, edge_logits: Tensor, batch: GraphBatch, kl: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Loss of the authors' code; its terms are means over matrix entries, not nats a cell.

    Binary cross entropy on a sigmoid of every operation entry, padding rows included; on the strict
    upper triangle of the adjacency, averaged over all V x V entries, so that it weighs (V-1)/(2V)
    of a mean; and the divergence, averaged over batch and nodes, once more divided by both.

    Args:
        ops_logits: `[B, V, O]`.
        edge_logits: `[B, V, V]`.
        batch: The true cells.
        kl: Divergences `[B, V]`, or `None` for a plain autoencoder.

    Returns:
        Reconstruction and divergence, each as weighted in the sum.
    """
    batch_size, nodes = batch.ops.shape
    ops = F.binary_cross_entropy_with_logits(ops_logits, batch.one_hot())
    upper = torch.ones(nodes, nodes, device=edge_logits.device).triu(1)
    edges = F.binary_cross_entropy_with_logits(edge_logits, batch.adjacency, weight=upper)
    divergence = ops_logits.new_zeros(()) if kl is None else kl.mean() / (batch_size * nodes)
    return ops + edges, divergence

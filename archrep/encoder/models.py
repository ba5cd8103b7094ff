"""The two autoencoders: one latent for a whole cell (`archrep`), one for each node (the others).

Both answer the same questions: what is the loss of a batch, where is a cell in latent space, what
cell is at a point of it, and what is a cell's embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from archrep.cells.space import Space
from archrep.encoder.config import CellModelConfig, NodeModelConfig
from archrep.encoder.decoder import AutoregressiveDecoder, Decoded, InnerProductDecoder
from archrep.encoder.gin import GCN, GIN, DirectedGIN
from archrep.encoder.loss import arch2vec_2020_loss, gaussian_kl, node_elbo
from archrep.graphs import GraphBatch

LOG_STD_RANGE = (-6.0, 2.0)
"""Bounds on log standard deviations: a runaway value would overflow `exp`."""


class LossTerms(NamedTuple):
    """Mean over a batch; see the loss functions for units."""

    reconstruction: Tensor
    kl: Tensor


class Autoencoder(nn.Module, ABC):
    """What training, metrics and searches need of an encoder.

    Attributes:
        latent_shape: Shape of one cell's latent: `(D,)`, or `(V, D)` with one for each node.
    """

    latent_shape: tuple[int, ...]

    @abstractmethod
    def loss(self, batch: GraphBatch, noise: torch.Generator, prior_mix: float) -> LossTerms:
        """Training loss terms of a batch, latent noise drawn from `noise`."""

    @abstractmethod
    def latents(self, batch: GraphBatch) -> Tensor:
        """Posterior means `[B, *latent_shape]`."""

    @abstractmethod
    def decode(self, latents: Tensor, generator: torch.Generator | None = None) -> Decoded:
        """Graphs at latents `[B, *latent_shape]`; drawn if a generator is given and possible."""

    @abstractmethod
    def pool(self, latents: Tensor, batch: GraphBatch) -> Tensor:
        """Embeddings `[B, D]` of latents `[B, *latent_shape]`."""

    def embed(self, batch: GraphBatch) -> Tensor:
        """Embeddings `[B, D]`."""
        return self.pool(self.latents(batch), batch)

    @property
    def decodes_embeddings(self) -> bool:
        """Whether an embedding alone can be decoded back to a cell."""
        return len(self.latent_shape) == 1


class CellVAE(Autoencoder):
    """Variational autoencoder of whole cells, the `archrep` preset.

    A directed graph isomorphism network whose node states are summed to one Gaussian latent of the
    cell; an autoregressive decoder that writes the cell in its space's canonical order. The
    embedding is the posterior mean and can be decoded.
    """

    def __init__(self, config: CellModelConfig, num_ops: int, max_nodes: int) -> None:
        super().__init__()
        self.latent_shape = (config.latent_dim,)
        self.encoder = DirectedGIN(num_ops, config.hidden, config.layers)
        self.readout = nn.Linear(config.hidden, config.hidden)
        self.mean = nn.Linear(config.hidden, config.latent_dim)
        self.log_std = nn.Linear(config.hidden, config.latent_dim)
        self.decoder = AutoregressiveDecoder(
            num_ops,
            max_nodes,
            config.latent_dim,
            config.decoder_width,
            config.decoder_layers,
            config.decoder_trunk,
        )

    def _pooled(self, batch: GraphBatch) -> Tensor:
        """Sum over the nodes of a cell, `[B, H]`; padding adds nothing."""
        dtype = _compute_dtype(batch.adjacency)
        states = self.encoder(batch.one_hot(dtype), batch.adjacency.to(dtype))
        states = self.readout(states).relu_()
        return torch.bmm(batch.mask[:, None].to(states.dtype), states)[:, 0]

    def posterior(self, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Means and log standard deviations, `[B, D]` each, in float32."""
        pooled = self._pooled(batch)
        return self.mean(pooled).float(), self.log_std(pooled).float().clamp(*LOG_STD_RANGE)

    def loss(self, batch: GraphBatch, noise: torch.Generator, prior_mix: float) -> LossTerms:
        mean, log_std = self.posterior(batch)
        latents = mean + _normal(mean, noise) * log_std.exp()
        if mixed := int(prior_mix * len(batch)):
            # Blends from "almost this cell" to pure noise of the prior: the decoder also meets the
            # points between cells and learns what is near them.
            blend = torch.rand(mixed, 1, generator=noise, device=mean.device)
            tail = (1 - blend.square()).sqrt() * latents[-mixed:]
            tail = tail + blend * _normal(tail, noise)
            latents = torch.cat([latents[:-mixed], tail])
        dtype = _compute_dtype(latents)
        cells = self.decoder.encode_cells(batch, dtype)
        logits = self.decoder(latents.to(dtype), cells)
        nats = self.decoder.negative_log_likelihood(logits, cells, batch)
        return LossTerms(nats.mean(), gaussian_kl(mean, log_std).mean())

    def latents(self, batch: GraphBatch) -> Tensor:
        return self.mean(self._pooled(batch)).float()

    def decode(self, latents: Tensor, generator: torch.Generator | None = None) -> Decoded:
        return self.decoder.decode(latents, generator)

    def pool(self, latents: Tensor, batch: GraphBatch) -> Tensor:
        return latents


class NodeVAE(Autoencoder):
    """arch2vec (Yan et al., 2020) and the baselines of its Table 1: one latent for each node.

    The embedding pools the node latents and cannot be decoded; the node latents can.
    """

    def __init__(self, config: NodeModelConfig, num_ops: int, max_nodes: int) -> None:
        super().__init__()
        self.config = config
        self.latent_shape = (max_nodes, config.latent_dim)
        last = config.last_width or config.hidden
        widths = [num_ops, *[config.hidden] * (config.layers - 1), last]
        self.encoder: nn.Module
        if config.convolution == "gcn":
            self.encoder = GCN(widths)
        else:
            self.encoder = GIN(widths, two_linear=config.convolution == "gin-two-linear")
        self.mean = nn.Linear(last, config.latent_dim)
        self.log_std = nn.Linear(last, config.latent_dim) if config.variational else None
        self.decoder = InnerProductDecoder(num_ops, config.latent_dim, config.dropout)

    def loss(self, batch: GraphBatch, noise: torch.Generator, prior_mix: float) -> LossTerms:
        states = self.encoder(batch.one_hot(), batch.adjacency)
        latents, kl = self.mean(states), None
        if self.log_std is not None:
            log_std = self.log_std(states)
            kl = gaussian_kl(latents, log_std)
            if self.training:
                latents = latents + _normal(latents, noise) * log_std.exp()
        logits = self.decoder(latents, noise)
        weigh = node_elbo if self.config.loss == "elbo" else arch2vec_2020_loss
        return LossTerms(*weigh(logits[0], logits[1], batch, kl))

    def latents(self, batch: GraphBatch) -> Tensor:
        return self.mean(self.encoder(batch.one_hot(), batch.adjacency))

    def decode(self, latents: Tensor, generator: torch.Generator | None = None) -> Decoded:
        return self.decoder.decode(latents)

    def pool(self, latents: Tensor, batch: GraphBatch) -> Tensor:
        if self.config.pooling == "padded-mean":
            return latents.mean(1)
        return (latents * batch.mask[..., None]).sum(1)


def build_model(config: CellModelConfig | NodeModelConfig, space: Space, seed: int) -> Autoencoder:
    """A model with initial weights of its own random stream; global state is left alone."""
    from archrep.seeding import derive_seed

    kind = CellVAE if isinstance(config, CellModelConfig) else NodeVAE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        return kind(config, len(space.ops), space.max_nodes)  # type: ignore[arg-type]


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device)


def _compute_dtype(tensor: Tensor) -> torch.dtype:
    """bfloat16 under autocast, so that no activation is cast back and forth; else float32."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32

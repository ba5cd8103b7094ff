"""Training of the networks of some cells, all steps in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from archrep.cells.cell import Cell
from archrep.seeding import derive_seed
from archrep.tabulation.config import TabulateConfig
from archrep.tabulation.images import TEST, TRAIN, VALID, Batches
from archrep.tabulation.network import NetworkBatch, Skeleton, build_networks

EVALUATION_IMAGES = 150
"""Images in one evaluation step, so that feature maps stay in the cache of the processor."""


@dataclass(frozen=True)
class Curves:
    """What training M cells with S seeds over E epochs gave; accuracies are fractions.

    Attributes:
        valid_accuracy: After each epoch, `[M, S, E]` of float32.
        test_accuracy: After each epoch, `[M, S, E]` of float32.
        train_accuracy: At the end, on training images as they are, `[M, S]` of float32.
        diverged: Whether outputs became infinite or undefined, `[M, S]`; accuracies from then on
            are those of guessing, one over the number of classes.
    """

    valid_accuracy: np.ndarray
    test_accuracy: np.ndarray
    train_accuracy: np.ndarray
    diverged: np.ndarray


def train_cells(
    cells: Sequence[Cell], skeleton: Skeleton, config: TabulateConfig, batches: Batches
) -> Curves:
    """Train every cell with every seed from scratch.

    The networks share nothing but the images. On one machine, the result of a network is the same
    to the bit whatever else is in `cells`, provided that the widths of stages are multiples of 8;
    otherwise torch rounds the sums of batch norm by how many channels there are in all.

    Raises:
        CellError: A cell has no input or output, or an unknown operation.
    """
    seeds = [derive_seed(config.seed, f"tabulate/{seed}") for seed in range(config.seeds)]
    padded = [cells[0]] * 2 if len(cells) * len(seeds) == 1 else cells
    networks = build_networks(padded, seeds, skeleton)
    optimizer = torch.optim.SGD(
        networks.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=True,
    )
    finite = torch.ones(networks.networks, dtype=torch.bool)
    valid: list[Tensor] = []
    test: list[Tensor] = []
    for epoch in range(config.epochs):
        _train_epoch(networks, optimizer, batches, epoch, config)
        for curve, part in ((valid, VALID), (test, TEST)):
            curve.append(_accuracy(networks, *batches.parts[part], finite))
    train = _accuracy(networks, *batches.parts[TRAIN], finite)

    def shaped(values: Tensor) -> np.ndarray:
        return values.view(len(padded), len(seeds), *values.shape[1:])[: len(cells)].numpy()

    return Curves(
        shaped(torch.stack(valid, 1)), shaped(torch.stack(test, 1)), shaped(train), shaped(~finite)
    )


def _train_epoch(
    networks: NetworkBatch,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    epoch: int,
    config: TabulateConfig,
) -> None:
    networks.train()
    orders = [batches.epoch(seed, epoch) for seed in range(config.seeds)]
    images = torch.stack([images for images, _ in orders], 1)  # [n, S, c, H, W]
    labels = torch.stack([labels for _, labels in orders], 1)  # [n, S]
    steps = len(labels) // config.batch_size
    for step in range(steps):
        done = (epoch * steps + step) / (config.epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        rows = slice(step * config.batch_size, (step + 1) * config.batch_size)
        logits = networks(_for_all(images[rows], networks))
        # The sum over networks of their mean losses: no gradient knows of another network.
        loss = functional.cross_entropy(
            logits.flatten(0, 1), _for_all(labels[rows], networks).flatten(), reduction="sum"
        )
        optimizer.zero_grad(set_to_none=True)
        (loss / config.batch_size).backward()
        optimizer.step()


def _for_all(values: Tensor, networks: NetworkBatch) -> Tensor:
    """Values of each seed, `[B, S, ...]`, for every network, `[B, K, ...]`."""
    return values.repeat(1, networks.networks // networks.seeds, *[1] * (values.dim() - 2))


@torch.inference_mode()
def _accuracy(networks: NetworkBatch, images: Tensor, labels: Tensor, finite: Tensor) -> Tensor:
    """Accuracy of each network, `[K]`; `finite` `[K]` is cleared where logits are not."""
    networks.eval()
    right, count = torch.zeros(networks.networks), len(labels)
    for some, truth in zip(
        images.split(EVALUATION_IMAGES), labels.split(EVALUATION_IMAGES), strict=True
    ):
        logits = networks(some.unsqueeze(1).expand(-1, networks.networks, -1, -1, -1))
        right += (logits.argmax(-1) == truth[:, None]).sum(0)
        finite &= logits.isfinite().all(-1).all(0)
    return torch.where(finite, right / count, 1 / logits.shape[-1])

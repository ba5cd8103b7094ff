"""The interface of a searcher, and what every one needs: lanes of data, heads, SGD, a checkpoint.

images of each seed -> batches -> supernets side by side -> heads -> losses -> one step
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archrep.data.augment import Augmentation
from archrep.data.base import ImageSet
from archrep.errors import ConfigError, RunError
from archrep.objectives.base import Objective
from archrep.searchers.config import SupernetConfig
from archrep.searchers.parallel import ALONE, Processes
from archrep.seeding import derive_seed, numpy_stream, torch_stream
from archrep.settings import read_settings
from archrep.supernets.base import Supernet
from archrep.supernets.registry import make_supernet

Figures = dict[str, list[Any]]
"""What an epoch gave, a list over seeds by name: numbers, and the notation of the cell."""


class Lane:
    """What one seed sees of one part of the images, in an order of its own.

    Args:
        images: With the targets of the objective, on the device where they are used.
        objective: What is learned.
        augmentation: What happens to training images first.
        seed: Fixes the order and everything drawn.
        use: Name of the part, such as `"train"`; another part draws from other streams.
    """

    def __init__(
        self,
        images: ImageSet,
        objective: Objective,
        augmentation: Augmentation,
        seed: int,
        use: str = "train",
    ) -> None:
        self.images, self.objective, self.augmentation = images, objective, augmentation
        self.seed, self.use = seed, use

    def batches(self, epoch: int, size: int) -> Iterator[tuple[Tensor, Any]]:
        """Inputs and targets of every step of an epoch; a last part of a batch is left out."""
        order = numpy_stream(self.seed, f"supernet/{self.use}/order/{epoch}")
        device = self.images.images.device
        draws = torch_stream(self.seed, f"supernet/{self.use}/draws/{epoch}", device.type)
        rows = torch.from_numpy(order.permutation(len(self.images))).to(device)
        for at in range(0, len(rows) - size + 1, size):
            chosen = rows[at : at + size]
            pixels, targets = self.images.pixels(chosen), self.images.targets[chosen]
            if self.images.task == "masks":  # are moved along
                pixels, targets = self.augmentation(pixels, draws, targets)
            else:
                pixels = self.augmentation(pixels, draws)
            yield self.objective.prepare(pixels, targets, self.images, draws, True)


@dataclass(frozen=True, kw_only=True)
class SearcherSettings:
    """What only one searcher has; its fields are shown by `--list`."""


class Searcher(ABC):
    """Trains supernets, one a seed, and says which cells it would choose.

    Args:
        config: Settings.
        images: Training images, on the device where everything is computed.
        objective: What is learned.

    Attributes:
        supernet: S supernets side by side.
        heads: What turns their feature maps into the objective's outputs, one a seed.
        progress: Called on the way through long work after training, with what is done, and how
            many of how many.

    Raises:
        ConfigError: The objective cannot work with the images, or these are fewer than a batch.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """Name and source, as `--list` prints them."""
    Settings: ClassVar[type[SearcherSettings]] = SearcherSettings
    parts: tuple[str, ...] = ("train",)
    """Parts that the training images are divided into."""
    processes: Processes = ALONE

    def __init__(self, config: SupernetConfig, images: ImageSet, objective: Objective) -> None:
        self.config, self.objective = config, objective
        self.settings = self.read_settings(config)
        self.progress: Callable[[str, int, int], None] = lambda what, done, of: None
        self.device = images.images.device
        augmentation = Augmentation(crop_padding=config.crop_padding, flip=config.flip)
        self.lanes: dict[str, list[Lane]] = {use: [] for use in self.parts}
        for seed in config.seeds:
            divided = self.divide(objective.adopt(images, seed), seed)
            for use, part in zip(self.parts, divided, strict=True):
                self.lanes[use].append(Lane(part, objective, augmentation, seed, use))
        smallest = min(len(lane.images) for lanes in self.lanes.values() for lane in lanes)
        if smallest < config.batch_size:
            raise ConfigError(
                f"`batch_size` must be at most the {smallest:,} images there are. "
                f"Got {config.batch_size}."
            )
        self.batch_size = config.batch_size
        self.build()

    def make(self, **sizes: Any) -> Supernet:
        """The configured supernets with their initial weights.

        Args:
            sizes: What differs from the configured ones, see `make_supernet`.
        """
        config, first = self.config, self.lanes["train"][0].images
        wanted = {
            "channels": config.channels,
            "cells": config.cells,
            "width": config.width,
            "stem": config.stem,
            "affine": config.affine,
            "image_channels": self.objective.input_channels(first),
        }
        return make_supernet(config.space, config.seeds, **wanted | sizes).to(self.device)

    def build(self, **sizes: Any) -> None:
        """New supernets, heads and optimizer.

        Args:
            sizes: What differs from the configured supernet, see `make_supernet`.
        """
        config = self.config
        self.supernet = self.make(**sizes)
        heads = []
        for seed, lane in zip(config.seeds, self.lanes["train"], strict=True):
            with torch.random.fork_rng(devices=[]):  # modules draw weights as they are made
                torch.manual_seed(derive_seed(seed, "supernet/head"))
                heads.append(self.objective.head(self.supernet.stages, lane.images))
        self.heads = nn.ModuleList(heads).to(self.device)
        self.weights = [*self.supernet.parameters(), *self.heads.parameters()]
        stacked = len(list(self.supernet.parameters()))
        per_head = [len(list(head.parameters())) for head in self.heads]
        owners: list[int | None] = [None] * stacked
        owners += [s for s, number in enumerate(per_head) for _ in range(number)]
        self._owners = owners
        for weights in self.weights:
            weights.grad = torch.zeros_like(weights)
        self.optimizer = torch.optim.SGD(
            self.weights,
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.nesterov and config.momentum > 0,
            weight_decay=config.weight_decay,
            fused=True,
        )

    @classmethod
    def read_settings(cls, config: SupernetConfig) -> Any:
        """Settings of this searcher.

        Raises:
            UnknownNameError: It has no such setting.
            ConfigError: A value is impossible.
        """
        values = read_settings(cls.Settings, config.searcher_settings, config.searcher)
        return cls.Settings(**values)

    # What a searcher says -------------------------------------------------------------------------

    @property
    def epochs(self) -> int:
        """How many it trains."""
        return self.config.epochs

    @abstractmethod
    def train_epoch(self, epoch: int) -> Figures:
        """One pass over the training images; the mean loss and score of each seed, and others."""

    @abstractmethod
    def choose(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Operations of the architecture that each seed ends with, `[S, P]`, by what chose it.

        Args:
            scores: What `scores` gave.
        """

    def scores(self) -> dict[str, np.ndarray]:
        """What it thinks of every cell of an enumerated space, `[S, N]` by name."""
        return {}

    def finished(self, figures: Figures) -> bool:
        """Whether training may end after an epoch with these figures."""
        return False

    # What every searcher needs --------------------------------------------------------------------

    def divide(self, images: ImageSet, seed: int) -> tuple[ImageSet, ...]:
        """Images of each of `parts`."""
        return (images,)

    def set_rate(self, epoch: int) -> None:
        """Half a cosine along the epochs, constant within one."""
        self._set_rate(epoch / self.config.epochs)

    def _set_rate(self, progress: float) -> None:
        config = self.config
        start, end = config.learning_rate, config.final_learning_rate
        rate = end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def steps(self, use: str, epoch: int) -> Iterator[tuple[Tensor, list[Any]]]:
        """Inputs `[B, S, c, H, W]` and the targets of each seed, step by step.

        Of several processes each draws the whole batch, and yields its share.
        """
        self.processes.check_batch(self.batch_size)
        lanes = [lane.batches(epoch, self.batch_size) for lane in self.lanes[use]]
        for parts in zip(*lanes, strict=True):
            own = self.processes.share(list(parts))
            yield torch.stack([inputs for inputs, _ in own], 1), [t for _, t in own]

    def draws(self, epoch: int) -> list[torch.Generator]:
        """Of each seed, for what is random within a supernet: noise and dropout."""
        kind = self.device.type
        return [torch_stream(seed, f"supernet/noise/{epoch}", kind) for seed in self.config.seeds]

    def losses(
        self, forward: Callable[..., list[Tensor]], inputs: Tensor, targets: Sequence[Any]
    ) -> tuple[Tensor, Tensor]:
        """Loss and score of each seed, `[S]` each; the loss can be differentiated.

        Args:
            forward: The supernet, with all that it needs but the images and `norm`.
            inputs: `[B, S, c, H, W]`.
            targets: Of each seed.
        """
        size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
        losses, scores = [], []
        half = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            maps = forward(inputs, norm=self.processes.statistics())
            for s, (head, target) in enumerate(zip(self.heads, targets, strict=True)):
                outputs = head([m[:, s] for m in maps], size)
                losses.append(self.objective.loss(outputs, target))
                with torch.no_grad():
                    scores.append(self.objective.score(outputs, target))
        return torch.stack(losses), torch.stack(scores)

    def step(self, loss: Tensor) -> None:
        """One step of the weights down the losses of all seeds, `[S]`."""
        # Into the gradients that are there: a fused step takes no others than contiguous ones.
        self.optimizer.zero_grad(set_to_none=False)
        loss.sum().backward(inputs=self.weights)
        self.processes.average([w.grad for w in self.weights if w.grad is not None])
        if self.config.clip is not None:
            self._clip(self.config.clip)
        self.optimizer.step()

    def _clip(self, most: float) -> None:
        """Shorten the gradient of each seed to a norm, as if it were alone."""
        gradients = [weights.grad for weights in self.weights if weights.grad is not None]
        norms = sum_by_seed(gradients, self._owners, len(self.config.seeds)).sqrt()
        factors = (most / (norms + 1e-6)).clamp(max=1.0)
        for gradient, owner in zip(gradients, self._owners, strict=True):
            if owner is None:
                gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))
            else:
                gradient.mul_(factors[owner])

    # State ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Everything that decides how training goes on after an epoch."""
        named = {f"supernet.{k}": v for k, v in self.supernet.state_dict().items()}
        named |= {f"heads.{k}": v for k, v in self.heads.state_dict().items()}
        for n, weights in enumerate(self.weights):
            buffer = self.optimizer.state[weights].get("momentum_buffer")
            if buffer is not None:
                named[f"momentum.{n}"] = buffer
        return {name: tensor.detach().cpu().numpy() for name, tensor in named.items()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` gave.

        Raises:
            RunError: It is of another supernet, objective or number of seeds.
        """
        tensors = {name: torch.from_numpy(np.array(part)) for name, part in state.items()}
        try:
            for name, module in (("supernet.", self.supernet), ("heads.", self.heads)):
                own = {k[len(name) :]: v for k, v in tensors.items() if k.startswith(name)}
                module.load_state_dict(own)
            self.optimizer.state.clear()
            for n, weights in enumerate(self.weights):
                if f"momentum.{n}" in tensors:
                    buffer = torch.empty_like(weights).copy_(tensors[f"momentum.{n}"])
                    self.optimizer.state[weights]["momentum_buffer"] = buffer
        except (RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[0][:160]
            raise RunError(f"Expected the state of this supernet. {reason}") from None


def figures_of(
    losses: Sequence[Tensor], scores: Sequence[Tensor], metric: str
) -> dict[str, list[Any]]:
    """Mean loss and score of each seed over the steps of an epoch, `[S]` each step."""
    return {
        "loss": torch.stack(list(losses)).mean(0).tolist(),
        metric: torch.stack(list(scores)).mean(0).tolist(),
    }


def sum_by_seed(tensors: Sequence[Tensor], owners: Sequence[int | None], count: int) -> Tensor:
    """Sums of squares of tensors of each seed, `[S]`.

    Args:
        tensors: Stacked over seeds `[S, ...]`, or of one seed.
        owners: The seed's number of each, `None` for stacked ones.
        count: Number of seeds S.
    """
    total = torch.zeros(count, device=tensors[0].device)
    for tensor, owner in zip(tensors, owners, strict=True):
        if owner is None:
            total += torch.linalg.vector_norm(tensor.flatten(1), dim=1).square()
        else:
            total[owner] += torch.linalg.vector_norm(tensor).square()
    return total

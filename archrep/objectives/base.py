"""The interface of an objective: what a supernet is trained to do with images.

    images -> adopt (labels of its own) -> prepare (inputs, targets) -> supernet -> head -> loss

An objective is a frozen dataclass of its settings; everything it does is batched, on the device
of the data, and draws from the generator that it is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from archrep.data.base import ImageSet
from archrep.errors import ConfigError


class Stage(NamedTuple):
    """One resolution of a supernet.

    Attributes:
        channels: Of its last feature map.
        stride: Pixels of the input that one of its pixels stands for, in each direction.
    """

    channels: int
    stride: int


class Head(nn.Module, ABC):
    """What turns feature maps into an objective's outputs."""

    @abstractmethod
    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Outputs of the last feature map of each stage, `[B, C_i, H_i, W_i]`, finest first.

        Args:
            features: One a stage.
            size: Height and width of the inputs.
        """


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """What a supernet learns; its fields are its settings."""

    name: ClassVar[str]
    title: ClassVar[str]
    """Name and source, as `--list` prints them."""
    metric: ClassVar[str] = "accuracy"
    """What `score` is."""
    tasks: ClassVar[tuple[str, ...]] = ("classes", "masks", "findings")
    """Kinds of targets that it can work with; those without labels work with any."""

    def adopt(self, images: ImageSet, seed: int) -> ImageSet:
        """The images with the targets that this objective wants, drawn once for a run.

        Raises:
            ConfigError: It cannot work with these.
        """
        if images.task not in self.tasks:
            raise ConfigError(
                f"The objective {self.name!r} needs {' or '.join(self.tasks)} as targets. "
                f"{images.name} has {images.task}."
            )
        return images

    def input_channels(self, images: ImageSet) -> int:
        """Channels of what the supernet sees."""
        return images.channels

    @abstractmethod
    def head(self, stages: Sequence[Stage], images: ImageSet) -> Head:
        """A new head over feature maps of these stages, with the initial weights of torch."""

    @abstractmethod
    def prepare(
        self,
        pixels: Tensor,
        targets: Tensor,
        images: ImageSet,
        generator: torch.Generator,
        train: bool,
    ) -> tuple[Tensor, Any]:
        """Inputs `[B', c', h, w]` of the supernet, and what `loss` compares its outputs with.

        Args:
            pixels: Augmented images `[B, c, H, W]`, in the unit of `ImageSet.pixels`.
            targets: Of those images.
            images: Where they come from, for their statistics.
            generator: What random choices are drawn from.
            train: Whether this is a step of training; some objectives are harder then.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Any) -> Tensor:
        """Mean loss of a batch, to be minimised."""

    @abstractmethod
    def score(self, outputs: Tensor, targets: Any) -> Tensor:
        """Mean of the batch of what `metric` names; larger is better."""

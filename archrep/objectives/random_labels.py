"""Random labels: Zhang et al. (2021), "Neural Architecture Search with Random Labels".

Every image has one label, drawn uniformly and kept for the whole run, so that the only thing to
be learned is to tell the images apart. RLNAS draws as many classes as the data have; UnrealNAS
("Unreal Task Formulation") draws 1,000 for real images and 5,000 for fractals and noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.base import Objective
from archrep.objectives.supervised import Supervised
from archrep.seeding import torch_stream
from archrep.settings import check


@dataclass(frozen=True, kw_only=True)
class RandomLabels(Supervised):
    """Tell a class that was drawn for the image."""

    name: ClassVar[str] = "random-labels"
    title: ClassVar[str] = "Random labels (Zhang et al., 2021)"
    tasks: ClassVar[tuple[str, ...]] = Objective.tasks

    classes: int | None = None
    """Number of classes drawn from; `None` for as many as the images have."""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.classes
        check({f"`classes` must be at least 2. Got {given}.": given is None or given >= 2})

    def adopt(self, images: ImageSet, seed: int) -> ImageSet:
        """The images with labels `[N]` drawn from the stream of the seed, on any device the same.

        The label of an image depends on its place, not on what it shows; images that are held
        back for validation keep their labels if they are not adopted.

        Raises:
            ConfigError: The number of classes is left open, and the targets are not classes.
        """
        images = super().adopt(images, seed)
        classes = self.classes
        if classes is None and images.task != "classes":
            raise ConfigError(
                f"`classes` of the objective {self.name!r} must be given where the images have no "
                f"classes of their own. {images.name} has {images.task}."
            )
        if classes is None:
            classes = images.classes
        draws = torch_stream(seed, f"objectives/{self.name}")
        labels = torch.randint(classes, (len(images),), generator=draws)
        labels = labels.to(images.images.device)
        return replace(images, targets=labels, classes=classes, task="classes")

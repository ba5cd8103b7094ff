"""Settings of one weight-sharing run: the Python interface, the file and the flags at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from archrep.errors import ConfigError, UnknownNameError


@dataclass(frozen=True, kw_only=True)
class SupernetConfig:
    """A supernet, what it is trained to do with which images, and how a cell is found with it."""

    space: str = "nasbench201"
    """Search space of the supernet."""
    channels: int = 16
    """Channels of the first stage."""
    cells: int = 5
    """Cells of a stage."""
    objective: str = "random-labels"
    """What is learned."""
    objective_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the objective that differ from its defaults."""
    data: str = "digits"
    """Images, by the name of a data set."""
    images: int | None = None
    """Training images, classes in proportion; `None` for all."""
    size: int | None = None
    """Height and width of an image in pixels; `None` for the stored ones."""
    crop_padding: int = 4
    """Pixels that are padded before a random crop; 0 for none."""
    flip: bool = True
    """Flip half of the training images."""
    searcher: Literal["single-path", "darts"] = "single-path"
    """How weights are shared and a cell is found."""
    epochs: int = 250
    """Passes over the training images."""
    batch_size: int = 64
    """Images of a step."""
    learning_rate: float = 0.025
    """Of the weights, at the start of half a cosine."""
    final_learning_rate: float = 0.001
    """At its end."""
    momentum: float = 0.9
    """Of SGD with Nesterov's momentum."""
    weight_decay: float = 5e-4
    """On all weights."""
    unsampled: Literal["zero", "absent"] = "zero"
    """What the gradient of an operation is that a step did not sample. Zeros let weight decay and
    momentum go on, as the PyTorch of the published code did; absent ones leave it as it is, as
    PyTorch does since 2.0. Angles depend on it."""
    stop_angle: float | None = None
    """Degrees that the convolutions may turn: training ends with the epoch in which they pass it
    on average, since the angle ranks cells only inside a window."""
    order: Literal[1, 2] = 1
    """Of the gradient of architecture weights: 2 looks one step of the weights ahead."""
    alpha_learning_rate: float = 3e-4
    """Of Adam on the architecture weights."""
    alpha_weight_decay: float = 1e-3
    """On them."""
    seed: int = 0
    """Of the first run."""
    runs: int = 3
    """Runs of seeds that count on; they train as one program."""

    def __post_init__(self) -> None:
        checks = {
            f"`{name}` must be at least {least}. Got {getattr(self, name)}.": (
                getattr(self, name) is None or getattr(self, name) >= least
            )
            for names, least in (
                (("channels", "cells", "epochs", "runs", "images", "size"), 1),
                (("seed", "crop_padding", "weight_decay", "alpha_weight_decay"), 0),
                (("final_learning_rate", "momentum"), 0),
                (("batch_size",), 2),
            )
            for name in names
        } | {
            f"`{name}` must be positive, at most 10. Got {getattr(self, name)}.": (
                0 < getattr(self, name) <= 10
            )
            for name in ("learning_rate", "alpha_learning_rate")
        }
        checks[f"`momentum` must be below 1. Got {self.momentum}."] = self.momentum < 1
        checks[f"`stop_angle` must lie in (0, 90]. Got {self.stop_angle}."] = (
            self.stop_angle is None or 0 < self.stop_angle <= 90
        )
        options = {
            "searcher": ("single-path", "darts"),
            "unsampled": ("zero", "absent"),
            "order": (1, 2),
        }
        for name, known in options.items():
            words = " or ".join(map(str, known))
            checks[f"`{name}` must be {words}. Got {getattr(self, name)!r}."] = (
                getattr(self, name) in known
            )
        if problems := [problem for problem, fine in checks.items() if not fine]:
            raise ConfigError("\n".join(problems))

    @property
    def seeds(self) -> list[int]:
        """One a run."""
        return list(range(self.seed, self.seed + self.runs))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SupernetConfig:
        """Config of plain values.

        Raises:
            ConfigError: A field is unknown, or a value impossible.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"Unknown settings {unknown}; known are {sorted(known)}.")
        return cls(**values)


PRESETS: dict[str, SupernetConfig] = {
    # Zhang et al. (2021), released script: 25,000 or 50,000 images of 32 x 32 pixels, hours.
    "rlnas": SupernetConfig(data="cifar10"),
    # The same in a minute on one core: 512 images of 8 x 8 pixels, 6,400 steps.
    "rlnas-small": SupernetConfig(
        channels=8, cells=1, data="cifar10", images=512, size=8, crop_padding=0, flip=False,
        epochs=400, batch_size=32, learning_rate=0.1, final_learning_rate=0.0,
    ),
    # Dong and Yang (2020), DARTS-V1 on NAS-Bench-201: half of the images for each kind of weights.
    "darts": SupernetConfig(objective="supervised", data="cifar10", searcher="darts", epochs=50),
    # The same at toy size and without augmentation, which collapses as the original does: a minute
    # a seed. With crops and flips it had three to five skips of six after as many epochs.
    "darts-small": SupernetConfig(
        objective="supervised", data="cifar10", searcher="darts", channels=8, cells=1,
        images=2048, size=16, crop_padding=0, flip=False, epochs=40, alpha_learning_rate=3e-3,
    ),
}  # fmt: skip
"""Named settings; what differs from the publication stands beside."""


def preset_config(name: str, **changes: Any) -> SupernetConfig:
    """Settings of a preset with some changed.

    Raises:
        UnknownNameError: No such preset.
        ConfigError: A value is impossible.
    """
    if name not in PRESETS:
        raise UnknownNameError(f"Presets are: {', '.join(PRESETS)}. Got {name!r}.")
    return replace(PRESETS[name], **changes)

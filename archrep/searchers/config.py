"""Settings of one weight-sharing run: the Python interface, the file and the flags at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from archrep.settings import check, from_plain, named


@dataclass(frozen=True, kw_only=True)
class SupernetConfig:
    """A supernet, what it is trained to do with which images, and how a cell is found with it."""

    space: str = "nasbench201"
    """The supernet."""
    channels: int | None = None
    """Channels of the first stage; `None` for the published number."""
    cells: int | None = None
    """Cells of a stage of NAS-Bench-201, or of a whole network of DARTS; `None` as published."""
    stem: Literal["cifar", "imagenet"] | None = None
    """How a network of DARTS begins: for small images, or dividing their size by 8."""
    affine: bool | None = None
    """Scale and shift of batch norms in cells of DARTS, where the single paths of RLNAS have them;
    `None` leaves it to the searcher."""
    width: float | None = None
    """Factor of all channels of MobileNets; `None` for 1."""
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
    searcher: str = "single-path"
    """How weights are shared and a cell is found."""
    searcher_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the searcher that differ from its defaults."""
    epochs: int = 250
    """Passes over the training images."""
    batch_size: int = 64
    """Images of a step."""
    learning_rate: float = 0.025
    """Of the weights, at the start of half a cosine."""
    final_learning_rate: float = 0.001
    """At its end."""
    momentum: float = 0.9
    """Of SGD."""
    nesterov: bool = True
    """Nesterov's momentum."""
    weight_decay: float = 5e-4
    """On all weights."""
    clip: float | None = None
    """Largest norm of the gradient of a seed's weights; `None` for any."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of what supernets and heads compute in training; weights and scores are float32."""
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
                (("seed", "crop_padding", "weight_decay"), 0),
                (("final_learning_rate", "momentum"), 0),
                (("batch_size",), 2),
            )
            for name in names
        }
        for name in ("final_learning_rate", "weight_decay"):
            value = getattr(self, name)
            checks[f"`{name}` must be at most 10. Got {value}."] = value <= 10
        checks[f"`learning_rate` must be positive, at most 10. Got {self.learning_rate}."] = (
            0 < self.learning_rate <= 10
        )
        checks[f"`width` must be positive. Got {self.width}."] = (
            self.width is None or self.width > 0
        )
        checks[f"`momentum` must be below 1. Got {self.momentum}."] = self.momentum < 1
        checks[f"`clip` must be positive. Got {self.clip}."] = self.clip is None or self.clip > 0
        precisions = ("float32", "bfloat16")
        checks[f"`precision` must be one of {precisions}. Got {self.precision!r}."] = (
            self.precision in precisions
        )
        stems = (None, "cifar", "imagenet")
        checks[f"`stem` must be 'cifar' or 'imagenet'. Got {self.stem!r}."] = self.stem in stems
        check(checks)

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
        return from_plain(cls, values)


_RLNAS_SMALL = SupernetConfig(
    channels=8, cells=1, data="cifar10", images=512, size=8, crop_padding=0, flip=False,
    epochs=400, batch_size=32, learning_rate=0.1, final_learning_rate=0.0,
)  # fmt: skip
_DARTS = SupernetConfig(
    space="darts", objective="supervised", data="cifar10", searcher="darts", epochs=50,
    weight_decay=3e-4, nesterov=False, clip=5.0, searcher_settings={"valid": "ordered-half"},
)  # fmt: skip
_UNREAL = replace(
    _DARTS, objective="random-labels", crop_padding=0, flip=False, epochs=55, weight_decay=0.0,
    final_learning_rate=0.0, clip=None, images=25_000,
    searcher_settings={
        "alpha_weight_decay": 0.0, "alpha_beta": 0.99, "alpha_init": "zeros", "warmup_epochs": 5,
        "valid": "flipped-copy",
    },
)  # fmt: skip

PRESETS: dict[str, SupernetConfig] = {
    # Zhang et al. (2021), released script for NAS-Bench-201. Hours.
    "rlnas": SupernetConfig(data="cifar10-nasbench201-train"),
    # The same paper in the space of DARTS, on CIFAR-10.
    "rlnas-darts": SupernetConfig(
        space="darts", data="cifar10", weight_decay=3e-4, nesterov=False, clip=5.0
    ),
    # The same in a minute on one core: 512 images of 8 x 8 pixels, 6,400 steps.
    "rlnas-small": _RLNAS_SMALL,
    # Dong and Yang (2020), DARTS-V1 on NAS-Bench-201. Its code trains the weights before the
    # architecture weights in a step, here they come after.
    "nasbench201-darts": SupernetConfig(
        objective="supervised", data="cifar10-nasbench201", searcher="darts", epochs=50,
        searcher_settings={"valid": "ordered-half"},
    ),
    # The same at toy size and without augmentation, which collapses as the original does: a minute
    # a seed. With crops and flips it had three to five skips of six after as many epochs.
    "nasbench201-darts-small": SupernetConfig(
        objective="supervised", data="cifar10", searcher="darts", channels=8, cells=1,
        images=2048, size=16, crop_padding=0, flip=False, epochs=40,
        searcher_settings={"alpha_learning_rate": 3e-3},
    ),
    # Liu et al. (2019), Appendix A.1.1; first order.
    "darts": _DARTS,
    # Xu et al. (2020), CIFAR-10.
    "pc-darts": replace(
        _DARTS, searcher="pc-darts", batch_size=256, learning_rate=0.1, final_learning_rate=0.0
    ),
    # Chen et al. (2019): three stages of 25 epochs, with networks of 5, 11 and 17 cells.
    "p-darts": replace(
        _DARTS, searcher="p-darts", batch_size=96, epochs=75, final_learning_rate=0.0
    ),
    # Li et al. (2020), "SGAS", criterion 1.
    "sgas": replace(_DARTS, searcher="sgas"),
    # Chu et al. (2021), "DARTS-".
    "darts-minus": replace(_DARTS, searcher="darts-minus"),
    # Liu et al. (2020), UnNAS, with the settings of DARTS for CIFAR-10; its own, for ImageNet, have
    # 2 epochs, a rate of .1 (.05), decay 3e-5, and shorten gradients of weights and alphas as one.
    # `--objective colorization` and `jigsaw` are its other two tasks.
    "unnas": replace(_DARTS, objective="rotation"),
    # UnrealNAS, appendix: labels at random, the validation half is the training images flipped,
    # alphas frozen for 5 epochs. RLRD here; `--data fractals` and `--data noise` with
    # `--set classes=5000` are RLGD and RLRN.
    "unrealnas": replace(_UNREAL, data="cifar10", objective_settings={"classes": 1000}),
    # MAE-NAS, Section 4: DARTS under masked reconstruction.
    "mae-nas": replace(
        _DARTS, objective="reconstruction", objective_settings={"ratio": 0.5, "patch": 4}
    ),
    # RLNAS on the MobileNet-like space. The published run has ImageNet, a rate that falls along a
    # line, gradients cut by value, and decay on convolutions and classifier only.
    "rlnas-mobilenet": SupernetConfig(
        space="mobilenet", data="cifar10", epochs=120, nesterov=False,
        objective_settings={"label_smoothing": 0.1}, batch_size=512, learning_rate=0.25,
        final_learning_rate=5e-4, weight_decay=4e-5,
    ),
}  # fmt: skip
"""Named settings; what differs from the publication stands beside."""


def preset_config(name: str, **changes: Any) -> SupernetConfig:
    """Settings of a preset with some changed.

    Raises:
        UnknownNameError: No such preset.
        ConfigError: A value is impossible.
    """
    return replace(named(PRESETS, name, "Preset"), **changes)

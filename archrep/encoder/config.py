"""Configuration of a pre-training run and the named presets. No torch in here.

A frozen dataclass is at once the Python argument, the TOML file and what a run directory stores.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.errors import ConfigError
from archrep.settings import check, named


@dataclass(frozen=True, kw_only=True)
class CellModelConfig:
    """Variational autoencoder with one latent for a whole cell."""

    latent_dim: int = 16
    """Size D of the latent, which is also the embedding."""
    hidden: int = 128
    """Width of the directed graph isomorphism layers."""
    layers: int = 4
    """Directed graph isomorphism layers."""
    decoder_width: int = 512
    """Hidden units of a masked decoder layer."""
    decoder_layers: int = 2
    """Masked decoder layers."""
    decoder_trunk: int = 256
    """Hidden units of the part of the decoder that reads the latent."""


@dataclass(frozen=True, kw_only=True)
class NodeModelConfig:
    """Autoencoder with one latent a node and an inner-product decoder: arch2vec and baselines."""

    latent_dim: int = 16
    """Size D of a node latent and of the embedding pooled from them."""
    hidden: int = 128
    """Width of the graph layers."""
    layers: int = 4
    """Graph layers; the authors' code has four and counts the linear head as the fifth."""
    last_width: int | None = None
    """Width of the last graph layer, if it is not `hidden`."""
    convolution: Literal["gin", "gin-two-linear", "gcn"] = "gin"
    """Graph layer: the paper's GIN, the authors' GIN with two linear maps a layer, or GCN."""
    variational: bool = True
    """Sample latents and charge their divergence; otherwise a plain autoencoder."""
    dropout: float = 0.0
    """Dropout on the latents in front of the decoder."""
    pooling: Literal["sum", "padded-mean"] = "sum"
    """Embedding: sum over the nodes of a cell, or mean over all slots with the padding."""
    loss: Literal["elbo", "arch2vec-2020"] = "elbo"
    """Evidence lower bound as printed, or the weighting of the authors' code."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimisation of either model."""

    epochs: int = 6
    """Passes over the training cells."""
    batch_size: int = 512
    """Cells in one step."""
    learning_rate: float = 4e-3
    """Largest learning rate."""
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    """Linear warm-up over a tenth, then cosine decay to zero; or the same rate throughout."""
    beta2: float = 0.98
    """Decay of Adam's second moment; short runs want less memory than the usual 0.999."""
    weight_decay: float = 1e-4
    """Decoupled weight decay (AdamW)."""
    gradient_clip: float = 5.0
    """Largest norm of the gradient."""
    kl_weight: float = 0.1
    """Weight of the divergence against the reconstruction, both in nats a cell."""
    kl_warmup: float = 0.15
    """Share of the run over which that weight rises from zero; without it some dimensions of the
    latent are given up before the decoder has learnt to read them."""
    final_kl_weight: float = 0.02
    """Weight at the end; it falls geometrically over the second half of the run."""
    prior_mix: float = 0.15
    """Share of each batch whose latents are blended with prior noise, so that the decoder learns
    what to say between cells; raises the validity of prior samples."""
    reshuffle: bool = True
    """Draw new batches every epoch; the authors' code repeats those of the first."""
    frozen_after_first_epoch: bool = False
    """Stay in evaluation mode from epoch 2 on (no noise, no dropout, fixed batch norm): a fault of
    the authors' code that their published figures contain."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the training steps; `auto` is bfloat16 where the processor is fast at it.
    Embeddings are always computed in float32."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pre-training run: everything that decides its result."""

    space: str
    """Search space."""
    preset: str = "archrep"
    """Named settings that the fields below started from."""
    cells: int | None = None
    """Cells to draw; `None` takes all of an enumerated space, or its default sample."""
    holdout: float = 0.1
    """Share of the cells that is never trained on and measures reconstruction."""
    seed: int = 0
    """Fixes the sample, the split, initial weights, batch order and latent noise."""
    model: CellModelConfig | NodeModelConfig = field(default_factory=CellModelConfig)
    """Architecture."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Optimisation."""

    def __post_init__(self) -> None:
        model, training = self.model, self.training
        checks = {
            f"`cells` must be at least 20. Got {self.cells}.": self.cells is None
            or self.cells >= 20,
            f"`holdout` must lie in (0, 0.5]. Got {self.holdout}.": 0 < self.holdout <= 0.5,
            f"`seed` must not be negative. Got {self.seed}.": self.seed >= 0,
            f"`latent_dim` must be at least 1. Got {model.latent_dim}.": model.latent_dim >= 1,
            f"`hidden` must be at least 1. Got {model.hidden}.": model.hidden >= 1,
            f"`layers` must be at least 1. Got {model.layers}.": model.layers >= 1,
            f"`epochs` must be at least 1. Got {training.epochs}.": training.epochs >= 1,
            f"`batch_size` must be at least 2. Got {training.batch_size}.": training.batch_size
            >= 2,
            f"`learning_rate` must be positive. Got {training.learning_rate}.": (
                training.learning_rate > 0
            ),
            f"`beta2` must lie in [0, 1). Got {training.beta2}.": 0 <= training.beta2 < 1,
            f"`weight_decay` must not be negative. Got {training.weight_decay}.": (
                training.weight_decay >= 0
            ),
            f"`gradient_clip` must be positive. Got {training.gradient_clip}.": (
                training.gradient_clip > 0
            ),
            f"`kl_weight` must not be negative. Got {training.kl_weight}.": training.kl_weight >= 0,
            f"`final_kl_weight` must not be negative. Got {training.final_kl_weight}.": (
                training.final_kl_weight >= 0
            ),
            f"`kl_warmup` must lie in [0, 0.5]. Got {training.kl_warmup}.": (
                0 <= training.kl_warmup <= 0.5
            ),
            f"`prior_mix` must lie in [0, 1). Got {training.prior_mix}.": (
                0 <= training.prior_mix < 1
            ),
        }
        size = get_space(self.space).size
        checks[f"{self.space} has {size} cells. Got `cells` = {self.cells}."] = (
            size is None or self.cells is None or self.cells <= size
        )
        if isinstance(model, NodeModelConfig):
            checks[f"`dropout` must lie in [0, 1). Got {model.dropout}."] = 0 <= model.dropout < 1
        else:
            for name in ("decoder_width", "decoder_layers", "decoder_trunk"):
                value = getattr(model, name)
                checks[f"`{name}` must be at least 1. Got {value}."] = value >= 1
        check(checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PretrainConfig:
        """Config of plain values; missing fields come from the preset that `preset` names.

        Raises:
            ConfigError: A field is unknown or of the wrong type.
            UnknownNameError: The preset or the space does not exist.
        """
        if not isinstance(values, dict) or not isinstance(values.get("space"), str):
            raise ConfigError(f"A configuration names its `space`. Got {str(values)[:80]}.")
        values = dict(values)
        if not isinstance(values.get("preset", ""), str):
            raise ConfigError(f"`preset` must be a name. Got {values['preset']!r}.")
        sized = {"cells": values["cells"]} if type(values.get("cells")) is int else {}
        base = preset_config(values.pop("preset", "archrep"), values.pop("space"), **sized)
        parts = {}
        for part in ("model", "training"):
            given = values.pop(part, {})
            if not isinstance(given, dict):
                raise ConfigError(f"`{part}` must be a table of settings. Got {given!r}.")
            parts[part] = _replace(getattr(base, part), given, f"{part}.")
        return _replace(replace(base, **parts), values, "")


def _replace(config: Any, values: dict[str, Any], prefix: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(config)}
    problems = []
    for name, value in values.items():
        if name not in known:
            problems.append(f"Unknown setting `{prefix}{name}`; known are {', '.join(known)}.")
            continue
        current, kind = getattr(config, name), str(known[name].type)
        if isinstance(value, int) and not isinstance(value, bool) and kind == "float":
            values = values | {name: float(value)}
        elif kind.startswith("Literal["):
            choices = tuple(c.strip(" \"'") for c in kind[8:-1].split(","))
            if value not in choices:
                problems.append(f"`{prefix}{name}` must be one of {choices}. Got {value!r}.")
        elif kind.startswith("int | None"):
            if value is not None and type(value) is not int:
                problems.append(f"`{prefix}{name}` must be a whole number. Got {value!r}.")
        elif type(value) is not type(current):
            problems.append(
                f"`{prefix}{name}` must be of type {type(current).__name__}. Got {value!r}."
            )
    if problems:
        raise ConfigError("\n".join(problems))
    return replace(config, **values)


_NODE_TRAINING = TrainingConfig(
    epochs=10,
    batch_size=32,
    learning_rate=1e-3,
    schedule="constant",
    beta2=0.999,
    weight_decay=0.0,
    kl_weight=1.0,
    kl_warmup=0.0,
    final_kl_weight=1.0,
    prior_mix=0.0,
    precision="float32",
)
_CODE_TRAINING = replace(_NODE_TRAINING, reshuffle=False, frozen_after_first_epoch=True)
_CODE_MODEL = NodeModelConfig(
    convolution="gin-two-linear", dropout=0.3, pooling="padded-mean", loss="arch2vec-2020"
)

PRESETS: dict[str, tuple[CellModelConfig | NodeModelConfig, TrainingConfig]] = {
    "archrep": (CellModelConfig(), TrainingConfig()),
    "paper": (NodeModelConfig(layers=5, last_width=16), _NODE_TRAINING),
    "arch2vec-2020": (_CODE_MODEL, _CODE_TRAINING),
    "no-kl": (replace(_CODE_MODEL, variational=False), _CODE_TRAINING),
    "gae": (
        replace(_CODE_MODEL, convolution="gcn", variational=False, dropout=0.0),
        _NODE_TRAINING,
    ),
    "vgae": (replace(_CODE_MODEL, convolution="gcn", dropout=0.0), _NODE_TRAINING),
}
"""Model and training of each preset; `docs/pretrain.md` says what each departs from."""


def default_epochs(preset: str, space: str, cells: int) -> int:
    """Epochs of a preset when none are asked for.

    The paper's presets take what it prints: 8 on NAS-Bench-101, 10 elsewhere. `archrep` sees every
    cell some five times, some eleven times where the cells are a sample of a larger space, and
    600,000 cells on top, so that small spaces are learnt as well.
    """
    if preset != "archrep":
        return 8 if space == "nasbench101" else 10
    return round(600_000 / cells + (11 if get_space(space).size is None else 4.6))


def preset_config(preset: str, space: str | Space, **fields: Any) -> PretrainConfig:
    """Config of a named preset on a space; further top-level fields replace its own.

    Raises:
        UnknownNameError: No such preset or space; the message lists the known ones.
    """
    model, training = named(PRESETS, preset, "Preset")
    where = get_space(space)
    cells = fields.get("cells") or where.size or where.default_sample
    training = replace(training, epochs=default_epochs(preset, where.name, max(cells, 1)))
    return PretrainConfig(space=where.name, preset=preset, model=model, training=training, **fields)


def load_config(path: str | Path) -> PretrainConfig:
    """Config of a TOML or JSON file.

    Raises:
        ConfigError: The file cannot be read as such.
    """
    path = Path(path)
    try:
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"Expected a TOML or JSON configuration in {path}. Got: {error}"
        ) from None
    return PretrainConfig.from_dict(values)

"""`archrep pretrain`: train an encoder of a search space and write its run directory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from archrep.cli.options import parse_options
from archrep.cli.progress import Display
from archrep.encoder.config import PretrainConfig, load_config, preset_config
from archrep.errors import ConfigError

if TYPE_CHECKING:
    from archrep.encoder.train import Progress

EXAMPLES = """examples:
  archrep pretrain nasbench201 --out runs/nasbench201
  archrep pretrain nasbench101 --preset arch2vec-2020 --seed 3 --out runs/published
  archrep pretrain darts --cells 100000 --out runs/darts
  archrep pretrain --config my_run.toml --out runs/mine --resume"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pre-train an encoder on the cells of a search space. No accuracy labels, no downloads.

    Writes config.json, weights.safetensors, embeddings.safetensors (one row a cell), metrics.jsonl,
    map.png and summary.json; prints the summary as JSON.
    """

    space: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="SPACE")] = None
    """nasbench101, nasbench201, darts, or a space of your own."""
    out: Path | None = None
    """Run directory; default runs/SPACE-PRESET-SEED."""
    preset: str | None = None
    """archrep (default), paper, arch2vec-2020, no-kl, gae or vgae."""
    seed: int | None = None
    """Fixes everything random (default 0)."""
    epochs: int | None = None
    """Passes over the training cells."""
    cells: int | None = None
    """Cells to draw; default all of an enumerated space, 600,000 of DARTS."""
    batch_size: int | None = None
    """Cells in one step."""
    learning_rate: float | None = None
    """Largest learning rate."""
    kl_weight: float | None = None
    """Weight of the divergence, first and last."""
    latent_dim: int | None = None
    """Size of an embedding."""
    precision: Literal["auto", "float32", "bfloat16"] | None = None
    """Arithmetic of training steps."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    config: Path | None = None
    """TOML or JSON file with the same settings, and all others; flags win over it."""
    resume: bool = False
    """Go on with an unfinished run."""
    force: bool = False
    """Delete what a run left in the directory and start anew."""
    no_map: bool = False
    """Do not draw map.png."""
    dry_run: bool = False
    """Print the complete configuration and stop."""

    def resolve(self) -> PretrainConfig:
        """The configuration that file, preset and flags describe together."""
        if self.config is not None:
            config = load_config(self.config)
            if self.space not in (None, config.space) or self.preset not in (None, config.preset):
                raise ConfigError(
                    f"{self.config} is for preset {config.preset!r} on {config.space!r}. Leave out "
                    "the space and the preset, or the file."
                )
        elif self.space is None:
            raise ConfigError("Name a search space, such as `archrep pretrain nasbench201`.")
        else:
            sized = _given({"cells": self.cells})
            config = preset_config(self.preset or "archrep", self.space, **sized)
        top = {"seed": self.seed, "cells": self.cells}
        training = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "kl_weight": self.kl_weight,
            "final_kl_weight": self.kl_weight,
            "precision": self.precision,
        }
        return replace(
            config,
            model=replace(config.model, **_given({"latent_dim": self.latent_dim})),
            training=replace(config.training, **_given(training)),
            **_given(top),
        )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def main(argv: list[str]) -> int:
    """Run the command; see `Options`."""
    options = parse_options(Options, "pretrain", argv, EXAMPLES)
    config = options.resolve()
    out = options.out or Path("runs") / f"{config.space}-{config.preset}-{config.seed}"
    if options.dry_run:
        print(json.dumps(config.to_dict(), indent=2))
        return 0
    from archrep.encoder.pretrain import pretrain

    try:
        with progress_display() as report:
            summary = pretrain(
                config,
                out=out,
                device=options.device,
                resume=options.resume,
                force=options.force,
                draw_map=not options.no_map,
                report=report,
            )
    except KeyboardInterrupt:
        print(f"Stopped. Go on with the same command and --resume: {out}", file=sys.stderr)
        raise
    print(f"Finished: {out}", file=sys.stderr)
    print(json.dumps({"out": str(out), **summary}))
    return 0


@contextmanager
def progress_display() -> Iterator[Callable[[str, Progress | None], None]]:
    """What `pretrain` takes as `report`, shown on stderr."""
    with Display() as display:

        def report(stage: str, progress: Progress | None) -> None:
            if progress is None:
                display.show(stage)
            else:
                display.show(stage, progress.step, progress.steps, _describe(progress))

        yield report


def _describe(progress: Progress) -> str:
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return (
        f"epoch {progress.epoch}/{progress.epochs}  step {progress.step}/{progress.steps}  "
        f"loss {progress.loss:.4g} (reconstruction {progress.reconstruction:.4g}, "
        f"kl {progress.kl:.4g})  {progress.graphs_per_second:,.0f} cells/s  "
        f"{minutes}:{seconds:02d} left"
    )

"""`archrep supernet`: train a supernet, with labels or without, and look up what it finds."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from archrep.cli.options import parse_options
from archrep.cli.progress import Display
from archrep.errors import ArchrepError, ConfigError
from archrep.searchers.config import PRESETS, SupernetConfig, preset_config
from archrep.settings import assignments

EXAMPLES = """examples:
  archrep supernet nasbench201 --channels 4 --cells 1 --epochs 20 --out runs/supernet-digits
  archrep supernet nasbench201 --preset rlnas-small --out runs/rlnas
  archrep supernet nasbench201 --preset rlnas-small --objective rotation --data noise --runs 5
  archrep supernet darts-s2 --preset darts --channels 8 --cells 5 --size 16 --tune order=2
  archrep supernet --list"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train supernets of several seeds side by side, score every cell and look the best ones up.

    Writes config.json, metrics.jsonl (one line an epoch), scores.npz (every score of every cell)
    and summary.json: the cells found, what the benchmark table recorded of them, and how every
    score agrees with the table (Kendall, Spearman, share of the best tenth; Kendall among the best
    1,000 cells), beside the number of parameters. Prints the summary as JSON.
    """

    space: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="SPACE")] = None
    """The supernet; `--list` names all."""
    preset: str | None = None
    """Named settings; `--list` prints them. Flags win over them."""
    objective: str | None = None
    """What is learned; `--list` names all."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting of the objective, `name=value`; repeat it for more."""
    data: str | None = None
    """Images; `--list` names all."""
    folder: Path | None = None
    """Where image files lie; by default $ARCHREP_IMAGES, or images in $ARCHREP_DATA."""
    images: int | None = None
    """Training images, classes in proportion; 0 for all, as by default."""
    size: int | None = None
    """Height and width of an image in pixels; 0 for the stored ones, as by default."""
    crop_padding: int | None = None
    """Pixels that are padded before a random crop."""
    flip: bool | None = None
    """Flip half of the training images."""
    channels: int | None = None
    """Channels of the first stage; by default as published."""
    cells: int | None = None
    """Cells of a stage of NAS-Bench-201, or of a whole network of DARTS."""
    stem: Literal["cifar", "imagenet"] | None = None
    """How a network of DARTS begins."""
    width: float | None = None
    """Factor of all channels of MobileNets."""
    searcher: str | None = None
    """How weights are shared and a cell is found; `--list` names all."""
    tune: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting of the searcher, `name=value`; repeat it for more."""
    epochs: int | None = None
    """Passes over the training images."""
    batch_size: int | None = None
    """Images of a step."""
    learning_rate: float | None = None
    """Of the weights, at the start."""
    final_learning_rate: float | None = None
    """At the end."""
    weight_decay: float | None = None
    """On all weights."""
    momentum: float | None = None
    """Of SGD."""
    nesterov: bool | None = None
    """Nesterov's momentum."""
    affine: bool | None = None
    """Scale and shift of batch norms in cells of DARTS; by default as the searcher has it."""
    clip: float | None = None
    """Largest norm of a gradient; 0 for any."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Type of what networks compute; weights are float32."""
    seed: int | None = None
    """Of the first run."""
    runs: int | None = None
    """Runs of seeds that count on, trained as one program (3 by default)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    out: Path | None = None
    """Run directory; default runs/supernet-SPACE-..."""
    resume: bool = False
    """Go on with an unfinished run."""
    dry_run: bool = False
    """Print the complete configuration and stop."""
    list: bool = False
    """Print every supernet, objective, data set, searcher and preset, and stop."""

    def resolve(self) -> SupernetConfig:
        """The run that preset and flags describe together."""
        if self.space is None and self.preset is None:
            raise ConfigError("Name a search space, such as `archrep supernet nasbench201`.")
        names = {f.name for f in fields(SupernetConfig)}
        given = {
            name: value for name, value in vars(self).items() if name in names and value is not None
        }
        # Without these flags a preset decides, so that undoing it needs a value of its own.
        given |= {name: None for name in ("clip", "images", "size") if given.get(name) == 0}
        config = SupernetConfig() if self.preset is None else preset_config(self.preset)
        # Settings of a preset's objective or searcher mean nothing to another one.
        if self.objective not in (None, config.objective):
            config = replace(config, objective_settings={})
        if self.searcher not in (None, config.searcher):
            config = replace(config, searcher_settings={})
        if self.set:
            changed = assignments(self.set)
            given["objective_settings"] = config.objective_settings | changed
        if self.tune:
            changed = assignments(self.tune, "--tune")
            given["searcher_settings"] = config.searcher_settings | changed
        return replace(config, **given)


def main(argv: list[str]) -> int:
    """Run the command; see `Options`. Of several processes of torchrun only one speaks."""
    speaks = "RANK" not in os.environ or _is_first()
    with nullcontext() if speaks else _silence():
        options = parse_options(Options, "supernet", argv, EXAMPLES)
        if options.list:
            print_parts()
            return 0
        try:
            config = options.resolve()
        except ArchrepError:
            if speaks:
                raise
            return 1  # the first process says the same
        out = options.out or default_folder(config, options.preset)
        if options.dry_run:
            print(json.dumps(config.to_dict(), indent=2))
            return 0
        try:
            return train(options, config, out)
        except KeyboardInterrupt:
            if speaks:
                raise
            return 130


def _is_first() -> bool:
    """Whether this is the first process, or the only one; it imports torch."""
    from archrep.searchers.parallel import launched

    return launched().is_first


@contextmanager
def _silence() -> Iterator[None]:
    """Print nothing."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def train(options: Options, config: SupernetConfig, out: Path) -> int:
    """Train, and print what came out."""
    from archrep.searchers.parallel import OtherProcessError
    from archrep.searchers.run import SupernetProgress, train_supernet

    def describe(progress: SupernetProgress) -> str:
        if progress.what != "training":
            return f"{progress.epoch}/{progress.epochs} cells"
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        figures = "  ".join(
            f"{name.replace('_', ' ')} {sum(values) / len(values):.3g}"
            for name, values in progress.figures.items()
            if not isinstance(values[0], str)
        )
        return f"epoch {progress.epoch}/{progress.epochs}  {figures}  {minutes}:{seconds:02d} left"

    try:
        with Display() as display:
            summary = train_supernet(
                config,
                out=out,
                folder=options.folder,
                device=options.device,
                resume=options.resume,
                report=lambda progress: display.show(
                    progress.what, progress.epoch, progress.epochs, describe(progress)
                ),
            )
    except OtherProcessError:
        return 1
    except KeyboardInterrupt:
        print(f"Stopped. Go on with the same command and --resume: {out}", file=sys.stderr)
        raise
    if not summary:  # of another process than the first
        return 0
    print(f"Finished: {out}", file=sys.stderr)
    for line in headlines(summary):
        print(line, file=sys.stderr)
    print(json.dumps({"out": str(out), **summary}))
    return 0


def default_folder(config: SupernetConfig, preset: str | None) -> Path:
    """runs/supernet-SPACE-PRESET-OBJECTIVE-DATA."""
    parts = ["supernet", config.space, preset, config.objective, Path(config.data).name]
    return Path("runs") / "-".join(part for part in parts if part)


def headlines(summary: dict[str, Any]) -> list[str]:
    """What came out, in a few lines: the cells found, and rank agreement with the table."""
    lines = []
    for name, cells in summary["found"].items():
        for seed, found in zip(summary["seeds"], cells, strict=True):
            recorded = found.get("test_accuracy", {})
            if "predicted_accuracy" in found:
                recorded = {"predicted validation": found["predicted_accuracy"]}
            figures = ", ".join(f"{data} {100 * value:.2f} %" for data, value in recorded.items())
            words = f"  {figures}" if figures else ""
            lines.append(f"best by {name.replace('_', ' ')}, seed {seed}: {found['cell']}{words}")
    if summary["table"] is None:
        lines.append(f"Not looked up: {summary['table_missing']}")
    for dataset, scores in (summary["agreement"] or {}).items():
        for name, seeds in scores.items():
            taus = [own["kendall"] for own in seeds]
            best = [own["kendall_best"] for own in seeds]
            mean, mean_best = sum(taus) / len(taus), sum(best) / len(best)
            spread = f" ({min(taus):.3f} .. {max(taus):.3f})" if len(taus) > 1 else ""
            lines.append(
                f"{dataset}, {name.replace('_', ' ')}: Kendall {mean:.3f}{spread}, among the best "
                f"1,000 {mean_best:.3f}"
            )
    return lines


def print_parts() -> None:
    """Every part that can be combined."""
    from archrep.data.registry import DATASETS
    from archrep.objectives.registry import OBJECTIVES
    from archrep.searchers.gradient import DartsSettings
    from archrep.searchers.registry import SEARCHERS
    from archrep.supernets.registry import SUPERNETS

    print(f"supernets: {', '.join(SUPERNETS)}")
    print("\nobjectives (settings by --set):")
    for name, objective in OBJECTIVES.items():
        print_settings(name, objective.title, objective)
    print(f"\ndata: {', '.join(DATASETS)}")
    print("\nsearchers (settings by --tune):")
    for name, searcher in SEARCHERS.items():
        parent = DartsSettings if name != "darts" else None
        print_settings(name, searcher.title, searcher.Settings, parent)
    print("\npresets:")
    default = SupernetConfig().to_dict()
    for name, preset in PRESETS.items():
        changed = {k: v for k, v in preset.to_dict().items() if v != default[k]}
        print(f"  {name}: {', '.join(f'{k}={v}' for k, v in changed.items()) or 'the defaults'}")


def print_settings(name: str, title: str, kind: Any, parent: Any = None) -> None:
    """A part and its settings; of a relative of another part, those that differ from it."""
    from archrep.cli.search import field_docs

    print(f"  {name}: {title}")
    documented: dict[str, str] = {}
    for owner in reversed(kind.__mro__[:-1]):
        documented |= field_docs(owner)
    is_relative = parent is not None and issubclass(kind, parent)
    known = {field.name: field.default for field in fields(parent)} if is_relative else {}
    for field in fields(kind):
        if field.name not in known or known[field.name] != field.default:
            print(f"    {field.name} = {field.default!r}: {documented.get(field.name, '')}")
    if known:
        print("    and those of darts")

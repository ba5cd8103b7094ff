"""A weight-sharing run: supernet x objective x data x searcher -> cells -> table -> summary.

A run directory holds `config.json`, `metrics.jsonl` (one line an epoch), `checkpoint.npz` until the
run is finished, `scores.npz` (what every score says of every cell) and, last of all,
`summary.json`. A killed run goes on after the last saved epoch, and its result is the same.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archrep.cells.darts import CIFAR10, IMAGENET, network_cost
from archrep.cells.genotype import Genotype
from archrep.cells.registry import get_space
from archrep.data.base import ImageSet
from archrep.data.registry import load_images
from archrep.devices import environment, one_thread, resolve_device
from archrep.errors import ConfigError, RunError, UnknownNameError
from archrep.files import (
    locked_folder,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)
from archrep.memory import peak_memory_bytes
from archrep.objectives.base import Objective
from archrep.objectives.classification import Classification
from archrep.objectives.colorization import Colorization
from archrep.objectives.reconstruction import Reconstruction
from archrep.objectives.registry import make_objective
from archrep.plots.style import house_style, save_figure
from archrep.plots.supernet import epochs_figure, found_figure
from archrep.run_directory import begin_run
from archrep.searchers.base import Figures, Searcher
from archrep.searchers.config import SupernetConfig
from archrep.searchers.greedy import SgasSettings
from archrep.searchers.parallel import Processes, joined
from archrep.searchers.progressive import PDartsSettings
from archrep.searchers.ranking import agreement, baselines, kendall
from archrep.searchers.registry import get_searcher
from archrep.settings import named
from archrep.supernets.base import Supernet
from archrep.supernets.darts import CHOICES
from archrep.supernets.darts_operations import NOISE
from archrep.supernets.registry import SUPERNETS
from archrep.tables.registry import open_recorded, open_table

SECONDS_BETWEEN_CHECKPOINTS = 10.0
MEANS = (Classification, Colorization, Reconstruction)
"""Objectives whose loss and score of a batch are the means of those of equal shares."""
NOISY = {f"darts-{name}" for name, kinds in CHOICES.items() if any(NOISE in own for own in kinds)}
"""Supernets with an operation that draws."""
RUN_FILES = (
    "summary.json",
    "metrics.jsonl",
    "checkpoint.npz",
    "scores.npz",
    "cells.png",
    "epochs.png",
)
"""What a run writes beside its configuration; the first marks a finished one."""


@dataclass(frozen=True)
class SupernetProgress:
    """What a run reports after every epoch.

    Attributes:
        epoch: Finished epochs.
        epochs: Epochs in all.
        figures: Of that epoch, a list over seeds each.
        seconds_left: At the rate so far; infinite at the start.
        what: What is done; in place of epochs, `"scoring"` counts cells and has no figures.
    """

    epoch: int
    epochs: int
    figures: Figures
    seconds_left: float
    what: str = "training"


def train_supernet(
    config: SupernetConfig,
    *,
    out: str | Path,
    folder: str | Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    report: Callable[[SupernetProgress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Train supernets of several seeds, score all cells and look the best ones up.

    Args:
        config: Everything that decides the result.
        out: Run directory, made if it does not exist.
        folder: Where image files lie, see `archrep.data.registry.load_images`.
        device: `"cpu"`, `"cuda"`, or `"auto"` for a GPU if there is one.
        resume: Go on with the run in `out`; a finished one is returned as it is.
        report: Called after every epoch.

    Returns:
        The content of `summary.json`; nothing in the other ones of several processes, see
        `archrep.searchers.parallel`.

    Raises:
        ArchrepError: Parts do not fit together, or image files are missing or damaged.
        RunError: `out` holds another run, or this one without `resume`; or another process is
            writing it.
        OtherProcessError: Another one of the processes that torchrun started failed.
    """
    path = Path(out)
    with ExitStack() as held:
        with joined(device) as processes:
            target = resolve_device(device)
            images, objective = prepare(config, folder)
            check_shares(config, images, objective, processes)
            record = config.to_dict() | {"images_sha256": images.sha256}
            if processes.from_first(lambda: record) != record:
                raise RunError(
                    "All processes must have the same images and settings. Those of process "
                    f"{processes.rank} are others than those of process 0."
                )
            searcher = get_searcher(config.searcher)(config, images.to(target), objective)
            searcher.processes = processes
            processes.meet()  # nothing is written before all of them have come so far
            held.enter_context(one_thread())
            if processes.is_first:
                held.enter_context(locked_folder(path))
            finished = processes.from_first(
                lambda: begin_run(path, record, RUN_FILES, resume=resume)
            )
            if not finished:
                started = time.perf_counter(), time.process_time()
                history, before = _train(path, searcher, record, report)
        if not processes.is_first:
            return {}
        if finished:
            return _finished(path)
        searcher.progress = lambda what, done, of: report(
            SupernetProgress(done, of, {}, math.inf, what)
        )
        scores = searcher.scores()
        chosen = searcher.choose(scores)
        write_arrays(path / "scores.npz", scores)
        summary = {
            "space": config.space,
            "objective": objective.title,
            "images": images.name,
            "seeds": config.seeds,
            "epochs": len(history),
            "last_epoch": history[-1] if history else {},
            "skips_by_epoch": [figures["skips"] for figures in history if "skips" in figures],
            **look_up(searcher.supernet, chosen, scores),
            "along_training": along_training(searcher),
            "wall_seconds": time.perf_counter() - started[0] + before["wall_seconds"],
            "cpu_seconds": time.process_time() - started[1] + before["cpu_seconds"],
            "peak_memory_bytes": peak_memory_bytes(),
            "config": record,
            "environment": environment(target) | {"processes": processes.count},
        }
        _draw(path, searcher.supernet.space, summary, history)
        write_json(path / "summary.json", summary)
        (path / "checkpoint.npz").unlink(missing_ok=True)
        return summary


def prepare(config: SupernetConfig, folder: str | Path | None = None) -> tuple[ImageSet, Objective]:
    """Images and objective of a run.

    Raises:
        ArchrepError: A name is unknown, a file missing or damaged, or parts do not fit together.
    """
    named(SUPERNETS, config.space, "Supernet")
    get_searcher(config.searcher).read_settings(config)
    objective = make_objective(config.objective, config.objective_settings)
    images = load_images(
        config.data, folder=folder, size=config.size, count=config.images, seed=config.seed
    )
    objective.adopt(images, config.seed)  # refuse what does not fit before anything is written
    return images, objective


def check_shares(
    config: SupernetConfig, images: ImageSet, objective: Objective, processes: Processes
) -> None:
    """Refuse what several processes cannot train as one would.

    Raises:
        ConfigError: They do not divide a batch, the loss of the whole is not the mean of those of
            its shares, or something is drawn within the supernet.
    """
    if processes.count == 1:
        return
    processes.check_batch(config.batch_size)
    here, alone = f"by {processes.count} processes", "Train it in one process"
    if not isinstance(objective, MEANS):
        raise ConfigError(
            f"The objective {objective.name!r} cannot be trained {here}: its loss or score is no "
            f"mean over images. {alone}."
        )
    if config.space in NOISY:
        raise ConfigError(
            f"The supernet {config.space!r} cannot be trained {here}: its noise is drawn for "
            f"whole batches. {alone}."
        )
    settings = get_searcher(config.searcher).read_settings(config)
    if isinstance(settings, PDartsSettings) and settings.tricks and any(settings.dropout):
        raise ConfigError(
            f"The dropout of {config.searcher!r} cannot be drawn {here}. {alone}, or set `tricks` "
            "to False or `dropout` to zeros."
        )
    if isinstance(settings, SgasSettings) and settings.batch_growth:
        most = len(images) if settings.valid == "flipped-copy" else len(images) // 2
        if settings.batch_growth % processes.count or most % processes.count:
            raise ConfigError(
                f"`batch_growth` and the {most:,} images that a batch may grow to must be "
                f"multiples of the {processes.count} processes. Got {settings.batch_growth}; set "
                "it to 0, or change `images`."
            )


def look_up(
    supernet: Supernet, chosen: dict[str, np.ndarray], scores: dict[str, np.ndarray]
) -> dict[str, Any]:
    """What a table says of the cells that were chosen, and of the ranking of all cells.

    Args:
        supernet: Whose cells they are.
        chosen: Operations of each place, `[S, P]`, by what chose them.
        scores: Of every cell of an enumerated space, `[S, N]` each.

    Returns:
        `found`, by what chose it a list over seeds: notation, number of skips, and what is
        recorded, predicted or counted of it; `agreement`, by data set and score, a list over seeds
        of what `ranking.agreement` gives; and `table`, the table's title and hash. Agreement is
        `None` without scores, and the table as well where it is not there.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name, rows in chosen.items():
        lines: list[dict[str, Any]] = [{"cell": supernet.describe(row)} for row in rows]
        if supernet.edges:
            for line, row in zip(lines, rows, strict=True):
                line["skips"] = supernet.skips(row)
        found[name] = lines
    look = {"nasbench201": _in_nasbench201, "darts": _in_darts}.get(supernet.space, _counted)
    return {"found": found, **look(supernet, chosen, scores, found)}


def along_training(searcher: Searcher) -> dict[str, Any]:
    """Kendall's tau of scores with the table, by epoch (MAE-NAS, Figure 2).

    Returns:
        By data set and score a list over scored epochs of a list over seeds, with `epochs` and
        `cells` beside; nothing where no scores were kept, or no table is there.
    """
    kept, sampled = getattr(searcher, "along", []), getattr(searcher, "sampled", None)
    if not kept or sampled is None or searcher.supernet.space != "nasbench201":
        return {}
    try:
        table = open_recorded("nasbench201")
    except UnknownNameError:
        return {}
    rows = get_space("nasbench201").rows_of_decisions(sampled)
    names = [name for name in kept[0] if name != "epoch"]
    return {
        "epochs": [int(scores["epoch"]) for scores in kept],
        "cells": len(rows),
        "kendall": {
            dataset: {
                name: [
                    [
                        kendall(own, table.column("test_accuracy", dataset=dataset)[rows])
                        for own in s[name]
                    ]
                    for s in kept
                ]
                for name in names
            }
            for dataset in table.datasets
        },
    }


def _in_nasbench201(
    supernet: Supernet,
    chosen: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    found: dict[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    """Recorded accuracies of cells, and rank agreement of scores."""
    cells = get_space("nasbench201")
    for name, lines in found.items():
        for line, row in zip(lines, cells.rows_of_decisions(chosen[name]), strict=True):
            line["index"] = int(row)
    try:
        table = open_recorded("nasbench201")
    except UnknownNameError as error:
        return {"agreement": None, "table": None, "table_missing": str(error)}
    everything = dict(scores)
    for name, values in baselines(cells).items():  # type: ignore[arg-type]
        everything[name] = np.broadcast_to(values, (1, len(values)))
    ranks: dict[str, Any] = {}
    for dataset in table.datasets:
        accuracy = table.column("test_accuracy", dataset=dataset)
        for line in (line for lines in found.values() for line in lines):
            line.setdefault("test_accuracy", {})[dataset] = float(accuracy[line["index"]])
        ranks[dataset] = {
            name: [agreement(own, accuracy) for own in values]
            for name, values in everything.items()
        }
    return {
        "agreement": ranks if scores else None,
        "table": {"title": table.info.title, "sha256": table.sha256},
    }


def _in_darts(
    supernet: Supernet,
    chosen: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    found: dict[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    """Sizes of the networks of cells, and the accuracy that a surrogate predicts for them.

    Cells with noise are in no table and have no size.
    """
    try:
        surrogate = open_table("nasbench301")
        about: dict[str, Any] = {
            "table": {"title": surrogate.info.title, "sha256": surrogate.sha256}
        }
    except UnknownNameError as error:
        surrogate, about = None, {"table": None, "table_missing": str(error)}
    for line in (line for lines in found.values() for line in lines):
        if NOISE in line["cell"]:
            continue
        genotype = Genotype.parse(line["cell"])
        small, large = network_cost(genotype, CIFAR10), network_cost(genotype, IMAGENET)
        line["cifar10_params"], line["imagenet_macs"] = int(small.params), int(large.macs)
        if surrogate is not None:
            predicted = surrogate.query(genotype).valid_accuracy  # type: ignore[arg-type]
            line["predicted_accuracy"] = float(predicted)  # type: ignore[arg-type]
    return {"agreement": None, **about}


def _counted(
    supernet: Supernet,
    chosen: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    found: dict[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    """Sizes of networks that are in no table."""
    for name, lines in found.items():
        for line, macs in zip(lines, supernet.imagenet_macs(chosen[name]), strict=True):
            line["imagenet_macs"] = int(macs)
    return {"agreement": None, "table": None, "table_missing": "No table holds such networks."}


def _train(
    folder: Path,
    searcher: Searcher,
    record: dict[str, Any],
    report: Callable[[SupernetProgress], None],
) -> tuple[list[Figures], dict[str, float]]:
    """Figures of every epoch, and the time that earlier processes took."""
    checkpoint, config = folder / "checkpoint.npz", searcher.config
    processes, metric = searcher.processes, searcher.objective.metric
    history: list[Figures] = []
    before = {"wall_seconds": 0.0, "cpu_seconds": 0.0}
    stored = processes.from_first(
        lambda: read_arrays(checkpoint, "a checkpoint of this run") if checkpoint.exists() else None
    )
    if stored is not None:
        history, before = _load(checkpoint, stored, searcher, record)
    started = time.perf_counter(), time.process_time()
    saved = time.monotonic()
    first = len(history)
    if processes.is_first:
        _write_metrics(folder, history)
    while len(history) < searcher.epochs and not (history and searcher.finished(history[-1])):
        figures = searcher.train_epoch(len(history))
        means = ("loss", metric, "valid_loss", f"valid_{metric}")
        processes.average_figures(figures, [name for name in means if name in figures])
        if diverged := [
            str(seed)
            for seed, loss in zip(config.seeds, figures["loss"], strict=True)
            if not np.isfinite(loss)
        ]:
            raise RunError(
                f"Training diverged in epoch {len(history) + 1}: the loss of seed "
                f"{', '.join(diverged)} is not finite. Lower `learning_rate`, "
                f"{config.learning_rate} here, and give another `out`: going on diverges again."
            )
        history.append(figures)
        if not processes.is_first:
            continue
        _write_metrics(folder, history[-1:], append=True)
        if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            spent = {
                "wall_seconds": before["wall_seconds"] + time.perf_counter() - started[0],
                "cpu_seconds": before["cpu_seconds"] + time.process_time() - started[1],
            }
            about = json.dumps({"run": record, "history": history, "spent": spent})
            write_arrays(checkpoint, searcher.state() | {"about": np.array(about)})
            saved = time.monotonic()
        rate = (len(history) - first) / max(time.perf_counter() - started[0], 1e-9)
        left = (config.epochs - len(history)) / rate
        report(SupernetProgress(len(history), config.epochs, figures, left))
    return history, before


def _load(
    path: Path, arrays: dict[str, np.ndarray], searcher: Searcher, record: dict[str, Any]
) -> tuple[list[Figures], dict[str, float]]:
    """Figures and times of a checkpoint's epochs; the searcher goes on from there."""
    try:
        about = json.loads(str(arrays.pop("about")))
        if about["run"] != json.loads(json.dumps(record)):
            raise RunError("It is of another run.")
        searcher.load_state(arrays)
        return list(about["history"]), dict(about["spent"])
    except (ValueError, LookupError, TypeError, AttributeError, RunError) as error:
        reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise RunError(
            f"Expected a checkpoint of this run in {path}, and it cannot be used: {reason} Delete "
            "it; training then begins anew."
        ) from None


def _write_metrics(folder: Path, history: list[Figures], *, append: bool = False) -> None:
    path = folder / "metrics.jsonl"
    lines = "".join(json.dumps(figures) + "\n" for figures in history)
    try:
        with path.open("a" if append else "w") as file:
            file.write(lines)
    except OSError as error:
        raise RunError(f"Could not write {path}: {error.strerror}.") from None


def _draw(folder: Path, space: str, summary: dict[str, Any], history: list[Figures]) -> None:
    """Pictures of the cells found, where there are any, and of all figures by epoch."""
    with house_style():
        figures = {"cells.png": found_figure(space, summary["found"], summary["seeds"])}
        if history:
            caption = f"{summary['config']['space']}, {summary['objective']}, {summary['images']}"
            figures["epochs.png"] = epochs_figure(history, caption)
        for name, figure in figures.items():
            if figure is not None:
                save_figure(figure, folder / name, dpi=150)


def _finished(folder: Path) -> dict[str, Any]:
    """Summary of a finished run; its scores must be there as well."""
    summary = read_json(folder / "summary.json", "the summary of a finished run")
    if not isinstance(summary, dict) or "found" not in summary:
        raise RunError(f"Expected the summary of a finished run in {folder}.")
    read_arrays(folder / "scores.npz", "the scores of a finished run")
    return summary

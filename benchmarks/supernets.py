"""Searches without labels: what supernets find on NAS-Bench-201, and how their scores rank it.

Question: does a supernet that never saw a label rank cells as the table does, and as well as the
          number of parameters; which objectives end in skip connections?
Command:  python benchmarks/supernets.py rlnas             (one experiment; `--list` names all)
          python benchmarks/supernets.py collapse --rows "supervised"
          python benchmarks/supernets.py rlnas --only-print
Time:     rlnas some 15 minutes, collapse some 40, on one core. A run that was cut off goes on.

Needs the images of CIFAR-10 ($ARCHREP_IMAGES, see docs/supernet.md) and the imported table
nasbench201. Runs live in runs/supernets/; their summaries are collected in
benchmarks/results/supernets.json and printed beside published figures. Percent and Kendall's tau,
mean ± standard deviation over seeds 0, 1, ...; nothing was chosen among seeds. The score
`angle_size_spectrum` was chosen on seeds 0 to 4: its fair figure is the row of seeds 5 to 9.

What differs from the publications. RLNAS (Zhang et al., 2021) trains 16 channels and 15 cells on
25,000 images of 32 x 32 pixels for 250 epochs; here 8 channels and 3 cells on 512 images of 8 x 8
pixels for 400 epochs. MAE-NAS (Hu et al., 2023) and DARTS on this space (Dong and Yang, 2020)
train 16 channels and 15 cells on all images for 50 epochs; here 8 channels and 3 cells on 2,048
images of 16 x 16 pixels for 40 epochs, without augmentation, architecture weights at ten times the
rate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from archrep.cli.progress import Display
from archrep.files import write_json
from archrep.searchers.config import SupernetConfig, preset_config
from archrep.searchers.run import train_supernet

RESULTS = Path(__file__).parent / "results" / "supernets.json"
DATASETS = ("cifar10", "cifar100", "imagenet16-120")

PUBLISHED = {
    "rlnas": "published (RLNAS): tau .508 / .516 / .495, cell 93.45 / 70.71 / 43.70",
    "skips": "published (UnrealNAS, Section 5.2): six skips after 57 of 100 epochs with true "
    "labels; few with fractals and noise",
    "one_shot": "published (RLNAS, Table 1, best cell, CIFAR-10 test): true labels 92.11 by "
    "accuracy, 93.76 by angle; random labels 80.60 and 93.45; MAE-NAS, Fig. 2 is a picture only",
    "full": "published: RLNAS 93.45 / 70.71 / 43.70, MAE-NAS 93.77 / 71.75 / 43.77, supervised "
    "DARTS 54.30 / 15.61 / 16.32",
    "collapse": "published (MAE-NAS, Table 4): DARTS 54.30 / 15.61 / 16.32; MAE-NAS 93.77 / 71.75 "
    "/ 43.77 (mean of four)",
}


@dataclass(frozen=True)
class Row:
    """One line of an experiment.

    Attributes:
        label: What the printed line says.
        config: The run.
    """

    label: str
    config: SupernetConfig


def rlnas() -> Iterator[Row]:
    """Angles of single-path supernets on random labels, true labels and noise."""
    changes: dict[str, dict[str, object]] = {
        "random labels, CIFAR-10": {},
        "true labels, CIFAR-10": {"objective": "supervised"},
        "random labels, Gaussian noise": {"data": "noise"},
        "random labels, absent gradients": {"searcher_settings": {"unsampled": "absent"}},
        "random labels, CIFAR-10, seeds 5-9": {"seed": 5},
    }
    for label, change in changes.items():
        config = preset_config("rlnas-small", runs=5, **change)
        tuned = config.searcher_settings | {"spectrum_images": 128}
        yield Row(label, replace(config, searcher_settings=tuned))


def collapse() -> Iterator[Row]:
    """First-order DARTS: supervised against masked reconstruction, skips and recorded accuracy."""
    yield Row("supervised", preset_config("nasbench201-darts-small", runs=3))
    for decoder in ("plain", "hierarchical"):
        for ratio in (0.2, 0.5):
            settings = {"decoder": decoder, "ratio": ratio}
            change = {"objective": "reconstruction", "objective_settings": settings}
            label = f"reconstruction, {decoder} decoder, ratio {ratio}"
            yield Row(label, preset_config("nasbench201-darts-small", runs=3, **change))


def skips() -> Iterator[Row]:
    """Skip connections by epoch, seven objectives, DARTS on its own space (UnrealNAS, Fig. 5)."""
    real: dict[str, object] = {
        "channels": 8, "cells": 5, "size": 16, "images": 10_000, "epochs": 15, "runs": 1,
        "searcher_settings": {"alpha_learning_rate": 3e-3},
    }  # fmt: skip
    yield Row("supervised", preset_config("darts", **real))
    settings = preset_config("unrealnas").searcher_settings
    unreal = real | {
        "images": 5_000, "epochs": 16, "searcher_settings": settings | {
            "alpha_learning_rate": 3e-3, "warmup_epochs": 1,
        },
    }  # fmt: skip
    for label, data, classes in (
        ("RLRD: random labels, CIFAR-10", "cifar10", 1000),
        ("RLRN: random labels, Gaussian noise", "noise", 5000),
        ("RLGD: random labels, fractals", "fractals", 5000),
    ):
        change = unreal | {"data": data, "objective_settings": {"classes": classes}}
        yield Row(label, preset_config("unrealnas", **change))
    for objective in ("jigsaw", "colorization"):
        yield Row(objective, preset_config("darts", **real, objective=objective))
    turned = real | {"images": 2_500, "batch_size": 16}
    yield Row("rotation", preset_config("unnas", **turned))


def one_shot() -> Iterator[Row]:
    """Scores with inherited weights along training (MAE-NAS, Fig. 2; RLNAS, Table 1)."""
    small: dict[str, object] = {
        "images": 2_048, "size": 16, "batch_size": 64, "learning_rate": 0.05, "epochs": 60,
        "runs": 3,
    }  # fmt: skip
    scored = {"score_images": 128, "score_every": 10}
    apart = scored | {"held_out": 128}
    restored = {"objective": "reconstruction", "objective_settings": {"ratio": 0.5}}
    changes: dict[str, dict[str, object]] = {
        "reconstruction": restored | {"searcher_settings": apart},
        "true labels": {"objective": "supervised", "searcher_settings": apart},
        "random labels, scored on images of training": {"searcher_settings": scored},
    }
    for label, change in changes.items():
        yield Row(label, preset_config("rlnas-small", **small | change))


def full() -> Iterator[Row]:
    """Published size on NAS-Bench-201, nine methods: hours on a GPU; not run here."""
    yield Row("RLNAS", preset_config("rlnas", runs=3))
    yield Row("RLNAS, true labels", preset_config("rlnas", runs=3, objective="supervised"))
    yield Row("DARTS, supervised", preset_config("nasbench201-darts", runs=3))
    restored = {"objective": "reconstruction", "objective_settings": {"ratio": 0.5}}
    yield Row("MAE-NAS", preset_config("nasbench201-darts", runs=3, **restored))
    for objective in ("rotation", "colorization", "jigsaw"):
        config = preset_config("nasbench201-darts", runs=3, objective=objective)
        yield Row(f"UnNAS, {objective}", config)
    for label, data, classes in (
        ("RLRD", "cifar10", 1000),
        ("RLRN", "noise", 5000),
        ("RLGD", "fractals", 5000),
    ):
        change = {"data": data, "objective_settings": {"classes": classes}, "runs": 3}
        yield Row(f"UnrealNAS, {label}", preset_config("unrealnas", space="nasbench201", **change))


EXPERIMENTS = {run.__name__: run for run in (rlnas, collapse, skips, one_shot, full)}
TINY = {"epochs": 1, "runs": 1, "batch_size": 8}
"""What `--tiny` changes, with small numbers of images, channels and cells."""


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiment", nargs="?", choices=list(EXPERIMENTS))
    parser.add_argument("--list", action="store_true", help="name the experiments")
    parser.add_argument("--only-print", action="store_true", help="print what was collected")
    parser.add_argument("--rows", nargs="+", help="only these, named as the table names them")
    parser.add_argument("--plot", type=Path, help="picture of skip connections by epoch")
    parser.add_argument("--tiny", action="store_true", help="to see that it runs; measures nothing")
    parser.add_argument("--images", type=Path, help="folder of image files")
    parser.add_argument("--out", type=Path, default=Path("runs/supernets"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.list or args.experiment is None:
        for name, rows in EXPERIMENTS.items():
            print(f"{name:10} {rows.__doc__.splitlines()[0]}")
        return
    known = (
        map(tiny, EXPERIMENTS[args.experiment]()) if args.tiny else EXPERIMENTS[args.experiment]()
    )
    rows = [r for r in known if args.rows is None or r.label in args.rows]
    if not rows:
        sys.exit(f"No row of {args.experiment} is left by --rows.")
    for row in () if args.only_print else rows:
        summary = run(row, args.out / args.experiment, args.images)
        collect(args.results, args.experiment, row.label, summary)
    entries = json.loads(args.results.read_text()) if args.results.exists() else []
    own = [e for e in entries if e["experiment"] == args.experiment]
    print_table(own)
    print_by_epoch(own)
    if args.plot is not None and own:
        draw(args.plot, own)
    print(PUBLISHED[args.experiment])


def tiny(row: Row) -> Row:
    """The same row at a size that takes seconds."""
    config = row.config
    counts = {
        name: min(least, config.searcher_settings.get(name, 0))
        for name, least in (
            ("score_images", 16),
            ("spectrum_images", 16),
            ("held_out", 16),
            ("warmup_epochs", 0),
        )
        if name in config.searcher_settings
    }
    sizes = {"channels": 4, "cells": 1 if config.space == "nasbench201" else 3, "images": 64}
    settings = config.searcher_settings | counts
    return Row(row.label, replace(config, **sizes, **TINY, searcher_settings=settings))


def run(row: Row, folder: Path, images: Path | None) -> dict:
    """One run, resumed or returned if it is there already."""
    name = "".join(c if c.isalnum() or c == "." else "-" for c in row.label.lower())
    out = folder / name
    print(f"== {row.label}: {out}", file=sys.stderr)
    with Display() as display:
        return train_supernet(
            row.config,
            out=out,
            folder=images,
            resume=(out / "config.json").exists(),
            report=lambda p: display.show(
                row.label, p.epoch, p.epochs, f"epoch {p.epoch}/{p.epochs}"
            ),
        )


def collect(path: Path, experiment: str, label: str, summary: dict) -> None:
    """Put a summary into the results file, in place of an older one of the same row."""
    known = json.loads(path.read_text()) if path.exists() else []
    kept = [e for e in known if (e["experiment"], e["label"]) != (experiment, label)]
    write_json(path, [*kept, {"experiment": experiment, "label": label, **summary}])


def print_table(entries: list[dict]) -> None:
    """Cells found and rank agreement, one line a score; baselines once."""
    head = ["run", "score", "tau C10 / C100 / IN16", "among the best 1,000", "best tenth found"]
    head += ["cell found, test %", "skips", "CPU-s a seed"]
    rows = [head]
    for entry in entries:
        if entry["agreement"] is None:
            continue
        scores = list(entry["agreement"][DATASETS[0]])
        for score in scores:
            seeds = [entry["agreement"][name][score] for name in DATASETS]
            is_baseline = score in ("params", "live_params")
            if is_baseline and entry is not entries[-1]:
                continue
            found = " / ".join(
                spread([100 * f["test_accuracy"][name] for f in entry["found"].get(score, ())], 2)
                for name in (DATASETS if score in entry["found"] else ())
            )
            skips = entry["last_epoch"].get("skips")
            rows.append(
                [
                    "no training" if is_baseline else entry["label"],
                    score.replace("_", " "),
                    " / ".join(spread([own["kendall"] for own in s], 3) for s in seeds),
                    spread([own["kendall_best"] for own in seeds[0]], 3),
                    spread([100 * own["top_10_percent"] for own in seeds[0]], 0),
                    found or "-",
                    "-" if skips is None or is_baseline else " ".join(f"{n:.0f}" for n in skips),
                    "-" if is_baseline else f"{entry['cpu_seconds'] / len(entry['seeds']):.0f}",
                ]
            )
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    rows.insert(1, ["-" * width for width in widths])
    for row in rows:
        print("| " + " | ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)) + " |")


def print_by_epoch(entries: list[dict]) -> None:
    """Skip connections by epoch with what was found, and rank agreement along training."""
    for entry in entries:
        curve = entry.get("skips_by_epoch")
        if curve and "cifar10_params" in entry["found"]["strength"][0]:
            for s, found in enumerate(entry["found"]["strength"]):
                line = " ".join(str(epoch[s]) for epoch in curve)
                predicted = 100 * found.get("predicted_accuracy", float("nan"))
                print(
                    f"{entry['label']}, seed {entry['seeds'][s]}: skips by epoch {line}; predicted "
                    f"{predicted:.2f} %, {found['cifar10_params'] / 1e6:.2f} M parameters, "
                    f"{entry['cpu_seconds'] / len(entry['seeds']):.0f} CPU-s"
                )
        along = entry.get("along_training") or {}
        for name, seeds in along.get("kendall", {}).get(DATASETS[0], {}).items():
            line = " ".join(
                f"{epoch}: {spread(own, 2)}"
                for epoch, own in zip(along["epochs"], seeds, strict=True)
            )
            print(f"{entry['label']}, tau of {name.replace('_', ' ')} by epoch: {line}")


def draw(path: Path, entries: list[dict]) -> None:
    """Skip connections by epoch of every row that has them."""
    from archrep.plots.supernet import plot_by_epoch

    curves = {e["label"]: e["skips_by_epoch"] for e in entries if e.get("skips_by_epoch")}
    ax = plot_by_epoch(curves, ylabel="skip connections of the normal cell")
    ax.figure.savefig(path, dpi=150)


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()

"""Table 1 of arch2vec: reconstruction, validity and uniqueness of every preset on every space.

Question: how faithful and how valid are the encoders, by the definitions of 2020 and strictly?
Command:  python benchmarks/table1.py                      (what is missing, then the table)
          python benchmarks/table1.py --presets archrep --spaces nasbench101 --seeds 0 1 2
          python benchmarks/table1.py --only-print
          python benchmarks/table1.py --remeasure runs/table1/*
Time:     on two cores, archrep 2 to 4 minutes a run; a batch-32 preset 3, on 50,000 cells
          where the space has more (`--full`: up to an hour).

Runs live in runs/table1/ (resumable); their summaries are collected in
benchmarks/results/table1.json and printed beside the paper's figures.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
from pathlib import Path

from archrep.encoder.config import PRESETS
from archrep.files import write_json

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "table1.json"
SPACES = ("nasbench101", "nasbench201", "darts")
BASELINE_CELLS = 50_000
"""Cells of a batch-32 run, unless `--full`: they are slow. archrep takes the whole space or the
paper's 600,000 DARTS cells."""

PAPER = {
    # (preset, space): accuracy, validity, uniqueness in percent; Yan et al. (2020), Table 1.
    ("gae", "nasbench101"): (98.75, 29.88, 99.25),
    ("gae", "nasbench201"): (99.52, 79.28, 78.42),
    ("gae", "darts"): (97.80, 15.25, 99.65),
    ("vgae", "nasbench101"): (97.45, 41.18, 99.34),
    ("vgae", "nasbench201"): (98.32, 79.30, 88.42),
    ("vgae", "darts"): (96.80, 25.25, 99.27),
    ("no-kl", "nasbench101"): (100.0, 30.31, 99.20),
    ("no-kl", "nasbench201"): (100.0, 77.09, 96.57),
    ("no-kl", "darts"): (99.46, 16.01, 99.51),
    ("arch2vec-2020", "nasbench101"): (100.0, 44.97, 99.69),
    ("arch2vec-2020", "nasbench201"): (100.0, 79.41, 98.72),
    ("arch2vec-2020", "darts"): (99.79, 33.36, 100.0),
}


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--spaces", nargs="+", default=list(SPACES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--baseline-seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/table1"))
    parser.add_argument(
        "--only-print", action="store_true", help="print what is in the results file"
    )
    parser.add_argument("--full", action="store_true", help="baselines on all cells too")
    parser.add_argument(
        "--quick", action="store_true", help="a few hundred cells, one epoch: a test"
    )
    parser.add_argument(
        "--remeasure", nargs="+", type=Path, metavar="RUN", help="measure finished runs again"
    )
    args = parser.parse_args()
    for folder in args.remeasure or []:
        collect(RESULTS, remeasure(folder))
    args.only_print = args.only_print or bool(args.remeasure)
    results = RESULTS
    if args.quick:
        results = args.runs / "table1.json"
    if not args.only_print:
        for preset in args.presets:
            for seed in args.seeds if preset == "archrep" else args.baseline_seeds:
                for space in args.spaces:
                    summary = run(preset, space, seed, args.runs, args.quick, args.full)
                    collect(results, summary)
    print_table(json.loads(results.read_text()) if results.exists() else [])


def run(preset: str, space: str, seed: int, folder: Path, quick: bool, full: bool) -> dict:
    """One run, resumed or returned if it is there already."""
    from dataclasses import replace

    from archrep.cli.pretrain import progress_display
    from archrep.encoder.config import preset_config
    from archrep.encoder.pretrain import pretrain

    config = preset_config(preset, space, seed=seed)
    if quick:
        config = replace(config, cells=300, training=replace(config.training, epochs=1))
    elif preset != "archrep" and space != "nasbench201" and not full:
        config = replace(config, cells=BASELINE_CELLS)
    print(f"== {preset} on {space}, seed {seed}", file=sys.stderr)
    out = folder / f"{space}-{preset}-{config.cells or 'all'}-{config.training.epochs}-{seed}"
    with progress_display() as report:
        return pretrain(
            config,
            out=out,
            resume=(out / "config.json").exists(),
            draw_map=False,
            report=report,
        )


def remeasure(folder: Path) -> dict:
    """Summary of a finished run with its quality figures computed anew from its weights."""
    from archrep.embeddings import load_encoder
    from archrep.encoder.metrics import evaluate
    from archrep.encoder.pretrain import load_cells
    from archrep.encoder.train import split_rows

    summary = json.loads((folder / "summary.json").read_text())
    encoder = load_encoder(folder)
    config = encoder.config
    cells = load_cells(config)
    rows = split_rows(len(cells), config.holdout, config.seed)
    embeddings = encoder.embed(cells)
    summary |= evaluate(encoder.model, encoder.space, cells, *rows, embeddings, seed=config.seed)
    summary["config"] = config.to_dict()
    summary.pop("uniqueness_ceiling", None)  # an earlier name of `uniqueness_uniform`
    write_json(folder / "summary.json", summary)
    return summary


def collect(path: Path, summary: dict) -> None:
    """Put a summary into the results file, in place of an older one of the same run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else []
    key = ("space", "preset", "seed", "cells", "epochs")
    kept = [s for s in known if any(s[k] != summary[k] for k in key)]
    kept.append(summary)
    order = {preset: n for n, preset in enumerate(PRESETS)}
    kept.sort(key=lambda s: (SPACES.index(s["space"]), order[s["preset"]], s["seed"]))
    write_json(path, kept)


def print_table(summaries: list[dict]) -> None:
    """Mean (and population standard deviation over seeds) in percent, the paper's figures last."""
    columns = (
        ("whole graph", "whole_graph_accuracy"),
        ("verified", "whole_graph_accuracy_verified"),
        ("ops 2020", "ops_accuracy_2020"),
        ("adj 2020", "adjacency_accuracy_2020"),
        ("valid strict", "validity"),
        ("verified", "validity_verified"),
        ("valid 2020", "validity_2020"),
        ("unique", "uniqueness"),
        ("unique 2020", "uniqueness_2020"),
        ("uniform", "uniqueness_uniform"),
    )
    out = csv.writer(sys.stdout, delimiter="|", lineterminator="\n")
    head = ["space", "preset", "cells", "epochs", "seeds", *(name for name, _ in columns)]
    head += ["distinct", "smoothness", "paper acc / valid / unique"]
    rows = [head]
    groups: dict[tuple, list[dict]] = {}
    for summary in summaries:
        key = tuple(summary[k] for k in ("space", "preset", "cells", "epochs"))
        groups.setdefault(key, []).append(summary)
    for (space, preset, cells, epochs), members in groups.items():
        row = [space, preset, f"{cells:,}", str(epochs), str(len(members))]
        for _, key in columns:
            values = [100 * m[key] for m in members if m.get(key) is not None]
            row.append(spread(values, 2))
        row.append(spread([m["distinct_embeddings"] for m in members], 0))
        row.append(spread([m["smoothness"] for m in members], 3))
        paper = PAPER.get((preset, space))
        row.append(" / ".join(f"{v:g}" for v in paper) if paper else "-")
        rows.append(row)
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    rows.insert(1, ["-" * width for width in widths])
    for row in rows:
        out.writerow([text.ljust(width) for text, width in zip(row, widths, strict=True)])


def spread(values: list[float], digits: int) -> str:
    """Mean, and standard deviation if there are several."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):,.{digits}f}"
    return f"{mean} ± {statistics.pstdev(values):.{digits}f}" if len(values) > 1 else mean


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()

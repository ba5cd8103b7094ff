"""Every figure of arch2vec and of the supernets, from saved runs.

Question: do the figures come out of what runs left on disk, by the commands that users have?
Command:  python benchmarks/figures.py --out figures
          python benchmarks/figures.py --out figures --only map-nasbench101 --dark
Time:     some ten minutes, most of it the map of NAS-Bench-101; kept maps make a second time quick.

Needs runs (`make demo`, `benchmarks/search.py`, `benchmarks/supernets.py`) and the imported tables.
A figure whose run is not there is named and left out, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from archrep.cli.main import main as archrep

ENCODED = {
    "nasbench101": "343454",
    "nasbench201": "6111",
    "darts": "[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_5x5', 2), ('max_pool_3x3', 0), "
             "('sep_conv_5x5', 1), ('skip_connect', 0), ('avg_pool_3x3', 3), ('sep_conv_3x3', 1)]",
}  # fmt: skip
"""A cell of each space."""


def commands(runs: Path) -> Iterator[tuple[str, list[str], list[Path]]]:
    """Name, words of `archrep plot` and the runs it reads, one a figure."""
    embeddings, searches, supernets = (
        runs / name for name in ("embeddings", "search", "supernets")
    )
    for space in ("nasbench101", "nasbench201"):  # the run of the latter is used below as well
        run = next(
            (p for p in (embeddings / f"{space}-arch2vec-2020", runs / "demo" / space)
             if p.exists()),
            embeddings / f"{space}-arch2vec-2020",
        )  # fmt: skip
        known = ["--table", space]
        yield f"prediction-{space}", ["prediction", str(run), *known], [run]
        yield f"distances-{space}", ["distances", str(run)], [run]
        # Few cells of NAS-Bench-101 are measured, so all of them have to be on the map.
        words = ["map", str(run), *known, "--areas", "--everything"]
        yield f"map-{space}", words, [run]
        yield f"neighbours-{space}", ["neighbours", str(run), "--walks", "2"], [run]
    finished = {
        name: searches / f"nasbench201-{name}-cifar10-single-200-{runs_of}"
        for name, runs_of in (
            ("random", 500), ("local-search", 500), ("gp", 100), ("bananas", 100), ("archrep", 100),
        )
    }  # fmt: skip
    folders = [str(folder) for folder in finished.values()]
    kept101 = {
        "random": "random-mean-400-500",
        "evolution": "evolution-arch2vec-2020-mean-400-500",
        "local search": "local-search-mean-400-500",
        "RL": "latent-reinforce-paper-mean-nasbench101-arch2vec-2020-400-500",
        "BO": "dngo-paper-mean-nasbench101-arch2vec-2020-400-100",
    }
    figure6 = [searches / f"nasbench101-{name}" for name in kept101.values()]
    for word in ("regret", "ecdf"):  # Figure 6; with the authors' curves: search.py nasbench101
        yield f"{word}-nasbench101", [word, *map(str, figure6)], figure6
    yield "regret-nasbench201", ["regret", *folders], list(finished.values())
    yield "ecdf-nasbench201", ["ecdf", *folders], list(finished.values())
    ours = [
        searches / f"nasbench301-{name}-paper-mean-100-50" for name in ("latent-reinforce", "dngo")
    ]
    sampled = embeddings / "darts-600000.safetensors"
    words = ["found", *map(str, ours), "--run", str(sampled)]
    yield "found-darts", words, [*ours, sampled]  # Figure 10
    for space, cell in ENCODED.items():  # Figures 7, 8 and 9
        yield f"encoding-{space}", ["encoding", space, cell], []
    best = finished["archrep"]
    words = ["map", str(run), "--table", "nasbench201", "--visits", str(best)]
    yield "visits-nasbench201", words, [run, best]
    angles = supernets / "rlnas" / "random-labels--cifar-10"
    yield "ranks-rlnas", ["ranks", str(angles), "--score", "angle"], [angles]
    kept = sorted((supernets / "skips").glob("*"))
    folders = [str(folder) for folder in kept if (folder / "summary.json").exists()]
    yield "skips-darts", ["epochs", *folders], [supernets / "skips"]


def main() -> int:
    """Draw what can be drawn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--kind", choices=("png", "svg", "pdf"), default="png")
    parser.add_argument("--only", nargs="+", help="names of figures")
    parser.add_argument("--dark", action="store_true")
    args = parser.parse_args()
    failed = []
    for name, words, needed in commands(args.runs):
        if args.only and name not in args.only:
            continue
        missing = [str(path) for path in needed if not path.exists()]
        if missing:
            print(f"{name}: {missing[0]} is not there", file=sys.stderr)
            failed.append(name)
            continue
        out = args.out / f"{name}.{args.kind}"
        dark = ["--dark"] if args.dark else []
        if archrep(["plot", *words, *dark, "--out", str(out)]):
            failed.append(name)
    if failed:
        print(f"Not drawn: {', '.join(failed)}.", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

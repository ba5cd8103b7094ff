"""How long hundreds of searches take, and how that grows with labels and candidates.

Question: what do 500 runs of a strategy cost, is the batched path that of single runs, and how does
          a round of Bayesian optimisation grow with the pool and with the candidates?
Command:  python benchmarks/search_speed.py              (some 40 minutes on two cores)
          python benchmarks/search_speed.py --runs 40    (a tenth, scaled when printed)
          python benchmarks/search_speed.py --only-print
Time:     two idle cores; the row of 500 runs x 400 queries over 423,624 cells is half of it.

Labels are not measured here: they are a random smooth function of the embedding with
noise, since what a search costs does not depend on what its labels mean. Nothing is subsampled.
The record goes to benchmarks/results/search_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from archrep import get_space, load_encoder
from archrep.devices import environment
from archrep.files import write_json
from archrep.predictors.adaptive_basis import Scorer, regress, train
from archrep.search import SearchConfig, prepare, run_block, search
from archrep.strategies.acquisition import log_expected_improvement
from archrep.tables import Column, Measure, TableData, TableInfo, store

RESULTS = Path(__file__).parent / "results" / "search_speed.json"

SEARCHES = {
    # Label: search, and the target in minutes on two cores.
    "DNGO, NB101, 400 queries": ({"strategy": "dngo", "queries": 400}, "nasbench101", 60),
    "DNGO, NB201, 100 queries": (
        {"strategy": "dngo", "preset": "paper-nasbench201", "queries": 100}, "nasbench201", 5,
    ),
    "REINFORCE, NB101, 400 queries": (
        {"strategy": "latent-reinforce", "queries": 400}, "nasbench101", 10,
    ),
    "random, NB101, 400 queries": ({"strategy": "random", "queries": 400}, "nasbench101", 1 / 6),
    "evolution, NB101, 400 queries": (
        {"strategy": "evolution", "queries": 400}, "nasbench101", 1 / 6,
    ),
    "local search, NB101, 400 queries": (
        {"strategy": "local-search", "queries": 400}, "nasbench101", 1 / 6,
    ),
    "random, NB201, 200 queries": ({"strategy": "random", "queries": 200}, "nasbench201", 1 / 6),
    "evolution, NB201, 200 queries": (
        {"strategy": "evolution", "queries": 200}, "nasbench201", 1 / 6,
    ),
    "local search, NB201, 200 queries": (
        {"strategy": "local-search", "queries": 200}, "nasbench201", 1 / 6,
    ),
}  # fmt: skip


def main() -> None:
    """Measure what is asked for and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--only", nargs="+", help="searches whose label contains one of these")
    parser.add_argument("--skip-scaling", action="store_true")
    parser.add_argument("--scratch", type=Path, default=Path("runs/search_speed"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only-print", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a test: few runs and queries")
    args = parser.parse_args()
    record = json.loads(args.out.read_text()) if args.out.exists() else {"searches": {}}
    if not args.only_print:
        record["environment"] = environment(torch.device("cpu"))
        tables = {name: labelled(name, args.scratch) for name in ("nasbench101", "nasbench201")}
        for label, (changes, space, target) in SEARCHES.items():
            if args.only and not any(part in label for part in args.only):
                continue
            config = SearchConfig(**{"table": str(tables[space]), "runs": args.runs} | changes)
            if args.quick:
                config = replace(config, runs=3, queries=30)
            record["searches"][label] = timed(config, args.scratch / "run") | {"target": target}
            write_json(args.out, record)
        if not args.skip_scaling:
            record["pool"] = growth_with_pool(args.quick)
            record["candidates"] = growth_with_candidates(args.quick)
            write_json(args.out, record)
    print_record(record)


def labelled(name: str, folder: Path) -> Path:
    """A table of a whole space with made-up labels; see above."""
    space = get_space(name)
    vectors = load_encoder(name).embed(space.enumerate())
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((vectors.shape[1], 32)) / 4
    smooth = np.tanh(vectors @ weights) @ rng.standard_normal(32)
    smooth = 0.9 + 0.02 * (smooth - smooth.mean()) / smooth.std()
    valid = (smooth + 0.002 * rng.standard_normal(len(smooth))).clip(0, 1)
    info = TableInfo(
        name=f"{name}-made-up", title=f"made-up labels of {space.title}", space=name,
        source="benchmarks/search_speed.py", licence="Apache-2.0", dataset="none", epochs=1,
    )  # fmt: skip
    about = {"dataset": "none", "epochs": 1}
    columns = [
        Column(Measure(metric="valid_accuracy", seed="mean", **about), valid),
        Column(Measure(metric="test_accuracy", seed="mean", **about), smooth.clip(0, 1)),
        Column(Measure(metric="train_seconds", **about), np.full(len(valid), 1.0)),
    ]
    return store(TableData.of(info, columns, rows=np.arange(len(valid))), folder, replace=True)


def timed(config: SearchConfig, out: Path) -> dict[str, object]:
    """Wall and CPU time of a search from the call to the summary, and two runs of it alone."""
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    job = prepare(config)
    ready = time.perf_counter()
    block = min(50, -(-config.runs // (os.cpu_count() or 1)))  # work for every core
    summary = search(job, out=out, block=block)
    wall = time.perf_counter() - started
    from archrep.results import Traces

    traces, _ = Traces.load(out / "traces.parquet")
    equal = True
    for seed in (config.seed, config.seed + config.runs - 1):
        alone, failed = run_block(job, [seed])
        together = traces.position[traces.run == seed]
        equal &= not failed and alone.position.tolist() == together.tolist()
    shutil.rmtree(out)
    return {
        "runs": config.runs,
        "queries": config.queries,
        "candidates": len(job.candidates),
        "wall_seconds": wall,
        "encoding_seconds": ready - started,
        "cpu_seconds": summary["cpu_seconds"],
        "cpu_seconds_a_run": summary["cpu_seconds"] / config.runs,
        "single_runs_equal": equal,
    }


def one_round(vectors: np.ndarray, pool: int, runs: int, scorer: Scorer) -> dict[str, float]:
    """CPU seconds of a run for one round: fit from scratch, then the best five of all cells."""
    rng = np.random.default_rng(0)
    rows = rng.integers(len(vectors), size=(runs, pool))
    features = torch.from_numpy(vectors[rows])
    values = torch.tanh(features[:, :, 0]) + 0.1 * torch.randn(runs, pool)
    rngs = [np.random.default_rng(run) for run in range(runs)]
    times = [time.process_time()]
    network = train(features, values, rngs)
    ones = torch.ones(runs, pool, 1)
    units = torch.tanh(torch.cat([features, ones], 2).double() @ network.folded().double())
    regression = regress(units, values)
    times.append(time.process_time())
    score = [lambda m, s, b=b: log_expected_improvement(m, s, b) for b in values.max(1).values]
    scorer.best(network, regression, score, None, 5)
    times.append(time.process_time())
    fit, best = np.diff(times) / runs
    return {"fit_cpu_seconds": fit, "score_cpu_seconds": best}


def growth_with_pool(quick: bool) -> list[dict[str, float]]:
    """A round over all NAS-Bench-101 cells by labels."""
    vectors = load_encoder("nasbench101").embed(get_space("nasbench101").enumerate())
    scorer, found = Scorer(vectors, np.arange(len(vectors))), []
    torch.set_num_threads(1)
    one_round(vectors, 16, 2, scorer)
    for pool in (16, 50, 100) if quick else (16, 50, 100, 200, 400, 700, 1000):
        rounds = [one_round(vectors, pool, 10, scorer) for _ in range(1 if quick else 3)]
        found.append(
            {"pool": pool} | {k: float(np.median([r[k] for r in rounds])) for k in rounds[0]}
        )
    return found


def growth_with_candidates(quick: bool) -> list[dict[str, float]]:
    """A round with 100 labels by candidates, of the DARTS space."""
    space, found = get_space("darts"), []
    cells = space.sample_array(10_000 if quick else 1_000_000, seed=0)
    vectors = load_encoder("darts").embed(cells)
    torch.set_num_threads(1)
    for count in (10_000,) if quick else (10_000, 30_000, 100_000, 300_000, 1_000_000):
        part = vectors[:count]
        scorer = Scorer(part, np.arange(count))
        rounds = [one_round(part, 100, 10, scorer) for _ in range(1 if quick else 3)]
        found.append({"candidates": count} | medians(rounds))
    return found


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Median of each figure."""
    return {name: float(np.median([figures[name] for figures in rounds])) for name in rounds[0]}


def print_record(record: dict) -> None:
    """Tables of the record."""
    print(json.dumps(record.get("environment", {})))
    print(
        "| search | runs | wall | CPU-s a run | 500 runs, two cores | target | single runs equal |"
    )
    print("|---|---|---|---|---|---|---|")
    for label, found in record["searches"].items():
        minutes = found["wall_seconds"] / 60
        whole = minutes * 500 / found["runs"]
        print(
            f"| {label} | {found['runs']} | {minutes:.2f} min | {found['cpu_seconds_a_run']:.3f} | "
            f"{whole:.2f} min | {found['target']:.2f} min | {found['single_runs_equal']} |"
        )
    for name in ("pool", "candidates"):
        for line in record.get(name, []):
            print(
                f"{name} {line[name]:>9,}: fit {1e3 * line['fit_cpu_seconds']:.1f} ms, "
                f"score {1e3 * line['score_cpu_seconds']:.1f} ms a run"
            )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())

"""Maps: how long t-SNE takes, what it keeps, and whether two seeds look alike.

Question: CPU seconds of maps of 10,000 and 50,000 cells and of all of NAS-Bench-101, beside
          scikit-learn's t-SNE; trustworthiness; agreement of maps of two seeds.
Command:  python benchmarks/map_speed.py RUN                (a run on NAS-Bench-101, `make demo`)
          python benchmarks/map_speed.py RUN --sklearn      (scikit-learn too: ten minutes more)
          python benchmarks/map_speed.py RUN --intervals    (only the width of the grid)
Time:     some 5 minutes on one core.

One thread. Trustworthiness (Venna and Kaski, 2001) is of 3,000 of the fitted cells and their 10
nearest. Agreement is the correlation of both coordinates of the cells that both seeds drew.
Results go to benchmarks/results/map_speed.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from archrep import latent_map as latent_map_module
from archrep.cli.progress import Display
from archrep.devices import environment
from archrep.embeddings import load_embeddings
from archrep.files import write_json
from archrep.latent_map import LatentMap, latent_map

RESULTS = Path(__file__).parent / "results" / "map_speed.json"


def timed(embeddings: np.ndarray, **settings) -> tuple[LatentMap, float]:
    """A map and the CPU seconds it took."""
    with Display() as display:
        started = time.process_time()
        points = latent_map(
            embeddings,
            **settings,
            report=lambda what, done, of: display.show(what, done, of, f"{done:,}/{of:,}"),
        )
    return points, time.process_time() - started


def trustworthiness(embeddings: np.ndarray, points: LatentMap) -> float:
    """Of some of the points that were fitted or placed."""
    from sklearn.manifold import trustworthiness as measure

    some = np.random.default_rng(0).permutation(len(points))[:3_000]
    return float(measure(embeddings[points.rows[some]], points.xy[some], n_neighbors=10))


def agreement(first: LatentMap, second: LatentMap) -> list[float]:
    """Correlation of each coordinate over the cells that are on both maps."""
    _, one, two = np.intersect1d(first.rows, second.rows, return_indices=True)
    return [float(np.corrcoef(first.xy[one, k], second.xy[two, k])[0, 1]) for k in range(2)]


def with_sklearn(embeddings: np.ndarray, rows: np.ndarray) -> dict:
    """scikit-learn's t-SNE of the same cells, with its own settings."""
    from sklearn.manifold import TSNE

    points = embeddings[rows]
    with threadpool_limits(1):
        started = time.process_time()
        xy = TSNE(init="pca", random_state=0).fit_transform(points)
        seconds = time.process_time() - started
    there = LatentMap(xy, rows, "tsne", 30.0, 0, len(embeddings))
    return {"cpu_seconds": seconds, "trustworthiness": trustworthiness(embeddings, there)}


def by_interval(embeddings: np.ndarray) -> list[dict]:
    """Maps of 10,000 cells with openTSNE's own width of the grid and with ours."""
    lines = []
    for interval in (1, 2):
        latent_map_module._INTERVAL = interval
        points, seconds = timed(embeddings, max_points=10_000)
        kept = trustworthiness(embeddings, points)
        lines.append({"interval": interval, "cpu_seconds": seconds, "trustworthiness": kept})
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="run directory, or embeddings file")
    parser.add_argument("--sklearn", action="store_true", help="measure scikit-learn as well")
    parser.add_argument("--intervals", action="store_true", help="measure only these")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 10_000, 50_000])
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    table, name = load_embeddings(args.run)
    embeddings = table.embeddings
    if args.intervals:
        record = json.loads(args.results.read_text()) if args.results.exists() else {}
        write_json(args.results, record | {"intervals": by_interval(embeddings)})
        return
    lines = []
    for size in args.sizes:
        points, seconds = timed(embeddings, max_points=size)
        line = {
            "cells": len(points),
            "cpu_seconds": seconds,
            "trustworthiness": trustworthiness(embeddings, points),
        }
        if size <= 10_000:
            other, _ = timed(embeddings, max_points=size, seed=1)
            line["agreement_of_two_seeds"] = agreement(points, other)
            if args.sklearn:
                line["sklearn"] = with_sklearn(embeddings, points.rows)
        lines.append(line)
        print(line, flush=True)
    whole, seconds = timed(embeddings, max_points=max(args.sizes), everything=True)
    lines.append(
        {
            "cells": len(whole),
            "placed": whole.placed,
            "cpu_seconds": seconds,
            "trustworthiness": trustworthiness(embeddings, whole),
        }
    )
    print(lines[-1])
    about = {"run": name, "cells": len(embeddings), "size": embeddings.shape[1]}
    write_json(
        args.results, about | {"maps": lines, "environment": environment(torch.device("cpu"))}
    )


if __name__ == "__main__":
    main()

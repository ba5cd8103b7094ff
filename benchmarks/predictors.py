"""Predictors: accuracy of cells from the labels of a few, by encoding and number of labels.

Question: what do embeddings, raw encodings and structure tell a predictor (Figure 2 of arch2vec),
          and how well do predictors rank cells from few labels?
Command:  python benchmarks/predictors.py                    (both studies, then the tables)
          python benchmarks/predictors.py --studies labels --tables nasbench201 --labels 78 156
          python benchmarks/predictors.py --only-print
Time:     an hour on one core; most of it at 4,236 labels.

Needs the tables nasbench101 and nasbench201, and for the rows of arch2vec's own embeddings
`archrep pretrain SPACE --preset arch2vec-2020 --seed 1 --no-map --out RUN` with the run directory
RUN runs/embeddings/SPACE-arch2vec-2020; an encoding that is not there is left out.
`--encoding NAME=RUN` adds the embeddings of any run. The rows "supervised" are over embeddings that
three supervised searches of 400 queries learned; those labels come on top of the 250.
Figures are collected in benchmarks/results/predictors.json.

What differs from the publications. Figure 2: the paper predicts test accuracies (mean of three) of
all cells; here 20,031 of them are measured, as the best validation accuracy of three trainings, and
that is what is predicted. Evaluated are the cells without a label whose accuracy is above 0.8. Some
draws hold labels of failed trainings, which throw a Gaussian process on plain accuracies off: its
figures vary much from draw to draw. Kendall's tau: the published rows rank test accuracies of all
cells; that their labels are validation accuracies is our assumption. On
NAS-Bench-201 (CIFAR-10, means of the recorded trainings) labels are validation accuracies and test
accuracies are ranked, those of cells with a label left out; on NAS-Bench-101 both are the best
validation accuracies of the measured cells, so its rows are not comparable one to one.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from archrep.candidates import Candidates
from archrep.encodings import adjacency_encoding, encode, function_encoding
from archrep.files import write_json
from archrep.predictors.gp import GaussianProcess
from archrep.predictors.mlp import MlpEnsemble
from archrep.predictors.structure import structure_features
from archrep.seeding import numpy_stream
from archrep.strategies.supervised import SupervisedDngo

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "predictors.json"
RUNS = Path("runs/embeddings")
LABELS = {"nasbench101": (100, 172, 424, 4236), "nasbench201": (78, 156, 469, 781, 1563)}
FIGURE_LABELS = 250
MANY = 2000
"""Labels above which a Gaussian process takes ten seconds, and only `FOR_MANY` is measured."""
FOR_MANY = [
    *(("gp", name) for name in ("archrep", "arch2vec-2020", "adjacency")),
    ("log-error gp", "function + adjacency + structure"),
    ("log-error gp", "archrep + function + adjacency + structure"),
]

PAPER_FIGURE = {
    # RMSE and Pearson's r; Yan et al. (2020), Figure 2.
    "arch2vec": (0.018, 0.67),
    "supervised": (0.038, 0.53),
}
PAPER_TAU = {
    # Kendall's tau by number of labels, from the tables of PINAT (Lu et al., 2023) and NN-Former.
    ("nasbench101", "arch2vec"): (0.435, 0.511, 0.547, 0.596),
    ("nasbench101", "PINAT"): (0.679, 0.715, 0.772, 0.846),
    ("nasbench101", "NN-Former"): (0.709, 0.765, 0.809, 0.884),
    ("nasbench201", "arch2vec"): (0.542, 0.573, 0.601, 0.606, 0.605),
    ("nasbench201", "PINAT"): (0.549, 0.631, 0.706, 0.761, 0.784),
    ("nasbench201", "best published"): (0.549, 0.806, 0.864, 0.885, 0.914),
}


class Data(NamedTuple):
    """Cells of a table, what labels show and what is ranked, `[N]` each."""

    candidates: Candidates
    labels: np.ndarray
    ranked: np.ndarray


def load(name: str, cells: int | None) -> Data:
    """A table's cells; only the first ones for a test."""
    from archrep.tables.registry import open_recorded

    table = open_recorded(name)
    candidates = Candidates.of_table(table)
    if cells is not None:
        at = candidates.positions[:cells]
        candidates = Candidates(candidates.space, table.cells[at], at, np.arange(cells))
    labels = table.column("valid_accuracy")[candidates.positions]
    ranked = labels
    if name != "nasbench101":
        ranked = table.column("test_accuracy")[candidates.positions]
    return Data(candidates, labels, ranked)


def unit_cube(vectors: np.ndarray) -> np.ndarray:
    """Columns scaled to [0, 1]."""
    low, span = vectors.min(0), np.ptp(vectors, 0)
    return (vectors - low) / np.where(span > 0, span, 1)


def standard(vectors: np.ndarray) -> np.ndarray:
    """Columns of mean zero and deviation one."""
    deviation = vectors.std(0)
    return (vectors - vectors.mean(0)) / np.where(deviation > 1e-9, deviation, 1)


def encodings(data: Data, extra: dict[str, Path]) -> dict[str, np.ndarray]:
    """Vectors of all cells by encoding."""
    candidates = data.candidates
    runs = {"arch2vec-2020": RUNS / f"{candidates.space.name}-arch2vec-2020", **extra}
    known = {name: encode(candidates, name).vectors for name in ("archrep", "adjacency", "path")}
    for name, run in runs.items():
        if run.exists():
            known[name] = encode(candidates, run).vectors
        else:
            print(f"No embeddings in {run}: rows of {name} are left out.", file=sys.stderr)
    return {name: vectors.astype(np.float64) for name, vectors in known.items()}


def supervised_embeddings(data: Data, searches: int, queries: int) -> np.ndarray:
    """What the encoders of supervised searches make of all cells, `[E, N, D]`.

    As in the paper the encoder learns with a search, arch2vec-BO's supervised counterpart, from the
    labels that it queries; they come on top of those that a predictor is given.
    """
    search = SupervisedDngo(data.candidates, seeds=range(searches))
    while search.rows.shape[1] < queries:
        rows = search.ask().rows[:, : queries - search.rows.shape[1]]
        search.tell(rows, data.labels[rows])
    return search.embeddings()


# Predictors ---------------------------------------------------------------------------------------


def plain_gp(vectors: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Predictions of BoTorch's default Gaussian process over an encoding, `[R, N]`.

    Of several embeddings `[E, N, D]` the draws take one each, in turn.
    """
    if vectors.ndim == 3:
        each = [
            plain_gp(vectors[n % len(vectors)], own[None], labels) for n, own in enumerate(rows)
        ]
        return np.concatenate(each)
    return _processes(unit_cube(vectors), rows, labels[rows])


def structure_gp(blocks: list[np.ndarray], rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Predictions of a sum of Matern kernels over blocks of columns, `[R, N]`.

    It sees the logarithm of the error: differences between good cells are small in accuracies, and
    what halves an error counts the same everywhere.
    """
    logarithms = -np.log(1 - labels[rows])
    sizes = [block.shape[1] for block in blocks]
    vectors = np.concatenate(blocks, 1)
    # A length scale for every column is more than a few hundred labels can tell apart.
    kind = {"kernel": "matern", "blocks": sizes, "each": sum(sizes) <= 40}
    return 1 - np.exp(-_processes(vectors, rows, logarithms, **kind))


def _processes(vectors: np.ndarray, rows: np.ndarray, labels: np.ndarray, **kind) -> np.ndarray:
    points = torch.from_numpy(np.ascontiguousarray(vectors, np.float64))
    predicted = []
    for own, values in zip(rows, labels, strict=True):  # one at a time, for the memory
        model = GaussianProcess(**kind, most=400)
        model.fit(points[own][None], torch.from_numpy(values)[None])
        predicted.append(model.predict_mean_run(0, points).numpy())
    return np.stack(predicted)


def networks(vectors: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Predictions of the ensemble of BANANAS, `[R, N]`."""
    points = torch.from_numpy(vectors.astype(np.float32))
    rngs = [numpy_stream(n, "predictors/mlp") for n in range(len(rows))]
    model = MlpEnsemble().fit(points[rows], torch.from_numpy(labels[rows]), rngs)
    return torch.stack([model.predict_run(n, points)[0] for n in range(len(rows))]).numpy()


# Studies ------------------------------------------------------------------------------------------


def draw(count: int, labels: int, draws: int) -> np.ndarray:
    """Which cells have labels, `[draws, labels]`; the same for every predictor."""
    streams = (numpy_stream(n, f"predictors/{labels}") for n in range(draws))
    return np.stack([rng.permutation(count)[:labels] for rng in streams])


def measure(predicted: np.ndarray, rows: np.ndarray, truth: np.ndarray, least: float) -> dict:
    """Figures of every draw over the cells without a label whose truth is above `least`."""
    from scipy.stats import kendalltau, pearsonr, spearmanr

    figures: dict[str, list[float]] = {"rmse": [], "pearson": [], "spearman": [], "kendall": []}
    for guess, own in zip(predicted, rows, strict=True):
        rest = truth > least
        rest[own] = False
        x, y = guess[rest], truth[rest]
        figures["rmse"].append(float(np.sqrt(np.square(x - y).mean())))
        figures["pearson"].append(float(pearsonr(x, y).statistic))
        figures["spearman"].append(float(spearmanr(x, y).statistic))
        figures["kendall"].append(float(kendalltau(x, y).statistic))
    return figures


def models(data: Data, vectors: dict[str, np.ndarray], few: bool) -> list[tuple]:
    """Predictor, encoding, and how to predict from rows with labels; all if these are few."""
    labels = data.labels
    cells = data.candidates.cells
    function = np.sqrt(function_encoding(cells).astype(np.float64))
    written = standard(adjacency_encoding(cells).astype(np.float64))
    sizes = structure_features(data.candidates.space, cells)
    embedding = standard(vectors["archrep"])
    combined = {
        "structure": [sizes],
        "archrep + structure": [embedding, sizes],
        "function + structure": [function, sizes],
        "function + adjacency + structure": [function, written, sizes],
        "archrep + function + adjacency + structure": [embedding, function, written, sizes],
    }
    chosen = [("gp", name, lambda r, v=v: plain_gp(v, r, labels)) for name, v in vectors.items()]
    chosen += [
        ("log-error gp", name, lambda r, v=v: structure_gp([standard(v)], r, labels))
        for name, v in vectors.items()
        if name in ("archrep", "adjacency")
    ]
    chosen += [
        ("log-error gp", name, lambda r, b=b: structure_gp(b, r, labels))
        for name, b in combined.items()
    ]
    chosen += [("networks", "path", lambda r: networks(vectors["path"], r, labels))]
    return chosen if few else [row for row in chosen if row[:2] in FOR_MANY]


def study(data: Data, vectors: dict, about: dict, labels: int, draws: int, least: float) -> list:
    """One record for each predictor and encoding."""
    rows = draw(len(data.labels), min(labels, len(data.labels) // 2), draws)
    records = []
    for predictor, encoding, predict in models(data, vectors, few=labels <= MANY):
        started = time.process_time()
        predicted = predict(rows)
        record = {
            **about,
            "predictor": predictor,
            "encoding": encoding,
            "labels": rows.shape[1],
            "draws": draws,
            "cells": int((data.ranked > least).sum()),
            "cpu_seconds": time.process_time() - started,
            **measure(predicted, rows, data.ranked, least),
        }
        records.append(record)
        figures = " ".join(f"{k} {spread(record[k], 3)}" for k in ("pearson", "kendall"))
        print(f"{about} {labels} {predictor} {encoding}: {figures}", file=sys.stderr)
    return records


def collect(path: Path, records: list[dict], found: list[dict]) -> list[dict]:
    """Write all records, those found in place of older ones of the same setting."""

    def key(record: dict) -> tuple:
        names = ("study", "table", "predictor", "encoding", "labels", "draws")
        return tuple(record[name] for name in names)

    new = {key(record) for record in found}
    records = [record for record in records if key(record) not in new] + found
    write_json(path, records)
    return records


def spread(values: list[float], digits: int) -> str:
    """Mean and standard deviation over draws."""
    return f"{statistics.fmean(values):.{digits}f} ± {statistics.pstdev(values):.{digits}f}"


def show(rows: list[list[str]]) -> None:
    """A table with aligned columns."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    out = csv.writer(sys.stdout, delimiter="|", lineterminator="\n")
    for row in rows:
        out.writerow([text.ljust(width) for text, width in zip(row, widths, strict=True)])
    print()


def print_tables(records: list[dict]) -> None:
    """Both studies, published figures last."""
    figure = [r for r in records if r["study"] == "figure2"]
    head = ["predictor", "encoding", "draws", "RMSE", "Pearson", "Spearman", "Kendall"]
    rows = [head]
    for r in figure:
        numbers = [spread(r["rmse"], 4)]
        numbers += [spread(r[name], 3) for name in ("pearson", "spearman", "kendall")]
        rows.append([r["predictor"], r["encoding"], str(r["draws"]), *numbers])
    for name, (rmse, pearson) in PAPER_FIGURE.items():
        rows.append(["gp, published", name, "10", f"{rmse}", f"{pearson}", "-", "-"])
    print(
        f"Figure 2 on the measured cells of NAS-Bench-101: {FIGURE_LABELS} labels, best validation "
        "accuracy of three, cells above 0.8"
    )
    show(rows)
    for table, counts in LABELS.items():
        own = [r for r in records if r["study"] == "labels" and r["table"] == table]
        by_row: dict[tuple, dict[int, dict]] = {}
        for r in own:
            by_row.setdefault((r["predictor"], r["encoding"]), {})[r["labels"]] = r
        rows = [["predictor", "encoding", *map(str, counts)]]
        for (predictor, encoding), by_count in by_row.items():
            taus = [spread(by_count[n]["kendall"], 3) if n in by_count else "-" for n in counts]
            rows.append([predictor, encoding, *taus])
        for (of, name), taus in PAPER_TAU.items():
            if of == table:
                rows.append(["published", name, *[f"{tau:.3f}" for tau in taus]])
        print(f"Kendall's tau on {table} by number of labels")
        show(rows)


def main() -> None:
    """Measure what is asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=10, help="label draws of the predictor table")
    parser.add_argument("--figure-draws", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--studies", nargs="+", default=["figure2", "labels"])
    parser.add_argument("--tables", nargs="+", default=list(LABELS), help="only these")
    parser.add_argument("--labels", nargs="+", type=int, help="only these numbers of labels")
    parser.add_argument("--encoding", nargs="+", default=[], metavar="NAME=RUN")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="few cells, labels and draws: a test")
    parser.add_argument("--only-print", action="store_true", help="print the results file")
    args = parser.parse_args()
    if args.only_print:
        print_tables(json.loads(args.out.read_text()))
        return
    extra = {name: Path(run) for name, _, run in (text.partition("=") for text in args.encoding)}
    cells = 400 if args.quick else None
    draws = 2 if args.quick else args.draws
    records = json.loads(args.out.read_text()) if args.out.exists() else []
    for name, counts in ((name, LABELS[name]) for name in args.tables):
        if args.labels:
            counts = [count for count in counts if count in args.labels]
        data = load(name, cells)
        vectors = encodings(data, extra)
        if name == "nasbench101" and "figure2" in args.studies:
            searches, queries = (1, 30) if args.quick else (3, 400)
            learned = {"supervised": supervised_embeddings(data, searches, queries)}
            for repeats in [2] if args.quick else args.figure_draws:
                about = {"study": "figure2", "table": name}
                found = study(data, vectors | learned, about, FIGURE_LABELS, repeats, 0.8)
                records = collect(args.out, records, found)
        for labels in counts[:1] if args.quick else counts:
            if "labels" in args.studies:
                about = {"study": "labels", "table": name}
                found = study(data, vectors, about, labels, draws, -np.inf)
                records = collect(args.out, records, found)
    print_tables(records)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

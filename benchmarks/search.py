"""Searches on benchmark tables: the tables and figures of arch2vec, and what lies beyond them.

Question: what does a strategy find with so many queries, over hundreds of seeds, and does the
          unsupervised embedding help?
Command:  python benchmarks/search.py table3              (one experiment; `--list` names all)
          python benchmarks/search.py table3 --only-print
          python benchmarks/search.py queries --strategies archrep local-search --runs 50
          python benchmarks/search.py nasbench101 --rows "BO over adjacency"
          python benchmarks/search.py nasbench101 --plot figure6.png --published CURVES.csv
Time:     see `--list`; two cores. A run that was cut off goes on where it stood.

Tables must have been imported (`archrep tables import`). Runs live in runs/search/; their summaries
are collected in benchmarks/results/search_EXPERIMENT.json and printed beside published figures.
`--plot` draws those that are there as Figure 6 does: mean regret of k-th queries at the mean of
their clocks, and its distribution; `--published` adds dotted curves of a CSV file with columns
method, query, mean_seconds, mean_validation_regret, mean_test_regret.
Percent, mean ± standard deviation over runs. Protocols: archrep.tables.paid.PROTOCOLS.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from archrep.cells import get_space
from archrep.cli.progress import Display
from archrep.comparison import Curve
from archrep.embeddings import EmbeddingTable, load_encoder
from archrep.files import write_json
from archrep.search import SearchConfig, prepare, search

RESULTS = Path(__file__).parent / "results"
DATASETS = ("cifar10", "cifar100", "imagenet16-120")

# Simulated seconds that Yan et al. (2020) give each data set of NAS-Bench-201, and the schedule
# whose validation accuracy their search sees.
BUDGETS = {"cifar10": (12_000.0, 12), "cifar100": (500_000.0, 200), "imagenet16-120": (1.4e6, 200)}

_TABLE_3 = """
random search 90.94 0.38 93.75 0.37 72.17 0.64 72.05 0.77 45.47 0.65 45.33 0.79
evolution     91.08 0.43 93.84 0.43 73.02 0.46 72.86 0.55 45.78 0.56 45.63 0.64
REINFORCE     91.03 0.33 93.82 0.31 72.35 0.63 72.13 0.79 45.58 0.62 45.30 0.86
BOHB          90.82 0.53 93.61 0.52 72.59 0.82 72.37 0.90 45.44 0.70 45.26 0.83
arch2vec-RL   91.32 0.42 94.12 0.42 73.13 0.72 73.15 0.78 46.22 0.30 46.16 0.38
arch2vec-BO   91.41 0.22 94.18 0.24 73.35 0.32 73.37 0.30 46.34 0.18 46.27 0.37
"""
TABLE_3 = {
    " ".join(line.split()[:-12]): tuple(
        tuple(float(value) for value in line.split()[-12:][at : at + 4]) for at in (0, 4, 8)
    )
    for line in _TABLE_3.strip().splitlines()
}
"""Validation and test accuracy with deviations, percent, by data set; arch2vec, Table 3."""

TABLE_2 = {
    "random search": (1000, 93.54),
    "REINFORCE": (1000, 93.58),
    "BOHB": (1000, 93.72),
    "evolution": (1000, 93.72),
    "NAO": (1000, 93.74),
    "BANANAS": (500, 94.08),
    "supervised RL": (400, 93.74),
    "supervised BO": (400, 93.79),
    "arch2vec-RL": (400, 94.10),
    "arch2vec-BO": (400, 94.05),
}
"""Queries and test accuracy, percent, on NAS-Bench-101; Yan et al. (2020), Table 2."""


@dataclass(frozen=True)
class Row:
    """One line of an experiment.

    Attributes:
        label: What the printed line says.
        config: The search.
        published: Line of the paper's table that it stands beside.
        candidates: Run of `archrep pretrain` whose cells are searched, for a surrogate.
    """

    label: str
    config: SearchConfig
    published: str = ""
    candidates: Path | None = field(default=None)


def nasbench201(**changes: object) -> SearchConfig:
    """A search on NAS-Bench-201."""
    return SearchConfig(**{"table": "nasbench201", "queries": 200} | changes)


RUN_2020 = "runs/embeddings/{}-arch2vec-2020"
"""Where the run of the published encoder is expected: `archrep pretrain SPACE --preset
arch2vec-2020 --out ...`."""


def table3() -> Iterator[Row]:
    """Table 3: NAS-Bench-201 under the paper's budgets of simulated seconds, every row."""
    encoder = RUN_2020.format("nasbench201")
    rows = (
        ("random search", "random search", {"strategy": "random"}),
        ("evolution", "evolution", {"strategy": "evolution", "preset": "nasbench201"}),
        ("REINFORCE", "REINFORCE", {"strategy": "reinforce", "preset": "nasbench201"}),
        ("BOHB", "BOHB", {"strategy": "bohb"}),
        ("arch2vec-RL", "arch2vec-RL, as printed",
         {"strategy": "latent-reinforce", "preset": "paper-nasbench201", "encoding": encoder}),
        ("arch2vec-RL", "arch2vec-RL, authors' code",
         {"strategy": "latent-reinforce", "preset": "arch2vec-2020-nasbench201",
          "encoding": encoder}),
        ("arch2vec-BO", "arch2vec-BO, as printed",
         {"strategy": "dngo", "preset": "paper-nasbench201", "encoding": encoder}),
        ("arch2vec-BO", "arch2vec-BO, authors' code",
         {"strategy": "dngo", "preset": "arch2vec-2020-nasbench201", "encoding": encoder}),
        ("arch2vec-BO", "BO over archrep's embedding",
         {"strategy": "dngo", "preset": "paper-nasbench201"}),
        ("", "local search", {"strategy": "local-search"}),
        ("", "archrep", {"strategy": "archrep"}),
    )  # fmt: skip
    for published, label, changes in rows:
        for dataset in DATASETS:
            seconds, epochs = BUDGETS[dataset]
            if changes["strategy"] == "bohb":  # the budget on CIFAR-10 is no dozen long trainings
                changes = {
                    "strategy": "bohb",
                    "settings": {"schedules": (12, 200)[: 1 + (epochs > 12)]},
                }
            budget = {"queries": None, "seconds": seconds, "epochs": epochs, "report_epochs": 200}
            yield Row(label, nasbench201(dataset=dataset, **budget | changes), published)


QUERY_ROWS: dict[str, dict[str, object]] = {
    "random search": {"strategy": "random"},
    "evolution (P=10, S=3)": {"strategy": "evolution", "preset": "nasbench201"},
    "local search": {"strategy": "local-search"},
    "REINFORCE": {"strategy": "reinforce", "preset": "nasbench201"},
    "BANANAS": {"strategy": "bananas"},
    "GP, LogEI": {"strategy": "gp"},
    "NAO": {"strategy": "nao"},
    "arch2vec-RL": {"strategy": "latent-reinforce", "preset": "paper-nasbench201"},
    "arch2vec-BO": {"strategy": "dngo", "preset": "paper"},
    "supervised RL": {"strategy": "supervised-reinforce", "runs": 50},
    "supervised BO": {"strategy": "supervised-dngo", "queries": 100, "runs": 50},
    "archrep": {"strategy": "archrep"},
    "archrep, no prior": {"strategy": "archrep", "preset": "no-prior"},
    "archrep, digits known": {"strategy": "archrep", "preset": "transfer-digits"},
}


def queries() -> Iterator[Row]:
    """NAS-Bench-201 by queries, `mean`: accuracy after 20 to 200, and queries to the best cell."""
    for label, changes in QUERY_ROWS.items():
        for dataset in DATASETS:
            yield Row(label, nasbench201(dataset=dataset, **changes))


def single() -> Iterator[Row]:
    """The same under `single`, CIFAR-10: the only data set whose runs the table tells apart."""
    for label, changes in QUERY_ROWS.items():
        yield Row(label, nasbench201(dataset="cifar10", protocol="single", **changes))


ENCODINGS = ("adjacency", "archrep", RUN_2020, "path", "function")
"""The first is what the others are paired with."""


def paired() -> Iterator[Row]:
    """The paired question: one optimiser, five encodings, the same seeds, NAS-Bench-201."""
    for dataset in DATASETS:
        for encoding in ENCODINGS:
            where = encoding.format("nasbench201")
            label = "arch2vec-2020" if encoding == RUN_2020 else encoding
            yield Row(
                f"DNGO over {label}",
                nasbench201(
                    dataset=dataset, strategy="dngo", preset="paper", queries=100, encoding=where
                ),
            )


def nasbench101() -> Iterator[Row]:
    """Table 2 and Figure 6: NAS-Bench-101, whatever of it the imported table has measured."""
    encoder = RUN_2020.format("nasbench101")
    rows = (
        ("random search", "random search", {"strategy": "random"}),
        ("evolution", "evolution", {"strategy": "evolution", "preset": "arch2vec-2020"}),
        ("", "local search", {"strategy": "local-search"}),
        ("REINFORCE", "REINFORCE", {"strategy": "reinforce", "preset": "arch2vec-2020"}),
        ("BANANAS", "BANANAS", {"strategy": "bananas", "queries": 150}),
        ("arch2vec-RL", "arch2vec-RL, as printed",
         {"strategy": "latent-reinforce", "preset": "paper", "encoding": encoder}),
        ("arch2vec-RL", "arch2vec-RL, authors' code",
         {"strategy": "latent-reinforce", "preset": "arch2vec-2020", "encoding": encoder}),
        ("arch2vec-BO", "arch2vec-BO, as printed",
         {"strategy": "dngo", "preset": "paper", "encoding": encoder}),
        ("arch2vec-BO", "arch2vec-BO, authors' code",
         {"strategy": "dngo", "preset": "arch2vec-2020", "encoding": encoder}),
        ("supervised RL", "supervised RL, as printed",
         {"strategy": "supervised-reinforce", "preset": "paper", "runs": 50}),
        ("supervised BO", "supervised BO, as printed",
         {"strategy": "supervised-dngo", "preset": "paper", "runs": 50}),
        ("arch2vec-BO", "BO over archrep's embedding", {"strategy": "dngo", "preset": "paper"}),
        ("", "BO over adjacency", {"strategy": "dngo", "preset": "paper", "encoding": "adjacency"}),
        ("", "archrep", {"strategy": "archrep", "queries": 150}),
    )  # fmt: skip
    for published, label, changes in rows:
        yield Row(
            label, SearchConfig(**{"table": "nasbench101", "queries": 400} | changes), published
        )


def darts() -> Iterator[Row]:
    """DARTS space: 100 queries of the NAS-Bench-301 surrogate over 600,000 embedded cells."""
    where = Path("runs/embeddings/darts-600000.safetensors")
    for label, changes in {
        "random search": {"strategy": "random"},
        "arch2vec-RL": {"strategy": "latent-reinforce", "preset": "paper"},
        "arch2vec-BO": {"strategy": "dngo", "preset": "paper"},
        "BO over adjacency": {"strategy": "dngo", "preset": "paper", "encoding": "adjacency"},
    }.items():
        config = SearchConfig(**{"table": "nasbench301", "queries": 100, "runs": 50} | changes)
        yield Row(label, config, candidates=where)


def embed_darts(path: Path) -> None:
    """600,000 cells without `none`, which the surrogate does not know, as archrep embeds them."""
    space = get_space("darts")
    cells = space.sample_array(1_900_000, seed=0)
    cells = cells[np.flatnonzero((cells.ops != space.ops.index("none")).all(1))[:600_000]]
    path.parent.mkdir(parents=True, exist_ok=True)
    EmbeddingTable(load_encoder("darts").embed(cells), cells, "darts").save(path)


def digits() -> Iterator[Row]:
    """The table that comes with archrep: no import, under a minute."""
    for label in ("random search", "local search", "arch2vec-BO", "archrep"):
        config = SearchConfig(**{"table": "digits", "queries": 50, "runs": 20} | QUERY_ROWS[label])
        yield Row(label, config)


EXPERIMENTS = {
    run.__name__: run for run in (table3, queries, single, paired, nasbench101, darts, digits)
}


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiment", nargs="?", choices=list(EXPERIMENTS))
    parser.add_argument("--list", action="store_true", help="name the experiments")
    parser.add_argument("--only-print", action="store_true", help="print what was collected")
    parser.add_argument("--rows", nargs="+", help="only these, named as the table names them")
    parser.add_argument("--strategies", nargs="+", help="only these")
    parser.add_argument("--datasets", nargs="+", help="only these")
    parser.add_argument("--runs", type=int, help="seeds of a row; by default 500")
    parser.add_argument("--queries", type=int, help="queries of a run, where they are the budget")
    parser.add_argument("--workers", type=int, help="processes; by default one a core")
    parser.add_argument("--plot", type=Path, help="draw regrets: .png, .svg or .pdf")
    parser.add_argument("--published", type=Path, help="curves of the authors to draw beside")
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.list or args.experiment is None:
        for name, rows in EXPERIMENTS.items():
            print(f"{name:12} {rows.__doc__.splitlines()[0]}")
        return
    results = args.results / f"search_{args.experiment}.json"
    rows = list(chosen(EXPERIMENTS[args.experiment](), args))
    if not rows:
        sys.exit(f"No row of {args.experiment} is left by --rows, --strategies and --datasets.")
    for row in () if args.only_print else rows:
        collect(results, row, run(row, args.out, args.workers))
    print_table(json.loads(results.read_text()) if results.exists() else [])
    if args.experiment == "paired" and not args.only_print:
        compare(rows, args.out, results)
    for line in json.loads(results.read_text()) if results.exists() else []:
        print_pair(line)
    if args.plot:
        draw_figure6(rows, args.out, args.plot, args.published)


def chosen(rows: Iterator[Row], args: argparse.Namespace) -> Iterator[Row]:
    """The rows that the command line leaves, with its seeds and queries."""
    for row in rows:
        config = row.config
        if args.rows and row.label not in args.rows:
            continue
        if args.strategies and config.strategy not in args.strategies:
            continue
        if args.datasets and config.dataset not in args.datasets:
            continue
        if args.runs:
            config = replace(config, runs=args.runs)
        if args.queries and config.queries is not None:
            config = replace(config, queries=min(args.queries, config.queries))
        yield replace(row, config=config)


def folder_of(row: Row, folder: Path) -> Path:
    """Run directory of a row."""
    config = row.config
    parts = [config.table, config.strategy, config.preset, config.dataset, config.protocol]
    parts += [Path(config.encoding).name if config.encoding else None, config.queries]
    parts += [
        None if config.seconds is None else f"{config.seconds:g}s",
        config.epochs,
        config.runs,
    ]
    return folder / "-".join(str(part) for part in parts if part is not None)


def run(row: Row, folder: Path, workers: int | None) -> dict:
    """One search, resumed or returned if it is there already."""
    config, out = row.config, folder_of(row, folder)
    print(f"== {row.label}: {out}", file=sys.stderr)
    if (out / "summary.json").exists():
        return json.loads((out / "summary.json").read_text())
    if row.candidates is not None and not row.candidates.exists():
        embed_darts(row.candidates)
    with Display() as display:
        return search(
            prepare(config, embeddings=row.candidates),
            out=out,
            workers=workers,
            resume=(out / "config.json").exists(),
            report=lambda p: display.show(
                "searching", p.runs_done, p.runs, f"{p.runs_done}/{p.runs} runs"
            ),
        )


def compare(rows: list[Row], folder: Path, results: Path) -> None:
    """Add to the results how each finished row differs from the first, seed by seed."""
    from archrep.comparison import holm, load_finished, paired

    entries = json.loads(results.read_text())
    for dataset in DATASETS:
        own = [row for row in rows if row.config.dataset == dataset]
        done = [row for row in own if (folder_of(row, folder) / "summary.json").exists()]
        if len(done) < 2 or done[0] != own[0]:
            continue
        baseline = load_finished(folder_of(done[0], folder))
        pairs = [paired(load_finished(folder_of(row, folder)), baseline) for row in done[1:]]
        corrected = holm([pair.p for pair in pairs])
        for row, pair, p in zip(done[1:], pairs, corrected, strict=True):
            for entry in entries:
                if (entry["label"], entry["dataset"]) == (row.label, dataset):
                    entry["pair"] = {"baseline": done[0].label, **pair._asdict(), "p_holm": p}
    write_json(results, entries)


def print_pair(entry: dict) -> None:
    """What `compare` found for a row."""
    if pair := entry.get("pair"):
        print(
            f"{entry['dataset']}: {entry['label']} less {pair['baseline']} "
            f"{100 * pair['difference']:+.2f} ({100 * pair['low']:+.2f} .. "
            f"{100 * pair['high']:+.2f}), better in {100 * pair['won']:.0f} % of {pair['runs']} "
            f"seeds, Wilcoxon p {pair['p_holm']:.1g}"
        )


METHODS = {
    "random": "random search",
    "regularized-evolution": "evolution",
    "reinforce": "REINFORCE",
    "bohb": "BOHB",
    "supervised-rl": "supervised RL",
    "supervised-bo": "supervised BO",
    "arch2vec-rl": "arch2vec-RL",
    "arch2vec-bo": "arch2vec-BO",
}
"""Methods of the authors' curves, and the published rows of a table."""


def draw_figure6(rows: list[Row], folder: Path, file: Path, published: Path | None) -> None:
    """Figure 6: mean regret along queries and clock, and its distribution at the end."""
    from archrep.cli.report_searches import draw
    from archrep.comparison import load_finished

    rows = [row for row in rows if (folder_of(row, folder) / "summary.json").exists()]
    if not rows:
        sys.exit(f"Nothing to draw: no finished run of this experiment in {folder}.")
    searches = [load_finished(folder_of(row, folder)) for row in rows]
    beside = None
    if published is not None:
        colours = {row.published: number for number, row in reversed(list(enumerate(rows)))}
        beside = published_curves(published, colours, searches[0].metric)
    labels = [row.label for row in rows]
    draw(searches, file, averaging="arch2vec-2020", labels=labels, beside=beside)
    print(f"Drawn: {file}", file=sys.stderr)


def published_curves(
    path: Path, colours: dict[str, int], metric: str
) -> dict[str, dict[str, tuple[int, Curve]]]:
    """The authors' mean regrets of methods that have a colour, along queries and seconds."""
    column = "mean_test_regret" if metric == "test_accuracy" else "mean_validation_regret"
    with path.open() as lines:
        points = list(csv.DictReader(lines))
    found: dict[str, dict[str, tuple[int, Curve]]] = {"queries": {}, "seconds": {}}
    for method, name in METHODS.items():
        own = [point for point in points if point["method"] == method]
        if name not in colours or not own:
            continue
        regret = np.array([float(point[column]) for point in own])
        for along, key in (("queries", "query"), ("seconds", "mean_seconds")):
            budget = np.array([float(point[key]) for point in own])
            curve = Curve(budget, regret, regret, regret, regret)
            found[along][f"published: {name}"] = (colours[name], curve)
    return found


def collect(path: Path, row: Row, summary: dict) -> None:
    """Put a summary into the results file, in place of an older one of the same row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else []
    entry = {"label": row.label, "published": row.published, **summary}
    key = (row.label, summary["dataset"], summary["protocol"])
    kept = [e for e in known if (e["label"], e["dataset"], e["protocol"]) != key]
    write_json(path, [*kept, entry])


def print_table(entries: list[dict]) -> None:
    """One line a search, the paper's figures last."""
    head = ["strategy", "data", "runs", "queries", "valid", "test", "20", "50", "100", "200"]
    head += ["recommended", "to best: 50 % (90 %), reached", "paper: valid, test"]
    rows = [head]
    for entry in entries:
        after = entry["after_queries"]
        needed = entry.get("queries_to_best_valid")
        rows.append(
            [
                entry["label"],
                str(entry["dataset"]),
                str(entry["runs"]),
                f"{entry['queries_mean']:.0f}",
                spread(entry, "valid_accuracy"),
                spread(entry, "test_accuracy"),
                *(at(after.get(query)) for query in ("20", "50", "100", "200")),
                spread(entry, "recommended_test_accuracy"),
                "-" if needed is None else reached(needed, entry["runs"]),
                paper(entry),
            ]
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    rows.insert(1, ["-" * width for width in widths])
    for row in rows:
        print("|" + "|".join(text.ljust(w) for text, w in zip(row, widths, strict=True)) + "|")


def spread(entry: dict, name: str) -> str:
    """Mean ± standard deviation over runs, percent; of a surrogate what the search saw."""
    if name == "valid_accuracy" and f"{name}_mean" not in entry:
        name = "seen_valid_accuracy"
    if f"{name}_mean" not in entry:
        return "-"
    return f"{100 * entry[f'{name}_mean']:.2f} ± {100 * entry[f'{name}_sd']:.2f}"


def at(after: dict | None) -> str:
    """Test accuracy after so many queries, or the validation accuracy of a table without any."""
    if not after:
        return "-"
    names = ("test_accuracy_mean", "valid_accuracy_mean", "seen_valid_accuracy_mean")
    return next((f"{100 * after[name]:.2f}" for name in names if name in after), "-")


def reached(needed: dict, runs: int) -> str:
    """Median and 90 % quantile of the queries to the best-validation cell."""
    median, most = (needed[name] or float("inf") for name in ("q50", "q90"))
    return f"{median:.0f} ({most:.0f}), {needed['reached']}/{runs}"


def paper(entry: dict) -> str:
    """The published line."""
    if entry["table"].startswith("NAS-Bench-201") and entry["published"] in TABLE_3:
        valid, valid_sd, test, test_sd = TABLE_3[entry["published"]][
            DATASETS.index(entry["dataset"])
        ]
        return f"{valid} ± {valid_sd}, {test} ± {test_sd}"
    if entry["table"].startswith("NAS-Bench-101") and entry["published"] in TABLE_2:
        count, test = TABLE_2[entry["published"]]
        return f"test {test} after {count}"
    return "-"


if __name__ == "__main__":
    main()

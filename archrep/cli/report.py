"""`archrep report`: what finished runs of `pretrain` or `search` came to."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from archrep.cli.options import parse_options
from archrep.errors import RunError
from archrep.files import read_json

EXAMPLES = """examples:
  archrep report runs/nasbench201 runs/nasbench101
  archrep report runs/search-* --baseline runs/search-digits-random-mean --plot regret.png"""

COLUMNS = (
    ("space", "space", ""),
    ("preset", "preset", ""),
    ("seed", "seed", "d"),
    ("cells", "cells", ",d"),
    ("whole graph", "whole_graph_accuracy", "%"),
    ("verified", "whole_graph_accuracy_verified", "%"),
    ("valid", "validity", "%"),
    ("verified valid", "validity_verified", "%"),
    ("unique", "uniqueness", "%"),
    ("uniform", "uniqueness_uniform", "%"),
    ("distinct", "distinct_embeddings", ",d"),
    ("smooth", "smoothness", ".3f"),
    ("seconds", "seconds", ".0f"),
)
"""Heading, key of summary.json and format of each column of the printed table."""


@dataclass(frozen=True)
class Options:
    """Print what finished runs came to: of `archrep pretrain`, or of `archrep search`.

    Encoders: reconstruction, validity, uniqueness, smoothness.
    "whole graph" is the share of held-out cells that are decoded back entirely right; "valid" the
    share of prior draws that decode to a legal cell as it stands; "unique" the share of distinct
    cells among those, "uniform" what uniform draws from the whole space would give; "verified" uses
    the decoder that checks its candidates by encoding them again.

    Searches: accuracy of the incumbent with its spread over seeds, after 20 to 200 queries, and
    queries to the cell that is best by validation; protocol and table in every line.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directories."""
    json: bool = False
    """Print one JSON line a run, with every figure."""
    csv: bool = False
    """Print the table as CSV, in fractions."""
    baseline: Path | None = None
    """A search that the others are compared with, seed by seed."""
    plot: Path | None = None
    """Draw regret curves and the distribution of final regrets of searches: .png, .svg, .pdf."""
    averaging: Literal["median", "arch2vec-2020"] = "median"
    """Of the drawn curves: median and quartiles of all runs at one time; or, as in that paper's
    Figure 6, mean regret of the k-th queries at the mean of their clocks, to the shortest run."""


def main(argv: list[str]) -> int:
    """Run the command; see `Options`."""
    options = parse_options(Options, "report", argv, EXAMPLES)
    if not options.runs:
        raise RunError("Name at least one run directory, such as `archrep report runs/*`.")
    searches = [run for run in options.runs if (run / "traces.parquet").exists()]
    if searches and len(searches) < len(options.runs):
        other = next(run for run in options.runs if run not in searches)
        why = "is an unfinished one. Finish it with `archrep search ... --resume`."
        if not _is_unfinished_search(other):
            why = "is none. Report searches apart from anything else."
        raise RunError(f"{searches[0]} is a finished search; {other} {why}")
    if searches or options.baseline is not None:
        return _report_searches(options, searches)
    summaries = []
    for run in options.runs:
        path = run / "summary.json"
        try:
            summary = read_json(path, "the summary of a finished run")
            if not isinstance(summary, dict) or "space" not in summary:
                raise RunError(f"Expected the summary of a finished run in {path}.")
            summaries.append(summary)
        except RunError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not summaries:
        command = (
            "search ... --resume" if any(map(_is_unfinished_search, options.runs)) else "pretrain"
        )
        raise RunError(f"None of these is a finished run. Finish one with `archrep {command}`.")
    if options.json:
        for summary in summaries:
            print(json.dumps(summary))
    elif options.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow([key for _, key, _ in COLUMNS])
        writer.writerows([[s.get(key) for _, key, _ in COLUMNS] for s in summaries])
    else:
        _print_table(summaries)
    return 0


def _is_unfinished_search(run: Path) -> bool:
    try:
        config = read_json(run / "config.json", "a run's configuration")
    except RunError:
        return False
    return isinstance(config, dict) and "strategy" in config


def _report_searches(options: Options, runs: list[Path]) -> int:
    from archrep.cli.report_searches import report_searches
    from archrep.comparison import load_finished

    once = {run.resolve(): run for run in runs}  # the same folder twice is one search
    searches = [load_finished(run) for run in once.values()]
    baseline = None
    if options.baseline is not None:
        known = {search.folder.resolve(): search for search in searches}
        baseline = known.get(options.baseline.resolve()) or load_finished(options.baseline)
        if baseline not in searches:
            searches.insert(0, baseline)
    style = "json" if options.json else "csv" if options.csv else "table"
    report_searches(
        searches,
        baseline=baseline,
        plot=options.plot,
        averaging=options.averaging,
        style=style,
    )
    return 0


def _print_table(summaries: list[dict[str, Any]]) -> None:
    rows = [[heading for heading, _, _ in COLUMNS]]
    rows += [[_cell(s.get(key), kind) for _, key, kind in COLUMNS] for s in summaries]
    widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
    for row in rows:
        padded = [
            text.ljust(width) if kind == "" else text.rjust(width)
            for text, width, (_, _, kind) in zip(row, widths, COLUMNS, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _cell(value: Any, kind: str) -> str:
    if value is None:
        return "-"
    if kind == "%":
        return "100" if value == 1 else f"{100 * value:.2f}"
    return format(value, kind)

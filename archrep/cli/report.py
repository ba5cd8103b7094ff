"""`archrep report`: the quality table of finished runs."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from archrep.cli.options import parse_options
from archrep.errors import RunError
from archrep.files import read_json

EXAMPLES = """example: archrep report runs/*"""

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
    """Print the quality of finished runs: reconstruction, validity, uniqueness, smoothness.

    "whole graph" is the share of held-out cells that are decoded back entirely right; "valid" the
    share of prior draws that decode to a legal cell as it stands; "unique" the share of distinct
    cells among those, "uniform" what uniform draws from the whole space would give; "verified" uses
    the decoder that checks its candidates by encoding them again.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directories."""
    json: bool = False
    """Print one JSON line a run, with every figure."""
    csv: bool = False
    """Print the table as CSV, in fractions."""


def main(argv: list[str]) -> int:
    """Run the command; see `Options`."""
    options = parse_options(Options, "report", argv, EXAMPLES)
    if not options.runs:
        raise RunError("Name at least one run directory, such as `archrep report runs/*`.")
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
        raise RunError("None of these is a finished run. Finish one with `archrep pretrain`.")
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

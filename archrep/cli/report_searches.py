"""The part of `archrep report` that is about searches: a table, paired tests, pictures."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from archrep.comparison import (
    Curve,
    Finished,
    curve,
    differences,
    final_regrets,
    holm,
    paired,
    published_curve,
    same_question,
)
from archrep.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Along = Literal["queries", "seconds", "end"]
CHECKPOINTS = ("20", "50", "100", "200")


def report_searches(
    searches: Sequence[Finished],
    *,
    baseline: Finished | None = None,
    plot: Path | None = None,
    averaging: str = "median",
    style: str = "table",
) -> None:
    """Print what searches found and, if asked, test them against one of them and draw them.

    Args:
        searches: Finished searches.
        baseline: The one that all others are paired with.
        plot: File for the pictures: .png, .svg or .pdf.
        averaging: `median` or `arch2vec-2020`, see `draw`.
        style: `table`, `csv` (one line a search, fractions) or `json` (whole summaries).
    """
    for problem in same_question(searches):
        print(f"note: these do not compare; they differ in {problem}.", file=sys.stderr)
    tests = [] if baseline is None else _tests(searches, baseline)
    if style == "json":
        for search in searches:
            print(json.dumps({"out": str(search.folder), **search.summary}))
        for line in tests:
            print(json.dumps(line))
    elif style == "csv":
        _print_csv(searches, tests)
    else:
        _print_table(searches)
        _print_tests(tests)
    if plot is not None:
        draw(searches, plot, averaging=averaging)
        print(f"Drawn: {plot}", file=sys.stderr)


def _line(search: Finished) -> dict[str, Any]:
    """The figures of one search that a table shows, fractions."""
    summary = search.summary
    seen = search.metric == "valid_accuracy"
    name = "seen_valid_accuracy" if seen else search.metric.removeprefix("mean_")
    line: dict[str, Any] = {
        "search": search.label,
        "table": summary["table"],
        "dataset": summary["dataset"],
        "report_epochs": summary.get("report_epochs"),
        "protocol": summary["protocol"],
        "table_sha256": summary["table_sha256"],
        "runs": summary["runs"],
        "queries": summary["queries_mean"],
        "seconds": summary["seconds_mean"],
        "metric": search.metric,
        "mean": summary[f"{name}_mean"],
        "sem": summary[f"{name}_sem"],
        "sd": summary[f"{name}_sd"],
    }
    line |= summary[f"{name}_quantiles"]
    line["valid_mean"] = summary.get("valid_accuracy_mean", summary["seen_valid_accuracy_mean"])
    line["recommended"] = summary.get(f"recommended_{name}_mean")
    for query in CHECKPOINTS:
        after = summary["after_queries"].get(query, {})
        line[f"at_{query}"] = after.get(f"{name}_mean")
    needed = summary.get("queries_to_best_valid", {})
    line["queries_to_best"] = needed.get("q50")
    line["reached_best"] = needed.get("reached")
    return line


def _print_csv(searches: Sequence[Finished], tests: Sequence[dict[str, Any]]) -> None:
    lines = [{"out": str(search.folder), **_line(search)} for search in searches]
    by_folder = {test["out"]: test for test in tests}
    for line in lines if tests else ():
        test = by_folder.get(line["out"], {})
        line |= {"baseline": test.get("baseline"), "paired_runs": test.get("runs")}
        line |= {name: test.get(name) for name in ("difference", "low", "high", "p", "p_holm")}
        line["won"] = test.get("won")
    writer = csv.DictWriter(sys.stdout, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)


def _print_table(searches: Sequence[Finished]) -> None:
    head = ["search", "data", "epochs", "protocol", "table", "runs", "queries", "validation"]
    head += ["mean ± error", "10 %", "median", "90 %", *(f"at {query}" for query in CHECKPOINTS)]
    head += ["recommended", "to best (reached)"]
    rows = [head]
    for line in map(_line, searches):
        needed = "-" if line["queries_to_best"] is None else f"{line['queries_to_best']:.0f}"
        rows.append(
            [
                line["search"],
                str(line["dataset"]),
                str(line["report_epochs"] or "-"),
                line["protocol"],
                line["table_sha256"][:8],
                str(line["runs"]),
                f"{line['queries']:.0f}",
                _percent(line["valid_mean"]),
                f"{_percent(line['mean'])} ± {_percent(line['sem'])}",
                *(_percent(line[q]) for q in ("q10", "q50", "q90")),
                *(_percent(line[f"at_{query}"]) for query in CHECKPOINTS),
                _percent(line["recommended"]),
                "-" if line["reached_best"] is None else f"{needed} ({line['reached_best']})",
            ]
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    for row in rows:
        print("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip())
    shown = " and ".join(dict.fromkeys(map(_kind, searches)))
    print(f"Percent: {shown}; mean and standard error over runs.")


def _kind(search: Finished) -> str:
    if search.metric != "test_accuracy":
        return "validation accuracy of the incumbent"
    return f"test accuracy of {'the best queried (oracle)' if search.oracle else 'the incumbent'}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _tests(searches: Sequence[Finished], baseline: Finished) -> list[dict[str, Any]]:
    others = [search for search in searches if search.folder != baseline.folder]
    if not others:
        raise ConfigError("`--baseline` needs another search to compare with. Got only itself.")
    pairs = [paired(search, baseline) for search in others]
    corrected = holm([pair.p for pair in pairs])
    return [
        {
            "out": str(search.folder),
            "search": search.label,
            "baseline": baseline.label,
            "metric": search.metric,
            **pair._asdict(),
            "p_holm": p,
        }
        for search, pair, p in zip(others, pairs, corrected, strict=True)
    ]


def _print_tests(tests: Sequence[dict[str, Any]]) -> None:
    for line in tests:
        print(
            f"{line['search']} less {line['baseline']}: {100 * line['difference']:+.3f} "
            f"({100 * line['low']:+.3f} .. {100 * line['high']:+.3f}) percentage points, better in "
            f"{100 * line['won']:.0f} % of {line['runs']} seeds, Wilcoxon p {line['p_holm']:.2g}"
        )
    if tests:
        print(
            "Final incumbents, paired by seed; 95 % confidence intervals; p two-sided, "
            "corrected after Holm."
        )


def draw(
    searches: Sequence[Finished],
    file: Path,
    *,
    averaging: str = "median",
    labels: Sequence[str] | None = None,
    beside: Mapping[str, Mapping[str, tuple[int, Curve]]] | None = None,
) -> None:
    """Regret against queries, against simulated seconds, and its distribution at the end.

    Args:
        searches: Finished searches.
        file: .png, .svg or .pdf.
        averaging: `median` with quartiles, of all runs at one time; or `arch2vec-2020`, the mean
            over k-th queries against the mean of their clocks.
        labels: One a search; by default strategy, preset and encoding.
        beside: Published curves along "queries" and "seconds", see `plot_curves`.

    Raises:
        ConfigError: The file's kind is none that can be drawn.
        RunError: It cannot be written.
    """
    from matplotlib.figure import Figure

    from archrep.plots.style import check_file, house_style, save_figure

    check_file(file, "--plot")
    regret = all(search.best is not None for search in searches)
    timed = all(search.traces.seconds.max() > 0 for search in searches)
    parts: list[Along] = ["queries"]
    parts += ["seconds"] if timed else []
    parts += ["end"] if regret else []
    with house_style():
        figure = Figure(figsize=(5 * len(parts), 4.2), layout="constrained")
        row = figure.subplots(1, len(parts), squeeze=False)[0]
        for along, ax in zip(parts, row, strict=True):
            plot_searches(
                searches, along, averaging=averaging, labels=labels, beside=beside or {}, ax=ax
            )
            ax.get_legend().remove()  # one for all
        lines = row[0].get_legend_handles_labels()
        figure.legend(*lines, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
        figure.suptitle(searches_caption(searches, averaging), fontsize=9)
        save_figure(figure, file, dpi=150)


def plot_searches(
    searches: Sequence[Finished],
    along: Along,
    *,
    averaging: str = "median",
    labels: Sequence[str] | None = None,
    beside: Mapping[str, Mapping[str, tuple[int, Curve]]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Regret of searches along a budget, or how it is distributed at its end.

    Args:
        searches: Finished searches.
        along: The budget, or `"end"`.
        averaging: See `draw`.
        labels: One a search; by default strategy, preset and encoding.
        beside: Published curves along budgets, see `plot_curves`.
        ax: Axes to draw into; `None` makes a figure.

    Raises:
        ConfigError: A table's best is not known, so its runs have no regret at the end.
    """
    from archrep.plots.regret import plot_curves, plot_ecdf

    labels = labels or _labels(searches)
    regret = all(search.best is not None for search in searches)
    kinds = {*map(_kind, searches)}  # where they are mixed, the legend says which is which
    words = kinds.pop() if len(kinds) == 1 else searches[0].metric.replace("_", " ")
    ylabel = f"{words.replace('accuracy', 'regret') if regret else words}, %"
    if along == "end":
        if not regret:
            raise ConfigError("The best cell of the table is not known, so runs have no regret.")
        ends = {
            label: final_regrets(search) for label, search in zip(labels, searches, strict=True)
        }
        return plot_ecdf(ends, xlabel=f"final {ylabel}", ax=ax)
    published = averaging == "arch2vec-2020"
    make = _published if published else curve
    curves = {
        label: make(search, along, regret=regret)
        for label, search in zip(labels, searches, strict=True)
    }
    return plot_curves(
        curves,
        xlabel="simulated seconds" if along == "seconds" else along,
        ylabel=ylabel,
        log=regret,
        mean=published,
        beside=(beside or {}).get(along),
        ax=ax,
    )


def searches_caption(
    searches: Sequence[Finished], averaging: str = "median", drawn: str | None = None
) -> str:
    """Table, protocol and seeds of searches, and what is drawn of them, in one line."""
    if drawn is None:
        drawn = "means of k-th queries" if averaging == "arch2vec-2020" else "median and quartiles"
    return (
        f"{_all(searches, 'table')}, {_all(searches, 'dataset')}, protocol "
        f"{_all(searches, 'protocol')}, table {_all(searches, 'table_sha256', 8)}, "
        f"{_all(searches, 'runs')} seeds; {drawn}"
    )


def _published(search: Finished, along: Along, *, regret: bool) -> Curve:
    clock, mean = published_curve(search, regret=regret)
    budget = clock if along == "seconds" else np.arange(1.0, len(clock) + 1)
    return Curve(budget, mean, mean, mean, mean)


def _all(searches: Sequence[Finished], key: str, length: int | None = None) -> str:
    return " or ".join(dict.fromkeys(str(search.summary[key])[:length] for search in searches))


def _labels(searches: Sequence[Finished]) -> list[str]:
    """One label a search: what differs in the question, and its folder where two are the same."""
    differing = list(differences(searches).values())
    labels = [
        ", ".join([search.label, *(values[number] for values in differing)])
        for number, search in enumerate(searches)
    ]
    names = [search.folder.name for search in searches]
    folders = [
        search.folder.name if names.count(search.folder.name) == 1 else str(search.folder)
        for search in searches
    ]
    return [
        label if labels.count(label) == 1 else f"{label} ({folder})"
        for label, folder in zip(labels, folders, strict=True)
    ]

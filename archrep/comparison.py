"""Searches side by side: curves over seeds, distributions of regret, paired tests.

Everything that a picture or a printed comparison shows is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from archrep.cells.cell import Cell
from archrep.embeddings import EmbeddingTable
from archrep.errors import ConfigError, RunError, TableError
from archrep.files import read_json
from archrep.results import Traces
from archrep.tables.paid import PROTOCOLS
from archrep.tables.registry import open_table


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished search.

    Attributes:
        folder: Its run directory.
        summary: Its summary.
        traces: What it paid for, with the table's figures.
    """

    folder: Path
    summary: dict[str, Any]
    traces: Traces

    @cached_property
    def metric(self) -> str:
        """Field of the traces that is reported.

        Test accuracy; where the table lacks that of an incumbent, mean validation accuracy; and of
        a surrogate what the search saw, `valid_accuracy`.
        """
        for name in ("test_accuracy", "mean_valid_accuracy"):
            if not np.isnan(getattr(self.traces, name)[self.incumbents]).any():
                return name
        return "valid_accuracy"

    @property
    def best(self) -> float | None:
        """The table's best figure of that metric; `None` for a surrogate."""
        return self.summary.get(f"table_best_{self.metric.removeprefix('mean_')}")

    @property
    def oracle(self) -> bool:
        """Whether it reports the best test accuracy of all that was queried."""
        return PROTOCOLS[self.summary["protocol"]].reports == "all"

    @property
    def incumbents(self) -> np.ndarray:
        """Row of what the protocol reports, mostly the best seen so far, for every query, `[M]`."""
        return self.traces.test_incumbents if self.oracle else self.traces.incumbents

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Accuracy of what the protocol reports, mostly the incumbent, at some rows of traces."""
        return getattr(self.traces, self.metric)[self.incumbents[rows]]

    @property
    def budget(self) -> str:
        """Queries, simulated seconds or both that a run might spend."""
        config = self.summary["config"]
        limits = ((config["queries"], "queries"), (config["seconds"], "seconds"))
        return " and ".join(f"{limit:g} {unit}" for limit, unit in limits if limit is not None)

    @property
    def label(self) -> str:
        """Strategy, preset and encoding."""
        config = self.summary["config"]
        parts = [config["strategy"], config["preset"]]
        if self.summary["encoding"] not in ("none", "archrep"):
            parts.append(f"over {self.summary['encoding']}")
        return " ".join(part for part in parts if part)


def load_finished(folder: Path) -> Finished:
    """A finished search of a run directory.

    Raises:
        RunError: It is not finished, damaged, or of another kind.
        TableError: It holds an accuracy above the maximum of its table.
    """
    summary = read_json(folder / "summary.json", "the summary of a finished search")
    if not isinstance(summary, dict) or "table_sha256" not in summary:
        raise RunError(f"Expected the summary of a finished search in {folder}.")
    traces, _ = Traces.load(folder / "traces.parquet")
    for name in ("mean_valid_accuracy", "test_accuracy"):
        ceiling = summary.get(f"table_best_{name.removeprefix('mean_')}")
        values = getattr(traces, name)
        if ceiling is None or np.isnan(values).all():
            continue
        if np.nanmax(values) > ceiling + 1e-9:
            raise TableError(
                f"{folder} holds a {name} of {np.nanmax(values):.5f}, above the maximum of "
                f"{summary['table']}, {ceiling:.5f}. It was not made from this table."
            )
    return Finished(folder, summary, traces)


class FoundCell(NamedTuple):
    """What one run of a search ended with.

    Attributes:
        cell: Its incumbent.
        seed: Number of the run.
        accuracy: Of the incumbent, by `Finished.metric`.
    """

    cell: Cell
    seed: int
    accuracy: float


def check_searched(search: Finished, embeddings: EmbeddingTable) -> None:
    """Refuse other sampled cells than those whose rows a search names.

    Raises:
        TableError: They are others, or the search does not say which it searched.
    """
    searched = search.summary.get("cells_sha256")
    if searched is None:
        raise TableError(
            f"{search.folder} does not say which sampled cells it searched, as older searches do "
            "not. Run it again."
        )
    if searched != embeddings.cells_sha256:
        raise TableError(
            f"{search.folder} searched sampled cells by their rows in another file than this one "
            f"of {len(embeddings):,}: take the embeddings that it searched."
        )


def found_cell(
    search: Finished, *, seed: int | None = None, embeddings: EmbeddingTable | None = None
) -> FoundCell:
    """The cell that a run of a search found.

    Args:
        search: A finished search.
        seed: The run; by default that whose incumbent has the best accuracy the search saw, under
            the protocol `oracle` the best test accuracy.
        embeddings: What it searched, for spaces that are not enumerated.

    Raises:
        ConfigError: There is no such run.
        TableError: The embeddings are missing, or are not those that were searched.
    """
    runs = search.traces.runs.tolist()
    if seed is not None and seed not in runs:
        raise ConfigError(f"The seeds of {search.folder} are {runs[0]} to {runs[-1]}. Got {seed}.")
    ends = search.traces.final()
    incumbents = search.incumbents[ends]
    seen = search.values(ends) if search.oracle else search.traces.valid_accuracy[incumbents]
    chosen = int(seen.argmax()) if seed is None else runs.index(seed)
    position = int(search.traces.position[incumbents[chosen]])
    space = open_table(search.summary["config"]["table"]).space
    if space.size is not None:
        cell = space.enumerate()[position]
    elif embeddings is None:
        raise TableError(
            f"{search.folder} searched sampled cells of {space.title}, by their rows: pass the "
            "embeddings that it searched."
        )
    else:
        check_searched(search, embeddings)
        cell = embeddings.cells[position]
    return FoundCell(cell, runs[chosen], float(search.values(ends)[chosen]))


QUESTION = {
    "table": "table_sha256",
    "data set": "dataset",
    "protocol": "protocol",
    "schedule of the report": "report_epochs",
}
"""What must be equal for the figures of two searches to compare, and its key in a summary."""


def differences(searches: Sequence[Finished]) -> dict[str, list[str]]:
    """What differs between searches that a reader would take to be alike, a value a search."""
    found = {}
    for title, key in QUESTION.items():
        if len({search.summary[key] for search in searches if key in search.summary}) > 1:
            found[title] = [str(search.summary.get(key, "unknown"))[:16] for search in searches]
    return found


def same_question(searches: Sequence[Finished]) -> list[str]:
    """`differences` in words, one each; empty if there are none."""
    return [
        f"{title}: {', '.join(dict.fromkeys(values))}"
        for title, values in differences(searches).items()
    ]


# Curves -----------------------------------------------------------------------------------------


class Curve(NamedTuple):
    """Quantiles over seeds along a budget.

    Attributes:
        budget: Queries or simulated seconds, `[B]`.
        low: Lower quantile, `[B]`.
        middle: Median, `[B]`.
        high: Upper quantile, `[B]`.
        mean: `[B]`.
    """

    budget: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray
    mean: np.ndarray


def curve(
    search: Finished,
    along: Literal["queries", "seconds"] = "queries",
    *,
    regret: bool = True,
    band: tuple[float, float] = (0.25, 0.75),
    points: int = 200,
) -> Curve:
    """What the incumbents of all runs are worth along a budget.

    A run that has ended keeps its last incumbent. Along seconds each run counts what it had found
    by then, so that a point is of one time; Figure 6 of arch2vec sets the mean over k-th queries
    against the mean of their clocks instead (`published_curve`).

    Args:
        search: A finished search.
        along: Queries or simulated seconds.
        regret: The table's best figure less the incumbent's; otherwise the incumbent's.
        band: The two outer quantiles.
        points: Seconds at which to look, evenly spaced in their logarithm.
    """
    traces = search.traces
    if along == "queries":
        budget = np.arange(1, int(traces.query.max()) + 1)
        rows = np.stack([traces.at_queries(int(query)) for query in budget])
    else:
        first = traces.seconds[traces.starts[:-1]].max()
        budget = np.geomspace(first, traces.seconds.max(), points)
        rows = np.stack([traces.at_seconds(float(seconds)) for seconds in budget])
    values = _regret(search, search.values(rows)) if regret else search.values(rows)
    low, middle, high = np.quantile(values, (band[0], 0.5, band[1]), axis=1)
    return Curve(budget, low, middle, high, values.mean(1))


def published_curve(search: Finished, *, regret: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Mean clock and mean regret of the k-th queries, `[Q]` each, as in arch2vec's Figure 6.

    As there, it ends with the shortest run.

    Args:
        search: A finished search.
        regret: The table's best figure less the incumbent's; otherwise the incumbent's.
    """
    traces = search.traces
    shortest = int(np.diff(traces.starts).min())
    rows = np.stack([traces.at_queries(query) for query in range(1, shortest + 1)])
    values = _regret(search, search.values(rows)) if regret else search.values(rows)
    return traces.seconds[rows].mean(1), values.mean(1)


def final_regrets(search: Finished) -> np.ndarray:
    """Regret of the last incumbent of each run, ascending, `[R]`."""
    return np.sort(_regret(search, search.values(search.traces.final())))


def _regret(search: Finished, values: np.ndarray) -> np.ndarray:
    if search.best is None:
        raise TableError(
            f"{search.summary['table']} has no best figure to measure a regret against. "
            "Plot accuracies."
        )
    return search.best - values


# Pairs ------------------------------------------------------------------------------------------


class Paired(NamedTuple):
    """Two searches with the same seeds.

    Attributes:
        runs: Seeds that both have.
        difference: Mean of first minus second.
        low: Lower end of the 95 % confidence interval of the difference (Student's t).
        high: Upper end.
        p: Of the Wilcoxon signed-rank test, two-sided; 1 if all pairs are equal.
        won: Share of seeds in which the first is better, ties counted half.
    """

    runs: int
    difference: float
    low: float
    high: float
    p: float
    won: float


def paired(first: Finished, second: Finished, query: int | None = None) -> Paired:
    """Compare incumbents seed by seed.

    Args:
        first: A finished search.
        second: The one to compare with.
        query: After so many queries; `None` for the end.

    Raises:
        RunError: They answer different questions, had different budgets without `query`, or share
            fewer than three seeds.
    """
    problems = same_question([first, second])
    if first.metric != second.metric:
        problems.append(f"what is known: {first.metric}, {second.metric}")
    if query is None and first.budget != second.budget:
        problems.append(f"budget: {first.budget}, {second.budget}")
    if problems:
        raise RunError(
            f"{first.folder} and {second.folder} cannot be paired; they differ in "
            + "; ".join(problems)
        )
    common, ours, theirs = np.intersect1d(
        first.traces.runs, second.traces.runs, assume_unique=True, return_indices=True
    )
    if len(common) < 3:
        raise RunError(
            f"Expected searches with the same seeds. {first.folder} and {second.folder} share "
            f"{len(common)}."
        )

    def values(search: Finished) -> np.ndarray:
        rows = search.traces.final() if query is None else search.traces.at_queries(query)
        return search.values(rows)

    return compare(values(first)[ours], values(second)[theirs])


def compare(first: np.ndarray, second: np.ndarray) -> Paired:
    """`Paired` of values by seed, `[R]` each."""
    from scipy import stats

    gap = first - second
    mean, error = float(gap.mean()), float(gap.std(ddof=1) / len(gap) ** 0.5)
    reach = float(stats.t.ppf(0.975, len(gap) - 1)) * error
    p = 1.0 if not gap.any() else float(stats.wilcoxon(gap).pvalue)
    won = float((gap > 0).mean() + (gap == 0).mean() / 2)
    return Paired(len(gap), mean, mean - reach, mean + reach, p, won)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected probabilities of several tests, one each: Holm (1979)."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected.tolist()

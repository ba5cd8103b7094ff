"""`archrep search`: run a strategy on a benchmark table, for many seeds at once."""

from __future__ import annotations

import inspect
import json
import sys
import warnings
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from archrep.cli.options import parse_options
from archrep.cli.progress import Display
from archrep.errors import ConfigError
from archrep.search import SearchConfig, SearchProgress, prepare, search
from archrep.settings import assignments
from archrep.strategies import STRATEGIES

EXAMPLES = """examples:
  archrep search digits --strategy local-search --queries 50 --runs 100 --out runs/local
  archrep search nasbench201 --dataset cifar100 --strategy dngo --encoding path --queries 100
  archrep search nasbench201 --strategy dngo --preset arch2vec-2020-nasbench201 --set epochs=50
  archrep search nasbench301 --candidates runs/darts --strategy archrep --queries 100 --runs 20
  archrep search --list"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run a search strategy on a benchmark table, once for every seed.

    Writes traces.parquet (every paid query of every run), config.json and summary.json; prints the
    summary as JSON. Accuracies are fractions, times simulated seconds. `archrep report` compares
    finished searches.
    """

    table: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="TABLE")] = None
    """Name or file of a table; `archrep tables` lists what is there."""
    strategy: str = "archrep"
    """What to run; `--list` names all."""
    preset: str | None = None
    """Named settings of the strategy, such as `paper` or `arch2vec-2020`."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting of the strategy, `name=value`; repeat it for more."""
    encoding: str | None = None
    """What a model sees of a cell: archrep, adjacency, path, function, or a run of `pretrain`."""
    dataset: str | None = None
    """Data set; by default the table's."""
    epochs: int | None = None
    """Training schedule whose validation accuracy the search sees; by default the table's."""
    report_epochs: int | None = None
    """Training schedule whose accuracies are reported; by default the table's."""
    protocol: Literal["mean", "single", "oracle"] = "mean"
    """Whether a search sees the mean of the recorded runs or one of them; `oracle` reports the best
    test accuracy of all that was queried and is no headline."""
    runs: int = 500
    """Independent runs; their seeds count on from `--seed`."""
    queries: int | None = None
    """Budget of a run in queries; 100 if no budget is given."""
    seconds: float | None = None
    """Budget of a run in simulated training seconds."""
    seed: int = 0
    """Of the first run."""
    candidates: Path | None = None
    """For a surrogate: run of `archrep pretrain` whose cells are searched."""
    workers: int | None = None
    """Processes; by default one a core."""
    block: int | None = None
    """Runs that go on in lockstep in a process; changes speed and memory, not results."""
    cluster: str | None = None
    """Address of a Dask scheduler, such as tcp://host:8786, to spread the runs over its workers."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Where models are computed."""
    out: Path | None = None
    """Run directory; default runs/search-TABLE-STRATEGY-..."""
    resume: bool = False
    """Go on with an unfinished search."""
    dry_run: bool = False
    """Print the complete configuration and stop."""
    list: bool = False
    """Print every strategy with its presets and settings, and stop."""

    def resolve(self) -> SearchConfig:
        """The search that the flags describe."""
        if self.table is None:
            raise ConfigError("Name a table, such as `archrep search digits`.")
        budget = self.queries
        if self.queries is None and self.seconds is None:
            budget = 100
        return SearchConfig(
            table=self.table,
            strategy=self.strategy,
            preset=self.preset,
            settings=assignments(self.set),
            encoding=self.encoding,
            dataset=self.dataset,
            epochs=self.epochs,
            report_epochs=self.report_epochs,
            protocol=self.protocol,
            queries=budget,
            seconds=self.seconds,
            runs=self.runs,
            seed=self.seed,
        )


def main(argv: list[str]) -> int:
    """Run the command; see `Options`."""
    options = parse_options(Options, "search", argv, EXAMPLES)
    if options.list:
        print_strategies()
        return 0
    config = options.resolve()
    out = options.out or default_folder(config)
    if options.dry_run:
        print(json.dumps(config.to_dict(), indent=2))
        return 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        job = prepare(config, embeddings=options.candidates, device=options.device)
    for warning in caught:
        print(f"note: {warning.message}", file=sys.stderr)
    try:
        with Display() as display:
            summary = search(
                job,
                out=out,
                workers=options.workers,
                resume=options.resume,
                block=options.block,
                cluster=options.cluster,
                report=lambda progress: display.show(
                    "searching", progress.done, progress.total, describe_progress(progress)
                ),
            )
    except KeyboardInterrupt:
        print(f"Stopped. Go on with the same command and --resume: {out}", file=sys.stderr)
        raise
    print(f"Finished: {out}. {headline(summary)}", file=sys.stderr)
    for seed, reason in list(summary["failed"].items())[:3]:
        print(f"run {seed} failed: {reason}", file=sys.stderr)
    print(json.dumps({"out": str(out), **summary}))
    return 0


def default_folder(config: SearchConfig) -> Path:
    """runs/search-TABLE-DATASET-STRATEGY-PRESET-PROTOCOL."""
    parts = [Path(config.table).stem, config.dataset, config.strategy, config.preset]
    parts += [config.protocol, None if config.encoding is None else Path(config.encoding).name]
    return Path("runs") / "-".join(["search", *(part for part in parts if part)])


def describe_progress(progress: SearchProgress) -> str:
    """One line of a running search."""
    left = progress.seconds_left
    minutes = f"{left / 60:,.1f} min left" if left < float("inf") else "just started"
    return f"{progress.runs_done}/{progress.runs} runs  {progress.done:,} queries  {minutes}"


def headline(summary: dict[str, Any]) -> str:
    """What came out, in a sentence."""
    name = "test_accuracy" if "test_accuracy_mean" in summary else "seen_valid_accuracy"
    figure = f"{100 * summary[f'{name}_mean']:.2f} ± {100 * summary[f'{name}_sem']:.2f} %"
    words = name.removeprefix("seen_").replace("_accuracy", "").replace("valid", "validation")
    return (
        f"{words.capitalize()} accuracy of the incumbent {figure} (mean and standard error of "
        f"{summary['runs']} runs, protocol {summary['protocol']})."
    )


def print_strategies() -> None:
    """Every strategy: source, presets, settings with their defaults."""
    for name, strategy in STRATEGIES.items():
        print(f"{name}: {strategy.title}")
        if strategy.presets:
            print(f"  presets: {', '.join(strategy.presets)}")
        documented = field_docs(strategy.Config)
        for field in fields(strategy.Config):
            print(f"  {field.name} = {field.default!r}: {documented.get(field.name, '')}")
        print()


def field_docs(config: type) -> dict[str, str]:
    """What stands below each field of a dataclass, on one line."""
    import ast

    found = {}
    for base in filter(is_dataclass, reversed(config.__mro__)):  # fields may be inherited
        body = ast.parse(inspect.cleandoc(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for line, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(line, ast.AnnAssign)
                and isinstance(line.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[line.target.id] = " ".join(str(after.value.value).split())
    return found

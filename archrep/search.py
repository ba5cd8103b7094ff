"""Searches: the one loop that pays for queries, run for many seeds at once.

    seeds -> blocks of seeds -> (processes, machines) -> traces -> summary.json

The runs of a block go on in lockstep, as one `Strategy`. A run directory holds `config.json`,
`block-*.parquet` for the blocks that are done, `block-*.state.npz` for those that were begun,
`traces.parquet` and, last of all, `summary.json`, whose presence means that the run is finished.
A killed run goes on from there, and its result is the same, whatever the number of processes.
"""

from __future__ import annotations

import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archrep.candidates import Candidates
from archrep.cells.cell import Cell
from archrep.errors import ConfigError, MisleadingFigureWarning, RunError
from archrep.files import locked_folder, read_arrays, write_arrays, write_json
from archrep.results import Traces, summarise
from archrep.run_directory import begin_run
from archrep.settings import check, from_plain
from archrep.strategies import Strategy, get_strategy, settings
from archrep.tables.base import Table
from archrep.tables.paid import PROTOCOLS, PaidQueries
from archrep.tables.registry import open_recorded, open_table

if TYPE_CHECKING:
    from distributed import Client

    from archrep.tables.surrogate import Nasbench301Surrogate

STALLED = 2_000
"""Answers in a row that a run knew already, after which it is taken to be at its end."""

SECONDS_BETWEEN_CHECKPOINTS = 20.0

MOST_RUNS = 1_000_000
"""In one run directory: their seeds and blocks are listed before the first begins."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Many runs of one strategy on one table: everything that decides their result."""

    table: str
    """Name or file of a table or surrogate."""
    strategy: str = "random"
    """Name of a strategy."""
    preset: str | None = None
    """Named settings of the strategy; `None` for its defaults."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings that differ from those."""
    encoding: str | None = None
    """What a model sees of a cell, see `archrep.encodings.encode`; `None` for the strategy's."""
    dataset: str | None = None
    """Data set; `None` for the table's."""
    epochs: int | None = None
    """Training schedule whose validation accuracy a search sees; `None` for the table's."""
    report_epochs: int | None = None
    """Training schedule whose accuracies are reported; `None` for the table's."""
    protocol: str = "mean"
    """One of `mean`, `single`, `oracle`."""
    queries: int | None = None
    """Paid queries of a run."""
    seconds: float | None = None
    """Simulated seconds of a run; the query that passes them still counts."""
    runs: int = 500
    """Independent runs."""
    seed: int = 0
    """Of the first run; the others count on."""

    def __post_init__(self) -> None:
        checks = {
            f"`runs` must be from 1 to {MOST_RUNS:,}. Got {self.runs}.": (
                1 <= self.runs <= MOST_RUNS
            ),
            f"`seed` must be from 0 to {2**31 - MOST_RUNS:,}. Got {self.seed}.": (
                0 <= self.seed <= 2**31 - MOST_RUNS
            ),
            f"`queries` must be at least 1. Got {self.queries}.": (
                self.queries is None or self.queries >= 1
            ),
            f"`seconds` must be positive and finite. Got {self.seconds}.": (
                self.seconds is None or 0 < self.seconds < float("inf")
            ),
            "`encoding` must not be empty. Leave it out for the strategy's own.": (
                self.encoding != ""
            ),
            "A search needs a budget: `queries`, `seconds` or both. Got neither.": (
                self.queries is not None or self.seconds is not None
            ),
            f"`protocol` must be one of {', '.join(PROTOCOLS)}. Got {self.protocol!r}.": (
                self.protocol in PROTOCOLS
            ),
        }
        check(checks)
        settings(get_strategy(self.strategy), self.preset, self.settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SearchConfig:
        """Config of plain values.

        Raises:
            ConfigError: A field is unknown, or a value impossible.
        """
        return from_plain(cls, values)


@dataclass(frozen=True, eq=False)
class Job:
    """A search with everything that it needs, ready to be sent to another process.

    Attributes:
        config: What to do.
        table: Where queries are answered.
        candidates: What may be proposed.
        device: Where models are computed.
        file_rows: Rows of the candidates in the embeddings file that they come from, ascending.
        file_sha256: `EmbeddingTable.cells_sha256` of that file.
    """

    config: SearchConfig
    table: Table | Nasbench301Surrogate
    candidates: Candidates
    device: str = "cpu"
    file_rows: np.ndarray | None = None
    file_sha256: str | None = None

    @property
    def strategy(self) -> type[Strategy]:
        """The strategy's class."""
        return get_strategy(self.config.strategy)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON gives it back."""
        # What names and paths of the configuration lead to may change.
        inputs = {"table_sha256": self.table.sha256, "candidates_sha256": self.candidates.sha256}
        if self.file_sha256 is not None:
            inputs["cells_sha256"] = self.file_sha256
        return dict(json.loads(json.dumps(self.config.to_dict() | inputs)))

    def make(self, seeds: Sequence[int]) -> Strategy:
        """The strategy, one run a seed."""
        config = self.config
        chosen = settings(self.strategy, config.preset, config.settings)
        strategy = self.strategy(self.candidates, seeds=seeds, config=chosen)
        strategy.to(self.device)
        return strategy

    def paid(self, seed: int, charge_repeats: bool) -> PaidQueries:
        """What answers the queries of one run."""
        config = self.config
        budget: dict[str, Any] = {"max_queries": config.queries, "max_seconds": config.seconds}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MisleadingFigureWarning)  # `search` has warned once
            if isinstance(self.table, Table):
                return self.table.paid(
                    protocol=config.protocol,
                    dataset=config.dataset,
                    epochs=config.epochs,
                    seed=seed,
                    charge_repeats=charge_repeats,
                    **budget,
                )
            return self.table.paid(
                protocol=config.protocol,
                epochs=config.epochs,
                charge_repeats=charge_repeats,
                **budget,
            )

    def cell(self, row: int) -> int | Cell:
        """What a query of a candidate is made of."""
        positions = self.candidates.positions
        return self.candidates.cells[row] if positions is None else int(positions[row])

    def position(self, row: int) -> int:
        """Name of a candidate in a trace: its position in the table or the embeddings file."""
        positions = self.candidates.positions
        if positions is None:
            positions = self.file_rows
        return row if positions is None else int(positions[row])

    def row(self, position: int) -> int:
        """The candidate of that name where there is no table."""
        return position if self.file_rows is None else int(self.file_rows.searchsorted(position))


class Block:
    """Some runs of a job, in lockstep: `step` until `done`."""

    def __init__(self, job: Job, seeds: Sequence[int]) -> None:
        self.job, self.seeds = job, list(seeds)
        self.strategy = job.make(seeds)
        charge = self.strategy.config.charge_repeats
        self.paid = [job.paid(seed, charge) for seed in seeds]
        self.active = np.arange(len(seeds))
        self.known_in_a_row = np.zeros(len(seeds), np.int64)
        self.rows: list[list[tuple[int, int, int, float, float, int, int]]] = [[] for _ in seeds]

    @property
    def done(self) -> bool:
        """Whether all runs have spent their budget."""
        return not len(self.active)

    @property
    def queries(self) -> int:
        """Paid queries of all runs so far."""
        return sum(map(len, self.rows))

    def step(self) -> None:
        """Ask, pay and tell once in every active run."""
        asked = self.strategy.ask()
        count = asked.rows.shape[1]
        if self.job.config.queries is not None:  # nothing is asked for that nobody can pay
            left = max(self.job.config.queries - self.paid[run].queries for run in self.active)
            count = min(count, left)
        rows = asked.rows[:, :count]
        values = np.full(rows.shape, np.nan)
        for place, run in enumerate(self.active.tolist()):
            for k, row in enumerate(rows[place].tolist()):
                if self.paid[run].spent:
                    break
                epochs = None if asked.epochs is None else int(asked.epochs[place, k])
                values[place, k] = self._pay(run, row, epochs)
        complete = ~np.isnan(values).any(1)  # a budget of seconds may end within a batch
        if not complete.all():
            for run in self.active[~complete].tolist():
                self._recommend_as_before(run)
            self._finish(~complete)
        if self.done:
            return
        self.strategy.tell(rows[complete], values[complete])
        recommended = self.strategy.recommend()
        if recommended is not None:
            for run, row in zip(self.active.tolist(), recommended.tolist(), strict=True):
                self.rows[run][-1] = (*self.rows[run][-1][:6], self.job.position(row))
        ended = np.array([self.paid[run].spent for run in self.active])
        ended |= self.known_in_a_row[self.active] > STALLED
        if ended.any():
            self._finish(ended)

    def _pay(self, run: int, row: int, epochs: int | None) -> float:
        paid = self.paid[run]
        answer = paid.query(self.job.cell(row), epochs=epochs)
        if answer.repeat:
            self.known_in_a_row[run] += 1
        else:
            self.known_in_a_row[run] = 0
            where = self.job.position(row)
            self.rows[run].append(
                (
                    *(self.seeds[run], paid.queries, where, answer.valid_accuracy),
                    *(paid.seconds, answer.epochs or 0, -1),
                )
            )
        return answer.valid_accuracy

    def _recommend_as_before(self, run: int) -> None:
        """What a run recommended after its last whole batch, at its last query."""
        known = [row[6] for row in self.rows[run] if row[6] >= 0]
        if known:
            self.rows[run][-1] = (*self.rows[run][-1][:6], known[-1])

    def _finish(self, ended: np.ndarray) -> None:
        self.active = self.active[~ended]
        if len(self.active):
            self.strategy.keep(~ended)

    def traces(self) -> Traces:
        """Everything paid for so far."""
        return Traces.of_rows([row for rows in self.rows for row in rows])

    # Checkpoints ----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write where the block stands, atomically."""
        state = {f"strategy/{name}": part for name, part in self.strategy.state().items()}
        about = json.dumps({"search": self.job.record, "seeds": self.seeds, "rows": self.rows})
        arrays = {"active": self.active, "known": self.known_in_a_row, "about": np.array(about)}
        write_arrays(path, arrays | state)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote; queries are asked again, which costs nothing new.

        Raises:
            RunError: The file is damaged, or of another search.
        """
        delete = "Delete it; its runs then begin anew."
        try:
            arrays = read_arrays(path, "a checkpoint of this search")
        except RunError as error:
            raise RunError(f"{error} {delete}") from None
        try:
            about = json.loads(str(arrays["about"]))
            if about["search"] != self.job.record or about["seeds"] != self.seeds:
                raise RunError("It is of another search, or of other runs.")
            self.rows = [[tuple(row) for row in rows] for rows in about["rows"]]
            for run, rows in enumerate(self.rows):
                for row in rows:
                    cell = (
                        row[2]
                        if self.job.candidates.positions is not None
                        else self.job.cell(self.job.row(row[2]))
                    )
                    self.paid[run].query(cell, epochs=row[5] or None)
            going = np.isin(np.arange(len(self.seeds)), arrays["active"])
            self.active, self.known_in_a_row = arrays["active"], arrays["known"]
            self.strategy.keep(going)
            self.strategy.load_state(
                {
                    name.removeprefix("strategy/"): part
                    for name, part in arrays.items()
                    if name.startswith("strategy/")
                }
            )
        except (ValueError, LookupError, TypeError, AttributeError, RunError) as error:
            reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
            raise RunError(
                f"Expected a checkpoint of this search in {path}, and it cannot be used: {reason} "
                f"{delete}"
            ) from None


@dataclass(frozen=True)
class SearchProgress:
    """What a search reports now and then.

    Attributes:
        done: Paid queries.
        total: Queries of the runs that this process does, or `None` where a budget is in seconds.
        runs_done: Finished runs.
        runs: Runs in all.
        seconds_left: At the rate so far; infinite at the start.
    """

    done: int
    total: int | None
    runs_done: int
    runs: int
    seconds_left: float


def run_block(
    job: Job, seeds: Sequence[int], checkpoint: str | None = None, owner: int | None = None
) -> tuple[Traces, dict[int, str]]:
    """Traces of some runs, and what went wrong in those that failed, by seed.

    Args:
        job: What to do.
        seeds: One a run.
        checkpoint: File to go on from, if it is there, and to keep up to date; deleted by the
            caller.
        owner: Process whose end ends this one, if it is not this one itself.
    """
    from archrep.devices import one_thread

    path = None if checkpoint is None else Path(checkpoint)
    with one_thread():
        try:
            return _run(job, seeds, path, owner), {}
        except RunError:
            raise  # a full disk, a damaged checkpoint: nothing that leaving out a seed would mend
        except Exception as error:  # one run must not take the others with it
            if len(seeds) == 1:
                return Traces.of_rows([]), {seeds[0]: f"{type(error).__name__}: {error}"}
        parts: list[Traces] = []
        failed: dict[int, str] = {}
        for seed in seeds:  # alone, each run is what it was beside the others
            traces, problems = run_block(job, [seed], owner=owner)
            parts.append(traces)
            failed |= problems
        return Traces.concatenate(parts), failed


def _run(job: Job, seeds: Sequence[int], checkpoint: Path | None, owner: int | None) -> Traces:
    block = Block(job, seeds)
    if checkpoint is not None and checkpoint.exists():
        block.load(checkpoint)
    saved = told = time.monotonic()
    while not block.done:
        block.step()
        if owner is not None and owner not in (os.getpid(), os.getppid()):
            os._exit(1)  # it was killed; whoever resumes it must not meet this process
        if checkpoint is None:
            continue
        now = time.monotonic()
        if now - told > 1:  # for the progress that the first process shows
            with suppress(OSError):  # a full disk: saving will say so
                checkpoint.with_suffix(".queries").write_text(str(block.queries))
            told = now
        if now - saved > SECONDS_BETWEEN_CHECKPOINTS:
            block.save(checkpoint)
            saved = now
    return block.traces()


def prepare(
    config: SearchConfig, *, embeddings: str | Path | None = None, device: str = "cpu"
) -> Job:
    """Open the table, list the candidates and encode them.

    Args:
        config: The search.
        embeddings: For a space that is not enumerated: run directory of `archrep pretrain`, or its
            embeddings file, whose cells are the candidates.
        device: Where models are computed.

    Raises:
        ArchrepError: The table, the encoding or the strategy cannot be used together.
    """
    from archrep.encodings import encode

    if device != "cpu":  # torch is not needed otherwise
        from archrep.devices import resolve_device

        device = resolve_device(device).type
    table, file_rows, file_sha256 = open_table(config.table), None, None
    strategy = get_strategy(config.strategy)
    if config.encoding is not None and not strategy.needs_features:
        raise ConfigError(
            f"{config.strategy!r} has no model that would see an encoding. "
            f"Got `encoding` {config.encoding!r}; leave it out."
        )
    if isinstance(table, Table):
        table.setting(config.dataset, config.report_epochs)
        chosen = settings(strategy, config.preset, config.settings)
        if embeddings is not None:
            raise ConfigError(
                f"`candidates` are for surrogates; those of {table.info.title} are its cells. To "
                "search over the vectors of a run, name it as `encoding`."
            )
        if known := getattr(chosen, "transfer", None):
            beforehand = open_recorded(known)
            if beforehand.sha256 == table.sha256:
                raise ConfigError(
                    f"`transfer` names a table that is known beforehand. Got {known!r}, which is "
                    "the one that is searched."
                )
            if beforehand.space.name != table.space.name:
                raise ConfigError(
                    f"`transfer` must be a table of {table.space.title}. {known!r} is of "
                    f"{beforehand.space.title}."
                )
        candidates = Candidates.of_table(
            table,
            dataset=config.dataset,
            epochs=(config.epochs, *getattr(chosen, "schedules", ())),
        )
        if table.info.seed != "mean":
            warnings.warn(
                f"{table.info.title} shows the {table.info.seed} of its recorded runs, not their "
                "mean; figures of this search do not compare with those under the mean.",
                MisleadingFigureWarning,
                stacklevel=2,
            )
    else:
        from archrep.embeddings import EmbeddingTable

        if embeddings is None:
            raise ConfigError(
                f"{table.info.title} answers for any cell of {table.space.title}, which cannot be "
                "listed. Name a run of `archrep pretrain` whose cells are to be searched: "
                "`--candidates RUN`."
            )
        path = Path(embeddings)
        stored = EmbeddingTable.load(path / "embeddings.safetensors" if path.is_dir() else path)
        if stored.space != table.space.name:
            raise RunError(f"Expected embeddings of {table.space.title} in {path}.")
        file_rows = np.flatnonzero(table.answers(stored.cells))
        file_sha256 = stored.cells_sha256
        if not len(file_rows):
            raise ConfigError(f"Expected cells that {table.info.title} knows in {path}. Got none.")
        candidates = Candidates.of_cells(table.space, stored.cells[file_rows])
        candidates = candidates.with_features(stored.embeddings[file_rows], path.name)
    # The embeddings file of a surrogate's candidates is their encoding, unless another is named.
    encoding = config.encoding or strategy.default_encoding
    if config.encoding is None and candidates.features is not None and encoding == "archrep":
        encoding = ""
    if strategy.needs_features and encoding:
        candidates = encode(candidates, encoding)
    return Job(config, table, candidates, device, file_rows, file_sha256)


def search(
    config: SearchConfig | Job,
    *,
    out: str | Path,
    workers: int | None = None,
    resume: bool = False,
    block: int | None = None,
    cluster: str | None = None,
    report: Callable[[SearchProgress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Run every seed and write a run directory.

    Work is spread over the processes of this machine, over the workers of a Dask cluster, or over
    what `joblib.parallel_config(backend=...)` around the call names. Result files are written by
    the calling process alone.

    Args:
        config: The search, or one that `prepare` made ready.
        out: Run directory, made if it does not exist.
        workers: Processes; `None` for one a core. A Dask cluster uses all that it has.
        resume: Go on with the search in `out`; a finished one is returned as it is.
        block: Runs in lockstep; the result does not depend on it.
        cluster: Address of a Dask scheduler, `"tcp://host:port"`.
        report: Called now and then.

    Returns:
        The summary.

    Raises:
        ArchrepError: The table, the encoding or the strategy cannot be used together; or `workers`
            or `block` is not positive.
        RunError: `out` holds another search, or this one without `resume`; another process is
            writing it; or the cluster cannot be reached, or was lost.
    """
    from archrep.cluster import connected
    from archrep.comparison import load_finished
    from archrep.devices import environment, resolve_device

    for name, value in (("workers", workers), ("block", block)):
        if value is not None and value < 1:
            raise ConfigError(f"`{name}` must be at least 1. Got {value}.")
    job = config if isinstance(config, Job) else prepare(config)
    folder = Path(out)
    # The cluster first, so that one that cannot be reached leaves no run directory behind.
    with connected(cluster) as client, locked_folder(folder):
        leftovers = ("block-*", "summary.json", "traces.parquet")
        if begin_run(folder, job.record, leftovers, resume=resume):
            return load_finished(folder).summary
        size = block or job.strategy.block_of(job.candidates)
        seeds = range(job.config.seed, job.config.seed + job.config.runs)
        blocks = [list(seeds[at : at + size]) for at in range(0, len(seeds), size)]
        files = [folder / f"block-{seeds[0]}-{seeds[-1]}.parquet" for seeds in blocks]
        _check_blocks(folder, files, blocks, job)
        todo = [n for n, file in enumerate(files) if not file.exists()]
        calls: list[_Call] = [(n, blocks[n], str(_checkpoint(files[n]))) for n in todo]
        clock = _Clock(job.config, [blocks[n] for n in range(len(blocks)) if n not in todo], report)
        started, cpu_seconds = time.perf_counter(), 0.0
        with clock.watching(folder):
            for n, traces, failed, seconds in _spread(client, job, calls, workers):
                traces.save(files[n], {"failed": failed, "search": job.record})
                cpu_seconds += seconds
                for leftover in (
                    _checkpoint(files[n]),
                    _checkpoint(files[n]).with_suffix(".queries"),
                ):
                    leftover.unlink(missing_ok=True)
                clock.advance(traces, blocks[n])
        parts = [Traces.load(file) for file in files]
        traces = Traces.concatenate([part for part, _ in parts])
        failed = {seed: text for _, about in parts for seed, text in about["failed"].items()}
        if not len(traces):
            raise RunError(f"All runs failed; the first with {next(iter(failed.values()))}")
        traces, summary = describe(traces, job)
        summary |= {
            "failed": failed,
            "wall_seconds": time.perf_counter() - started,
            "cpu_seconds": cpu_seconds,
            "environment": environment(resolve_device(job.device)),
        }
        traces.save(folder / "traces.parquet", summary)
        write_json(folder / "summary.json", summary)
        for file in files:
            file.unlink()
        return summary


_LOCAL = ("LokyBackend", "MultiprocessingBackend", "SequentialBackend", "ThreadingBackend")
"""Backends of joblib whose workers see the files of this process; others may derive from them."""

_Call = tuple[int, list[int], str | None]
"""A block's number and seeds, and its checkpoint."""


def _spread(
    client: Client | None, job: Job, calls: list[_Call], workers: int | None
) -> Iterator[tuple[int, Traces, dict[int, str], float]]:
    """What `_numbered` gives of each block, in the order in which they are done."""
    import joblib

    from archrep.cluster import spread

    backend = ""
    if client is None:
        backend = type(joblib.parallel.get_active_backend()[0]).__name__
    local = backend in _LOCAL
    if not local:
        calls = [(n, seeds, None) for n, seeds, _ in calls]
    if client is not None:
        yield from spread(client, _numbered_there, job, calls)
        return
    pool = joblib.Parallel(
        n_jobs=min(workers or 0, len(calls))
        or (1 if job.device == "cuda" else -1 if local else None),
        return_as="generator_unordered",
        batch_size=1,
        mmap_mode="c",  # large arrays are shared; torch warns of those that cannot be written
    )
    owner = os.getpid() if local else None
    try:
        yield from pool(joblib.delayed(_numbered)(job, *call, owner) for call in calls)
    except BaseException:  # Ctrl-C too: joblib would wait for the blocks that were begun
        if backend == "LokyBackend" and pool.n_jobs != 1:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=False, kill_workers=True)
        raise


def _numbered(
    job: Job, number: int, seeds: Sequence[int], checkpoint: str | None, owner: int | None = None
) -> tuple[int, Traces, dict[int, str], float]:
    before = time.process_time()
    traces, failed = run_block(job, seeds, checkpoint, owner)
    return number, traces, failed, time.process_time() - before


def _numbered_there(
    job: Job, number: int, seeds: Sequence[int], checkpoint: str | None
) -> tuple[int, Traces, dict[int, str], float]:
    """`_numbered` for a worker of a cluster that may do several blocks at a time, in threads.

    None of them may give torch its threads back while another computes.
    """
    import torch

    torch.set_num_threads(1)
    return _numbered(job, number, seeds, checkpoint)


def _checkpoint(file: Path) -> Path:
    return file.with_suffix(".state.npz")


def describe(traces: Traces, job: Job) -> tuple[Traces, dict[str, Any]]:
    """Traces with the table's figures, and their summary with all that a figure must name."""
    config, table = job.config, job.table
    oracle = PROTOCOLS[config.protocol].reports == "all"
    about: dict[str, Any] = {
        "config": config.to_dict(),
        "strategy": job.strategy.title,
        "settings": asdict(settings(job.strategy, config.preset, config.settings)),
        "encoding": job.candidates.encoding,
        "protocol": config.protocol,
        "protocol_title": PROTOCOLS[config.protocol].title,
        "table": table.info.title,
        "table_sha256": table.sha256,
        "table_runs": table.info.seed,
        "candidates": len(job.candidates),
        "candidate_classes": len(np.unique(job.candidates.classes)),
    }
    if job.file_sha256 is not None:  # positions of the traces are rows of that file
        about["cells_sha256"] = job.file_sha256
    if isinstance(table, Table):
        dataset, report_epochs = table.setting(config.dataset, config.report_epochs)
        traces = traces.with_figures(table, config.dataset, config.report_epochs)
        figures = summarise(
            traces, table, dataset=config.dataset, epochs=config.report_epochs, oracle=oracle
        )
        best = table.optimum(dataset=config.dataset, epochs=config.report_epochs)
        about |= {"dataset": dataset, "report_epochs": report_epochs}
        about["table_best_valid_accuracy"] = best.valid_accuracy.value
        about["table_best_test_accuracy"] = (
            None if best.test_accuracy is None else best.test_accuracy.value
        )
    else:
        about["dataset"] = table.info.dataset
        figures = summarise(traces)
    return traces, about | figures


def _check_blocks(folder: Path, files: list[Path], blocks: list[list[int]], job: Job) -> None:
    """Refuse finished blocks of another search or size; those in which all runs failed go.

    Raises:
        RunError: One of them does not belong here; nothing is deleted then.
    """
    stray = sorted({*folder.glob("block-*.parquet")} - {*files})
    if stray:
        raise RunError(
            f"Expected blocks of {len(blocks[0])} runs in {folder}. Got {stray[0].name}: pass the "
            "`--block` that the search was begun with."
        )
    failed = []
    for file, seeds in zip(files, blocks, strict=True):
        if not file.exists():
            continue
        traces, about = Traces.load(file)
        known = {*traces.runs.tolist(), *map(int, about.get("failed", ()))}
        if about.get("search") != job.record or known != {*seeds}:
            raise RunError(
                f"Expected runs {seeds[0]} to {seeds[-1]} of this search in {file}. Got those of "
                "another; delete it, and they begin anew."
            )
        if not len(traces):
            failed.append(file)
    for file in failed:
        file.unlink()


class _Clock:
    """Counts finished runs and reports rate and time left."""

    def __init__(
        self,
        config: SearchConfig,
        finished: list[list[int]],
        report: Callable[[SearchProgress], None],
    ) -> None:
        self.config, self.report = config, report
        self.before = sum(map(len, finished))
        self.runs, self.queries, self.started = 0, 0, time.perf_counter()
        self.tell()

    def advance(self, traces: Traces, seeds: list[int]) -> None:
        self.runs += len(seeds)
        self.queries += len(traces)
        self.tell()

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Count what blocks have done so far as well, every second, until the end."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(1):
                begun = 0
                for file in folder.glob("block-*.queries"):
                    with suppress(OSError, ValueError):  # just being written, or finished
                        begun += int(file.read_text())
                self.tell(begun)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def tell(self, begun: int = 0) -> None:
        left: float = self.config.runs - self.before - self.runs
        rate = self.runs / max(time.perf_counter() - self.started, 1e-9)
        total = None
        if self.config.queries is not None:
            total = self.config.queries * (self.config.runs - self.before)
            worth = (self.queries + begun) / self.config.queries  # unfinished runs count in part
            rate = worth / max(time.perf_counter() - self.started, 1e-9)
            left = self.config.runs - self.before - worth
        self.report(
            SearchProgress(
                done=self.queries + begun,
                total=total,
                runs_done=self.before + self.runs,
                runs=self.config.runs,
                seconds_left=left / rate if rate else float("inf"),
            )
        )

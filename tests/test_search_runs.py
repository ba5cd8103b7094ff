"""Searches of many seeds: the contract of every strategy, resuming, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from archrep.cells import get_space
from archrep.cli.main import main
from archrep.errors import ConfigError, RunError, TableError, UnknownNameError
from archrep.results import Traces
from archrep.search import Block, SearchConfig, prepare, run_block, search
from archrep.strategies import STRATEGIES, Strategy, register_strategy
from archrep.tables import Column, Measure, TableData, TableInfo, store

FAST = {
    # Settings that keep a strategy's models small.
    "local-search": {"initial": 4},
    "evolution": {"population_size": 6, "sample_size": 3},
    "latent-reinforce": {"episode": 4, "hidden": 16},
    "dngo": {"initial": 6, "batch": 2, "hidden": 16, "epochs": 3},
    "archrep": {"initial": 4},
    "gp": {"initial": 6, "batch": 3, "steps": 3, "refit_steps": 1},
    "bananas": {"initial": 6, "batch": 4, "epochs": 3, "members": 2, "layers": 2, "pool": 12},
    "nao": {"initial": 6, "batch": 2, "hidden": 16, "epochs": 3},
    "supervised-dngo": {"initial": 8, "batch": 4, "epochs": 1},
    "supervised-reinforce": {"episode": 6},
}
CELLS = 400


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Made-up accuracies of some NAS-Bench-201 cells, with two schedules and two runs."""
    rows = np.sort(np.random.default_rng(0).permutation(15625)[:CELLS])
    rng = np.random.default_rng(1)
    quality = rng.beta(8, 2, CELLS)
    columns = []
    for epochs in (3, 9):
        about = {"dataset": "a", "epochs": epochs}
        for seed in (0, 1):
            seen = (quality + rng.normal(0, 0.05, CELLS)).clip(0, 1)
            columns.append(Column(Measure(metric="valid_accuracy", seed=seed, **about), seen))
        test = Measure(metric="test_accuracy", seed="mean", **about)
        columns.append(Column(test, quality))
        seconds = Measure(metric="train_seconds", **about)
        columns.append(Column(seconds, epochs * rng.uniform(1, 2, CELLS)))
    info = TableInfo(
        name="made-up", title="Made-up", space="nasbench201", source="tests",
        licence="Apache-2.0", dataset="a", epochs=9,
    )  # fmt: skip
    return str(store(TableData.of(info, columns, rows=rows), tmp_path_factory.mktemp("tables")))


def config_of(table, name, **changes):
    values = {"strategy": name, "settings": FAST.get(name, {}), "runs": 3, "queries": 18}
    return SearchConfig(table=table, **values | changes)


def assert_same(first: Traces, second: Traces):
    for name in ("run", "query", "position", "valid_accuracy", "seconds", "epochs", "recommended"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
class TestEveryStrategy:
    def test_runs_are_the_same_alone_and_in_any_company(self, name, table):
        job = prepare(config_of(table, name))
        together, failed = run_block(job, [0, 1, 2])
        assert not failed
        backwards, _ = run_block(job, [2, 0])
        alone, _ = run_block(job, [1])
        assert_same(Traces.concatenate([backwards, alone]), together)

    def test_stays_within_its_budget_and_asks_for_no_class_twice(self, name, table):
        job = prepare(config_of(table, name))
        traces, failed = run_block(job, [0, 1])
        assert not failed
        classes = job.table.classes
        for run in (0, 1):
            part = traces.position[traces.run == run]
            assert len(part) == 18
            if not job.make([0]).config.charge_repeats:
                assert len(set(classes[part].tolist())) == 18

    def test_goes_on_identically_from_a_checkpoint(self, name, table, tmp_path):
        job = prepare(config_of(table, name))
        whole = Block(job, [0, 1])
        while not whole.done:
            whole.step()
        begun = Block(job, [0, 1])
        while begun.queries < 20:
            begun.step()
        begun.save(tmp_path / "state.npz")
        resumed = Block(job, [0, 1])
        resumed.load(tmp_path / "state.npz")
        while not resumed.done:
            resumed.step()
        assert_same(resumed.traces(), whole.traces())

    def test_leaves_global_random_state_alone(self, name, table):
        job = prepare(config_of(table, name, queries=12))
        before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        run_block(job, [0])
        assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[1])

    def test_budget_of_seconds_ends_each_run_with_the_query_that_passes_it(self, name, table):
        traces, failed = run_block(
            prepare(config_of(table, name, queries=None, seconds=150.0)), [0, 1, 2]
        )
        assert not failed
        last = traces.seconds[traces.final()]
        before = traces.seconds[traces.final() - 1]
        assert (before < 150).all()
        # A batch that a run can only pay in part ends there; the other runs go on.
        assert (last >= 150).all()

    def test_every_preset_runs(self, name, table):
        for preset in STRATEGIES[name].presets:
            changes = {"preset": preset, "queries": 10}
            settings = {} if name != "supervised-dngo" else {"epochs": 1}
            traces, failed = run_block(
                prepare(config_of(table, name, settings=settings, **changes)), [0]
            )
            assert not failed, (preset, failed)
            assert len(traces) == 10


def test_same_trace_in_a_process_with_another_hash_seed(table):
    program = (
        "import sys; from archrep.search import *\n"
        f"config = SearchConfig(table={table!r}, strategy='local-search', runs=2, queries=25)\n"
        "job = prepare(config)\n"
        "print(run_block(job, [0, 1])[0].position.tolist())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_random_search_finds_what_order_statistics_say(table):
    job = prepare(config_of(table, "random", runs=200, queries=20))
    traces, _ = run_block(job, list(range(200)))
    best = traces.valid_accuracy[traces.incumbents[traces.final()]]
    known = np.sort(job.table.column("valid_accuracy")[job.table.measured])
    expected = np.mean(
        [np.random.default_rng(n).choice(known, 20, replace=False).max() for n in range(2000)]
    )
    assert best.mean() == pytest.approx(expected, abs=4 * best.std() / 200**0.5)


def test_a_budget_that_ends_within_a_batch_keeps_the_last_recommendation(table):
    traces, _ = run_block(prepare(config_of(table, "gp", queries=None, seconds=150.0)), range(6))
    for begin, end in zip(traces.starts[:-1], traces.starts[1:], strict=True):
        known = traces.recommended[begin:end]
        assert known[-1] == known[known >= 0][-1]


class TestRunDirectory:
    def test_summary_does_not_depend_on_blocks_or_processes(self, table, tmp_path):
        config = config_of(table, "local-search", runs=7)
        found = []
        for number, (block, workers) in enumerate(((7, 1), (3, 2), (1, 2))):
            summary = search(config, out=tmp_path / str(number), block=block, workers=workers)
            found.append({k: v for k, v in summary.items() if not k.endswith("_seconds")})
            traces, _ = Traces.load(tmp_path / str(number) / "traces.parquet")
            first, _ = Traces.load(tmp_path / "0" / "traces.parquet")
            assert_same(traces, first)
        assert found[0] == found[1] == found[2]
        assert sorted(p.name for p in (tmp_path / "1").iterdir() if p.name[0] != ".") == [
            *("config.json", "summary.json", "traces.parquet"),
        ]

    def test_summary_says_what_the_figures_mean(self, table, tmp_path):
        summary = search(config_of(table, "random", runs=5), out=tmp_path / "s", workers=1)
        traces, _ = Traces.load(tmp_path / "s" / "traces.parquet")
        rows = traces.incumbents[traces.final()]
        assert summary["test_accuracy_mean"] == pytest.approx(traces.test_accuracy[rows].mean())
        deviation = traces.test_accuracy[rows].std(ddof=1)
        assert summary["test_accuracy_sem"] == pytest.approx(deviation / 5**0.5)
        assert summary["valid_accuracy_mean"] == pytest.approx(
            traces.mean_valid_accuracy[rows].mean()
        )
        assert summary["protocol"] == "mean"
        assert len(summary["table_sha256"]) == 64
        assert set(summary["queries_to_best_valid"]) >= {"reached", "q50"}

    def test_single_sees_one_run_and_reports_the_mean(self, table, tmp_path):
        config = config_of(table, "random", protocol="single", runs=4)
        search(config, out=tmp_path / "s", workers=1)
        traces, _ = Traces.load(tmp_path / "s" / "traces.parquet")
        opened = prepare(config).table
        runs = np.stack(list(opened.runs("valid_accuracy").values()))[:, traces.position]
        assert (np.isclose(runs, traces.valid_accuracy)).any(0).all()
        np.testing.assert_allclose(traces.mean_valid_accuracy, runs.mean(0))

    def test_more_queries_than_cells_end_with_the_last_cell(self, table, tmp_path):
        config = config_of(table, "random", runs=1, queries=5000)
        search(config, out=tmp_path / "s", workers=1)
        traces, _ = Traces.load(tmp_path / "s" / "traces.parquet")
        job = prepare(config)
        assert len(traces) == len(np.unique(job.candidates.classes))

    def test_another_search_or_the_same_without_resume_is_refused(self, table, tmp_path):
        config = config_of(table, "random", runs=2)
        first = search(config, out=tmp_path, workers=1)
        with pytest.raises(RunError, match="holds this run, finished. Pass `--resume`"):
            search(config, out=tmp_path, workers=1)
        assert search(config, out=tmp_path, workers=1, resume=True) == first
        with pytest.raises(RunError, match="holds another run: `queries` 18 there, 19 asked"):
            search(config_of(table, "random", runs=2, queries=19), out=tmp_path, resume=True)

    def interrupted(self, table, tmp_path, monkeypatch):
        """A search of two blocks, of which the first is finished."""
        config, whole = config_of(table, "random", runs=4), Traces.save
        saves = []

        def save(self, path, about):
            if saves:
                raise RunError("Could not write: No space left on device.")
            saves.append(path)
            whole(self, path, about)

        with monkeypatch.context() as patch:
            patch.setattr(Traces, "save", save)
            with pytest.raises(RunError, match="No space"):
                search(config, out=tmp_path, workers=1, block=2)
        return config, saves[0]

    def test_a_block_of_another_search_is_refused(self, table, tmp_path, monkeypatch):
        config, block = self.interrupted(table, tmp_path / "a", monkeypatch)
        other = replace(config, strategy="local-search")
        search(other, out=tmp_path / "b", workers=1)
        mine, about = Traces.load(block)
        foreign, _ = Traces.load(tmp_path / "b" / "traces.parquet")
        for traces, claims in ((foreign, about), (mine, about | {"search": {}})):
            traces.save(block, claims)
            with pytest.raises(RunError, match=r"Expected runs . to . of this search.*delete it"):
                search(config, out=tmp_path / "a", workers=1, block=2, resume=True)
        mine.save(block, about)
        search(config, out=tmp_path / "a", workers=1, block=2, resume=True)
        search(config, out=tmp_path / "c", workers=1)
        assert_same(
            Traces.load(tmp_path / "a" / "traces.parquet")[0],
            Traces.load(tmp_path / "c" / "traces.parquet")[0],
        )

    def test_another_size_of_blocks_is_refused_on_resume(self, table, tmp_path, monkeypatch):
        config, _ = self.interrupted(table, tmp_path, monkeypatch)
        with pytest.raises(RunError, match="pass the `--block` that the search was begun with"):
            search(config, out=tmp_path, workers=1, block=3, resume=True)

    def test_runs_that_all_failed_are_tried_again(self, table, tmp_path, monkeypatch):
        config = config_of(table, "random", runs=2)
        with monkeypatch.context() as patch:
            patch.setattr(STRATEGIES["random"], "propose", lambda self: 1 / 0)
            with pytest.raises(RunError, match="All runs failed"):
                search(config, out=tmp_path, workers=1)
        assert search(config, out=tmp_path, workers=1, resume=True)["runs"] == 2

    def test_a_users_own_file_is_not_overwritten(self, table, tmp_path):
        (tmp_path / "traces.parquet").write_text("mine")
        with pytest.raises(RunError, match="no config.json"):
            search(config_of(table, "random"), out=tmp_path, workers=1)
        assert (tmp_path / "traces.parquet").read_text() == "mine"

    @pytest.mark.parametrize("damaged", ["config.json", "summary.json", "traces.parquet"])
    def test_a_damaged_finished_search_is_not_called_finished(self, damaged, table, tmp_path):
        config = config_of(table, "random", runs=2)
        search(config, out=tmp_path, workers=1)
        for content in ("[]", "null", "3", '{"a": 1}', "{}", "no such thing"):
            (tmp_path / damaged).write_text(content)
            with pytest.raises(RunError):
                search(config, out=tmp_path, workers=1, resume=True)
        (tmp_path / damaged).unlink()
        if damaged == "traces.parquet":
            with pytest.raises(RunError, match="Expected the traces of searches in"):
                search(config, out=tmp_path, workers=1, resume=True)

    def test_flipped_bits_of_traces_are_noticed(self, table, tmp_path):
        search(config_of(table, "random", runs=2), out=tmp_path, workers=1)
        path = tmp_path / "traces.parquet"
        content, whole = path.read_bytes(), Traces.load(path)[0]
        rng, noticed = np.random.default_rng(0), 0
        for _ in range(200):
            changed = bytearray(content)
            changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
            path.write_bytes(changed)
            try:
                loaded, _ = Traces.load(path)
            except RunError:
                noticed += 1
            else:  # a byte that says nothing, such as a statistic of the footer
                assert_same(loaded, whole)
        assert noticed > 50

    def test_no_workers_and_empty_blocks_are_refused(self, table, tmp_path):
        for wrong in ({"workers": 0}, {"block": 0}):
            with pytest.raises(ConfigError, match="must be at least 1. Got 0"):
                search(config_of(table, "random"), out=tmp_path / "s", **wrong)
        assert not (tmp_path / "s").exists()

    def test_other_vectors_under_the_same_name_are_another_search(self, table, tmp_path):
        config = config_of(table, "dngo", runs=2, encoding="adjacency")
        job = prepare(config)
        vectors = job.candidates.vectors
        for shift, problem in ((0, None), (1, "holds another run: `candidates_sha256`")):
            mine = replace(job, candidates=job.candidates.with_features(vectors + shift, "mine"))
            if problem is None:
                search(mine, out=tmp_path, workers=1)
            else:
                with pytest.raises(RunError, match=problem):
                    search(mine, out=tmp_path, workers=1, resume=True)

    def test_a_damaged_checkpoint_is_named(self, table, tmp_path):
        config = config_of(table, "random", runs=2)
        job = prepare(config)
        block = Block(job, [0, 1])
        block.step()
        block.save(tmp_path / "block-0-1.state.npz")
        whole = (tmp_path / "block-0-1.state.npz").read_bytes()
        inputs = {"table_sha256": job.table.sha256, "candidates_sha256": job.candidates.sha256}
        (tmp_path / "config.json").write_text(json.dumps(config.to_dict() | inputs))
        for damage in (b"", whole[: len(whole) // 2], b"no archive at all"):
            (tmp_path / "block-0-1.state.npz").write_bytes(damage)
            with pytest.raises(RunError, match="checkpoint of this search in .*Delete it"):
                search(job, out=tmp_path, workers=1, resume=True)

    @pytest.mark.parametrize(
        ("strategy", "seeds"), [("evolution", [0, 1]), ("random", [2, 3]), ("random", [0, 1, 2])]
    )
    def test_a_checkpoint_of_another_search_is_refused(self, strategy, seeds, table, tmp_path):
        path = tmp_path / "block.state.npz"
        other = Block(prepare(config_of(table, strategy)), seeds)
        other.step()
        other.save(path)
        block = Block(prepare(config_of(table, "random")), [0, 1])
        with pytest.raises(RunError, match="of another search, or of other runs. Delete it"):
            block.load(path)

    def test_damaged_traces_are_named(self, table, tmp_path):
        search(config_of(table, "random", runs=2), out=tmp_path, workers=1)
        content = (tmp_path / "traces.parquet").read_bytes()
        (tmp_path / "traces.parquet").write_bytes(content[: len(content) // 2])
        with pytest.raises(RunError, match="Expected the traces of searches in"):
            Traces.load(tmp_path / "traces.parquet")
        with pytest.raises(RunError, match="Expected the traces of searches in"):
            Traces.load(tmp_path / "nothing.parquet")

    def test_two_at_once_in_one_folder_are_kept_apart(self, table, tmp_path):
        from archrep.files import locked_folder

        with locked_folder(tmp_path), pytest.raises(RunError, match="Another process is writing"):
            search(config_of(table, "random"), out=tmp_path)

    def test_a_full_disk_is_named_and_nothing_is_lost(self, table, tmp_path, monkeypatch):
        config = config_of(table, "random", runs=4)
        saves = []

        def save(self, path, about, whole=Traces.save):
            if len(saves) == 1:
                raise RunError("Could not write: No space left on device.")
            saves.append(path)
            whole(self, path, about)

        with monkeypatch.context() as patch:
            patch.setattr(Traces, "save", save)
            with pytest.raises(RunError, match="No space left"):
                search(config, out=tmp_path, block=2, workers=1)
        summary = search(config, out=tmp_path, block=2, workers=1, resume=True)
        assert summary["runs"] == 4


class Fragile(Strategy):
    """Random search that breaks in one run."""

    name, title = "fragile", "breaks for one seed"

    def propose(self):
        if any(draw.bit_generator.state["state"] == BROKEN for draw in self.rngs):
            raise ZeroDivisionError("a bug of this seed")
        return self.random_rows(1)


BROKEN: dict = {}


def test_a_crash_of_one_seed_does_not_lose_the_others(table, tmp_path, monkeypatch):
    monkeypatch.setitem(STRATEGIES, "fragile", Fragile)
    from archrep.seeding import numpy_stream

    BROKEN.update(numpy_stream(3, "strategy/fragile").bit_generator.state["state"])
    summary = search(config_of(table, "fragile", runs=6), out=tmp_path, workers=1, block=6)
    assert summary["failed"] == {"3": "ZeroDivisionError: a bug of this seed"}
    assert summary["runs"] == 5
    traces, _ = Traces.load(tmp_path / "traces.parquet")
    assert traces.runs.tolist() == [0, 1, 2, 4, 5]


def test_progress_counts_queries_within_a_block(table, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: time.perf_counter() * 50)
    seen = []
    config = config_of(table, "archrep", runs=4, queries=120)
    search(config, out=tmp_path, workers=1, report=lambda progress: seen.append(progress.done))
    assert seen[0] == 0
    assert seen[-1] == 480


COMMAND = "import sys; from archrep.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.slow
class TestInterrupted:
    def arguments(self, table, out):
        return [
            *("search", table, "--strategy", "archrep", "--runs", "8", "--queries", "150"),
            *("--block", "4", "--workers", "2", "--out", str(out)),
        ]

    def start(self, table, out, *more):
        program = "import archrep.search as s; s.SECONDS_BETWEEN_CHECKPOINTS = 0.5\n" + COMMAND
        command = [sys.executable, "-c", program, *self.arguments(table, out), *more]
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)

    def test_kill_9_and_resume_give_the_same_traces(self, table, tmp_path):
        assert main(self.arguments(table, tmp_path / "whole")) == 0
        for number in range(3):
            process = self.start(table, tmp_path / "killed", *(["--resume"] if number else []))
            time.sleep(6)
            process.kill()
            process.communicate()
        assert main([*self.arguments(table, tmp_path / "killed"), "--resume"]) == 0
        first, _ = Traces.load(tmp_path / "whole" / "traces.parquet")
        second, _ = Traces.load(tmp_path / "killed" / "traces.parquet")
        assert_same(first, second)

    def test_ctrl_c_says_how_to_go_on(self, table, tmp_path):
        process = self.start(table, tmp_path / "s")
        time.sleep(6)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"Go on with the same command and --resume" in printed
        assert b"Traceback" not in printed


class TestCommand:
    def test_prints_the_summary_and_reports_it(self, table, tmp_path, capsys):
        for strategy in ("random", "local-search"):
            out = tmp_path / strategy
            arguments = ["search", table, "--strategy", strategy, "--runs", "5", "--queries", "25"]
            assert main([*arguments, "--out", str(out), "--workers", "1"]) == 0
            printed = capsys.readouterr()
            assert json.loads(printed.out)["runs"] == 5
            assert "Test accuracy of the incumbent" in printed.err
        folders = [str(tmp_path / "random"), str(tmp_path / "local-search")]
        plot = tmp_path / "plots" / "regret.svg"
        assert main(["report", *folders, "--baseline", folders[0], "--plot", str(plot)]) == 0
        printed = capsys.readouterr().out
        assert "local-search less random" in printed
        assert plot.stat().st_size > 10_000
        assert main(["report", *folders, "--csv"]) == 0
        line = capsys.readouterr().out.splitlines()[1]
        assert line.startswith(f"{folders[0]},random,Made-up,a,9,mean,")

    def test_settings_and_mistakes(self, table, tmp_path, capsys):
        base = ["search", table, "--runs", "2", "--out", str(tmp_path / "s")]
        assert main([*base, "--strategy", "dngo", "--set", "batch=2", "--dry-run"]) == 0
        assert json.loads(capsys.readouterr().out)["settings"] == {"batch": "2"}
        for arguments, message in (
            (["--strategy", "annealing"], "Strategy must be one of random, evolution"),
            (["--strategy", "dngo", "--set", "batch"], "`--set` takes name=value. Got 'batch'"),
            (["--strategy", "dngo", "--set", "size=3"], "Settings of 'dngo' are: initial"),
            (["--strategy", "dngo", "--encoding", "nothing"], "An encoding is one of archrep"),
            (["--strategy", "random", "--queries", "0"], "`queries` must be at least 1. Got 0"),
            (["--strategy", "random", "--dataset", "b"], "Data sets of Made-up are: a"),
        ):
            assert main([*base, *arguments]) == 1
            printed = capsys.readouterr().err
            assert message in printed
            assert len(printed.strip().splitlines()) == 1
        assert main(["search", "--strategy", "random"]) == 1
        assert "Name a table" in capsys.readouterr().err
        assert main(["search", "nowhere", "--strategy", "random"]) == 1
        assert "Expected a table that is here" in capsys.readouterr().err

    def test_lists_every_strategy_with_its_settings(self, capsys):
        assert main(["search", "--list"]) == 0
        printed = capsys.readouterr().out
        for name, strategy in STRATEGIES.items():
            assert f"{name}: {strategy.title}" in printed
        assert "population_size = 100: Members alive, P." in printed

    def test_a_report_refuses_what_the_table_does_not_hold(self, table, tmp_path, capsys):
        search(config_of(table, "random", runs=2), out=tmp_path / "s", workers=1)
        file = tmp_path / "s" / "summary.json"
        summary = json.loads(file.read_text())
        file.write_text(json.dumps(summary | {"table_best_test_accuracy": 0.5}))
        assert main(["report", str(tmp_path / "s")]) == 1
        assert "above the maximum of Made-up, 0.50000" in capsys.readouterr().err

    def test_a_report_does_not_mix_encoders_and_searches(self, table, tmp_path, capsys):
        search(config_of(table, "random", runs=2), out=tmp_path / "s", workers=1)
        assert main(["report", str(tmp_path / "s"), str(tmp_path)]) == 1
        assert "Report searches apart from anything else" in capsys.readouterr().err

    def test_a_report_says_how_to_finish_a_search(self, table, tmp_path, capsys):
        search(config_of(table, "random", runs=2), out=tmp_path / "s", workers=1)
        (tmp_path / "t").mkdir()
        (tmp_path / "t" / "config.json").write_bytes((tmp_path / "s" / "config.json").read_bytes())
        for runs in (["s", "t"], ["t"]):
            assert main(["report", *(str(tmp_path / run) for run in runs)]) == 1
            assert "`archrep search ... --resume`" in capsys.readouterr().err


def test_configurations_name_every_mistake():
    with pytest.raises(ConfigError) as caught:
        SearchConfig(table="digits", runs=10**12, seed=-1, protocol="best", encoding="")
    for part in (
        "`runs` must be from 1 to 1,000,000",
        "`seed` must be",
        "`encoding` must not be empty",
        "needs a budget",
        "`protocol` must be one of",
    ):
        assert part in str(caught.value)
    with pytest.raises(UnknownNameError, match="Strategy must be one of"):
        SearchConfig(table="digits", strategy="annealing", queries=3)


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan")])
def test_budgets_of_seconds_are_positive_and_finite(seconds):
    with pytest.raises(ConfigError, match="`seconds` must be positive and finite"):
        SearchConfig(table="digits", seconds=seconds)


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        ("dngo", {"hidden": 10**9}),
        ("dngo", {"learning_rate": 1e30}),
        ("bananas", {"layers": 1000}),
        ("supervised-dngo", {"layers": 1000}),
        ("random", {"initial": 3}),
    ],
)
def test_settings_under_which_nothing_would_end_are_refused(strategy, changes):
    with pytest.raises((ConfigError, UnknownNameError), match="at most|from 1 to|are: none"):
        SearchConfig(table="digits", strategy=strategy, settings=changes, queries=3)


def test_options_that_would_be_ignored_are_refused(table, tmp_path):
    with pytest.raises(ConfigError, match="'random' has no model that would see an encoding"):
        prepare(config_of(table, "random", encoding="path"))
    with pytest.raises(ConfigError, match="`candidates` are for surrogates"):
        prepare(config_of(table, "random"), embeddings=tmp_path)
    with pytest.raises(ConfigError, match="`device` must be"):
        prepare(config_of(table, "random"), device="tpu")


def test_a_transfer_from_another_space_is_refused_before_the_first_run(tmp_path):
    info = TableInfo(
        name="sizes", title="Sizes", space="nats-size", source="tests", licence="Apache-2.0",
        dataset="a", epochs=9,
    )  # fmt: skip
    about = Measure(metric="valid_accuracy", dataset="a", epochs=9, seed="mean")
    columns = [Column(about, np.linspace(0, 1, 50))]
    path = store(TableData.of(info, columns, rows=np.arange(50)), tmp_path)
    config = config_of(str(path), "archrep", settings={"transfer": "digits"})
    with pytest.raises(ConfigError, match="must be a table of NATS-Bench.* 'digits' is of NAS-"):
        prepare(config)


def test_a_second_strategy_of_one_name_is_refused():
    with pytest.raises(ConfigError, match="A strategy named 'random' is registered already"):
        register_strategy(STRATEGIES["random"])


def test_figures_above_the_maximum_of_the_table_are_refused(table):
    job = prepare(config_of(table, "random", runs=1))
    traces, _ = run_block(job, [0])
    raised = traces.with_figures(job.table, None, None)
    too_good = Traces(**{**vars(raised), "test_accuracy": raised.test_accuracy + 1})
    with pytest.raises(TableError, match="above the maximum of Made-up: test_accuracy"):
        too_good.check_ceiling(job.table, None, None)


def test_the_encoding_of_a_search_among_embedded_cells_is_the_one_asked_for(tmp_path, data_folder):
    from archrep.embeddings import EmbeddingTable
    from archrep.tables.surrogate import Nasbench301Surrogate

    surrogate = Nasbench301Surrogate.load(data_folder / "nasbench301_mlp_surrogate.npz")
    surrogate = store(surrogate, tmp_path)
    cells = get_space("darts").sample_array(30, seed=0)
    vectors = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    EmbeddingTable(vectors, cells, "darts").save(tmp_path / "mine.safetensors")

    def encoding(strategy, asked=None):
        config = SearchConfig(
            table=str(surrogate), strategy=strategy, encoding=asked, runs=1, queries=5
        )
        job = prepare(config, embeddings=tmp_path / "mine.safetensors")
        known = np.flatnonzero((cells.ops != get_space("darts").ops.index("none")).all(1))
        assert 0 < len(known) < 30
        assert [job.position(row) for row in range(len(job.candidates))] == known.tolist()
        assert [job.row(position) for position in known] == list(range(len(known)))
        traces, failed = run_block(job, [0])
        assert not failed
        assert set(traces.position.tolist()) <= set(known.tolist())
        return job.candidates.encoding

    assert encoding("dngo") == "mine.safetensors"
    assert encoding("dngo", "adjacency") == "adjacency"
    assert encoding("bananas") == "path"
    with pytest.raises(UnknownNameError, match="An encoding is one of"):
        encoding("dngo", "no-such-encoding")

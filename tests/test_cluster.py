"""Searches on a Dask cluster of two worker processes give what they give here."""

import os
import shutil
import signal
import sys

import joblib
import numpy as np
import pytest
from joblib._parallel_backends import ThreadingBackend

from archrep.errors import ConfigError, RunError
from archrep.results import Traces
from archrep.search import Job, SearchConfig, prepare, run_block, search
from archrep.tables import open_table

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.slow

SETTINGS = {"initial": 8, "batch": 4, "hidden": 16, "epochs": 60}


def config(**changes):
    options = {"settings": SETTINGS, "encoding": "adjacency", "queries": 40, "runs": 12, "seed": 5}
    return SearchConfig(**{"table": "digits", "strategy": "dngo"} | options | changes)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The same search in this process: its folder and summary."""
    folder = tmp_path_factory.mktemp("here") / "run"
    return folder, search(config(), out=folder, workers=1, block=3)


def assert_same_search(folder, summary, here):
    expected, about = Traces.load(here[0] / "traces.parquet")[0], here[1]
    found, _ = Traces.load(folder / "traces.parquet")
    for name in ("run", "query", "position", "valid_accuracy", "seconds", "test_accuracy"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    differing = {"wall_seconds", "cpu_seconds"}
    assert {k: v for k, v in summary.items() if k not in differing} == {
        k: v for k, v in about.items() if k not in differing
    }


class Killer:
    """Kills a worker that is at work, once the first block has come back."""

    def __init__(self, cluster):
        self.cluster, self.lost = cluster, []

    def __call__(self, progress):
        if not progress.runs_done or self.lost:
            return
        with distributed.Client(self.cluster, set_as_default=False) as client:
            busy = {worker: tasks for worker, tasks in client.processing().items() if tasks}
            worker = next(iter(busy))
            self.lost = busy[worker]
            [process] = client.run(os.getpid, workers=[worker]).values()
            os.kill(process, signal.SIGKILL)


def test_two_workers_find_what_one_process_finds(cluster, here, tmp_path):
    summary = search(config(), out=tmp_path / "run", block=3, cluster=cluster.scheduler_address)
    assert_same_search(tmp_path / "run", summary, here)


def test_threads_of_a_worker_find_the_same(here, tmp_path):
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=3, processes=True, dashboard_address=":0"
    ) as threads:
        summary = search(config(), out=tmp_path / "run", block=3, cluster=threads.scheduler_address)
    assert_same_search(tmp_path / "run", summary, here)


def test_other_backends_of_joblib_write_no_checkpoints(here, tmp_path, monkeypatch):
    class ElsewhereBackend(ThreadingBackend):
        pass

    wanted = []

    def run_and_note(job, seeds, checkpoint=None, owner=None):
        wanted.append(checkpoint)
        return run_block(job, seeds, checkpoint, owner)

    monkeypatch.setattr("archrep.search.run_block", run_and_note)
    with joblib.parallel_config(backend=ElsewhereBackend()):
        summary = search(config(), out=tmp_path / "run", block=3, workers=1)
    assert wanted == [None] * 4
    assert_same_search(tmp_path / "run", summary, here)


def test_a_block_whose_worker_is_killed_is_done_by_another(cluster, here, tmp_path):
    killer = Killer(cluster)
    summary = search(
        config(),
        out=tmp_path / "run",
        block=3,
        cluster=cluster.scheduler_address,
        report=killer,
    )
    assert killer.lost  # it had begun a block
    assert_same_search(tmp_path / "run", summary, here)


def test_a_search_that_the_cluster_gives_up_goes_on_later(cluster, here, tmp_path, monkeypatch):
    address, folder = cluster.scheduler_address, tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(cluster.scheduler, "allowed_failures", 0)
        with pytest.raises(RunError, match="What was finished is kept; go on with `--resume`"):
            search(config(), out=folder, block=3, cluster=address, report=Killer(cluster))
    assert list(folder.glob("block-*.parquet"))
    assert_same_search(
        folder, search(config(), out=folder, block=3, cluster=address, resume=True), here
    )


def test_the_job_is_sent_before_the_blocks_and_not_with_each(cluster, here, tmp_path):
    sent = []

    class Counted(Job):
        def __reduce__(self):
            sent.append(self)
            return Job, (self.config, self.table, self.candidates, self.device)

    ready = prepare(config())
    job = Counted(ready.config, ready.table, ready.candidates)
    client = distributed.Client(cluster, set_as_default=False)
    with client, joblib.parallel_config(backend="dask", client=client):
        summary = search(job, out=tmp_path / "run", block=1)
    assert len(sent) == 1
    assert_same_search(tmp_path / "run", summary, here)


class TestBadClusters:
    def test_a_table_that_workers_do_not_see_is_named(self, cluster, tmp_path):
        file = tmp_path / "mine.safetensors"
        shutil.copy(open_table("digits").path, file)
        job = prepare(config(table=str(file)))
        file.rename(tmp_path / "elsewhere.safetensors")
        with pytest.raises(RunError, match=r"no such file.*at the same path on every machine"):
            search(job, out=tmp_path / "run", cluster=cluster.scheduler_address)

    def test_workers_with_other_versions_are_refused(self, cluster, tmp_path, monkeypatch):
        monkeypatch.setattr("archrep.cluster.version", lambda package: "0.0")
        with pytest.raises(RunError, match=r"has {'archrep': '\d.*this process {'archrep': '0.0'"):
            search(config(), out=tmp_path / "run", cluster=cluster.scheduler_address)

    def test_one_that_does_not_answer_is_named_and_no_folder_is_made(self, tmp_path, monkeypatch):
        monkeypatch.setattr("archrep.cluster.SECONDS_TO_CONNECT", 0.5)
        with pytest.raises(RunError, match=r"Got 'tcp://127\.0\.0\.1:9': .*127\.0\.0\.1:9"):
            search(config(), out=tmp_path / "run", cluster="tcp://127.0.0.1:9")
        assert not (tmp_path / "run").exists()

    def test_an_address_that_is_none_is_named(self, tmp_path):
        with pytest.raises(RunError, match="address of a running Dask scheduler.*Got 'nonsense'"):
            search(config(), out=tmp_path / "run", cluster="nonsense")

    def test_one_without_workers_says_how_to_start_them(self, tmp_path, monkeypatch):
        monkeypatch.setattr("archrep.cluster.SECONDS_FOR_WORKERS", 0.5)
        with (
            distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
            pytest.raises(RunError, match="has no worker after .* Start some: `dask worker tcp:"),
        ):
            search(config(), out=tmp_path / "run", cluster=empty.scheduler_address)

    def test_without_dask_the_extra_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "distributed", None)
        with pytest.raises(ConfigError, match=r"pip install 'archrep\[dask\]'"):
            search(config(), out=tmp_path / "run", cluster="tcp://127.0.0.1:9")

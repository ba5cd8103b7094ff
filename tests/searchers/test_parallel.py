"""Several processes against one: the same weights up to rounding, and one voice.

Two processes that talk by gloo train all of `CASES` once; tests look at what each of them had.
"""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import multiprocessing

from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.registry import make_objective
from archrep.searchers import run as run_module
from archrep.searchers.config import SupernetConfig
from archrep.searchers.parallel import (
    ALONE,
    VARIABLES,
    OtherProcessError,
    Processes,
    joined,
    launched,
)
from archrep.searchers.registry import get_searcher
from archrep.searchers.run import check_shares, train_supernet
from archrep.supernets.norms import BatchStatistics, SharedStatistics

SMALL = {
    "channels": 2, "cells": 1, "batch_size": 16, "epochs": 2, "runs": 2, "data": "digits",
    "images": 64, "crop_padding": 1, "learning_rate": 0.01,
}  # fmt: skip
CASES = {
    "random-labels": {"clip": 0.05},
    "absent": {"searcher_settings": {"unsampled": "absent"}},
    "rotation": {"objective": "rotation"},
    "jigsaw": {"objective": "jigsaw"},
    "reconstruction": {"objective": "reconstruction"},
    "colorization": {"objective": "colorization", "images": 32},
    "darts": {"searcher": "darts", "clip": 1.0},
    "darts, second order": {"searcher": "darts", "searcher_settings": {"order": 2}},
    "sgas": {
        "searcher": "sgas", "searcher_settings": {"first_decision": 0, "decision_every": 1},
    },
    "pc-darts": {
        "space": "darts", "searcher": "pc-darts", "channels": 4, "cells": 3, "images": 32,
        "searcher_settings": {"partial": 2, "warmup_epochs": 0},
    },
}  # fmt: skip
"""What differs from `SMALL`."""


def some_images(count, channels):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 4
    images = torch.rand(count, channels, 8, 8, generator=generator)
    images = images / 2 + labels[:, None, None, None] / 8
    return ImageSet("made-up", images, labels, 4, (0.4,) * channels, (0.3,) * channels)


def searcher_of(**changes):
    config = SupernetConfig(**SMALL | changes)
    images = some_images(config.images, 3 if config.objective == "colorization" else 1)
    if config.size is not None:
        images = images.resized(config.size)
    objective = make_objective(config.objective, config.objective_settings)
    return get_searcher(config.searcher)(config, images, objective)


def trained(processes=ALONE, **changes):
    """State and figures after two epochs."""
    searcher = searcher_of(**changes)
    searcher.processes = processes
    names = ("loss", searcher.objective.metric)
    with pytest.MonkeyPatch.context() as patch:
        # Smooth: in so small a network a rounding that crosses the kink of a ReLU is seen.
        patch.setattr(torch.Tensor, "relu", lambda own: torch.nn.functional.softplus(own))
        for epoch in range(2):
            figures = searcher.train_epoch(epoch)
            processes.average_figures(figures, names)
    return searcher.state() | {name: np.array(figures[name]) for name in names}


# In processes of their own -----------------------------------------------------------------------


def spawn(work, *args):
    """Let two processes call `work(rank, ...)`, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_begin, (port, work, args), nprocs=2)


def _begin(rank, port, work, args):
    values = (rank, 2, "127.0.0.1", port)
    os.environ.update({name: str(value) for name, value in zip(VARIABLES, values, strict=True)})
    torch.set_num_threads(1)
    work(rank, *args)


def train_all(rank, folder):
    with joined("cpu") as processes:
        for name, changes in CASES.items():
            np.savez(folder / f"{name}-{rank}.npz", **trained(processes, **changes))
        np.savez(folder / f"norm-{rank}.npz", **normalised(processes))


def train_and_run(rank, folder):
    train_all(rank, folder)
    make_runs(rank, folder)


def normalised(processes):
    """Maps and gradients of a shared batch norm."""
    features, weight, bias, upstream = some_features()
    own = processes.share(features).requires_grad_()
    found = processes.statistics()(own, weight.requires_grad_(), bias.requires_grad_())
    (found * processes.share(upstream)).sum().backward()
    parts = {"found": found, "features": own.grad, "weight": weight.grad, "bias": bias.grad}
    return {name: part.detach().numpy() for name, part in parts.items()}


def some_features():
    generator = torch.Generator().manual_seed(1)
    features = 3 + 2 * torch.randn(8, 5, 4, 4, generator=generator)
    features[:4] -= 1  # shares are unlike
    weight, bias = torch.randn(2, 5, generator=generator)
    return features, weight, bias, torch.randn(8, 5, 4, 4, generator=generator)


def make_runs(rank, folder):
    """An unbroken run, one that is cut off and resumed, and some that fail."""
    config = SupernetConfig(**SMALL | {"epochs": 3, "searcher": "darts"})
    run_module.SECONDS_BETWEEN_CHECKPOINTS = -1.0
    given = {"whole": train_supernet(config, out=folder / "whole")}

    def cut(progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt if rank == 0 else OtherProcessError):
        train_supernet(config, out=folder / "cut", report=cut)
    given["cut"] = train_supernet(config, out=folder / "cut", resume=True)
    given["again"] = train_supernet(config, out=folder / "cut", resume=True)

    def fail(name, out, **changes):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            train_supernet(dataclasses.replace(config, **changes), out=folder / out)
        given[name] = [caught.type.__name__, str(caught.value)]

    fail("finished", "whole")
    fail("odd", "odd", batch_size=17)
    fail("unlike", "unlike", seed=rank)
    if rank == 1:
        get_searcher("darts").train_epoch = lambda self, epoch: 1 / 0
    fail("broken", "broken")
    (folder / f"given-{rank}.json").write_text(json.dumps(given))


# What they had -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Folder of what two processes had; they are started once, which takes longer than the rest."""
    folder = tmp_path_factory.mktemp("shared")
    spawn(train_and_run, folder)
    return folder


@pytest.fixture(scope="module")
def runs(shared):
    """Folder of the runs that two processes made, and what each of them was given."""
    return shared, [json.loads((shared / f"given-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("name", CASES)
class TestTraining:
    def test_two_processes_have_the_weights_and_figures_of_one(self, shared, name):
        found, expected = np.load(shared / f"{name}-0.npz"), trained(**CASES[name])
        assert set(found.files) == set(expected)
        differences = {}
        for key, part in expected.items():
            if part.dtype.kind != "f":
                np.testing.assert_array_equal(found[key], part, err_msg=key)
            elif largest := np.abs(part).max():
                differences[key] = float(np.abs(found[key] - part).max() / largest)
        assert max(differences.values()) < 1e-4, differences
        print(f"{name}: {max(differences.values()):.1e}")

    def test_both_have_the_same_to_the_bit(self, shared, name):
        first, second = (np.load(shared / f"{name}-{rank}.npz") for rank in range(2))
        for key in first.files:
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def test_a_shared_norm_is_that_of_the_whole_batch(shared):
    features, weight, bias, upstream = (part.requires_grad_() for part in some_features())
    expected = BatchStatistics()(features, weight, bias)
    (expected * upstream.detach()).sum().backward()
    first, second = (np.load(shared / f"norm-{rank}.npz") for rank in range(2))
    for name, whole in (("found", expected.detach()), ("features", features.grad)):
        both = np.concatenate([first[name], second[name]])
        np.testing.assert_allclose(both, whole, rtol=1e-4, atol=1e-5)
    for name, whole in (("weight", weight.grad), ("bias", bias.grad)):
        np.testing.assert_allclose(first[name] + second[name], whole, rtol=1e-4, atol=1e-5)


def test_a_shared_norm_without_weights_of_one_share_is_that_of_the_batch():
    features = some_features()[0]
    alone = SharedStatistics(lambda own: own[None])
    torch.testing.assert_close(alone(features), BatchStatistics()(features))


class TestRuns:
    def test_the_first_process_alone_is_given_the_summary(self, runs):
        _, (first, second) = runs
        assert first["whole"]["epochs"] == 3
        assert first["whole"]["environment"]["processes"] == 2
        assert second["whole"] == second["cut"] == second["again"] == {}

    def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(self, runs):
        folder, (first, _) = runs
        assert first["cut"]["found"] == first["whole"]["found"]
        assert first["again"] == json.loads((folder / "cut" / "summary.json").read_text())
        whole, cut = (np.load(folder / name / "scores.npz") for name in ("whole", "cut"))
        for name in whole.files:
            np.testing.assert_array_equal(cut[name], whole[name])
        lines = [(folder / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
        assert lines[0] == lines[1]
        assert len(lines[0].splitlines()) == 3

    def test_its_figures_are_those_of_one_process(self, runs, tmp_path):
        folder, _ = runs
        config = SupernetConfig.from_dict(
            {
                name: value
                for name, value in json.loads(
                    (folder / "whole" / "config.json").read_text()
                ).items()
                if name != "images_sha256"
            }
        )
        alone = train_supernet(dataclasses.replace(config, epochs=1), out=tmp_path / "alone")
        shared = json.loads((folder / "whole" / "metrics.jsonl").read_text().splitlines()[0])
        assert shared["loss"] == pytest.approx(alone["last_epoch"]["loss"], rel=1e-2)

    @pytest.mark.parametrize(
        ("name", "speaker", "kind", "message"),
        [
            ("finished", 0, "RunError", "holds this run, finished"),
            ("odd", None, "ConfigError", "`batch_size` must be a multiple of the 2 processes"),
            ("unlike", 1, "RunError", "must have the same images and settings"),
            ("broken", 1, "ZeroDivisionError", "division by zero"),
        ],
    )
    def test_an_error_ends_all_processes_and_one_says_it(self, runs, name, speaker, kind, message):
        _, given = runs
        errors = [part[name] for part in given]
        others = [error for error in errors if error[0] == "OtherProcessError"]
        said = [error for error in errors if error not in others]
        assert len(said) == len(others) == 1
        assert said[0][0] == kind
        assert message in said[0][1]
        assert speaker is None or errors[speaker] == said[0]
        assert "ended because another one did" in others[0][1]

    def test_nothing_is_written_before_settings_are_known_to_fit(self, runs):
        folder, _ = runs
        assert not (folder / "odd").exists()
        assert not (folder / "unlike").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"batch_size": 15}, "`batch_size` must be a multiple of the 2 processes. Got 15"),
        ({"space": "darts-s4", "searcher": "darts"}, "its noise is drawn for whole batches"),
        ({"searcher": "p-darts"}, "The dropout of 'p-darts' cannot be drawn by 2 processes"),
        (
            {"searcher": "sgas", "searcher_settings": {"batch_growth": 3}},
            "`batch_growth` and the 32 images that a batch may grow to",
        ),
        ({"objective": "multi-label"}, "'multi-label' cannot be trained by 2 processes"),
        ({"objective": "segmentation"}, "'segmentation' cannot be trained by 2 processes"),
    ],
)
def test_what_cannot_be_shared_is_refused(changes, problem):
    config = SupernetConfig(**SMALL | changes)
    parts = config, some_images(64, 1), make_objective(config.objective, {})
    check_shares(*parts, ALONE)
    with pytest.raises(ConfigError, match=re.escape(problem)):
        check_shares(*parts, Processes(1, 2))


@pytest.mark.parametrize("searcher", ["p-darts", "sgas"])
def test_what_draws_nothing_is_not_refused(searcher):
    tuned = {"p-darts": {"tricks": False}, "sgas": {"batch_growth": 0}}
    config = SupernetConfig(**SMALL | {"searcher": searcher, "searcher_settings": tuned[searcher]})
    objective = make_objective("random-labels", {})
    check_shares(config, some_images(63, 1), objective, Processes(1, 2))


def test_shares_are_whole_images_in_order():
    images = torch.arange(8)
    tiles = images.repeat_interleave(4)
    nested = [(images, {"tiles": tiles}), images]
    for rank in range(4):
        (own, named), last = Processes(rank, 4).share(nested)
        assert own.tolist() == last.tolist() == [2 * rank, 2 * rank + 1]
        assert named["tiles"].tolist() == [2 * rank] * 4 + [2 * rank + 1] * 4


def test_one_process_is_alone(monkeypatch):
    assert launched() == ALONE
    monkeypatch.setenv("RANK", "1")
    assert launched() == ALONE  # a variable of something else
    for name, value in zip(VARIABLES, ("2", "2", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="RANK must be a number below"):
        launched()


class TestCommand:
    ARGUMENTS = (
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "archrep",
        "supernet", "nasbench201", "--channels", "2", "--cells", "1", "--epochs", "1",
        "--images", "64", "--runs", "1",
    )  # fmt: skip

    def run(self, *more):
        environment = {name: v for name, v in os.environ.items() if name not in VARIABLES}
        return subprocess.run(
            [sys.executable, *self.ARGUMENTS, *more],
            env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    def test_the_first_process_writes_and_prints(self, tmp_path):
        done = self.run("--batch-size", "16", "--out", str(tmp_path / "s"))
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        assert json.loads(line)["environment"]["processes"] == 2
        assert done.stderr.count("Finished: ") == 1
        assert len(list(tmp_path.rglob("summary.json"))) == 1
        assert len((tmp_path / "s" / "metrics.jsonl").read_text().splitlines()) == 1

    @pytest.mark.slow  # `TestRuns` has the same without torchrun
    def test_a_batch_that_cannot_be_shared_is_one_line(self, tmp_path):
        done = self.run("--batch-size", "15", "--out", str(tmp_path / "s"))
        assert done.returncode == 1
        said = [line for line in done.stderr.splitlines() if line.startswith("archrep supernet")]
        assert said == [
            "archrep supernet: `batch_size` must be a multiple of the 2 processes. Got 15."
        ]
        assert done.stdout == ""
        assert not (tmp_path / "s").exists()

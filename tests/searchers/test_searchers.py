"""Searchers: what a step does, in company and alone; gradients against differences; resuming."""

import json
import math

import numpy as np
import pytest
import torch

from archrep.cells import get_space
from archrep.cells.nasbench201 import OPERATIONS
from archrep.cli.main import main
from archrep.data.base import ImageSet
from archrep.errors import ConfigError, RunError, UnknownNameError
from archrep.objectives.registry import make_objective
from archrep.searchers import run as run_module
from archrep.searchers.config import SupernetConfig, preset_config
from archrep.searchers.gradient import Darts
from archrep.searchers.registry import SEARCHERS, get_searcher
from archrep.searchers.run import train_supernet
from archrep.searchers.single_path import SinglePath

SMALL = {
    "channels": 2, "cells": 1, "batch_size": 16, "epochs": 3, "runs": 2, "data": "digits",
    "images": 64, "crop_padding": 1, "learning_rate": 0.05,
}  # fmt: skip


def config_of(**changes):
    return SupernetConfig(**SMALL | changes)


def some_images(count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = torch.randn(count, 1, 8, 8, generator=generator) + labels[:, None, None, None]
    return ImageSet("made-up", images, labels, 4, (0.0,), (1.0,))


def searcher_of(**changes):
    config = config_of(**changes)
    objective = make_objective(config.objective, config.objective_settings)
    return get_searcher(config.searcher)(config, some_images(), objective)


@pytest.mark.parametrize("name", sorted(SEARCHERS))
class TestEverySearcher:
    def test_seeds_are_the_same_in_any_company(self, name):
        together, alone = searcher_of(searcher=name), searcher_of(searcher=name, seed=1, runs=1)
        for epoch in range(2):
            ours, own = together.train_epoch(epoch), alone.train_epoch(epoch)
            for figure in ours:
                assert own[figure][0] == pytest.approx(ours[figure][1], rel=1e-3, abs=1e-3)
        for score, values in alone.scores().items():
            np.testing.assert_allclose(
                together.scores()[score][1], values[0], rtol=1e-2, atol=1e-2 * np.abs(values).max()
            )

    def test_goes_on_from_its_state_to_the_bit(self, name):
        whole = searcher_of(searcher=name)
        for epoch in range(3):
            whole.train_epoch(epoch)
        begun = searcher_of(searcher=name)
        begun.train_epoch(0)
        resumed = searcher_of(searcher=name)
        resumed.load_state(begun.state())
        for epoch in (1, 2):
            resumed.train_epoch(epoch)
        for key, part in whole.state().items():
            np.testing.assert_array_equal(resumed.state()[key], part, err_msg=key)

    def test_learns(self, name):
        searcher = searcher_of(searcher=name, objective="supervised", learning_rate=0.1, runs=1)
        losses = [searcher.train_epoch(epoch)["loss"][0] for epoch in range(3)]
        assert losses[-1] < losses[0] < 1.2 * math.log(4)

    def test_leaves_global_random_state_alone(self, name):
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        searcher_of(searcher=name).train_epoch(0)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002

    def test_a_state_of_another_size_is_refused(self, name):
        other = searcher_of(searcher=name, channels=3)
        with pytest.raises(RunError, match="Expected the state of this supernet"):
            searcher_of(searcher=name).load_state(other.state())

    def test_scores_every_cell(self, name):
        searcher = searcher_of(searcher=name)
        searcher.train_epoch(0)
        for values in searcher.scores().values():
            assert values.shape == (2, 15_625)
            assert np.isfinite(values).all()


class TestSinglePath:
    def test_zero_gradients_decay_what_was_not_sampled_and_absent_ones_do_not(self):
        for unsampled, moves in (("zero", True), ("absent", False)):
            searcher = searcher_of(unsampled=unsampled, runs=1, images=16, weight_decay=0.1)
            path = np.full((1, 3, 6), OPERATIONS.index("skip_connect"))
            searcher.supernet.sample = lambda rng, path=path: path[0]
            before = [w.detach().clone() for _, w in searcher.supernet.candidate_weights()]
            searcher.train_epoch(0)
            now = [w for _, w in searcher.supernet.candidate_weights()]
            changed = [not torch.equal(a, b) for a, b in zip(before, now, strict=True)]
            assert changed == [moves] * len(changed)

    def test_absent_gradients_move_what_was_sampled_as_zeros_would(self):
        path = np.full((3, 6), OPERATIONS.index("nor_conv_3x3"))
        found = []
        for unsampled in ("zero", "absent"):
            searcher = searcher_of(unsampled=unsampled, runs=1)
            searcher.supernet.sample = lambda rng: path
            searcher.train_epoch(0)
            searcher.train_epoch(1)
            found.append([w.detach() for w in searcher.supernet.conv_3])
        for zero, absent in zip(*found, strict=True):
            assert torch.equal(zero, absent)

    def test_training_ends_when_convolutions_have_turned_enough(self):
        searcher = searcher_of(stop_angle=1.0)
        assert searcher.finished(searcher.train_epoch(0))
        assert not searcher_of(stop_angle=89.0).finished(searcher.train_epoch(1))

    def test_angle_and_size_is_a_sum_of_ranks(self):
        searcher = searcher_of(runs=1)
        searcher.train_epoch(0)
        scores = searcher.scores()
        assert scores["angle_and_size"].min() >= 2
        assert scores["angle_and_size"].max() <= 2 * 15_625


class TestDarts:
    def test_the_best_cell_is_the_strongest_operation_of_each_edge(self):
        searcher = searcher_of(searcher="darts")
        with torch.no_grad():
            searcher.alphas.copy_(torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1)))
        space, scores = get_space("nasbench201"), searcher.scores()
        for score, with_none in (("strength", False), ("strength_with_none", True)):
            best = space.decisions_of_rows(scores[score].argmax(1))
            assert best.tolist() == searcher.choices(with_none=with_none).tolist()

    def test_second_order_gradient_is_that_of_the_loss_one_step_ahead(self, monkeypatch):
        # Smooth: a difference over the published .01 crosses kinks of ReLU in so small a network.
        softplus = torch.nn.functional.softplus
        monkeypatch.setattr(torch.Tensor, "relu", lambda tensor: softplus(tensor))
        searcher = searcher_of(
            searcher="darts", order=2, objective="supervised", weight_decay=0.0, momentum=0.0,
            learning_rate=0.5,
        )  # fmt: skip
        searcher.supernet.double()
        searcher.heads.double()
        searcher.alphas.data = searcher.alphas.data.double()
        train, valid = (next(iter(searcher.steps(use, 0))) for use in ("train", "valid"))
        train, valid = (train[0].double(), train[1]), (valid[0].double(), valid[1])
        searcher.set_rate(0)

        @torch.enable_grad()
        def ahead():
            """Validation losses after one step of the weights on the training batch."""
            loss, _ = searcher._losses(*train)
            gradients = torch.autograd.grad(loss.sum(), searcher.weights)
            kept = [w.detach().clone() for w in searcher.weights]
            with torch.no_grad():
                for weights, gradient in zip(searcher.weights, gradients, strict=True):
                    weights.sub_(0.5 * gradient)
                found = float(searcher._losses(*valid)[0].sum())
                for weights, start in zip(searcher.weights, kept, strict=True):
                    weights.copy_(start)
            return found

        before = [w.detach().clone() for w in searcher.weights]
        found = searcher.alpha_gradient(train, valid)
        for weights, start in zip(searcher.weights, before, strict=True):
            assert torch.equal(weights, start)  # what it tried is taken back
        for place in ((0, 0, 3), (0, 5, 1), (1, 2, 4)):
            differences = []
            for sign in (1, -1):
                with torch.no_grad():
                    searcher.alphas[place] += sign * 1e-4
                    differences.append(ahead())
                    searcher.alphas[place] -= sign * 1e-4
            expected = (differences[0] - differences[1]) / 2e-4
            assert float(found[place]) == pytest.approx(expected, rel=0.02, abs=1e-5)

    def test_first_order_gradient_is_that_of_the_validation_loss(self):
        searcher = searcher_of(searcher="darts", objective="supervised")
        train, valid = (next(iter(searcher.steps(use, 0))) for use in ("train", "valid"))
        loss, _ = searcher._losses(*valid)
        expected = torch.autograd.grad(loss.sum(), searcher.alphas)[0]
        assert torch.equal(searcher.alpha_gradient(train, valid), expected)

    def test_halves_do_not_overlap(self):
        searcher = searcher_of(searcher="darts", objective="supervised")
        for train, valid in zip(searcher.lanes["train"], searcher.lanes["valid"], strict=True):
            pair = [{t.numpy().tobytes() for t in lane.images.images} for lane in (train, valid)]
            assert len(pair[0]) == len(pair[1]) == 32
            assert not pair[0] & pair[1]


class TestRuns:
    def test_a_run_that_was_cut_off_goes_on_to_the_same_scores(self, tmp_path, monkeypatch):
        monkeypatch.setattr(run_module, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
        whole = train_supernet(config_of(), out=tmp_path / "whole")

        def cut(progress):
            if progress.epoch == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_supernet(config_of(), out=tmp_path / "cut", report=cut)
        assert (tmp_path / "cut" / "checkpoint.npz").exists()
        resumed = train_supernet(config_of(), out=tmp_path / "cut", resume=True)
        assert resumed["found"] == whole["found"]
        assert resumed["agreement"] == whole["agreement"]
        first, second = (np.load(tmp_path / name / "scores.npz") for name in ("whole", "cut"))
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name])
        lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
        assert lines[0] == lines[1]
        assert len(lines[0].splitlines()) == 3
        assert train_supernet(config_of(), out=tmp_path / "cut", resume=True) == resumed

    def test_another_run_or_a_finished_one_is_not_overwritten(self, tmp_path):
        train_supernet(config_of(epochs=1), out=tmp_path)
        with pytest.raises(RunError, match="holds this run, finished. Pass `--resume`"):
            train_supernet(config_of(epochs=1), out=tmp_path)
        with pytest.raises(RunError, match="holds another run: `epochs` 1 there, 2 asked"):
            train_supernet(config_of(epochs=2), out=tmp_path, resume=True)

    def test_a_damaged_or_foreign_checkpoint_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr(run_module, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)

        def cut(progress):
            raise KeyboardInterrupt

        for name, changes in (("a", {}), ("b", {"seed": 4})):
            with pytest.raises(KeyboardInterrupt):
                train_supernet(config_of(**changes), out=tmp_path / name, report=cut)
        file = tmp_path / "a" / "checkpoint.npz"
        foreign = (tmp_path / "b" / "checkpoint.npz").read_bytes()
        for content in (b"", file.read_bytes()[:300], foreign):
            file.write_bytes(content)
            with pytest.raises(RunError, match=r"checkpoint of this run in .*checkpoint.npz"):
                train_supernet(config_of(), out=tmp_path / "a", resume=True)

    def test_a_table_that_is_not_there_is_said(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ARCHREP_TABLES", str(tmp_path / "none"))
        summary = train_supernet(config_of(epochs=1), out=tmp_path / "s")
        assert summary["agreement"] is None
        assert "archrep tables import" in summary["table_missing"]
        assert len(summary["found"]["angle"]) == 2

    def test_training_that_diverges_ends_with_one_line(self, tmp_path):
        searcher = SinglePath.train_epoch
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                SinglePath,
                "train_epoch",
                lambda self, epoch: searcher(self, epoch) | {"loss": [math.nan, 1.0]},
            )
            with pytest.raises(RunError, match="Training diverged in epoch 1.*Lower"):
                train_supernet(config_of(), out=tmp_path)


class TestCommand:
    ARGUMENTS = (
        "supernet", "nasbench201", "--channels", "2", "--cells", "1", "--epochs", "1",
        "--images", "64", "--batch-size", "16", "--runs", "2",
    )  # fmt: skip

    def test_prints_what_was_found(self, tmp_path, capsys):
        assert main([*self.ARGUMENTS, "--out", str(tmp_path / "s")]) == 0
        printed = capsys.readouterr()
        summary = json.loads(printed.out)
        assert summary["config"]["data"] == "digits"
        assert "best by angle, seed 1: |" in printed.err
        space = get_space("nasbench201")
        for found in summary["found"]["angle"]:
            assert space.index(space.parse(found["cell"])) == found["index"]

    def test_lists_every_part(self, capsys):
        assert main(["supernet", "--list"]) == 0
        printed = capsys.readouterr().out
        for part in ("rotation", "digits", "single-path", "rlnas-small", "ratio"):
            assert part in printed

    def test_shows_the_configuration(self, capsys):
        assert main(["supernet", "nasbench201", "--preset", "darts-small", "--dry-run"]) == 0
        config = SupernetConfig.from_dict(json.loads(capsys.readouterr().out))
        assert config == preset_config("darts-small")

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ((), "Name a search space"),
            (("nasbench301",), "Supernets are: nasbench201"),
            (("nasbench201", "--preset", "none"), "Presets are: rlnas"),
            (("nasbench201", "--objective", "sleep"), "sleep"),
            (("nasbench201", "--data", "cats"), "cats"),
            (("nasbench201", "--set", "ratio"), "`--set` takes name=value"),
            (("nasbench201", "--set", "nonsense=3"), "nonsense"),
            (("nasbench201", "--objective", "segmentation"), "segmentation"),
            (("nasbench201", "--batch-size", "100000"), "`batch_size` must be at most the"),
            (("nasbench201", "--epochs", "0"), "`epochs` must be at least 1. Got 0"),
        ],
    )
    def test_wrong_input_is_one_line(self, arguments, problem, capsys, tmp_path):
        assert main(["supernet", *arguments, "--out", str(tmp_path / "s")]) == 1
        printed = capsys.readouterr().err
        assert problem in printed
        assert len(printed.strip().splitlines()) == 1


def test_settings_name_every_mistake():
    with pytest.raises(ConfigError) as caught:
        SupernetConfig(channels=0, learning_rate=math.nan, searcher="enas", momentum=1.0)
    for part in ("`channels`", "`learning_rate`", "`searcher`", "`momentum`"):
        assert part in str(caught.value)
    with pytest.raises(UnknownNameError, match="Searcher must be one of single-path, darts"):
        get_searcher("enas")
    with pytest.raises(ConfigError, match="Unknown settings"):
        SupernetConfig.from_dict({"chanels": 3})


def test_a_small_darts_is_darts():
    assert isinstance(searcher_of(searcher="darts"), Darts)

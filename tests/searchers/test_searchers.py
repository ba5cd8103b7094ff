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
from archrep.searchers.registry import get_searcher
from archrep.searchers.run import train_supernet
from archrep.searchers.single_path import SinglePath

SMALL = {
    "channels": 2, "cells": 1, "batch_size": 16, "epochs": 3, "runs": 2, "data": "digits",
    "images": 64, "crop_padding": 1, "learning_rate": 0.05,
}  # fmt: skip


SIZES = {
    "nasbench201": {},
    "darts": {"channels": 4, "cells": 3, "images": 32},
    "darts-s4": {"channels": 4, "cells": 3, "images": 32},
    "mobilenet": {"channels": None, "cells": None, "width": 0.05, "images": 32, "size": 32},
}
"""Small ones of each supernet."""
TUNED = {
    "p-darts": {"depths": (1, 2, 2), "warmup_epochs": 0},
    "sgas": {"first_decision": 0, "decision_every": 1, "criterion": 2},
    "pc-darts": {"partial": 2, "warmup_epochs": 1},
}
"""Settings of searchers that let everything happen within three epochs."""
PARTS = [
    ("nasbench201", "single-path"), ("nasbench201", "darts"), ("nasbench201", "p-darts"),
    ("nasbench201", "sgas"), ("nasbench201", "darts-minus"), ("darts", "single-path"),
    ("darts", "darts"), ("darts", "pc-darts"), ("darts", "p-darts"), ("darts", "sgas"),
    ("darts", "darts-minus"), ("darts-s4", "darts"), ("mobilenet", "single-path"),
]  # fmt: skip
"""Supernets and searchers that train together."""


def config_of(space="nasbench201", searcher="single-path", **changes):
    tuned = dict(TUNED.get(searcher, {}))
    given = SMALL | SIZES[space]
    if searcher == "p-darts":
        given["cells"] = None
        tuned |= {"depths": (3, 3, 4)} if space == "darts" else {"dropped": (1, 1)}
    given = given | {"searcher_settings": tuned} | changes
    return SupernetConfig(space=space, searcher=searcher, **given)


def some_images(count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = torch.randn(count, 1, 8, 8, generator=generator) + labels[:, None, None, None]
    return ImageSet("made-up", images, labels, 4, (0.0,), (1.0,))


def searcher_of(*parts, **changes):
    config = config_of(*parts, **changes)
    objective = make_objective(config.objective, config.objective_settings)
    images = some_images(config.images)
    if config.size is not None:
        images = images.resized(config.size)
    return get_searcher(config.searcher)(config, images, objective)


@pytest.mark.parametrize(("space", "name"), PARTS)
class TestEverySearcher:
    def test_goes_on_from_its_state_to_the_bit(self, space, name):
        whole = searcher_of(space, name)
        states = []
        for epoch in range(3):
            whole.train_epoch(epoch)
            states.append({key: part.copy() for key, part in whole.state().items()})
        for begun in (0, 1):
            resumed = searcher_of(space, name)
            resumed.load_state(states[begun])
            for epoch in range(begun + 1, 3):
                resumed.train_epoch(epoch)
            reached = resumed.state()
            assert set(reached) == set(states[2])
            for key, part in states[2].items():
                np.testing.assert_array_equal(reached[key], part, err_msg=key)
        for chosen, own in zip(
            whole.choose(whole.scores()).values(),
            resumed.choose(resumed.scores()).values(),
            strict=True,
        ):
            assert (chosen == own).all()

    def test_leaves_global_random_state_alone(self, space, name):
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        searcher_of(space, name).train_epoch(0)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002

    def test_a_state_of_another_size_is_refused(self, space, name):
        changes = {"width": 0.1} if space == "mobilenet" else {"channels": 8}
        other = searcher_of(space, name, **changes)
        with pytest.raises(RunError, match="Expected the state of this supernet"):
            searcher_of(space, name).load_state(other.state())

    def test_chooses_architectures_and_scores_cells_of_a_table(self, space, name):
        searcher = searcher_of(space, name)
        searcher.train_epoch(0)
        for choices in searcher.choose(searcher.scores()).values():
            assert choices.shape == (2, len(searcher.supernet.allowed))
            for own in choices:
                assert searcher.supernet.describe(own)
        scores = searcher.scores()
        assert bool(scores) == (space == "nasbench201")
        for values in scores.values():
            assert values.shape == (2, 15_625)
            assert np.isfinite(values).all()


@pytest.mark.parametrize(("space", "name"), PARTS[:-1])  # MobileNets: see tests/supernets
def test_seeds_are_the_same_in_any_company(space, name):
    gentle = {"learning_rate": 1e-3}  # rounding grows fast where steps are large
    together = searcher_of(space, name, **gentle)
    alone = searcher_of(space, name, seed=1, runs=1, **gentle)
    for epoch in range(2):
        ours, own = together.train_epoch(epoch), alone.train_epoch(epoch)
        for figure in set(ours) - {"cell", "skips"}:
            assert own[figure][0] == pytest.approx(ours[figure][1], rel=1e-2, abs=1e-2)
    for score, values in alone.scores().items():
        np.testing.assert_allclose(
            together.scores()[score][1], values[0], rtol=1e-2, atol=1e-2 * np.abs(values).max()
        )


@pytest.mark.parametrize(("space", "name"), PARTS)
def test_bfloat16_is_computed_in_and_float32_is_kept(space, name):
    gentle = {"learning_rate": 1e-3}  # rounding grows fast where steps are large
    exact = searcher_of(space, name, **gentle)
    rough = searcher_of(space, name, precision="bfloat16", **gentle)
    expected, figures = exact.train_epoch(0), rough.train_epoch(0)
    assert figures["loss"] != expected["loss"]
    assert figures["loss"] == pytest.approx(expected["loss"], rel=0.05)
    assert {w.dtype for w in rough.weights} == {torch.float32}


@pytest.mark.parametrize("name", ["rotation", "jigsaw", "random-labels", "reconstruction"])
def test_objectives_lose_in_bfloat16_what_they_lose_in_float32(name):
    losses = [
        searcher_of(objective=name, runs=1, objective_settings={}, precision=precision)
        .train_epoch(0)["loss"][0]
        for precision in ("float32", "bfloat16")
    ]  # fmt: skip
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


@pytest.mark.parametrize("name", ["single-path", "darts"])
def test_learns(name):
    searcher = searcher_of("nasbench201", name, objective="supervised", learning_rate=0.1, runs=1)
    losses = [searcher.train_epoch(epoch)["loss"][0] for epoch in range(3)]
    assert losses[-1] < losses[0] < 1.2 * math.log(4)


class TestSinglePath:
    def test_zero_gradients_decay_what_was_not_sampled_and_absent_ones_do_not(self):
        for unsampled, moves in (("zero", True), ("absent", False)):
            searcher = searcher_of(
                searcher_settings={"unsampled": unsampled}, runs=1, images=16, weight_decay=0.1
            )
            path = np.full((1, 3, 6), OPERATIONS.index("skip_connect"))
            searcher.supernet.sample = lambda rng, path=path: path[0]
            before = [c.weights.detach().clone() for c in searcher.supernet.candidates()]
            searcher.train_epoch(0)
            now = [c.weights for c in searcher.supernet.candidates()]
            changed = [not torch.equal(a, b) for a, b in zip(before, now, strict=True)]
            assert changed == [moves] * len(changed)

    def test_absent_gradients_move_what_was_sampled_as_zeros_would(self):
        path = np.full((3, 6), OPERATIONS.index("nor_conv_3x3"))
        found = []
        for unsampled in ("zero", "absent"):
            searcher = searcher_of(searcher_settings={"unsampled": unsampled}, runs=1)
            searcher.supernet.sample = lambda rng: path
            searcher.train_epoch(0)
            searcher.train_epoch(1)
            found.append([w.detach() for w in searcher.supernet.conv_3])
        for zero, absent in zip(*found, strict=True):
            assert torch.equal(zero, absent)

    def test_training_ends_when_convolutions_have_turned_enough(self):
        searcher = searcher_of(searcher_settings={"stop_angle": 1.0})
        assert searcher.finished(searcher.train_epoch(0))
        later = searcher_of(searcher_settings={"stop_angle": 89.0})
        assert not later.finished(searcher.train_epoch(1))

    def test_angle_and_size_is_a_sum_of_ranks(self):
        searcher = searcher_of(runs=1)
        searcher.train_epoch(0)
        scores = searcher.scores()
        assert scores["angle_and_size"].min() >= 2
        assert scores["angle_and_size"].max() <= 2 * 15_625


def begin(searcher, epoch=0):
    """What an epoch begins with."""
    searcher._epoch, searcher._draws = epoch, searcher.draws(epoch)


class TestDarts:
    def test_the_best_cell_is_the_strongest_operation_of_each_edge(self):
        searcher = searcher_of(searcher="darts")
        with torch.no_grad():
            searcher.alphas.copy_(torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1)))
        space, scores = get_space("nasbench201"), searcher.scores()
        for score, with_none in (("strength", False), ("strength_with_none", True)):
            best = space.decisions_of_rows(scores[score].argmax(1))
            assert best.tolist() == searcher.derive(with_none=with_none).tolist()

    def test_second_order_gradient_is_that_of_the_loss_one_step_ahead(self, monkeypatch):
        # Smooth: a difference over the published .01 crosses kinks of ReLU in so small a network.
        softplus = torch.nn.functional.softplus
        monkeypatch.setattr(torch.Tensor, "relu", lambda tensor: softplus(tensor))
        searcher = searcher_of(
            searcher="darts", searcher_settings={"order": 2}, objective="supervised",
            weight_decay=0.0, momentum=0.0, learning_rate=0.5,
        )  # fmt: skip
        searcher.supernet.double()
        searcher.heads.double()
        searcher.alphas.data = searcher.alphas.data.double()
        begin(searcher)
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
        found = searcher.alpha_gradient(train, valid)[0]
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
        begin(searcher)
        train, valid = (next(iter(searcher.steps(use, 0))) for use in ("train", "valid"))
        loss, _ = searcher._losses(*valid)
        expected = torch.autograd.grad(loss.sum(), searcher.alphas)[0]
        assert torch.equal(searcher.alpha_gradient(train, valid)[0], expected)

    def test_halves_do_not_overlap(self):
        searcher = searcher_of(searcher="darts", objective="supervised")
        for train, valid in zip(searcher.lanes["train"], searcher.lanes["valid"], strict=True):
            pair = [{t.numpy().tobytes() for t in lane.images.images} for lane in (train, valid)]
            assert len(pair[0]) == len(pair[1]) == 32
            assert not pair[0] & pair[1]

    def test_the_code_of_darts_divides_images_in_their_order(self):
        searcher = searcher_of(searcher="darts", searcher_settings={"valid": "ordered-half"})
        for parts in zip(searcher.lanes["train"], searcher.lanes["valid"], strict=True):
            together = torch.cat([lane.images.images for lane in parts])
            assert torch.equal(together, some_images(64).images)

    def test_images_in_the_order_of_their_classes_are_not_divided_in_it(self):
        config = config_of(searcher="darts", searcher_settings={"valid": "ordered-half"})
        images = some_images(64)
        sorted_ = images.subset(np.argsort(images.targets.numpy(), kind="stable"))
        objective = make_objective("supervised", {})
        with pytest.raises(ConfigError, match="`valid` must be 'half' for these images"):
            get_searcher("darts")(config, sorted_, objective)

    def test_figures_have_the_validation_loss_once_alphas_learn(self):
        settings = {"warmup_epochs": 1}
        searcher = searcher_of(
            searcher="darts", objective="supervised", batch_size=32, searcher_settings=settings
        )
        assert "valid_loss" not in searcher.train_epoch(0)
        begin(searcher, 1)
        (valid,) = searcher.steps("valid", 1)
        loss, score = searcher._losses(*valid)
        figures = searcher.train_epoch(1)
        assert figures["valid_loss"] == loss.tolist()
        assert figures["valid_accuracy"] == score.tolist()

    def test_a_flipped_copy_is_what_unreal_data_validate_with(self):
        searcher = searcher_of(searcher="darts", searcher_settings={"valid": "flipped-copy"})
        for train, valid in zip(searcher.lanes["train"], searcher.lanes["valid"], strict=True):
            assert torch.equal(train.images.images.flip(-1), valid.images.images)
            assert torch.equal(train.images.targets, valid.images.targets)

    def test_frozen_architecture_weights_stay(self):
        searcher = searcher_of(searcher="darts", searcher_settings={"warmup_epochs": 1})
        before = searcher.alphas.detach().clone()
        searcher.train_epoch(0)
        assert torch.equal(searcher.alphas, before)
        searcher.train_epoch(1)
        assert not torch.equal(searcher.alphas, before)

    def test_a_seed_that_stops_keeps_the_cell_of_the_epoch_before(self):
        searcher = searcher_of("darts", "darts", searcher_settings={"stop_skips": 3})
        skip = searcher.supernet.operations.index("skip_connect")
        with torch.no_grad():
            searcher.alphas[:, :14, skip] = -1.0
        searcher.end_epoch(0)
        before = searcher.chosen()
        with torch.no_grad():
            searcher.alphas[0, :14, skip] = 5.0
        searcher.end_epoch(1)
        assert searcher.supernet.skips(searcher.derive()[0]) == 8
        assert (searcher.chosen()[0] == before[0]).all()
        assert not searcher.finished({})
        with torch.no_grad():
            searcher.alphas[1, :14, skip] = 5.0
        searcher.end_epoch(2)
        assert searcher.finished({})

    def test_a_gradient_is_shortened_seed_by_seed(self):
        searcher = searcher_of(searcher="darts", clip=0.01)
        for weights in searcher.weights:
            weights.grad.normal_(generator=torch.Generator().manual_seed(3))
        one = searcher.weights[0].grad.clone()
        searcher._clip(0.01)
        for s in range(2):
            own = [
                weights.grad[s] if owner is None else weights.grad
                for weights, owner in zip(searcher.weights, searcher._owners, strict=True)
                if owner in (None, s)
            ]
            assert float(torch.cat([g.flatten() for g in own]).norm()) == pytest.approx(
                0.01, rel=1e-3
            )
        ratio = searcher.weights[0].grad[0] / one[0]
        assert torch.allclose(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-3)


class TestRelatives:
    def test_shares_of_the_edges_of_a_block_add_up_to_one(self):
        searcher = searcher_of("darts", "pc-darts")
        with torch.no_grad():
            searcher.betas.normal_(generator=torch.Generator().manual_seed(0))
        shares = searcher.shares().detach()
        for half in ("normal", "reduce"):
            for target in range(2, 6):
                own = [
                    n
                    for n, edge in enumerate(searcher.supernet.edges)
                    if (edge.cell, edge.target) == (half, target)
                ]
                assert torch.allclose(shares[:, own].sum(1), torch.ones(2))
                assert torch.allclose(shares[:, own], searcher.betas[:, own].softmax(1))

    def test_an_auxiliary_skip_fades(self):
        searcher = searcher_of("darts", "darts-minus", epochs=4)
        assert [searcher.mixture(epoch).auxiliary for epoch in range(4)] == [1, 0.75, 0.5, 0.25]

    def test_sgas_makes_eight_decisions_and_leaves_two_edges_a_block(self):
        settings = {"first_decision": 0, "decision_every": 2}
        searcher = searcher_of("darts", "sgas", searcher_settings=settings, runs=1)
        generator = torch.Generator().manual_seed(0)
        sizes = [searcher.batch_size]
        for epoch in range(16):
            with torch.no_grad():
                searcher.alphas.normal_(generator=generator)
            searcher.end_epoch(epoch)
            sizes.append(searcher.batch_size)
            decided = int((searcher.fixed >= 0).sum())
            assert decided == 2 * min(8, epoch // 2 + 1)
        assert max(sizes) == 16  # there are no more images in a part
        for half in (slice(0, 14), slice(14, 28)):
            edges = searcher.supernet.edges[half]
            kept = [
                e.target for e, op in zip(edges, searcher.fixed[0, half], strict=True) if op > 0
            ]
            assert sorted(kept) == [2, 2, 3, 3, 4, 4, 5, 5]
        assert (searcher.chosen()[0][searcher.fixed[0] >= 0] > 0).all()
        active = searcher.active()
        assert active.sum(2)[searcher.fixed >= 0].tolist() == [1] * 16
        assert not active[searcher.pruned].any()
        assert searcher.pruned.sum() == 12

    def test_sgas_decides_for_the_surest_edge(self):
        settings = {"first_decision": 0}
        searcher = searcher_of("darts", "sgas", searcher_settings=settings, runs=1)
        with torch.no_grad():
            searcher.alphas.zero_()
            searcher.alphas[0, 5, 4] = 6.0  # important and certain
            searcher.alphas[0, 6, 0] = 6.0  # `none` wins: of no importance
        searcher.end_epoch(0)
        assert searcher.fixed[0, 5] == 4
        assert (searcher.fixed[0, :14] >= 0).sum() == 1

    def test_p_darts_drops_the_weakest_operations_of_each_edge(self):
        searcher = searcher_of("darts", "p-darts", runs=1)
        assert searcher.supernet.cells == 3
        with torch.no_grad():
            searcher.alphas.copy_(torch.arange(8.0).expand(1, 28, 8))
        sizes = [int(searcher.left[0, 0].sum())]
        for _ in range(2):
            searcher._next_stage()
            sizes.append(int(searcher.left[0, 0].sum()))
            with torch.no_grad():
                searcher.alphas.copy_(torch.arange(8.0).expand(1, 28, 8))
        assert sizes == [8, 5, 3]
        assert searcher.left[0, 0].tolist() == [False] * 5 + [True] * 3
        assert searcher.supernet.cells == 4

    def test_p_darts_limits_skip_connections_and_fades_dropout(self):
        settings = TUNED["p-darts"] | {"warmup_epochs": 2, "depths": (3, 3, 3)}
        searcher = searcher_of("darts", "p-darts", searcher_settings=settings, epochs=12, runs=1)
        skip = searcher.supernet.operations.index("skip_connect")
        with torch.no_grad():
            searcher.alphas[:, :, skip] += torch.linspace(1, 2, 28)
        assert searcher.supernet.skips(searcher.derive()[0]) == 2
        searcher._begin(1)
        found = [searcher._dropout(epoch) for epoch in range(4, 8)]
        assert found == pytest.approx([0.4 * 3 / 4, 0.4 * 2 / 4, 0.4, 0.4 * math.exp(-0.2)])
        plain = searcher_of(
            "darts", "p-darts", searcher_settings=settings | {"tricks": False}, epochs=12, runs=1
        )
        with torch.no_grad():
            plain.alphas[:, :, skip] += torch.linspace(1, 2, 28)
        assert plain.supernet.skips(plain.derive()[0]) == 8
        assert plain._dropout(4) == 0.0

    def test_p_darts_ends_where_edges_have_nothing_but_skips(self):
        settings = TUNED["p-darts"] | {"dropped": (1, 1), "skip_limit": 1}
        searcher = searcher_of("nasbench201", "p-darts", searcher_settings=settings, runs=1)
        skip = searcher.supernet.operations.index("skip_connect")
        searcher.left[:] = np.arange(5) == skip
        found = searcher.derive()[0]
        assert (found == skip).all()  # as few as can be
        searcher.left[0, 2:, 3] = True
        found = searcher.derive()[0]
        assert found.tolist() == [skip, skip, 3, 3, 3, 3]

    def test_architecture_gradients_are_shortened_seed_by_seed(self):
        settings = TUNED["p-darts"] | {"depths": (3, 3, 4), "alpha_clip": 1e-3}
        searcher = searcher_of("darts", "p-darts", searcher_settings=settings)
        begin(searcher)
        train, valid = (next(iter(searcher.steps(use, 0))) for use in ("train", "valid"))
        whole = searcher.alpha_gradient(train, valid)[0]
        searcher.alpha_step(train, valid)
        for s in range(2):
            assert float(searcher.alphas.grad[s].norm()) == pytest.approx(1e-3, rel=1e-2)
            ratio = whole[s].norm() / searcher.alphas.grad[s].norm()
            assert torch.allclose(searcher.alphas.grad[s] * ratio, whole[s], rtol=1e-3)

    def test_architecture_weights_of_decided_edges_stay(self):
        searcher = searcher_of("darts", "sgas", searcher_settings={"first_decision": 0}, runs=1)
        begin(searcher)
        train, valid = (next(iter(searcher.steps(use, 0))) for use in ("train", "valid"))
        searcher.alpha_step(train, valid)
        searcher.end_epoch(0)
        before = searcher.alphas.detach().clone()
        searcher.alpha_step(train, valid)
        settled = (searcher.fixed >= 0) | searcher.pruned
        moved = (searcher.alphas != before).any(2).numpy()
        assert settled.sum() >= 2
        assert (moved == ~settled).all()

    def test_random_architectures_need_no_training(self, tmp_path):
        summary = train_supernet(config_of("darts", "random", runs=3), out=tmp_path / "r")
        assert summary["epochs"] == 0
        assert len({found["cell"] for found in summary["found"]["random"]}) == 3


def test_angles_of_other_spaces_are_searched_for_by_evolution(tmp_path):
    limit = {"macs_limit": 500.0}
    config = config_of("mobilenet", epochs=1, searcher_settings=limit)
    summary = train_supernet(config, out=tmp_path / "m")
    for found in summary["found"]["angle"]:
        assert found["imagenet_macs"] <= 500e6
        assert len(found["cell"].split()) == 21


def test_cells_of_darts_are_looked_up_in_a_surrogate_if_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHREP_TABLES", str(tmp_path / "none"))
    summary = train_supernet(config_of("darts", "darts", epochs=1), out=tmp_path / "d")
    found = summary["found"]["strength"][0]
    assert found["cifar10_params"] > 0
    assert "predicted_accuracy" not in found
    assert "nasbench301" in summary["table_missing"]
    lines = (tmp_path / "d" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["cell"][0] == found["cell"]


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
        assert main(["supernet", "nasbench201", "--preset", "rlnas-small", "--dry-run"]) == 0
        config = SupernetConfig.from_dict(json.loads(capsys.readouterr().out))
        assert config == preset_config("rlnas-small")

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ((), "Name a search space"),
            (("nasbench301",), "Supernet must be one of nasbench201"),
            (("nasbench201", "--preset", "none"), "Preset must be one of rlnas"),
            (("nasbench201", "--searcher", "enas"), "Searcher must be one of single-path"),
            (("nasbench201", "--tune", "order=1"), "Settings of 'single-path' are"),
            (("nasbench201", "--searcher", "darts", "--tune", "order=3"), "`order` must be 1 or 2"),
            (
                (
                    "nasbench201",
                    "--searcher",
                    "darts",
                    "--tune",
                    "order=2",
                    "--precision",
                    "bfloat16",
                ),
                "no digits left in bfloat16",
            ),
            (("nasbench201", "--searcher", "pc-darts"), "needs a supernet of DARTS"),
            (("nasbench201", "--tune", "macs_limit=475"), "are for evolution"),
            (("darts", "--tune", "spectrum_images=8"), "needs a space whose cells are all scored"),
            (("darts-s4", "--tune", "macs_limit=9"), "has noise"),
            (("darts", "--searcher", "p-darts", "--cells", "8"), "`cells` must be left out"),
            (
                ("darts-s2", "--searcher", "p-darts", "--epochs", "60"),
                "`dropped` must leave each edge two",
            ),
            (("darts", "--searcher", "pc-darts", "--epochs", "9"), "more than `warmup_epochs`"),
            (("darts", "--searcher", "sgas", "--epochs", "9"), "more than `first_decision`"),
            (("nasbench201", "--weight-decay", "inf"), "`weight_decay` must be at most 10"),
            (("mobilenet", "--searcher", "darts"), "needs a supernet of cells"),
            (("mobilenet", "--channels", "8"), "has no `channels`"),
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
        assert not (tmp_path / "s" / "config.json").exists()  # the next try finds it free

    def test_zero_undoes_the_limits_of_a_preset(self, capsys):
        line = ["supernet", "--preset", "unrealnas", "--dry-run"]
        assert main([*line, "--images", "0"]) == 0
        assert json.loads(capsys.readouterr().out)["images"] is None
        assert main(["supernet", "--preset", "darts", "--dry-run", "--clip", "0"]) == 0
        assert json.loads(capsys.readouterr().out)["clip"] is None

    def test_settings_of_a_preset_go_with_its_objective_and_searcher(self, capsys):
        line = ["supernet", "--preset", "unrealnas", "--dry-run"]
        assert main([*line, "--objective", "rotation", "--searcher", "single-path"]) == 0
        config = json.loads(capsys.readouterr().out)
        assert config["objective_settings"] == config["searcher_settings"] == {}
        assert main([*line, "--set", "classes=9"]) == 0
        config = json.loads(capsys.readouterr().out)
        assert config["objective_settings"] == {"classes": "9"}
        assert config["searcher_settings"]["valid"] == "flipped-copy"


def test_settings_name_every_mistake():
    with pytest.raises(ConfigError) as caught:
        SupernetConfig(channels=0, learning_rate=math.nan, stem="oak", momentum=1.0)
    for part in ("`channels`", "`learning_rate`", "`stem`", "`momentum`"):
        assert part in str(caught.value)
    with pytest.raises(UnknownNameError, match="Searcher must be one of single-path, darts"):
        get_searcher("enas")
    with pytest.raises(ConfigError, match="chanels"):
        SupernetConfig.from_dict({"chanels": 3})

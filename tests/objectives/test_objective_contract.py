"""What every objective keeps: registering one is enough to have it tested."""

from __future__ import annotations

import pytest
import torch
from objective_toys import STAGES, features_of, generator, images_of

from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.registry import OBJECTIVES, make_objective

VARIANTS = [
    *((name, {}) for name in OBJECTIVES),
    ("rotation", {"each": "one"}),
    ("jigsaw", {"grid": 3, "permutations": 50, "selection": "max-min"}),
    ("supervised", {"label_smoothing": 0.1}),
    ("random-labels", {"classes": 7}),
    ("reconstruction", {"decoder": "plain", "fill": "noise"}),
    ("reconstruction", {"fill": "channel"}),
    ("segmentation", {"rates": (1, 2, 3), "width": 8}),
]


@pytest.fixture(params=VARIANTS, ids=str)
def objective(request):
    return make_objective(*request.param)


@pytest.fixture
def images(objective):
    return objective.adopt(images_of(objective.tasks[0]), 0)


def prepared(objective, images, count, seed=0, train=True):
    rows = torch.arange(count)
    pixels = images.pixels(rows)
    return objective.prepare(pixels, images.targets[rows], images, generator(seed), train)


def outcome(objective, images, inputs, targets):
    """Loss, score, and gradients of all features and weights."""
    torch.manual_seed(0)
    head = objective.head(STAGES, images)
    features = features_of(inputs)
    outputs = head(features, tuple(inputs.shape[2:]))
    loss = objective.loss(outputs, targets)
    weights = list(head.parameters())
    gradients = torch.autograd.grad(loss, [features[-1], *weights])
    return loss, objective.score(outputs, targets), gradients


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("count", [1, 5])
class TestEveryObjective:
    def test_loss_and_gradient_are_finite(self, objective, images, count, train):
        inputs, targets = prepared(objective, images, count, train=train)
        assert inputs.shape[1] == objective.input_channels(images)
        assert len(inputs) % count == 0
        assert inputs.dtype == torch.float32
        loss, score, gradients = outcome(objective, images, inputs, targets)
        assert loss.shape == score.shape == ()
        assert loss.isfinite()
        assert score.isfinite()
        assert loss > 0
        assert all(gradient.isfinite().all() for gradient in gradients)
        if count > 1:  # batch norm makes one finding of one image a constant
            assert gradients[0].abs().sum() > 0

    def test_the_generator_alone_decides(self, objective, images, count, train):
        state = torch.get_rng_state()
        once, again = (prepared(objective, images, count, train=train) for _ in range(2))
        assert (torch.get_rng_state() == state).all()
        assert all(torch.equal(*pair) for pair in zip(flat(once), flat(again), strict=True))

    def test_batches_are_left_as_they_are(self, objective, images, count, train):
        rows = torch.arange(count)
        pixels, targets = images.pixels(rows), images.targets[rows]
        kept = pixels.clone(), targets.clone()
        objective.prepare(pixels, targets, images, generator(), train)
        assert torch.equal(pixels, kept[0])
        torch.testing.assert_close(targets, kept[1], equal_nan=True, rtol=0, atol=0)


def flat(prepared):
    inputs, targets = prepared
    parts = targets if isinstance(targets, tuple) else (targets,)
    return [inputs, *(part.nan_to_num(-1) for part in parts)]


def test_adopting_draws_nothing_from_the_global_generator(objective):
    state = torch.get_rng_state()
    objective.adopt(images_of(objective.tasks[0]), 3)
    assert (torch.get_rng_state() == state).all()


def test_other_kinds_of_targets_are_refused(objective):
    for task in {"classes", "masks", "findings"} - set(objective.tasks):
        with pytest.raises(ConfigError, match=f"needs .* as targets. toy has {task}"):
            objective.adopt(images_of(task), 0)


def test_a_head_needs_a_stage(objective, images):
    with pytest.raises(ConfigError, match="at least one stage. Got none"):
        objective.head([], images)


def test_objectives_without_labels_take_any_targets():
    for name in ("rotation", "jigsaw", "colorization", "reconstruction"):
        for task in ("classes", "masks", "findings"):
            assert make_objective(name).adopt(images_of(task), 0).task == task


def test_grey_images_work_where_no_colour_is_needed():
    grey = images_of(channels=1)
    for name in ("supervised", "rotation", "jigsaw", "random-labels", "reconstruction"):
        objective = make_objective(name)
        inputs, targets = prepared(objective, objective.adopt(grey, 0), 3)
        loss, _, _ = outcome(objective, grey, inputs, targets)
        assert inputs.shape[1] == 1
        assert loss.isfinite()


def test_makes_nothing_on_another_device(objective, images, monkeypatch):
    monkeypatch.setattr(ImageSet, "__post_init__", lambda self: None)  # which looks at values
    images = images.to("meta")  # shapes only; mixing it with another device fails
    pixels = images.images[:5].float()
    inputs, targets = objective.prepare(pixels, images.targets[:5], images, None, True)
    head = objective.head(STAGES, images).to("meta")
    features = [
        torch.empty(len(inputs), channels, 24 // stride, 24 // stride, device="meta")
        for channels, stride in STAGES
    ]
    outputs = head(features, tuple(inputs.shape[2:]))
    assert objective.loss(outputs, targets).device.type == "meta"
    assert objective.score(outputs, targets).device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_works_where_the_images_are(objective):
    images = objective.adopt(images_of(objective.tasks[0]).to("cuda"), 0)
    pixels = images.pixels(torch.arange(5, device="cuda"))
    draws = torch.Generator("cuda").manual_seed(0)
    inputs, targets = objective.prepare(pixels, images.targets[:5], images, draws, True)
    head = objective.head(STAGES, images).cuda()
    outputs = head([feature.cuda() for feature in features_of(inputs)], tuple(inputs.shape[2:]))
    loss = objective.loss(outputs, targets)
    loss.backward()
    assert loss.device.type == objective.score(outputs, targets).device.type == "cuda"
    assert loss.isfinite()

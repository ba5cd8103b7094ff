from __future__ import annotations

import torch
from objective_toys import STAGES, features_of, generator, images_of
from sklearn.metrics import jaccard_score
from torch.nn import functional

from archrep.data.base import IGNORED
from archrep.objectives.aspp import AsppHead
from archrep.objectives.segmentation import Segmentation, mean_iou


def test_mean_iou_of_a_toy_by_hand():
    targets = torch.tensor([[0, 0, 1, 1], [2, 2, IGNORED, IGNORED]])
    predicted = torch.tensor([[0, 1, 1, 1], [2, 0, 3, 2]])
    # Class 0: 1 of {2 + 2 - 1}; class 1: 2 of 3; class 2: 1 of 2; class 3 only where ignored.
    wanted = (1 / 3 + 2 / 3 + 1 / 2) / 3
    torch.testing.assert_close(mean_iou(predicted, targets, 5), torch.tensor(wanted))


def test_mean_iou_is_that_of_scikit_learn():
    predicted, targets = torch.randint(6, (2, 500), generator=generator())
    wanted = jaccard_score(targets, predicted, average="macro")
    torch.testing.assert_close(mean_iou(predicted, targets, 6), torch.tensor(wanted).float())


def test_nothing_that_counts_costs_nothing():
    outputs = torch.randn(2, 5, 4, 4, generator=generator(), requires_grad=True)
    targets = torch.full((2, 4, 4), IGNORED)
    loss = Segmentation().loss(outputs, targets)
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert loss == 0
    assert gradient.abs().max() == 0
    assert Segmentation().score(outputs, targets) == 0


def test_ignored_pixels_do_not_count():
    outputs = torch.randn(1, 5, 4, 4, generator=generator(), requires_grad=True)
    targets = torch.randint(5, (1, 4, 4), generator=generator())
    targets[0, :2] = IGNORED
    loss = Segmentation().loss(outputs, targets)
    torch.testing.assert_close(loss, functional.cross_entropy(outputs[:, :, 2:], targets[:, 2:]))
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert gradient[:, :, :2].abs().max() == 0


def test_targets_and_outputs_have_the_size_of_the_images():
    images = images_of("masks")
    objective = Segmentation(width=8)
    pixels = images.pixels(torch.arange(2))
    inputs, masks = objective.prepare(pixels, images.targets[:2], images, generator(), True)
    assert masks.dtype == torch.int64
    outputs = objective.head(STAGES, images)(features_of(inputs), (24, 24))
    assert outputs.shape == (2, 5, 24, 24)


class TestAspp:
    def test_has_a_branch_for_each_rate_one_for_the_place_and_one_for_the_whole(self):
        search, evaluation = AsppHead(12, 64, [6], 19), AsppHead(12, 256, [6, 12, 18], 19)
        assert search.joined.conv.in_channels == 3 * 64
        assert evaluation.joined.conv.in_channels == 5 * 256
        weights = sum(weight.numel() for weight in search.parameters())
        by_hand = 12 * 64 * (1 + 9 + 1) + 192 * 64 + 4 * 2 * 64 + 64 * 19 + 19
        assert weights == by_hand

    def test_a_dilated_branch_sees_places_at_its_rate(self):
        branch = AsppHead(4, 8, [2], 3).eval().local[1]
        features = torch.zeros(1, 4, 9, 9)
        features[0, :, 4, 4] = 1
        reached = (branch.conv(features)[0].abs().sum(0) > 0).nonzero().tolist()
        assert reached == [[i, j] for i in (2, 4, 6) for j in (2, 4, 6)]

    def test_logits_are_enlarged_with_aligned_corners(self):
        head = AsppHead(4, 8, [1], 3).eval()
        features = [torch.randn(2, 4, 3, 3, generator=generator())]
        small, large = head(features, (3, 3)), head(features, (7, 7))
        torch.testing.assert_close(large[:, :, ::3, ::3], small)

    def test_one_image_of_one_place_can_be_learned_from(self):
        head = AsppHead(4, 8, [6], 3)
        outputs = head([torch.randn(1, 4, 1, 1, generator=generator())], (2, 2))
        assert outputs.isfinite().all()

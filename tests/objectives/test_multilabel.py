from __future__ import annotations

import math

import pytest
import torch
from objective_toys import generator, images_of
from sklearn.metrics import roc_auc_score

from archrep.data.base import ImageSet
from archrep.errors import ConfigError, ShapeError
from archrep.objectives.multilabel import MultiLabel, auroc


def case(count=300, findings=4, unknown=0.2):
    draws = generator(5)
    targets = torch.randint(2, (count, findings), generator=draws).float()
    outputs = targets + torch.randn(count, findings, generator=draws)
    outputs = (outputs * 2).round() / 2  # with many equals
    targets[torch.rand(count, findings, generator=draws) < unknown] = torch.nan
    return outputs, targets


def test_auroc_is_that_of_scikit_learn():
    outputs, targets = case()
    for n, area in enumerate(auroc(outputs, targets)):
        known = ~targets[:, n].isnan()
        assert math.isclose(area, roc_auc_score(targets[known, n], outputs[known, n]))


def test_score_is_the_mean_over_findings_that_have_both_cases():
    outputs, targets = case()
    targets[:, 1] = 1
    targets[:, 2] = torch.nan
    areas = auroc(outputs, targets)
    assert areas.isnan().tolist() == [False, True, True, False]
    wanted = (areas[0] + areas[3]) / 2
    torch.testing.assert_close(MultiLabel().score(outputs, targets), wanted.float())


def test_without_both_cases_of_any_finding_the_score_is_a_guess():
    assert MultiLabel().score(torch.randn(1, 3), torch.tensor([[0.0, 1.0, torch.nan]])) == 0.5


def test_unknown_findings_cost_nothing():
    outputs, targets = case(6)
    outputs.requires_grad_()
    loss = MultiLabel().loss(outputs, targets)
    known = ~targets.isnan()
    p = outputs.detach().sigmoid()
    each = -(targets * p.log() + (1 - targets) * (1 - p).log())
    torch.testing.assert_close(loss, each[known].mean())
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert gradient.isfinite().all()
    assert gradient[~known].abs().max() == 0
    nothing = torch.full_like(targets, torch.nan)
    assert MultiLabel().loss(outputs, nothing) == 0


def test_findings_that_are_neither_are_refused():
    images = images_of("findings")
    uncertain = images.targets.clone()
    uncertain[2, 2] = -1
    wrong = ImageSet(
        "chest", images.images, uncertain, images.classes, images.mean, images.std, "findings"
    )
    with pytest.raises(ConfigError, match="Findings of chest must be 0, 1 or NaN .* Got -1.0"):
        MultiLabel().adopt(wrong, 0)


def test_shapes_must_be_equal():
    with pytest.raises(ShapeError, match=r"must be \[N, L\]. Got \(3, 2\) and \(3, 1\)"):
        auroc(torch.zeros(3, 2), torch.zeros(3, 1))

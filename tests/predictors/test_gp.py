import math
import warnings

import numpy as np
import pytest
import torch

from archrep.errors import ConfigError, ShapeError
from archrep.predictors.base import standardised
from archrep.predictors.gp import GaussianProcess, _padded

KINDS = [
    {},
    {"kernel": "matern"},
    {"blocks": (2, 3)},
    {"blocks": (2, 3), "each": False, "kernel": "matern"},
]


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 37, 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(3, 37, generator=generator, dtype=torch.float64)
    points = torch.rand(200, 5, generator=generator, dtype=torch.float64)
    return x, torch.sin(3 * x[..., 0]) + x[..., 1] + 0.1 * noise, points


def botorch_model(x, y, process, run):
    """BoTorch's model with the hyper-parameters of one run of ours."""
    from botorch.models import SingleTaskGP

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # labels have population deviation one, not the sample's
        model = SingleTaskGP(x[run], standardised(y)[0][run][:, None], outcome_transform=None)
    width = x.shape[2]
    model.covar_module.lengthscale = process.parameters[run, :width].exp()
    model.likelihood.noise = process.parameters[run, width].exp()
    model.mean_module.constant.data.copy_(process.constant[run])
    return model


def test_the_posterior_is_that_of_botorch_with_the_same_hyper_parameters(data):
    x, y, points = data
    process = GaussianProcess().fit(x, y)
    mean, std = process.predict(points)
    for run in range(3):
        model = botorch_model(x, y, process, run).eval()
        with torch.no_grad():
            wanted = model.posterior(points)
        scale, centre = process.scale[run], process.centre[run]
        torch.testing.assert_close(
            mean[run], wanted.mean[:, 0] * scale + centre, atol=1e-8, rtol=1e-8
        )
        torch.testing.assert_close(
            std[run], wanted.variance[:, 0].sqrt() * scale, atol=1e-8, rtol=1e-8
        )


def test_the_objective_is_that_of_botorch_but_for_a_constant(data):
    from gpytorch import settings
    from gpytorch.mlls import ExactMarginalLogLikelihood

    x, y, _ = data
    differences = []
    for steps in (0, 3, 40):
        process = GaussianProcess(steps=steps).fit(x, y)
        ours, _ = process.objective(process.parameters, *_padded(x, standardised(y)[0]))
        model = botorch_model(x, y, process, 0).train()
        with torch.no_grad(), settings.fast_computations(False, False, False):
            mll = ExactMarginalLogLikelihood(model.likelihood, model)
            theirs = mll(model(x[0]), model.train_targets)
        differences.append(float(ours[0] - theirs))
    # What we leave out: the normalising constants of six log-normal priors.
    constant = 6 * math.log(2 * math.pi) / 2 + 5 * math.log(math.sqrt(3))
    np.testing.assert_allclose(differences, constant / 37, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_objective(data, kind):
    x, y, _ = data
    process = GaussianProcess(steps=3, **kind).fit(x, y)
    theta, padded = process.parameters + 0.1, _padded(x, standardised(y)[0])
    _, gradient = process.objective(theta, *padded)
    for column in range(theta.shape[1]):
        step = torch.zeros_like(theta)
        step[:, column] = 1e-5
        above, below = (process.objective(theta + s * step, *padded)[0] for s in (1, -1))
        torch.testing.assert_close(
            gradient[:, column], (above - below) / 2e-5, atol=1e-7, rtol=1e-5
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_ends_where_the_gradient_vanishes(data, kind):
    x, y, _ = data
    process = GaussianProcess(steps=120, **kind).fit(x, y)
    _, gradient = process.objective(process.parameters, *_padded(x, standardised(y)[0]))
    assert gradient.abs().max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("company", [[0], [1, 0, 2], [2, 2, 1, 1, 0]])
def test_a_run_comes_out_the_same_in_any_company(data, kind, company):
    x, y, points = data
    alone = GaussianProcess(**kind).fit(x[:1], y[:1])
    beside = GaussianProcess(**kind).fit(x[company], y[company])
    place = company.index(0)
    assert torch.equal(alone.parameters[0], beside.parameters[place])
    for ours, theirs in zip(alone.predict(points), beside.predict(points), strict=True):
        assert torch.equal(ours[0], theirs[place])


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_moments_of_the_posterior(data, kind):
    x, y, points = data
    process = GaussianProcess(**kind).fit(x, y)
    rng, few = np.random.default_rng(0), points[:20]
    draws = torch.stack([process.sample_run(0, few, rng) for _ in range(800)])
    mean, std = process.predict_run(0, few)
    assert ((draws.mean(0) - mean).abs() < 5 * std / math.sqrt(800) + 0.02).all()
    torch.testing.assert_close(draws.std(0), std, atol=0.01, rtol=0.2)


def test_means_without_deviations_are_the_same(data):
    x, y, points = data
    process = GaussianProcess(chunk=64).fit(x, y)
    torch.testing.assert_close(process.predict_mean_run(1, points), process.predict(points)[0][1])


def test_matern_is_the_kernel_of_scikit_learn(data):
    from sklearn.gaussian_process.kernels import Matern

    x, y, points = data
    process = GaussianProcess(kernel="matern").fit(x, y)
    lengths = process.parameters[0, :5].exp().numpy()
    wanted = Matern(length_scale=lengths, nu=2.5)(points.numpy(), x[0].numpy())
    np.testing.assert_allclose(process._cross(0, points)[:, :37].numpy(), wanted, atol=1e-12)


def test_hyper_parameters_of_many_labels_are_those_of_the_first(data):
    x, y, _ = data
    few = GaussianProcess(most=20).fit(x, y)
    assert few.predict(x[0])[0].shape == (3, 37)
    scaled = standardised(y)[0][:, :20]
    first = GaussianProcess(steps=0).fit(x[:, :20], scaled)
    first.steps = 40
    first._climb(*_padded(x[:, :20], scaled))
    torch.testing.assert_close(few.parameters, first.parameters)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ({"kernel": "cubic"}, "`kernel` must be rbf or matern. Got 'cubic'"),
        ({"most": 0}, "must be at least 1. Got 40, 0, 4096"),
    ],
)
def test_impossible_settings_are_refused(kind, text):
    with pytest.raises(ConfigError, match=text):
        GaussianProcess(**kind)


def test_blocks_that_do_not_fit_are_refused(data):
    x, y, _ = data
    with pytest.raises(ConfigError, match=r"add up to the 5 columns. Got \(2, 2\)"):
        GaussianProcess(blocks=(2, 2)).fit(x, y)


def test_labels_of_another_shape_are_refused(data):
    x, y, _ = data
    with pytest.raises(ShapeError, match=r"must be \[R, n, D\] and \[R, n\]"):
        GaussianProcess().fit(x, y[:, :5])

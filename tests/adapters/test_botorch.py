import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from botorch.acquisition import LogExpectedImprovement, qLogExpectedImprovement
from botorch.optim import optimize_acqf, optimize_acqf_discrete
from linear_operator.utils.warnings import NumericalWarning

from archrep.adapters.botorch import DngoModel
from archrep.errors import ConfigError, ShapeError
from archrep.predictors.adaptive_basis import Scorer, regress, train
from archrep.seeding import numpy_stream
from archrep.strategies.acquisition import log_expected_improvement

FEW = {"hidden": 32, "epochs": 40}


@pytest.fixture(scope="module")
def data():
    """40 data of a smooth function, in the unit of accuracies, and 500 candidates."""
    rng = np.random.default_rng(1)
    inputs = torch.from_numpy(rng.standard_normal((540, 4)))
    values = 0.9 + 0.02 * (inputs[:, :1].sin() - inputs[:, 1:2].square() / 4)
    return inputs[:40], values[:40], inputs[40:]


@pytest.fixture(scope="module")
def model(data):
    return DngoModel(data[0], data[1], seed=3, **FEW)


@pytest.fixture(scope="module")
def ours(data):
    """Network and regression of the strategies, on standardised values."""
    inputs, values = data[0].float()[None], data[1][None, :, 0]
    targets = (values - values.mean()) / values.std(correction=0)
    network = train(inputs, targets.float(), [numpy_stream(3, "botorch/dngo")], **FEW)
    units = _units(network, data[0])
    return network, regress(units[None], targets)


def _units(network, inputs):
    ones = torch.ones(len(inputs), 1)
    return (torch.cat([inputs, ones], 1).double() @ network.folded()[0].double()).tanh()


@pytest.mark.parametrize("noisy", [False, True])
def test_moments_are_those_of_the_regression_in_the_unit_of_the_values(data, model, ours, noisy):
    network, regression = ours
    mean, std = regression.predict(_units(network, data[2])[None])
    variance = std[0].square() - (0 if noisy else regression.noise)
    scale = data[1].std(correction=0)
    found = model.posterior(data[2][:, None], observation_noise=noisy)
    torch.testing.assert_close(found.mean[:, 0, 0], data[1].mean() + scale * mean[0])
    torch.testing.assert_close(found.variance[:, 0, 0], scale.square() * variance)


def test_best_candidate_of_botorch_is_that_of_our_scorer(data, model, ours):
    network, regression = ours
    candidates, best = data[2], data[1].max()
    scale = data[1].std(correction=0)

    def score(mean, std):
        return log_expected_improvement(mean, std, float((best - data[1].mean()) / scale))

    scorer = Scorer(candidates.numpy(), np.arange(len(candidates)))
    silent = replace(regression, noise=torch.zeros_like(regression.noise))
    [[row]] = scorer.best(network, silent, [score], None, 1)
    # A scorer sees float32.
    choices = candidates.float().double()
    chosen, _ = optimize_acqf_discrete(
        LogExpectedImprovement(model, best_f=best), q=1, choices=choices
    )
    torch.testing.assert_close(chosen[0], choices[row])


def test_points_of_a_batch_are_jointly_normal_as_draws_of_the_weights_say(data, model, ours):
    network, regression = ours
    units = _units(network, data[2][:3])
    along = torch.randn(200_000, 32, generator=torch.Generator().manual_seed(0)).double()
    weights = regression.mean + (along * regression.spread.sqrt()) @ regression.basis[0].T
    drawn = torch.cov((weights @ units.T).T) * data[1].std(correction=0) ** 2
    found = model.posterior(data[2][:3]).distribution.covariance_matrix
    torch.testing.assert_close(found, drawn, rtol=0.05, atol=float(drawn.diag().max()) * 0.02)


def test_gradients_reach_the_inputs(data, model):
    where = data[2][:4].clone().requires_grad_()

    def moments(x):
        posterior = model.posterior(x[:, None])
        return posterior.mean, posterior.variance

    assert torch.autograd.gradcheck(moments, where)


def test_batches_and_continuous_optimisation_work(data, model):
    best = data[1].max()
    batch, _ = optimize_acqf_discrete(
        qLogExpectedImprovement(model, best_f=best), q=3, choices=data[2][:50]
    )
    assert len(batch.unique(dim=0)) == 3
    bounds = torch.stack([data[2].min(0).values, data[2].max(0).values])
    torch.manual_seed(0)
    acquisition = LogExpectedImprovement(model, best_f=best)
    _, value = optimize_acqf(acquisition, bounds, q=1, num_restarts=4, raw_samples=32)
    assert value > acquisition(data[2][:, None]).max()


def test_equal_seeds_give_equal_models_and_leave_global_randomness_alone(data, model):
    before = torch.random.get_rng_state()
    again = DngoModel(data[0], data[1], seed=3, **FEW)
    assert torch.equal(before, torch.random.get_rng_state())
    for name, part in model.state_dict().items():
        assert torch.equal(part, again.state_dict()[name])
    assert not torch.equal(model.mean, DngoModel(data[0], data[1], seed=4, **FEW).mean)


def test_a_posterior_comes_in_the_type_of_the_points(data, model):
    assert model.posterior(data[2][:2].float()).mean.dtype == torch.float32


def test_equal_points_and_constant_data_have_a_posterior(data, model):
    points = data[2][:1].expand(4, -1)
    with pytest.warns(NumericalWarning, match="added jitter"):
        drawn = model.posterior(points).rsample(torch.Size([5]))
    assert drawn.shape == (5, 4, 1)
    # Equal points have equal values, up to the jitter of the decomposition.
    assert drawn.std(1).max() < 0.05 * model.posterior(points).variance.max().sqrt() + 1e-2
    constant = DngoModel(torch.ones(6, 2), torch.full((6, 1), 3.0))
    assert constant.posterior(torch.ones(2, 2)).mean.flatten().tolist() == [3.0, 3.0]


class TestBadInput:
    @pytest.mark.parametrize(
        ("inputs", "values"),
        [((5, 2), (5,)), ((5, 2), (4, 1)), ((1, 5, 2), (1, 5, 1)), ((0, 2), (0, 1))],
    )
    def test_data_of_other_shapes(self, inputs, values):
        with pytest.raises(ShapeError, match=r"must be \[n, D\] and `train_Y` \[n, 1\]. Got"):
            DngoModel(torch.zeros(inputs), torch.zeros(values))

    def test_data_that_are_not_finite(self):
        with pytest.raises(ShapeError, match="must be finite"):
            DngoModel(torch.zeros(3, 2), torch.full((3, 1), torch.nan))

    @pytest.mark.parametrize("inputs", [np.zeros((3, 2)), torch.zeros(3, 2, dtype=torch.int64)])
    def test_data_of_another_kind(self, inputs, model):
        with pytest.raises(ShapeError, match="must be a tensor of floating-point numbers. Got"):
            DngoModel(inputs, torch.zeros(3, 1))
        with pytest.raises(ShapeError, match="must be a tensor of floating-point numbers. Got"):
            model.posterior(inputs)

    def test_points_that_are_not_finite(self, model):
        with pytest.raises(ShapeError, match="`X` must be finite"):
            model.posterior(torch.full((3, 4), torch.nan))

    @pytest.mark.parametrize(
        "setting",
        [
            *({"hidden": 20}, {"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}),
            *({"hidden": 16.0}, {"epochs": "3"}, {"seed": -1}, {"learning_rate": math.nan}),
        ],
    )
    def test_impossible_settings(self, setting):
        with pytest.raises(ConfigError, match="`hidden` must be a positive multiple of 16"):
            DngoModel(torch.zeros(3, 2), torch.zeros(3, 1), **setting)

    def test_points_of_another_width(self, model):
        with pytest.raises(ShapeError, match=r"must be \[..., q, 4\]. Got \(3, 5\)"):
            model.posterior(torch.zeros(3, 5))

    def test_noise_as_a_tensor(self, model):
        with pytest.raises(ConfigError, match="infers the noise. Got Tensor"):
            model.posterior(torch.zeros(3, 4), observation_noise=torch.ones(3, 1))

    def test_another_output(self, model):
        with pytest.raises(ConfigError, match=r"must be \[0\]. Got \[1\]"):
            model.posterior(torch.zeros(3, 4), output_indices=[1])

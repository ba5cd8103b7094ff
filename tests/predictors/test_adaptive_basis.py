"""DNGO's network, its Bayesian regression and the search for the best of all candidates."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import BayesianRidge

from archrep.predictors.adaptive_basis import (
    BayesianRegression,
    Network,
    Scorer,
    _Posterior,
    largest_evidence,
    regress,
    train,
)
from archrep.strategies.acquisition import expected_improvement, log_expected_improvement


def problem(runs, count, width, seed=0):
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.standard_normal((runs, count, width)).astype(np.float32))
    values = torch.from_numpy(rng.standard_normal((runs, count)).astype(np.float32))
    return features, values


def fitted(runs, count, width, hidden=32, epochs=20, seeds=None):
    features, values = problem(runs, count, width)
    rngs = [np.random.default_rng(seed) for seed in seeds or range(runs)]
    network = train(features, values, rngs, hidden=hidden, epochs=epochs)
    ones = torch.ones(runs, count, 1)
    units = torch.tanh(torch.cat([features, ones], 2).double() @ network.folded().double())
    return network, regress(units, values)


class TestTraining:
    def test_is_the_step_that_autograd_and_torchs_adam_take(self):
        features, values = problem(1, 10, 3)
        network = train(features, values, [np.random.default_rng(0)], hidden=16, epochs=7)
        # The same draws, through a module of torch's own.
        rng = np.random.default_rng(0)
        drawn = torch.from_numpy(rng.uniform(-1, 1, 5 * 16 + 1).astype(np.float32))
        hidden, out = torch.nn.Linear(3, 16), torch.nn.Linear(16, 1)
        with torch.no_grad():
            first = drawn[: 4 * 16].view(4, 16) / 3**0.5
            hidden.weight.copy_(first[:3].T)
            hidden.bias.copy_(first[3])
            out.weight.copy_(drawn[4 * 16 : 5 * 16][None] / 4)
            out.bias.copy_(drawn[-1:] / 4)
        adam = torch.optim.Adam([*hidden.parameters(), *out.parameters()], lr=1e-2)
        inputs = (features[0] - features[0].mean(0)) / features[0].std(0, correction=0)
        for _ in range(7):  # one batch holds all, so that its order does not matter
            adam.zero_grad()
            guess = out(torch.tanh(hidden(inputs)))[:, 0]
            (guess - values[0]).square().mean().backward()
            adam.step()
        torch.testing.assert_close(
            network.weight[0, :3].T, hidden.weight.detach(), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(network.weight[0, 3], hidden.bias.detach(), atol=1e-5, rtol=0)

    @pytest.mark.parametrize("count", [5, 23, 40])
    def test_a_run_is_the_same_to_the_bit_in_any_company(self, count):
        features, values = problem(11, count, 5)
        together = train(features, values, [np.random.default_rng(s) for s in range(11)])
        for chosen in ([3], [10, 3], [3, 0, 1, 2, 5, 9, 4, 8]):
            part = torch.tensor(chosen)
            some = train(
                features[part].contiguous(),
                values[part].contiguous(),
                [np.random.default_rng(s) for s in chosen],
            )
            assert torch.equal(some.weight, together.weight[part])

    def test_learns_a_smooth_function(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((1, 200, 4)).astype(np.float32)
        y = np.sin(x[:, :, 0]) + x[:, :, 1] * 0.5
        features, values = torch.from_numpy(x), torch.from_numpy(y.astype(np.float32))
        network = train(features, values, [np.random.default_rng(1)])
        units = torch.tanh(torch.cat([features, torch.ones(1, 200, 1)], 2) @ network.folded())
        mean, _ = regress(units, values).predict(units.double())
        assert (mean[0] - values[0]).square().mean() < 0.02 * values.var()

    def test_folded_weights_are_those_of_standardised_inputs(self):
        features, values = problem(2, 12, 3)
        network = train(
            features, values, [np.random.default_rng(s) for s in (0, 1)], hidden=16, epochs=2
        )
        ones = torch.ones(2, 12, 1)
        scaled = (features - network.centre[:, None]) / network.scale[:, None]
        torch.testing.assert_close(
            torch.cat([features, ones], 2) @ network.folded(),
            torch.cat([scaled, ones], 2) @ network.weight,
            atol=1e-5,
            rtol=1e-5,
        )

    def test_a_constant_input_does_not_divide_by_zero(self):
        features, values = problem(1, 12, 3)
        features[:, :, 1] = 7.0
        network = train(features, values, [np.random.default_rng(0)], hidden=16, epochs=2)
        assert torch.isfinite(network.folded()).all()


class TestRegression:
    def test_is_that_of_scikit_learn_at_its_precisions(self):
        rng = np.random.default_rng(0)
        units = rng.standard_normal((60, 8))
        values = units @ rng.standard_normal(8) + 0.3 * rng.standard_normal(60)
        flat = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0.0)  # no prior
        oracle = BayesianRidge(fit_intercept=False, tol=1e-10, max_iter=10_000, **flat)
        oracle.fit(units, values)
        ours = regress(torch.from_numpy(units)[None], torch.from_numpy(values)[None])
        new = rng.standard_normal((5, 8))
        mean, std = ours.predict(torch.from_numpy(new)[None])
        expected, deviation = oracle.predict(new, return_std=True)
        np.testing.assert_allclose(mean[0], expected, rtol=1e-4)
        np.testing.assert_allclose(std[0], deviation, rtol=1e-3)

    def test_maximises_the_evidence_as_written_by_bishop(self):
        rng = np.random.default_rng(1)
        units = rng.standard_normal((30, 5))
        values = units @ rng.standard_normal(5) + rng.standard_normal(30)
        gram = units.T @ units
        eigenvalues, vectors = np.linalg.eigh(gram)
        along = vectors.T @ units.T @ values

        def evidence(alpha, beta):  # Bishop (2006), Eq. 3.86
            precision = alpha * np.eye(5) + beta * gram
            mean = beta * np.linalg.solve(precision, units.T @ values)
            error = beta / 2 * np.sum((values - units @ mean) ** 2) + alpha / 2 * mean @ mean
            return (
                2.5 * math.log(alpha) + 15 * math.log(beta) - error
                - np.linalg.slogdet(precision)[1] / 2 - 15 * math.log(2 * math.pi)
            )  # fmt: skip

        parts = (eigenvalues, along, np.sum(values**2, keepdims=False)[None])
        tensors = [torch.from_numpy(np.atleast_1d(p)) for p in parts]
        alpha, beta = largest_evidence(tensors[0][None], tensors[1][None], tensors[2], 30, 5)
        best = evidence(alpha.item(), beta.item())
        for factor in (0.9, 0.99, 1.01, 1.1):
            assert evidence(alpha.item() * factor, beta.item()) <= best + 1e-6
            assert evidence(alpha.item(), beta.item() * factor) <= best + 1e-6


class TestBestOfAll:
    def brute(self, features, network, regression, run, score, excluded, classes, count):
        inputs = np.concatenate([features, np.ones((len(features), 1), np.float32)], 1)
        units = np.tanh(inputs.astype(float) @ network.folded()[run].double().numpy())
        mean = units @ regression.mean[run].numpy()
        along = units @ regression.basis[run].numpy()
        variance = regression.noise[run].item() + along**2 @ regression.spread[run].numpy()
        scores = score(torch.from_numpy(mean), torch.from_numpy(variance).sqrt()).numpy()
        rows, seen = [], set()
        for row in np.argsort(-scores, kind="stable"):
            if not excluded[row] and classes[row] not in seen and len(rows) < count:
                rows.append(row)
                seen.add(classes[row])
        return rows

    @pytest.mark.parametrize("count", [1, 5])
    @pytest.mark.parametrize("same", [1, 4])
    @pytest.mark.parametrize("half", [False, True])
    def test_is_what_all_variances_would_give(self, count, same, half):
        network, regression = fitted(3, 30, 4)
        rng = np.random.default_rng(7)
        features = rng.standard_normal((5000, 4)).astype(np.float32)
        excluded = rng.random((3, 5000)) < 0.3
        classes = np.arange(5000) // same
        score = [lambda m, s, b=b: log_expected_improvement(m, s, b) for b in (1.0, 2.0, 0.5)]
        scorer = Scorer(features, classes, half=half)
        found = scorer.best(network, regression, score, excluded, count)
        for run in range(3):
            brute = self.brute(
                features, network, regression, run, score[run], excluded[run], classes, count
            )
            assert found[run].tolist() == brute
        assert scorer.exactly < 3 * 500  # it left most out

    @pytest.mark.parametrize("half", [False, True])
    def test_bounds_hold_and_are_close(self, half):
        network, regression = fitted(1, 30, 4)
        features = np.random.default_rng(7).standard_normal((5000, 4)).astype(np.float32)
        scorer = Scorer(features, np.arange(5000), half=half)
        parts = (part[0] for part in regression.parts())
        posterior = _Posterior(network.folded()[0], *parts)
        mean, bound = scorer._bounds(posterior)
        exact, deviation = posterior.exact(scorer.inputs)
        torch.testing.assert_close(mean.double(), exact, atol=1e-5, rtol=1e-5)
        assert (bound >= deviation).all()
        assert (bound / deviation).median() < (1.6 if half else 1.01)

    def test_does_not_depend_on_the_other_runs_or_on_chunks(self):
        network, regression = fitted(3, 30, 4)
        features = np.random.default_rng(7).standard_normal((3000, 4)).astype(np.float32)
        score = [lambda m, s: log_expected_improvement(m, s, 1.0)] * 3
        together = Scorer(features, np.arange(3000)).best(network, regression, score, None, 5)
        part = slice(1, 2)
        alone = Scorer(features, np.arange(3000), chunk=100).best(
            Network(network.weight[part], network.centre[part], network.scale[part]),
            BayesianRegression(*(values[part] for values in regression.parts())),
            score[:1],
            None,
            5,
        )
        assert alone.tolist() == together[1:2].tolist()

    def test_repeats_candidates_once_too_few_are_left(self):
        network, regression = fitted(1, 30, 4)
        features = np.random.default_rng(7).standard_normal((50, 4)).astype(np.float32)
        excluded = np.ones((1, 50), bool)
        excluded[0, [4, 9]] = False
        score = [lambda m, s: log_expected_improvement(m, s, 1.0)]
        found = Scorer(features, np.arange(50)).best(network, regression, score, excluded, 5)
        assert set(found[0].tolist()) == {4, 9}
        excluded[:] = True
        found = Scorer(features, np.arange(50)).best(network, regression, score, excluded, 5)
        assert found.shape == (1, 5)


class TestAcquisition:
    def test_expected_improvement_at_the_incumbent_is_std_over_root_two_pi(self):
        found = expected_improvement(torch.tensor(0.9), torch.tensor(0.1), best=0.9)
        torch.testing.assert_close(found, torch.tensor(0.1 / math.sqrt(2 * math.pi)))

    def test_logarithm_agrees_with_botorch_from_certain_loss_to_certain_gain(self):
        from botorch.acquisition.analytic import _log_ei_helper

        u = torch.cat([-torch.logspace(6, -3, 200), torch.logspace(-3, 2, 100)]).double()
        found = log_expected_improvement(u, torch.ones_like(u), 0.0)
        torch.testing.assert_close(found, _log_ei_helper(u), rtol=1e-9, atol=1e-9)

    def test_logarithm_is_that_of_expected_improvement(self):
        mean, std = torch.linspace(-3, 3, 50).double(), torch.full((50,), 0.7).double()
        torch.testing.assert_close(
            log_expected_improvement(mean, std, 0.2).exp(), expected_improvement(mean, std, 0.2)
        )

"""archrep's own strategy against scikit-learn's Gaussian process, and what it promises."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.encodings import adjacency_encoding, function_encoding
from archrep.errors import ConfigError
from archrep.search import SearchConfig, prepare
from archrep.strategies.structure_gp import StructureGp, StructureGpConfig, warp
from archrep.tables import open_table


@pytest.fixture(scope="module")
def candidates():
    table = open_table("digits")
    whole = Candidates.of_table(table)
    rows = np.arange(0, 15625, 9)
    labels, first = np.unique(whole.classes[rows], return_index=True)
    classes = first[np.searchsorted(labels, whole.classes[rows])]
    return Candidates(whole.space, whole.cells[rows], rows, classes)


@pytest.fixture(scope="module")
def score(candidates):
    return open_table("digits").column("valid_accuracy")[candidates.positions]


def play(strategy, score, steps):
    for _ in range(steps):
        rows = strategy.ask().rows
        strategy.tell(rows, score[rows])
    return strategy.rows


class Written(Kernel):
    """The kernel of the module's docstring, term by term, over row numbers."""

    def __init__(self, function, spelling, trend):
        self.function, self.spelling, self.trend = function, spelling, trend

    def __call__(self, x, y=None, eval_gradient=False):
        a, b = x[:, 0].astype(int), (x if y is None else y)[:, 0].astype(int)
        far = ((self.function[a][:, None] - self.function[b]) ** 2).mean(2)
        apart = ((self.spelling[a][:, None] - self.spelling[b]) ** 2).mean(2)
        r = np.sqrt(5 * far) / 0.3
        matern = (1 + r + r**2 / 3) * np.exp(-r)
        near = np.exp(-apart / (2 * 0.35**2))
        return 0.8 * matern * np.exp(-apart / 2) + 0.2 * near + self.trend[a] @ self.trend[b].T

    def diag(self, x):
        return np.diag(self(x))

    def is_stationary(self):
        return False


def test_posterior_is_that_of_scikit_learn(candidates, score):
    strategy = StructureGp(candidates, seeds=[0])
    play(strategy, score, 16)
    strategy._fit()
    mean, std = strategy._posteriors[0]
    size = np.log(candidates.space.params(candidates.cells))
    trend = np.stack([np.full(len(size), 2.0), (size - size.mean()) / size.std()], 1)
    kernel = Written(
        np.sqrt(function_encoding(candidates.cells)).astype(float),
        adjacency_encoding(candidates.cells).astype(float),
        trend,
    )
    rows, target = strategy.rows[0], warp(strategy.values[0])
    inputs = np.arange(len(size))[:, None]
    fits = []
    for noise in (0.001, 0.01, 0.1):
        oracle = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)
        oracle.fit(rows[:, None], target)
        weights = oracle.alpha_
        scale = target @ weights / len(rows)
        likelihood = -len(rows) / 2 * np.log(scale) - np.log(np.diag(oracle.L_)).sum()
        expected, deviation = oracle.predict(inputs, return_std=True)
        fits.append((likelihood, expected, deviation * np.sqrt(scale)))
    _, expected, deviation = max(fits, key=lambda fit: fit[0])
    np.testing.assert_allclose(mean, expected, atol=2e-3)
    far = deviation > 0.05  # float32 covariances leave little of the deviation at known cells
    np.testing.assert_allclose(std[torch.from_numpy(far)], deviation[far], rtol=2e-2)


def test_values_are_warped_around_their_median_and_cut_off_below():
    values = np.array([0.1, 0.8, 0.9, 0.92, 0.94])
    warped = warp(values)
    assert warped[2] == 0
    assert warped.min() == -2
    assert (np.diff(warped) >= 0).all()
    np.testing.assert_allclose(warp(np.full(4, 0.7)), 0)


def test_begins_with_large_cells_and_asks_for_no_class_twice(candidates, score):
    strategy = StructureGp(candidates, seeds=range(3), config=StructureGpConfig(batch=2))
    rows = play(strategy, score, 8)
    size = candidates.space.params(candidates.cells)
    assert np.median(size[rows[:, :10]]) > np.quantile(size, 0.97)
    for run in rows:
        assert len(set(candidates.classes[run].tolist())) == len(run)


def test_a_run_is_the_same_in_any_company_and_after_its_state_was_kept(candidates, score):
    together = play(StructureGp(candidates, seeds=range(4)), score, 12)
    assert (play(StructureGp(candidates, seeds=[2]), score, 12) == together[2:3]).all()
    first = StructureGp(candidates, seeds=[1, 2])
    play(first, score, 7)
    second = StructureGp(candidates, seeds=[8, 9])
    second.load_state(first.state())
    assert (play(second, score, 5) == together[1:3]).all()
    third = StructureGp(candidates, seeds=[1, 2, 3])
    play(third, score, 6)
    third.keep(np.array([False, True, True]))
    assert (play(third, score, 6) == together[2:4]).all()


def test_beats_random_search_by_far_on_digits(candidates, score):
    strategy = StructureGp(candidates, seeds=range(5))
    play(strategy, score, 21)
    best_of_random = [
        score[np.random.default_rng(seed).integers(len(score), size=30)].max() for seed in range(50)
    ]
    assert strategy.values.max(1).mean() > np.mean(best_of_random) + 0.5 * np.std(best_of_random)


def test_transfer_needs_a_table_of_the_same_space():
    space = get_space("nats-size")
    cells = space.enumerate()[:100]
    strategy = StructureGp(
        Candidates(space, cells, np.arange(100), np.arange(100)),
        seeds=[0],
        config=StructureGpConfig(transfer="digits"),
    )
    strategy.tell(np.arange(10)[None], np.arange(10.0)[None])
    with pytest.raises(ConfigError, match="`transfer` must be a table of .* 'digits' is of NAS-B"):
        strategy.ask()


def test_a_resumed_search_has_the_same_posterior_to_the_bit(candidates, score):
    live = StructureGp(candidates, seeds=[0, 1])
    play(live, score, 40)
    live.keep(np.array([True, True]))
    resumed = StructureGp(candidates, seeds=[0, 1])
    resumed.load_state(live.state())
    live._fit()
    resumed._fit()
    for ours, theirs in zip(live._posteriors, resumed._posteriors, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_transfer_from_the_table_that_is_searched_is_refused():
    config = SearchConfig(
        table="digits", strategy="archrep", settings={"transfer": "digits"}, queries=5
    )
    with pytest.raises(ConfigError, match="known beforehand"):
        prepare(config)

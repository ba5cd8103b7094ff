"""arch2vec-BO: what its presets do and do not repeat of the published code."""

import math

import numpy as np
import pytest
import torch

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.encodings import encode
from archrep.errors import ConfigError, UnknownNameError
from archrep.strategies import get_strategy, settings
from archrep.strategies.dngo import Dngo, DngoConfig, published_precisions


@pytest.fixture(scope="module")
def candidates():
    space = get_space("nasbench201")
    rows = np.arange(0, 15625, 25)
    cells = space.enumerate()[rows]
    classes = np.arange(len(rows)) // 2  # as if any two neighbours computed the same
    return encode(Candidates(space, cells, rows, 2 * classes), "adjacency")


def play(strategy, rounds):
    vectors = strategy.candidates.vectors
    score = np.tanh(vectors @ np.random.default_rng(5).standard_normal(vectors.shape[1]) / 3)
    asked = []
    for _ in range(rounds):
        rows = strategy.ask().rows
        asked.append(rows)
        strategy.tell(rows, score[rows])
    return np.concatenate(asked, 1)


FAST = {"initial": 6, "batch": 3, "epochs": 5, "hidden": 16}


@pytest.mark.parametrize("acquisition", ["ei", "ucb", "thompson"])
def test_proposes_no_cell_twice_nor_two_of_a_class(candidates, acquisition):
    strategy = Dngo(candidates, seeds=[0, 1], config=DngoConfig(**FAST, acquisition=acquisition))
    rows = play(strategy, 6)
    assert rows.shape == (2, 6 + 5 * 3)
    for run in rows:
        assert len(set(candidates.classes[run].tolist())) == len(run)


def test_finds_better_cells_than_it_began_with(candidates):
    strategy = Dngo(candidates, seeds=range(5), config=DngoConfig(initial=10, batch=2, epochs=40))
    play(strategy, 8)
    assert strategy.values[:, 10:].mean() > strategy.values[:, :10].mean() + 0.3


def test_the_published_preset_pays_for_repeats_and_the_default_does_not():
    assert Dngo.presets["arch2vec-2020"].charge_repeats
    assert not DngoConfig().charge_repeats


def test_the_published_acquisition_divides_by_the_variance(candidates):
    strategy = Dngo(candidates, seeds=[0], config=Dngo.presets["arch2vec-2020"])
    mean, std = torch.tensor([0.94]).double(), torch.tensor([0.1]).double()
    variance = 0.01
    u = (0.94 - 0.95) / variance
    phi, cumulative = math.exp(-u * u / 2) / math.sqrt(2 * math.pi), (1 + math.erf(u / 2**0.5)) / 2
    expected = variance * (phi + u * cumulative)
    assert strategy._score(0.95)(mean, std).exp().item() == pytest.approx(expected)


def test_the_published_likelihood_is_the_one_the_spec_describes():
    """Checked through its effect: Nelder and Mead end at a point no worse than the start."""
    rng = np.random.default_rng(0)
    units = rng.standard_normal((20, 16))
    values = rng.standard_normal(20)
    eigenvalues, vectors = np.linalg.eigh(units.T @ units)
    along = vectors.T @ units.T @ values

    def likelihood(alpha, beta):
        precision = beta * units.T @ units + alpha * np.eye(16)
        mean = beta * np.linalg.solve(precision, units.T @ values)
        result = 16 / 2 * math.log(alpha) + 20 / 2 * math.log(beta) - 20 / 2 * math.log(2 * math.pi)
        result -= beta / 2 * np.linalg.norm(values - units @ mean) + alpha / 2 * mean @ mean
        return result - math.log(np.linalg.det(precision) + 1e-10) / 2

    choose = published_precisions([np.random.default_rng(3)])
    tensors = (torch.from_numpy(eigenvalues)[None], torch.from_numpy(along)[None])
    alpha, beta = choose(*tensors, torch.tensor([values @ values]), 20, 16)
    best = likelihood(alpha.item(), beta.item())
    for a in (0.8, 1, 1.25):
        for b in (0.8, 1, 1.25):
            beta_near = beta.item() * b
            if abs(math.log(beta_near)) < 10 and abs(math.log(alpha.item() * a)) < 10:
                assert likelihood(alpha.item() * a, beta_near) <= best + 1e-3


def test_settings_come_as_text_and_say_what_is_wrong():
    config = settings(
        get_strategy("dngo"), "paper", {"batch": "2", "best": "0.9", "repeats": "true"}
    )
    assert (config.batch, config.best, config.repeats) == (2, 0.9, True)
    with pytest.raises(UnknownNameError, match="Settings of 'dngo' are: initial, batch"):
        settings(get_strategy("dngo"), None, {"size": "3"})
    with pytest.raises(UnknownNameError, match="Presets of 'dngo' are: paper, paper-nasbench201"):
        settings(get_strategy("dngo"), "papers")
    with pytest.raises(ConfigError, match="`batch` must be of type int. Got 'many'"):
        settings(get_strategy("dngo"), None, {"batch": "many"})
    for wrong in ("2.5", 2.5, True, None):
        with pytest.raises(ConfigError, match="`batch` must be of type int"):
            settings(get_strategy("dngo"), None, {"batch": wrong})
    assert settings(get_strategy("dngo"), "arch2vec-2020", {"best": "none"}).best is None
    assert settings(get_strategy("bohb"), None, {"schedules": "12,200"}).schedules == (12, 200)
    with pytest.raises(ConfigError, match="`hidden` must be a positive multiple of 16. Got 20"):
        DngoConfig(hidden=20)


def test_needs_an_encoding(candidates):
    plain = Candidates(candidates.space, candidates.cells, candidates.positions, candidates.classes)
    with pytest.raises(ConfigError, match="needs an encoding of the cells"):
        Dngo(plain, seeds=[0])

from dataclasses import replace

import numpy as np
import pytest
import torch

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.encodings import encode
from archrep.errors import ConfigError
from archrep.strategies.acquisition import log_expected_improvement
from archrep.strategies.gp import Gp, GpConfig

NB201 = get_space("nasbench201")
CLASSES = NB201.topology_classes()
QUICK = GpConfig(initial=8, batch=2, steps=10, refit_steps=3)


@pytest.fixture(scope="module")
def candidates():
    plain = Candidates(NB201, NB201.enumerate(), np.arange(NB201.size), CLASSES)
    return encode(plain, "adjacency")


def accuracy(candidates, rows):
    return (candidates.cells.ops[rows] == 2).mean(-1)


def run(strategy, rounds):
    for _ in range(rounds):
        rows = strategy.ask().rows
        strategy.tell(rows, accuracy(strategy.candidates, rows))
    return strategy


@pytest.fixture(scope="module")
def some(candidates):
    rows = np.arange(0, NB201.size, 8)
    _, first, inverse = np.unique(CLASSES[rows], return_index=True, return_inverse=True)
    return encode(Candidates(NB201, candidates.cells[rows], rows, first[inverse]), "adjacency")


@pytest.mark.parametrize("acquisition", ["ei", "ucb", "thompson"])
def test_runs_in_any_company_propose_what_they_propose_alone(some, acquisition):
    candidates = some
    config = replace(QUICK, acquisition=acquisition)
    together = run(Gp(candidates, seeds=[3, 1, 4, 1, 5], config=config), 4)
    for place, seed in ((0, 3), (1, 1), (4, 5)):
        alone = run(Gp(candidates, seeds=[seed], config=config), 4)
        assert (alone.rows[0] == together.rows[place]).all()
    assert (together.rows[1] == together.rows[3]).all()


def test_a_round_takes_the_best_candidates_one_of_a_class(candidates):
    strategy = run(Gp(candidates, seeds=[0, 1], config=replace(QUICK, batch=6)), 2)
    model, taken = strategy.fit(), strategy.taken.copy()
    rows = strategy.ask().rows
    for place in range(2):
        mean, std = model.predict_run(place, strategy.points)
        score = log_expected_improvement(mean, std, mean[strategy.rows[place]].max()).numpy()
        wanted: list[int] = []
        for row in np.argsort(-score):
            if not taken[place, row] and CLASSES[row] not in CLASSES[wanted]:
                wanted.append(row)
            if len(wanted) == 6:
                break
        np.testing.assert_allclose(score[rows[place]], score[wanted])
        assert len(set(CLASSES[rows[place]])) == 6


def test_no_class_is_asked_for_twice(candidates):
    strategy = run(Gp(candidates, seeds=[0], config=QUICK), 6)
    assert len(set(CLASSES[strategy.rows[0]])) == strategy.rows.shape[1]


def test_it_finds_better_cells_than_chance(candidates):
    strategy = run(Gp(candidates, seeds=range(5), config=QUICK), 10)
    assert strategy.values[:, 8:].mean() > strategy.values[:, :8].mean() + 0.2


def test_it_goes_on_from_its_state_as_if_nothing_had_happened(candidates):
    strategy = run(Gp(candidates, seeds=[0, 1], config=QUICK), 3)
    other = Gp(candidates, seeds=[8, 9], config=QUICK)
    other.load_state(strategy.state())
    assert (run(other, 2).rows == run(strategy, 2).rows).all()


def test_runs_that_are_kept_go_on_as_before(candidates):
    strategy = run(Gp(candidates, seeds=[0, 1, 2], config=QUICK), 3)
    alone = run(Gp(candidates, seeds=[1], config=QUICK), 5)
    strategy.keep(np.array([False, True, False]))
    assert (run(strategy, 2).rows == alone.rows).all()


def test_a_recommendation_does_not_change_what_comes_next(candidates):
    asked, silent = (run(Gp(candidates, seeds=[0], config=QUICK), 3) for _ in range(2))
    row = asked.recommend()
    mean, _ = silent.fit().predict_run(0, silent.points)
    told = torch.from_numpy(silent.rows[0])
    assert row[0] == told[mean[told].argmax()]
    assert (run(asked, 2).rows == run(silent, 2).rows).all()


def test_the_incumbent_is_recommended_on_request(candidates):
    config = replace(QUICK, recommend="incumbent")
    assert run(Gp(candidates, seeds=[0], config=config), 2).recommend() is None


def test_few_candidates_are_used_up_without_an_error():
    few = Candidates(NB201, NB201.enumerate()[:12], np.arange(12), np.arange(12))
    strategy = run(Gp(encode(few, "adjacency"), seeds=[0, 1], config=QUICK), 5)
    assert strategy.taken.all()


def test_wrong_settings_are_all_named():
    with pytest.raises(ConfigError, match=r"`initial` must be at least 2. Got 1.\n.*`beta` must"):
        GpConfig(initial=1, beta=-1)
    with pytest.raises(ConfigError, match="`acquisition` must be 'ei' or 'ucb' or 'thompson'. Got"):
        GpConfig(acquisition="pi")

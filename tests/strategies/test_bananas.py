from dataclasses import replace

import numpy as np
import pytest

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.encodings import encode
from archrep.errors import ConfigError
from archrep.strategies.bananas import Bananas, BananasConfig

NB201 = get_space("nasbench201")
CLASSES = NB201.topology_classes()
QUICK = BananasConfig(layers=3, epochs=10)


@pytest.fixture(scope="module")
def candidates():
    plain = Candidates(NB201, NB201.enumerate(), np.arange(NB201.size), CLASSES)
    return encode(plain, Bananas.default_encoding)


def accuracy(candidates, rows):
    return (candidates.cells.ops[rows] == 2).mean(-1)


def run(strategy, rounds):
    for _ in range(rounds):
        rows = strategy.ask().rows
        strategy.tell(rows, accuracy(strategy.candidates, rows))
    return strategy


def test_runs_in_any_company_propose_what_they_propose_alone(candidates):
    together = run(Bananas(candidates, seeds=[3, 1, 4, 1, 5], config=QUICK), 4)
    for place, seed in ((0, 3), (1, 1), (4, 5)):
        alone = run(Bananas(candidates, seeds=[seed], config=QUICK), 4)
        assert (alone.rows[0] == together.rows[place]).all()
    assert (together.rows[1] == together.rows[3]).all()


def test_proposals_are_untaken_neighbours_of_the_best(candidates):
    config = replace(QUICK, parents=3)
    strategy = run(Bananas(candidates, seeds=[0, 1], config=config), 2)
    taken = strategy.taken.copy()
    rows = strategy.propose()
    for place in range(2):
        best = strategy.rows[place][np.argsort(-strategy.values[place], kind="stable")]
        near = np.concatenate(candidates.neighbours(best))
        assert np.isin(rows[place], near).all()
        assert not taken[place, rows[place]].any()
        assert len(set(CLASSES[rows[place]])) == config.batch


def test_the_pool_comes_from_the_best_parents_first(candidates):
    strategy = run(Bananas(candidates, seeds=[0], config=replace(QUICK, parents=2, pool=10)), 2)
    best = strategy.rows[0][np.argsort(-strategy.values[0], kind="stable")[:2]]
    assert np.isin(strategy._pool(0), np.concatenate(candidates.neighbours(best))).all()


def test_it_goes_on_from_its_state_as_if_nothing_had_happened(candidates):
    strategy = run(Bananas(candidates, seeds=[0, 1], config=QUICK), 2)
    other = Bananas(candidates, seeds=[8, 9], config=QUICK)
    other.load_state(strategy.state())
    assert (run(other, 2).rows == run(strategy, 2).rows).all()


def test_it_finds_better_cells_than_chance(candidates):
    strategy = run(Bananas(candidates, seeds=range(3), config=replace(QUICK, epochs=40)), 5)
    assert strategy.values[:, 10:].mean() > strategy.values[:, :10].mean() + 0.1


def test_few_candidates_are_used_up_without_an_error():
    few = Candidates(NB201, NB201.enumerate()[:12], np.arange(12), np.arange(12))
    strategy = run(Bananas(encode(few, "path"), seeds=[0], config=QUICK), 4)
    assert strategy.taken.all()


def test_wrong_settings_are_all_named():
    with pytest.raises(
        ConfigError, match=r"`epochs` must be at least 1. Got 0.\n`pool` must be at least `batch`"
    ):
        BananasConfig(epochs=0, pool=5)

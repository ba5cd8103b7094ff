from dataclasses import replace

import numpy as np
import pytest
import torch

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.encodings import encode
from archrep.errors import ConfigError
from archrep.strategies.nao import Nao, NaoConfig, nearest_free

NB201 = get_space("nasbench201")
QUICK = NaoConfig(epochs=20)


@pytest.fixture(scope="module")
def embedded():
    cells = NB201.enumerate()
    plain = Candidates(NB201, cells, np.arange(NB201.size), NB201.topology_classes())
    return encode(plain, "archrep")


def accuracy(candidates, rows):
    return (candidates.cells.ops[rows] == 2).mean(-1)


def run(strategy, rounds):
    for _ in range(rounds):
        rows = strategy.ask().rows
        strategy.tell(rows, accuracy(strategy.candidates, rows))
    return strategy


@pytest.mark.parametrize(("decode", "rounds"), [("nearest", 4), ("decoder", 2)])
def test_runs_in_any_company_propose_what_they_propose_alone(embedded, decode, rounds):
    config = replace(QUICK, decode=decode)
    together = run(Nao(embedded, seeds=[3, 1, 4, 1, 5], config=config), rounds)
    for place, seed in ((0, 3), (1, 1), (4, 5)):
        alone = run(Nao(embedded, seeds=[seed], config=config), rounds)
        assert (alone.rows[0] == together.rows[place]).all()
    assert (together.rows[1] == together.rows[3]).all()


def test_the_gradient_is_that_of_the_prediction(embedded):
    strategy = run(Nao(embedded, seeds=[0, 1], config=QUICK), 1)
    predictor = strategy.fit()
    points = torch.randn(2, 3, 16, dtype=torch.float64, generator=torch.manual_seed(0))
    points.requires_grad_()
    prediction = (predictor.units(points) * predictor.mean[:, None]).sum()
    (wanted,) = torch.autograd.grad(prediction, points)
    torch.testing.assert_close(predictor.gradient(points), wanted)


def test_the_predictor_fits_what_was_told(embedded):
    strategy = run(Nao(embedded, seeds=[0, 1], config=NaoConfig(initial=60)), 1)
    predictor = strategy.fit()
    units = predictor.units(torch.from_numpy(embedded.vectors[strategy.rows]).double())
    predicted = (units * predictor.mean[:, None]).sum(2).numpy()
    for told, guess in zip(strategy.values, predicted, strict=True):
        assert np.corrcoef(told, guess)[0, 1] > 0.9


def test_walks_lead_uphill_as_far_as_they_may(embedded):
    strategy = run(Nao(embedded, seeds=[0], config=QUICK), 1)
    predictor = strategy.fit()
    ends = strategy.climb(predictor)
    best = np.argsort(-strategy.values[0], kind="stable")[:5]
    starts = torch.from_numpy(embedded.vectors[strategy.rows[0, best]]).double()[None]

    def predict(points):
        return (predictor.units(points) * predictor.mean[:, None]).sum(2)

    assert (predict(ends) > predict(starts)).all()
    moved = ((ends - starts) / torch.from_numpy(embedded.vectors).double().std(0)).square()
    assert (moved.mean(2).sqrt() <= QUICK.steps * QUICK.step_size * 1.001).all()


def test_an_end_point_becomes_the_nearest_candidate_that_is_free(embedded):
    vectors = torch.from_numpy(embedded.vectors)
    lengths = vectors.square().sum(1) / 2
    point = embedded.vectors[77].astype(np.float64) + 0.01
    distance = np.square(embedded.vectors - point).sum(1)
    order = np.argsort(distance, kind="stable")
    taken = np.zeros(len(embedded), bool)
    assert nearest_free(vectors, lengths, torch.from_numpy(point), taken) == order[0]
    taken[order[:20]] = True
    assert nearest_free(vectors, lengths, torch.from_numpy(point), taken) == order[20]


def test_the_decoder_gives_back_the_cell_of_an_embedding(embedded):
    strategy = Nao(embedded, seeds=[0, 1], config=NaoConfig(decode="decoder"))
    rows = np.array([[10, 200], [3000, 15000]])
    points = torch.from_numpy(embedded.vectors[rows]).double()
    assert (strategy._decoded(points) == rows).mean() >= 0.75


def test_no_cell_is_asked_for_twice_and_better_ones_are_found(embedded):
    strategy = run(Nao(embedded, seeds=range(5)), 8)
    for rows in strategy.rows:
        assert len(np.unique(embedded.classes[rows])) == len(rows)
    assert strategy.values[:, -10:].mean() > strategy.values[:, :16].mean() + 0.2


def test_equal_values_are_no_reason_to_ask_again(embedded):
    strategy = Nao(embedded, seeds=[0], config=QUICK)
    for _ in range(4):
        rows = strategy.ask().rows
        strategy.tell(rows, np.full(rows.shape, 0.1))
    assert len(np.unique(strategy.rows)) == strategy.rows.shape[1] == 31


def test_raw_encodings_work_as_well():
    cells = NB201.enumerate()
    plain = Candidates(NB201, cells, np.arange(NB201.size), np.arange(NB201.size))
    strategy = run(Nao(encode(plain, "adjacency"), seeds=[0], config=QUICK), 2)
    told = strategy.rows[0].tolist()
    assert len(set(told)) == len(told) > QUICK.initial


def test_the_decoder_of_another_encoding_is_refused(embedded):
    other = embedded.with_features(embedded.vectors, "mine")
    with pytest.raises(ConfigError, match="packaged encoder, `archrep`.*Got 'mine'"):
        Nao(other, seeds=[0], config=NaoConfig(decode="decoder"))


def test_impossible_settings_are_named_together():
    with pytest.raises(ConfigError, match=r"(?s)`steps`.*`step_size`.*`hidden`.*`decode`"):
        NaoConfig(steps=0, step_size=0, decode="guess", hidden=100)

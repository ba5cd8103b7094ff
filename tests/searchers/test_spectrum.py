"""Spectra of features before training, and the score that they are part of."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from test_searchers import searcher_of

from archrep.errors import ConfigError
from archrep.searchers import single_path
from archrep.searchers.ranking import live_params
from archrep.searchers.spectrum import spectra

CELLS = np.array([[3, 3, 3, 3, 3, 3], [1, 1, 1, 1, 1, 1], [0, 0, 0, 4, 1, 0], [0, 0, 0, 4, 2, 0]])


def measured(searcher, images=24):
    lanes, objective = searcher.lanes["train"], searcher.objective
    return spectra(searcher.make(), objective, lanes, images, CELLS)


def test_entropies_are_those_of_the_covariance_of_each_map():
    searcher = searcher_of()
    found = measured(searcher)
    assert found.shape == (2, 4, 3)
    for s, lane in enumerate(searcher.lanes["train"]):
        inputs = lane.images.normalise(lane.images.pixels(torch.arange(24)))
        with torch.no_grad():
            maps = searcher.make()(torch.stack([inputs] * 2, 1), CELLS[0])
        for stage, own in enumerate(maps):
            flat = own[:, s].permute(0, 2, 3, 1).flatten(0, 2).numpy().astype(float)
            values = np.linalg.eigvalsh(np.cov(flat.T, bias=True).reshape(own.shape[2], -1))
            share = np.clip(values / values.sum(), 1e-12, None)
            assert found[s, 0, stage] == pytest.approx(-(share * np.log(share)).sum(), abs=1e-3)


def test_entropies_lie_between_one_direction_and_all():
    found = measured(searcher_of())
    channels = np.array([stage.channels for stage in searcher_of().supernet.stages])
    assert (found >= 0).all()
    assert (found <= np.log(channels) + 1e-5).all()


def test_dead_edges_have_no_effect_and_training_has_none_either():
    searcher = searcher_of()
    before = measured(searcher)
    assert (before[:, 2] == before[:, 3]).all()  # they differ on a dead edge
    searcher.train_epoch(0)
    assert (measured(searcher) == before).all()


def test_the_score_adds_logarithms_of_three_ranks(monkeypatch):
    searcher = searcher_of(searcher_settings={"spectrum_images": 16}, runs=1)
    weights = [w.detach().clone() for w in searcher.weights]
    drawn = np.random.default_rng(0).random((1, 15_625, 3))
    monkeypatch.setattr(single_path, "spectra", lambda *args: drawn)
    searcher.train_epoch(0)
    scores = searcher.scores()
    spectrum = sum(rankdata(part) for part in drawn[0].T)
    space = single_path.get_space("nasbench201")
    size = live_params(space.decisions_of_rows(np.arange(15_625)))
    parts = (scores["angle"][0], size, spectrum)
    expected = sum(np.log(rankdata(part) / 15_625) for part in parts)
    np.testing.assert_allclose(scores["angle_size_spectrum"][0], expected)
    np.testing.assert_allclose(scores["spectrum"][0], spectrum)
    assert not torch.equal(weights[0], searcher.weights[0])  # the trained ones are still there


def test_more_images_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="`spectrum_images` must be at most the 64 images"):
        searcher_of(searcher_settings={"spectrum_images": 65})

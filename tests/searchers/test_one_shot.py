"""One-shot scores: equal to judging architectures one by one; sampled along training; resumed."""

import numpy as np
import pytest
import torch
from test_searchers import config_of, searcher_of

from archrep.errors import ConfigError
from archrep.searchers import run as run_module
from archrep.searchers import single_path
from archrep.searchers.evolution import EvolutionSettings
from archrep.searchers.run import train_supernet

ONE_SHOT = {"score_images": 24, "score_every": 2, "score_cells": 12}
CELLS = np.array([[3, 3, 3, 3, 3, 3], [1, 2, 3, 4, 0, 3], [1, 2, 3, 4, 0, 1], [0, 0, 0, 0, 0, 0]])


def judged(**settings):
    searcher = searcher_of(objective="supervised", searcher_settings=ONE_SHOT | settings)
    searcher.train_epoch(0)
    return searcher


def test_scores_are_those_of_each_path_on_the_first_images():
    searcher = judged()
    found = searcher.one_shot()(CELLS)
    for m, path in enumerate(CELLS):
        for s, lane in enumerate(searcher.lanes["train"]):
            rows = torch.arange(24)
            inputs, targets = searcher.objective.prepare(
                lane.images.pixels(rows), lane.images.targets[rows], lane.images, None, False
            )
            with torch.no_grad():
                maps = searcher.supernet(torch.stack([inputs] * 2, 1), path)
                outputs = searcher.heads[s]([own[:, s] for own in maps], (8, 8))
                loss = float(searcher.objective.loss(outputs, targets))
                accuracy = float(searcher.objective.score(outputs, targets))
            assert found.loss[s, m] == pytest.approx(loss, rel=1e-5)
            assert found.score[s, m] == pytest.approx(accuracy)


def test_what_lies_on_no_live_path_has_no_effect():
    searcher = judged()
    dead = np.array([[3, 0, 1, 3, 1, 0], [3, 0, 2, 3, 1, 0]])  # edges 1 and 5 are none: 2 is dead
    found = searcher.one_shot()(dead)
    assert (found.loss[:, 0] == found.loss[:, 1]).all()
    with torch.no_grad():
        inputs = torch.randn(8, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        maps = [searcher.supernet(inputs, path)[-1] for path in dead]
    assert torch.allclose(*maps, atol=1e-6)


def test_statistics_of_other_images_are_used_where_asked_for():
    plain, measured = judged(), judged(statistics_images=32)
    a, b = plain.one_shot()(CELLS), measured.one_shot()(CELLS)
    assert not np.allclose(a.loss[:, :3], b.loss[:, :3], atol=1e-4)
    same = judged(statistics_images=24)  # the scored images themselves, all in one batch
    assert np.allclose(same.one_shot()(CELLS).loss, a.loss, atol=1e-4)


def test_held_out_images_are_not_trained_on():
    searcher = judged(held_out=24)
    for train, shown in zip(searcher.lanes["train"], searcher.shown, strict=True):
        pair = [{t.numpy().tobytes() for t in lane.images.images} for lane in (train, shown)]
        assert [len(own) for own in pair] == [40, 24]
        assert not pair[0] & pair[1]


def test_scores_along_training_are_kept_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    config = config_of("darts", objective="reconstruction", epochs=4, searcher_settings=ONE_SHOT)
    monkeypatch.setattr(run_module, "along_training", lambda searcher: kept.append(searcher) or {})
    kept = []
    train_supernet(config, out=tmp_path / "whole")

    def cut(progress):
        if progress.epoch == 3 and progress.what == "training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_supernet(config, out=tmp_path / "cut", report=cut)
    train_supernet(config, out=tmp_path / "cut", resume=True)
    whole, resumed = kept
    assert [int(scores["epoch"]) for scores in whole.along] == [2, 4]
    for a, b in zip(whole.along, resumed.along, strict=True):
        assert set(a) == {"epoch", "angle", "one_shot", "one_shot_loss", "angle_and_one_shot"}
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    assert (whole.sampled == resumed.sampled).all()
    assert whole.sampled.shape == (12, 28)


@pytest.mark.parametrize("by", ["one-shot", "both"])
def test_evolution_can_look_for_one_shot_scores(by, monkeypatch):
    few = EvolutionSettings(population=8, select=3, mutants=4, crossovers=4, generations=4)
    monkeypatch.setattr(single_path, "EVOLUTIONS", {"darts": few})
    settings = {"score_images": 16, "rank_by": by}
    searcher = searcher_of("darts", "single-path", searcher_settings=settings, runs=1)
    searcher.train_epoch(0)
    best = searcher.choose({})[by.replace("-", "_")]
    rng = np.random.default_rng(0)
    others = np.stack([searcher.supernet.sample(rng) for _ in range(8)])

    def score(choices):
        found = searcher.score(choices)
        return found["one_shot" if by == "one-shot" else "angle_and_one_shot"][0]

    assert score(best)[0] > np.median(score(others))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank_by": "one-shot"}, "needs one-shot scores"),
        ({"score_images": 65}, "at most the 64 images"),
        ({"score_images": 8, "held_out": 4}, "`held_out` must be at least `score_images`"),
        ({"held_out": 64}, "must leave some"),
        ({"score_cells": 1}, "`score_cells`"),
        ({"score_every": -1}, "`score_every`"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        searcher_of(objective="supervised", searcher_settings=settings)


def test_random_labels_cannot_be_scored_on_other_images():
    with pytest.raises(ConfigError, match="say nothing of other images"):
        searcher_of(searcher_settings={"held_out": 16})

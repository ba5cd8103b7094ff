"""Walks: pairs are those of the walk, the nearest cell is the nearest, lines end where they say."""

from __future__ import annotations

import networkx
import numpy as np
import pytest

from archrep.cells import get_space
from archrep.embeddings import TrainedEncoder, load_encoder
from archrep.encoder.config import preset_config
from archrep.encoder.models import build_model
from archrep.errors import ConfigError, ShapeError, SpaceError
from archrep.seeding import numpy_stream
from archrep.walks import distances_along_walk, edits_between, interpolate, nearest_walk

RNG = np.random.default_rng(0)


def test_pairs_are_those_of_the_walk_and_edit_distances_those_of_networkx():
    space = get_space("nasbench101")
    walk = space.walk(12, numpy_stream(5, "walk"))
    vectors = RNG.normal(size=(13, 3))
    seen = []

    def embed(cells):
        seen.extend(cells)
        return vectors

    found = distances_along_walk(embed, space, steps=12, lags=3, seed=5)
    assert seen == list(space.pack(walk))
    pairs = [(i, i + lag) for lag in (1, 2, 3) for i in range(13 - lag)]
    expected = [np.linalg.norm(vectors[i] - vectors[j]) for i, j in pairs]
    np.testing.assert_allclose(found.latent, expected)
    graphs = [cell.to_networkx() for cell in walk]
    for (i, j), edits in list(zip(pairs, found.edits, strict=True))[:8]:
        theirs = networkx.graph_edit_distance(
            graphs[i], graphs[j], node_match=lambda a, b: a["op"] == b["op"]
        )
        assert edits == theirs


def test_every_step_of_a_nearest_walk_is_the_nearest_of_those_left():
    vectors = RNG.normal(size=(60, 4))
    rows = nearest_walk(vectors, 7, 59).tolist()
    assert (rows[0], sorted(rows)) == (7, list(range(60)))
    for k in range(59):
        left = sorted(set(range(60)) - set(rows[: k + 1]))
        distance = np.linalg.norm(vectors[left] - vectors[rows[k]], axis=1)
        assert rows[k + 1] == left[int(distance.argmin())]


@pytest.mark.parametrize(("start", "steps"), [(-1, 2), (5, 2), (0, 0), (0, 5)])
def test_a_walk_that_cannot_be_is_refused(start, steps):
    with pytest.raises(ConfigError, match="below the 5 cells"):
        nearest_walk(np.zeros((5, 2)), start, steps)


def test_embeddings_of_no_table_are_refused():
    with pytest.raises(ShapeError, match="must be .N, D.. Got shape .5,."):
        nearest_walk(np.zeros(5), 0, 2)


def test_a_line_begins_and_ends_with_its_cells_and_is_near_the_closer_end():
    encoder = load_encoder("nasbench201")
    first, second = (encoder.space.parse(text) for text in ("6111", "9930"))
    cells = interpolate(encoder, first, second, 5)
    assert (len(cells), cells[0], cells[-1]) == (5, first, second)
    ends = encoder.embed([first, second])
    for cell, nearer in ((cells[1], 0), (cells[3], 1)):
        apart = np.linalg.norm(encoder.embed(cell) - ends, axis=1)
        assert apart.argmin() == nearer
    assert edits_between([first, second]) == [first.edit_distance(second)]


def test_a_line_needs_points_between():
    encoder = load_encoder("nasbench201")
    cell = encoder.space.parse("0")
    with pytest.raises(ConfigError, match="at least 3, both ends included. Got 2"):
        interpolate(encoder, cell, cell, 2)
    pooled = build_model(preset_config("arch2vec-2020", "nasbench201").model, encoder.space, 0)
    encoder = TrainedEncoder(pooled, encoder.config, encoder.space)
    with pytest.raises(SpaceError, match="cannot be decoded"):
        interpolate(encoder, cell, cell, 3)


@pytest.mark.parametrize("change", [{"steps": 0}, {"lags": 0}])
def test_numbers_below_one_are_refused(change):
    with pytest.raises(ConfigError, match="must be at least 1"):
        distances_along_walk(len, get_space("nasbench201"), **change)

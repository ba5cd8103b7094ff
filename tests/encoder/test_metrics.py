"""Metrics against brute force and hand-made graphs; the promises of the packaged encoders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from archrep import load_encoder
from archrep.cells import Cell, CellArray, get_space
from archrep.encoder.config import PRESETS
from archrep.encoder.decoder import Decoded
from archrep.encoder.metrics import (
    LatentStatistics,
    distinct_rows,
    latent_statistics,
    prior_samples,
    reconstruction,
    validity_2020,
    verified_decode,
)
from archrep.encoder.models import build_model
from archrep.encoder.train import split_rows
from archrep.graphs import PackedGraphs, dense_batch

NB101, NB201 = get_space("nasbench101"), get_space("nasbench201")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0.0, 0], [1, 0], [0, 1]], 3),
        ([[0.0, 0], [1, 0], [0, 0]], 2),
        ([[0.0, 0], [1, 0], [1, 1e-9]], 2),
        ([[2.0, 2]] * 5, 1),
        ([[2.0, 2]], 1),
    ],
)
def test_distinct_rows_of_hand_made_tables(rows, expected):
    assert distinct_rows(np.array(rows, np.float32)) == expected


def test_distinct_rows_equals_unique_on_clear_data():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((300, 16)).astype(np.float32)[rng.integers(0, 300, 2000)]
    assert distinct_rows(table) == len(np.unique(table, axis=0))


class Memory:
    """Stands for a model whose latent is the number of a cell, and which decodes it as told."""

    decodes_embeddings = True
    latent_shape = (1,)

    def __init__(self, cells: CellArray, answers: CellArray):
        self.cells, self.answers = dense_batch(cells), dense_batch(answers)
        self.hashes = cells.colour_hash()

    def latents(self, batch):
        from archrep.graphs import unpack_decoded

        found = unpack_decoded(batch.ops, batch.adjacency, NB201.ops).colour_hash()
        rows = [
            int(np.flatnonzero(self.hashes == h)[0]) if h in self.hashes else -99 for h in found
        ]
        return torch.tensor(rows, dtype=torch.float32)[:, None]

    def decode(self, latents, generator=None):
        source = self.answers if generator is None else self.cells
        rows = latents[:, 0].round().long()
        return Decoded(source.ops[rows], source.adjacency[rows].to(torch.uint8))


def test_whole_graph_accuracy_counts_graphs_and_entry_accuracy_entries():
    cells = NB201.enumerate()[:10]
    answers = cells.ops.copy()
    answers[3, 2] = 1 if answers[3, 2] != 1 else 2  # one operation of one cell wrong
    model = Memory(cells, CellArray(answers, cells.adjacency_bits, cells.vocabulary))
    figures = reconstruction(model, NB201, cells, PackedGraphs(cells), np.arange(10))
    assert figures["whole_graph_accuracy"] == 0.9
    assert figures["entry_accuracy"] == pytest.approx(1 - 1 / (10 * (8 + 28)))
    assert figures["ops_accuracy_2020"] == pytest.approx(1 - 1 / 80)
    assert figures["adjacency_accuracy_2020"] == 1
    assert figures["whole_graph_accuracy_verified"] == 1  # the draws of this model are right


def test_verified_decoding_prefers_the_candidate_that_encodes_to_the_latent():
    cells = NB201.enumerate()[:10]
    shifted = cells[np.roll(np.arange(10), 1)]
    decoded, legal = verified_decode(
        Memory(cells, shifted), NB201, torch.arange(10.0)[:, None], candidates=2
    )
    assert legal.all()
    assert torch.equal(decoded.ops, dense_batch(cells).ops)


def test_latent_statistics_equal_numpy():
    model = build_model(PRESETS["arch2vec-2020"][0], NB201, 0).eval()
    cells = NB201.enumerate()[:500]
    graphs = PackedGraphs(cells)
    statistics = latent_statistics(model, graphs, np.arange(500), batch_size=64)
    latents = model.latents(dense_batch(cells)).detach().numpy()
    np.testing.assert_allclose(statistics.mean, latents.mean(0), atol=1e-5)
    np.testing.assert_allclose(statistics.std, latents.std(0), atol=1e-5)


def nb101_graph(ops: str, edges) -> CellArray:
    names = {"i": 0, "3": 1, "1": 2, "m": 3, "o": 4}
    codes = np.array([[names[c] for c in ops]], np.uint8)
    matrix = np.zeros((1, 7, 7), np.uint8)
    for i, j in edges:
        matrix[0, i, j] = 1
    return CellArray.from_adjacency(codes, matrix, NB101.ops)


CHAIN = [(n, n + 1) for n in range(6)]


@pytest.mark.parametrize(
    ("ops", "edges", "strict", "old"),
    [
        ("i31m31o", CHAIN, True, True),
        ("i31m31o", [(0, 1), (1, 6), (2, 3)], False, True),  # dangling nodes are pruned in 2020
        ("io1i31o", [(0, 5), (5, 6)], False, True),  # even impossible labels on dangling nodes
        ("io1i31o", CHAIN, False, False),
        ("331m31o", CHAIN, False, False),
        ("i31m311", CHAIN, False, False),
        ("i31m31o", [(0, 1)], False, False),  # no path at all
        ("i31m31o", [*CHAIN, (0, 2), (0, 3), (0, 4), (0, 5)], False, False),  # ten edges
    ],
)
def test_validity_2020_prunes_where_the_strict_check_refuses(ops, edges, strict, old):
    graph = nb101_graph(ops, edges)
    assert bool(NB101.legal(graph)[0]) is strict
    assert bool(validity_2020(NB101, graph)[0]) is old


@pytest.mark.parametrize("seed", range(5))
def test_validity_2020_on_nasbench101_equals_the_official_pruning(seed):
    from nasbench_pytorch.model import ModelSpec

    rng = np.random.default_rng(seed)
    for _ in range(40):
        ops = "i" + "".join(rng.choice(list("31mio"), 5, p=[0.3, 0.3, 0.3, 0.05, 0.05])) + "o"
        edges = [(i, j) for j in range(7) for i in range(j) if rng.random() < 0.3]
        graph = nb101_graph(ops, edges)
        names = [NB101.ops[c] for c in graph.ops[0]]
        try:
            spec = ModelSpec(graph.adjacency[0].astype(int).tolist(), names)
            expected = bool(spec.valid_spec)
        except RuntimeError:  # it stumbles over a graph of which nothing is left
            expected = False
        if expected:
            inner = set(spec.ops[1:-1])
            expected = (
                np.asarray(spec.matrix).sum() <= 9
                and inner <= set(NB101.ops[1:4])
                and spec.ops[0] == "input"
            )
        assert bool(validity_2020(NB101, graph)[0]) is bool(expected), (ops, edges)


def test_validity_2020_on_nasbench201_ignores_node_1_and_all_edges():
    cells = NB201.enumerate()[:1]
    ops = cells.ops.copy()
    ops[0, 1] = 0
    broken = CellArray(ops, np.zeros(1, np.uint64), cells.vocabulary)
    assert validity_2020(NB201, broken)[0]
    assert not NB201.legal(broken)[0]


def test_uniqueness_uniform_is_the_expected_share_of_uniform_draws():
    model = build_model(PRESETS["archrep"][0], NB201, 0).eval()
    cells = NB201.enumerate()

    def always_legal(latents, generator=None):
        rows = np.random.default_rng(0).integers(0, len(cells), len(latents))
        batch = dense_batch(cells[rows])
        return Decoded(batch.ops, batch.adjacency.to(torch.uint8))

    model.decode = always_legal
    statistics = LatentStatistics(torch.zeros(16), torch.ones(16))
    figures = prior_samples(model, NB201, statistics, cells[:1000], seed=0)
    assert figures["validity"] == figures["validity_verified"] == 1
    assert figures["uniqueness"] == pytest.approx(figures["uniqueness_uniform"], abs=0.01)
    assert figures["uniqueness_uniform"] == pytest.approx(0.7386, abs=1e-3)
    assert figures["novelty"] == pytest.approx(1 - 1000 / len(cells), abs=0.01)


class TestPackagedEncoders:
    def test_all_nasbench201_cells_are_embedded_apart_and_decoded_back(self):
        encoder, cells = load_encoder("nasbench201"), NB201.enumerate()
        embeddings = encoder.embed(cells)
        assert distinct_rows(embeddings) == 15_625
        rows = np.random.default_rng(0).choice(15_625, 500, replace=False)
        decoded = encoder.decode(embeddings[rows])
        assert [NB201.index(cell) for cell in decoded] == rows.tolist()

    @pytest.mark.slow
    def test_all_nasbench101_cells_are_embedded_apart(self):
        encoder = load_encoder("nasbench101")
        assert distinct_rows(encoder.embed(NB101.enumerate())) == 423_624

    @pytest.mark.slow
    @pytest.mark.parametrize("space", ["nasbench101", "nasbench201"])
    def test_random_relabelings_of_all_cells_have_equal_embeddings(self, space):
        encoder, cells = load_encoder(space), get_space(space).enumerate()
        rng = np.random.default_rng(0)
        relabelled = [_relabelled(cells[int(n)], rng) for n in rng.integers(0, len(cells), 20_000)]
        moved = get_space(space).pack(relabelled)
        original = cells[get_space(space).index_array(moved)]
        scale = encoder.embed(original).std()
        gap = np.abs(encoder.embed(moved) - encoder.embed(original)).max()
        assert gap < 1e-5 * max(scale, 1)

    def test_held_out_nasbench101_cells_come_back_whole(self):
        encoder = load_encoder("nasbench101")
        _, held = split_rows(NB101.size, 0.1, encoder.config.seed)
        cells = NB101.enumerate()[held[:3000]]
        decoded = encoder.decode(encoder.embed(cells))
        right = sum(
            a is not None and a.is_isomorphic(b) for a, b in zip(decoded, cells, strict=True)
        )
        assert right >= 2997

    def test_darts_cells_outside_the_training_sample_come_back_whole(self):
        encoder, darts = load_encoder("darts"), get_space("darts")
        cells = darts.sample_array(2000, seed=12345)
        decoded = encoder.decode(encoder.embed(cells))
        right = sum(
            a is not None and darts.canonical(a) == b for a, b in zip(decoded, cells, strict=True)
        )
        assert right >= 1998

    def test_decode_refuses_what_is_no_embedding(self):
        from archrep.errors import ShapeError

        encoder = load_encoder("nasbench201")
        with pytest.raises(ShapeError, match=r"\[N, 16\]"):
            encoder.decode(np.zeros((2, 3)))
        with pytest.raises(ShapeError, match="finite"):
            encoder.decode(np.full((1, 16), np.nan))
        assert encoder.decode(np.zeros((0, 16))) == []


def _relabelled(cell: Cell, rng: np.random.Generator) -> Cell:
    """The same cell in a random topological order."""
    order: list[int] = []
    while len(order) < len(cell):
        free = [
            v
            for v in range(len(cell))
            if v not in order and set(cell.predecessors(v)) <= set(order)
        ]
        order.append(int(rng.choice(free)))
    return cell.permuted(order)

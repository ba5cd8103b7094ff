"""Models, decoders and losses against closed forms, brute force and torch-geometric."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from archrep.cells import SPACES, Cell, get_space
from archrep.encoder.config import PRESETS
from archrep.encoder.decoder import AutoregressiveDecoder
from archrep.encoder.loss import arch2vec_2020_loss, gaussian_kl, node_elbo
from archrep.encoder.models import NodeVAE, build_model
from archrep.errors import ShapeError
from archrep.graphs import GraphBatch, dense_batch, to_pyg

THREE_BRANCHES = Cell(
    ("input", "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "output"),
    ((0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)),
)


def make(preset: str, space: str, seed: int = 0):
    return build_model(PRESETS[preset][0], get_space(space), seed).eval()


def sample(space: str, count: int = 40):
    return get_space(space).sample_array(count, seed=1)


@pytest.fixture(params=sorted(SPACES))
def space(request):
    return request.param


@pytest.mark.parametrize("preset", sorted(PRESETS))
class TestEveryPreset:
    def test_torch_geometric_path_gives_the_same_embeddings(self, preset, space):
        from archrep.encoder.pyg import PyGEncoder

        model, cells = make(preset, space), sample(space)
        pyg = PyGEncoder(model)
        batch = to_pyg(cells, padding=pyg.needs_padding)
        torch.testing.assert_close(
            pyg(batch), model.embed(dense_batch(cells)), atol=1e-5, rtol=1e-5
        )

    def test_torch_geometric_path_trains_the_same_parameters(self, preset, space):
        from archrep.encoder.pyg import PyGEncoder

        model, cells = make(preset, space), sample(space, 8)
        pyg = PyGEncoder(model)
        pyg(to_pyg(cells, padding=pyg.needs_padding)).sum().backward()
        assert all(p.grad is not None for p in model.encoder.parameters())

    def test_embedding_does_not_depend_on_the_batch_around_a_cell(self, preset, space):
        model, cells = make(preset, space), sample(space, 10)
        together = model.embed(dense_batch(cells))
        alone = torch.cat([model.embed(dense_batch(cells[n : n + 1])) for n in range(10)])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)

    def test_loss_falls_when_one_batch_is_repeated(self, preset, space):
        model, batch = make(preset, space).train(), dense_batch(sample(space, 16))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        losses = []
        for _ in range(60):
            terms = model.loss(batch, torch.Generator().manual_seed(0), prior_mix=0.0)
            loss = terms.reconstruction + 1e-3 * terms.kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0]

    def test_initial_weights_depend_on_the_seed_alone_and_leave_the_global_stream(self, preset):
        torch.manual_seed(5)
        before = torch.random.get_rng_state()
        first = make(preset, "nasbench201", seed=3).state_dict()
        assert torch.equal(before, torch.random.get_rng_state())
        torch.manual_seed(99)
        second = make(preset, "nasbench201", seed=3).state_dict()
        other = make(preset, "nasbench201", seed=4).state_dict()
        assert all(torch.equal(first[k], second[k]) for k in first)
        assert not torch.equal(first["mean.weight"], other["mean.weight"])

    @pytest.mark.parametrize("middle", list(itertools.permutations((1, 2, 3))))
    def test_embedding_does_not_depend_on_node_order(self, preset, middle):
        model, nb101 = make(preset, "nasbench101"), get_space("nasbench101")
        reordered = THREE_BRANCHES.permuted((0, *middle, 4))
        batch = dense_batch(nb101.pack([THREE_BRANCHES, reordered]))
        first, second = model.embed(batch)
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


def test_archrep_tells_edge_directions_apart_and_arch2vec_cannot():
    # Both inner nodes join input, output and each other; only the arrow between them differs.
    ops = ("input", "conv3x3-bn-relu", "conv1x1-bn-relu", "output")
    one = Cell(ops, ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3)))
    other = Cell(("input", ops[2], ops[1], "output"), one.edges)
    assert not one.is_isomorphic(other)
    batch = dense_batch(get_space("nasbench101").pack([one, other]))
    a, b = make("archrep", "nasbench101").embed(batch)
    assert (a - b).abs().max() > 1e-3
    a, b = make("arch2vec-2020", "nasbench101").embed(batch)
    torch.testing.assert_close(a, b)


def test_gaussian_kl_equals_torch_distributions():
    mean, log_std = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, log_std.exp()), normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mean, log_std), expected.sum(-1))


def test_gaussian_kl_refuses_shapes_that_would_broadcast():
    with pytest.raises(ShapeError, match="must be equal"):
        gaussian_kl(torch.zeros(3, 1, 4), torch.zeros(1, 3, 4))


def test_2020_loss_is_the_formula_of_the_authors_code():
    batch = dense_batch(sample("nasbench101", 6))
    ops_logits, edge_logits = torch.randn(6, 7, 5), torch.randn(6, 7, 7)
    kl = torch.rand(6, 7)
    adjacency = batch.adjacency + batch.adjacency.transpose(1, 2)
    p_ops, p_edges = ops_logits.sigmoid(), edge_logits.sigmoid()
    bce = torch.nn.functional.binary_cross_entropy
    expected = bce(p_ops, batch.one_hot()) + bce(p_edges.triu(1), adjacency.triu(1))
    reconstruction, divergence = arch2vec_2020_loss(ops_logits, edge_logits, batch, kl)
    torch.testing.assert_close(reconstruction, expected)
    torch.testing.assert_close(divergence, kl.mean() / (6 * 7))


def test_elbo_of_certain_and_right_logits_is_zero():
    batch = dense_batch(sample("nasbench201", 3))
    undirected = batch.adjacency + batch.adjacency.transpose(1, 2)
    reconstruction, kl = node_elbo(
        200 * batch.one_hot() - 100, 200 * undirected - 100, batch, torch.zeros(3, 8)
    )
    assert reconstruction.item() < 1e-6
    assert kl.item() == 0


class TestAutoregressiveDecoder:
    @pytest.fixture
    def decoder(self):
        torch.manual_seed(0)
        return AutoregressiveDecoder(
            num_ops=2, max_nodes=3, latent_dim=4, width=60, layers=2, trunk=8
        )

    def all_graphs(self) -> GraphBatch:
        """Every graph of at most 3 nodes with 2 operations, the empty one included."""
        rows, matrices = [], []
        for size in range(4):
            pairs = [(i, j) for j in range(size) for i in range(j)]
            for ops in itertools.product((0, 1), repeat=size):
                for edges in itertools.product((0, 1), repeat=len(pairs)):
                    matrix = torch.zeros(3, 3)
                    for (i, j), present in zip(pairs, edges, strict=True):
                        matrix[i, j] = present
                    rows.append([*ops, *[2] * (3 - size)])
                    matrices.append(matrix)
        return GraphBatch(torch.tensor(rows), torch.stack(matrices), 2)

    def test_probabilities_of_all_graphs_sum_to_one(self, decoder):
        batch = self.all_graphs()
        latents = torch.randn(1, 4).expand(len(batch), 4)
        cells = decoder.encode_cells(batch)
        nats = decoder.negative_log_likelihood(decoder(latents, cells), cells, batch)
        assert torch.exp(-nats.double()).sum().item() == pytest.approx(1.0, abs=1e-5)

    def test_no_logit_sees_its_own_or_a_later_decision(self, decoder):
        batch = self.all_graphs()
        cells = decoder.encode_cells(batch).requires_grad_()
        latents = torch.randn(len(batch), 4)
        for t, columns in enumerate(decoder.decisions):
            (gradient,) = torch.autograd.grad(decoder(latents, cells)[:, columns].sum(), cells)
            assert gradient[:, columns.start :].abs().max() == 0
            assert t == 0 or gradient.abs().max() > 0

    def test_decoding_by_units_equals_decisions_from_full_passes(self, decoder):
        latents = 3 * torch.randn(50, 4)
        decoded = decoder.decode(latents)
        batch = GraphBatch(decoded.ops, decoded.adjacency.float(), 2)
        logits = decoder(latents, decoder.encode_cells(batch))
        count = logits[:, decoder.count_columns].argmax(1)
        assert torch.equal(count, batch.mask.sum(1))
        used = batch.mask
        ops = logits[:, decoder.op_columns].view(50, 3, 2).argmax(2)
        assert torch.equal(ops[used], decoded.ops[used])
        edges = (logits[:, decoder.edge_columns] > 0) & used[:, decoder.edge_targets]
        assert torch.equal(
            edges, decoded.adjacency[:, decoder.edge_sources, decoder.edge_targets].bool()
        )

    def test_draws_follow_the_probabilities(self, decoder):
        batch = self.all_graphs()
        latent = torch.randn(1, 4)
        cells = decoder.encode_cells(batch)
        latents = latent.expand(len(batch), 4)
        nats = decoder.negative_log_likelihood(decoder(latents, cells), cells, batch)
        drawn = decoder.decode(latent.expand(40_000, 4), torch.Generator().manual_seed(0))

        def code(ops, adjacency):
            digits = torch.cat([ops, adjacency.flatten(1).long()], 1)
            return digits @ (3 ** torch.arange(digits.shape[1]))

        counts = (
            code(drawn.ops, drawn.adjacency)[:, None] == code(batch.ops, batch.adjacency)
        ).sum(0)
        assert counts.sum() == 40_000
        torch.testing.assert_close(counts / 40_000, torch.exp(-nats), atol=0.012, rtol=0)


def test_prior_noise_blend_keeps_the_variance_of_the_latent():
    model = make("archrep", "nasbench201").train()
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.posterior = lambda batch: (torch.zeros(4000, 16), torch.zeros(4000, 16))  # prior itself
    cells = get_space("nasbench201").enumerate()[:4000]
    model.loss(dense_batch(cells), torch.Generator().manual_seed(0), prior_mix=0.5)
    assert seen[0][-2000:].std().item() == pytest.approx(1.0, abs=0.02)


def test_node_vae_draws_noise_only_in_training_mode():
    model = make("arch2vec-2020", "nasbench201")
    batch = dense_batch(sample("nasbench201", 8))
    assert isinstance(model, NodeVAE)

    def loss(seed):
        with torch.no_grad():
            return model.loss(batch, torch.Generator().manual_seed(seed), 0.0).reconstruction.item()

    assert loss(0) == loss(1)
    model.train()
    assert loss(0) != loss(1)


def test_initial_operations_loss_is_near_chance():
    batch = dense_batch(sample("nasbench201", 64))
    logits = torch.zeros(64, 8, 7)
    reconstruction, _ = node_elbo(logits, torch.zeros(64, 8, 8), batch, None)
    assert reconstruction.item() == pytest.approx(8 * math.log(7) + 64 * math.log(2), rel=1e-5)


def test_dense_batch_reads_back_what_the_cells_say():
    cells = sample("darts", 5)
    batch = dense_batch(cells)
    for n, cell in enumerate(cells):
        np.testing.assert_array_equal(batch.adjacency[n].numpy(), cell.adjacency)
        assert [cells.vocabulary[c] for c in batch.ops[n]] == list(cell.ops)


def test_to_pyg_needs_a_cell():
    with pytest.raises(ShapeError, match="at least one cell"):
        to_pyg(sample("nasbench201")[:0])

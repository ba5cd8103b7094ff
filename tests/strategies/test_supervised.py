from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.encoder.gin import GIN
from archrep.errors import ConfigError
from archrep.graphs import PackedGraphs
from archrep.predictors.adaptive_basis import regress
from archrep.predictors.graph_networks import (
    GinShape,
    RunGraphs,
    embed,
    embed_all,
    initial_statistics,
    tanh,
    train_on_values,
)
from archrep.strategies.supervised import (
    SupervisedDngo,
    SupervisedDngoConfig,
    SupervisedReinforce,
    SupervisedReinforceConfig,
    predict,
)

NB201, NB101 = get_space("nasbench201"), get_space("nasbench101")
SMALL = {"hidden": 64, "layers": 2}
BO = SupervisedDngoConfig(**SMALL, epochs=10)
RL = SupervisedReinforceConfig(**SMALL, policy_hidden=64, episode=4, norm_cells=64)
QUICK = [
    pytest.param(SupervisedDngo, BO, id="dngo"),
    pytest.param(SupervisedDngo, replace(BO, faults=True, epochs=3), id="dngo-2020"),
    pytest.param(SupervisedReinforce, RL, id="reinforce"),
    pytest.param(SupervisedReinforce, replace(RL, faults=True, discount=0.0), id="reinforce-2020"),
]


@pytest.fixture(scope="module")
def candidates():
    """A thousand cells of NAS-Bench-201."""
    positions = np.arange(7, NB201.size, 15)
    classes = NB201.topology_classes()[positions]
    _, first, inverse = np.unique(classes, return_index=True, return_inverse=True)
    return Candidates(NB201, NB201.enumerate()[positions], positions, first[inverse])


def accuracy(candidates, rows):
    return (candidates.cells.ops[rows] == 2).mean(-1)


def run(strategy, queries):
    while strategy.rows.shape[1] < queries:
        rows = strategy.ask().rows
        strategy.tell(rows, accuracy(strategy.candidates, rows))
    return strategy


def drawn_weights(shape, seeds):
    """Random weights whose gains, shifts and eps are not those of a fresh network."""
    rngs = [np.random.default_rng(seed) for seed in seeds]
    weights = shape.initial(rngs)
    for name, part in weights.items():
        if name.startswith(("gain", "shift", "eps")):
            noise = np.stack([0.3 * rng.standard_normal(part.shape[1:]) for rng in rngs])
            weights[name] = part + torch.from_numpy(noise).float()
    return weights


def torch_modules(shape, weights, run_at):
    """The same network made of the package's GIN and a linear layer."""
    gin = GIN([shape.num_ops] + [shape.hidden] * shape.layers, two_linear=True)
    head = nn.Linear(shape.hidden, shape.latent)
    with torch.no_grad():
        for layer, mlp in enumerate(gin.mlps):
            gin.eps[layer].copy_(weights[f"eps{layer}"][run_at, 0, :1])
            for half in range(2):
                norm = 2 * layer + half
                mlp[3 * half].weight.copy_(weights[f"weight{norm}"][run_at].T)
                mlp[3 * half].bias.zero_()
                mlp[3 * half + 1].weight.copy_(weights[f"gain{norm}"][run_at, 0])
                mlp[3 * half + 1].bias.copy_(weights[f"shift{norm}"][run_at, 0])
        head.weight.copy_(weights["head"][run_at].T)
        head.bias.copy_(weights["bias"][run_at, 0, : shape.latent])
    return gin, head


def some_graphs(space, rows, **options):
    graphs = PackedGraphs(space.enumerate())
    options = {"symmetric": True, "padding": True} | options
    return graphs, RunGraphs.of_rows(graphs, torch.tensor(rows), **options)


class TestEncoder:
    shape = GinShape(num_ops=5, hidden=64, layers=3, latent=16)

    def test_it_is_the_gin_of_the_package_in_training_mode(self):
        rows = [[5, 300, 4000], [77, 99_000, 200_000]]
        graphs, batch = some_graphs(NB101, rows)
        weights = drawn_weights(self.shape, [0, 1])
        leaves = [part.requires_grad_() for part in weights.values()]
        latent, seen = embed(weights, self.shape, batch)
        towards = torch.randn(latent.shape, generator=torch.manual_seed(0))
        gradients = dict(zip(weights, torch.autograd.grad(latent, leaves, towards), strict=True))
        running = initial_statistics(2, self.shape).moved_by(seen, batch.used)
        for at in range(2):
            gin, head = torch_modules(self.shape, weights, at)
            dense = graphs.batch(torch.tensor(rows[at]))
            wanted = head(gin(dense.one_hot(), dense.adjacency).mean(1))
            torch.testing.assert_close(latent[at], wanted, rtol=1e-4, atol=1e-5)
            wanted.backward(towards[at])
            close = {"rtol": 1e-3, "atol": 1e-4}
            torch.testing.assert_close(gradients["head"][at], head.weight.grad.T, **close)
            torch.testing.assert_close(gradients["bias"][at, 0, :16], head.bias.grad, **close)
            for layer, mlp in enumerate(gin.mlps):
                eps = gradients[f"eps{layer}"][at, 0]
                torch.testing.assert_close(eps[:1], gin.eps[layer].grad, **close)
                assert not eps[1:].any()
                for half in range(2):
                    norm, linear = mlp[3 * half + 1], mlp[3 * half]
                    k = 2 * layer + half
                    torch.testing.assert_close(
                        gradients[f"weight{k}"][at], linear.weight.grad.T, **close
                    )
                    torch.testing.assert_close(
                        gradients[f"gain{k}"][at, 0], norm.weight.grad, **close
                    )
                    torch.testing.assert_close(
                        gradients[f"shift{k}"][at, 0], norm.bias.grad, **close
                    )
                    torch.testing.assert_close(running.mean[at, k], norm.running_mean, **close)
                    torch.testing.assert_close(running.variance[at, k], norm.running_var, **close)

    def test_without_padding_a_small_cell_is_its_own_graph(self):
        small = int(np.flatnonzero(NB101.enumerate().num_nodes == 5)[0])
        graphs, batch = some_graphs(NB101, [[small]], padding=False)
        weights = drawn_weights(self.shape, [3])
        statistics = initial_statistics(1, self.shape)
        latent, _ = embed(weights, self.shape, batch, statistics)
        gin, head = torch_modules(self.shape, weights, 0)
        dense = graphs.batch(torch.tensor([small]))
        states = gin.eval()(dense.one_hot()[:, :5], dense.adjacency[:, :5, :5])
        torch.testing.assert_close(latent[0], head(states.mean(1)), rtol=1e-4, atol=1e-5)

    def test_norms_do_not_count_unused_slots(self):
        small = np.flatnonzero(NB101.enumerate().num_nodes == 5)[:4]
        _, batch = some_graphs(NB101, [small.tolist()], padding=False)
        shape = replace(self.shape, layers=1)
        _, seen = embed(drawn_weights(shape, [0]), shape, batch)
        cut = RunGraphs(
            batch.features.view(1, 4, 7, 5)[:, :, :5].flatten(1, 2),
            batch.links[:, :, :5, :5],
            batch.used[:, :, :5],
        )
        _, wanted = embed(drawn_weights(shape, [0]), shape, cut)
        torch.testing.assert_close(seen.mean, wanted.mean)
        torch.testing.assert_close(seen.variance, wanted.variance)

    def test_gradients_with_constant_statistics_are_finite_differences(self):
        shape = GinShape(num_ops=5, hidden=64, layers=1, latent=4)
        _, batch = some_graphs(NB101, [[5, 300]])
        weights = {name: part.double() for name, part in drawn_weights(shape, [0]).items()}
        batch = RunGraphs(*(part.double() for part in batch))
        statistics = initial_statistics(1, shape)
        statistics = type(statistics)(*(part.double() + 0.1 for part in statistics))

        def latent(**changed):
            return embed(weights | changed, shape, batch, statistics)[0].square().sum()

        for name in ("gain0", "shift1", "eps0", "weight0"):
            leaf = weights[name].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(latent(**{name: leaf}), leaf)
            step = torch.zeros_like(leaf)
            step[0, 0, 0] = 1e-6
            with torch.no_grad():
                slope = (latent(**{name: leaf + step}) - latent(**{name: leaf - step})) / 2e-6
            assert float(gradient[0, 0, 0]) == pytest.approx(float(slope), rel=1e-4, abs=1e-7)

    def test_embedding_all_cells_is_embedding_them_with_given_statistics(self):
        rows = list(range(150))
        _, batch = some_graphs(NB101, [rows, rows], padding=False, symmetric=False)
        weights = drawn_weights(self.shape, [0, 1])
        _, statistics = embed(weights, self.shape, batch)
        wanted, _ = embed(weights, self.shape, batch, statistics)
        part = PackedGraphs(NB101.enumerate()[:150])
        found = embed_all(weights, self.shape, part, statistics, symmetric=False, padding=False)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)

    def test_training_fits_the_values_alike_in_any_company(self):
        rows = np.stack([np.random.default_rng(k).integers(NB201.size, size=40) for k in range(5)])
        values = (NB201.enumerate().ops[rows] == 2).mean(2)
        values = torch.from_numpy(values - values.mean(1, keepdims=True)).float()
        shape = GinShape(num_ops=7, hidden=64, layers=2)

        def train(runs):
            _, batch = some_graphs(NB201, rows[runs])
            rngs = [np.random.default_rng(run) for run in runs]
            return batch, *train_on_values(shape, batch, values[runs], rngs, epochs=60)

        batch, weights, statistics = train([0, 1, 2, 3, 4])
        units = tanh(embed(weights, shape, batch, statistics)[0])
        predicted = torch.bmm(units, weights["out"][:, :16])[..., 0]
        for guess, told in zip(predicted, values, strict=True):
            assert np.corrcoef(guess, told)[0, 1] > 0.9
        for runs in ([3], [4, 3]):
            _, other, its = train(runs)
            for name, part in other.items():
                assert torch.equal(part[-1], weights[name][3]), name
            assert torch.equal(its.variance[-1], statistics.variance[3])

    @pytest.mark.parametrize("count", [1, 3, 10])
    def test_tanh_is_tanh(self, count):
        values = torch.randn(2, count, 16, generator=torch.manual_seed(count))
        torch.testing.assert_close(tanh(values), values.tanh())


class TestBothStrategies:
    @pytest.mark.parametrize(("kind", "config"), QUICK)
    def test_runs_in_any_company_propose_what_they_propose_alone(self, kind, config, candidates):
        together = run(kind(candidates, seeds=[3, 1, 4, 1, 5], config=config), 22)
        for place, seeds in ((0, [3]), (4, [5]), (1, [9, 1])):
            alone = run(kind(candidates, seeds=seeds, config=config), 22)
            assert (alone.rows[-1] == together.rows[place]).all()
        assert (together.rows[1] == together.rows[3]).all()

    @pytest.mark.parametrize(("kind", "config"), QUICK)
    def test_a_state_that_was_saved_goes_on_alike(self, kind, config, candidates):
        first = run(kind(candidates, seeds=[7, 8], config=config), 18)
        second = kind(candidates, seeds=[7, 8], config=config)
        second.load_state(first.state())
        run(first, 26)
        assert (first.rows == run(second, 26).rows).all()
        first.keep(np.array([False, True]))
        assert (run(first, 31).rows[0] == run(second, 31).rows[1]).all()

    @pytest.mark.parametrize(("kind", "config"), QUICK)
    def test_no_cell_is_asked_for_twice(self, kind, config, candidates):
        strategy = run(kind(candidates, seeds=[0], config=config), 26)
        assert len(np.unique(candidates.classes[strategy.rows[0]])) == strategy.rows.shape[1]

    @pytest.mark.parametrize(("kind", "config"), QUICK)
    def test_equal_values_are_no_reason_to_ask_again(self, kind, config, candidates):
        strategy = kind(candidates, seeds=[0], config=config)
        while strategy.rows.shape[1] < 26:
            rows = strategy.ask().rows
            strategy.tell(rows, np.full(rows.shape, 0.1))
        assert len(np.unique(strategy.rows)) == strategy.rows.shape[1]

    @pytest.mark.parametrize(("kind", "config"), QUICK)
    def test_a_search_may_know_everything(self, kind, config, candidates):
        few = Candidates.of_cells(NB201, candidates.cells[:18])
        strategy = run(kind(few, seeds=[0, 1], config=config), 30)
        for told in strategy.rows:
            assert len(set(told.tolist())) >= 17  # all; a walk does not pay for where it begins


def test_regression_on_embeddings_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    units = np.tanh(rng.standard_normal((2, 60, 16)))
    values = units @ rng.standard_normal(16) + 0.3 * rng.standard_normal((2, 60))
    points = np.tanh(rng.standard_normal((2, 25, 16)))
    posterior = regress(torch.from_numpy(units), torch.from_numpy(values))
    mean, std = predict(posterior, torch.from_numpy(points))
    for at in range(2):
        ridge = linear_model.BayesianRidge(fit_intercept=False, tol=1e-10, max_iter=3000)
        wanted = ridge.fit(units[at], values[at]).predict(points[at], return_std=True)
        np.testing.assert_allclose(mean[at], wanted[0], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(std[at], wanted[1], rtol=1e-2)


def test_bayesian_optimisation_finds_better_cells(candidates):
    strategy = run(SupervisedDngo(candidates, seeds=range(3), config=replace(BO, epochs=60)), 46)
    assert strategy.values[:, -15:].mean() > strategy.values[:, :16].mean() + 0.1


def test_the_published_improvement_is_zero_once_the_variance_is_small(candidates, monkeypatch):
    strategy = SupervisedDngo(candidates, seeds=[0], config=replace(BO, faults=True, epochs=1))
    run(strategy, 16)
    graphs = strategy.graphs(strategy.rows)
    weights = drawn_weights(strategy.shape, [0])
    values = torch.from_numpy(strategy.values)
    order = np.arange(len(candidates))[None]
    for std in (0.8, 0.2):
        moments = torch.full((1, len(candidates)), 0.9), torch.full((1, len(candidates)), std)
        monkeypatch.setattr("archrep.strategies.supervised.predict", lambda *a, m=moments: m)
        scores = strategy._faulty_scores(weights, graphs, values, strategy.rngs, order)
        u = 0.9 - 0.95 / std**2
        wanted = std**2 * (stats.norm.pdf(u) + u * stats.norm.cdf(u))
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-30)
    assert scores.max() < 1e-30


def test_of_equal_scores_the_order_decides(candidates):
    strategy = SupervisedDngo(candidates, seeds=[0], config=BO)
    order = np.random.default_rng(0).permutation(len(candidates))
    chosen = strategy._largest(0, np.zeros(len(candidates)), order)
    labels = candidates.classes[order]
    _, first = np.unique(labels, return_index=True)
    assert chosen.tolist() == order[np.sort(first)[:5]].tolist()


def test_the_policy_gradient_goes_through_the_states_into_the_encoder(candidates, monkeypatch):
    config = replace(RL, baseline=0.2, discount=0.5)
    strategy = SupervisedReinforce(candidates, seeds=[0, 1], config=config)
    found = []
    monkeypatch.setattr(strategy, "_adam", found.append)
    monkeypatch.setattr(strategy, "_update", lambda rewards: found.append(rewards))
    run(strategy, 3)
    rows = strategy.ask().rows
    strategy.tell(rows, accuracy(candidates, rows))
    rewards = found.pop()
    again = SupervisedReinforce(candidates, seeds=[0, 1], config=config)
    run(again, 3)
    again.ask()  # the same walk, whose episode has not been closed
    strategy.noise, strategy.states = again.noise, again.states
    SupervisedReinforce._update(strategy, rewards)

    weights = strategy._tensors()
    leaves = [part.requires_grad_() for part in weights.values()]
    means, _ = strategy._means(weights)
    actions = means.detach() + torch.from_numpy(strategy.noise)
    log_pi = torch.distributions.Normal(means, 1.0).log_prob(actions).sum(2)
    gains = rewards - 0.2
    for step in (2, 1, 0):
        gains[:, step] += 0.5 * gains[:, step + 1]
    loss = -(log_pi * torch.from_numpy(gains).float()).mean(1).sum()
    wanted = torch.autograd.grad(loss, leaves)
    wanted = torch.cat([part.flatten(1) for part in wanted], 1)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-3, atol=1e-6)
    assert np.abs(found[0][:, : 7 * 64]).max() > 0  # of the first weights of the encoder


def test_encoder_and_policy_take_steps_of_their_own_rates(candidates):
    strategy = SupervisedReinforce(candidates, seeds=[0], config=RL)
    before = strategy.weights.copy()
    run(strategy, 4)
    moved = np.abs(strategy.weights - before)[0]  # the first step of Adam is the rate itself
    encoder = sum(a * b for a, b in strategy.shape.parts.values())
    assert moved[:encoder].max() == pytest.approx(1e-3, rel=1e-2)
    assert moved[encoder:].max() == pytest.approx(1e-2, rel=1e-2)


def test_retrieval_takes_the_nearest_embedding_of_the_runs_own_encoder(candidates):
    strategy = SupervisedReinforce(candidates, seeds=[0, 1], config=RL)
    rows = strategy.ask().rows[:, 0]
    vectors = strategy._table[0]
    assert not torch.equal(vectors[0], vectors[1])
    means, _ = strategy._means(strategy._tensors())
    for at in range(2):
        action = means[at, -1].numpy() + strategy.noise[at, -1]
        distance = np.square(vectors[at].numpy() - action).sum(1)
        free = candidates.classes != candidates.classes[strategy.start[at]]
        distance[~free] = np.inf
        assert rows[at] == distance.argmin()


def test_the_published_policy_never_sees_a_retrieved_state(candidates):
    strategy = SupervisedReinforce(candidates, seeds=[0], config=replace(RL, faults=True))
    run(strategy, 3)
    means, _ = strategy._means(strategy._tensors())
    strategy.states[:, 1:] = 0
    again, _ = strategy._means(strategy._tensors())
    assert torch.equal(means, again)


def test_embeddings_tell_what_was_told_and_change_nothing(candidates):
    config = replace(BO, initial=100, epochs=40, latent=4)
    asked, beside = (
        run(SupervisedDngo(candidates, seeds=[0, 1], config=config), 100) for _ in range(2)
    )
    vectors = asked.embeddings()
    assert vectors.shape == (2, len(candidates), 4)
    for at in range(2):
        told = np.column_stack([vectors[at][asked.rows[at]], np.ones(100)])
        rest = np.linalg.lstsq(told, asked.values[at])[1].item()
        assert rest < 0.25 * 100 * asked.values[at].var()
    np.testing.assert_array_equal(asked.ask().rows, beside.ask().rows)


def test_impossible_settings_are_named_together():
    with pytest.raises(ConfigError, match=r"(?s)`hidden`.*Got 100.*`batch`.*`batch_size`"):
        SupervisedDngoConfig(hidden=100, batch=0, batch_size=1)
    with pytest.raises(ConfigError, match=r"(?s)`latent`.*`episode`.*`discount`"):
        SupervisedReinforceConfig(latent=0, episode=0, discount=2.0)

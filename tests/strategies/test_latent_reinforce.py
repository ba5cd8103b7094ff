"""arch2vec-RL: the walk, the policy and its update, against torch's own modules."""

import numpy as np
import pytest
import torch

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.errors import ConfigError
from archrep.strategies.latent_reinforce import LatentReinforce, LatentReinforceConfig


@pytest.fixture(scope="module")
def candidates():
    space = get_space("nasbench201")
    cells = space.enumerate()[:600]
    vectors = np.random.default_rng(0).standard_normal((600, 5)).astype(np.float32)
    plain = Candidates(space, cells, np.arange(600), np.arange(600) // 2 * 2)
    return plain.with_features(vectors, "made up")


def play(strategy, steps):
    score = strategy.candidates.vectors[:, 0]
    for _ in range(steps):
        rows = strategy.ask().rows
        strategy.tell(rows, score[rows])
    return strategy.rows


def test_walks_to_the_nearest_cell_that_was_not_visited(candidates):
    strategy = LatentReinforce(candidates, seeds=[0, 1, 2])
    play(strategy, 5)
    taken, noise = strategy.taken.copy(), strategy.noise.copy()
    rows = strategy.ask().rows[:, 0]
    with torch.no_grad():
        mean = strategy._means(torch.from_numpy(strategy.weights))[:, -1].numpy()
    action = mean + strategy.noise[:, noise.shape[1]]
    for run in range(3):
        distance = np.linalg.norm(candidates.vectors - action[run], axis=1)
        distance[taken[run]] = np.inf
        assert rows[run] == distance.argmin()


def test_the_published_script_skips_the_nearest(candidates):
    config = LatentReinforceConfig(skip_nearest=True)
    strategy = LatentReinforce(candidates, seeds=[0], config=config)
    taken = strategy.taken.copy()
    row = strategy.ask().rows[0, 0]
    with torch.no_grad():
        mean = strategy._means(torch.from_numpy(strategy.weights))[0, -1].numpy()
    distance = np.linalg.norm(candidates.vectors - mean - strategy.noise[0, -1], axis=1)
    distance[taken[0]] = np.inf
    assert row == np.argsort(distance)[1]


def test_policy_is_torchs_lstm_cell_and_a_linear_layer(candidates):
    strategy = LatentReinforce(candidates, seeds=[4])
    play(strategy, 6)
    weight, place = {}, 0
    for name, (a, b) in strategy._shapes.items():
        weight[name] = torch.from_numpy(strategy.weights[0, place : place + a * b]).view(a, b)
        place += a * b
    cell = torch.nn.LSTMCell(5, 128)
    with torch.no_grad():
        cell.weight_ih.copy_(weight["input"].T)
        cell.weight_hh.copy_(weight["recurrent"].T)
        cell.bias_ih.copy_(weight["gates"][0])
        cell.bias_hh.zero_()
        state, expected = None, []
        for row in strategy.states[0]:
            state = cell(torch.from_numpy(candidates.vectors[row])[None], state)
            expected.append(state[0] @ weight["output"] + weight["mean"])
        found = strategy._means(torch.from_numpy(strategy.weights))[0]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("discount", [0.0, 0.8])
def test_update_is_torchs_adam_along_the_policy_gradient(candidates, discount):
    config = LatentReinforceConfig(episode=4, discount=discount, baseline=0.3, std=0.5)
    strategy = LatentReinforce(candidates, seeds=[1], config=config)
    play(strategy, 3)
    before = strategy.weights.copy()
    rows = strategy.ask().rows
    noise, states = strategy.noise.copy(), strategy.states.copy()
    strategy.tell(rows, candidates.vectors[:, 0][rows])
    rewards = strategy.values[0] - 0.3
    returns = [sum(discount ** (k - t) * rewards[k] for k in range(t, 4)) for t in range(4)]
    # The same gradient from torch's own normal distribution.
    replay = LatentReinforce(candidates, seeds=[1], config=config)
    replay.states = states
    flat = torch.from_numpy(before).requires_grad_()
    mean = replay._means(flat)
    action = mean.detach() + 0.5 * torch.from_numpy(noise)
    logarithm = torch.distributions.Normal(mean, 0.5).log_prob(action).sum(2)[0]
    loss = -(logarithm * torch.tensor(returns)).mean()
    adam = torch.optim.Adam([flat], lr=1e-2)
    loss.backward()
    adam.step()
    np.testing.assert_allclose(strategy.weights, flat.detach().numpy(), atol=2e-5)
    assert not np.allclose(strategy.weights, before)


def test_a_run_is_the_same_in_any_company(candidates):
    together = play(LatentReinforce(candidates, seeds=range(20)), 40)
    for seeds in ([7], [19, 7, 3]):
        assert (play(LatentReinforce(candidates, seeds=seeds), 40) == together[seeds]).all()


def test_the_cell_it_begins_at_is_neither_asked_for_nor_paid(candidates):
    strategy = LatentReinforce(candidates, seeds=range(10))
    rows = play(strategy, 30)
    for run in range(10):
        assert candidates.classes[strategy.start[run]] not in candidates.classes[rows[run]]


def test_goes_on_from_its_state(candidates):
    whole = play(LatentReinforce(candidates, seeds=[0, 1]), 40)
    first = LatentReinforce(candidates, seeds=[0, 1])
    play(first, 21)
    second = LatentReinforce(candidates, seeds=[5, 6])
    second.load_state(first.state())
    assert (play(second, 19) == whole).all()


def test_impossible_settings_are_named():
    with pytest.raises(ConfigError, match="`discount` must lie in .0, 1.. Got 2"):
        LatentReinforceConfig(discount=2)


def test_the_published_script_walks_to_copies_of_visited_cells(candidates):
    for copies in (False, True):
        config = LatentReinforceConfig(copies=copies)
        strategy = LatentReinforce(candidates, seeds=[0], config=config)
        rows = play(strategy, 250)[0]
        assert len(set(rows.tolist())) == 250
        assert (len(set(candidates.classes[rows].tolist())) == 250) != copies
        assert strategy.config.charge_repeats == copies

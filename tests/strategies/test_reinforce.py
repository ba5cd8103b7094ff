import numpy as np
import pytest
import torch

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.errors import ConfigError, SpaceError
from archrep.strategies.reinforce import Reinforce, ReinforceConfig

NB201, NB101 = get_space("nasbench201"), get_space("nasbench101")
ALL = Candidates(NB201, NB201.enumerate(), np.arange(NB201.size), NB201.topology_classes())


@pytest.fixture(scope="module")
def part_of_nasbench101():
    positions = np.arange(0, NB101.size, 25)
    cells = NB101.enumerate()[positions]
    return Candidates(NB101, cells, positions, np.arange(len(positions)))


def convolutions(candidates, rows):
    """Share of edges with a 3 x 3 convolution: a function that the choices decide one by one."""
    code = candidates.space.ops.index("nor_conv_3x3")
    return (candidates.cells.ops[rows] == code).mean(-1)


def run(strategy, steps, value=convolutions):
    for _ in range(steps):
        asked = strategy.ask().rows
        strategy.tell(asked, value(strategy.candidates, asked))
    return strategy


@pytest.mark.parametrize("preset", [None, "nasbench201"])
def test_runs_in_any_company_draw_what_they_draw_alone(preset):
    config = Reinforce.presets[preset] if preset else ReinforceConfig()
    together = run(Reinforce(ALL, seeds=[3, 1, 4, 1, 5], config=config), 30)
    for place, seed in ((0, 3), (1, 1), (4, 5)):
        alone = run(Reinforce(ALL, seeds=[seed], config=config), 30)
        assert (alone.rows[0] == together.rows[place]).all()
        assert (alone.logits[0] == together.logits[place]).all()
    assert (together.rows[1] == together.rows[3]).all()
    assert (together.rows[0] != together.rows[1]).any()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_are_those_of_torch_on_log_probability_times_advantage(optimizer):
    strategy = Reinforce(ALL, seeds=[0], config=ReinforceConfig(optimizer=optimizer))
    logits = torch.zeros(6, 5, dtype=torch.float64, requires_grad=True)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    steps = kind([logits], lr=0.1)
    seen = []
    for _ in range(6):
        row = strategy.ask().rows
        value = convolutions(ALL, row)
        seen.append(float(value[0, 0]))
        weights = 0.1 * 0.9 ** np.arange(len(seen))[::-1]
        advantage = seen[-1] - (weights @ seen) / weights.sum()
        choices = torch.from_numpy(NB201.decisions_of_rows(row[0]))[0]
        log_probability = logits.log_softmax(1)[torch.arange(6), choices].sum()
        steps.zero_grad()
        (-advantage * log_probability).backward()
        steps.step()
        strategy.tell(row, value)
    np.testing.assert_allclose(strategy.logits[0], logits.detach().numpy(), atol=1e-12)


def test_the_policy_learns_which_choices_pay():
    strategy = run(Reinforce(ALL, seeds=range(20), config=ReinforceConfig(learning_rate=0.5)), 300)
    assert strategy.values[:, -20:].mean() > strategy.values[:, :20].mean() + 0.3


def test_draws_follow_the_policy():
    strategy = Reinforce(ALL, seeds=range(4000))
    strategy.logits[:, 0] = np.log([0.1, 0.2, 0.3, 0.4, 1e-9])
    choices = NB201.decisions_of_rows(strategy.ask().rows[:, 0])
    share = np.bincount(choices[:, 0], minlength=5) / 4000
    np.testing.assert_allclose(share, [0.1, 0.2, 0.3, 0.4, 0], atol=0.03)
    np.testing.assert_allclose(np.bincount(choices[:, 5]) / 4000, 0.2, atol=0.03)


def test_choices_that_are_no_cell_of_the_candidates_are_drawn_again(part_of_nasbench101):
    strategy = run(Reinforce(part_of_nasbench101, seeds=[0, 1]), 5, lambda c, r: r / len(c))
    for rows, drawn in zip(strategy.rows[:, -1], strategy.drawn, strict=True):
        assert strategy.decisions.rows(drawn[None])[0] == rows


def test_a_policy_that_has_settled_on_what_is_no_cell_gets_a_random_one(part_of_nasbench101):
    strategy = Reinforce(part_of_nasbench101, seeds=[0])
    strategy.logits[:, :21, 0] = 60.0  # no edge at all
    row = strategy.ask().rows[0]
    assert (strategy.decisions.rows(strategy.drawn) == row).all()
    strategy.tell(row[None], np.array([[0.5]]))
    assert np.isfinite(strategy.probabilities).all()


def test_a_state_that_was_saved_goes_on_alike():
    first = run(Reinforce(ALL, seeds=[7, 8]), 10)
    second = Reinforce(ALL, seeds=[7, 8])
    second.load_state(first.state())
    assert (run(first, 10).rows == run(second, 10).rows).all()
    first.keep(np.array([False, True]))
    assert (run(first, 5).rows[0] == run(second, 5).rows[1]).all()


def test_cells_that_nobody_asked_for_teach_too():
    strategy = Reinforce(ALL, seeds=[0])
    strategy.tell(np.array([[5, 9]]), np.array([[0.1, 0.9]]))
    liked = NB201.decisions_of_rows(np.array([9]))[0]
    assert (strategy.probabilities[0, np.arange(6), liked] > 0.2).all()


def test_impossible_settings_are_named_together():
    with pytest.raises(ConfigError, match=r"(?s)`learning_rate`.*`momentum`.*`optimizer`"):
        ReinforceConfig(learning_rate=0, optimizer="lbfgs", momentum=1.0)


def test_a_space_without_choices_is_refused():
    darts = get_space("darts")
    with pytest.raises(SpaceError, match="DARTS has none here"):
        Reinforce(Candidates.of_cells(darts, darts.sample_array(3)), seeds=[0])

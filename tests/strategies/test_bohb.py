import itertools
import math

import numpy as np
import pytest

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.errors import ConfigError
from archrep.strategies.bohb import Bohb, BohbConfig, density_of, place_of

NB201 = get_space("nasbench201")
ALL = Candidates(NB201, NB201.enumerate(), np.arange(NB201.size), NB201.topology_classes())
TWO = BohbConfig(schedules=(12, 200))


def accuracy(rows, epochs=None):
    """Share of edges with a 3 x 3 convolution; short trainings see it less clearly."""
    share = (ALL.cells.ops[rows] == 2).mean(-1)
    return share if epochs is None else share * (0.5 + epochs / 400)


def run(strategy, steps):
    asked = [strategy.ask()]
    for _ in range(steps):
        strategy.tell(asked[-1].rows, accuracy(asked[-1].rows, asked[-1].epochs))
        asked.append(strategy.ask())
    return asked[:-1]


def test_brackets_are_those_of_hyperband():
    # Four schedules, eta 3: 27-9-3-1, 9-3-1, 6-2 and 4 cells, then again.
    sizes = [(27, 0), (9, 1), (3, 2), (1, 3), (9, 1), (3, 2), (1, 3), (6, 2), (2, 3), (4, 3)]
    wanted = [level for size, level in sizes for _ in range(size)]
    places = [place_of(n, 4, 3) for n in range(2 * len(wanted))]
    assert [place.level for place in places] == 2 * wanted
    assert places[27].before == slice(0, 27)
    assert places[36].before == slice(27, 36)
    assert places[40].rung == 0


def test_the_best_of_a_rung_go_on_to_the_longer_schedule():
    strategy = Bohb(ALL, seeds=range(4), config=TWO)
    asked = run(strategy, 4)
    assert [ask.epochs[0, 0] for ask in asked] == [12, 12, 12, 200]
    first = np.concatenate([ask.rows for ask in asked[:3]], 1)
    best = np.take_along_axis(first, accuracy(first).argmax(1)[:, None], 1)
    assert (asked[3].rows == best).all()


def test_the_recommended_cell_is_the_best_of_the_longest_schedule():
    strategy = Bohb(ALL, seeds=[0], config=TWO)
    assert strategy.recommend() is None
    for value in (0.9, 0.8, 0.7, 0.2):  # the long training turns out worse
        rows = strategy.ask().rows
        strategy.tell(rows, np.array([[value]]))
    assert strategy.recommend() == strategy.rows[:, 3]


def test_without_schedules_every_question_is_for_the_default_one():
    assert Bohb(ALL, seeds=[0]).ask().epochs is None


@pytest.mark.parametrize("config", [TWO, BohbConfig(), Bohb.presets["arch2vec-2020"]])
def test_runs_in_any_company_ask_what_they_ask_alone(config):
    together = Bohb(ALL, seeds=[3, 1, 4, 1, 5], config=config)
    asked = np.concatenate([ask.rows for ask in run(together, 45)], 1)
    for place, seed in ((0, 3), (1, 1), (4, 5)):
        alone = run(Bohb(ALL, seeds=[seed], config=config), 45)
        assert (np.concatenate([ask.rows for ask in alone], 1)[0] == asked[place]).all()
    assert (asked[1] == asked[3]).all()


def test_log_density_is_the_mean_of_products_of_kernels():
    rng = np.random.default_rng(0)
    options = np.array([2, 3, 5])
    centres = rng.integers(options, size=(2, 7, 3))
    density = density_of(centres, options, 0.1)
    points = rng.integers(options, size=(2, 4, 3))
    for r, m in itertools.product(range(2), range(4)):
        total = 0.0
        for n in range(7):
            product = 1.0
            for k in range(3):
                width = density.bandwidth[r, k]
                same = points[r, m, k] == centres[r, n, k]
                product *= 1 - width if same else width / (options[k] - 1)
            total += product / 7
        assert density.log(points)[r, m] == pytest.approx(math.log(total), rel=1e-12)


def test_a_density_sums_to_one_and_its_draws_follow_it():
    options = np.array([2, 3])
    centres = np.array([[[0, 0], [0, 2], [1, 2], [0, 2]]])
    density = density_of(centres, options, 0.2)
    points = np.array(list(itertools.product(range(2), range(3))))
    probabilities = np.exp(density.log(points[None]))[0]
    assert probabilities.sum() == pytest.approx(1)
    drawn = density.draw(0, np.random.default_rng(1), 40_000)
    share = np.bincount(drawn @ [3, 1], minlength=6) / 40_000
    np.testing.assert_allclose(share, probabilities, atol=0.01)


def test_bandwidth_of_two_options_is_the_normal_reference_rule():
    choices = np.array([[[0], [0], [0], [1]]])
    width = density_of(choices, np.array([2]), 0.01).bandwidth[0, 0]
    assert width == pytest.approx(1.06 * choices.std() * 4 ** (-1 / 5))


def test_a_kernel_is_never_wider_than_a_uniform_one():
    choices = np.random.default_rng(0).integers(2, size=(1, 3, 1))
    assert density_of(choices, np.array([2]), 0.9).bandwidth[0, 0] == 0.5


def test_the_model_is_that_of_the_longest_schedule_with_enough_cells():
    strategy = Bohb(ALL, seeds=[0, 1], config=BohbConfig(schedules=(12, 200), min_points=2))
    run(strategy, 4)
    assert strategy.densities() is None or strategy.densities()[0].centres.shape[1] == 2
    run(strategy, 20)
    good, other = strategy.densities()
    long = strategy.levels[0] == 1
    assert good.centres.shape[1] + other.centres.shape[1] == long.sum()
    best = strategy.answers[:, long].argmax(1)
    wanted = strategy.choices[:, long][np.arange(2), best]
    assert (good.centres[:, 0] == wanted).all()


def test_it_finds_better_cells_than_random_choices():
    strategy = Bohb(ALL, seeds=range(20))
    run(strategy, 100)
    assert strategy.values[:, -30:].mean() > strategy.values[:, :14].mean() + 0.15


def test_new_cells_were_never_asked_for():
    strategy = Bohb(ALL, seeds=[0])
    run(strategy, 60)
    assert len(np.unique(ALL.classes[strategy.rows[0]])) == 60


def test_random_cells_are_uniform_over_cells_or_over_choices():
    space = get_space("nasbench101")
    every = Candidates(space, space.enumerate(), np.arange(space.size), np.arange(space.size))
    sizes = {}
    for uniform in ("cells", "choices"):
        config = BohbConfig(uniform=uniform, random_fraction=1.0)
        strategy = Bohb(every, seeds=range(150), config=config)
        rows = strategy.ask().rows[:, 0]
        sizes[uniform] = space.enumerate().num_nodes[rows].mean()
        assert (strategy.decisions.rows(strategy.drawn) == rows).all()
    # Five cells in six have seven nodes; pruned matrices are smaller.
    assert sizes["cells"] > 6.7
    assert sizes["choices"] < 6.3


def test_part_of_nasbench101_with_four_schedules_stays_within_it():
    space = get_space("nasbench101")
    positions = np.arange(0, space.size, 25)
    part = Candidates(space, space.enumerate()[positions], positions, np.arange(len(positions)))
    config = BohbConfig(schedules=(4, 12, 36, 108), min_points=4)
    strategy = Bohb(part, seeds=[0, 1], config=config)
    for _ in range(45):
        asked = strategy.ask()
        strategy.tell(asked.rows, asked.rows / len(part))
    assert (strategy.decisions.rows(strategy.choices[:, -1]) == strategy.answered[:, -1]).all()


def test_a_state_that_was_saved_goes_on_alike():
    first = Bohb(ALL, seeds=[7, 8], config=TWO)
    run(first, 17)
    second = Bohb(ALL, seeds=[7, 8], config=TWO)
    # A question is asked again after a restart, from where the generators stood.
    first.tell(first.asked[:, None], accuracy(first.asked[:, None], 12))
    second.load_state(first.state())
    assert [a.rows.tolist() for a in run(first, 10)] == [a.rows.tolist() for a in run(second, 10)]
    first.keep(np.array([False, True]))
    assert first.choices.shape[0] == 1


def test_cells_that_nobody_asked_for_enter_no_bracket():
    strategy = Bohb(ALL, seeds=[0], config=TWO)
    strategy.ask()
    strategy.tell(np.array([[1, 2]]), np.array([[0.5, 0.5]]))
    assert strategy.answers.shape == (1, 0)
    assert strategy.taken[0, 1]


def test_impossible_settings_are_named_together():
    with pytest.raises(ConfigError, match=r"(?s)`schedules`.*\(200, 12\).*`eta`.*`good_fraction`"):
        BohbConfig(schedules=(200, 12), eta=1, good_fraction=1.5)


def test_schedules_may_come_from_json():
    assert BohbConfig(schedules=[12, 200]).schedules == (12, 200)

import numpy as np
import pytest

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.strategies import get_strategy, settings

SPACE = get_space("nasbench201")
ALL = Candidates(SPACE, SPACE.enumerate(), np.arange(SPACE.size), SPACE.topology_classes())


def value_of(rows):
    """Share of edges with a 3 x 3 convolution; no two cells are equal."""
    share = (ALL.cells.ops[rows] == SPACE.ops.index("nor_conv_3x3")).mean(-1)
    return share + 1e-7 * np.asarray(rows)


def make(name, seeds=(0,), **changes):
    strategy = get_strategy(name)
    return strategy(ALL, seeds=list(seeds), config=settings(strategy, None, changes))


def run(strategy, steps):
    for _ in range(steps):
        asked = strategy.ask().rows
        strategy.tell(asked, value_of(asked))
    return strategy


def test_values_of_ones_own_may_be_told_before_anything_is_asked():
    for name in ("local-search", "evolution", "random"):
        strategy = make(name)
        rows = np.arange(0, 3000, 100)[None]
        strategy.tell(rows, value_of(rows))
        asked = strategy.ask().rows
        assert asked[0, 0] not in rows


class TestEvolution:
    def test_a_child_is_a_neighbour_of_the_best_of_all_members_drawn(self):
        # With many more draws than members, the parent is the best of those alive.
        strategy = run(make("evolution", population_size=4, sample_size=400), 4)
        for _ in range(20):
            alive = strategy.rows[0, -4:]
            parent = alive[strategy.values[0, -4:].argmax()]
            child = strategy.ask().rows
            assert child[0, 0] in ALL.neighbours(np.array([parent]))[0]
            strategy.tell(child, value_of(child))

    def test_no_cell_is_asked_twice_unless_repeats_are_paid_for(self):
        changes = {"population_size": 5, "sample_size": 5}
        rows = run(make("evolution", **changes), 150).rows[0]
        assert len(np.unique(ALL.classes[rows])) == 150
        rows = run(make("evolution", repeats=True, **changes), 150).rows[0]
        assert len(np.unique(ALL.classes[rows])) < 150

    def test_presets_of_published_programs_pay_for_repeats(self):
        for strategy in (get_strategy("evolution"), get_strategy("reinforce")):
            assert not strategy.Config().charge_repeats
            assert all(preset.charge_repeats for preset in strategy.presets.values())


class TestLocalSearch:
    def test_moves_to_the_first_better_neighbour_and_to_no_worse_one(self):
        strategy = run(make("local-search", initial=3), 3)
        assert strategy.current[0] == strategy.best_rows()[0]
        for _ in range(40):
            row = strategy.ask().rows
            begins = bool(strategy.begins[0])
            before = int(strategy.current[0])
            strategy.tell(row, value_of(row))
            if begins or value_of(row)[0, 0] > value_of(np.array([before]))[0]:
                assert strategy.current[0] == row[0, 0]
            else:
                assert strategy.current[0] == before

    def test_a_foreign_value_does_not_begin_a_climb(self):
        strategy = run(make("local-search", initial=3), 3)
        asked = strategy.ask().rows
        while not strategy.begins[0]:
            strategy.tell(asked, value_of(asked))
            asked = strategy.ask().rows
        summit = int(strategy.current[0])
        foreign = np.flatnonzero(~strategy.taken[0])[:1]
        strategy.tell(foreign[None], np.array([[-1.0]]))
        assert strategy.current[0] == summit
        strategy.tell(asked, np.array([[-0.5]]))
        assert strategy.current[0] == asked[0, 0]


@pytest.mark.parametrize("name", ["random", "evolution", "local-search"])
def test_runs_in_any_company_ask_what_they_ask_alone(name):
    together = run(make(name, seeds=[3, 1, 4]), 130)
    for place, seed in enumerate([3, 1, 4]):
        assert (run(make(name, seeds=[seed]), 130).rows[0] == together.rows[place]).all()

import itertools

import networkx
import numpy as np
import pytest

from archrep.cells import Cell, get_space
from archrep.cells.decisions import Decisions, one_hot
from archrep.cells.nasbench201 import OPERATIONS
from archrep.errors import CellError, SpaceError

NB101, NB201 = get_space("nasbench101"), get_space("nasbench201")


def pruned_by_networkx(choices):
    """The cell that 26 choices stand for, or `None`: a second implementation."""
    edges = [
        pair
        for pair, bit in zip(itertools.combinations(range(7), 2), choices[:21], strict=True)
        if bit
    ]
    if len(edges) > 9:
        return None
    graph = networkx.DiGraph(edges)
    graph.add_nodes_from((0, 6))
    alive = (networkx.descendants(graph, 0) | {0}) & (networkx.ancestors(graph, 6) | {6})
    if not {0, 6} <= alive:
        return None
    nodes = sorted(alive)
    place = {v: n for n, v in enumerate(nodes)}
    label = ["input", *(NB101.ops[1 + op] for op in choices[21:]), "output"]
    return Cell(
        tuple(label[v] for v in nodes),
        tuple((place[i], place[j]) for i, j in edges if i in place and j in place),
    )


@pytest.mark.parametrize("space", [NB101, NB201], ids=["nasbench101", "nasbench201"])
def test_every_cell_is_reached_by_its_own_choices(space):
    rows = np.arange(0, space.size, 37)
    assert (space.rows_of_decisions(space.decisions_of_rows(rows)) == rows).all()


def test_choices_of_nasbench101_lead_to_the_cell_that_is_left_after_pruning(rng):
    choices = rng.integers(NB101.decisions, size=(600, 26))
    choices[300:, :21] &= rng.integers(0, 2, (300, 21))  # sparse matrices, of which more are legal
    found = NB101.rows_of_decisions(choices)
    for row, chosen in zip(found.tolist(), choices.tolist(), strict=True):
        cell = pruned_by_networkx(chosen)
        assert row == (-1 if cell is None else NB101.index(cell))
    assert 0.3 < (found >= 0).mean() < 0.9


def test_ten_edges_are_no_cell_even_where_pruning_leaves_one():
    choices = np.zeros((1, 26), np.int64)
    choices[0, [5, *range(11, 20)]] = 1  # input -> output, and nine edges that lead nowhere
    assert NB101.rows_of_decisions(choices).tolist() == [-1]
    choices[0, 19] = 0
    assert NB101.rows_of_decisions(choices).tolist() == [
        NB101.index(NB101.parse('{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"]}'))
    ]


def test_choices_of_nasbench201_are_the_operations_of_the_official_edges(rng):
    for chosen in rng.integers(5, size=(50, 6)).tolist():
        a, b, c, d, e, f = (OPERATIONS[k] for k in chosen)
        text = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        row = NB201.rows_of_decisions(np.array([chosen]))[0]
        assert row == NB201.index(NB201.parse(text))


def test_choices_among_some_cells_lead_to_positions_among_them(rng):
    positions = np.sort(rng.choice(NB201.size, 1000, replace=False))
    decisions = Decisions(NB201, positions)
    choices = decisions.uniform(rng, 2000)
    rows, everywhere = decisions.rows(choices), NB201.rows_of_decisions(choices)
    assert (positions[rows[rows >= 0]] == everywhere[rows >= 0]).all()
    assert not np.isin(everywhere[rows < 0], positions).any()
    assert (decisions.rows(decisions.choices(np.arange(1000))) == np.arange(1000)).all()


def test_a_matrix_without_a_path_does_not_pass_for_the_last_cell():
    decisions = Decisions(NB101, np.arange(NB101.size))
    assert decisions.rows(np.zeros((1, 26), np.int64)).tolist() == [-1]


def test_the_first_choice_that_counts_does_not_depend_on_other_runs():
    decisions = Decisions(NB101, np.arange(0, NB101.size, 20))

    def first(seeds):
        rngs = [np.random.default_rng(seed) for seed in seeds]
        return decisions.first(lambda run, n: decisions.uniform(rngs[run], n), len(seeds))

    rows, choices = first([5, 6, 7])
    for place, seed in enumerate([5, 6, 7]):
        alone, its = first([seed])
        assert alone[0] == rows[place]
        assert (its[0] == choices[place]).all()
    assert (rows >= 0).all()


def test_a_draw_that_never_counts_gives_up():
    decisions = Decisions(NB201, np.array([3]))
    never = NB201.decisions_of_rows(np.array([4]))
    rows, _ = decisions.first(lambda run, n: never.repeat(n, 0), 2, rounds=3)
    assert rows.tolist() == [-1, -1]


def test_rows_that_are_taken_are_drawn_again():
    decisions = Decisions(NB201, np.arange(NB201.size))
    taken = np.ones((3, NB201.size), bool)
    taken[:, 100:200] = False
    rng = np.random.default_rng(0)
    rows, choices = decisions.first(lambda run, n: decisions.uniform(rng, n), 3, taken)
    assert ((rows >= 100) & (rows < 200)).all()
    assert (decisions.rows(choices) == rows).all()


def test_one_hot_marks_the_option():
    marks = one_hot(np.array([[1, 2]]), np.array([2, 3]))
    assert marks.tolist() == [[[0, 1, 0], [0, 0, 1]]]


def test_wrong_choices_are_named():
    with pytest.raises(CellError, match=r"is 6 choices, `\[M, 6\]`. Got \(1, 5\)"):
        NB201.rows_of_decisions(np.zeros((1, 5), int))
    with pytest.raises(CellError, match=r"Choice 2 of .* options 0..4. Got 5"):
        NB201.rows_of_decisions(np.array([[0, 0, 5, 0, 0, 0]]))


def test_a_space_without_choices_says_so():
    darts = get_space("darts")
    with pytest.raises(SpaceError, match="not written as independent choices"):
        darts.rows_of_decisions(np.zeros((1, 1), int))
    with pytest.raises(SpaceError, match="not written as independent choices"):
        darts.decisions_of_rows(np.zeros(1, int))
    with pytest.raises(SpaceError, match="use a strategy that works on embeddings"):
        Decisions(darts, None)

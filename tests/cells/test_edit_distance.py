"""Edit distance against networkx, which searches in another way, and against counting."""

from __future__ import annotations

import itertools

import networkx
import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from archrep.cells import SPACES, Cell, get_space
from archrep.cells.edit_distance import edit_distance

PATH = Cell(("input", "maxpool3x3", "output"), ((0, 1), (1, 2)))


def networkx_distance(first: Cell, second: Cell, upper_bound: int | None = None) -> int:
    distance = networkx.graph_edit_distance(
        first.to_networkx(),
        second.to_networkx(),
        node_match=lambda a, b: a["op"] == b["op"],
        upper_bound=upper_bound,
    )
    return -1 if distance is None else int(distance)


def integer_program_distance(first: Cell, second: Cell) -> int:
    """Edit distance as a linear program in 0 and 1: which node maps to which, which edge to which.

    All is deleted and inserted at first; a pair of nodes saves 2 or, if relabelled, 1, a pair of
    edges 2. Each node is used once, and edges are paired only if their ends are.
    """
    n, m = len(first), len(second)
    nodes, links = n * m, len(first.edges) * len(second.edges)
    saved = np.full(nodes + links, 2)
    saved[:nodes] = [2 - (a != b) for a in first.ops for b in second.ops]
    pairs = np.eye(nodes).reshape(n, m, nodes)
    rows = [*pairs.sum(1), *pairs.sum(0)]
    limits = [1] * (n + m) + [0] * (2 * m * len(first.edges))
    rows = [np.concatenate([row, np.zeros(links)]) for row in rows]
    for e, ends in enumerate(first.edges):
        for k, end in itertools.product(range(m), (0, 1)):
            row = np.zeros(nodes + links)
            row[ends[end] * m + k] = -1
            start = nodes + e * len(second.edges)
            row[start : start + len(second.edges)] = [edge[end] == k for edge in second.edges]
            rows.append(row)
    best = milp(
        -saved,
        integrality=np.ones(len(saved)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.array(rows), -np.inf, limits),
    )
    return n + m + len(first.edges) + len(second.edges) + round(best.fun)


@pytest.mark.parametrize(
    ("other", "distance"),
    [
        (PATH, 0),
        (Cell(("input", "conv1x1-bn-relu", "output"), PATH.edges), 1),
        (Cell(PATH.ops, ((0, 1), (0, 2), (1, 2))), 1),
        (Cell(("input", "output"), ((0, 1),)), 3),  # maxpool3x3 turns into the output
        (Cell(("input", "output"), ()), 3),
        (Cell(()), 5),
    ],
)
def test_distances_from_a_path_of_three_nodes(other, distance):
    assert edit_distance(PATH, other) == PATH.edit_distance(other) == distance
    assert edit_distance(other, PATH) == distance


def test_equals_networkx_on_random_graphs_of_different_sizes(rng, random_dag):
    for _ in range(300):
        first, second = (random_dag(rng, rng.integers(0, 6), "abc") for _ in range(2))
        assert edit_distance(first, second) == networkx_distance(first, second)


@pytest.mark.parametrize(("name", "steps"), [("nasbench101", 4), ("nasbench201", 3), ("darts", 1)])
def test_equals_networkx_on_cells_a_few_mutations_apart(name, steps, rng):
    space = get_space(name)
    for _ in range(30):
        first, *_, last = space.walk(steps, rng)
        distance = edit_distance(first, last)
        # A bound of one more than our answer would show any better one, and keeps networkx quick.
        assert networkx_distance(first, last, distance + 1) == distance


@pytest.mark.parametrize(
    ("name", "pairs"), [("nasbench101", 20), ("nasbench201", 20), ("darts", 6)]
)
def test_equals_the_optimum_of_an_integer_program_on_random_cells(name, pairs):
    cells = get_space(name).sample_array(2 * pairs, seed=2)
    for first, second in zip(cells[:pairs], cells[pairs:], strict=True):
        assert edit_distance(first, second) == integer_program_distance(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SPACES))
def test_equals_the_optimum_of_an_integer_program_on_many_cells(name, rng):
    space = get_space(name)
    for _ in range(100):
        walk = space.walk(8, rng)
        for last in (walk[8], space.sample(rng)):
            assert edit_distance(walk[0], last) == integer_program_distance(walk[0], last)


@pytest.mark.parametrize("name", sorted(SPACES))
class TestEverySpace:
    def test_is_a_metric_on_graphs_that_no_relabelling_changes(self, name, rng, random_order):
        space = get_space(name)
        for _ in range(12):
            a, b, c = space.walk(2, rng)
            ab, bc, ac = edit_distance(a, b), edit_distance(b, c), edit_distance(a, c)
            assert (
                ab
                == edit_distance(b, a)
                == edit_distance(a.permuted(random_order(a, rng)), b.permuted(random_order(b, rng)))
            )
            assert ac <= ab + bc
            assert edit_distance(a, a.permuted(random_order(a, rng))) == 0
            assert (ac == 0) == a.is_isomorphic(c)

    def test_a_change_of_one_operation_is_at_distance_one(self, name, rng):
        space = get_space(name)
        cell = space.sample(rng)
        near = [Cell((*cell.ops[:3], op, *cell.ops[4:]), cell.edges) for op in space.ops]
        distances = [edit_distance(cell, other) for other in near if space.is_legal(other)]
        assert sorted(distances) == [0] + [1] * (len(distances) - 1)
        assert len(distances) > 2

    def test_an_upper_bound_is_returned_where_nothing_is_below_it(self, name):
        first, second = get_space(name).sample_array(2, seed=5)
        distance = edit_distance(first, second)
        bounds = [0, 1, distance - 1, distance, distance + 1, 1000]
        assert [edit_distance(first, second, bound) for bound in bounds] == [
            min(bound, distance) for bound in bounds
        ]


def test_cells_of_two_spaces_can_be_compared():
    first, second = (get_space(name).sample_array(1)[0] for name in ("nasbench101", "nasbench201"))
    assert 0 < edit_distance(first, second) == edit_distance(second, first)


def test_deleting_everything_is_the_worst_case(rng, random_dag):
    for nodes, more in itertools.product(range(5), repeat=2):
        first = random_dag(rng, nodes, "ab")
        second = random_dag(rng, more, "cd")  # no operation in common
        worst = max(nodes, more) + abs(len(first.edges) - len(second.edges))
        assert edit_distance(first, second) >= worst
        assert edit_distance(first, Cell(())) == nodes + len(first.edges)


def test_numpy_booleans_never_leak_into_the_result():
    assert type(edit_distance(PATH, Cell(np.array(PATH.ops)))) is int

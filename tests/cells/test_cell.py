"""One cell: construction, canonical form, conversions; networkx and counting as oracles."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys

import networkx
import numpy as np
import pytest

from archrep.cells import Cell
from archrep.errors import CellError

DIAMOND = Cell(("input", "a", "b", "output"), ((0, 1), (0, 2), (1, 3), (2, 3)))


class TestConstruction:
    def test_lists_and_numpy_numbers_give_the_same_cell_as_tuples(self):
        ops = np.array(["input", "a", "b", "output"])
        edges = [[np.int64(2), np.uint8(3)], (1, 3), [0, 2], np.array([0, 1])]
        assert Cell(ops, edges) == DIAMOND
        assert hash(Cell(list(ops), iter(edges))) == hash(DIAMOND)

    def test_numpy_strings_become_plain_ones_so_that_the_fingerprint_is_the_same(self):
        cell = Cell(np.array(DIAMOND.ops), DIAMOND.edges)
        assert {type(op) for op in cell.ops} == {str}
        assert cell.fingerprint == DIAMOND.fingerprint

    @pytest.mark.parametrize(
        ("ops", "edges", "text"),
        [
            ("ab", ((1, 0),), r"lower to a higher node\. Got edge 1 -> 0\..*adjacency\.T"),
            ("ab", ((1, 1),), "Got edge 1 -> 1"),
            ("ab", ((0, 2),), r"join two of the 2 nodes 0\.\.1\. Got edge 0 -> 2"),
            ("ab", ((-1, 1),), "Got edge -1 -> 1"),
            ("ab", ((0, 10**30),), "Got edge 0 -> 1000"),
            ("ab", ((0, 1), (0, 1)), "given twice"),
            ("ab", ((0, 1, 1),), "pairs of node numbers"),
            ("ab", ((0, 0.5),), "pairs of node numbers"),
            ("ab", (("0", "1"),), "pairs of node numbers"),
            ("ab", (0, 1), "pairs of node numbers"),
            ("ab", None, "pairs of node numbers"),
            ("ab", "é", "pairs of node numbers"),
        ],
    )
    def test_impossible_edges_are_refused_with_the_edge(self, ops, edges, text):
        with pytest.raises(CellError, match=text):
            Cell(tuple(ops), edges)

    @pytest.mark.parametrize("ops", ["input", (1, 2), ("a", None), None, 3, [["a"], "b"]])
    def test_operations_that_are_no_names_are_refused(self, ops):
        with pytest.raises(CellError, match=r"`ops` must be a sequence of operation names\. Got"):
            Cell(ops)

    @pytest.mark.parametrize(
        ("matrix", "text"),
        [
            ([[0, 1], [0]], "rows of unequal length"),
            ([[0, 1]], r"must be 2 x 2 for 2 operations\. Got shape \(1, 2\)"),
            (7, r"Got shape \(\)"),
            ([[0, 2], [0, 0]], "only 0 and 1"),
            ([[0, float("nan")], [0, 0]], "only 0 and 1"),
            ([[0, "x"], [0, 0]], "only 0 and 1"),
            ([[0, None], [0, 0]], "only 0 and 1"),
            ([[0, 0], [1, 0]], r"pass `adjacency\.T`"),
        ],
    )
    def test_matrices_that_are_no_cell_are_refused(self, matrix, text):
        with pytest.raises(CellError, match=text):
            Cell.from_matrix(matrix, ("a", "b"))

    def test_matrix_and_back_is_the_same_cell(self, rng, random_dag):
        for nodes in range(8):
            cell = random_dag(rng, nodes)
            assert Cell.from_matrix(cell.adjacency, cell.ops) == cell

    def test_adjacency_holds_source_row_and_target_column_and_cannot_be_written(self):
        assert DIAMOND.adjacency.tolist() == [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0] * 4]
        with pytest.raises(ValueError, match="read-only"):
            DIAMOND.adjacency[0, 0] = 1

    def test_predecessors_and_successors_follow_the_edges(self):
        assert DIAMOND.predecessors(3) == (1, 2)
        assert DIAMOND.successors(0) == (1, 2)
        assert DIAMOND.predecessors(0) == DIAMOND.successors(3) == ()

    def test_copies_and_pickles_are_equal_even_after_use(self):
        assert DIAMOND.canonical
        assert pickle.loads(pickle.dumps(DIAMOND)) == copy.deepcopy(DIAMOND) == DIAMOND


class TestPermuted:
    @pytest.mark.parametrize("order", [(0, 1, 2), (0, 1, 2, 2), (0, 1, 2, 4), ()])
    def test_an_order_that_is_no_permutation_is_refused(self, order):
        with pytest.raises(CellError, match="permutation of the 4 nodes"):
            DIAMOND.permuted(order)

    def test_an_order_that_turns_an_edge_around_is_refused(self):
        with pytest.raises(CellError, match="lower to a higher node"):
            DIAMOND.permuted((1, 0, 2, 3))

    def test_the_inverse_order_leads_back(self, rng, random_dag, random_order):
        cell = random_dag(rng, 7, "abc")
        order = random_order(cell, rng)
        assert cell.permuted(np.array(order)).permuted(np.argsort(order)) == cell


class TestCanonical:
    @pytest.mark.parametrize(("nodes", "count"), [*enumerate([1, 1, 2, 6, 31, 302])])
    def test_number_of_canonical_forms_is_that_of_unlabelled_dags(self, nodes, count):
        # Robinson (1977), OEIS A003087
        pairs = list(itertools.combinations(range(nodes), 2))
        chosen = itertools.product((False, True), repeat=len(pairs))
        cells = (Cell(["a"] * nodes, itertools.compress(pairs, mask)) for mask in chosen)
        assert len({cell.canonical for cell in cells}) == count

    def test_equal_exactly_for_graphs_that_networkx_calls_isomorphic(
        self, rng, random_dag, isomorphic
    ):
        agreeing = 0
        for _ in range(1500):
            nodes = rng.integers(2, 5)
            first, second = random_dag(rng, nodes), random_dag(rng, nodes)
            assert first.is_isomorphic(second) == isomorphic(first, second)
            agreeing += first.is_isomorphic(second)
        assert agreeing > 30

    def test_does_not_depend_on_node_order_and_is_its_own_canonical_form(
        self, rng, random_dag, random_order
    ):
        for _ in range(100):
            cell = random_dag(rng, rng.integers(1, 9))
            moved = cell.permuted(random_order(cell, rng))
            assert moved.canonical == cell.canonical == cell.canonical.canonical
            assert moved.fingerprint == cell.fingerprint

    def test_a_cell_without_nodes_has_one(self):  # refinement once never ended here
        assert Cell(()).canonical == Cell(())

    def test_many_interchangeable_nodes_cost_no_time(self):  # once factorial in their number
        star = Cell(["a"] * 40, [(0, v) for v in range(1, 40)])
        assert star.canonical == star

    def test_fingerprint_is_the_same_in_a_process_with_another_hash_seed(self):
        cell = f"Cell({DIAMOND.ops}, {DIAMOND.edges})"
        code = f"from archrep.cells import Cell; print({cell}.fingerprint)"
        environment = {"PYTHONHASHSEED": "123", "PYTHONPATH": ":".join(filter(None, sys.path))}
        told = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == DIAMOND.fingerprint


class TestNetworkx:
    def test_there_and_back_keeps_the_node_order(self, rng, random_dag):
        for nodes in (0, 1, 5, 12):  # from 10 on the order of names is not that of numbers
            cell = random_dag(rng, nodes)
            assert Cell.from_networkx(cell.to_networkx()) == cell

    def test_any_node_names_and_any_insertion_order_will_do(self):
        graph = networkx.DiGraph([("z", "y"), ("z", "x"), ("y", "w"), ("x", "w")])
        ops = {"z": "input", "y": "a", "x": "b", "w": "output"}
        networkx.set_node_attributes(graph, ops, "op")
        assert Cell.from_networkx(graph.subgraph("wxyz").copy()).is_isomorphic(DIAMOND)

    @pytest.mark.parametrize(
        "graph",
        [
            networkx.Graph([(0, 1)]),
            networkx.DiGraph([(0, 1), (1, 0)]),
            networkx.MultiDiGraph([(0, 1), (0, 1)]),
        ],
        ids=["undirected", "circle", "parallel edges"],
    )
    def test_what_is_no_directed_acyclic_graph_is_refused(self, graph):
        networkx.set_node_attributes(graph, "a", "op")
        with pytest.raises(CellError, match="directed acyclic graph"):
            Cell.from_networkx(graph)

    def test_a_node_without_operation_is_named(self):
        with pytest.raises(CellError, match=r"attribute `op`\. Missing on \['x'\]"):
            Cell.from_networkx(networkx.DiGraph([("x", "x2")]).subgraph(["x"]))

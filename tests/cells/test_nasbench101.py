"""NAS-Bench-101 against the official hashes, records and network, and against counting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from archrep.cells import Cell, CellArray, NasBench101
from archrep.cells.array import node_pairs
from archrep.errors import CellError

SPACE = NasBench101()
OPS = SPACE.ops[1:-1]
README_CELL = Cell.from_matrix(
    [
        [0, 1, 1, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    ("input", OPS[1], OPS[0], OPS[0], OPS[0], OPS[2], "output"),
)
"""The Inception-like cell in the README of the official package."""

README_HASH = "28cfc7874f6d200472e1a9dcd8650aa0"
SMALLEST = Cell(("input", "output"), ((0, 1),))


@pytest.fixture(scope="module")
def cells():
    return SPACE.enumerate()


@pytest.fixture(scope="module")
def of_table(nasbench101_table):
    """The graphs of the official record file."""
    ops = nasbench101_table["ops"].combine_chunks().flatten().to_numpy().reshape(-1, 7)
    return CellArray(ops, nasbench101_table["adjacency_bits"].to_numpy(), SPACE.ops)


def all_small_cells(most_nodes: int) -> list[Cell]:
    """Every labelled graph of the right form, legal or not."""
    return [
        Cell(("input", *inner, "output"), itertools.compress(node_pairs(n), mask))
        for n in range(2, most_nodes + 1)
        for inner in itertools.product(OPS, repeat=n - 2)
        for mask in itertools.product((0, 1), repeat=len(node_pairs(n)))
    ]


class TestEnumeration:
    def test_there_are_as_many_cells_of_each_size_as_published(self, cells):
        sizes = np.bincount(cells.num_nodes).tolist()
        assert sizes == [0, 0, 1, 6, 84, 2_441, 62_010, 359_082]
        assert len(cells) == SPACE.size == 423_624

    def test_all_cells_are_legal_distinct_and_written_canonically(self, cells):
        assert SPACE.legal(cells).all()
        assert (SPACE.index_array(cells) == np.arange(len(cells))).all()
        canonical = SPACE.canonical_array(cells)
        assert (canonical.ops == cells.ops).all()
        assert (canonical.adjacency_bits == cells.adjacency_bits).all()

    def test_brute_force_over_small_graphs_finds_the_same_cells(self, cells):
        found = {cell.canonical for cell in all_small_cells(4) if SPACE.is_legal(cell)}
        assert found == {cell.canonical for cell in cells[cells.num_nodes <= 4]}

    @pytest.mark.data
    def test_cells_are_written_as_in_the_official_file_row_by_row(self, cells, of_table):
        assert (cells.ops == of_table.ops).all()
        assert (cells.adjacency_bits == of_table.adjacency_bits).all()

    @pytest.mark.data
    def test_relabelled_official_graphs_are_found_in_their_rows(self, rng, of_table, random_order):
        rows = rng.choice(len(of_table), 500, replace=False)
        moved = [cell.permuted(random_order(cell, rng)) for cell in of_table[rows]]
        assert (SPACE.index_array(SPACE.pack(moved)) == rows).all()
        canonical = SPACE.canonical_array(SPACE.pack(moved))
        assert list(canonical) == list(of_table[rows])


class TestModuleHash:
    def test_of_the_readme_cell_is_that_of_the_official_tests(self):
        assert SPACE.module_hash(README_CELL) == README_HASH

    def test_equals_that_of_nasbench_pytorch(self, cells, rng, random_order):
        from nasbench_pytorch.model.graph_util import hash_module

        label = {"input": -1, "output": -2} | {op: n for n, op in enumerate(OPS)}
        for row in rng.choice(len(cells), 300):
            cell = cells[row].permuted(random_order(cells[row], rng))
            theirs = hash_module(cell.adjacency.astype(int), [label[op] for op in cell.ops])
            assert SPACE.module_hash(cell) == theirs

    def test_ascends_with_the_index(self, cells, rng):
        rows = np.unique(rng.choice(len(cells), 1000))
        hashes = [SPACE.module_hash(cells[row]) for row in rows]
        assert hashes == sorted(hashes)

    @pytest.mark.data
    def test_equals_the_official_one_in_a_sample_of_rows(self, cells, nasbench101_table, rng):
        official = nasbench101_table["module_hash"]
        for row in rng.choice(len(cells), 2000, replace=False):
            assert SPACE.module_hash(cells[row]) == official[row].as_py().hex()

    @pytest.mark.data
    @pytest.mark.slow
    def test_equals_the_official_one_in_all_rows(self, cells, nasbench101_table):
        official = nasbench101_table["module_hash"].to_pylist()
        assert [SPACE.module_hash(cell) for cell in cells] == [key.hex() for key in official]

    def test_leads_back_to_the_index_in_either_case(self, cells, rng):
        for row in (0, len(cells) - 1, *rng.choice(len(cells), 20)):
            module_hash = SPACE.module_hash(cells[row])
            assert SPACE.index_of_hash(module_hash) == row
            assert SPACE.parse(module_hash.upper()) == cells[row]

    @pytest.mark.parametrize("unknown", ["0" * 32, "f" * 32, README_HASH[:-1] + "1"])
    def test_that_no_cell_has_is_refused(self, unknown):
        with pytest.raises(
            CellError, match=f"No NAS-Bench-101 cell has the module hash '{unknown}"
        ):
            SPACE.parse(unknown)


class TestParsing:
    def test_json_keeps_the_order_in_which_the_nodes_are_written(self):
        assert SPACE.parse(SPACE.format(README_CELL)) == README_CELL

    def test_index_text_is_the_row(self, cells):
        assert SPACE.parse(" 423623\n") == cells[423_623]
        assert SPACE.parse("007") == cells[7]

    @pytest.mark.parametrize("text", ["423624", "9" * 30, "9" * 5000])  # Python reads 4300 digits
    def test_an_index_behind_the_last_is_refused(self, text):
        with pytest.raises(
            CellError, match=r"An index is between 0 and 423623\. Got [0-9]{1,80}\.$"
        ):
            SPACE.parse(text)

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ('{"matrix": 1, "ops": 2}', "`ops` must be a sequence of operation names"),
            ('{"matrix": [[0, 1], [0]], "ops": ["input", "output"]}', "rows of unequal length"),
            ('{"matrix": [[0, 1], [1, 0]], "ops": ["input", "output"]}', "Got edge 1 -> 0"),
            ('{"matrix": [[0, 1], [0, 0]], "ops": ["input", "input"]}', "its last 'output'"),
            ('{"matrix": [[0, 0], [0, 0]], "ops": ["input", "output"]}', r"path.*\[0, 1\] do not"),
            ('{"matrix": [[0]], "ops": ["input"]}', "2 to 7 nodes; it has 1"),
        ],
    )
    def test_json_of_an_illegal_cell_is_refused_with_the_reason(self, text, complaint):
        with pytest.raises(CellError, match=complaint):
            SPACE.parse(text)

    def test_all_reasons_are_told_at_once(self):
        cell = Cell(("output", *["conv7x7"] * 6, "input"), node_pairs(5))
        with pytest.raises(CellError) as caught:
            SPACE.validate(cell)
        for reason in ("2 to 7 nodes; it has 8", "first node", "conv7x7", "it has 10", "[0, 1, 2"):
            assert reason in str(caught.value).replace("[4, 5", "[0, 1, 2")


class TestLegality:
    def test_vectorised_answer_is_that_for_single_cells_on_all_small_graphs(self):
        cells = all_small_cells(4)
        assert SPACE.legal(SPACE.pack(cells)).tolist() == [SPACE.is_legal(cell) for cell in cells]

    def test_a_bit_of_a_pair_that_does_not_exist_is_not_overlooked(self, cells):
        stray = CellArray(cells.ops, cells.adjacency_bits | np.uint64(1 << 40), SPACE.ops)
        assert not SPACE.legal(stray).any()


class TestNeighbours:
    def test_are_all_cells_at_edit_distance_one(self, cells):
        small = list(cells[cells.num_nodes <= 4])
        near = {cell.canonical: {n.canonical for n in SPACE.neighbours(cell)} for cell in small}
        for first, second in itertools.combinations(small, 2):
            if first.edit_distance(second, 2) == 1:
                assert second.canonical in near[first.canonical]

    def test_differ_by_one_edit_or_by_a_node_and_its_two_edges(self, cells, rng):
        for row in rng.choice(len(cells), 5):
            for other in SPACE.neighbours(cells[row]):
                expected = 3 if len(other) != len(cells[row]) else 1
                assert cells[row].edit_distance(other) == expected

    def test_do_not_depend_on_how_a_cell_is_written(self, cells, rng, random_order):
        for row in rng.choice(len(cells), 15):
            cell = cells[row]
            moved = cell.permuted(random_order(cell, rng))
            ours, theirs = ({n.canonical for n in SPACE.neighbours(c)} for c in (cell, moved))
            assert ours == theirs

    def test_connect_all_cells_of_at_most_four_nodes_among_themselves(self, cells):
        reached, frontier = {SMALLEST}, [SMALLEST]
        while frontier:
            near = {n.canonical for n in SPACE.neighbours(frontier.pop()) if len(n) <= 4}
            frontier.extend(near - reached)
            reached |= near
        assert len(reached) == (cells.num_nodes <= 4).sum()


class TestParams:
    def test_of_the_readme_cell_are_those_of_the_official_table(self):
        assert SPACE.params(SPACE.pack([README_CELL])).tolist() == [2_694_282]

    @pytest.mark.data
    def test_equal_the_official_ones_in_all_rows(self, cells, nasbench101_table):
        assert (SPACE.params(cells) == nasbench101_table["params"].to_numpy()).all()

    def test_equal_those_of_the_network_of_nasbench_pytorch(self, cells, rng, random_order):
        from nasbench_pytorch.model import Network

        chosen = [cells[row] for row in rng.choice(len(cells), 4)]
        chosen = [cell.permuted(random_order(cell, rng)) for cell in chosen]
        for cell in (SMALLEST, README_CELL, *chosen):
            network = Network((cell.adjacency.astype(int).tolist(), list(cell.ops)))
            # Placeholders and cells of that package register empty parameters of their own.
            real = (m for m in network.modules() if type(m).__module__.startswith("torch.nn"))
            count = sum(p.numel() for m in real for p in m.parameters(recurse=False))
            assert SPACE.params(SPACE.pack([cell])).tolist() == [count]

    def test_of_no_cells_are_none(self):
        assert SPACE.params(SPACE.pack([])).shape == (0,)

    def test_of_an_illegal_row_are_refused(self):
        rows = SPACE.pack([SMALLEST, Cell(("input", OPS[0]), ((0, 1),))])
        with pytest.raises(CellError, match="Row 1 is not a legal NAS-Bench-101 cell: .*'output'"):
            SPACE.params(rows)


def test_sampling_draws_cells_uniformly(cells):
    rng = np.random.default_rng(0)
    seven = np.mean([len(SPACE.sample(rng)) == 7 for _ in range(2000)])
    share = (cells.num_nodes == 7).mean()
    assert abs(seven - share) < 4 * np.sqrt(share * (1 - share) / 2000)

"""Columns of many cells: packing, slicing and the vectorised isomorphism hash."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from archrep.cells import PAD, SPACES, Cell, CellArray, get_space
from archrep.cells.array import edge_bit, node_pairs
from archrep.errors import CellError, ShapeError

WORD = (1 << 64) - 1


@pytest.fixture
def cells(rng, random_dag):
    """Cells of 0 to 6 nodes, packed in 6 slots."""
    return [random_dag(rng, n % 7, "abc") for n in range(60)]


@pytest.fixture
def packed(cells):
    return CellArray.from_cells(cells, "abc", 6)


class TestPacking:
    def test_unpacking_gives_the_cells_back(self, cells, packed):
        assert list(packed) == cells
        assert [packed[n] for n in range(len(packed))] == cells
        assert packed[-1] == packed[np.int64(59)] == cells[-1]

    def test_slices_masks_and_lists_select_rows(self, cells, packed):
        mask = np.arange(60) % 7 == 3
        assert list(packed[10:20:3]) == cells[10:20:3]
        assert list(packed[mask]) == list(itertools.compress(cells, mask))
        assert list(packed[[5, 1, 1]]) == [cells[5], cells[1], cells[1]]
        assert len(packed[[]]) == 0

    def test_a_row_that_does_not_exist_is_an_index_error_as_for_a_list(self, packed):
        for row in (60, -61, 10**30):
            with pytest.raises(IndexError):
                packed[row]

    def test_columns_hold_what_the_cells_hold(self, cells, packed):
        assert packed.num_nodes.tolist() == [len(cell) for cell in cells]
        assert packed.num_edges.tolist() == [len(cell.edges) for cell in cells]
        for cell, ops, matrix in zip(cells, packed.ops, packed.adjacency, strict=True):
            n = len(cell)
            assert (matrix[:n, :n] == cell.adjacency).all()
            assert not matrix[n:].any()
            assert not matrix[:, n:].any()
            assert (ops[n:] == PAD).all()

    def test_edges_stand_at_the_bits_of_their_pairs(self):
        assert [edge_bit(i, j) for i, j in node_pairs(11)] == list(range(55))
        cell = Cell(["a"] * 11, [(0, 1), (9, 10)])
        assert int(CellArray.from_cells([cell], "a", 11).adjacency_bits[0]) == 1 | 1 << 54

    def test_matrices_pack_to_the_same_columns(self, packed):
        again = CellArray.from_adjacency(packed.ops, packed.adjacency, packed.vocabulary)
        assert (again.adjacency_bits == packed.adjacency_bits).all()

    def test_concatenation_keeps_order(self, cells, packed):
        assert list(CellArray.concatenate([packed[40:], packed[:0], packed[:40]])) == [
            *cells[40:],
            *cells[:40],
        ]

    def test_permuted_rows_are_the_permuted_cells(self, rng, cells, packed, random_order):
        orders = [random_order(cell, rng) for cell in cells]
        full = np.array([[*order, *range(len(order), 6)] for order in orders])
        assert list(packed.permuted(full)) == [
            cell.permuted(order) for cell, order in zip(cells, orders, strict=True)
        ]

    def test_lists_become_arrays_of_the_right_type(self):
        one = CellArray([[0, 1]], [1], ["a", "b"])
        assert (one.ops.dtype, one.adjacency_bits.dtype) == (np.uint8, np.uint64)
        assert one[0] == Cell(("a", "b"), ((0, 1),))


class TestRefusals:
    def test_columns_that_do_not_fit_together(self):
        with pytest.raises(ShapeError, match=r"Got \(2, 3\) and \(1,\)"):
            CellArray(np.zeros((2, 3)), np.zeros(1), ("a",))
        with pytest.raises(ShapeError, match=r"Got \(0,\) and \(0,\)"):
            CellArray([], [], ("a",))

    def test_more_nodes_than_64_bits_can_join(self):
        with pytest.raises(ShapeError, match=r"at most 11 nodes\. Got 12"):
            CellArray(np.zeros((1, 12)), np.zeros(1), ("a",))

    def test_cells_that_do_not_fit_the_columns(self):
        with pytest.raises(CellError, match=r"at most 2 nodes\. Got 3"):
            CellArray.from_cells([Cell(["abc"] * 3)], ["abc"], 2)
        with pytest.raises(CellError, match=r"must be of \('a',\)\. Got 'ü'"):
            CellArray.from_cells([Cell(("ü",))], ("a",), 2)

    def test_a_code_behind_the_vocabulary(self):
        with pytest.raises(CellError, match=r"codes must be below 1\. Got 7 in row 1"):
            CellArray([[0], [7]], [0, 0], ("a",))[1]

    def test_arrays_of_two_spaces_are_not_joined(self):
        ours, theirs = (get_space(name).sample_array(1) for name in ("nasbench101", "darts"))
        with pytest.raises(ShapeError, match="same vocabulary and width"):
            CellArray.concatenate([ours, theirs])
        with pytest.raises(ShapeError, match="one or more arrays"):
            CellArray.concatenate([])


def test_an_array_of_no_cells_goes_through_everything():
    none = CellArray(np.zeros((0, 5)), np.zeros(0), ("a",))
    assert list(none) == list(none[:]) == list(CellArray.from_cells([], "a", 5)) == []
    assert none.colour_hash().shape == none.num_nodes.shape == none.edge(0, 1).shape == (0,)
    assert none.adjacency.shape == (0, 5, 5)
    assert len(none.permuted(np.zeros((0, 5), int))) == 0
    assert len(CellArray.from_adjacency(none.ops, none.adjacency, "a")) == 0
    assert len(CellArray.concatenate([none, none])) == 0


class TestColourHash:
    def test_equal_exactly_for_isomorphic_cells_of_at_most_four_nodes(self):
        cells = [
            Cell(ops, itertools.compress(node_pairs(n), mask))
            for n in range(5)
            for ops in itertools.product("ab", repeat=n)
            for mask in itertools.product((0, 1), repeat=len(node_pairs(n)))
        ]
        hashes = CellArray.from_cells(cells, "ab", 6).colour_hash()
        classes = {cell.canonical: key for cell, key in zip(cells, hashes.tolist(), strict=True)}
        assert len(classes) == len(set(classes.values())) == len(set(hashes.tolist()))

    def test_does_not_depend_on_padding_or_on_the_cells_around(self, cells, packed):
        wide = CellArray.from_cells(cells, "abc", 11)
        assert (wide.colour_hash() == packed.colour_hash()).all()
        alone = [int(packed[n : n + 1].colour_hash()[0]) for n in range(len(packed))]
        many = packed[np.arange(10_000) % 60]  # more than one block
        assert many.colour_hash().tolist() == list(itertools.islice(itertools.cycle(alone), 10_000))

    @pytest.mark.parametrize("name", sorted(SPACES))
    def test_equals_the_definition_in_plain_python(self, name):
        space = get_space(name)
        packed = space.sample_array(5, seed=3)
        for cell, key in zip(packed, packed.colour_hash(rounds=3).tolist(), strict=True):
            assert colour_hash(cell, space.ops, rounds=3) == key

    def test_two_rounds_tell_all_cells_of_nasbench101_apart_and_one_does_not(self):
        cells = get_space("nasbench101").enumerate()
        assert len(np.unique(cells.colour_hash(rounds=2))) == len(cells)
        assert len(np.unique(cells.colour_hash(rounds=1))) < len(cells)


def colour_hash(cell: Cell, ops: tuple[str, ...], rounds: int) -> int:
    """The definition once more, node by node on integers of any size."""
    odd = (
        0x9E3779B97F4A7C15,
        0xD6E8FEB86659FD93,
        0xA0761D6478BD642F,
        0xE7037ED1A0B428DB,
        0x8EBC6AF09C88C6E3,
        0x589965CC75374CC3,
    )

    def mix(x: int) -> int:
        x &= WORD
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & WORD
        x = (x ^ x >> 27) * 0x94D049BB133111EB & WORD
        return x ^ x >> 31

    colours = [mix(ops.index(op) + odd[0]) for op in cell.ops]
    for _ in range(rounds):
        from_preds = [
            mix(sum(mix(colours[p] * odd[1]) for p in cell.predecessors(v)) + odd[4])
            for v in range(len(cell))
        ]
        from_succs = [
            mix(sum(mix(colours[s] * odd[2]) for s in cell.successors(v)) + odd[5])
            for v in range(len(cell))
        ]
        colours = [
            mix(own * odd[3] + preds + succs * odd[1])
            for own, preds, succs in zip(colours, from_preds, from_succs, strict=True)
        ]
    return mix(sum(mix(colour * odd[5]) for colour in colours))

"""What every search space promises; registering a space is enough to have it tested."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from archrep.cells import PAD, SPACES, Cell, CellArray, NasBench101, Space, get_space
from archrep.cells.registry import register_space
from archrep.errors import CellError, ConfigError, SpaceError, UnknownNameError

NAMES = sorted(SPACES)
BAD_TEXT = [
    "",
    " ",
    "conv",
    "é",
    "\0",
    "\ud800",
    "²",
    "١٢",
    "-1",
    "1e3",
    "null",
    "[" * 100_000,
    "{" * 100_000,
    "(" * 100_000,
    "9" * 5000,
    "Genotype(" * 300,
    "|none~0|+|none~0|none~1|+|none~0|none~1|",
]


@pytest.fixture(params=NAMES)
def space(request) -> Space:
    return SPACES[request.param]


@pytest.fixture
def cells(space):
    return list(space.sample_array(40, seed=11))


def columns(array: CellArray) -> list[list[int]]:
    return np.column_stack([array.ops, array.adjacency_bits]).astype(object).tolist()


class TestEverySpace:
    def test_samples_are_legal(self, space, rng):
        drawn = [space.sample(rng) for _ in range(50)]
        assert all(space.is_legal(cell) and space.validate(cell) is cell for cell in drawn)
        assert space.legal(space.pack(drawn)).all()

    def test_same_generator_gives_the_same_samples_walks_and_mutations(self, space):
        def draw(seed: int) -> list[Cell]:
            rng = np.random.default_rng(seed)
            return [space.sample(rng), *space.walk(3, rng), space.mutate(space.sample(rng), rng)]

        assert draw(3) == draw(3) != draw(4)

    def test_notation_leads_back_to_the_cell(self, space, cells):
        for cell in cells:
            text = space.format(cell)
            assert space.parse(text) == space.parse(f"\t{text} \n") == cell
            assert space.format(space.parse(text)) == text

    def test_canonical_form_does_not_depend_on_node_order(self, space, cells, rng, random_order):
        for cell in cells:
            moved = cell.permuted(random_order(cell, rng))
            canonical = space.canonical(moved)
            assert canonical == space.canonical(cell) == space.canonical(canonical)
            assert canonical.is_isomorphic(cell)
            assert space.is_legal(canonical)

    def test_canonical_forms_of_an_array_are_those_of_its_cells(self, space, rng):
        drawn = [space.sample(rng) for _ in range(60)]
        assert list(space.canonical_array(space.pack(drawn))) == [space.canonical(c) for c in drawn]

    def test_hash_does_not_depend_on_node_order(self, space, cells, rng, random_order):
        moved = [cell.permuted(random_order(cell, rng)) for cell in cells]
        assert (space.pack(moved).colour_hash() == space.pack(cells).colour_hash()).all()

    def test_legality_of_an_array_is_that_of_its_cells(self, space, cells, rng):
        bent = [corrupted(rng.choice(np.array(cells, object)), space, rng) for _ in range(1500)]
        answers = [space.is_legal(cell) for cell in bent]
        assert space.legal(space.pack(bent)).tolist() == answers
        assert 15 < sum(answers) < 1485

    def test_legality_of_any_columns_is_that_of_the_cells_they_spell(self, space, cells, rng):
        packed = space.pack(cells)
        rows = rng.integers(len(cells), size=3000)
        ops, bits = packed.ops[rows].copy(), packed.adjacency_bits[rows]
        slots = np.arange(len(rows)), rng.integers(space.max_nodes, size=len(rows))
        changed = rng.random(len(rows)) < 0.5
        codes = rng.choice([*range(len(space.ops) + 1), 200, PAD], len(rows))
        ops[slots] = np.where(changed, codes, ops[slots])
        flips = np.uint64(1) << rng.integers(64, size=len(rows)).astype(np.uint64)
        bits = np.where(rng.random(len(rows)) < 0.4, bits ^ flips, bits)
        bent = CellArray(ops, bits, space.ops)
        legal = space.legal(bent)
        assert legal.tolist() == [spells_a_legal_cell(bent, n, space) for n in range(len(bent))]
        assert legal.tolist() == Space.legal(space, bent).tolist()  # the loop that it replaces
        assert 15 < legal.sum() < 2985

    def test_neighbours_are_legal_distinct_and_mutual(self, space, rng):
        for _ in range(4):
            cell = space.canonical(space.sample(rng))
            near = [space.canonical(other) for other in space.neighbours(cell)]
            assert len(set(near)) == len(near) > 1
            assert cell not in near
            assert all(space.is_legal(other) for other in space.neighbours(cell))
            for other in rng.choice(np.array(near, object), 12):
                assert cell in {space.canonical(back) for back in space.neighbours(other)}

    def test_mutation_draws_any_neighbour_and_only_these(self, space, rng):
        cell = space.sample(rng)
        near = set(space.neighbours(cell))
        drawn = {space.mutate(cell, rng) for _ in range(60)}
        assert drawn <= near
        assert len(drawn) > len(near) / 4

    def test_walk_goes_from_neighbour_to_neighbour(self, space, rng):
        walk = space.walk(4, rng)
        assert len(walk) == 5
        for here, there in itertools.pairwise(walk):
            assert there in space.neighbours(here)

    def test_stream_is_legal_distinct_and_the_same_in_any_chunks(self, space):
        whole = CellArray.concatenate(list(space.stream(3000, seed=5)))
        parts = list(space.stream(3000, seed=5, chunk=701))
        assert max(map(len, parts)) <= 701
        assert columns(CellArray.concatenate(parts)) == columns(whole)
        assert columns(space.sample_array(3000, seed=5)) == columns(whole)
        assert space.legal(whole).all()
        assert len(np.unique(whole.colour_hash())) == len(whole) == 3000

    def test_stream_of_another_seed_is_another_and_a_shorter_one_its_beginning(self, space):
        whole = columns(space.sample_array(500, seed=5))
        assert columns(space.sample_array(20, seed=5)) == whole[:20]
        assert columns(space.sample_array(500, seed=6)) != whole

    def test_no_cells_can_be_asked_for(self, space):
        assert len(space.sample_array(0)) == 0
        assert list(space.stream(0)) == []

    @pytest.mark.parametrize(("count", "chunk"), [(-1, 10), (5, 0), (5, -3)])
    def test_impossible_requests_are_refused(self, space, count, chunk):
        with pytest.raises(SpaceError, match=f"Got {count} and {chunk}"):
            list(space.stream(count, chunk=chunk))

    def test_global_random_state_is_left_alone(self, space):
        before = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
        rng = np.random.default_rng(0)
        space.walk(2, rng)
        space.sample_array(10)
        space.canonical(space.sample(rng))
        assert (random.getstate(), repr(np.random.get_state())) == before  # noqa: NPY002

    def test_empty_arrays_go_through_every_vectorised_function(self, space):
        none = space.pack([])
        assert space.legal(none).tolist() == none.colour_hash().tolist() == []
        assert len(space.canonical_array(none)) == len(space.validate_array(none)) == 0
        if space.size is not None:
            assert space.index_array(none).tolist() == []

    def test_its_name_finds_it(self, space):
        assert get_space(space.name) is get_space(space) is space
        assert space.title in repr(space)

    @pytest.mark.parametrize("text", BAD_TEXT, ids=lambda text: repr(text[:12]))
    def test_text_of_another_notation_is_refused_and_shown(self, space, text):
        with pytest.raises(CellError, match=r"(?s)(written as|index is between).*Got ") as caught:
            space.parse(text)
        assert len(str(caught.value)) < 600


class TestEnumeratedSpaces:
    @pytest.fixture(params=[name for name in NAMES if SPACES[name].size is not None])
    def space(self, request) -> Space:
        return SPACES[request.param]

    def test_index_is_the_row_however_the_cell_is_written(self, space, rng, random_order):
        cells = space.enumerate()
        assert len(cells) == space.size
        rows = rng.choice(len(cells), 60)
        moved = [cells[row].permuted(random_order(cells[row], rng)) for row in rows]
        assert space.index_array(space.pack(moved)).tolist() == rows.tolist()
        assert [space.index(cells[row]) for row in rows[:10]] == rows[:10].tolist()
        assert [space.parse(str(row)) for row in rows] == list(cells[rows])

    def test_cells_that_are_not_listed_have_index_minus_one(self, space):
        cell = space.enumerate()[5]
        bent = Cell(cell.ops, cell.edges[1:])
        assert space.index_array(space.pack([cell, bent])).tolist() == [5, -1]

    def test_stream_ends_with_the_space(self, space):
        with pytest.raises(SpaceError, match=f"has {space.size} cells. Got a request for"):
            next(space.stream(space.size + 1))

    def test_whole_stream_is_a_permutation_of_the_rows(self, space):
        rows = space.index_array(space.sample_array(space.size, seed=1))
        assert (np.sort(rows) == np.arange(space.size)).all()
        assert (rows != np.arange(space.size)).any()


@pytest.mark.parametrize(("name", "foreign"), [*itertools.permutations(NAMES, 2)])
class TestForeignCells:
    def test_are_refused_by_every_function_of_a_cell(self, name, foreign, rng):
        space, cell = SPACES[name], SPACES[foreign].sample(rng)
        assert not space.is_legal(cell)
        for function in (space.validate, space.format, space.neighbours, space.canonical):
            with pytest.raises(CellError):
                function(cell)
        for function in (space.index, lambda cell: space.mutate(cell, rng)):
            with pytest.raises(CellError, match=f"Not a legal {space.title} cell"):
                function(cell)
        with pytest.raises(CellError, match="must be of|at most"):
            space.pack([cell])

    def test_are_refused_by_every_function_of_an_array(self, name, foreign):
        space, array = SPACES[name], SPACES[foreign].sample_array(3)
        functions = [space.legal, space.validate_array, space.canonical_array, space.index_array]
        for function in functions:
            with pytest.raises(CellError, match=f"An array of {space.title} cells has .* Got "):
                function(array)


class TestRegistry:
    @pytest.mark.parametrize("name", ["nasbench", "", "NASBENCH101", None, 3])
    def test_an_unknown_name_lists_the_known_ones(self, name):
        with pytest.raises(UnknownNameError, match="one of nasbench101, nasbench201, darts"):
            get_space(name)

    def test_a_second_space_of_a_name_is_refused(self):
        with pytest.raises(ConfigError, match="'nasbench101' is registered already"):
            register_space(NasBench101())

    def test_a_new_space_is_found_by_its_name(self, monkeypatch):
        monkeypatch.setattr("archrep.cells.registry.SPACES", dict(SPACES))
        space = register_space(Chains())
        assert get_space("chains") is space


class Chains(Space):
    """The least that a space must say: 340 chains of one to four letters."""

    name = "chains"
    title = "Chains"
    ops = ("input", "a", "b", "c", "d")
    max_nodes = 5

    def problems(self, cell):
        chain = Cell(cell.ops, tuple((v, v + 1) for v in range(len(cell) - 1)))
        letters = cell.ops[:1] == ("input",) and "input" not in cell.ops[1:]
        return [] if cell == chain and letters and len(cell) > 1 else ["It is no chain."]

    def parse(self, text):
        edges = tuple((v, v + 1) for v in range(len(text)))
        return self.validate(Cell(("input", *text), edges))

    def format(self, cell):
        return "".join(self.validate(cell).ops[1:])

    def sample(self, rng):
        return self.parse("".join(rng.choice(list("abcd"), rng.integers(1, 5))))

    def neighbours(self, cell):
        text = self.format(cell)
        return [
            self.parse(text[:k] + op + text[k + 1 :])
            for k in range(len(text))
            for op in "abcd"
            if op != text[k]
        ]


class TestLeastSpace:
    def test_gets_arrays_streams_and_walks_for_free(self, rng):
        space = Chains()
        cells = space.sample_array(200, seed=3)
        assert space.legal(cells).all()
        assert len({space.format(cell) for cell in cells}) == 200
        assert columns(CellArray.concatenate(list(space.stream(200, 3, chunk=7)))) == columns(cells)
        assert len(space.walk(5, rng)) == 6

    def test_stream_gives_all_340_cells_and_then_an_error(self, monkeypatch):
        monkeypatch.setattr("archrep.cells.space._PATIENCE", 5_000)
        with pytest.raises(SpaceError, match="5,000 draws gave no new one beyond 340"):
            list(Chains().stream(341, seed=0))

    def test_wrong_columns_are_illegal_or_refused(self):
        space = Chains()
        good = space.pack([space.parse("ab")])
        hole = CellArray([[0, PAD, 1, PAD, PAD]], good.adjacency_bits, space.ops)
        unknown = CellArray([[0, 1, 9, PAD, PAD]], good.adjacency_bits, space.ops)
        for wrong in (hole, unknown):
            assert not space.legal(wrong).any()
            with pytest.raises(CellError, match="Row 0 is not a legal Chains cell"):
                space.validate_array(wrong)
        with pytest.raises(CellError, match="An array of Chains cells has 5 node slots"):
            space.legal(CellArray(good.ops[:, :3], good.adjacency_bits, space.ops))


def spells_a_legal_cell(cells: CellArray, n: int, space: Space) -> bool:
    """The answer without any code of the space but `is_legal`."""
    codes, bits = cells.ops[n].tolist(), int(cells.adjacency_bits[n])
    count = codes.index(PAD) if PAD in codes else len(codes)
    known = all(code < len(space.ops) for code in codes[:count])
    pairs = [(i, j) for j in range(11) for i in range(j)]
    edges = [pairs[bit] if bit < 55 else (0, 99) for bit in range(64) if bits >> bit & 1]
    if not known or set(codes[count:]) - {PAD} or any(j >= count for _, j in edges):
        return False
    return space.is_legal(Cell(tuple(space.ops[code] for code in codes[:count]), edges))


def corrupted(cell: Cell, space: Space, rng: np.random.Generator) -> Cell:
    """The cell after no, one or two changes of an operation, an edge or its size."""
    ops, edges = list(cell.ops), set(cell.edges)
    for _ in range(rng.integers(3)):
        kind = rng.integers(3)
        if kind == 0 and ops:
            ops[rng.integers(len(ops))] = str(rng.choice(space.ops))
        elif kind == 1 and len(ops) > 1:
            i, j = sorted(rng.choice(len(ops), 2, replace=False).tolist())
            edges ^= {(i, j)}
        elif kind == 2 and ops:
            ops.pop()
            edges = {(i, j) for i, j in edges if j < len(ops)}
    return Cell(tuple(ops), tuple(edges))

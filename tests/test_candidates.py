"""What may be proposed, and how it is encoded."""

import itertools

import networkx as nx
import numpy as np
import pytest

from archrep.candidates import Candidates
from archrep.cells import get_space
from archrep.encodings import (
    RAW_ENCODINGS,
    adjacency_encoding,
    encode,
    function_encoding,
    path_encoding,
)
from archrep.errors import ConfigError, RunError, ShapeError, SpaceError, UnknownNameError
from archrep.tables import open_table


def sequences(cell, *, reduce):
    """Sequences of operations along all paths, by networkx."""
    graph = nx.DiGraph(list(cell.edges))
    found = []
    inputs = [v for v in range(len(cell) - 1) if not cell.predecessors(v)]
    for source in inputs:
        for path in nx.all_simple_paths(graph, source, len(cell) - 1):
            ops = [cell.ops[v] for v in path[1:-1]]
            if reduce:
                if "none" in ops:
                    continue
                ops = [op for op in ops if op != "skip_connect"]
            found.append((source, *ops))
    return found


@pytest.mark.parametrize("name", ["nasbench101", "nasbench201", "darts"])
def test_path_and_function_encodings_tell_what_networkx_finds(name):
    space = get_space(name)
    cells = space.sample_array(60, seed=1)
    for encoding, reduce in ((path_encoding, False), (function_encoding, True)):
        vectors = encoding(cells, max_length=6)
        found = [sequences(cell, reduce=reduce) for cell in cells]
        for a, b in itertools.combinations(range(60), 2):
            same = (
                sorted(found[a]) == sorted(found[b]) if reduce else set(found[a]) == set(found[b])
            )
            assert (vectors[a] == vectors[b]).all() == same
        if reduce:
            kinds = set(itertools.chain(*found))
            always = [k for k in kinds if len({row.count(k) for row in found}) == 1]
            assert vectors.shape[1] == len(kinds) - len(always)


def test_neighbours_in_most_of_a_space_are_those_that_may_be_proposed():
    space = get_space("nasbench201")
    kept = np.flatnonzero(np.arange(15625) % 10 != 3)
    part = Candidates(space, space.enumerate()[kept], kept, np.arange(len(kept)))
    whole = Candidates.of_space(space)
    for row in (0, 777, len(kept) - 1):
        [near] = part.neighbours(np.array([row]))
        [all_near] = whole.neighbours(kept[[row]])
        assert kept[near].tolist() == [p for p in all_near.tolist() if p % 10 != 3]


def test_digest_tells_cells_classes_and_loaded_vectors_apart():
    space = get_space("nasbench201")
    cells = space.enumerate()[:50]
    plain = Candidates.of_cells(space, cells)
    vectors = np.random.default_rng(0).standard_normal((50, 3))
    different = [
        plain,
        Candidates.of_cells(space, cells[1:]),
        Candidates(space, cells, None, np.zeros(50, np.int64)),
        plain.with_features(vectors, "mine"),
        plain.with_features(vectors + 1, "mine"),
        plain.with_features(vectors, "yours"),
    ]
    assert len({c.sha256 for c in different}) == len(different)
    assert plain.sha256 == Candidates.of_cells(space, cells).sha256


def test_cells_that_compute_the_same_have_one_function_encoding():
    space = get_space("nasbench201")
    vectors = function_encoding(space.enumerate())
    assert (vectors[space.topology_classes()] == vectors).all()


def test_adjacency_encoding_tells_all_cells_apart():
    for name in ("nasbench201", "nasbench101"):
        cells = get_space(name).enumerate()[:20_000]
        assert len(np.unique(adjacency_encoding(cells), axis=0)) == len(cells)


def test_candidates_of_a_table_are_its_measured_cells_by_class():
    candidates = Candidates.of_table(open_table("digits"))
    space = candidates.space
    assert len(candidates) == 15625
    assert (candidates.classes == space.topology_classes()).all()
    for row in (0, 1651, 6111):
        assert (
            candidates.same_as(row) == np.flatnonzero(candidates.classes == candidates.classes[row])
        ).all()


def test_neighbours_are_those_of_the_space():
    space = get_space("nasbench101")
    cells = space.enumerate()
    whole = Candidates(space, cells, np.arange(len(cells)), np.arange(len(cells)))
    for row in (0, 77, 300_000):
        expected = sorted(space.index(cell) for cell in space.neighbours(cells[row]))
        assert whole.neighbours(np.array([row]))[0].tolist() == expected
        assert whole.neighbours(np.array([row]))[0].tolist() == expected  # once known


def test_neighbours_among_a_part_of_a_space_are_one_or_two_changes_away():
    space = get_space("nasbench201")
    cells = space.enumerate()
    rows = np.sort(np.random.default_rng(0).permutation(15625)[:800])
    part = Candidates(space, cells[rows], rows, np.arange(800))
    near = part.neighbours(np.arange(0, 800, 100))
    for place, row in enumerate(range(0, 800, 100)):
        differs = (cells.ops[rows] != cells.ops[rows[row]]).sum(1)
        assert near[place].tolist() == np.flatnonzero((differs > 0) & (differs <= 2)).tolist()


def test_neighbours_of_a_sample_are_not_known():
    space = get_space("darts")
    sample = Candidates.of_cells(space, space.sample_array(30))
    with pytest.raises(SpaceError, match="among the cells of an enumerated space. DARTS is not"):
        sample.neighbours(np.array([0]))


@pytest.fixture
def candidates():
    space = get_space("nasbench201")
    rows = np.arange(0, 15625, 100)
    return Candidates(space, space.enumerate()[rows], rows, np.arange(len(rows)))


class TestEncode:
    @pytest.mark.parametrize("name", ["archrep", *sorted(RAW_ENCODINGS)])
    def test_gives_one_finite_vector_a_cell(self, candidates, name):
        encoded = encode(candidates, name)
        assert encoded.encoding == name
        assert encoded.vectors.dtype == np.float32
        assert len(encoded.vectors) == len(candidates)

    def test_takes_the_embeddings_of_a_run_by_cell(self, candidates, tmp_path):
        from archrep.embeddings import EmbeddingTable

        space = candidates.space
        order = np.random.default_rng(0).permutation(15625)
        vectors = np.arange(15625, dtype=np.float32)[order, None]
        table = EmbeddingTable(vectors, space.enumerate()[order], space.name)
        table.save(tmp_path / "embeddings.safetensors")
        encoded = encode(candidates, tmp_path)
        assert encoded.vectors[:, 0].tolist() == candidates.positions.tolist()

        part = EmbeddingTable(vectors[:100], space.enumerate()[order[:100]], space.name)
        part.save(tmp_path / "part.safetensors")
        with pytest.raises(RunError, match="Expected embeddings of all 157 cells"):
            encode(candidates, tmp_path / "part.safetensors")

    def test_says_what_there_is(self, candidates):
        with pytest.raises(UnknownNameError, match="one of archrep, adjacency, path, function"):
            encode(candidates, "paths")

    def test_refuses_vectors_that_do_not_fit(self, candidates):
        with pytest.raises(ShapeError, match=r"must be \[157, D\], one row a cell. Got \(3, 2\)"):
            candidates.with_features(np.zeros((3, 2)), "x")
        with pytest.raises(ShapeError, match="must be finite"):
            candidates.with_features(np.full((157, 2), np.nan), "x")
        with pytest.raises(ConfigError, match="at least one cell"):
            Candidates(candidates.space, candidates.cells[:0], None, np.zeros(0, int))

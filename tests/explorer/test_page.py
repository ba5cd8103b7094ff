"""What is put into a page, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from archrep.cell_columns import CellColumn, telling
from archrep.cells import get_space
from archrep.cli.explore import main
from archrep.comparison import found_cell, load_finished
from archrep.embeddings import EmbeddingTable, load_embeddings
from archrep.errors import ArchrepError, ConfigError, RunError, TableError
from archrep.explorer import Trajectories, gather, render, write_page
from archrep.explorer.packing import Packed, unpack
from archrep.explorer.page import SCRIPTS, SOURCES, WORKER, check_target
from archrep.explorer.searches import load_trajectories
from archrep.latent_map import LatentMap
from archrep.operation_looks import describe
from archrep.search import SearchConfig, prepare, search
from archrep.tables import open_table, store
from archrep.tables.surrogate import Nasbench301Surrogate


def about(text):
    return json.loads(re.search(r'id="about">(.*?)</script>', text)[1])


def array(text, name):
    packed = re.search(rf'id="array-{re.escape(name)}">(.*?)</script>', text)[1]
    return unpack(Packed(*about(text)["arrays"][name], packed))


def cells_of(name, rows):
    """Embeddings of the first cells of a space, or of those at `rows`."""
    cells = get_space(name).enumerate()[slice(rows) if isinstance(rows, int) else rows]
    return EmbeddingTable(np.zeros((len(cells), 2), np.float32), cells, name)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with 200 NAS-Bench-201 cells, as its folder."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    folder.mkdir()
    space = get_space("nasbench201")
    vectors = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    cells = space.enumerate()[np.arange(0, 15_000, 75)]
    EmbeddingTable(vectors, cells, "nasbench201").save(folder / "embeddings.safetensors")
    (folder / "config.json").write_text(json.dumps({"preset": "archrep", "seed": 4}))
    return folder


@pytest.fixture(autouse=True)
def own_maps(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ARCHREP_MAPS", str(tmp_path_factory.getbasetemp() / "maps"))


def explore(run, out, *options):
    return main([str(run), "--out", str(out), "--method", "pca", *map(str, options)])


# The page ---------------------------------------------------------------------------------------


def test_the_command_writes_one_page(run, tmp_path, capsys):
    out = tmp_path / "map.html"
    assert explore(run, out, "--table", "digits") == 0
    assert "200 cells of NAS-Bench-201" in capsys.readouterr().err
    text = out.read_text()
    said = about(text)
    assert said["run"] == "small (preset archrep, seed 4)"
    assert said["caption"] == "PCA, seed 0, 200 of 200 cells"
    assert said["table"]["title"] == "Digits on the cells of NAS-Bench-201"
    assert array(text, "ids").tolist() == list(range(0, 15_000, 75))
    assert list(tmp_path.iterdir()) == [out]


def test_equal_content_gives_equal_bytes(contents):
    for content in contents.values():
        assert render(content) == render(content)


def test_a_page_may_be_written_again(run, tmp_path):
    out = tmp_path / "map.html"
    explore(run, out)
    first = out.read_bytes()
    explore(run, out)
    assert out.read_bytes() == first


def test_the_page_holds_the_cells(contents):
    content = contents["nasbench101"]
    text = render(content)
    ops = array(text, "ops").reshape(7, -1)
    np.testing.assert_array_equal(ops.T, content.cells.ops)
    edges = array(text, "edges").reshape(3, -1).astype(np.uint64)
    bits = edges[0] | edges[1] << np.uint64(8) | edges[2] << np.uint64(16)
    np.testing.assert_array_equal(bits, content.cells.adjacency_bits)


def test_cells_stand_in_the_order_of_their_indices_and_hashes():
    space = get_space("nasbench101")
    rows = np.random.default_rng(5).choice(423_624, 50, replace=False)
    vectors = np.arange(100, dtype=np.float32).reshape(50, 2)
    table = EmbeddingTable(vectors, space.enumerate()[rows], "nasbench101")
    points = LatentMap(vectors, np.arange(50), "pca", None, 0, 50)
    content = gather(table, points, run="shuffled")
    assert content.ids.tolist() == sorted(rows)
    np.testing.assert_array_equal(content.vectors, vectors[np.argsort(rows)])
    hashes = [space.module_hash(cell) for cell in content.cells]
    assert hashes == sorted(hashes)


def test_operations_look_as_in_other_pictures(contents):
    for name, content in contents.items():
        for op, look in zip(get_space(name).ops, about(render(content))["operations"], strict=True):
            label, kind = describe(op)
            assert (look["label"], look["fill"], look["dashed"]) == (label, kind.fill, kind.dashed)


def test_the_policy_allows_the_scripts_and_styles_of_the_page_and_nothing_else(contents):
    text = render(contents["darts"])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)
    assert "style=" not in text  # the policy forbids style attributes


def test_every_script_of_the_folder_is_used():
    assert {*SCRIPTS, *WORKER} == {file.name for file in SOURCES.glob("*.js")}


def test_texts_cannot_end_a_script(contents):
    content = replace(contents["darts"], run="</script><b>@@ARRAYS@@")
    text = render(content)
    assert about(text)["run"] == "</script><b>@@ARRAYS@@"
    assert text.count("<b>@@") == 0


def test_a_full_space_stays_small(contents):
    text = render(contents["nasbench201"])
    assert len(text) < 1.6e6  # 15,625 cells


# Columns ----------------------------------------------------------------------------------------


def test_columns_that_tell_nothing_are_left_out():
    def column(name, values):
        return CellColumn(name, name, np.array(values, float))

    a, same = column("a", [1, 2, 3]), column("same", [1, 2, 3])
    part, constant = column("part", [1, np.nan, 3]), column("constant", [7, 7, 7])
    other, empty = column("other", [3, np.nan, 1]), column("empty", [np.nan] * 3)
    assert telling([a, same, constant, part, empty, other]) == [a, other]


def test_table_columns_are_those_of_the_table(contents):
    columns = {c.name: c for c in contents["nasbench201"].columns}
    table = open_table("digits")
    shown = columns["test_accuracy.digits.6"]
    np.testing.assert_array_equal(shown.values, table.column("test_accuracy"))
    assert (shown.label, shown.unit) == ("test accuracy (digits, 6 epochs, mean of runs)", "%")
    assert not {"nodes", "edges"} & set(columns)  # the same in every cell
    assert columns["op_1"].categories[0] == ("conv 1x1", "#8fcdf0")


# Searches ---------------------------------------------------------------------------------------


def test_trajectories_are_the_traces(contents, searched):
    (found,) = contents["nasbench201"].searches
    assert isinstance(found, Trajectories)
    assert found.seeds.tolist() == [5, 6, 7]
    assert found.starts.tolist() == [0, 25, 50, 75]
    again = load_trajectories(searched, cells_of("nasbench201", 15_625), None, most=2)
    assert (len(again.seeds), len(again.rows), again.runs) == (2, 50, 3)
    np.testing.assert_array_equal(again.rows, found.rows[:50])


def test_queries_of_cells_that_the_page_lacks_have_no_row(searched):
    ids = np.arange(0, 15_625, 2)
    found = load_trajectories(searched, cells_of("nasbench201", ids), None, most=3)
    whole = load_trajectories(searched, cells_of("nasbench201", 15_625), None, most=3)
    expected = np.where(whole.rows % 2 == 0, whole.rows // 2, -1)
    np.testing.assert_array_equal(found.rows, expected)


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (["--runs", "0"], ConfigError, "`runs` must be at least 1"),
        (["--table", "nothing"], ArchrepError, "Expected a table that is here"),
        (["--search", "no/such"], RunError, "no/such/summary.json"),
    ],
)
def test_impossible_options_are_refused(run, tmp_path, options, kind, message):
    with pytest.raises(kind, match=message):
        explore(run, tmp_path / "map.html", *options)
    assert not any(tmp_path.iterdir())


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"holds no embeddings\.safetensors. RUN is a finished run"):
        load_embeddings(tmp_path)
    with pytest.raises(RunError, match="Expected an embeddings file"):
        load_embeddings(tmp_path / "absent.safetensors")
    damaged = tmp_path / "embeddings.safetensors"
    damaged.write_bytes(b"\x00" * 100)
    with pytest.raises(RunError, match="Expected an embeddings file"):
        load_embeddings(tmp_path)


def test_places_where_no_page_can_be_are_refused(tmp_path):
    with pytest.raises(RunError, match="must be a file"):
        check_target(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="must be in a folder that can be written"):
        check_target(tmp_path / "file" / "map.html")
    check_target(tmp_path / "new" / "map.html")  # a folder is made
    other = tmp_path / "notes.html"
    other.write_text("mine")
    with pytest.raises(RunError, match="is no page of `archrep explore`"):
        check_target(other)
    assert other.read_text() == "mine"


def test_a_page_of_ours_may_be_replaced(contents, tmp_path):
    out = tmp_path / "map.html"
    assert write_page(contents["darts"], out) == out.stat().st_size
    check_target(out)


def test_a_table_of_another_space_is_refused():
    space = get_space("nasbench101")
    table = EmbeddingTable(np.eye(5, 2, dtype=np.float32), space.enumerate()[:5], "nasbench101")
    points = LatentMap(np.eye(5, 2), np.arange(5), "pca", None, 0, 5)
    with pytest.raises(TableError, match=r"a table of NAS-Bench-201. The run is of NAS-Bench-101"):
        gather(table, points, run="", table=open_table("digits"))


def test_a_search_of_another_space_or_table_is_refused(searched):
    with pytest.raises(
        TableError, match=r"whose space is nasbench201. These cells are of nasbench101"
    ):
        load_trajectories(searched, cells_of("nasbench101", 9), None, most=3)
    digits = open_table("digits")
    other = type(digits)(digits._data, sha256="f" * 64)
    with pytest.raises(TableError, match="Show each with its own table"):
        load_trajectories(searched, cells_of("nasbench201", 15_625), other, most=3)


def test_a_search_none_of_whose_cells_are_on_the_page_is_refused(tmp_path):
    config = SearchConfig(table="digits", strategy="random", queries=3, runs=1)
    search(config, out=tmp_path / "short", workers=1)
    with pytest.raises(RunError, match="queried none of the cells of the page"):
        load_trajectories(tmp_path / "short", cells_of("nasbench201", 1), None, most=1)


def test_a_search_of_other_sampled_cells_is_refused(tmp_path, data_folder):
    surrogate = Nasbench301Surrogate.load(data_folder / "nasbench301_mlp_surrogate.npz")
    cells = get_space("darts").sample_array(60, seed=0)
    mine = EmbeddingTable(np.zeros((30, 4), np.float32), cells[:30], "darts")
    mine.save(tmp_path / "mine.safetensors")
    path = str(store(surrogate, tmp_path))
    config = SearchConfig(table=path, strategy="random", queries=5, runs=2)
    job = prepare(config, embeddings=tmp_path / "mine.safetensors")
    assert len(job.candidates) < 30  # cells that the surrogate does not know are on the page too
    search(job, out=tmp_path / "run", workers=1)
    found = load_trajectories(tmp_path / "run", mine, None, most=2)
    assert (found.rows >= 0).all()
    others = EmbeddingTable(mine.embeddings, cells[30:], "darts")
    with pytest.raises(TableError, match="in another file than this one of 30"):
        load_trajectories(tmp_path / "run", others, None, most=2)
    finished = load_finished(tmp_path / "run")
    cell = found_cell(finished, seed=1, embeddings=mine)
    begin, end = finished.traces.starts[1:]
    best = begin + finished.traces.valid_accuracy[begin:end].argmax()
    assert cell.cell == mine.cells[int(finished.traces.position[best])]
    assert (cell.seed, cell.accuracy) == (1, finished.traces.valid_accuracy[best])
    with pytest.raises(TableError, match="pass the embeddings that it searched"):
        found_cell(finished)
    with pytest.raises(TableError, match="in another file"):
        found_cell(finished, embeddings=others)
    del finished.summary["cells_sha256"]
    with pytest.raises(TableError, match="does not say which sampled cells it searched"):
        found_cell(finished, embeddings=mine)


def test_a_map_that_lacks_cells_is_refused():
    space = get_space("nasbench201")
    table = EmbeddingTable(np.eye(9, 2, dtype=np.float32), space.enumerate()[:9], "nasbench201")
    part = LatentMap(np.eye(5, 2), np.arange(5), "pca", None, 0, 9)
    with pytest.raises(ConfigError, match=r"must place all 9 cells. Got 5 of 9"):
        gather(table, part, run="")

"""`archrep plot` and `archrep draw`: pictures of what runs left, and errors of one line."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from archrep.cells import get_space
from archrep.cells.genotype import Genotype
from archrep.cli.main import main
from archrep.embeddings import EmbeddingTable, load_encoder
from archrep.plots.supernet import plot_by_epoch
from archrep.search import SearchConfig, search
from archrep.searchers.config import SupernetConfig
from archrep.searchers.run import train_supernet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An embeddings file of NAS-Bench-201, two searches and a supernet, by name."""
    made = tmp_path_factory.mktemp("runs")
    encoder = load_encoder("nasbench201")
    cells = encoder.space.enumerate()
    EmbeddingTable(encoder.embed(cells), cells, "nasbench201").save(made / "cells.safetensors")
    for strategy in ("random", "local-search"):
        config = SearchConfig(table="digits", strategy=strategy, queries=20, runs=4)
        search(config, out=made / strategy, workers=1)
    for name, searcher in (("supernet", "single-path"), ("darts", "darts")):
        config = SupernetConfig(
            channels=2, cells=1, batch_size=16, epochs=2, runs=2, images=64, searcher=searcher
        )
        train_supernet(config, out=made / name)
    return made


@pytest.fixture(autouse=True)
def maps(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHREP_MAPS", str(tmp_path / "maps"))


def run(folder, words, out):
    return main(["plot", *[str(w).replace("@", f"{folder}/") for w in words], "--out", str(out)])


FAST = ["--max-points", "300", "--method", "pca"]
EVERY = {
    "map by structure": ["map", "@cells.safetensors", *FAST, "--colour", "conv_3x3"],
    "map by accuracy": ["map", "@cells.safetensors", *FAST, "--table", "digits"],
    "operations": ["map", "@cells.safetensors", *FAST, "--colour", "op_1"],
    "areas": ["map", "@cells.safetensors", *FAST, "--table", "digits", "--areas"],
    "visits": ["map", "@cells.safetensors", *FAST, "--visits", "@random", "--seed-of-search", "2"],
    "distances": ["distances", "nasbench201", "--steps", "30"],
    "prediction": ["prediction", "@cells.safetensors", "--table", "digits", "--labels", "30",
                   "--least", "0.3"],
    "neighbours": ["neighbours", "@cells.safetensors", "--cell", "6111", "--cell", "3",
                   "--steps", "4"],
    "walks": ["neighbours", "@cells.safetensors", "--walks", "2", "--steps", "3"],
    "interpolation": ["interpolation", "nasbench201", "6111", "9930", "--points", "4"],
    "encoding": ["encoding", "nasbench101", "12"],
    "found": ["found", "@random", "@local-search"],
    "found by a seed": ["found", "@random", "--seed-of-search", "2"],
    "regret": ["regret", "@random", "@local-search"],
    "seconds": ["regret", "@random", "@local-search", "--along", "seconds"],
    "ecdf": ["ecdf", "@random", "@local-search"],
    "ranks": ["ranks", "@supernet", "--table", "digits", "--seed", "1"],
    "epochs": ["epochs", "@darts"],
    "another figure": ["epochs", "@darts", "@supernet", "--figure", "loss"],
}  # fmt: skip
SAID = {
    "map by structure": ["PCA, seed 0, 300 of 15,625 cells", "3x3 convolutions"],
    "map by accuracy": ["test accuracy (digits, 6 epochs, mean of runs), %"],
    "operations": ["operation 1 ← 0", "avg pool 3x3"],
    "areas": ["test accuracy (digits, 6 epochs, mean of runs), %", "300 of 15,625 cells"],
    "visits": ["first query", "random", "seed 2"],
    "distances": ["walk of 30 steps", "edit distance"],
    "prediction": ["RMSE", "30 labels"],
    "neighbours": ["2 walks of 4 steps", "6111", "edits a"],
    "walks": ["2 walks of 3 steps"],
    "interpolation": ["preset archrep", "33 %"],
    "encoding": ["max pool 3x3", "adjacency"],
    "found": ["local-search", "protocol mean", "best of 4 runs", "test accuracy", "of runs)"],
    "found by a seed": ["20 queries", "seed 2, test accuracy"],
    "regret": ["random", "local-search", "protocol mean"],
    "seconds": ["simulated seconds"],
    "ecdf": ["share of runs", "all runs"],
    "ranks": ["rank by angle", "Kendall's tau -0.1"],
    "epochs": ["skips", "darts"],
    "another figure": ["loss", "supernet"],
}


@pytest.mark.parametrize("name", EVERY)
def test_every_picture_is_drawn_and_says_what_it_is_of(name, folder, tmp_path):
    assert run(folder, EVERY[name], tmp_path / "a.svg") == 0
    tree = ElementTree.parse(tmp_path / "a.svg")
    text = " ".join(" ".join(t for t in tree.getroot().itertext() if t.strip()).split())
    for words in SAID[name]:
        assert words in text


def test_figures_of_another_unit_are_drawn_in_it(folder, tmp_path):
    words = ["prediction", "@cells.safetensors", "--table", "digits", "--metric", "params"]
    assert run(folder, [*words, "--least", "0"], tmp_path / "a.svg") == 0
    text = (tmp_path / "a.svg").read_text()
    assert "predicted parameters" in text
    assert "parameters, %" not in text


def test_a_figure_that_begins_late_is_drawn_where_it_begins(folder, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "archrep.plots.supernet.plot_by_epoch",
        lambda lines, **kwargs: drawn.update(lines) or plot_by_epoch(lines, **kwargs),
    )
    (tmp_path / "late").mkdir()
    lines = ['{"loss": [1.0]}', '{"loss": [1.0], "valid_loss": [2.0]}']
    (tmp_path / "late" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    words = ["epochs", tmp_path / "late", "--figure", "valid_loss"]
    assert run(folder, words, tmp_path / "a.png") == 0
    assert np.isnan(drawn["late"][0][0])
    assert drawn["late"][1] == [2.0]


def test_names_with_signs_of_formulas_are_names(folder, tmp_path):
    there = tmp_path / "run$\\frac$"
    there.mkdir()
    (there / "cells.safetensors").write_bytes((folder / "cells.safetensors").read_bytes())
    (there / "metrics.jsonl").write_text('{"loss": [1.0]}\n')
    assert run(folder, ["map", there / "cells.safetensors", *FAST], tmp_path / "a.png") == 0
    assert run(folder, ["epochs", there, "--figure", "loss"], tmp_path / "b.png") == 0


def test_a_search_of_other_cells_is_counted(tmp_path, folder):
    whole = EmbeddingTable.load(folder / "cells.safetensors")
    part = EmbeddingTable(whole.embeddings[:9000], whole.cells[np.arange(9000)], whole.space)
    part.save(tmp_path / "part.safetensors")
    words = ["map", tmp_path / "part.safetensors", *FAST, "--visits", "@random"]
    assert run(folder, words, tmp_path / "a.svg") == 0
    assert "of 20 not on it" in (tmp_path / "a.svg").read_text()


def test_walks_begin_at_sampled_cells_by_row_and_by_notation(tmp_path, capsys):
    space = get_space("darts")
    cells = space.sample_array(40, seed=0)
    vectors = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    EmbeddingTable(vectors, cells, "darts").save(tmp_path / "mine.safetensors")
    out, words = tmp_path / "a.svg", ["neighbours", tmp_path / "mine.safetensors", "--steps", "3"]
    assert run(tmp_path, [*words, "--cell", "7"], out) == 0
    by_row = out.read_bytes()
    assert run(tmp_path, [*words, "--cell", space.format(cells[7])], out) == 0
    assert out.read_bytes() == by_row
    other = space.format(space.sample_array(1, seed=9)[0])
    for wrong, message in ((other, "is not among the 40"), ("40", "Rows are from 0 to 39")):
        assert run(tmp_path, [*words, "--cell", wrong], out) == 1
        assert message in capsys.readouterr().err


def test_a_second_colour_needs_no_second_map(folder, tmp_path, monkeypatch):
    words = ["map", "@cells.safetensors", "--max-points", "60"]
    assert run(folder, words, tmp_path / "a.png") == 0
    monkeypatch.setattr("archrep.latent_map._tsne", None)
    assert run(folder, [*words, "--color", "pool_skip", "--dark"], tmp_path / "b.png") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["globe"], "knows map, distances"),
        (["map", "@nothing"], "cannot be read"),
        (["map", "@random"], "holds no embeddings.safetensors"),
        (["map", "@cells.safetensors", "--colour", "beauty"], "must be one of edges, nodes"),
        (["map", "@cells.safetensors", "--table", "digits", "--colour", "x"], "valid_accuracy"),
        (["map", "@cells.safetensors", "--table", "nothing"], "nothing"),
        (["map", "@cells.safetensors", "--dataset", "digits"], "pass `--table NAME` as well"),
        (["map", "@cells.safetensors", "--table", "digits", "--dataset", "x", "--colour", "depth"],
         "x"),
        (["map", "@cells.safetensors", *FAST, "--areas", "--visits", "@random"], "two pictures"),
        (["map", "@cells.safetensors", *FAST, "--areas", "--colour", "op_1"], "names operations"),
        (["prediction", "@cells.safetensors", "--table", "digits", "--metric", "op_1"], "numbers"),
        (["map", "@cells.safetensors", *FAST, "--visits", "@supernet"], "search"),
        (["map", "@cells.safetensors", *FAST, "--visits", "@random", "--seed-of-search", "9"],
         "from 0 to 3. Got 9"),
        (["distances", "nothing"], "An encoder is a run directory"),
        (["prediction", "@cells.safetensors", "--table", "digits", "--labels", "1"], "at least 2"),
        (["prediction", "@cells.safetensors", "--table", "digits", "--least", "1"], "two cells"),
        (["neighbours", "@cells.safetensors", "--cell", "x"], "official index"),
        (["neighbours", "@cells.safetensors", "--walks", "0"], "`--walks` must be from 1"),
        (["neighbours", "@cells.safetensors", "--walks", "90"], "at most 500 cells"),
        (["neighbours", "@cells.safetensors", "--steps", "-1"], "`--steps` must be at least 1"),
        (["neighbours", "@cells.safetensors", "--steps", "99999"], "below the 15,625 cells"),
        (["interpolation", "nasbench201", "6111", "99999"], "99999"),
        (["found", "@random", "--seed-of-search", "4"], "are 0 to 3. Got 4"),
        (["encoding", "nasbench201", "x"], "is written as"),
        (["encoding", "mars", "1"], "Search space"),
        (["regret"], "Name one run directory"),
        (["regret", "@cells.safetensors"], "search"),
        (["ranks", "@random"], "archrep supernet"),
        (["ranks", "@supernet", "--table", "digits", "--score", "x"], "must be one of angle"),
        (["ranks", "@supernet", "--table", "digits", "--seed", "7"], "must be one of 0, 1. Got 7"),
        (["epochs", "@random"], "by epoch"),
        (["epochs", "@darts", "--figure", "cell"], "must be a number in"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said_in_one_line(words, message, folder, tmp_path, capsys):
    assert run(folder, words, tmp_path / "a.png") == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(("archrep plot:", "archrep:"))
    assert message in said
    assert not (tmp_path / "a.png").exists()


def test_nothing_is_computed_for_a_file_that_cannot_be_written(folder, tmp_path, capsys):
    assert run(folder, EVERY["ranks"], tmp_path / "a.gif") == 1
    assert "takes a .png, .svg or .pdf file" in capsys.readouterr().err


def test_damaged_metrics_are_named_and_a_cut_off_line_is_left_out(folder, tmp_path, capsys):
    lines = (folder / "darts" / "metrics.jsonl").read_text()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metrics.jsonl").write_text(lines + '{"loss": [1')
    assert main(["plot", "epochs", str(tmp_path / "a"), "--out", str(tmp_path / "a.png")]) == 0
    (tmp_path / "a" / "metrics.jsonl").write_text("[1]\n" + lines)
    assert main(["plot", "epochs", str(tmp_path / "a"), "--out", str(tmp_path / "a.png")]) == 1
    assert "Line 1 is '[1]'" in capsys.readouterr().err


class TestDraw:
    @pytest.mark.parametrize(
        ("text", "boxes"),
        [
            ("28cfc7874f6d200472e1a9dcd8650aa0", 7),
            ("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|", 8),
        ],
    )
    def test_one_cell_is_printed_as_svg(self, text, boxes, capsys):
        assert main(["draw", text]) == 0
        root = ElementTree.fromstring(capsys.readouterr().out)
        assert len(root.findall("{http://www.w3.org/2000/svg}g[@class='node']")) == boxes

    def test_a_genotype_is_two_cells(self, tmp_path, capsys):
        cell = get_space("darts").sample(np.random.default_rng(0))
        text = Genotype(cell, cell).format()
        assert main(["draw", text, "--out", str(tmp_path / "a.png")]) == 0
        assert json.loads(capsys.readouterr().out)["cells"] == 2
        assert (tmp_path / "a.png").stat().st_size > 1_000

    def test_several_cells_are_one_picture(self, tmp_path, capsys):
        out = tmp_path / "new" / "a.svg"
        assert main(["draw", "--space", "nasbench201", "6111", "9930", "--out", str(out)]) == 0
        assert "9930" in out.read_text()
        assert main(["draw", "--space", "nasbench201", "6111", "9930"]) == 1
        assert "2 cells need `--out FILE`" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "Name a cell"),
            (["x"], "in the notation of nasbench101, nasbench201, darts"),
            (['{"matrix": [[0,1],[1,0]], "ops": ["input","output"]}'], "from a lower to a higher"),
            (["|none~0|+|none~0|new~1|+|none~0|none~1|none~2|"], "it has ['new']"),
            (["424000"], "Or: An index is between 0 and 15624"),
            (["8:16:24:32:65"], "width_65"),
            (["6111"], "is a cell of nasbench101 and of nasbench201"),
            (["6111", "--space", "mars"], "Search space"),
            (["--space", "nasbench201", "99999"], "99999"),
            (["--space", "nasbench201", "1", "--out", "a.jpg"], "takes a .png"),
        ],
    )
    def test_what_cannot_be_drawn_is_said(self, words, message, capsys):
        assert main(["draw", *words]) == 1
        assert message in capsys.readouterr().err

"""`archrep report` of searches: every line names its question, and nothing unlike is paired."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import matplotlib
import pytest

from archrep.cli.main import main
from archrep.comparison import load_finished, paired
from archrep.search import SearchConfig, search


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Searches of the packaged table, as their folders by name."""
    folder = tmp_path_factory.mktemp("runs")
    asked = {
        "random": {},
        "local": {"strategy": "local-search"},
        "evolution": {"strategy": "evolution"},
        "longer": {"queries": 40},
        "oracle": {"protocol": "oracle"},
    }
    for name, changes in asked.items():
        config = SearchConfig(**{"table": "digits", "queries": 25, "runs": 6} | changes)
        search(config, out=folder / name, workers=1)
    return {name: str(folder / name) for name in asked}


def test_csv_holds_the_summaries_and_the_paired_tests(runs, capsys):
    folders = [runs["random"], runs["local"], runs["evolution"]]
    assert main(["report", *folders, "--baseline", folders[0], "--csv"]) == 0
    lines = {line["out"]: line for line in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert list(lines) == folders
    for folder, line in lines.items():
        found = load_finished(Path(folder))
        assert float(line["mean"]) == found.summary["test_accuracy_mean"]
        assert line["table_sha256"] == found.summary["table_sha256"]
    assert lines[folders[0]]["difference"] == ""
    pairs = [paired(load_finished(Path(f)), load_finished(Path(folders[0]))) for f in folders[1:]]
    assert [float(lines[f]["difference"]) for f in folders[1:]] == [p.difference for p in pairs]
    smallest = min(pair.p for pair in pairs)
    corrected = [float(lines[f]["p_holm"]) for f in folders[1:]]
    assert min(corrected) == pytest.approx(min(1, 2 * smallest))


def test_json_holds_every_figure(runs, capsys):
    assert main(["report", runs["random"], "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["out"] == runs["random"]
    assert line["after_queries"]["20"]["test_accuracy_mean"] <= 1


def test_unlike_searches_are_named_and_not_paired(runs, capsys):
    assert main(["report", runs["random"], runs["oracle"]]) == 0
    printed = capsys.readouterr()
    assert "note: these do not compare; they differ in protocol: mean, oracle." in printed.err
    assert "test accuracy of the best queried (oracle)" in printed.out
    for other, difference in (
        ("oracle", "protocol: oracle, mean"),
        ("longer", "budget: 40 queries, 25 queries"),
    ):
        arguments = ["report", runs["random"], runs[other], "--baseline", runs["random"]]
        assert main(arguments) == 1
        assert f"cannot be paired; they differ in {difference}" in capsys.readouterr().err


def test_a_baseline_alone_is_no_comparison(runs, capsys):
    assert main(["report", runs["random"], "--baseline", runs["random"]]) == 1
    assert "`--baseline` needs another search" in capsys.readouterr().err


@pytest.mark.parametrize("averaging", ["median", "arch2vec-2020"])
def test_pictures_say_what_they_are_of(runs, tmp_path, averaging):
    file = tmp_path / "regret.svg"
    folders = [runs["random"], runs["oracle"]]
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        assert main(["report", *folders, "--plot", str(file), "--averaging", averaging]) == 0
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text())
    drawn = {"median": "median and quartiles", "arch2vec-2020": "means of k-th queries"}
    title = next(text for text in texts if "6 seeds" in text)
    assert "protocol mean or oracle" in title
    assert title.endswith(drawn[averaging])
    assert {"random, mean", "random, oracle", "queries", "simulated seconds"} <= set(texts)


def test_a_picture_of_another_kind_is_refused(runs, tmp_path, capsys):
    assert main(["report", runs["random"], "--plot", str(tmp_path / "regret.jpg")]) == 1
    assert "`--plot` takes a .png, .svg or .pdf file" in capsys.readouterr().err

"""Benchmark scripts run: small, to catch a broken script, not to measure anything."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def run(script: str, *args: object) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_table1_trains_collects_and_prints_beside_the_paper(tmp_path):
    args = ["--quick", "--runs", tmp_path, "--seeds", 0, 1, "--presets", "archrep", "vgae"]
    table = run("table1.py", *args, "--spaces", "nasbench201")
    rows = [line.split("|") for line in table.splitlines()]
    assert [row[1].strip() for row in rows[2:]] == ["archrep", "vgae"]
    assert "98.32 / 79.3 / 88.42" in table
    summaries = json.loads((tmp_path / "table1.json").read_text())
    assert len(summaries) == 2 + 1  # two seeds of archrep, one of the baseline


def test_published_figures_in_the_script_are_those_of_the_paper(data_folder):
    """The reference tables lie beside the data folder."""
    import csv

    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import table1
    finally:
        sys.path.pop(0)
    names = {"GAE": "gae", "VGAE": "vgae", "arch2vec (no KL)": "no-kl", "arch2vec": "arch2vec-2020"}
    spaces = {"NAS-Bench-101": "nasbench101", "NAS-Bench-201": "nasbench201", "DARTS": "darts"}
    path = data_folder.parent / "reference" / "arch2vec_table1.csv"
    if not path.exists():
        pytest.skip(f"no reference tables in {path.parent}")
    with path.open() as file:
        printed = {
            (names[row["method"]], spaces[row["search_space"]]): tuple(
                float(row[k]) for k in ("reconstruction_accuracy", "validity", "uniqueness")
            )
            for row in csv.DictReader(file)
        }
    assert printed == table1.PAPER


@pytest.mark.slow
def test_scaling_streams_and_records(tmp_path):
    out = run("scaling.py", "--quick", "--out", tmp_path / "scaling.json")
    assert len(out.splitlines()) == 2
    sizes = json.loads((tmp_path / "scaling.json").read_text())["sizes"]
    assert [size["cells"] for size in sizes] == [2000, 4000]


@pytest.mark.slow
def test_speed_measures_both_sides_and_prints_their_ratio(tmp_path):
    out = run("speed.py", "--quick", "--out", tmp_path / "speed.json")
    assert out.count("ratio on") == 3
    record = json.loads((tmp_path / "speed.json").read_text())
    assert record["measurements"]["embed nasbench101"]["cpu_seconds"][0] > 0


def test_tables_are_measured_beside_dictionaries(tmp_path):
    out = run("tables.py", "--quick", "--out", tmp_path / "tables.json")
    assert "nasbench201_query_by_cell_seconds" in out
    record = json.loads((tmp_path / "tables.json").read_text())
    assert set(record["samples"]) == {"archrep", "pickle", "json"}


@pytest.mark.slow
def test_imports_are_measured(tmp_path):
    run("import_tables.py", "--quick", "--out", tmp_path / "import.json")
    assert (tmp_path / "import.json").exists()


def test_searches_run_are_collected_and_printed(tmp_path):
    folders = ["--out", tmp_path / "runs", "--results", tmp_path]
    out = run("search.py", "digits", "--runs", 3, "--queries", 20, "--workers", 1, *folders)
    rows = [line.split("|") for line in out.splitlines()]
    labels = [row[1].strip() for row in rows[2:]]
    assert labels == ["random search", "local search", "arch2vec-BO", "archrep"]
    entries = json.loads((tmp_path / "search_digits.json").read_text())
    assert all(entry["runs"] == 3 and len(entry["table_sha256"]) == 64 for entry in entries)
    again = run("search.py", "digits", "--only-print", *folders)
    assert again == out
    few = ["--runs", 3, "--queries", 20, "--plot", tmp_path / "figure6.png"]
    run("search.py", "digits", "--only-print", *few, *folders)
    assert (tmp_path / "figure6.png").stat().st_size > 10_000


def test_published_curves_take_the_colours_of_their_rows(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text(
        "method,query,mean_seconds,mean_validation_regret,mean_test_regret\n"
        "random,1,1000.5,0.06,0.05\nrandom,2,2000.5,0.04,0.03\nbohb,1,9.5,0.1,0.2\n"
    )
    found = import_script("search").published_curves(path, {"random search": 2}, "test_accuracy")
    assert {along: list(curves) for along, curves in found.items()} == {
        "queries": ["published: random search"],
        "seconds": ["published: random search"],
    }
    number, curve = found["seconds"]["published: random search"]
    assert number == 2
    assert curve.budget.tolist() == [1000.5, 2000.5]
    assert curve.mean.tolist() == [0.05, 0.03]


def test_experiments_of_searches_name_strategies_and_presets_that_exist():
    """Making a row checks its configuration; the tables need not be there."""
    script = import_script("search")
    assert "table3" in script.EXPERIMENTS
    for rows in script.EXPERIMENTS.values():
        made = list(rows())
        assert made
        known = {*script.TABLE_2, *script.TABLE_3, ""}
        assert {row.published for row in made} <= known


def test_published_searches_in_the_script_are_those_of_the_paper(data_folder):
    import csv

    script = import_script("search")
    folder = data_folder.parent / "reference"
    if not (folder / "arch2vec_table3.csv").exists():
        pytest.skip(f"no reference tables in {folder}")
    names = {"RS": "random search", "RE": "evolution"}
    with (folder / "arch2vec_table3.csv").open() as file:
        lines = list(csv.DictReader(file))
    figures = ("valid", "valid_sd", "test", "test_sd")
    assert {
        names.get(line["method"], line["method"]): tuple(
            tuple(float(line[f"{data}_{figure}"]) for figure in figures)
            for data in ("c10", "c100", "in16")
        )
        for line in lines
    } == script.TABLE_3
    with (folder / "arch2vec_table2.csv").open() as file:
        printed = {(int(x["queries"]), float(x["test_accuracy"])) for x in csv.DictReader(file)}
    assert printed == set(script.TABLE_2.values())


@pytest.mark.slow
def test_speed_of_searches_is_measured_and_single_runs_are_equal(tmp_path):
    out = run("search_speed.py", "--quick", "--scratch", tmp_path, "--out", tmp_path / "s.json")
    assert out.count("| True |") == 9
    record = json.loads((tmp_path / "s.json").read_text())
    assert {"searches", "pool", "candidates"} <= set(record)


@pytest.mark.slow
def test_training_of_supernets_is_measured_on_both_sides(tmp_path):
    out = tmp_path / "speed.json"
    found = run("supernet_speed.py", "--quick", "--only", "NB201 mixed C8 N1 8", "--out", out)
    assert [line.split("|")[2].strip() for line in found.splitlines()[3:]] == [
        "network", "data", "whole",
    ]  # fmt: skip
    (entry,) = json.loads(out.read_text())["cases"].values()
    assert entry["cpu_ms"]["plain"]["whole"][0] > 0 < entry["step_bytes"]["ours"]
    again = run("supernet_speed.py", "--only-print", "--out", out)
    assert again == found


def import_script(name):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return __import__(name)
    finally:
        sys.path.pop(0)


def test_rows_of_supernets_are_runs_that_can_be_made():
    from archrep.objectives.registry import make_objective
    from archrep.searchers.registry import get_searcher

    script = import_script("supernets")
    for name, rows in script.EXPERIMENTS.items():
        made = list(rows())
        assert len({row.label for row in made}) == len(made) > 1
        assert name in script.PUBLISHED
        for row in made:
            make_objective(row.config.objective, row.config.objective_settings)
            get_searcher(row.config.searcher).read_settings(row.config)


def test_supernets_print_what_was_collected(tmp_path):
    entry = {
        "found": {},
        "seeds": [0, 1],
        "cpu_seconds": 20.0,
        "last_epoch": {"loss": [1.0, 1.0]},
    }
    script = import_script("supernets")
    own = {"kendall": 0.5, "kendall_best": 0.1, "top_10_percent": 0.25}
    scores = {"angle": [own, own | {"kendall": 0.7}], "params": [own]}
    entry["agreement"] = dict.fromkeys(script.DATASETS, scores)
    entry["found"]["angle"] = [{"test_accuracy": dict.fromkeys(script.DATASETS, 0.9)}] * 2
    script.collect(tmp_path / "s.json", "rlnas", "mine", entry)
    out = run("supernets.py", "rlnas", "--only-print", "--results", tmp_path / "s.json")
    rows = [[cell.strip() for cell in line.split("|")] for line in out.splitlines()]
    assert rows[2][1:4] == ["mine", "angle", " / ".join(["0.600 ± 0.141"] * 3)]
    assert rows[3][1:3] == ["no training", "params"]
    assert "published (RLNAS)" in out


@pytest.mark.data
@pytest.mark.parametrize(
    ("experiment", "rows"),
    [
        ("full", ["RLNAS", "UnNAS, jigsaw"]),
        ("skips", ["colorization"]),
        pytest.param("one_shot", ["reconstruction"], marks=pytest.mark.slow),
    ],
)
def test_supernets_of_every_kind_train_at_tiny_size(experiment, rows, tmp_path, data_folder):
    out = run(
        *("supernets.py", experiment, "--tiny", "--rows", *rows, "--out", tmp_path / "runs"),
        *("--results", tmp_path / "s.json", "--plot", tmp_path / "skips.png"),
    )
    assert "published" in out
    entries = json.loads((tmp_path / "s.json").read_text())
    assert [entry["label"] for entry in entries] == rows
    assert all(np.isfinite(entry["last_epoch"]["loss"]).all() for entry in entries)


def test_figures_name_the_runs_that_are_not_there(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "figures.py", "--runs", tmp_path]
    done = subprocess.run(
        [*command, "--out", tmp_path / "figures"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "distances-nasbench101: " in done.stderr
    assert done.stderr.count("is not there") == done.stderr.splitlines()[-1].count(",") + 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem
)
def test_whatever_a_script_imports_of_archrep_is_there(script):
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("archrep"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")

import csv
import io
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tables"))
from toy_tables import toy_data

from archrep.cli.main import main
from archrep.tables import Table, store


@pytest.fixture(autouse=True)
def toy(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHREP_TABLES", str(tmp_path / "tables"))
    monkeypatch.chdir(tmp_path)
    store(toy_data())
    return Table(toy_data())


def lines(capsys, *argv):
    assert main([*map(str, argv)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def error(capsys, *argv, code=1):
    assert main([*map(str, argv)]) == code
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    return captured.err


def test_query_prints_one_json_line_a_cell(capsys, toy):
    first, second = lines(capsys, "query", "toy", 11, "6111", "--dataset", "b")
    assert first["cell"] == "11"
    assert second["valid_accuracy"] == toy.query(6111, dataset="b").valid_accuracy
    assert second["train_seconds"] == toy.query(6111, dataset="b").train_seconds


def test_query_reads_standard_input_and_writes_csv(capsys, monkeypatch, toy):
    text = toy.space.format(toy.cells[11])
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{text}\n\n 3 \n"))
    assert main(["query", "toy", "--csv", "--metric", "valid_accuracy", "--seed", "2"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["cell"] for row in rows] == [text, "3"]
    assert float(rows[1]["valid_accuracy"]) == toy.query(3, seed=2).valid_accuracy


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["query", "toy", "1"], "Cell 1: Cell 1 of Toy table was not measured"),
        (["query", "toy", "11", "x"], "Cell 2: A NAS-Bench-201 cell is written as"),
        (["query", "toy", "11", "--dataset", "c"], "query: Data sets of Toy table are: a, b"),
        (["query", "toy", "11", "--metric", "speed"], "Got metric='speed'"),
        (["query", "nothing", "11"], "Got 'nothing'"),
        (["tables", "best"], "knows list, describe, top"),
        (["tables", "top", "toy", "--metric", "speed"], "Got metric='speed'"),
        (["tables", "top", "toy", "-n", "0"], "`--count` must be at least 1. Got 0"),
        (["tables", "export", "toy", "toy.xlsx"], "exported to .parquet or .csv"),
        (["tables", "export", "toy", "none/toy.csv"], "Expected the folder of none/toy.csv"),
        (["tables", "import"], "Name at least one file"),
        (["tables", "import", "none.tfrecord"], "There is no such file"),
        (["tables", "download", "nasbench999"], "nasbench999"),
    ],
)
def test_mistakes_end_in_one_line(capsys, argv, message):
    assert message in error(capsys, *argv)


def test_tables_lists_what_is_here(capsys):
    (toy,) = [line for line in lines(capsys, "tables") if line["name"] == "toy"]
    assert toy["recorded"] == 6
    assert toy["licence"] == "Apache-2.0"
    assert toy["bytes"] == Path(toy["file"]).stat().st_size
    assert len(toy["sha256"]) == 64


def test_a_damaged_table_is_listed_with_its_problem(capsys, tmp_path):
    (tmp_path / "tables" / "bad.safetensors").write_bytes(b"bad")
    (bad,) = [line for line in lines(capsys, "tables") if line["name"] == "bad"]
    assert "cannot be read" in bad["problem"]


def test_top_ranks_by_any_metric(capsys, toy):
    best = lines(capsys, "tables", "top", "toy", "-n", 3, "--dataset", "b")
    assert best[0]["index"] == toy.optimum(dataset="b").valid_accuracy.indices[0]
    assert best[0]["cell"] == toy.space.format(toy.cells[best[0]["index"]])
    values = [line["valid_accuracy"] for line in best]
    assert values == sorted(values, reverse=True)
    fastest = lines(capsys, "tables", "top", "toy", "--metric", "train_seconds")
    seconds = [line["train_seconds"] for line in fastest]
    assert seconds == sorted(seconds)


def test_describe_says_what_is_recorded_and_verifies(capsys, tmp_path, toy):
    assert main(["tables", "describe", "toy", "--verify"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["positions"], about["recorded"], about["measured"]) == (15625, 6, 6)
    assert about["optimum"]["a"]["test_of_best_valid"] == toy.optimum().test_of_best_valid
    assert about["columns"]["a_valid_accuracy_4ep_s1"]["seed"] == 1
    path = tmp_path / "tables" / "toy.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "has changed since it was written" in error(
        capsys, "tables", "describe", "toy", "--verify"
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_an_exported_table_is_read_by_others(capsys, tmp_path, toy, suffix):
    lines(capsys, "tables", "export", "toy", f"toy.{suffix}")
    if suffix == "parquet":
        from pyarrow import parquet

        rows = parquet.read_table(tmp_path / "toy.parquet").to_pydict()
        assert json.loads(parquet.read_schema("toy.parquet").metadata[b"archrep_table"])["sha256"]
        assert rows["a_valid_accuracy_2ep_s1_curve"][0][1] == toy.query(0, epochs=2).valid_accuracy
    else:
        read = list(csv.DictReader((tmp_path / "toy.csv").read_text().splitlines()))
        rows = {name: [row[name] for row in read] for name in ("index", "cell", "params")}
    assert [int(k) for k in rows["index"]] == toy.recorded.tolist()
    assert rows["cell"][4] == toy.space.format(toy.cells[6111])
    assert int(rows["params"][4]) == toy.query(6111).params


def test_a_table_over_a_space_of_ones_own_is_imported_and_queried(capsys, tmp_path):
    """The worked example of docs/tables.md runs this too; here its failure has a name."""
    docs = Path(__file__).parents[2] / "docs" / "extending.md"
    code = docs.read_text().split("<!-- file: chains.py -->\n```python\n")[1].split("```")[0]
    (tmp_path / "chains.py").write_text(code.replace('"chains"', '"chains-of-a-test"'))
    (tmp_path / "results.csv").write_text("arch,acc\nconv3-pool-skip,0.5\nskip-skip-skip,0.25\n")
    (tmp_path / "t.toml").write_text(
        'name = "mine"\nspace = "chains-of-a-test"\nfile = "results.csv"\ncell = "arch"\n'
        '[columns.acc]\nmetric = "valid_accuracy"\nunit = "fraction"\n'
    )
    imported = lines(capsys, "--import", "chains", "tables", "import", "t.toml")
    assert imported[0]["recorded"] == 2
    (line,) = lines(capsys, "query", "mine", "skip-skip-skip")
    assert line["valid_accuracy"] == 0.25
    assert "`--import` needs the name" in error(capsys, "--import", "nowhere", "tables")


def test_help_of_every_word_has_an_example(capsys):
    assert main(["tables", "--help"]) == 0
    assert "example: archrep tables" in capsys.readouterr().out
    for word in ("list", "describe", "top", "export", "import", "download"):
        assert main(["tables", word, "--help"]) == 0
        assert "example: archrep tables" in capsys.readouterr().out

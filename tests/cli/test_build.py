import json

import numpy as np
import pytest

from archrep.cells import get_space
from archrep.cli.main import main
from archrep.tables import open_table

SMALL = ["--epochs", "2", "--seeds", "2", "--workers", "1", "--train-images", "64"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHREP_TABLES", str(tmp_path / "tables"))
    monkeypatch.chdir(tmp_path)


def build(capsys, *argv):
    assert main(["tables", "build", *argv, *SMALL]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_list_of_cells_becomes_a_table(capsys, tmp_path):
    space = get_space("nasbench201")
    cells = [space.enumerate()[row] for row in (6111, 3)]
    (tmp_path / "cells.txt").write_text("\n".join(map(space.format, cells)) + "\n\n")
    line = build(capsys, "mine", "--cells", "cells.txt", "--licence", "CC0")
    assert line["recorded"] == 2
    table = open_table("mine")
    assert table.info.licence == "CC0"
    assert np.flatnonzero(table.measured).tolist() == [3, 6111]
    record = table.query(6111)
    runs = [table.query(6111, seed=seed) for seed in (0, 1)]
    assert record.valid_accuracy == pytest.approx(np.mean([run.valid_accuracy for run in runs]))
    assert record.train_seconds > 0
    assert table.query(6111, at_epoch=1).valid_accuracy > 0
    assert (record.dataset, record.epochs) == ("digits", 2)
    assert record.params > table.query(3).params  # 6111 has four convolutions of 3 x 3


def test_a_finished_run_is_not_trained_again(capsys, monkeypatch):
    build(capsys, "mine", "--sample", "3")
    sha256 = open_table("mine").sha256
    monkeypatch.setattr("archrep.tabulation.build.train_chunk", None)
    build(capsys, "mine", "--sample", "3", "--resume")
    assert open_table("mine").sha256 == sha256


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mine"], "Say which cells: one of"),
        (["mine", "--all", "--sample", "3"], "Got sample, all"),
        (["mine", "--cells", "none.txt"], "none.txt"),
        (["mine", "--cells", "bad.txt"], "Line 2 of bad.txt: A NAS-Bench-201 cell is written as"),
        (["mine", "--sample", "3", "--images", "photos"], "Images must be digits, cifar10"),
        (["mine", "--sample", "2", "--space", "darts"], "Cell 0: A cell that is trained begins"),
    ],
)
def test_mistakes_end_in_one_line(capsys, tmp_path, argv, message):
    (tmp_path / "bad.txt").write_text("6111\nnonsense\n")
    assert main(["tables", "build", *argv, "--workers", "1"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_impossible_settings_are_all_named_at_once(capsys):
    assert main(["tables", "build", "mine", "--sample", "3", "--epochs", "0", "--seeds", "0"]) == 2
    error = capsys.readouterr().err
    assert "`epochs` must be" in error
    assert "`seeds` must be" in error


def test_a_name_that_is_taken_is_refused_before_anything_is_trained(capsys, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.safetensors").write_bytes(b"")
    assert main(["tables", "build", "mine", "--sample", "3"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()

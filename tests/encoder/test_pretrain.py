"""Run directories: what a run writes, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from archrep import EmbeddingTable, PretrainConfig, load_encoder, preset_config, pretrain
from archrep.cells import get_space
from archrep.encoder import pretrain as pretrain_module
from archrep.errors import ConfigError, RunError, UnknownNameError
from archrep.files import locked_folder

REQUIRED = [
    "space",
    "preset",
    "seed",
    "cells",
    "whole_graph_accuracy",
    "entry_accuracy",
    "validity",
    "validity_2020",
    "uniqueness",
    "distinct_embeddings",
    "smoothness",
    "graphs_per_second",
    "seconds",
    "peak_memory_bytes",
    "device",
]


def small(space="nasbench201", preset="archrep", cells=400, **fields) -> PretrainConfig:
    config = preset_config(preset, space, cells=cells, **fields)
    return replace(config, training=replace(config.training, epochs=1, batch_size=64))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "deep" / "folder"
    return out, pretrain(small(), out=out)


def test_summary_has_every_promised_field_in_fractions_and_si_units(run):
    out, summary = run
    assert set(REQUIRED) <= set(summary)
    assert json.loads((out / "summary.json").read_text()) == summary
    for key in (
        "whole_graph_accuracy",
        "entry_accuracy",
        "validity",
        "validity_2020",
        "uniqueness",
    ):
        assert 0 <= summary[key] <= 1
    assert summary["cells"] == 400
    assert 100e6 < summary["peak_memory_bytes"] < 10e9


def test_a_run_leaves_its_files_and_no_checkpoint(run):
    out, _ = run
    names = {path.name for path in out.iterdir()} - {".lock"}
    assert names == set(pretrain_module.RUN_FILES) - {"checkpoint.pt"}


def test_embeddings_file_has_one_row_a_cell_and_their_official_ids(run):
    out, _ = run
    arrays = load_file(out / "embeddings.safetensors")
    assert arrays["embeddings"].shape == (400, 16)
    table = EmbeddingTable.load(out / "embeddings.safetensors")
    space = get_space("nasbench201")
    assert [space.index(cell) for cell in table.cells[:5]] == arrays["cell_ids"][:5].tolist()
    encoder = load_encoder(out)
    np.testing.assert_allclose(encoder.embed(table.cells), table.embeddings, atol=1e-5)


def test_metrics_hold_every_epoch_and_the_final_figures(run):
    out, summary = run
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line.get("epoch") for line in lines] == [1, None]
    assert lines[-1]["validity"] == summary["validity"]


def test_finished_run_is_not_trained_again_in_silence(run):
    out, summary = run
    before = (out / "weights.safetensors").read_bytes()
    with pytest.raises(RunError, match="finished"):
        pretrain(small(), out=out)
    assert pretrain(small(), out=out, resume=True) == summary
    assert (out / "weights.safetensors").read_bytes() == before


def test_directory_of_another_run_is_refused_and_the_difference_named(run):
    out, _ = run
    with pytest.raises(RunError, match="seed 0 there, 7 asked"):
        pretrain(small(seed=7), out=out)


def test_unfinished_run_asks_for_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain_module, "evaluate", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pretrain(small(), out=tmp_path)
    monkeypatch.undo()
    with pytest.raises(RunError, match="--resume"):
        pretrain(small(), out=tmp_path)
    resumed = pretrain(small(), out=tmp_path, resume=True, draw_map=False)
    again = pretrain(small(), out=tmp_path / "straight", draw_map=False)
    assert resumed["validity"] == again["validity"]
    assert resumed["whole_graph_accuracy"] == again["whole_graph_accuracy"]


def test_force_starts_anew_and_keeps_other_files(tmp_path):
    pretrain(small(), out=tmp_path, draw_map=False)
    (tmp_path / "notes.txt").write_text("mine")
    summary = pretrain(small(seed=1), out=tmp_path, force=True, draw_map=False)
    assert summary["seed"] == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_foreign_files_without_a_config_are_not_overwritten(tmp_path):
    (tmp_path / "weights.safetensors").write_text("precious")
    with pytest.raises(RunError, match=r"no config\.json"):
        pretrain(small(), out=tmp_path)
    assert (tmp_path / "weights.safetensors").read_text() == "precious"


def test_two_processes_cannot_share_a_directory(tmp_path):
    with (
        locked_folder(tmp_path),
        pytest.raises(RunError, match="Another process"),
    ):
        pretrain(small(), out=tmp_path)


def test_a_file_in_place_of_the_directory_is_one_line(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(RunError, match="Cannot write"):
        pretrain(small(), out=tmp_path / "out")


def test_full_disk_is_one_line_and_the_checkpoint_stays(tmp_path):
    """/dev/full accepts an open and refuses every byte, like a disk without space."""
    from archrep.files import write_atomically

    target = tmp_path / "checkpoint.pt"
    target.write_text("old")

    def write(path):
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/full")
        path.write_text("x" * 100_000)

    with pytest.raises(RunError, match="No space left"):
        write_atomically(target, write)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(UnknownNameError, match="nasbench101, nasbench201, darts"):
        pretrain("nasbench301", out=tmp_path)
    with pytest.raises(UnknownNameError, match="arch2vec-2020"):
        pretrain("nasbench201", preset="arch2vec", out=tmp_path)
    with pytest.raises(UnknownNameError, match="run directory"):
        load_encoder("nowhere")


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe"])
def test_damaged_config_and_weights_are_named(run, tmp_path, damage):
    out, _ = run
    (tmp_path / "config.json").write_bytes(damage)
    with pytest.raises(RunError, match="cannot be read"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_bytes((out / "config.json").read_bytes())
    with pytest.raises(RunError, match=r"weights\.safetensors"):
        load_encoder(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(damage)
    with pytest.raises(RunError, match="cannot be read"):
        load_encoder(tmp_path)
    (tmp_path / "embeddings.safetensors").write_bytes(damage)
    with pytest.raises(RunError, match="cannot be read"):
        EmbeddingTable.load(tmp_path / "embeddings.safetensors")


class TestConfig:
    def test_round_trip_through_plain_values(self):
        config = small("darts", "vgae", seed=4)
        assert PretrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config

    def test_three_mistakes_are_reported_together(self):
        values = {"space": "darts", "seed": -1, "holdout": 2.0, "training": {"epochs": 0}}
        with pytest.raises(ConfigError) as error:
            PretrainConfig.from_dict(values)
        assert "`epochs`" in str(error.value)
        values["training"] = {}
        with pytest.raises(ConfigError) as error:
            PretrainConfig.from_dict(values)
        assert "`seed`" in str(error.value)
        assert "`holdout`" in str(error.value)

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"epoch": 3}, "Unknown setting `epoch`"),
            ({"training": {"epoch": 3}}, "Unknown setting `training.epoch`"),
            ({"training": {"epochs": "3"}}, "must be of type int"),
            ({"training": {"schedule": "cosine"}}, "must be one of"),
            ({"training": 3}, "must be a table"),
            ({"seed": 1.5}, "must be of type int"),
            ({"cells": "all"}, "whole number"),
        ],
    )
    def test_wrong_settings_are_named(self, values, words):
        with pytest.raises(ConfigError, match=words):
            PretrainConfig.from_dict({"space": "nasbench201"} | values)


def test_cli_runs_from_a_toml_file_and_flags_win(tmp_path):
    (tmp_path / "run.toml").write_text(
        'space = "nasbench201"\ncells = 300\nseed = 5\n[training]\nepochs = 3\nbatch_size = 32\n'
    )
    command = [sys.executable, "-m", "archrep.cli.main", "pretrain", "--config", "run.toml"]
    command += ["--epochs", "1", "--no-map", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["epochs"], summary["seed"], summary["cells"]) == (1, 5, 300)
    assert "epoch 1/1" in done.stderr
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 1
    assert len(again.stderr.strip().splitlines()) == 1
    assert "Traceback" not in again.stderr


def test_cli_embeds_decodes_and_reports(run, tmp_path):
    out, _ = run

    def archrep(*args, text=""):
        command = [sys.executable, "-m", "archrep.cli.main", *map(str, args)]
        return subprocess.run(command, input=text, cwd=tmp_path, capture_output=True, text=True)

    done = archrep("embed", out, "6111", "9930")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(line["embedding"]) for line in lines] == [16, 16]
    piped = archrep("embed", out, text="6111\n\n9930\n")
    assert piped.stdout == done.stdout
    decoded = archrep("decode", out, text=done.stdout)
    assert len(decoded.stdout.splitlines()) == 2
    bad = archrep("embed", out, text="6111\nno cell\n")
    assert bad.returncode == 1
    assert "Cell 2" in bad.stderr
    short = archrep("decode", out, text="[1, 2]\n")
    assert (short.returncode, "expected 16 numbers" in short.stderr) == (1, True)
    stored = archrep("embed", out, "--all", "--out", "all.safetensors")
    assert json.loads(stored.stdout)["cells"] == 400
    table = archrep("report", out)
    assert "nasbench201" in table.stdout
    assert archrep("report", tmp_path).returncode == 1

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_network import ReferenceNetwork, accuracy, train

from archrep.cells.array import CellArray
from archrep.cells.cell import Cell
from archrep.cells.nasbench201 import NasBench201
from archrep.errors import CellError, ConfigError, RunError
from archrep.seeding import derive_seed
from archrep.tabulation import TabulateConfig, TabulateResult, tabulate
from archrep.tabulation.cost import network_cost
from archrep.tabulation.images import TEST, TRAIN, VALID, Batches
from archrep.tabulation.network import Skeleton, build_networks
from archrep.tabulation.training import train_cells

SPACE = NasBench201()
CELLS = SPACE.enumerate()[[3, 11_472, 0, 5_000, 15_624, 303]]
CONFIG = TabulateConfig(channels=(8,), seeds=2, epochs=2, batch_size=20, chunk_cells=2)
CURVES = ("valid_accuracy", "test_accuracy", "train_accuracy", "diverged", "params", "macs")


def assert_same(first: TabulateResult, second: TabulateResult) -> None:
    for name in CURVES:
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


@pytest.fixture(scope="module")
def result(tmp_path_factory, toy_images):
    return tabulate(CONFIG, CELLS, toy_images, tmp_path_factory.mktemp("run"), workers=1)


def test_training_follows_the_reference_network(toy_images):
    config = replace(CONFIG, channels=(4, 6), epochs=3, max_shift=1)
    batches = Batches(toy_images, config)
    skeleton = Skeleton((4, 6), 1, 4)
    cells = list(CELLS)
    curves = train_cells(cells, skeleton, config, batches)
    seeds = [derive_seed(0, f"tabulate/{seed}") for seed in range(2)]
    initial = build_networks(cells, seeds, skeleton)
    for k in range(len(cells) * 2):
        own = {name: view for network, name, view in initial.slices() if network == k}
        reference = ReferenceNetwork(cells[k // 2], (4, 6), 1, 4).load(own)
        epochs = [batches.epoch(k % 2, epoch) for epoch in range(3)]
        steps = [
            (images[at : at + 20], labels[at : at + 20])
            for images, labels in epochs
            for at in range(0, 80, 20)
        ]
        train(reference, steps, config.learning_rate, config.momentum, config.weight_decay)
        found = curves.valid_accuracy, curves.test_accuracy
        for curve, part in zip(found, (VALID, TEST), strict=True):
            expected = accuracy(reference, *batches.parts[part])
            assert curve[k // 2, k % 2, -1] == pytest.approx(expected, abs=1.1 / 40)
        expected = accuracy(reference, *batches.parts[TRAIN])
        assert curves.train_accuracy[k // 2, k % 2] == pytest.approx(expected, abs=1.1 / 80)


def test_accuracies_do_not_depend_on_the_other_cells(result, toy_images, tmp_path):
    alone = tabulate(replace(CONFIG, chunk_cells=1), CELLS[[3]], toy_images, tmp_path, workers=1)
    for name in CURVES:
        assert np.array_equal(getattr(alone, name)[0], getattr(result, name)[3])


def test_a_single_network_gets_what_it_gets_among_others(toy_images, tmp_path):
    config = replace(CONFIG, seeds=1)
    many = tabulate(config, CELLS, toy_images, tmp_path / "many", workers=1)
    one = tabulate(config, CELLS[[1]], toy_images, tmp_path / "one", workers=1)
    assert np.array_equal(one.test_accuracy[0], many.test_accuracy[1])


def test_a_result_says_what_was_measured(result):
    assert result.valid_accuracy.shape == result.test_accuracy.shape == (6, 2, 2)
    assert result.train_accuracy.shape == result.train_seconds.shape == (6, 2)
    assert result.test_accuracy.max() > 0.5
    assert (result.train_seconds > 0).all()
    assert not result.diverged.any()
    cost = network_cost(CELLS[1].ops, Skeleton((8,), 1, 4), 6, 6)
    assert (result.params[1], result.macs[1]) == (cost.params, cost.macs)
    assert result.info["config"] == json.loads(json.dumps(CONFIG.to_dict()))
    assert result.info["image_counts"] == {"train": 80, "valid": 40, "test": 40}
    assert "torch" in result.info["environment"]


def test_a_result_counts_the_images_that_were_used(toy_images, tmp_path):
    config = replace(CONFIG, train_images=40)
    result = tabulate(config, CELLS[[0]], toy_images, tmp_path, workers=1)
    assert result.info["image_counts"] == {"train": 40, "valid": 40, "test": 40}
    assert np.allclose(result.train_accuracy * 40 % 1, 0)


def test_a_result_survives_its_file(result, tmp_path):
    result.save(tmp_path / "table.safetensors")
    loaded = TabulateResult.load(tmp_path / "table.safetensors")
    assert_same(loaded, result)
    assert np.array_equal(loaded.train_seconds, result.train_seconds)
    assert list(loaded.cells) == list(CELLS)
    assert loaded.info == result.info


def test_seeds_train_differently_and_another_seed_of_the_run_too(result, toy_images, tmp_path):
    assert (result.test_accuracy[:, 0] != result.test_accuracy[:, 1]).any()
    other = tabulate(replace(CONFIG, seed=1), CELLS[[0]], toy_images, tmp_path, workers=1)
    assert (other.test_accuracy != result.test_accuracy[:1]).any()


def test_a_network_that_diverges_guesses_and_harms_no_other(result, toy_images, monkeypatch):
    import archrep.tabulation.training as training

    def with_poison(*args):
        networks = build_networks(*args)
        for network, name, view in networks.slices():
            if network == 2 and name == "stem.0.weight":
                view.fill_(float("nan"))
        return networks

    monkeypatch.setattr(training, "build_networks", with_poison)
    curves = train_cells(list(CELLS), Skeleton((8,), 1, 4), CONFIG, Batches(toy_images, CONFIG))
    assert np.argwhere(curves.diverged).tolist() == [[1, 0]]
    assert (curves.test_accuracy[1, 0] == 0.25).all()
    curves.test_accuracy[1, 0] = result.test_accuracy[1, 0]
    assert np.array_equal(curves.test_accuracy, result.test_accuracy)


def test_workers_find_what_one_process_finds_and_report_every_cell(result, toy_images, tmp_path):
    seen = []
    parallel = tabulate(CONFIG, CELLS, toy_images, tmp_path, workers=2, report=seen.append)
    assert_same(parallel, result)
    assert (seen[0].done, seen[-1].done, seen[-1].cells) == (0, 6, 6)
    assert seen[-1].seconds_left == 0
    assert seen[-1].trainings_per_second > 0


SCRIPT = """
import sys, time
import numpy as np
sys.path.insert(0, {tests!r})
from test_tabulate_run import CELLS, CONFIG
from archrep.tabulation import ImageData, tabulate

def wait_to_be_killed(progress):
    if progress.done == 4:
        time.sleep(600)

file = np.load({images!r})
images = ImageData("toy", file["images"], file["labels"], file["split"])
tabulate(CONFIG, CELLS, images, {out!r}, workers=1, report=wait_to_be_killed)
"""


def test_a_killed_run_goes_on_to_the_same_result(result, toy_images, tmp_path):
    out, images, script = tmp_path / "run", tmp_path / "toy.npz", tmp_path / "script.py"
    np.savez(images, images=toy_images.images, labels=toy_images.labels, split=toy_images.split)
    tests = str(Path(__file__).parent)
    script.write_text(SCRIPT.format(tests=tests, images=str(images), out=str(out)))
    process = subprocess.Popen([sys.executable, script])
    while not list(out.glob("chunk-*")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    chunk = out / "chunk-00000.safetensors"
    assert list(out.glob("chunk-*")) == [chunk]
    trained = chunk.stat().st_mtime_ns
    resumed = tabulate(CONFIG, CELLS, toy_images, out, resume=True, workers=1)
    assert_same(resumed, result)
    assert chunk.stat().st_mtime_ns == trained


def test_a_finished_run_is_read_and_not_trained_again(result, toy_images, tmp_path, monkeypatch):
    first = tabulate(CONFIG, CELLS[[0, 1]], toy_images, tmp_path, workers=1)
    monkeypatch.setattr("archrep.tabulation.build.train_chunk", None)
    again = tabulate(CONFIG, CELLS[[0, 1]], toy_images, tmp_path, resume=True, workers=1)
    assert_same(first, again)
    with pytest.raises(RunError, match="holds this run, finished. Pass `--resume` to read it"):
        tabulate(CONFIG, CELLS[[0, 1]], toy_images, tmp_path, workers=1)


def test_ctrl_c_keeps_finished_chunks(result, toy_images, tmp_path):
    def stop(progress):
        if progress.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tabulate(CONFIG, CELLS, toy_images, tmp_path, workers=1, report=stop)
    assert [file.name for file in tmp_path.glob("chunk-*")] == ["chunk-00000.safetensors"]
    with pytest.raises(RunError, match="unfinished. Pass `--resume` to go on"):
        tabulate(CONFIG, CELLS, toy_images, tmp_path, workers=1)
    assert_same(tabulate(CONFIG, CELLS, toy_images, tmp_path, resume=True, workers=1), result)


def test_another_run_in_the_directory_is_refused(toy_images, tmp_path):
    tabulate(CONFIG, CELLS[[0]], toy_images, tmp_path, workers=1)
    with pytest.raises(RunError, match="another run: config `epochs` 2 there, 3 asked"):
        tabulate(replace(CONFIG, epochs=3), CELLS[[0]], toy_images, tmp_path, resume=True)
    with pytest.raises(RunError, match="another run: cells `sha256`"):
        tabulate(CONFIG, CELLS[[1]], toy_images, tmp_path, resume=True)
    (tmp_path / "config.json").unlink()
    with pytest.raises(RunError, match=r"no config\.json"):
        tabulate(CONFIG, CELLS[[0]], toy_images, tmp_path, resume=True)


def test_two_processes_cannot_write_one_directory(toy_images, tmp_path):
    def again(progress):
        with pytest.raises(RunError, match="Another process is writing"):
            tabulate(CONFIG, CELLS[[0]], toy_images, tmp_path, resume=True)

    tabulate(CONFIG, CELLS[[0]], toy_images, tmp_path, workers=1, report=again)


def test_a_damaged_chunk_is_named(toy_images, tmp_path):
    tabulate(CONFIG, CELLS[[0]], toy_images, tmp_path, workers=1)
    (tmp_path / "result.safetensors").unlink()
    (tmp_path / "chunk-00000.safetensors").write_bytes(b"half")
    with pytest.raises(RunError, match="chunk-00000.safetensors cannot be read.*Delete it"):
        tabulate(CONFIG, CELLS[[0]], toy_images, tmp_path, resume=True, workers=1)


def test_a_worker_that_is_killed_ends_the_run_with_advice(toy_images, tmp_path):
    def kill(progress):
        import multiprocessing

        if progress.done:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    with pytest.raises(RunError, match="ended with code -9.*go on with `--resume`"):
        tabulate(CONFIG, CELLS, toy_images, tmp_path, workers=2, report=kill)


def test_what_cannot_be_trained_is_refused_before_anything_is_written(toy_images, tmp_path):
    out = tmp_path / "run"
    strange = CellArray.from_cells(
        [CELLS[0], Cell(("input", "dil_conv_3x3", "output"), ((0, 1), (1, 2)))],
        (*CELLS.vocabulary, "dil_conv_3x3"),
        8,
    )
    with pytest.raises(CellError, match="Cell 1: Operations.*Got 'dil_conv_3x3'"):
        tabulate(CONFIG, strange, toy_images, out)
    with pytest.raises(CellError, match="no cell"):
        tabulate(CONFIG, CELLS[:0], toy_images, out)
    with pytest.raises(ConfigError, match="`workers` must be at least 1. Got 0"):
        tabulate(CONFIG, CELLS, toy_images, out, workers=0)
    wrong = replace(CONFIG, train_images=81, max_shift=6, batch_size=90)
    with pytest.raises(ConfigError, match="(?s)`train_images`.*`batch_size`.*`max_shift`"):
        tabulate(wrong, CELLS, toy_images, out)
    assert not out.exists()


def test_a_run_leaves_threads_and_the_global_generator_alone(toy_images, tmp_path):
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    tabulate(CONFIG, CELLS[[0]], toy_images, tmp_path, workers=1)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_a_result_that_is_missing_says_so(tmp_path):
    with pytest.raises(RunError, match="Expected the result of a run"):
        TabulateResult.load(tmp_path)

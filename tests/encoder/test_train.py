"""Training: schedules, sources, and resuming to the same bits wherever a run was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from archrep.cells import get_space
from archrep.encoder import train as train_module
from archrep.encoder.config import TrainingConfig, preset_config
from archrep.encoder.models import build_model
from archrep.encoder.train import (
    DivergedError,
    ListedCells,
    StreamedCells,
    kl_weight_at,
    learning_rate_at,
    split_rows,
    train,
)
from archrep.errors import RunError


def small_config(preset="archrep", epochs=2, **training):
    config = preset_config(preset, "nasbench201", cells=600)
    training = {"batch_size": 64, "epochs": epochs} | training
    return replace(config, training=replace(config.training, **training))


@pytest.fixture(scope="module")
def cells():
    return get_space("nasbench201").sample_array(600, seed=0)


def fresh(config):
    return build_model(config.model, get_space(config.space), config.seed)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


class Killed(BaseException):
    """Stands for the end of the process between two steps."""


@pytest.mark.parametrize("preset", ["archrep", "arch2vec-2020", "vgae"])
@pytest.mark.parametrize("killed_at", [1, 9, 10, 13])  # 10 steps make an epoch
def test_resume_ends_in_the_same_bits(preset, killed_at, cells, tmp_path, monkeypatch):
    config = small_config(preset)
    straight, resumed = fresh(config), fresh(config)
    epochs = []
    train(straight, ListedCells(cells), config, on_epoch=lambda e, means: epochs.append(means))

    monkeypatch.setattr(train_module, "CHECKPOINT_SECONDS", -1.0)  # after every step
    save, calls = train_module._save_checkpoint, []

    def save_then_die(*args):
        save(*args)
        calls.append(1)
        if len(calls) == killed_at:
            raise Killed

    monkeypatch.setattr(train_module, "_save_checkpoint", save_then_die)
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train(resumed, ListedCells(cells), config, checkpoint=checkpoint)
    monkeypatch.setattr(train_module, "_save_checkpoint", save)
    other, again = fresh(replace(config, seed=0)), []
    train(
        other,
        ListedCells(cells),
        config,
        checkpoint=checkpoint,
        on_epoch=lambda e, means: again.append(means),
    )
    assert_same_bits(weights(straight), weights(other))
    assert again == epochs


def test_same_seed_same_bits_and_another_seed_other_bits(cells):
    results = []
    for seed in (0, 0, 1):
        config = replace(small_config(epochs=1), seed=seed)
        model = fresh(config)
        train(model, ListedCells(cells), config)
        results.append(weights(model))
    assert_same_bits(results[0], results[1])
    assert not torch.equal(results[0]["mean.weight"], results[2]["mean.weight"])


def test_training_leaves_global_random_state_alone(cells):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    config = small_config(epochs=1)
    train(fresh(config), ListedCells(cells), config)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_checkpoint_of_another_configuration_is_refused(cells, tmp_path):
    config, path = small_config(epochs=1), tmp_path / "checkpoint.pt"
    train(fresh(config), ListedCells(cells), config, checkpoint=path)
    other = small_config(epochs=2)
    with pytest.raises(RunError, match="belongs to another configuration"):
        train(fresh(other), ListedCells(cells), other, checkpoint=path)


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_truncated_checkpoint_is_named_and_kept(keep, cells, tmp_path):
    config, path = small_config(epochs=1), tmp_path / "checkpoint.pt"
    train(fresh(config), ListedCells(cells), config, checkpoint=path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match="cannot be read"):
        train(fresh(config), ListedCells(cells), config, checkpoint=path)
    assert path.stat().st_size == keep


def test_diverging_loss_says_which_setting_to_change(cells):
    config = small_config(learning_rate=1e6, schedule="constant", precision="float32", epochs=20)
    with pytest.raises(DivergedError, match="Lower `learning_rate`"):
        train(fresh(config), ListedCells(cells), config)


def test_2020_preset_is_deterministic_from_the_second_epoch_on(cells):
    config = small_config("arch2vec-2020", epochs=2)
    modes = []
    model = fresh(config)
    original = model.loss
    model.loss = lambda *args: modes.append(model.training) or original(*args)
    train(model, ListedCells(cells), config)
    assert modes == [True] * 10 + [False] * 10


def test_2020_preset_repeats_its_batches_and_the_default_does_not(cells):
    listed = ListedCells(cells)

    def first_batch(config, epoch):
        return next(listed.batches(epoch, 0, config)).ops

    old, new = small_config("arch2vec-2020"), small_config()
    assert torch.equal(first_batch(old, 0), first_batch(old, 1))
    assert not torch.equal(first_batch(new, 0), first_batch(new, 1))


def test_an_epoch_visits_every_cell_once(cells):
    config = small_config(batch_size=37)
    ops = torch.cat([batch.ops for batch in ListedCells(cells).batches(0, 0, config)])
    expected = torch.from_numpy(cells.ops.astype(np.int64))
    assert torch.equal(ops.unique(dim=0), expected.unique(dim=0))
    assert len(ops) == 600


@pytest.mark.parametrize("name", ["nasbench201", "darts"])
def test_streamed_batches_are_full_and_start_anywhere(name):
    config = replace(small_config(), space=name)
    source = StreamedCells(get_space(name), 1000, seed=0)
    batches = [batch.ops for batch in source.batches(0, 0, config)]
    assert [len(b) for b in batches] == [64] * 15 + [40]
    later = [batch.ops for batch in source.batches(0, 7, config)]
    assert all(torch.equal(a, b) for a, b in zip(batches[7:], later, strict=True))


def test_training_on_a_stream_gives_the_same_bits_each_time():
    config = replace(small_config(epochs=1), space="darts")
    results = []
    for _ in range(2):
        model = fresh(config)
        before = weights(model)
        train(model, StreamedCells(get_space("darts"), 640, seed=0), config)
        results.append(weights(model))
    assert_same_bits(*results)
    assert not torch.equal(before["mean.weight"], results[0]["mean.weight"])


def test_learning_rate_rises_over_a_tenth_and_ends_at_zero():
    training = TrainingConfig(learning_rate=2.0)
    rates = [learning_rate_at(step, 100, training) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[10] == 2.0
    assert rates[-1] < 0.002
    assert learning_rate_at(7, 100, replace(training, schedule="constant")) == 2.0


def test_kl_weight_warms_up_holds_and_falls_geometrically():
    training = TrainingConfig(kl_weight=0.1, kl_warmup=0.2, final_kl_weight=0.001)
    weights = [kl_weight_at(step, 100, training) for step in (0, 10, 20, 50, 75, 100)]
    assert weights == pytest.approx([0, 0.05, 0.1, 0.1, 0.01, 0.001])


def test_split_is_seeded_disjoint_and_complete():
    kept, held = split_rows(1000, 0.1, seed=0)
    assert len(held) == 100
    assert sorted([*kept, *held]) == list(range(1000))
    assert not np.array_equal(held, split_rows(1000, 0.1, seed=1)[1])


SCRIPT = """
import sys
from archrep.cli.main import main
from archrep.encoder import train
train.CHECKPOINT_SECONDS = 0.3
sys.exit(main(["pretrain", "nasbench201", "--cells", "3000", "--epochs", "60", "--no-map",
               "--out", sys.argv[1], *sys.argv[2:]]))
"""


@pytest.mark.slow
def test_kill_9_and_resume_gives_the_files_of_an_undisturbed_run(tmp_path):
    def start(out, *flags):
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / out), *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def written():
        checkpoint = tmp_path / "killed" / "checkpoint.pt"
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

    assert start("straight").wait(300) == 0
    for kill in range(4):
        before = written()
        process = start("killed", *(["--resume"] if kill else []))
        while written() == before:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
        time.sleep(0.17 * kill)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert start("killed", "--resume").wait(300) == 0
    for name in ("weights.safetensors", "embeddings.safetensors"):
        assert (tmp_path / "straight" / name).read_bytes() == (
            tmp_path / "killed" / name
        ).read_bytes()

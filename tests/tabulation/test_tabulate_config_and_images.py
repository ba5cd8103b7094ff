from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from archrep.data import registry
from archrep.data.splits import halves
from archrep.errors import ConfigError, DataError, ShapeError, UnknownNameError
from archrep.tabulation import ImageData, TabulateConfig, load_digits, load_images
from archrep.tabulation.images import TEST, TRAIN, VALID, Batches, stratified_split


def test_a_configuration_survives_the_way_through_plain_values():
    config = TabulateConfig(channels=(4, 8), train_images=100, pixel_noise=0.5)
    assert TabulateConfig.from_dict(config.to_dict()) == config


def test_every_mistake_of_a_configuration_is_reported():
    with pytest.raises(ConfigError) as error:
        TabulateConfig(
            channels=(), epochs=0, learning_rate="fast", momentum=1.0, weight_decay=math.nan
        )
    for name in ("channels", "epochs", "learning_rate", "momentum", "weight_decay"):
        assert f"`{name}`" in str(error.value)


def test_an_unknown_setting_is_refused():
    with pytest.raises(ConfigError, match="Settings are: channels.*Got 'epoch'"):
        TabulateConfig.from_dict({"epoch": 3})


def test_digits_are_split_in_halves_and_quarters_of_every_class():
    digits = load_digits()
    assert digits.images.shape == (1_797, 8, 8, 1)
    assert digits.classes == 10
    assert sum(digits.counts) == 1_797
    for label in range(10):
        train, valid, test = np.bincount(digits.split[digits.labels == label])
        assert abs(train - valid - test) <= 1
        assert abs(valid - test) <= 1
    train = digits.images[digits.split == TRAIN]
    assert train.mean() == pytest.approx(0, abs=1e-5)
    assert train.std() == pytest.approx(1, abs=1e-5)


def test_the_split_is_always_the_same():
    labels = np.arange(100) % 3
    assert (stratified_split(labels) == stratified_split(labels)).all()
    assert load_digits().digest.startswith("110e44f0f29f1a5e")  # of the packaged table


def test_images_of_a_file_keep_their_split_and_channels(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
    labels, split = np.arange(12) % 2, np.arange(12) % 3
    np.savez(tmp_path / "mine.npz", images=images, labels=labels, split=split)
    data = load_images(tmp_path / "mine.npz")
    assert (data.name, data.classes, data.counts) == ("mine", 2, (4, 4, 4))
    assert data.images.shape == (12, 5, 4, 3)
    assert (data.split == split).all()
    pixels = images[split == TRAIN].astype(float)
    expected = (images - pixels.mean((0, 1, 2))) / pixels.std((0, 1, 2))
    np.testing.assert_allclose(data.images, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((4, 2, 2))}, "Missing.*labels"),
        ({"images": np.zeros((4, 2)), "labels": np.zeros(4, int)}, r"\[N, H, W\]"),
        ({"images": np.zeros((4, 2, 2)), "labels": np.zeros(3, int)}, "labels"),
        ({"images": np.zeros((4, 2, 2)), "labels": np.zeros(4)}, "whole numbers"),
        ({"images": np.full((4, 2, 2), np.nan), "labels": np.zeros(4, int)}, "finite"),
        (
            {"images": np.zeros((4, 2, 2)), "labels": np.zeros(4, int), "split": [0, 1, 1, 3]},
            r"Missing or unknown: \[2, 3\]",
        ),
        (
            {"images": np.zeros((4, 2, 2)), "labels": np.zeros(4, int), "split": [0, 1, 2]},
            "split",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DataError, match=rf"mine(.|\n)*{words}|{words}(.|\n)*mine"):
        load_images(tmp_path / "mine.npz")


def test_arrays_in_memory_are_checked_alike():
    with pytest.raises(ShapeError, match=r"\[N, H, W\] .*Got \(4, 2\)"):
        ImageData.from_arrays("mine", np.zeros((4, 2)), np.zeros(4, int))
    with pytest.raises(DataError, match="`split` of mine .* unknown: "):
        ImageData.from_arrays("mine", np.zeros((4, 2, 2)), np.zeros(4, int), [0, 1, 1, 3])


def test_other_data_sets_keep_their_test_images_and_halve_the_others():
    train, test = (registry.load_images("noise", part=part) for part in ("train", "test"))
    first, second = halves(train, 0)
    data = load_images("noise")
    assert (data.name, data.counts) == ("noise", (12_500, 12_500, 25_000))
    for part, wanted in ((TRAIN, first), (VALID, second), (TEST, test)):
        assert np.array_equal(data.labels[data.split == part], wanted.targets)
    mean, std = first.images.mean((0, 2, 3)), first.images.std((0, 2, 3))
    expected = (test.images[0] - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(
        data.images[data.split == TEST][0].transpose(2, 0, 1), expected, rtol=1e-3, atol=1e-5
    )


def test_images_without_a_class_each_make_no_table():
    with pytest.raises(ConfigError, match="must have a class each. Those of findings have find"):
        load_images("findings")


def test_a_name_is_made_fit_for_columns(tmp_path):
    labels = np.arange(8) % 2
    np.savez(tmp_path / "my photos (20,000).npz", images=np.zeros((8, 2, 2)), labels=labels)
    assert load_images(tmp_path / "my photos (20,000).npz").name == "my-photos-20000"


def test_a_file_that_is_no_archive_and_a_name_that_is_none_are_refused(tmp_path):
    (tmp_path / "mine.npz").write_text("no archive")
    with pytest.raises(DataError, match="not a readable .npz file"):
        load_images(tmp_path / "mine.npz")
    with pytest.raises(
        UnknownNameError, match="Images must be digits, .* file or folder. Got 'cifar'"
    ):
        load_images("cifar")


def test_training_images_can_be_fewer_in_the_same_proportion(toy_images):
    batches = Batches(toy_images, TabulateConfig(train_images=20))
    assert np.bincount(batches.parts[TRAIN][1]).tolist() == [5, 5, 5, 5]
    assert len(batches.parts[VALID][1]) == len(batches.parts[TEST][1]) == 40


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch(toy_images):
    batches = Batches(toy_images, TabulateConfig())
    images, labels = batches.epoch(0, 0)
    assert torch.equal(images, batches.epoch(0, 0)[0])
    for other in ((0, 1), (1, 0)):
        assert not torch.equal(images, batches.epoch(*other)[0])
    assert labels.bincount().tolist() == batches.parts[TRAIN][1].bincount().tolist()


def test_a_shift_moves_whole_images_by_at_most_its_reach(toy_images):
    still = Batches(toy_images, TabulateConfig()).epoch(0, 0)[0]
    moved = Batches(toy_images, TabulateConfig(max_shift=1)).epoch(0, 0)[0]
    framed = torch.nn.functional.pad(still, (1,) * 4, mode="replicate")
    offsets = [(i, j) for i in range(3) for j in range(3)]
    windows = torch.stack([framed[..., i : i + 6, j : j + 6] for i, j in offsets])
    same = (windows == moved).flatten(2).all(2)
    assert same.any(0).all()
    assert same.any(1).all()  # every shift occurs


def test_noise_is_the_same_in_every_epoch_and_grows_with_its_level(toy_images):
    plain, noisy = (
        Batches(toy_images, TabulateConfig(pixel_noise=level)).parts[TEST][0] for level in (0, 2)
    )
    assert (noisy - plain).std().item() == pytest.approx(2, rel=0.1)
    again = Batches(toy_images, TabulateConfig(pixel_noise=2)).parts[TEST][0]
    assert torch.equal(noisy, again)


def test_images_with_another_label_are_other_data(toy_images):
    labels = toy_images.labels.copy()
    labels[0] = 1
    other = ImageData(toy_images.name, toy_images.images, labels, toy_images.split)
    assert other.digest != toy_images.digest

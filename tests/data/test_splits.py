import numpy as np
import pytest
import torch

from archrep.data.base import ImageSet
from archrep.data.splits import (
    balanced,
    halves,
    nasbench201_halves,
    ordered_halves,
)
from archrep.errors import ConfigError, DataError


def numbered(labels, classes=3, task="classes"):
    """Images whose only pixel is their row."""
    images = torch.arange(len(labels), dtype=torch.float32)[:, None, None, None]
    return ImageSet("toy", images, torch.as_tensor(labels), classes, (0.0,), (1.0,), task)


def rows(images):
    return images.images.flatten().int().tolist()


LABELS = [0] * 10 + [1] * 7 + [2] * 4


def test_halves_are_disjoint_complete_and_divide_every_class():
    first, second = halves(numbered(LABELS), 3)
    assert sorted(rows(first) + rows(second)) == list(range(21))
    assert len(first) == 11
    counts = [torch.bincount(half.targets, minlength=3) for half in (first, second)]
    assert (counts[0] - counts[1]).abs().max() <= 1
    assert rows(first) == sorted(rows(first))


def test_halves_depend_on_the_seed_alone():
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    images = numbered(LABELS)
    assert rows(halves(images, 1)[0]) == rows(halves(images, 1)[0])
    assert rows(halves(images, 1)[0]) != rows(halves(images, 2)[0])
    assert torch.equal(state[0], torch.get_rng_state())
    assert np.array_equal(state[1], np.random.get_state()[1])  # noqa: NPY002


def test_halves_of_findings_are_random():
    images = numbered(torch.zeros(9, 2), classes=2, task="findings")
    first, second = halves(images, 0)
    assert (len(first), len(second)) == (5, 4)
    assert sorted(rows(first) + rows(second)) == list(range(9))


def test_fixed_halves_keep_the_order():
    first, second = ordered_halves(numbered(LABELS))
    assert rows(first) + rows(second) == list(range(21))


@pytest.mark.parametrize("count", [1, 6, 20, 21])
def test_balanced_keeps_classes_in_proportion(count):
    chosen = balanced(numbered(LABELS), count, 0)
    assert len(chosen) == len(set(rows(chosen))) == count
    shares = torch.bincount(torch.tensor(LABELS)) * (count / 21)
    assert (torch.bincount(chosen.targets, minlength=3) - shares).abs().max() <= 1


def test_a_larger_balanced_choice_contains_a_smaller_one():
    images = numbered(LABELS)
    assert set(rows(balanced(images, 8, 4))) < set(rows(balanced(images, 15, 4)))


@pytest.mark.parametrize("count", [0, 22])
def test_balanced_refuses_impossible_counts(count):
    with pytest.raises(ConfigError, match=rf"from 1 to the 21 images of toy\. Got {count}"):
        balanced(numbered(LABELS), count, 0)


def test_one_image_has_no_halves():
    for divide in (lambda images: halves(images, 0), ordered_halves):
        with pytest.raises(ConfigError, match="need at least 2 images. toy has 1"):
            divide(numbered([0]))


def test_nasbench201_halves_follow_the_lists(tmp_path):
    path = tmp_path / "splits.npz"
    lists = {"cifar10_train__train": [3, 0], "cifar10_train__valid": [1, 2]}
    np.savez(path, **lists)
    first, second = nasbench201_halves(numbered([0, 1, 2, 0]), "cifar10_train", path)
    assert (rows(first), rows(second)) == ([0, 3], [1, 2])
    with pytest.raises(ConfigError, match="divides 4 images .* toy has 2. Load the complete"):
        nasbench201_halves(numbered([0, 1]), "cifar10_train", path)
    with pytest.raises(DataError, match="cifar100_test__xvalid"):
        nasbench201_halves(numbered([0, 1]), "cifar100_test", path)
    with pytest.raises(ConfigError, match="Splits are: cifar10_train, .* Got 'cifar'"):
        nasbench201_halves(numbered([0, 1]), "cifar", path)
    np.savez(path, **lists | {"cifar10_train__valid": [1, 1]})
    with pytest.raises(DataError, match="every row exactly once"):
        nasbench201_halves(numbered([0, 1, 2, 0]), "cifar10_train", path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="not a readable .npz file"):
        nasbench201_halves(numbered([0, 1, 2, 0]), "cifar10_train", path)

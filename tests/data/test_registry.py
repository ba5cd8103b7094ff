import numpy as np
import pytest
import torch

from archrep.data.registry import DATASETS, load_images, register
from archrep.errors import ConfigError, DataError, UnknownNameError

NAMES = [
    "digits",
    "cifar10",
    "cifar10-nasbench201",
    "cifar10-nasbench201-train",
    "cifar100",
    "imagenet16",
    "imagenet",
    "camvid",
    "cityscapes",
    "chexpert",
    "findings",
    "noise",
    "fractals",
]


def test_names_are_known():
    assert list(DATASETS) == NAMES


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="digits, cifar10, .*fractals.*Got 'mnist'"):
        load_images("mnist")


def test_a_second_registration_is_refused():
    with pytest.raises(ConfigError, match="A data set named 'digits' is registered already"):
        register("digits", DATASETS["noise"])


@pytest.mark.parametrize("name", ["digits", "noise", "findings"])
class TestEveryDataSetWithoutFiles:
    def test_size_and_count_are_heeded(self, name):
        images = load_images(name, size=12, count=60)
        assert (len(images), images.size) == (60, (12, 12))

    def test_same_request_gives_the_same_images(self, name):
        first, again = (load_images(name, size=12, count=60, seed=3) for _ in range(2))
        assert first.sha256 == again.sha256
        assert first.sha256 != load_images(name, size=12, count=60, seed=4).sha256

    def test_parts_differ(self, name):
        parts = [load_images(name, part=part, count=60, size=8) for part in ("train", "test")]
        assert parts[0].sha256 != parts[1].sha256
        assert (parts[0].mean, parts[0].std) == (parts[1].mean, parts[1].std)

    def test_impossible_numbers_are_told_together(self, name):
        with pytest.raises(ConfigError, match=r"`size` .* Got 0\.\n`count` .* Got -1\."):
            load_images(name, size=0, count=-1)


def test_more_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="from 1 to the 1,437 images of digits. Got 2000"):
        load_images("digits", count=2_000)


def arrays(count=12):
    images = np.random.default_rng(0).integers(0, 256, (count, 5, 7, 3), dtype=np.uint8)
    return {"images": images, "labels": np.arange(count) % 3}


def test_an_npz_file_of_images(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays())
    images = load_images(path)
    assert (images.name, images.classes, images.size) == ("mine", 3, (5, 7))
    assert np.array_equal(images.images.permute(0, 2, 3, 1).numpy(), arrays()["images"])
    with pytest.raises(ConfigError, match="one of train, valid, test that its `split` holds"):
        load_images(path, part="test")
    np.savez(path, **arrays(), split=np.repeat([0, 1, 2], 4))
    assert load_images(path, part="test").targets.tolist() == [2, 0, 1, 2]
    assert load_images(path).mean == load_images(path, part="valid").mean


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": np.zeros(12, int)}, "Classes must be at least 2. Got 1"),
        ({"labels": np.arange(12) - 1}, r"`labels` must be whole numbers from 0. Got \[-1"),
        ({"labels": np.arange(11)}, r"`labels` \[N\]\. Got \(12, 5, 7, 3\) and \(11,\)"),
        ({"images": np.zeros((12, 5, 7))}, "must be uint8"),
        ({"images": None}, r"Missing: \['images'\]"),
    ],
)
def test_arrays_that_do_not_fit_are_told_in_one_line(tmp_path, changed, words):
    given = {key: value for key, value in (arrays() | changed).items() if value is not None}
    np.savez(tmp_path / "mine.npz", **given)
    with pytest.raises(DataError, match=words) as error:
        load_images(tmp_path / "mine.npz")
    assert "\n" not in str(error.value)


def test_a_file_of_no_known_layout_is_told_in_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "what.bin", tmp_path / "what.npz"):
        if path.suffix:
            path.write_bytes(b"nothing")
        with pytest.raises(DataError, match="no known layout|not a readable .npz") as error:
            load_images(path)
        assert "\n" not in str(error.value)


@pytest.mark.data
def test_every_file_of_the_data_folder_loads_by_its_path(data_folder):
    folder = data_folder / "images"
    if not folder.is_dir():
        pytest.skip("ARCHREP_DATA has no folder of images")
    for name, count in (
        ("cifar10-20k.zip", 4_000),
        ("cifar100-28k.zip", 4_000),
        ("imagenet16-like-120.zip", 2_400),
        ("camvid-mini.zip", 24),
    ):
        assert len(load_images(folder / name, part="test")) == count
    by_name = load_images("camvid", folder=folder, size=20, count=5)
    assert by_name.targets.shape == (5, 20, 20)


@pytest.mark.slow
def test_fractals_are_made_and_kept(tmp_path):
    images = load_images("fractals", count=250, folder=tmp_path)
    assert torch.bincount(images.targets).max() <= 3
    kept = list(tmp_path.glob("fractals-*.npz"))
    assert len(kept) == 1
    assert load_images("fractals", count=250, folder=tmp_path).sha256 == images.sha256
    assert len(load_images(kept[0])) == 300

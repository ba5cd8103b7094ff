"""Files of the real data sets, and of toys in their layouts, whole and damaged."""

import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from archrep.data.base import IGNORED
from archrep.data.cifar import load_cifar10, load_cifar100
from archrep.data.digits import load_digits
from archrep.data.findings import load_chexpert, synthetic_findings
from archrep.data.imagenet import load_imagenet, load_imagenet16
from archrep.data.noise import gaussian_noise
from archrep.data.pickles import read_batch
from archrep.data.registry import load_images
from archrep.data.segmentation import load_camvid, load_cityscapes
from archrep.data.splits import nasbench201_halves
from archrep.errors import ConfigError, DataError


@pytest.fixture(scope="session")
def image_files(data_folder):
    folder = data_folder / "images"
    if not folder.is_dir():
        pytest.skip("ARCHREP_DATA has no folder of images")
    return folder


@pytest.fixture(scope="session")
def samples(image_files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    with zipfile.ZipFile(image_files / "format-samples.zip") as archive:
        archive.extractall(folder)
    return folder


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


# Real files ----------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("part", "count", "pixels", "labels"),
    [
        (
            "train",
            50_000,
            "11af95666bd6fd7846144e768325bf13",
            "69c5f3349be54915edfca558b72ad888",
        ),
        (
            "test",
            10_000,
            "f1aa22116df97725db0e47461c45a82b",
            "251f18ce75337ae9ca5d0dbd7ea62cf4",
        ),
    ],
)
def test_cifar10_of_two_strip_files_is_the_official_one_byte_for_byte(
    image_files, part, count, pixels, labels
):
    images = load_cifar10(image_files, part)
    assert (images.name, len(images)) == ("cifar10", count)
    assert hashlib.md5(images.images.numpy().tobytes()).hexdigest() == pixels
    assert hashlib.md5(images.targets.numpy().astype(np.uint8).tobytes()).hexdigest() == labels
    if part == "train":
        first, second = nasbench201_halves(
            images, "cifar10_train", image_files / "nas-bench-201-splits.npz"
        )
        assert len(first) == len(second) == 25_000
        both = load_images("cifar10-nasbench201", folder=image_files)
        assert torch.equal(both.images, torch.cat([first.images, second.images]))
        assert torch.equal(both.targets, torch.cat([first.targets, second.targets]))
        alone = load_images("cifar10-nasbench201-train", folder=image_files)
        assert torch.equal(alone.images, first.images)


@pytest.mark.data
def test_a_part_of_cifar_says_that_it_is_one(image_files):
    assert load_cifar10(image_files / "cifar10-20k.zip", "test").name == "cifar10 (4,000 of 10,000)"
    images = load_cifar100(image_files, "test")
    assert images.name == "cifar100 (4,000 of 10,000)"
    assert torch.bincount(images.targets).tolist() == [40] * 100
    coarse = load_cifar100(image_files, "test", coarse=True)
    assert (coarse.name, coarse.classes) == ("cifar100-coarse (4,000 of 10,000)", 20)
    assert torch.equal(coarse.images, images.images)
    pairs = torch.stack([images.targets, coarse.targets]).unique(dim=1)
    assert pairs.shape[1] == 100  # each class has one superclass


@pytest.mark.data
def test_imagenet16_stand_in(image_files):
    images = load_imagenet16(image_files)
    assert (images.name, images.size, images.classes) == ("imagenet16-like-120", (16, 16), 120)
    assert torch.bincount(images.targets).tolist() == [100] * 120
    normal = images.normalise(images.pixels(torch.arange(len(images))))
    assert normal.mean((0, 2, 3)).abs().max() < 1e-3
    assert (normal.std((0, 2, 3)) - 1).abs().max() < 1e-3
    assert len(load_imagenet16(image_files, "test")) == 2_400


@pytest.mark.data
def test_camvid_parts(image_files):
    counts = {part: len(load_camvid(image_files, part)) for part in ("train", "valid", "test")}
    assert counts == {"train": 74, "valid": 21, "test": 24}
    images = load_camvid(image_files)
    assert images.size == (180, 240)
    shares = torch.bincount(images.targets.flatten(), minlength=256) / images.targets.numel()
    # Pixel shares that the file itself states: sky, building, ..., unlabelled.
    assert shares[:3].tolist() == pytest.approx([0.16679, 0.23557, 0.00929], abs=1e-5)
    assert float(shares[IGNORED]) == pytest.approx(0.0391, abs=1e-5)
    assert load_camvid(image_files, size=32).size == (32, 32)


@pytest.mark.data
def test_every_format_sample_loads(samples):
    cityscapes = load_cityscapes(samples)
    assert (len(cityscapes), cityscapes.size, cityscapes.classes) == (6, (180, 240), 19)
    # CamVid's classes as train ids: road 0, sidewalk, building, fence, pole, sign, tree, sky, ...
    assert set(cityscapes.targets.unique().tolist()) <= {0, 1, 2, 4, 5, 7, 8, 10, 11, 12, 13, 255}
    assert len(load_cityscapes(samples / "cityscapes", "test", size=32, count=2)) == 2
    chexpert = load_chexpert(samples, size=32)
    assert chexpert.images.shape == (8, 3, 32, 32)
    # Row 2 of the table: cardiomegaly -1, edema blank, consolidation blank, effusion 1.
    assert np.array_equal(chexpert.targets[1].numpy(), [0, np.nan, 0, 0, 1], equal_nan=True)
    for choice, value in (("zeros", 0), ("ones", 1)):
        filled = load_chexpert(samples, size=32, uncertain=choice).targets
        unknown = chexpert.targets.isnan()
        assert (filled[unknown] == value).all()
        assert torch.equal(filled[~unknown], chexpert.targets[~unknown])
    held_out = load_chexpert(samples / "chexpert" / "CheXpert-v1.0-small", "test", size=32)
    assert not held_out.targets.isnan().any()
    imagenet = load_imagenet(samples, size=32)
    assert (len(imagenet), imagenet.classes) == (64, 8)
    assert torch.bincount(imagenet.targets).tolist() == [8] * 8
    few = load_imagenet(samples, "test", size=16, count=16)
    assert torch.bincount(few.targets).tolist() == [2] * 8


@pytest.mark.data
def test_pictures_of_any_size_and_mode_become_rgb_squares(samples, tmp_path):
    (tmp_path / "train").symlink_to(samples / "imagenet_native")
    images = load_imagenet(tmp_path, size=48)
    assert images.images.shape == (12, 3, 48, 48)


# Toys in the same layouts --------------------------------------------------------------------


def picture(array, kind="PNG", **options):
    data = io.BytesIO()
    Image.fromarray(array).save(data, kind, **options)
    return data.getvalue()


def write_strips(path, part="train", count=6, size=32, labels=None, index=None, **members):
    stream = np.random.default_rng(count)
    pixels = stream.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    labels = np.arange(count) % 10 if labels is None else labels
    index = np.arange(count) if index is None else index
    content = {
        f"{part}-000.webp": picture(pixels.reshape(-1, size, 3), "WEBP", lossless=True),
        "meta.json": json.dumps({"train_mean": [127.5] * 3, "train_std": [51.0] * 3}).encode(),
    }
    for key, array in (("labels", labels), ("index", index)):
        data = io.BytesIO()
        np.save(data, np.asarray(array))
        content[f"{part}_{key}.npy"] = data.getvalue()
    content |= {name.replace("__", "."): data for name, data in members.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return pixels


def test_strip_files_are_put_into_the_official_order(tmp_path):
    first = write_strips(tmp_path / "cifar10-20k.zip", count=3, index=[0, 2, 5], labels=[0, 2, 5])
    rest = write_strips(tmp_path / "cifar10-rest.zip", count=2, index=[1, 4], labels=[1, 4])
    images = load_cifar10(tmp_path)
    assert images.targets.tolist() == [0, 1, 2, 4, 5]
    wanted = np.stack([first[0], rest[0], first[1], rest[1], first[2]]).transpose(0, 3, 1, 2)
    assert np.array_equal(images.images.numpy(), wanted)
    assert images.name == "cifar10 (5 of 50,000)"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"labels": [0, 1, 2, 3, 4, 12]}, r"classes from 0 to 9\. Got 0 to 12"),
        ({"labels": [0, 1]}, "train_labels.npy .* must hold 6 whole numbers"),
        ({"labels": [0.5] * 6}, "whole numbers, one an image. Got float64"),
        ({"index": [0, 1, 1, 2, 3, 4]}, "distinct and below 50,000"),
        ({"index": [0, 1, 2, 3, 4, 50_000]}, "distinct and below 50,000"),
        ({"size": 16}, "must have 32 x 32 pixels"),
        ({"part": "val"}, "must hold strips train-000.webp"),
        ({"meta__json": b"["}, "meta.json .* is not JSON"),
        ({"train_labels__npy": b"x"}, "is not a NumPy array"),
    ],
)
def test_a_damaged_strip_file_is_told_in_one_line(tmp_path, broken, words):
    write_strips(tmp_path / "cifar10-20k.zip", **broken)
    with pytest.raises(DataError, match=words) as error:
        load_cifar10(tmp_path)
    one_line(error)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_truncated_zip_is_told_in_one_line(tmp_path, share):
    path = tmp_path / "imagenet16-like-120.zip"
    write_strips(path, size=16)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"is not a complete zip file .* Get it again") as error:
        load_imagenet16(tmp_path)
    one_line(error)


def test_means_that_are_no_three_numbers_are_told_in_one_line(tmp_path):
    path = tmp_path / "imagenet16-like-120.zip"
    write_strips(path, part="train", size=16, meta__json=b'{"train_mean": [1, 2]}')
    with pytest.raises(DataError, match="must hold `train_mean`, three numbers") as error:
        load_imagenet16(tmp_path)
    one_line(error)


def test_a_damaged_member_is_told_in_one_line(tmp_path):
    path = tmp_path / "cifar10-20k.zip"
    write_strips(path)
    data = bytearray(path.read_bytes())
    data[2_000] ^= 255  # in the strip
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged at train-000.webp") as error:
        load_cifar10(path)
    one_line(error)


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (load_cifar10, "cifar-10-batches-py/, .*tar.gz, .*cifar10-20k.zip and cifar10-rest.zip"),
        (load_cifar100, "cifar-100-python/.*cifar100-28k.zip"),
        (load_imagenet, "train/<wnid>/"),
        (load_imagenet16, "train_data_batch_1.*imagenet16-like-120.zip"),
        (load_camvid, "camvid-mini.zip"),
        (load_cityscapes, "leftImg8bit/train/<city>/ and gtFine"),
        (load_chexpert, "train.csv"),
    ],
)
def test_a_missing_data_set_says_which_files_belong_where(load, expected, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=f"{tmp_path}. Expected there: .*{expected}") as error:
        load(tmp_path)
    one_line(error)
    with pytest.raises(DataError, match="Expected a folder of image files. Got .*none. Pass"):
        load(tmp_path / "nowhere")
    monkeypatch.delenv("ARCHREP_DATA", raising=False)
    monkeypatch.delenv("ARCHREP_IMAGES", raising=False)
    with pytest.raises(DataError, match="none is named. Pass `folder`, or set ARCHREP_IMAGES"):
        load()
    with pytest.raises(ConfigError, match="`part` of .* must be train or .*Got 'all'"):
        load(tmp_path, "all")


def test_folders_come_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    write_strips(tmp_path / "images" / "cifar10-20k.zip", count=4)
    write_strips(tmp_path / "cifar10-20k.zip", count=5)
    monkeypatch.setenv("ARCHREP_DATA", str(tmp_path))
    monkeypatch.delenv("ARCHREP_IMAGES", raising=False)
    assert len(load_cifar10()) == 4
    monkeypatch.setenv("ARCHREP_IMAGES", str(tmp_path))
    assert len(load_cifar10()) == 5


# Pickles -------------------------------------------------------------------------------------


def python2_batch(pixels, labels):
    """A batch as Python 2's cPickle writes it: strings are bytes."""

    def text(value):
        data = value.encode() if isinstance(value, str) else value
        return b"T" + struct.pack("<i", len(data)) + data

    dtype = b"cnumpy\ndtype\n(" + text("u1") + b"K\x00K\x01tR(K\x03" + text("|")
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"".join(b"J" + struct.pack("<i", n) for n in pixels.shape)
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text("b")
    array += b"tR(K\x01(" + shape + b"t" + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([n]) for n in labels) + b"e"
    return (
        b"\x80\x02}("
        + text("batch_label")
        + text("training batch 1 of 5")
        + text("labels")
        + numbers
        + text("data")
        + array
        + b"u."
    )


PIXELS = np.random.default_rng(0).integers(0, 256, (10, 3072), dtype=np.uint8)


def write_batches(folder):
    folder.mkdir()
    for n in range(1, 6):
        part = slice(2 * n - 2, 2 * n)
        batch = python2_batch(PIXELS[part], [n, n + 4])
        (folder / f"data_batch_{n}").write_bytes(batch)
    (folder / "test_batch").write_bytes(python2_batch(PIXELS[:1], [3]))


def test_a_python_2_batch_is_what_pickle_reads(tmp_path):
    data = python2_batch(PIXELS, range(10))
    trusted = pickle.loads(data, encoding="bytes")
    pixels, labels = read_batch(data, "batch", "labels")
    assert np.array_equal(pixels, trusted[b"data"])
    assert labels.tolist() == trusted[b"labels"]


@pytest.mark.parametrize("protocol", range(2, 5))
def test_a_python_3_batch_is_read_too(protocol):
    labels = [np.int64(3)] * 10 if protocol == 4 else np.full(10, 3)
    batch = {"data": PIXELS, "labels": labels, "mean": PIXELS.mean(0)}
    pixels, classes = read_batch(pickle.dumps(batch, protocol), "batch", "labels")
    assert np.array_equal(pixels, PIXELS)
    assert classes.tolist() == [3] * 10


@pytest.mark.parametrize("how", ["folder", "itself", "archive"])
def test_official_cifar_batches(tmp_path, how):
    folder = tmp_path / "cifar-10-batches-py"
    write_batches(folder)
    at = {"folder": tmp_path, "itself": folder, "archive": tmp_path / "cifar-10-python.tar.gz"}[how]
    if how == "archive":
        with tarfile.open(at, "w:gz") as archive:
            archive.add(folder, folder.name)
    images = load_cifar10(at)
    assert np.array_equal(images.images.reshape(10, -1).numpy(), PIXELS)
    assert images.targets.tolist() == [1, 5, 2, 6, 3, 7, 4, 8, 5, 9]
    assert len(load_cifar10(at, "test")) == 1
    if how == "archive":
        at.write_bytes(at.read_bytes()[:-2000])
        with pytest.raises(DataError, match="is truncated or not a tar file") as error:
            load_cifar10(at)
        one_line(error)
    else:
        (folder / "data_batch_3").unlink()
        with pytest.raises(DataError, match="data_batch_3 of cifar10 is not in") as error:
            load_cifar10(at)
        one_line(error)


def test_official_imagenet16_batches_keep_the_first_120_classes(tmp_path):
    folder = tmp_path / "ImageNet16"
    folder.mkdir()
    pixels = PIXELS[:4, :768]
    batch = {"data": pixels, "labels": [1, 120, 121, 1000], "mean": pixels.mean(0)}
    (folder / "val_data").write_bytes(pickle.dumps(batch, 4))
    images = load_imagenet16(tmp_path, "test")
    assert images.targets.tolist() == [0, 119]
    assert np.array_equal(images.images.reshape(2, -1).numpy(), pixels[:2])
    (folder / "val_data").write_bytes(pickle.dumps(batch | {"labels": [0, 1, 2, 3]}, 4))
    with pytest.raises(DataError, match=r"from 1 to 1000\. Got 0 to 3") as error:
        load_imagenet16(folder, "test")
    one_line(error)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_hostile_batch_is_refused_and_does_nothing(tmp_path):
    batch = {"data": PIXELS, "labels": Hostile(tmp_path / "made")}
    with pytest.raises(DataError, match="names 'posix.mkdir'.* nothing was executed") as error:
        read_batch(pickle.dumps(batch), "batch", "labels")
    one_line(error)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        python2_batch(PIXELS, range(10))[:500],
        pickle.dumps([1]),
        pickle.dumps({"data": PIXELS.astype(np.float32), "labels": [0] * 10}),
        pickle.dumps({"data": PIXELS, "labels": [0] * 9}),
        pickle.dumps({"data": PIXELS, "labels": ["a"] * 10}),
        pickle.dumps({"data": np.array([{}], dtype=object), "labels": [0]}),
        python2_batch(PIXELS, range(10)).replace(b"J\x0a\x00\x00\x00", b"J\x0b\x00\x00\x00"),
    ],
)
def test_nonsense_is_told_in_one_line(data):
    with pytest.raises(DataError, match="batch") as error:
        read_batch(data, "batch", "labels")
    one_line(error)


# Masks and findings --------------------------------------------------------------------------


def write_cityscapes(folder, ids, size=(4, 6)):
    for kind, name, array in (
        ("leftImg8bit", "leftImg8bit", np.zeros((*size, 3), np.uint8)),
        ("gtFine", "gtFine_labelIds", ids),
    ):
        place = folder / kind / "train" / "ulm"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"ulm_000000_000019_{name}.png").write_bytes(picture(array))


def test_cityscapes_ids_become_train_ids(tmp_path):
    ids = np.arange(34, dtype=np.uint8)[None]
    write_cityscapes(tmp_path, ids, (1, 34))
    found = load_cityscapes(tmp_path).targets.flatten().tolist()
    counted = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert [found[i] for i in counted] == list(range(19))
    assert all(found[i] == IGNORED for i in set(range(34)) - set(counted))


def test_masks_that_do_not_fit_are_told_in_one_line(tmp_path):
    write_cityscapes(tmp_path, np.full((4, 6), 77, np.uint8))
    with pytest.raises(DataError, match=r"from 0 to 33\. Got 77") as error:
        load_cityscapes(tmp_path)
    one_line(error)
    write_cityscapes(tmp_path, np.full((4, 5), 7, np.uint8))
    with pytest.raises(DataError, match="must all have 4 x 6 pixels") as error:
        load_cityscapes(tmp_path)
    one_line(error)
    write_cityscapes(tmp_path, np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(DataError, match="mask of one 8-bit channel. Got mode RGB"):
        load_cityscapes(tmp_path)
    next(tmp_path.glob("gtFine/**/*.png")).write_bytes(b"\x89PNG nothing")
    with pytest.raises(DataError, match="is not a readable picture") as error:
        load_cityscapes(tmp_path)
    one_line(error)
    next(tmp_path.glob("gtFine/**/*.png")).unlink()
    with pytest.raises(DataError, match="must have its mask in .*, which is not there") as error:
        load_cityscapes(tmp_path)
    one_line(error)


def test_camvid_masks_are_checked(tmp_path):
    path = tmp_path / "camvid-mini.zip"

    def write(mask):
        with zipfile.ZipFile(path, "w") as archive:
            image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            archive.writestr("images/train/a.jpg", picture(image, "JPEG"))
            if mask is not None:
                archive.writestr("labels/train/a.png", picture(mask))

    write(np.full((4, 4), 11, np.uint8))
    assert load_camvid(tmp_path).targets.unique().tolist() == [IGNORED]
    write(np.full((4, 4), 12, np.uint8))
    with pytest.raises(DataError, match="must hold classes 0 to 10, or 11 .* Got 12") as error:
        load_camvid(tmp_path)
    one_line(error)
    write(None)
    with pytest.raises(DataError, match=r"must hold labels/train/a.png, the mask of") as error:
        load_camvid(tmp_path)
    one_line(error)


HEADER = "Path,Cardiomegaly,Edema,Consolidation,Atelectasis,Pleural Effusion\n"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (HEADER + "C/train/a.jpg,2,,,,\n", "Cardiomegaly in line 2 .* 1, 0, -1 or blank. Got '2'"),
        (HEADER.replace("Edema", "Oedema") + "C/train/a.jpg,,,,,\n", "It lacks Edema"),
        (HEADER, "name at least one image"),
        ("", "must have columns"),
        (HEADER + "C/train/b.jpg,1,,,,\n", "names C/train/b.jpg, which is not in"),
        (HEADER + "C/train/a.jpg,1,,,,\n", "a.jpg is not a readable picture"),
    ],
)
def test_a_damaged_chexpert_table_is_told_in_one_line(tmp_path, table, words):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.jpg").write_bytes(b"nothing")
    (tmp_path / "train.csv").write_text(table)
    with pytest.raises(DataError, match=words) as error:
        load_chexpert(tmp_path)
    one_line(error)


def test_imagenet_folders_of_one_class_or_none_are_refused(tmp_path):
    (tmp_path / "train" / "n01").mkdir(parents=True)
    with pytest.raises(DataError, match="at least 2 classes, named by wnid. Got 1") as error:
        load_imagenet(tmp_path)
    one_line(error)
    (tmp_path / "train" / "n02").mkdir()
    with pytest.raises(DataError, match="must hold pictures <wnid>/"):
        load_imagenet(tmp_path)
    (tmp_path / "val" / "n03").mkdir(parents=True)
    with pytest.raises(DataError, match=r"has classes that .* lacks: \['n03'\]"):
        load_imagenet(tmp_path, "test")
    for wnid in ("n01", "n02"):
        grey = np.full((5, 9), 100, np.uint8)
        (tmp_path / "train" / wnid / "a.JPEG").write_bytes(picture(grey, "JPEG"))
    assert load_imagenet(tmp_path, size=4).images.shape == (2, 3, 4, 4)
    with pytest.raises(ConfigError, match=r"from 1 to the 2 pictures there are\. Got 3"):
        load_imagenet(tmp_path, size=4, count=3)


# Made images ---------------------------------------------------------------------------------


def test_digits_are_divided_once_and_for_all():
    train, test = load_digits(), load_digits("test")
    assert (len(train), len(test)) == (1_437, 360)
    counts = torch.bincount(train.targets) / torch.bincount(test.targets)
    assert (counts - 4).abs().max() < 0.2
    assert torch.equal(train.images, load_digits().images)
    assert (train.mean, train.std) == (test.mean, test.std)
    pixels = {tuple(row) for row in train.images.flatten(1).tolist()}
    assert not pixels & {tuple(row) for row in test.images.flatten(1).tolist()}
    normal = train.normalise(train.pixels(torch.arange(len(train))))
    assert float(normal.mean()) == pytest.approx(0, abs=1e-5)


def test_noise_is_standard_normal_and_stays_so():
    images = gaussian_noise(count=2_000, size=8)
    assert images.images.dtype == torch.float32
    assert float(images.images.mean()) == pytest.approx(0, abs=0.01)
    assert float(images.images.std()) == pytest.approx(1, abs=0.01)
    rows = torch.arange(5)
    assert torch.equal(images.normalise(images.pixels(rows)), images.images[:5])
    assert images.sha256 != gaussian_noise(count=2_000, size=8, seed=1).sha256
    assert images.sha256 != gaussian_noise(count=2_000, size=8, part="test").sha256
    with pytest.raises(ConfigError, match=r"`count` must be at least 1\. Got 0"):
        gaussian_noise(count=0)


def test_synthetic_findings_can_be_told_from_the_pixels():
    train = synthetic_findings(uncertain=0.2)
    test = synthetic_findings(part="test")
    assert float(train.targets.isnan().float().mean()) == pytest.approx(0.2, abs=0.02)
    assert not test.targets.isnan().any()
    assert float(test.targets.mean()) == pytest.approx(0.35, abs=0.03)
    # A linear probe that knows nothing of places ranks them far better than chance.
    inputs = [images.pixels(torch.arange(2_000)).flatten(1) - 0.33 for images in (train, test)]
    answers = train.targets.nan_to_num(0.35) - 0.35
    ridge = inputs[0].T @ inputs[0] + 100 * torch.eye(1024)
    scores = inputs[1] @ torch.linalg.solve(ridge, inputs[0].T @ answers)
    for score, truth in zip(scores.T, test.targets.T, strict=True):
        pairs = score[truth == 1][:, None] > score[truth == 0]
        assert float(pairs.float().mean()) > 0.75


MADE = """
import numpy as np, torch
from archrep.data.findings import synthetic_findings
from archrep.data.fractals import FractalConfig, draw, random_systems
from archrep.data.noise import gaussian_noise
from archrep.seeding import numpy_stream
import hashlib
config = FractalConfig(categories=2, per_category=30, mode="patch_color", drawing=64)
pixels = draw(random_systems(4, numpy_stream(1, "test")), config)
made = [gaussian_noise(count=20, size=8).sha256, synthetic_findings(20).sha256]
print(*made, hashlib.sha256(pixels.tobytes()).hexdigest())
"""


def test_made_images_are_the_same_in_another_process_and_leave_random_state_alone(capsys):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    exec(MADE, {})
    here = capsys.readouterr().out
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    there = subprocess.run(
        [sys.executable, "-c", MADE], env=environment, capture_output=True, text=True, check=True
    )
    assert there.stdout == here

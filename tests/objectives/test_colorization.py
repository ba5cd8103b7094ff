from __future__ import annotations

import math

import pytest
import torch
from objective_toys import STAGES, features_of, generator, images_of
from torch.nn import functional

import archrep.objectives.colorization as module
from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.color_bins import BINS, RANGES, nearest_bin
from archrep.objectives.colorization import Colorization, enlarge
from archrep.objectives.lab import rgb_to_lab

# Lab under D65, as colour tables print them.
KNOWN = {
    (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
    (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
    (1.0, 0.0, 0.0): (53.24, 80.09, 67.20),
    (0.0, 1.0, 0.0): (87.73, -86.18, 83.18),
    (0.0, 0.0, 1.0): (32.30, 79.19, -107.86),
    (1.0, 1.0, 0.0): (97.14, -21.55, 94.48),
    (0.0, 1.0, 1.0): (91.11, -48.09, -14.13),
    (1.0, 0.0, 1.0): (60.32, 98.23, -60.82),
}


def lab_of(*rgb):
    return rgb_to_lab(torch.tensor(rgb).view(1, 3, 1, 1)).flatten()


@pytest.mark.parametrize("rgb", KNOWN)
def test_lab_of_pure_colours_is_what_tables_print(rgb):
    torch.testing.assert_close(lab_of(*rgb), torch.tensor(KNOWN[rgb]), atol=0.03, rtol=0)


@pytest.mark.parametrize("grey", [0.02, 0.04, 0.2, 0.5, 0.8])
def test_greys_have_no_colour_and_the_lightness_of_the_formula(grey):
    linear = ((grey + 0.055) / 1.055) ** 2.4 if grey > 0.04045 else grey / 12.92
    lightness = 116 * linear ** (1 / 3) - 16 if linear > (6 / 29) ** 3 else linear * (29 / 3) ** 3
    found = lab_of(grey, grey, grey)
    assert math.isclose(float(found[0]), lightness, abs_tol=1e-3)
    assert found[1:].abs().max() < 1e-3


def test_there_are_313_bins_in_lexicographic_order():
    assert len(BINS) == len(set(BINS)) == 313
    assert list(BINS) == sorted(BINS)
    lengths = [(high - low) // 10 + 1 for low, high in RANGES.values()]
    assert lengths == [5, 8, 10, 12, 14, 15, 16, 16, 17, 18, 18, 18, 19, 20, 19, 20, 20, 19, 19, 10]


def brute_force(ab):
    """Squared distance to every bin, `[N, 313]`, of colours `[N, 2]`."""
    return (ab[:, None].double() - torch.tensor(BINS).double()).square().sum(2)


def test_the_table_finds_the_nearest_bin_of_every_colour_of_the_screen():
    levels = torch.linspace(0, 1, 28)
    cube = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 28, 28 * 28)
    ab = rgb_to_lab(cube)[:, 1:]
    distances = brute_force(ab.flatten(2)[0].T)
    found = nearest_bin(ab).flatten()
    chosen = distances.gather(1, found[:, None])[:, 0]
    # In the middle between two bins, as for a = 5, either is nearest.
    torch.testing.assert_close(chosen, distances.min(1).values, atol=1e-3, rtol=0)
    assert len(found.unique()) > 200


def test_the_table_is_right_for_nearly_all_colours_that_no_screen_shows():
    a, b = torch.meshgrid(
        torch.arange(-128.0, 128, 1.7), torch.arange(-128.0, 128, 1.7), indexing="ij"
    )
    distances = brute_force(torch.stack([a.flatten(), b.flatten()], 1))
    found = nearest_bin(torch.stack([a, b])[None]).flatten()
    chosen = distances.gather(1, found[:, None])[:, 0]
    assert (chosen.sqrt() - distances.min(1).values.sqrt()).max() < 1.5
    assert (found == distances.argmin(1)).double().mean() > 0.97
    far = nearest_bin(torch.tensor([[[[900.0, -900.0]], [[0.0, 60.0]]]]))
    assert [BINS[n] for n in far.flatten().tolist()] == [(100, 0), (-90, 60)]


def test_bins_are_their_own_nearest():
    ab = torch.tensor(BINS).float().T.view(1, 2, 1, 313)
    assert nearest_bin(ab).flatten().tolist() == list(range(313))


def test_the_input_is_lightness_normalised_with_the_mean_of_the_channels():
    images = ImageSet(
        "two", torch.ones(2, 3, 4, 4), torch.tensor([0, 1]), 2, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)
    )
    pixels = images.pixels(torch.arange(2))
    inputs, bins = Colorization().prepare(pixels, images.targets, images, generator(), True)
    torch.testing.assert_close(inputs, torch.full((2, 1, 4, 4), (1 - 0.4) / 0.2))
    assert all(BINS[n] == (0, 0) for n in bins.flatten().tolist())


@pytest.mark.parametrize("small", [(1, 1), (2, 3), (8, 8), (7, 5)])
@pytest.mark.parametrize("size", [(8, 8), (9, 16), (1, 4)])
def test_enlarging_is_bilinear_with_aligned_corners(small, size):
    coarse = torch.randn(2, 3, *small, generator=generator())
    wanted = functional.interpolate(coarse, size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(enlarge(coarse, size), wanted)
    torch.testing.assert_close(enlarge(coarse, size, slice(0, 1)), wanted[:, :, :1])


@pytest.mark.parametrize("block", [1, 313 * 3 * 24 * 5, 1 << 24])
def test_loss_score_and_gradients_do_not_depend_on_blocks(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    objective, images = Colorization(), images_of()
    pixels = images.pixels(torch.arange(3))
    inputs, bins = objective.prepare(pixels, images.targets[:3], images, generator(), True)
    head, features = objective.head(STAGES, images), features_of(inputs)
    outputs = head(features, images.size)
    full = functional.interpolate(outputs, images.size, mode="bilinear", align_corners=True)
    wanted = functional.cross_entropy(full, bins)
    loss = objective.loss(outputs, bins)
    torch.testing.assert_close(loss, wanted)
    with torch.no_grad():
        torch.testing.assert_close(objective.loss(outputs, bins), wanted)
    weights = [features[-1], *head.parameters()]
    for own, reference in zip(
        torch.autograd.grad(3 * loss, weights, retain_graph=True),
        torch.autograd.grad(3 * wanted, weights),
        strict=True,
    ):
        torch.testing.assert_close(own, reference)
    score = objective.score(outputs, bins)
    torch.testing.assert_close(score, (full.argmax(1) == bins).float().mean())


def test_images_without_colour_are_refused():
    with pytest.raises(ConfigError, match="3 channels. toy has 1"):
        Colorization().adopt(images_of(channels=1), 0)
    noise = ImageSet(
        "noise", torch.randn(4, 3, 8, 8, generator=generator()), torch.tensor([0, 1, 0, 1]), 2,
        (0.0,) * 3, (1.0,) * 3,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="colours from 0 to 1. Those of noise lie from -"):
        Colorization().adopt(noise, 0)

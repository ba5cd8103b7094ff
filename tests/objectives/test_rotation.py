from __future__ import annotations

import pytest
import torch
from objective_toys import generator, images_of

from archrep.data.base import ImageSet
from archrep.errors import ConfigError
from archrep.objectives.rotation import Rotation


def test_all_four_turns_of_every_image_with_their_number():
    images = images_of(size=8)
    pixels = images.pixels(torch.arange(3))
    inputs, turns = Rotation().prepare(pixels, images.targets[:3], images, generator(), True)
    assert turns.tolist() == [0, 1, 2, 3] * 3
    for shown, turn, image in zip(inputs, turns, pixels.repeat_interleave(4, 0), strict=True):
        assert torch.equal(shown, torch.rot90(images.normalise(image), int(turn), (1, 2)))


def test_one_turn_is_drawn_for_each_image():
    images = images_of(size=8, count=400)
    pixels = images.pixels(torch.arange(400))
    inputs, turns = Rotation(each="one").prepare(pixels, images.targets, images, generator(), True)
    for shown, turn, image in zip(inputs, turns, pixels, strict=True):
        assert torch.equal(shown, torch.rot90(images.normalise(image), int(turn), (1, 2)))
    assert turns.bincount(minlength=4).min() > 70


def test_images_that_are_not_square_are_refused():
    wide = ImageSet("wide", torch.rand(2, 1, 4, 6), torch.tensor([0, 1]), 2, (0.5,), (1.0,))
    with pytest.raises(ConfigError, match="needs square images. Those of wide are 4 x 6"):
        Rotation().adopt(wide, 0)

import pytest
import torch

from archrep.data.augment import (
    Augmentation,
    cutout,
    random_crop,
    random_flip,
    random_resized_crop,
)
from archrep.data.base import IGNORED
from archrep.errors import ConfigError, ShapeError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def places(batch, height=6, width=5):
    """Images that hold the number of each pixel, from 1, and the same as masks."""
    masks = torch.arange(1, height * width + 1, dtype=torch.uint8).view(1, height, width)
    masks = masks.repeat(batch, 1, 1)
    return masks[:, None].float(), masks


def test_crops_reach_every_offset_and_no_other():
    pixels, _ = places(4_000)
    cut = random_crop(pixels, generator(), padding=2)
    framed = torch.nn.functional.pad(pixels[0, 0], (2,) * 4)
    wanted = {
        tuple(framed[y : y + 6, x : x + 5].flatten().tolist()) for y in range(5) for x in range(5)
    }
    found, counts = cut.flatten(1).unique(dim=0, return_counts=True)
    assert {tuple(row) for row in found.tolist()} == wanted
    assert counts.min() > 100  # 160 expected of each of the 25


@pytest.mark.parametrize("seed", range(5))
def test_masks_follow_crops_and_flips(seed):
    pixels, masks = places(64)
    augment = Augmentation(crop_padding=3, flip=True)
    moved, followed = augment(pixels, generator(seed), masks)
    inside = followed != IGNORED
    assert torch.equal(moved[:, 0][inside], followed[inside].float())
    assert (moved[:, 0][~inside] == 0).all()
    assert inside.any()
    assert not inside.all()
    assert torch.equal(augment(pixels, generator(seed)), moved)  # masks draw nothing


def test_half_of_the_images_are_flipped():
    pixels, masks = places(1_000)
    moved, followed = random_flip(pixels, generator(), masks=masks)
    assert torch.equal(moved[:, 0], followed.float())
    mirrored = (moved == pixels.flip(-1)).flatten(1).all(1)
    assert 430 < int(mirrored.sum()) < 570
    assert ((moved == pixels).flatten(1).all(1) ^ mirrored).all()


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_zeroes_one_square_with_its_centre_anywhere(side):
    holes = cutout(torch.ones(3_000, 2, 8, 8), generator(), side) == 0
    assert torch.equal(holes[:, 0], holes[:, 1])
    holes = holes[:, 0]
    rows, columns = holes.any(2), holes.any(1)
    assert torch.equal(holes, rows[:, :, None] & columns[:, None])
    least = side - side // 2 if side > 1 else 1
    assert int(rows.sum(1).min()) == min(least, side // 2 + side % 2)
    assert int(rows.sum(1).max()) == side
    assert len(holes.flatten(1).unique(dim=0)) == 64  # a hole for each of the centres


def test_a_crop_of_the_whole_square_changes_nothing_of_a_square_image():
    pixels, masks = places(200, 6, 6)
    cut, moved = random_resized_crop(pixels, generator(), (1.0, 1.0), masks=masks)
    # A ratio other than 1 would be longer than the image and is cut to it on one side.
    assert cut.shape == pixels.shape
    assert moved.dtype == masks.dtype
    ramp = torch.arange(6.0).expand(50, 1, 6, 6)
    stretched = random_resized_crop(ramp, generator(), (1.0, 1.0))
    assert (stretched.diff(dim=-1) >= 0).all()
    assert torch.allclose(stretched[:, :, :1].expand_as(stretched), stretched, atol=1e-5)


def test_resized_crops_have_the_wanted_areas_and_ratios():
    ramp = torch.linspace(-1, 1, 65)[:-1] + 1 / 64
    pixels = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)])
    cut = random_resized_crop(pixels.expand(2_000, 2, 64, 64), generator(), (0.25, 0.5), size=16)
    assert cut.shape == (2_000, 2, 16, 16)
    across = (cut[:, 0, 8, 12] - cut[:, 0, 8, 4]) / (8 * 2 / 16)  # slope: share of the side
    down = (cut[:, 1, 12, 8] - cut[:, 1, 4, 8]) / (8 * 2 / 16)
    area, ratio = across * down, across / down
    assert 0.249 < float(area.min()) < 0.26
    assert 0.49 < float(area.max()) < 0.501
    assert 0.74 < float(ratio.min()) < 0.77
    assert 1.3 < float(ratio.max()) < 1.34
    centre = cut[:, :, 7:9, 7:9].mean((2, 3))
    assert float(centre.mean().abs()) < 0.03
    assert float(centre.max()) > 0.4
    assert float(centre.min()) < -0.4


def test_masks_follow_resized_crops():
    squares = (torch.arange(32) // 8 + 1).to(torch.uint8)
    masks = (squares[:, None] * 5 + squares).expand(40, 32, 32).contiguous()
    cut, moved = random_resized_crop(masks[:, None].float(), generator(), (0.3, 1.0), masks=masks)
    assert set(moved.unique().tolist()) <= set(masks.unique().tolist())
    agree = (cut[:, 0].round() == moved).float().mean()
    assert agree > 0.8  # all but the seams, where pixels are mixed


def test_nothing_asked_for_is_nothing_done_and_nothing_drawn():
    pixels, _ = places(3)
    stream = generator()
    before = stream.get_state()
    assert torch.equal(Augmentation(crop_padding=0, flip=False)(pixels, stream), pixels)
    assert torch.equal(stream.get_state(), before)


def test_global_random_state_is_left_alone_and_the_input_too():
    pixels, _ = places(8, 16, 16)
    kept, state = pixels.clone(), torch.get_rng_state()
    for augment in (
        Augmentation(cutout=4),
        Augmentation(resized_crop=(0.08, 1)),
    ):
        first, again = (augment(pixels, generator(1)) for _ in range(2))
        assert torch.equal(first, again)
        assert not torch.equal(first, augment(pixels, generator(2)))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(kept, pixels)


def test_impossible_settings_are_told_together():
    with pytest.raises(ConfigError, match=r"(?s)padding.*-1.*cutout.*-2.*resized_crop.*\(0, 1\)"):
        Augmentation(crop_padding=-1, cutout=-2, resized_crop=(0, 1))
    with pytest.raises(ConfigError, match="least <= largest <= 1"):
        random_resized_crop(places(1)[0], generator(), (0.5, 1.5))


def test_shapes_that_do_not_fit_are_refused():
    pixels, masks = places(4)
    with pytest.raises(ShapeError, match=r"must be \[4, 6, 5\].*Got \[3, 6, 5\]"):
        Augmentation()(pixels, generator(), masks[:3])
    with pytest.raises(ShapeError, match=r"must be floats \[B, c, H, W\]. Got torch.uint8"):
        Augmentation()(masks[:, None], generator())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_everything_stays_on_the_device():
    pixels, masks = (tensor.cuda() for tensor in places(16, 12, 12))
    stream = torch.Generator("cuda").manual_seed(0)
    for augment in (Augmentation(cutout=4), Augmentation(resized_crop=(0.3, 1))):
        moved, followed = augment(pixels, stream, masks)
        assert moved.device == followed.device == pixels.device

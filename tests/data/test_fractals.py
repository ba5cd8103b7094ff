import numpy as np
import pytest
import torch

from archrep.data.fractals import (
    FILL,
    GREY,
    SEARCH_POINTS,
    FractalConfig,
    Systems,
    accepted,
    chaos_game,
    draw,
    fill_rates,
    fractals,
    load_fractals,
    random_systems,
    search_categories,
)
from archrep.errors import ConfigError, DataError
from archrep.seeding import numpy_stream

SMALL = FractalConfig(categories=3, per_category=120, drawing=64, size=32)


def uniforms(count=SEARCH_POINTS):
    return numpy_stream(7, "test/game").random(count)


def square():
    """Four maps onto the quarters of a square: the whole square, evenly."""
    maps = np.zeros((1, 7, 6))
    for k in range(4):
        maps[0, k] = [0.5, 0, 0, 0.5, k % 2, k // 2]
    return Systems(maps, np.array([[0.25, 0.5, 0.75, 1, 1, 1, 1]]))


def test_random_systems_choose_maps_by_their_determinants():
    systems = random_systems(500, numpy_stream(0, "test"))
    real = (systems.maps != 0).any(2)
    numbers = real.sum(1)
    assert set(numbers.tolist()) == {2, 3, 4, 5, 6, 7}
    a, b, c, d = np.moveaxis(systems.maps, 2, 0)[:4]
    determinants = np.abs(a * d - b * c)
    wanted = determinants / determinants.sum(1, keepdims=True)
    found = np.diff(systems.cumulative, axis=1, prepend=0)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert np.abs(systems.maps).max() <= 1


def test_the_chaos_game_follows_the_maps_one_by_one():
    systems, drawn = random_systems(9, numpy_stream(1, "test")), uniforms(40)
    points = chaos_game(systems, 40, drawn)
    for k in range(9):
        x, y = 0.0, 0.0
        for step in range(1, 40):
            chosen = int((drawn[step] >= systems.cumulative[k]).sum())
            a, b, c, d, e, f = systems.maps[k, chosen]
            x, y = a * x + b * y + e, c * x + d * y + f
            np.testing.assert_allclose(points[:, step, k], (x, y), rtol=1e-4, atol=1e-5)


def test_a_filled_square_fills_as_many_pixels_as_throwing_at_random_would():
    rate = fill_rates(chaos_game(square(), 100_000, uniforms()))[0]
    inner = 500**2  # pixels within the padding
    assert rate == pytest.approx(inner * (1 - np.exp(-100_000 / inner)) / 512**2, rel=0.02)
    assert accepted(square(), uniforms()).tolist() == [0]


def test_a_system_that_diverges_fills_nothing():
    maps = np.zeros((1, 7, 6))
    maps[0, :2] = [[3, 0, 0, 3, 1, 1], [2, 0, 0, 2, 1, 0]]
    systems = Systems(maps, np.array([[0.5, 1, 1, 1, 1, 1, 1]]))
    assert fill_rates(chaos_game(systems, 5_000, uniforms())).tolist() == [0]
    assert len(accepted(systems, uniforms())) == 0
    images = draw(systems, SMALL)  # a weighted instance may diverge, and is drawn until then
    assert images.shape == (1, 120, 1, 32, 32)


def test_early_rejection_accepts_what_the_whole_game_accepts():
    systems = random_systems(80, numpy_stream(2, "test"))
    rates = fill_rates(chaos_game(systems, SEARCH_POINTS, uniforms()))
    wanted = np.flatnonzero(rates >= FILL)
    assert len(wanted) > 0
    assert accepted(systems, uniforms()).tolist() == wanted.tolist()


@pytest.mark.slow
def test_about_one_or_two_systems_of_a_hundred_are_accepted():
    systems = random_systems(2_000, numpy_stream(3, "test"))
    # 4 of 300 were measured before, 1.3 %; 81 of 4,000 by the whole game here.
    assert 0.01 < len(accepted(systems, uniforms())) / 2_000 < 0.03


def test_weight_rows_multiply_one_parameter_and_keep_probabilities():
    system = random_systems(1, numpy_stream(4, "test"))
    rows = system.weighted()
    assert len(rows) == 25
    assert (rows.cumulative == system.cumulative).all()
    with np.errstate(invalid="ignore"):
        factors = rows.maps[:, 0] / system.maps[0, 0]
    assert (factors[0] == 1).all()
    changed = [(int(np.argmax(f != 1)), round(float(f[f != 1][0]), 9)) for f in factors[1:]]
    assert changed == [(p, w) for p in range(6) for w in (0.2, 0.6, 1.4, 1.8)]
    assert ((factors != 1).sum(1) == [0] + [1] * 24).all()


def test_a_single_pixel_drawing_agrees_with_plotting_point_by_point():
    config = FractalConfig(
        categories=2, per_category=1, size=32, drawing=32, mode="point_gray", seed=3
    )
    image = draw(square(), config)[0, 0, 0]
    drawn = numpy_stream(3, "data/fractals/game").random(config.points)
    points = chaos_game(square(), config.points, drawn)[:, :, 0]
    wanted = np.zeros((32, 32))
    low, extent = points.min(1), np.ptp(points, axis=1)
    for x, y in ((points - low[:, None]) / extent[:, None] * np.float32(30) + 1).T:
        wanted[int(y), int(x)] = GREY
    assert (image != wanted).sum() <= 2  # rounding at a border between pixels


def test_stamps_overwrite_each_other_in_the_order_of_the_points():
    config = FractalConfig(categories=2, per_category=1, size=64, drawing=64, seed=5)
    image = draw(square(), config)[0, 0, 0]
    drawn = numpy_stream(5, "data/fractals/game").random(config.points)
    points = chaos_game(square(), config.points, drawn)[:, :, 0]
    from archrep.seeding import derive_seed

    stream = np.random.Generator(np.random.SFC64(derive_seed(5, "data/fractals/draw/0/0")))
    stamps = stream.integers(1, 512, config.points, dtype=np.uint16)
    low, extent = points.min(1), np.ptp(points, axis=1)
    at = ((points - low[:, None]) * (np.float32(62) / extent)[:, None] + 1).astype(int)
    wanted = np.zeros((66, 66), int)
    for (x, y), stamp in zip(at.T, stamps, strict=True):
        wanted[y : y + 3, x : x + 3] = (int(stamp) >> np.arange(9)).reshape(3, 3) & 1
    assert (image != GREY * wanted[1:-1, 1:-1]).mean() < 0.005


def test_flips_follow_the_weight_rows():
    images = draw(square(), SMALL)[0, :, 0]
    assert (images[25:50] == images[:25, ::-1]).all()
    assert (images[50:75] == images[:25, :, ::-1]).all()
    assert (images[75:100] == images[:25, ::-1, ::-1]).all()
    assert (images[100:120] != images[:20]).any((1, 2)).all()  # another repeat has other stamps


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache") / "made" / "fractals.npz"


@pytest.fixture(scope="module")
def few(cache):
    return fractals(SMALL, cache=cache)


def test_fractals_are_labelled_by_category(few):
    assert few.images.shape == (360, 3, 32, 32)
    assert torch.bincount(few.targets).tolist() == [120] * 3
    assert torch.equal(few.images[:, 0], few.images[:, 2])
    assert int(few.images.max()) <= GREY
    normal = few.normalise(few.pixels(torch.arange(360)))
    assert float(normal.mean()) == pytest.approx(0, abs=1e-4)
    assert float(normal.std()) == pytest.approx(1, abs=1e-3)


def test_the_cache_keeps_its_parameters_and_refuses_others(few, cache, tmp_path):
    path = tmp_path / "copy.npz"
    path.write_bytes(cache.read_bytes())
    assert fractals(SMALL, cache=path).sha256 == few.sha256
    assert load_fractals(path).sha256 == few.sha256
    other = FractalConfig(categories=3, per_category=120, drawing=64, size=32, seed=1)
    with pytest.raises(ConfigError, match=r"holds other fractals: seed=0 and not 1\."):
        fractals(other, cache=path)
    with pytest.raises(ConfigError, match="part='train' and not 'test'"):
        fractals(SMALL, cache=path, part="test")
    with np.load(path) as file:
        made = file["made"].tobytes().replace(b'"categories": 3', b'"categories": 1')
        np.savez(path, fractals=file["fractals"], made=np.frombuffer(made, np.uint8))
    with pytest.raises(DataError, match="has impossible parameters .*categories"):
        load_fractals(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a readable .npz file"):
        fractals(SMALL, cache=path)
    with pytest.raises(ConfigError, match=r"must be an \.npz file"):
        fractals(SMALL, cache=tmp_path / "fractals")


def test_colours_are_one_hue_an_image():
    config = FractalConfig(categories=2, per_category=30, drawing=64, size=32, mode="patch_color")
    images = draw(square(), config)[0].astype(float)  # [30, 3, 32, 32]
    peak = images.max((2, 3))
    assert (peak.max(1) > 100).all()
    for image, colour in zip(images, peak, strict=True):
        full = image[int(colour.argmax())] / colour.max()
        assert np.abs(image - full * colour[:, None, None]).max() <= 2
    assert len(np.unique(peak.round(-1), axis=0)) > 10


@pytest.mark.slow
def test_a_longer_search_begins_with_a_shorter_one():
    short, longer = search_categories(2, 9)[0], search_categories(14, 9)[0]
    assert np.array_equal(longer.maps[:2], short.maps)


def test_impossible_settings_are_told_together():
    with pytest.raises(ConfigError, match=r"(?s)categories.*Got 1.*mode.*'oil'.*drawing.*Got 8"):
        FractalConfig(categories=1, mode="oil", drawing=8)


@pytest.mark.slow
def test_the_full_set_takes_less_than_two_minutes_of_a_core():
    import time

    begin = time.process_time()
    images = fractals()
    assert time.process_time() - begin < 120
    assert len(images) == 60_000

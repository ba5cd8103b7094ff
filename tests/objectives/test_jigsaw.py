from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from objective_toys import STAGES, features_of, generator, images_of

from archrep.errors import ConfigError
from archrep.objectives.jigsaw import Jigsaw
from archrep.objectives.permutations import permutation_set, semilinear_maps


def distances(chosen):
    """Hamming distances of all pairs, `[n (n - 1) / 2]`."""
    chosen = np.asarray(chosen)
    equal = sum((column[:, None] == column).astype(np.uint8) for column in chosen.T)
    return chosen.shape[1] - equal[np.triu_indices(len(chosen), 1)]


class TestPermutations:
    def test_a_grid_of_2_has_all_24_in_lexicographic_order(self):
        found = permutation_set(2, 24, "average")
        assert found.tolist() == [list(order) for order in permutations(range(4))]

    @pytest.mark.parametrize(("selection", "smallest"), [("average", 2), ("max-min", 6)])
    def test_a_grid_of_3_has_1000_as_far_apart_as_they_can_be(self, selection, smallest):
        found = permutation_set(3, 1000, selection)
        assert found.shape == (1000, 9)
        assert (found.sort(1).values == torch.arange(9)).all()
        apart = distances(found)
        assert apart.min() == smallest
        # Each slot holds each tile 111 times, one 112 times: no 1,000 are farther on average.
        least = 9 * (8 * 111 * 110 + 112 * 111) // 2
        shared = int((9 - apart.astype(int)).sum())
        assert shared == least if selection == "average" else least <= shared < least + 10
        assert (apart == 2).sum() < 100

    def test_each_is_the_farthest_from_those_before(self):
        found = permutation_set(2, 12, "average").numpy()
        everything = np.array(list(permutations(range(4))))
        for n in range(1, 12):
            shared = (everything[:, None] == found[:n]).sum((1, 2))
            free = [i for i, row in enumerate(everything) if not (row == found[:n]).all(1).any()]
            assert (found[n] == found[:n]).sum() == shared[free].min()

    def test_semilinear_maps_are_a_group_of_1512_with_distance_6(self):
        group = semilinear_maps()
        assert group.shape == (1512, 9)
        assert group[0].tolist() == list(range(9))
        known = {row.tobytes() for row in group}
        assert len(known) == 1512
        for row in group[::101]:
            assert {product.tobytes() for product in row[group]} == known
        # In a group all distances are distances from the identity.
        assert (group[1:] != group[0]).sum(1).min() == 6
        assert distances(group[::4]).min() >= 6

    def test_others_do_not_exist(self):
        with pytest.raises(ConfigError, match="from 2 to 24 for a grid of 2 .*Got 25"):
            permutation_set(2, 25, "average")


def shuffled(objective, images, count=None, train=False, seed=0):
    count = len(images) if count is None else count
    pixels = images.pixels(torch.arange(count))
    inputs, labels = objective.prepare(
        pixels, images.targets[:count], images, generator(seed), train
    )
    return inputs.unflatten(0, (count, -1)), labels


@pytest.mark.parametrize("grid", [2, 3])
def test_the_inverse_permutation_gives_the_tiles_back(grid):
    objective, images = Jigsaw(grid=grid, tile=1.0), images_of()
    tiles, labels = shuffled(objective, images)
    slots = permutation_set(grid, objective.count, "average")[labels]
    back = torch.stack([own[slot] for own, slot in zip(tiles, slots, strict=True)])
    shown = images.normalise(images.pixels(torch.arange(len(images))))
    side = images.size[0] // grid
    for n in range(len(images)):
        for i in range(grid**2):
            row, column = side * (i // grid), side * (i % grid)
            patch = shown[n, :, row : row + side, column : column + side]
            patch = (patch - patch.mean()) / (patch.std(correction=0) + 1e-5)
            torch.testing.assert_close(back[n, i], patch)
    assert len(labels.unique()) > 3


def test_tiles_are_cut_from_anywhere_inside_their_patches():
    images = images_of(count=300, size=8)
    positions = torch.arange(64.0).view(1, 1, 8, 8).expand(300, 3, 8, 8)
    objective = Jigsaw(tile=0.76)
    assert objective.tile_size((8, 8)) == (3, 3)
    assert objective.tile_size((32, 32)) == (12, 12)
    assert Jigsaw(grid=3).tile_size((255, 255)) == (64, 64)
    assert Jigsaw(grid=3).tile_size((321, 321)) == (81, 81)
    cut = objective._cut(positions, generator())[:, :, 0]  # [B, 4, 3, 3]
    corner = cut[:, :, :1, :1]
    window = torch.arange(3)[:, None] * 8 + torch.arange(3)
    assert torch.equal(cut, corner + window)
    for i in range(4):
        first = {int(n) for n in corner[:, i].flatten()}
        start = 32 * (i // 2) + 4 * (i % 2)
        assert first == {start, start + 1, start + 8, start + 9}
    assert shuffled(objective, images)[0].shape == (300, 4, 3, 3, 3)


def test_places_are_drawn_in_testing_too_and_grey_in_training_only():
    images = images_of(count=600, size=4)
    objective = Jigsaw(tile=1.0)

    def grey(train):
        tiles, _ = shuffled(objective, images, train=train)
        return (tiles - tiles[:, :, :1]).abs().amax((1, 2, 3, 4)) < 1e-5

    assert not grey(False).any()
    assert 0.22 < grey(True).float().mean() < 0.38
    assert not torch.equal(shuffled(Jigsaw(), images)[0], shuffled(Jigsaw(), images, seed=1)[0])


def test_a_flat_tile_is_zero():
    images = images_of(size=8, count=2)
    pixels = torch.full((2, 3, 8, 8), 0.5)
    tiles, _ = Jigsaw().prepare(pixels, images.targets, images, generator(), False)
    assert tiles.abs().max() == 0


def test_the_head_sees_the_tiles_of_an_image_in_their_slots():
    objective, images = Jigsaw(), images_of()
    tiles, _ = shuffled(objective, images, 3)
    head = objective.head(STAGES, images)
    features = features_of(tiles.flatten(0, 1))
    pooled = features[-1].mean((2, 3))
    for n, outputs in enumerate(head(features, (9, 9))):
        together = torch.cat([pooled[4 * n + slot] for slot in range(4)])
        torch.testing.assert_close(outputs, head.linear(together))


def test_images_that_the_grid_does_not_divide_are_refused():
    with pytest.raises(ConfigError, match="`grid` must divide .* Got 3 and 8 x 8 pixels of toy"):
        Jigsaw(grid=3).adopt(images_of(size=8), 0)
    with pytest.raises(ConfigError, match="Tiles must have a pixel at least. Got 0.4 of 2 x 2"):
        Jigsaw(tile=0.4).adopt(images_of(size=4), 0)

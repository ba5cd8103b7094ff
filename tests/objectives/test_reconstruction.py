from __future__ import annotations

import math

import pytest
import torch
from objective_toys import STAGES, features_of, generator, images_of
from torch.nn import functional

from archrep.errors import ConfigError, ShapeError
from archrep.objectives.base import Stage
from archrep.objectives.decoders import HierarchicalDecoder
from archrep.objectives.reconstruction import Reconstruction


def masked(objective, images, count=5, seed=0):
    pixels = images.pixels(torch.arange(count))
    return objective.prepare(pixels, images.targets[:count], images, generator(seed), True)


class TestMasks:
    @pytest.mark.parametrize("ratio", [0.01, 0.2, 0.25, 0.5, 0.6, 0.8, 0.97])
    @pytest.mark.parametrize("patch", [2, 4, 8])
    def test_hide_exactly_the_rounded_up_number_of_whole_patches(self, ratio, patch):
        images = images_of(size=32)
        _, (_, mask) = masked(Reconstruction(ratio=ratio, patch=patch), images)
        cells = mask.unfold(2, patch, patch).unfold(3, patch, patch)  # [B, 1, r, c, p, p]
        assert (cells.amin((4, 5)) == cells.amax((4, 5))).all()
        number = (32 // patch) ** 2
        assert cells[..., 0, 0].sum((1, 2, 3)).tolist() == [math.ceil(ratio * number)] * 5

    def test_rounding_errors_hide_no_further_patch(self):
        assert 0.07 * 100 > 7
        assert Reconstruction(ratio=0.07).hidden(100) == 7

    def test_differ_between_images_and_between_draws_and_hide_every_place(self):
        images = images_of(size=8, count=200)
        objective = Reconstruction(ratio=0.25)
        _, (_, mask) = masked(objective, images, 200)
        _, (_, other) = masked(objective, images, 200, seed=1)
        assert not torch.equal(mask, other)
        hidden = mask[:, 0, ::4, ::4].sum(0).flatten()
        assert hidden.sum() == 200
        assert hidden.min() > 30

    def test_visible_pixels_are_seen_and_hidden_ones_are_filled(self):
        images = images_of()
        for fill in ("zeros", "noise", "channel"):
            inputs, (shown, mask) = masked(Reconstruction(fill=fill), images)
            torch.testing.assert_close(shown, images.normalise(images.pixels(torch.arange(5))))
            assert torch.equal(inputs[:, :3] * (1 - mask), shown * (1 - mask))
            hidden = inputs[:, :3][mask.expand(-1, 3, -1, -1) == 1]
            if fill == "noise":
                assert abs(float(hidden.mean())) < 0.1
                assert abs(float(hidden.std()) - 1) < 0.1
            else:
                assert hidden.abs().max() == 0
            assert inputs.shape[1] == Reconstruction(fill=fill).input_channels(images)
            if fill == "channel":
                assert torch.equal(inputs[:, 3:], mask)

    def test_the_mask_as_a_channel_can_do_what_a_learned_token_does(self):
        inputs, (shown, mask) = masked(Reconstruction(fill="channel"), images_of())
        token = torch.randn(1, 3, 1, 1, generator=generator(1))
        weight = torch.randn(8, 3, 3, 3, generator=generator(2))
        on_mask = (weight * token).sum(1, keepdim=True)
        with_token = functional.conv2d(shown * (1 - mask) + token * mask, weight, padding=1)
        with_channel = functional.conv2d(inputs, torch.cat([weight, on_mask], 1), padding=1)
        torch.testing.assert_close(with_channel, with_token, atol=1e-4, rtol=1e-4)

    def test_sizes_that_do_not_fit_are_refused(self):
        with pytest.raises(ConfigError, match="`patch` must divide .* Got 5 and 24 x 24"):
            Reconstruction(patch=5).adopt(images_of(), 0)
        with pytest.raises(ConfigError, match="must leave a patch to see. Got 0.9 of 4 patches"):
            Reconstruction(ratio=0.9).adopt(images_of(size=8), 0)


class TestLoss:
    def test_is_the_mean_difference_of_hidden_channels(self):
        objective = Reconstruction()
        _, (shown, mask) = masked(objective, images_of())
        outputs = torch.randn(shown.shape, generator=generator(4), requires_grad=True)
        loss = objective.loss(outputs, (shown, mask))
        hidden = mask.expand_as(shown) == 1
        torch.testing.assert_close(loss, (outputs - shown)[hidden].abs().mean())
        assert torch.equal(objective.score(outputs, (shown, mask)), -loss)

    def test_does_not_see_visible_pixels(self):
        objective = Reconstruction()
        _, (shown, mask) = masked(objective, images_of())
        outputs = torch.randn(shown.shape, generator=generator(4), requires_grad=True)
        (gradient,) = torch.autograd.grad(objective.loss(outputs, (shown, mask)), outputs)
        visible = mask.expand_as(shown) == 0
        assert gradient[visible].abs().max() == 0
        assert gradient[~visible].abs().min() > 0

    def test_is_zero_for_a_perfect_image(self):
        objective = Reconstruction()
        _, targets = masked(objective, images_of())
        assert objective.loss(targets[0], targets) == 0


class TestDecoders:
    @pytest.mark.parametrize("strides", [(1, 2, 4), (8, 16, 32)])
    @pytest.mark.parametrize("decoder", ["hierarchical", "plain"])
    def test_restore_the_size_of_the_images(self, strides, decoder):
        images = images_of(size=32, count=2)
        objective = Reconstruction(decoder=decoder, width=7)
        stages = [Stage(4 * n + 4, stride) for n, stride in enumerate(strides)]
        inputs, targets = masked(objective, images, 2)
        outputs = objective.head(stages, images)(features_of(inputs, stages), (32, 32))
        assert outputs.shape == targets[0].shape

    def test_equation_3_with_the_linear_layer_last(self):
        decoder = HierarchicalDecoder(STAGES, 5, 3)
        features = features_of(torch.zeros(2, 3, 24, 24))
        total = sum(
            functional.interpolate(conv(feature), (24, 24), mode="bilinear", align_corners=False)
            for conv, feature in zip(decoder.convs, features, strict=True)
        )
        torch.testing.assert_close(
            decoder(features, (24, 24)), decoder.linear(total), atol=1e-5, rtol=1e-4
        )

    def test_a_plain_one_gives_each_place_its_own_square(self):
        objective, images = Reconstruction(decoder="plain"), images_of()
        head = objective.head(STAGES, images)
        assert head.linear.out_channels == 48
        features = features_of(torch.zeros(1, 3, 24, 24))
        image = head(features, (24, 24))
        for channel in range(3):
            square = head.linear(features[-1])[0, 16 * channel : 16 * channel + 16, 2, 1]
            torch.testing.assert_close(
                image[0, channel, 8:12, 4:8], square.view(4, 4), atol=1e-6, rtol=1e-5
            )

    def test_maps_that_do_not_fit_are_refused(self):
        images = images_of(size=24)
        with pytest.raises(ConfigError, match="stride 16 of the network divides. Got 24 x 24"):
            Reconstruction(decoder="plain").head([Stage(4, 16)], images)
        head = Reconstruction(decoder="plain").head(STAGES, images)
        with pytest.raises(ShapeError, match="4 times smaller than the inputs, 24 x 24"):
            head(features_of(torch.zeros(1, 3, 20, 20)), (24, 24))
        head = Reconstruction().head(STAGES, images)
        with pytest.raises(ShapeError, match="Expected 3 feature maps. Got 1"):
            head(features_of(torch.zeros(1, 3, 24, 24))[:1], (24, 24))

"""The MobileNet-like supernet: published figures, and the same as a plain network, path by path."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from archrep.errors import CellError, ConfigError, ShapeError
from archrep.searchers.angle import AngleRules, Angles, Snapshot
from archrep.supernets.base import Mixture
from archrep.supernets.mobilenet import (
    BOTTLENECKS,
    IDENTITY,
    MobileNetSupernet,
    allowed_operations,
    check_choices,
    cost,
    describe,
    parse,
)

PUBLISHED = "2 0 -1 2 2 0 2 4 0 4 4 2 4 2 4 2 0 0 0 2 2"
WIDTH = 0.1
FIRST = [0, 4, 8, 12, 16, 20]


def small(seeds=(3, 5, 8)):
    return MobileNetSupernet(list(seeds), width=WIDTH)


def paths_of(supernet, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([supernet.sample(rng) for _ in supernet.seeds])


def images_of(count, size=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, count, 3, size, size, generator=generator)


class Plain(nn.Module):
    """One network of the supernet with one module an operation, as the published code has it."""

    def __init__(self, supernet, s):
        super().__init__()
        self.net, self.s = supernet, s

    def norm(self, value, affine):
        weights = [w[self.s].flatten() for w in (affine.weight, affine.bias)]
        return functional.batch_norm(value, None, None, *weights, training=True)

    def bottleneck(self, value, block, kernel, stride=1):
        norms = list(block.norms)
        if block.expand is not None:
            value = functional.conv2d(value, block.expand[self.s, 0])
            value = functional.relu6(self.norm(value, norms.pop(0)))
        filters = block.depthwise[self.s, 0]
        value = functional.conv2d(value, filters, None, stride, kernel // 2, groups=len(filters))
        value = functional.relu6(self.norm(value, norms.pop(0)))
        return self.norm(functional.conv2d(value, block.project[self.s, 0]), norms.pop(0))

    def forward(self, images, path):
        net, s = self.net, self.s
        value = functional.conv2d(images, net.stem[s], stride=2, padding=1)
        value = functional.relu6(self.norm(value, net.stem_norm))
        value = self.bottleneck(value, net.fixed, 3)
        maps = []
        for p, op in enumerate(path):
            stride = 2 if p in (0, 4, 8, 16) else 1
            if stride == 2:
                maps.append(value)
            if op == IDENTITY:
                continue
            kernel = BOTTLENECKS[op][0]
            found = self.bottleneck(value, net.blocks[p].operations[op], kernel, stride)
            value = found if p in FIRST else value + found
        value = functional.conv2d(value, net.last[s])
        return [*maps, functional.relu6(self.norm(value, net.last_norm))]


class TestPublishedFigures:
    def test_of_the_searched_network(self):
        macs, params = cost(parse(PUBLISHED)[None])
        assert macs.tolist() == [471_521_184]  # printed as 473 M
        assert params.tolist() == [5_255_648]  # printed as 5.3 M

    def test_of_the_smallest_bottlenecks(self):
        assert cost(np.zeros((1, 21), int)).macs.tolist() == [460_908_960]

    def test_of_random_networks(self):
        rng = np.random.default_rng(0)
        macs = cost(rng.integers(allowed_operations().sum(1), size=(50_000, 21))).macs / 1e6
        assert macs.mean() == pytest.approx(654, abs=1)
        assert macs.std() == pytest.approx(65, abs=1)
        assert (macs <= 475).mean() == pytest.approx(0.0035, abs=0.001)

    def test_resolutions(self):
        stages = MobileNetSupernet([0]).stages
        assert stages == [(24, 2), (32, 4), (56, 8), (128, 16), (1728, 32)]

    def test_number_of_networks(self):
        assert np.prod(allowed_operations().sum(1), dtype=float) == pytest.approx(2.2e17, rel=0.01)


class TestCost:
    def counted(self, supernet, path, size):
        images = torch.zeros(2, 1, 3, size, size, device=supernet.stem.device)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            supernet(images, path)
        return counter.get_total_flops() // 2 // len(images)

    def test_is_what_torch_counts_at_published_size(self):
        supernet, path = MobileNetSupernet([0]).to("meta"), parse(PUBLISHED)
        assert supernet.cost(path[None]).macs[0] == self.counted(supernet, path, 224) + 1728 * 1000

    # Odd sides round up; on smaller images filters are cut to the map, and torch counts less.
    @pytest.mark.parametrize("size", [128, 141])
    def test_is_what_torch_counts(self, size):
        supernet = MobileNetSupernet([0], width=0.3).to("meta")
        paths = np.stack([supernet.sample(np.random.default_rng(n)) for n in range(3)])
        macs = supernet.cost(paths, size, classes=10).macs
        head = supernet.stages[-1].channels * 10
        assert macs.tolist() == [self.counted(supernet, path, size) + head for path in paths]

    def test_counts_the_weights_of_a_path(self):
        supernet = MobileNetSupernet([0], width=0.3)
        for path in (paths_of(supernet)[0], parse(PUBLISHED)):
            used = zip(supernet.candidates(), supernet.sampled(path[None]), strict=True)
            own = sum(candidate.weights.numel() for candidate, own in used if own.all())
            trunk = sum(weights.numel() for weights in supernet.trunk_weights())
            head = supernet.stages[-1].channels * 10 + 10
            assert supernet.cost(path[None], classes=10).params.tolist() == [own + trunk + head]

    def test_of_imagenet_networks_is_that_of_the_published_width(self):
        assert small().imagenet_macs(parse(PUBLISHED)[None]).tolist() == [471_521_184]

    def test_refuses_what_is_no_network(self):
        for wrong in (np.zeros(21, int), np.zeros((2, 20), int), np.zeros((1, 21))):
            with pytest.raises(ShapeError, match=r"\[M, 21\]"):
                cost(wrong)
        with pytest.raises(ConfigError, match="Got 1.0 and 224, 0, 3"):
            cost(np.zeros((1, 21), int), classes=0)
        assert cost(np.zeros((0, 21), int)).macs.shape == (0,)


@pytest.mark.parametrize("seed", range(4))
def test_a_plain_network_computes_the_same(seed):
    supernet = small().double()
    path = paths_of(supernet, seed)
    if seed == 0:
        path = path[0]  # the same for all
        path[[1, 2, 3]] = IDENTITY
    images = images_of(3).double()
    maps = supernet(images, path)
    assert [m.shape[2] for m in maps] == [stage.channels for stage in supernet.stages]
    assert [32 // m.shape[3] for m in maps] == [stage.stride for stage in supernet.stages]
    directions = [torch.randn_like(m) for m in maps]
    sum((m * d).sum() for m, d in zip(maps, directions, strict=True)).backward()
    gradients = [w.grad for w in supernet.parameters()]
    supernet.zero_grad()
    total = 0
    for s, own in enumerate(np.broadcast_to(path, (3, 21))):
        plain = Plain(supernet, s)(images[:, s], own)
        for mine, value, direction in zip(maps, plain, directions, strict=True):
            torch.testing.assert_close(mine[:, s], value, rtol=1e-8, atol=1e-8)
            total = total + (value * direction[:, s]).sum()
    total.backward()
    for weights, mine in zip(supernet.parameters(), gradients, strict=True):
        if mine is None or weights.grad is None:
            assert mine is weights.grad
        else:
            torch.testing.assert_close(mine, weights.grad, rtol=1e-6, atol=1e-6)


def test_a_supernet_is_what_it_would_be_alone():
    together, alone = small([3, 5, 8]), small([5])
    for mine, own in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.equal(mine[1:2], own)
    images, path = images_of(3), paths_of(together)
    for a, b in zip(together(images, path), alone(images[:, 1:2], path[1:2]), strict=True):
        torch.testing.assert_close(a[:, 1:2], b, rtol=1e-4, atol=1e-4)


def test_weights_that_are_not_sampled_have_no_gradient():
    supernet = small([0, 1])
    path = paths_of(supernet)
    supernet(images_of(2), path)[-1].square().sum().backward()
    for candidate, own in zip(supernet.candidates(), supernet.sampled(path), strict=True):
        gradient = candidate.weights.grad
        assert own.shape == (2, 1)
        if gradient is None:
            assert not own.any()
        else:
            assert not gradient[~own[:, 0]].any()


def test_initial_weights_spread_by_their_outputs():
    supernet = MobileNetSupernet([0], width=0.5)
    for weights in (supernet.last, supernet.blocks[16].operations[5].depthwise):
        outputs, kernel = weights.shape[-4], weights.shape[-1]
        spread = (2 / (kernel**2 * outputs)) ** 0.5
        assert weights.std().item() == pytest.approx(spread, rel=0.05)


def test_sampled_paths_are_uniform_over_what_a_place_has():
    supernet = small([0])
    rng = np.random.default_rng(0)
    paths = np.stack([supernet.sample(rng) for _ in range(4_000)])
    check_choices(paths)
    for place in range(21):
        ways = 6 if place in FIRST else 7
        shares = np.bincount(paths[:, place], minlength=ways) / len(paths)
        np.testing.assert_allclose(shares, np.full(ways, 1 / ways), atol=0.025)


class TestWhatAnglesCount:
    def test_of_bottlenecks_all_but_the_last_batch_norm(self):
        supernet = small([0, 1])
        counted = list(supernet.angle_candidates())
        assert len(counted) == 21 * 6 * 7  # three convolutions, scale and shift of two norms
        own = {id(candidate.weights) for candidate in supernet.candidates()}
        assert {id(candidate.weights) for candidate in counted} < own
        assert len(own) == 21 * 6 * 9
        for candidate in counted:
            (place,) = candidate.places
            bottleneck = supernet.blocks[place].operations[candidate.operation]
            assert candidate.weights.shape[:2] == (2, 1)
            assert not any(candidate.weights is w for w in bottleneck.norms[2].parameters())

    def test_of_the_trunk_convolutions(self):
        supernet = MobileNetSupernet([0])
        shapes = [tuple(weights.squeeze().shape) for weights in supernet.angle_trunk()]
        assert shapes == [(40, 3, 3, 3), (40, 3, 3), (24, 40), (1728, 432)]
        trunk = {id(weights) for weights in supernet.trunk_weights()}
        assert {id(weights) for weights in supernet.angle_trunk()} < trunk

    def test_of_identities_matrices(self):
        constants = MobileNetSupernet([0]).constants()
        channels = [32] * 4 + [56] * 4 + [112] * 4 + [128] * 4 + [256] * 4 + [432]
        wanted = np.zeros((21, 7))
        wanted[:, IDENTITY] = [0 if p in FIRST else c for p, c in enumerate(channels)]
        np.testing.assert_array_equal(constants["identity"], wanted)
        assert not constants["pool"].any()

    def test_all_of_it_concatenated(self):
        supernet = small([0, 1])
        heads = nn.ModuleList(nn.Linear(supernet.stages[-1].channels, 3) for _ in range(2))
        start, old = Snapshot(supernet, heads), copy.deepcopy((supernet, heads))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weights in [*supernet.parameters(), *heads.parameters()]:
                weights.add_(0.1 * torch.randn(weights.shape, generator=generator))

        def vector(supernet, heads, s, path):
            parts = [*heads[s].parameters()]
            parts += [supernet.stem[s], supernet.last[s]]
            parts += [supernet.fixed.depthwise[s], supernet.fixed.project[s]]
            for block, op in zip(supernet.blocks, path, strict=True):
                if op == IDENTITY:
                    channels = block.operations[0].project.shape[2]
                    parts.append(torch.eye(channels))
                    continue
                own = block.operations[op]
                parts += [own.expand[s], own.depthwise[s], own.project[s]]
                parts += [w[s] for norm in own.norms[:2] for w in (norm.weight, norm.bias)]
            return torch.cat([part.detach().flatten().double() for part in parts])

        paths = np.concatenate([paths_of(supernet, seed) for seed in range(3)])
        found = Angles(start, supernet, heads, AngleRules(identity=True))(paths)
        for s in range(2):
            for m, path in enumerate(paths):
                a, b = vector(*old, s, path), vector(supernet, heads, s, path)
                angle = torch.arccos(a @ b / (a.norm() * b.norm()))
                assert found[s, m] == pytest.approx(angle.item(), rel=1e-9)

    def test_every_place_once(self):
        supernet = small([0])
        counts, alive = supernet.live(parse(PUBLISHED)[None])
        assert (counts == 1).all()
        assert alive.tolist() == [True]


class TestNotation:
    def test_is_read_back(self):
        supernet = small([0])
        assert supernet.describe(parse(PUBLISHED)) == PUBLISHED
        assert supernet.skips(parse(PUBLISHED)) == 1
        for seed in range(5):
            path = supernet.sample(np.random.default_rng(seed))
            np.testing.assert_array_equal(parse(describe(path)), path)

    def test_may_be_a_tuple(self):
        text = f"({', '.join(PUBLISHED.split())})"
        assert describe(parse(text)) == PUBLISHED

    def test_of_no_network(self):
        for wrong in ("", "0 1", PUBLISHED.replace("-1", "6"), PUBLISHED.replace("-1", "x")):
            with pytest.raises(CellError, match="21 numbers from -1"):
                parse(wrong)
        with pytest.raises(CellError, match="Place 0 begins a group and has no 'identity'"):
            parse("-1" + PUBLISHED[1:])
        with pytest.raises(ShapeError, match=r"Got \(1, 20\)"):
            describe(np.zeros(20, int))


class TestBadInput:
    def test_sizes(self):
        for wrong in ({"width": 0.0}, {"width": float("nan")}, {"image_channels": 0}):
            with pytest.raises(ConfigError, match="`width` must be positive"):
                MobileNetSupernet([0], **wrong)
        with pytest.raises(ConfigError, match="at least one seed"):
            MobileNetSupernet([])

    def test_paths(self):
        supernet, images = small([0, 1]), images_of(2)
        for wrong in (np.zeros(20, int), np.zeros((3, 21), int), np.zeros((1, 2, 21), int)):
            with pytest.raises(ShapeError, match=r"\[21\] or \[2, 21\]"):
                supernet(images, wrong)
        for wrong in (np.full(21, 7), np.full(21, -1), np.zeros(21)):
            with pytest.raises(ShapeError, match=r"operations 0..6 of 21 places"):
                supernet(images, wrong)
        path = np.zeros((2, 21), int)
        path[1, 8] = IDENTITY
        with pytest.raises(ShapeError, match="Place 8 begins a group and has no 'identity'"):
            supernet(images, path)

    def test_mixtures(self):
        mixture = Mixture(torch.full((1, 21, 7), 1 / 7))
        with pytest.raises(ShapeError, match="mobilenet has single paths only"):
            small([0])(images_of(1), mixture=mixture)
        with pytest.raises(ShapeError, match="either `path` or `mixture`"):
            small([0])(images_of(1))

    def test_images(self):
        with pytest.raises(ShapeError, match=r"must be \[B, 2, c, H, W\]"):
            small([0, 1])(images_of(3), np.zeros(21, int))

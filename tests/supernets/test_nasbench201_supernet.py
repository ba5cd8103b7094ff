"""The supernet of NAS-Bench-201: published sizes, and the same as a plain network, path by path."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from archrep.cells import get_space
from archrep.cells.nasbench201 import OFFICIAL_EDGES, OPERATIONS
from archrep.errors import ConfigError, ShapeError
from archrep.supernets.base import Mixture
from archrep.supernets.nasbench201 import EDGES, INTO, NONE, NasBench201Supernet
from archrep.supernets.norms import BatchStatistics, CollectedStatistics

SPACE = get_space("nasbench201")
SMALL = {"channels": 4, "cells": 2, "stages": 2}


def small(seeds=(3, 5, 8), **changes):
    return NasBench201Supernet(list(seeds), **SMALL | changes)


class Plain(nn.Module):
    """One network of the supernet with one module an operation, as the published code has it."""

    def __init__(self, supernet, s):
        super().__init__()
        self.supernet, self.s = supernet, s

    def norm(self, value, affine=None):
        weights = (None, None) if affine is None else (affine.weight[self.s], affine.bias[self.s])
        return functional.batch_norm(value, None, None, *weights, training=True)

    def operation(self, op, value, weights_1, weights_3):
        if op == "none":
            return value.mul(0.0)
        if op == "skip_connect":
            return value
        if op == "avg_pool_3x3":
            return functional.avg_pool2d(value, 3, 1, 1, count_include_pad=False)
        weights = weights_1 if op == "nor_conv_1x1" else weights_3
        padding = weights.shape[-1] // 2
        return self.norm(functional.conv2d(value.relu(), weights, padding=padding))

    def forward(self, images, weigh):
        """`weigh(cell, edge)` gives pairs of weight and operation."""
        net, s = self.supernet, self.s
        value = functional.conv2d(images, net.stem[s], padding=1)
        value = self.norm(value, net.stem_norm)
        maps = []
        for stage in range(len(net.stages)):
            if stage:
                block = net.reductions[stage - 1]
                inner = functional.conv2d(value.relu(), block.first[s], stride=2, padding=1)
                inner = self.norm(inner, block.first_norm).relu()
                inner = functional.conv2d(inner, block.second[s], padding=1)
                inner = self.norm(inner, block.second_norm)
                pooled = functional.avg_pool2d(value, 2)
                value = inner + functional.conv2d(pooled, block.shortcut[s])
            for n in range(net.per_stage):
                nodes = [value]
                for node in (1, 2, 3):
                    total = 0
                    for edge in INTO[node]:
                        source = nodes[OFFICIAL_EDGES[edge][0]]
                        for weight, op in weigh(stage * net.per_stage + n, edge):
                            ones = net.conv_1[stage][s, n, edge]
                            threes = net.conv_3[stage][s, n, edge]
                            total = total + weight * self.operation(op, source, ones, threes)
                    nodes.append(total)
                value = nodes[3]
            maps.append(value)
        maps[-1] = self.norm(maps[-1], net.last_norm).relu()
        return maps


def images_of(count, seed=0):
    return torch.randn(6, count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


class TestPublishedSizes:
    def test_weights_of_the_supernet(self):
        supernet = NasBench201Supernet([0])
        count = sum(weights.numel() for weights in supernet.parameters())
        assert count + 64 * 10 + 10 == 1_686_106  # with the classifier; 1.686 M

    def test_multiply_adds_of_paths_and_of_the_mixture(self):
        supernet, images = NasBench201Supernet([0]), torch.zeros(2, 1, 3, 32, 32)

        def macs(**forward):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                supernet(images, **forward)
            convolutions = counter.get_flop_counts()["Global"][torch.ops.aten.convolution]
            return convolutions / 2 / len(images)

        for row in (0, 77, 4_000, 15_624):
            cells = SPACE.enumerate()[np.array([row])]
            path = SPACE.decisions_of_rows(np.array([row]))[0]
            if (path[[3, 4, 5]] == NONE).all():
                continue
            head = 64 * 10 + 10
            # What lies on a dead end is part of the benchmark's network, and is not computed here.
            assert macs(path=path) <= SPACE.macs(cells)[0] - head
        threes = np.full(EDGES, OPERATIONS.index("nor_conv_3x3"))
        assert abs(macs(path=threes) - 220.12e6) < 2e4  # the table's 220.12 M
        mixture = torch.full((1, EDGES, 5), 0.2)
        assert abs(macs(mixture=Mixture(mixture)) - 243.7e6) < 1e5  # counted elsewhere, 243.7 M


class TestAPlainNetworkComputesTheSame:
    @pytest.fixture
    def supernet(self):
        return small().double()

    def compare(self, supernet, forward, weigh_of):
        images = images_of(3).double()
        maps = forward(images)
        directions = [torch.randn_like(m) for m in maps]
        sum((m * d).sum() for m, d in zip(maps, directions, strict=True)).backward()
        gradients = [w.grad.clone() for w in supernet.parameters()]
        supernet.zero_grad()
        total = 0
        for s in range(3):
            found = Plain(supernet, s)(images[:, s], weigh_of(s))
            for mine, plain, direction in zip(maps, found, directions, strict=True):
                torch.testing.assert_close(
                    mine[:, s], plain, rtol=1e-5, atol=1e-6
                )  # 1 / 9 is a float32
                total = total + (plain * direction[:, s]).sum()
        total.backward()
        for weights, mine in zip(supernet.parameters(), gradients, strict=True):
            torch.testing.assert_close(mine, weights.grad, rtol=1e-5, atol=1e-5)
        supernet.zero_grad()

    @pytest.mark.parametrize("seed", range(6))
    def test_along_single_paths(self, supernet, seed):
        rng = np.random.default_rng(seed)
        path = np.stack([supernet.sample(rng) for _ in range(3)])

        def weigh_of(s):
            return lambda cell, edge: [(1.0, OPERATIONS[path[s, cell, edge]])]

        self.compare(supernet, lambda x: supernet(x, path), weigh_of)

    def test_of_the_mixture(self, supernet):
        generator = torch.Generator().manual_seed(1)
        mixture = torch.rand(3, EDGES, 5, generator=generator, dtype=torch.float64).softmax(2)

        def weigh_of(s):
            return lambda cell, edge: zip(mixture[s, edge], OPERATIONS, strict=True)

        self.compare(supernet, lambda x: supernet(x, mixture=Mixture(mixture)), weigh_of)


def test_gradients_of_the_mixture_are_finite_differences():
    supernet = small(seeds=[2], cells=1).double()
    images = images_of(1)[:3].double()
    mixture = torch.full((1, EDGES, 5), 0.2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda weights: supernet(images, mixture=Mixture(weights))[-1].sum((0, 2, 3, 4)), [mixture]
    )


def test_operations_that_were_not_sampled_have_zero_gradients():
    supernet = small(seeds=[1])
    path = np.full(EDGES, OPERATIONS.index("skip_connect"))
    path[3] = OPERATIONS.index("nor_conv_3x3")
    supernet(images_of(1), path)[-1].square().sum().backward()
    assert all(weights.grad is None for weights in supernet.conv_1)
    for weights in supernet.conv_3:
        touched = weights.grad.flatten(3).any(-1).any(0).any(0)
        assert touched.tolist() == [False, False, False, True, False, False]


def test_a_supernet_is_what_it_would_be_alone():
    together, alone = small(seeds=[3, 5, 8]), small(seeds=[5])
    for mine, own in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.equal(mine[1:2], own)
    images = images_of(3)
    path = np.stack([alone.sample(np.random.default_rng(s)) for s in range(3)])
    for a, b in zip(together(images, path), alone(images[:, 1:2], path[1:2]), strict=True):
        torch.testing.assert_close(a[:, 1:2], b)


def test_sampled_paths_are_uniform_but_leave_no_node_empty():
    supernet = NasBench201Supernet([0], channels=1)
    rng = np.random.default_rng(0)
    paths = np.concatenate([supernet.sample(rng) for _ in range(1_500)])
    assert paths.shape == (1_500 * 15, EDGES)
    for into in INTO[1:]:
        assert not (paths[:, into] == NONE).all(1).any()
    # A node with one edge ahead: four operations; with two: one of 24 pairs.
    first = np.bincount(paths[:, 0], minlength=5) / len(paths)
    np.testing.assert_allclose(first, [0, 0.25, 0.25, 0.25, 0.25], atol=0.012)
    second = np.bincount(paths[:, 1], minlength=5) / len(paths)
    np.testing.assert_allclose(second, [4 / 24] + [5 / 24] * 4, atol=0.012)


def test_cells_without_a_live_path_give_zeros():
    supernet = small(seeds=[0], stages=1, cells=1)
    path = np.full(EDGES, OPERATIONS.index("nor_conv_3x3"))
    path[[3, 4, 5]] = NONE
    assert not supernet(images_of(1), path)[-1].any()


def test_calibrated_statistics_are_means_over_batches():
    supernet = small(seeds=[4])
    path = supernet.sample(np.random.default_rng(1))
    norm = CollectedStatistics()
    with torch.no_grad():
        one = supernet(images_of(1, seed=1), path, norm=norm)
        norm.collecting = False
        again = supernet(images_of(1, seed=1), path, norm=norm)
        single = supernet(images_of(1, seed=1)[:1], path, norm=norm)  # whatever lies beside it
    for a, b in zip(one, again, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(single[-1], again[-1][:1], rtol=1e-4, atol=1e-5)
    two = CollectedStatistics()
    with torch.no_grad():
        for seed in (1, 2):
            supernet(images_of(1, seed=seed), path, norm=two)
        mean, variance = two.moments[0]  # of the stem
        stems = [
            functional.conv2d(images_of(1, seed=seed)[:, 0], supernet.stem[0], padding=1)
            for seed in (1, 2)
        ]
    torch.testing.assert_close(mean, torch.stack([m.mean((0, 2, 3)) for m in stems]).mean(0))
    variances = torch.stack([m.var((0, 2, 3), correction=0) for m in stems])
    torch.testing.assert_close(variance, variances.mean(0))


class TestBadInput:
    def test_sizes(self):
        with pytest.raises(ConfigError, match="must be at least 1. Got 0, 5, 3, 3, 1"):
            NasBench201Supernet([0], channels=0)
        with pytest.raises(ConfigError, match="number of seeds must be at least 1"):
            NasBench201Supernet([])

    def test_path_and_mixture(self):
        supernet, images = small(seeds=[0]), images_of(1)
        with pytest.raises(ShapeError, match="either `path` or `mixture`"):
            supernet(images)
        with pytest.raises(ShapeError, match=r"mixture must be \[1, 6, 5\]. Got \(6, 5\)"):
            supernet(images, mixture=Mixture(torch.zeros(6, 5)))
        for wrong in (np.zeros(5, int), np.full(6, 5), np.full(6, -1), np.zeros(6)):
            with pytest.raises(ShapeError, match="A path is operations 0..4 of 6 edges"):
                supernet(images, wrong)

    def test_images(self):
        with pytest.raises(ShapeError, match=r"must be \[B, 1, c, H, W\]. Got \(6, 3, 8, 8\)"):
            small(seeds=[0])(images_of(1)[:, 0], np.full(6, 1))


def test_an_expanded_scale_has_the_gradients_of_a_copied_one():
    images = torch.randn(8, 16, 2, 2, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    found = []
    for weight in (torch.tensor([0.5]).expand(16), torch.full((16,), 0.5)):
        inputs = images.clone().requires_grad_()
        BatchStatistics()(inputs, weight, torch.zeros(16)).square().sum().backward()
        found.append(inputs.grad)
    assert torch.allclose(*found, atol=1e-6)

"""The supernets of S0 to S4: published sizes, and the same as plain networks, forward and back."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from archrep.cells.genotype import Genotype
from archrep.errors import ConfigError, ShapeError
from archrep.supernets import darts_operations
from archrep.supernets.base import Mixture
from archrep.supernets.darts import NONE, DartsSupernet
from archrep.supernets.darts_operations import CELL_EDGES

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from plain_supernets import DARTS_OPERATIONS, PlainDarts

SEEDS = [3, 5]
VARIANTS = ("s0", "s1", "s2", "s3", "s4")


def small(variant="s0", **changes):
    return DartsSupernet(SEEDS, **{"variant": variant, "channels": 4, "cells": 4} | changes)


def plain_of(net, s, **changes):
    """The plain network with the weights of one supernet."""
    variant = net.name.partition("-")[2] or "s0"
    plain = PlainDarts(variant, 4, net.cells, **changes)
    with torch.no_grad():
        for stem, weights, norm in zip(
            _convolutions(plain.stems), net.stem.weights, net.stem.norms, strict=True
        ):
            stem[0].weight.copy_(weights[s])
            stem[1].weight.copy_(norm.weight[s])
            stem[1].bias.copy_(norm.bias[s])
        for cell, own in zip(plain.cells, net.blocks, strict=True):
            copy(cell.first, own.first, s, 0)
            copy(cell.second, own.second, s, 0)
            for e, edge in enumerate(cell.edges):
                for name, operation in edge.operations.items():
                    if name in own.operations:
                        copy(operation, own.operations[name], s, e)
                if edge.auxiliary is not None:
                    copy(edge.auxiliary, getattr(own, "auxiliary", None), s, e)
    return plain


def _convolutions(stems):
    """Convolutions of stems with the norms that follow them."""
    flat = [m for stem in stems for m in stem if not isinstance(m, torch.nn.ReLU)]
    return list(zip(flat[::2], flat[1::2], strict=True))


def copy(plain, own, s, edge):
    """Weights of one operation, in the order in which both have them."""
    if not list(plain.parameters()):
        return
    if isinstance(own, darts_operations.StridedSkip):
        own = own.strided
    place = own.edges.index(edge) if hasattr(own, "edges") else 0
    if isinstance(own, darts_operations.Separable):
        halves = zip(own.depthwise, own.pointwise, own.norms, strict=True)
        theirs = list(itertools.chain(*([d, p, *norm.parameters()] for d, p, norm in halves)))
    else:
        theirs = list(own.parameters())
    for a, b in zip(plain.parameters(), theirs, strict=True):
        a.copy_(b[s, place])


def images_of(count=2, size=8, seed=0):
    return torch.randn(4, count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def wide(weights, net):
    """Weights `[28, O]` as the plain network wants them, `[28, 9]`."""
    full = torch.zeros(28, len(DARTS_OPERATIONS))
    full[:, : len(net.operations)] = weights
    return full


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4), (a - b).abs().max()


def random_mixture(net, seed=0):
    logits = torch.randn(2, *net.allowed.shape, generator=torch.Generator().manual_seed(seed))
    return logits.masked_fill(~torch.from_numpy(net.allowed), -torch.inf).softmax(2)


@pytest.mark.parametrize("variant", VARIANTS[:4])
@pytest.mark.parametrize("affine", [False, True])
def test_mixture_equals_a_plain_network(variant, affine):
    net = small(variant, affine=affine)
    if affine:
        stir(net)
    images, weights = images_of(), random_mixture(net).requires_grad_()
    maps = net(images, mixture=Mixture(weights))
    sum(m.square().mean() for m in maps).backward()
    for s in range(2):
        plain = plain_of(net, s, affine=affine)
        mine = weights.detach()[s].clone().requires_grad_()
        theirs = plain.forward_mixed(images[:, s], wide(mine, net))
        assert_same([m[:, s] for m in maps], theirs)
        (sum(m.square().mean() for m in theirs) / 2).backward()
        assert torch.allclose(weights.grad[s], mine.grad, rtol=1e-2, atol=1e-4)
        stem = plain.stems[0][0].weight.grad
        assert torch.allclose(net.stem.weights[0].grad[s], stem, rtol=1e-2, atol=1e-4)


def stir(net):
    """Move the weights of batch norms from where they begin."""
    draws = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, weights in net.named_parameters():
            if "norm" in name:
                weights.add_(0.3 * torch.randn(weights.shape, generator=draws))


@pytest.mark.parametrize("variant", VARIANTS[:4])
def test_every_path_equals_a_plain_network(variant):
    net = small(variant, affine=True)
    stir(net)
    rng, images = np.random.default_rng(1), images_of()
    for _ in range(3):
        paths = np.stack([net.sample(rng) for _ in SEEDS])
        maps = net(images, paths)
        for s in range(2):
            theirs = plain_of(net, s, affine=True).forward_path(images[:, s], paths[s])
            assert_same([m[:, s] for m in maps], theirs)


def test_wide_cells_and_odd_sizes():
    net = DartsSupernet(SEEDS, channels=20, cells=3)
    images, weights = images_of(size=7), random_mixture(net)
    maps = net(images, mixture=Mixture(weights))
    plain = PlainDarts("s0", 20, 3)
    with torch.no_grad():
        source = plain_of_wide(net, plain)
    assert_same([m[:, 0] for m in maps], source.forward_mixed(images[:, 0], wide(weights[0], net)))


def plain_of_wide(net, plain):
    for stem, weights in zip(_convolutions(plain.stems), net.stem.weights, strict=True):
        stem[0].weight.copy_(weights[0])
    for cell, own in zip(plain.cells, net.blocks, strict=True):
        copy(cell.first, own.first, 0, 0)
        copy(cell.second, own.second, 0, 0)
        for e, edge in enumerate(cell.edges):
            for name, operation in edge.operations.items():
                if name in own.operations:
                    copy(operation, own.operations[name], 0, e)
    return plain


def test_imagenet_stem_equals_a_plain_network():
    net = small(stem="imagenet")
    images, weights = images_of(size=64), random_mixture(net)
    maps = net(images, mixture=Mixture(weights))
    plain = plain_of(net, 1, stem="imagenet")
    assert_same([m[:, 1] for m in maps], plain.forward_mixed(images[:, 1], wide(weights[1], net)))
    assert [stage.stride for stage in net.stages] == [8, 16, 32]


def test_partial_channels_equal_a_plain_network():
    net = small(partial=2)
    images, weights = images_of(), random_mixture(net)
    edges = torch.rand(2, 28, generator=torch.Generator().manual_seed(2))
    maps = net(images, mixture=Mixture(weights, edges=edges))
    for s in range(2):
        plain = plain_of(net, s, partial=2)
        theirs = plain.forward_mixed(images[:, s], wide(weights[s], net), edges[s])
        assert_same([m[:, s] for m in maps], theirs)


def test_a_shuffle_keeps_every_channel():
    net = small(partial=2)
    block = net.blocks[0]
    value, rest = torch.arange(2.0), torch.arange(2.0, 4.0)
    shape = (1, 1, 1, 1)
    node = block._node(2, {2: value.expand(*shape, 2)}, {2: rest.expand(*shape, 2)}, [])
    assert node.flatten().tolist() == [0, 2, 1, 3]


def test_auxiliary_skips_equal_a_plain_network():
    net = small(auxiliary=True)
    images, weights = images_of(), random_mixture(net)
    maps = net(images, mixture=Mixture(weights, auxiliary=0.7))
    plain = plain_of(net, 0, auxiliary=True)
    theirs = plain.forward_mixed(images[:, 0], wide(weights[0], net), auxiliary_weight=0.7)
    assert_same([m[:, 0] for m in maps], theirs)


def test_inactive_operations_count_for_nothing():
    net = small()
    images, weights = images_of(), random_mixture(net)
    active = np.random.default_rng(0).random(net.allowed.shape) < 0.4
    maps = net(images, mixture=Mixture(weights, active=active))
    kept = weights * torch.from_numpy(active)
    theirs = plain_of(net, 1).forward_mixed(images[:, 1], wide(kept[1], net))
    assert_same([m[:, 1] for m in maps], theirs)


def test_noise_is_drawn_of_each_supernet_and_ignores_the_input():
    net = small("s4")
    path = np.full(28, net.operations.index("noise"))
    path[[e for e in range(28) if e % 14 not in (0, 1, 2, 3, 5, 6, 9, 10)]] = NONE
    maps = [net(images, path, draws=draws(7, 8)) for images in (images_of(), images_of(seed=4))]
    assert torch.equal(maps[0][-1], maps[1][-1])
    alone = net(images_of(), path, draws=draws(8, 7))
    assert torch.equal(alone[-1][:, 0], maps[0][-1][:, 1])
    assert abs(float(maps[0][0][:, 0].std()) - 2**0.5) < 0.1  # two noises added
    with pytest.raises(ShapeError, match="draws"):
        net(images_of(), path)


def draws(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_dropout_keeps_the_mean_of_skips():
    net = small("s2")
    weights = torch.zeros(2, 28, 8)
    weights[:, :, net.operations.index("skip_connect")] = 1.0
    images = images_of(size=16)
    with torch.no_grad():
        plain = net(images, mixture=Mixture(weights))[0]
        dropped = [
            net(images, mixture=Mixture(weights, dropout=0.4), draws=draws(n, n + 100))[0]
            for n in range(60)
        ]
    mean = torch.stack(dropped).mean(0)
    assert not torch.allclose(dropped[0], plain)
    assert float((mean - plain).abs().mean()) < 0.25 * float(plain.abs().mean())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_seed_alone_equals_that_seed_in_company(variant):
    net = small(variant)
    alone = DartsSupernet(SEEDS[1:], variant=variant, channels=4, cells=4)
    images, weights = images_of(), random_mixture(net)
    both = net(images, mixture=Mixture(weights), draws=draws(1, 2))
    one = alone(images[:, 1:], mixture=Mixture(weights[1:]), draws=draws(2))
    assert_same([m[:, 1] for m in both], [m[:, 0] for m in one])


def counted(net, size, classes):
    """Weights with a linear classifier, and multiply-adds of one image."""
    width = net.stages[-1].channels
    weights = torch.full((1, *net.allowed.shape), 1 / net.allowed.shape[1])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 1, 3, size, size), mixture=Mixture(weights))
    params = sum(p.numel() for p in net.parameters()) + width * classes + classes
    return params, counter.get_total_flops() / 2 + width * classes


@pytest.mark.parametrize(
    ("changes", "params", "macs"),
    [
        ({}, 1_930_618, 300.3),
        ({"partial": 4}, 299_578, 56.6),
        ({"variant": "s2"}, 665_466, 100.9),
        ({"cells": 5}, 1_275_834, 187),
        ({"cells": 11}, 2_585_146, 414),
        ({"cells": 17}, 3_894_202, 640),
        ({"stem": "imagenet"}, 2_185_872, 236),
    ],
)
def test_published_sizes(monkeypatch, changes, params, macs):
    # Multiply-adds are counted as printed: depthwise and pointwise convolutions one by one.
    monkeypatch.setattr(darts_operations, "is_dense", lambda channels, dilation: False)
    size, classes = (224, 1000) if "stem" in changes else (32, 10)
    found = counted(DartsSupernet([0], **changes), size, classes)
    assert found[0] == params
    assert found[1] / 1e6 == pytest.approx(macs, rel=0.003)


def test_dense_and_separate_convolutions_are_one_function(monkeypatch):
    net, images = small(), images_of()
    weights = random_mixture(net)
    dense = net(images, mixture=Mixture(weights))
    monkeypatch.setattr(darts_operations, "is_dense", lambda channels, dilation: False)
    assert_same(net(images, mixture=Mixture(weights)), dense)


def test_a_derived_cell_has_the_two_strongest_edges_of_each_block():
    net = small()
    rng = np.random.default_rng(5)
    probabilities = rng.random(net.allowed.shape)
    probabilities[:, NONE] = 2.0  # never counts
    choices = net.derive(probabilities)
    for half in (0, 14):
        for target in range(2, 6):
            into = [half + e for e, edge in enumerate(CELL_EDGES) if edge[1] == target]
            best = sorted(into, key=lambda e: -probabilities[e, 1:].max())[:2]
            assert {e for e in into if choices[e] != NONE} == set(best)
            assert all(choices[e] == 1 + probabilities[e, 1:].argmax() for e in best)
    genotype = Genotype.parse(net.describe(choices))
    skips = sum(op == "skip_connect" for op in genotype.normal.ops)
    assert net.skips(choices) == skips


def test_live_paths_are_those_of_brute_force():
    net, rng = small(), np.random.default_rng(2)
    choices = np.stack([net.sample(rng) for _ in range(5)])
    counts, alive = net.live(choices)
    assert alive.all()
    for row, found in zip(choices, counts, strict=True):
        for half in (0, 14):
            lives = {e for e in range(14) if row[half + e] != NONE}
            brute = np.zeros(14, int)
            for path in _paths(lives):
                brute[list(path)] += 1
            assert (found[half : half + 14] == brute).all()


def _paths(lives):
    """Ways over live edges from an input of a cell to any of its blocks."""
    ways = [((), 0), ((), 1)]
    while ways:
        path, node = ways.pop()
        if path:
            yield path
        ways += [((*path, e), CELL_EDGES[e][1]) for e in lives if CELL_EDGES[e][0] == node]


def test_sampled_paths_take_two_edges_a_block():
    net = small("s1")
    rng = np.random.default_rng(0)
    for _ in range(20):
        path = net.sample(rng)
        net.check_path(path)
        for half in (0, 14):
            into = [CELL_EDGES[e][1] for e in range(14) if path[half + e] != NONE]
            assert into == [2, 2, 3, 3, 4, 4, 5, 5]


def test_sampled_marks_the_weights_that_have_a_gradient():
    net = small()
    paths = np.stack([net.sample(np.random.default_rng(n)) for n in range(2)])
    net(images_of(), paths)[-1].square().sum().backward()
    for candidate, used in zip(net.candidates(), net.sampled(paths), strict=True):
        gradient = candidate.weights.grad
        moved = (
            np.zeros_like(used)
            if gradient is None
            else gradient.flatten(2).abs().amax(2).numpy() > 0
        )
        assert (moved == used).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 3}, "multiple of 2"),
        ({"partial": 4}, "multiple of 8"),
        ({"cells": 2}, "at least 3"),
        ({"variant": "s9"}, "s0, s1, s2, s3, s4"),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        small(**changes)


def test_wrong_paths_and_mixtures_are_refused():
    net = small("s2")
    images = images_of()
    with pytest.raises(ShapeError, match="has no 'max_pool_3x3'"):
        net(images, np.full(28, 1))
    with pytest.raises(ShapeError, match="28 edges"):
        net(images, np.full(14, 3))
    with pytest.raises(ShapeError, match="mixture"):
        net(images, mixture=Mixture(torch.ones(2, 14, 8)))
    with pytest.raises(ShapeError, match="either"):
        net(images)

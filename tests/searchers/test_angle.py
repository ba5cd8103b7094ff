"""Angles of cells: by brute force over concatenated weights, as the paper defines them."""

import numpy as np
import pytest
import torch
from torch import nn

from archrep.cells import get_space
from archrep.cells.nasbench201 import OFFICIAL_EDGES, OPERATIONS
from archrep.searchers.angle import AngleRules, Snapshot, cell_angles
from archrep.supernets.nasbench201 import NasBench201Supernet, live_edges

SPACE = get_space("nasbench201")
SOME = SPACE.decisions_of_rows(np.random.default_rng(0).integers(15_625, size=40))


@pytest.fixture
def turned():
    """A snapshot, and the supernet and heads some time later."""
    supernet = NasBench201Supernet([0, 1], channels=4, cells=2, stages=2)
    torch.manual_seed(0)
    heads = nn.ModuleList(nn.Linear(8, 3) for _ in range(2))
    snapshot = Snapshot(supernet, heads)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in [*supernet.parameters(), *heads.parameters()]:
            weights.add_(0.2 * torch.randn(weights.shape, generator=generator))
    return snapshot, supernet, heads


def walks(node):
    """All ways from the input to a node, as lists of edges."""
    if not node:
        return [[]]
    return [
        [*walk, edge]
        for edge, (source, target) in enumerate(OFFICIAL_EDGES)
        if target == node
        for walk in walks(source)
    ]


def vector(candidates, trunk, supernet, choices, s, rules):
    """Weights of a cell, one path after the other, and of the trunk."""
    parts = [w[s].flatten() for w in trunk] if rules.trunk else []
    counted = set()
    alive = False
    for walk in walks(3):
        ops = [OPERATIONS[choices[edge]] for edge in walk]
        if "none" in ops:
            continue
        alive = True
        for edge, op in zip(walk, ops, strict=True):
            if not rules.multiplicity and edge in counted:
                continue
            counted.add(edge)
            for stage, (channels, _) in enumerate(supernet.stages):
                for n in range(supernet.per_stage):
                    if op == "avg_pool_3x3" and rules.pool:
                        parts.append(torch.full((channels * 9,), 1 / 9))
                    elif op == "skip_connect" and rules.identity:
                        parts.append(torch.eye(channels).flatten())
                    elif op == "nor_conv_1x1":
                        parts.append(candidates[2 * stage][s, n, edge].flatten())
                    elif op == "nor_conv_3x3":
                        parts.append(candidates[2 * stage + 1][s, n, edge].flatten())
    return torch.cat(parts).double() if alive else None


@pytest.mark.parametrize(
    "rules",
    [
        AngleRules(),
        AngleRules(pool=False),
        AngleRules(trunk=False),
        AngleRules(identity=True),
        AngleRules(multiplicity=False),
    ],
)
def test_angles_are_those_of_the_concatenated_weights(turned, rules):
    snapshot, supernet, heads = turned
    found = cell_angles(snapshot, supernet, heads, SOME, rules)
    assert found.shape == (2, len(SOME))
    then, now = (
        snapshot.tensors(),
        [w for _, w in [(c.operation, c.weights) for c in supernet.candidates()]],
    )
    first = [then[f"candidates.{n}"] for n in range(len(now))]
    trunk_then = [w for name, w in then.items() if name.startswith("trunk.")]
    for s in range(2):
        own_then = [w[None].expand(2, *w.shape) for n, w in then.items() if n[:8] == f"heads.{s}."]
        own_now = [w[None].expand(2, *w.shape) for w in heads[s].parameters()]
        for choices, angle in zip(SOME, found[s], strict=True):
            a = vector(first, trunk_then + own_then, supernet, choices, s, rules)
            b = vector(now, supernet.trunk_weights() + own_now, supernet, choices, s, rules)
            if a is None or not len(a):
                assert angle == 0
            else:
                cosine = (a @ b / (a.norm() * b.norm())).clamp(-1, 1)
                assert angle == pytest.approx(float(cosine.detach().arccos()), abs=1e-6)


def test_nothing_has_turned_at_the_start():
    supernet = NasBench201Supernet([0], channels=4, cells=1)
    heads = nn.ModuleList([nn.Linear(16, 3)])
    angles = cell_angles(Snapshot(supernet, heads), supernet, heads, SOME)
    np.testing.assert_allclose(angles, 0, atol=1e-7)


def test_live_paths_are_those_of_brute_force():
    choices = SPACE.decisions_of_rows(np.arange(15_625))
    counts, alive = live_edges(choices)
    assert (~alive).sum() == 341  # cells without a way from input to output
    none = OPERATIONS.index("none")
    for row in range(0, 15_625, 97):
        live = [walk for walk in walks(3) if (choices[row, walk] != none).all()]
        assert counts[row].tolist() == [sum(edge in walk for walk in live) for edge in range(6)]


def test_biases_of_the_head_are_left_out_where_the_release_leaves_them_out(turned):
    snapshot, supernet, heads = turned
    found = {
        head_bias: cell_angles(snapshot, supernet, heads, SOME, AngleRules(head_bias=head_bias))
        for head_bias in (True, False)
    }
    with torch.no_grad():
        for head in heads:
            head.bias.add_(3.0)
    moved = cell_angles(snapshot, supernet, heads, SOME, AngleRules(head_bias=False))
    assert np.array_equal(moved, found[False])
    assert not np.array_equal(
        cell_angles(snapshot, supernet, heads, SOME, AngleRules()), found[True]
    )

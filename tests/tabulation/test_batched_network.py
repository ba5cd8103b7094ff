from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_network import ReferenceNetwork, reference_name
from torch import nn
from torch.nn import functional

from archrep.cells.cell import Cell
from archrep.cells.nasbench101 import NasBench101
from archrep.cells.nasbench201 import NasBench201
from archrep.errors import CellError, ConfigError, UnknownNameError
from archrep.tabulation import OPERATIONS, nasbench201_representatives, register_operation
from archrep.tabulation.cost import network_cost
from archrep.tabulation.network import Skeleton, build_networks
from archrep.tabulation.operations import AveragePool, make_operation
from archrep.tabulation.plan import plan_cell

SPACE = NasBench201()
SKELETON = Skeleton((4, 6), 2, 5)
FED_NOTHING = SPACE.parse(
    "|none~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_1x1~1|avg_pool_3x3~2|"
)
NOTHING = SPACE.parse("|none~0|+|skip_connect~0|none~1|+|none~0|none~1|none~2|")
DOUBLED = SPACE.parse(
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+"
    "|skip_connect~0|skip_connect~1|nor_conv_3x3~2|"
)
UNUSED = SPACE.parse(
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|none~2|"
)
CELLS = [FED_NOTHING, NOTHING, DOUBLED, UNUSED] + [
    SPACE.enumerate()[n] for n in (11_472, 0, 5_000, 7, 15_624, 303)
]


def batch_of(networks, seed=0, size=8):
    rng = torch.Generator().manual_seed(seed)
    images = torch.randn(12, networks, 1, size, size, generator=rng)
    return images, torch.randint(0, 5, (12, networks), generator=rng)


def loss_of(logits, labels):
    """Sum over networks of their mean losses."""
    summed = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    return summed / len(labels)


def step(network, loss, learning_rate):
    """Plain gradient descent, so that weights show gradients."""
    network.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= learning_rate * parameter.grad


def weights(networks, number):
    return {name: view.clone() for k, name, view in networks.slices() if k == number}


def test_networks_of_a_batch_equal_the_reference_in_outputs_gradients_and_statistics():
    networks = build_networks(CELLS, [5, 6], SKELETON).double()
    references = [
        ReferenceNetwork(CELLS[k // 2], (4, 6), 2, 5).double().load(weights(networks, k))
        for k in range(networks.networks)
    ]
    for round_ in range(3):
        images, labels = batch_of(networks.networks, round_)
        images = images.double()
        logits = networks(images)
        step(networks, loss_of(logits, labels), 0.1)
        for k, reference in enumerate(references):
            expected = reference(images[:, k])
            torch.testing.assert_close(logits[:, k], expected, rtol=1e-6, atol=1e-8)
            step(reference, functional.cross_entropy(expected, labels[:, k]), 0.1)
            state = reference.state_dict()
            for name, weight in weights(networks, k).items():
                expected = state[reference_name(name)]
                torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-8)
    networks.eval()
    for k, reference in enumerate(references):
        expected = reference.eval()(images[:, k])
        torch.testing.assert_close(networks(images)[:, k], expected, rtol=1e-6, atol=1e-8)


def test_random_cells_compute_what_the_reference_computes():
    cells = [SPACE.enumerate()[n] for n in np.random.default_rng(1).integers(0, 15_625, 60)]
    networks = build_networks(cells, [0], Skeleton((4,), 1, 5)).double()
    images = batch_of(60)[0].double()
    logits = networks(images)
    for k, cell in enumerate(cells):
        reference = ReferenceNetwork(cell, (4,), 1, 5).double().load(weights(networks, k))
        torch.testing.assert_close(logits[:, k], reference(images[:, k]), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seeds", [[3], [3, 4, 5]])
@pytest.mark.parametrize("others", [[0], [2, 3], [4, 5, 6, 7], [9, 8, 7, 6, 5, 4, 3, 2, 0]])
@pytest.mark.parametrize(
    ("skeleton", "size"), [(Skeleton((8, 16), 2, 10), 8), (Skeleton((8,), 1, 7), 7)]
)
def test_a_network_does_not_depend_to_the_bit_on_the_others_in_its_batch(
    seeds, others, skeleton, size
):
    images, labels = batch_of(len(seeds), size=size)

    def trained(cells):
        networks = build_networks(cells, seeds, skeleton)
        for _ in range(3):
            logits = networks(images.repeat(1, len(cells), 1, 1, 1))
            step(networks, loss_of(logits, labels.repeat(1, len(cells))), 0.1)
        place = cells.index(CELLS[4]) * len(seeds)
        logits = networks.eval()(images.repeat(1, len(cells), 1, 1, 1))
        return weights(networks, place), logits[:, place]

    expected, logits = trained(CELLS)
    found, found_logits = trained([CELLS[n] for n in others if n != 4] + [CELLS[4]])
    assert torch.equal(found_logits, logits)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_initial_weights_depend_on_seed_and_cell_but_not_on_place():
    first = build_networks(CELLS, [0, 1], SKELETON)
    second = build_networks(CELLS[::-1], [1, 2], SKELETON)
    last = first.networks - 1
    for name, weight in weights(first, 3).items():  # cell 1, seed 1
        assert torch.equal(weight, weights(second, last - 3)[name])
    stem = "stem.0.weight"
    assert not torch.equal(weights(first, 3)[stem], weights(first, 2)[stem])
    assert not torch.equal(weights(first, 3)[stem], weights(first, 5)[stem])


def test_building_networks_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build_networks(CELLS[:2], [0], SKELETON)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_plan_holds_only_what_reaches_the_output_and_is_not_zero():
    assert plan_cell(NOTHING).nodes == ()
    assert plan_cell(NOTHING).output == ()
    assert plan_cell(UNUSED).nodes == ()
    assert plan_cell(UNUSED).output == (0,)
    assert [node.op for node in plan_cell(FED_NOTHING).nodes] == [
        "nor_conv_3x3",
        "avg_pool_3x3",
        "nor_conv_1x1",
        "avg_pool_3x3",
    ]


def test_a_value_that_arrives_on_two_ways_counts_twice():
    assert plan_cell(DOUBLED).output.count(0) == 2


def test_representatives_stand_for_their_class_with_the_fewest_parameters():
    rows, place = nasbench201_representatives()
    classes, params = SPACE.topology_classes(), SPACE.params(SPACE.enumerate())
    assert len(rows) == 6_466
    assert (classes[rows[place]] == classes).all()
    assert (params[rows[place]] <= params).all()


def test_cells_of_nasbench101_train_as_sums_over_predecessors():
    space = NasBench101()
    cells = [space.sample(np.random.default_rng(n)) for n in range(6)]
    networks = build_networks(cells, [0], Skeleton((4,), 1, 5))
    images, _ = batch_of(6)
    logits = networks(images)
    for k, cell in enumerate(cells):
        own = weights(networks, k)
        features = [_conv_bn(images[:, k], own, "stem.0", "stem.1")]
        for v in range(1, len(cell)):
            total = sum(features[p] for p in cell.predecessors(v))
            name = f"cells.0.{v}"
            if cell.ops[v] == "maxpool3x3":
                total = functional.max_pool2d(total, 3, 1, 1)
            elif cell.ops[v] != "output":
                total = _conv_bn(total, own, f"{name}.0", f"{name}.1").relu()
            features.append(total)
        pooled = _norm(features[-1], own, "head.0").relu().mean((2, 3))
        expected = pooled @ own["head.3.weight"][:, :, 0, 0].T + own["head.3.bias"]
        torch.testing.assert_close(logits[:, k], expected, rtol=1e-4, atol=1e-5)


def _conv_bn(images, own, conv, norm):
    weight = own[f"{conv}.weight"]
    images = functional.conv2d(images, weight, padding=weight.shape[-1] // 2)
    return _norm(images, own, norm)


def _norm(images, own, name):
    return functional.batch_norm(
        images, None, None, own[f"{name}.weight"], own[f"{name}.bias"], training=True
    )


@pytest.mark.parametrize("shape", [(3, 4, 8, 8), (2, 3, 5, 7), (1, 2, 20, 20), (1, 1, 1, 1)])
def test_average_pool_is_that_of_torch(shape):
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = nn.AvgPool2d(3, 1, 1, count_include_pad=False)(images)
    torch.testing.assert_close(AveragePool()(images), expected)


def test_costs_at_the_size_of_the_benchmark_are_the_published_ones():
    cells = SPACE.enumerate()[[0, 7, 303, 5_000, 11_472, 15_624]]
    benchmark = Skeleton((16, 32, 64), 5, 10, 3)
    costs = [network_cost(cell.ops, benchmark, 32, 32) for cell in cells]
    assert [cost.params for cost in costs] == SPACE.params(cells).tolist()
    assert [cost.macs for cost in costs] == SPACE.macs(cells).tolist()


def test_parameters_are_those_of_the_reference_network():
    for cell in CELLS:
        reference = ReferenceNetwork(cell, (4, 6), 2, 5)
        expected = sum(p.numel() for p in reference.parameters())
        assert network_cost(cell.ops, SKELETON, 8, 8).params == expected


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (Cell(("input",)), "begins with 'input' and ends with 'output'"),
        (Cell(("input", "output", "output"), ((0, 1), (1, 2))), "Got 'output'"),
        (Cell(("input", "sep_conv_3x3", "output"), ((0, 1), (1, 2))), "nor_conv_3x3.*register_op"),
    ],
)
def test_a_cell_that_cannot_be_trained_is_refused(cell, words):
    with pytest.raises(CellError, match=words):
        plan_cell(cell)


def test_an_operation_of_ones_own_trains_and_its_label_is_taken(monkeypatch):
    monkeypatch.setattr("archrep.tabulation.operations.OPERATIONS", OPERATIONS.copy())
    register_operation(
        "sep_conv_3x3", lambda c, n: nn.Conv2d(n * c, n * c, 3, padding=1, groups=n * c)
    )
    cell = Cell(("input", "sep_conv_3x3", "output"), ((0, 1), (1, 2)))
    networks = build_networks([cell, CELLS[4]], [0], SKELETON)
    assert weights(networks, 0)["cells.0.1.weight"].shape == (4, 1, 3, 3)
    assert networks(batch_of(2)[0]).isfinite().all()
    for label in ("sep_conv_3x3", "none"):
        with pytest.raises(ConfigError, match="registered already"):
            register_operation(label, lambda c, n: nn.Identity())


def test_an_unknown_operation_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="maxpool3x3.*Got 'conv'"):
        make_operation("conv", 4, 2)

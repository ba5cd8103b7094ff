"""NAS-Bench-201 against the official numbering, records and a numeric view of topology."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from archrep.cells import Cell, NasBench201
from archrep.cells.nasbench201 import EDGES, OFFICIAL_EDGES, OPERATIONS
from archrep.errors import CellError

SPACE = NasBench201()
BEST_ON_CIFAR100 = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
    "+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
)


@pytest.fixture(scope="module")
def cells():
    return SPACE.enumerate()


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two labelings put the same items together."""
    pairs = len(np.unique(np.stack([first, second]), axis=1).T)
    return pairs == len(np.unique(first)) == len(np.unique(second))


class TestNumbering:
    def test_of_the_best_cell_on_cifar100_is_the_published_one(self):
        assert SPACE.index(SPACE.parse(BEST_ON_CIFAR100)) == 9930

    def test_covers_every_choice_of_operations_once(self, cells):
        assert len(np.unique(cells.ops, axis=0)) == SPACE.size == 5**6
        assert SPACE.legal(cells).all()

    def test_strings_and_indices_lead_back_to_their_rows(self, cells):
        assert (SPACE.index_array(cells) == np.arange(SPACE.size)).all()
        for row in range(0, SPACE.size, 250):
            assert SPACE.parse(SPACE.format(cells[row])) == SPACE.parse(str(row)) == cells[row]

    @pytest.mark.data
    def test_is_the_official_one_in_all_rows(self, cells, nasbench201_table):
        official = nasbench201_table["arch_str"].to_pylist()
        assert [SPACE.format(cell) for cell in cells] == official
        assert nasbench201_table["arch_index"].to_pylist() == list(range(SPACE.size))


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            BEST_ON_CIFAR100[:-1],
            BEST_ON_CIFAR100.replace("+", ""),
            BEST_ON_CIFAR100.replace("~2", "~1"),
            BEST_ON_CIFAR100.replace("~2", "~9"),
            BEST_ON_CIFAR100 + BEST_ON_CIFAR100,
            "-1",
        ],
    )
    def test_of_the_wrong_form_is_refused_with_the_right_one(self, text):
        with pytest.raises(CellError, match=r"\|op~0\|\+\|op~0\|op~1\|\+.*Got "):
            SPACE.parse(text)

    def test_with_an_unknown_operation_is_refused_with_the_known_ones(self):
        with pytest.raises(CellError, match=r"must be of \('none', .*has \['nor_conv_7x7'\]"):
            SPACE.parse(BEST_ON_CIFAR100.replace("nor_conv_3x3~2", "nor_conv_7x7~2"))

    @pytest.mark.parametrize("text", ["15625", "9" * 5000])
    def test_of_an_index_behind_the_last_is_refused(self, text):
        with pytest.raises(CellError, match=r"An index is between 0 and 15624\. Got"):
            SPACE.parse(text)


class TestGraph:
    def test_edges_are_those_of_the_published_encoding(self):
        # Yan et al. (2020), Appendix A.2
        assert sorted(EDGES) == [
            *((0, 1), (0, 2), (0, 4), (1, 3), (1, 5)),
            *((2, 6), (3, 6), (4, 7), (5, 7), (6, 7)),
        ]

    def test_has_no_symmetry_so_that_every_cell_is_a_graph_of_its_own(self, cells):
        assert len(np.unique(cells.colour_hash())) == SPACE.size

    def test_no_relabelled_cell_is_legal_but_canonical_finds_its_spelling(self, cells):
        moved = cells[9930].permuted((0, 2, 1, 4, 3, 5, 6, 7))
        assert not SPACE.is_legal(moved)
        assert SPACE.canonical(moved) == cells[9930]

    def test_a_graph_that_no_relabelling_makes_a_cell_is_refused(self):
        with pytest.raises(CellError, match="Not isomorphic to any NAS-Bench-201 cell"):
            SPACE.canonical(Cell(("input", *["none"] * 6, "output"), EDGES[1:]))

    def test_neighbours_are_the_24_cells_that_differ_in_one_operation(self, cells):
        near = SPACE.index_array(SPACE.pack(SPACE.neighbours(cells[777])))
        different = (cells.ops != cells.ops[777]).sum(1)
        assert sorted(near.tolist()) == np.flatnonzero(different == 1).tolist()
        assert len(near) == 24


class TestTopologyClasses:
    def test_are_numbered_by_their_first_member(self, cells):
        classes = SPACE.topology_classes()
        assert len(np.unique(classes)) == 6_466
        assert (classes[classes] == classes).all()
        assert (classes <= np.arange(SPACE.size)).all()

    @pytest.mark.data
    def test_are_the_published_ones(self, nasbench201_table):
        published = nasbench201_table["isomorph_index"].to_numpy()
        assert same_partition(SPACE.topology_classes(), published)

    def test_split_the_4930_functions_that_cells_compute(self, cells, rng):
        """Convolutions and pooling as three random functions that fix zero."""
        weights = rng.normal(size=(3, 4, 4))
        functions = {
            "none": np.zeros_like,
            "skip_connect": np.copy,
            "nor_conv_1x1": lambda x: np.tanh(weights[0] @ x),
            "nor_conv_3x3": lambda x: np.tanh(weights[1] @ x),
            "avg_pool_3x3": lambda x: np.tanh(weights[2] @ x),
        }
        values = np.zeros((4, 4, SPACE.size))
        values[0] = rng.normal(size=4)[:, None]
        for k, (source, target) in enumerate(OFFICIAL_EDGES):
            for op in OPERATIONS:
                rows = np.flatnonzero(cells.ops[:, 1 + k] == SPACE.ops.index(op))
                values[target][:, rows] += functions[op](values[source][:, rows])
        _, computed = np.unique(values[3].round(9) + 0.0, axis=1, return_inverse=True)
        classes, function = SPACE.topology_classes(), computed.ravel()
        assert len(np.unique(function)) == 4_930
        assert (function == function[classes]).all()


class TestCost:
    def test_follows_the_recorded_formula(self, cells):
        three = (cells.ops == SPACE.ops.index("nor_conv_3x3")).sum(1)
        one = (cells.ops == SPACE.ops.index("nor_conv_1x1")).sum(1)
        assert (SPACE.params(cells) == 73_306 + 243_040 * three + 28_000 * one).all()
        assert (SPACE.macs(cells) == 7_783_050 + 35_389_440 * three + 3_932_160 * one).all()

    @pytest.mark.data
    @pytest.mark.parametrize(
        ("prefix", "classes", "image_size"), [("c10", 10, 32), ("c100", 100, 32), ("in16", 120, 16)]
    )
    def test_is_that_of_the_table_in_all_rows(
        self, prefix, classes, image_size, cells, nasbench201_table
    ):
        params = nasbench201_table[f"{prefix}_params_m"].to_numpy()
        macs = nasbench201_table[f"{prefix}_flops_m"].to_numpy()
        np.testing.assert_allclose(SPACE.params(cells, classes) / 1e6, params, rtol=1e-6)
        np.testing.assert_allclose(SPACE.macs(cells, classes, image_size) / 1e6, macs, rtol=1e-6)

    @pytest.mark.data
    def test_is_that_of_the_trained_networks_where_these_were_recorded_right(
        self, cells, nasbench201_table
    ):
        right = ~nasbench201_table["params_record_mismatch"].to_numpy(zero_copy_only=False)
        recorded = nasbench201_table["c10_params_recorded_m"].to_numpy()
        assert right.sum() == SPACE.size - 150
        np.testing.assert_allclose(SPACE.params(cells)[right] / 1e6, recorded[right], rtol=1e-6)

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_is_that_of_the_network_built_in_torch(self, operation, measured):
        cell = Cell(("input", *[operation] * 5, "nor_conv_1x1", "output"), EDGES)
        products, _, params = measured(network_of(cell, classes=100), image_size=8)
        bias = 100  # the benchmark counts that of its classifier
        assert SPACE.params(SPACE.pack([cell]), classes=100).tolist() == [params]
        assert SPACE.macs(SPACE.pack([cell]), classes=100, image_size=8).tolist() == [
            products + bias
        ]

    def test_of_an_illegal_row_is_refused(self):
        rows = SPACE.pack([Cell(("input", "none", "output"), ((0, 1), (1, 2)))])
        with pytest.raises(CellError, match="Row 0 is not a legal NAS-Bench-201 cell: .* 8 nodes"):
            SPACE.params(rows)
        with pytest.raises(CellError, match="Row 0"):
            SPACE.macs(rows)


def network_of(cell: Cell, classes: int):
    """The network of Dong and Yang (2020) in torch."""
    from torch import nn

    def conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)

    def operation(op: str, c: int) -> nn.Module:
        if op.startswith("nor_conv"):
            return nn.Sequential(nn.ReLU(), conv(c, c, int(op[-1])), nn.BatchNorm2d(c))
        return nn.AvgPool2d(3, 1, 1) if op == "avg_pool_3x3" else nn.Identity()

    class CellModule(nn.Module):
        def __init__(self, c: int) -> None:
            super().__init__()
            self.edges = nn.ModuleList(operation(op, c) for op in cell.ops[1:7])

        def forward(self, x):
            nodes = [x, 0 * x, 0 * x, 0 * x]
            for (source, target), op, edge in zip(
                OFFICIAL_EDGES, cell.ops[1:7], self.edges, strict=True
            ):
                if op != "none":
                    nodes[target] = nodes[target] + edge(nodes[source])
            return nodes[3]

    class Residual(nn.Module):
        def __init__(self, c: int) -> None:
            super().__init__()
            first = nn.Sequential(nn.ReLU(), conv(c // 2, c, 3, 2), nn.BatchNorm2d(c))
            self.body = nn.Sequential(first, nn.ReLU(), conv(c, c, 3), nn.BatchNorm2d(c))
            self.shortcut = nn.Sequential(nn.AvgPool2d(2), conv(c // 2, c, 1))

        def forward(self, x):
            return self.body(x) + self.shortcut(x)

    stages = [[Residual(c)] * (c > 16) + [CellModule(c) for _ in range(5)] for c in (16, 32, 64)]
    return nn.Sequential(
        *(conv(3, 16, 3), nn.BatchNorm2d(16), *itertools.chain(*stages)),
        *(nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(64, classes),
    )

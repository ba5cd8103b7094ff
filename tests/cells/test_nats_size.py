"""The NATS-Bench size space: official order and costs, and what makes a chain a cell."""

from __future__ import annotations

import bz2
import itertools
import pickle

import numpy as np
import pytest

from archrep.cells import Cell, NatsSize
from archrep.cells.nats_size import EDGES, WIDTHS
from archrep.errors import CellError

SPACE = NatsSize()


@pytest.fixture(scope="module")
def cells():
    return SPACE.enumerate()


def test_order_is_that_of_counting_with_the_last_width_fastest(cells):
    expected = [":".join(map(str, p)) for p in itertools.product(WIDTHS, repeat=5)]
    assert [SPACE.format(cell) for cell in cells] == expected


@pytest.mark.data
def test_order_is_the_official_one(cells, data_folder):
    path = data_folder / "samples" / "nats-bench" / "NATS-sss-v1_0-50262-simple"
    with bz2.open(path / "meta.pickle.pbz2") as file:
        official = pickle.load(file)["meta_archs"]
    assert [SPACE.format(cell) for cell in cells] == official


@pytest.mark.parametrize(
    ("text", "index"), [("8:8:8:8:8", 0), ("8:8:8:8:16", 1), ("64:64:64:64:64", 32_767)]
)
def test_index_of_a_notation(text, index):
    assert SPACE.index(SPACE.parse(text)) == index
    assert SPACE.format(SPACE.parse(str(index))) == text


@pytest.mark.parametrize("text", ["8:8:8:8", "8:8:8:8:8:8", "8:8:8:8:", "8: 8:8:8:8", "input"])
def test_other_notations_are_refused(text):
    with pytest.raises(CellError, match=r"five widths of .*such as 8:16:24:32:64\. Got"):
        SPACE.parse(text)


@pytest.mark.parametrize("width", ["9", "08"])
def test_another_width_is_named(width):
    with pytest.raises(CellError, match=rf"it has \['width_{width}'\]"):
        SPACE.parse(f"8:8:8:8:{width}")


def test_every_reason_of_an_illegal_cell_is_named():
    cell = Cell(("input", "conv", "output"), ((0, 1),))
    with pytest.raises(CellError, match=r"7 nodes.*it has \['conv'\].*Its edges must be"):
        SPACE.validate(cell)


def test_neighbours_are_the_35_cells_that_differ_in_one_width(cells):
    near = SPACE.index_array(SPACE.pack(SPACE.neighbours(cells[12_345])))
    different = (cells.ops != cells.ops[12_345]).sum(1)
    assert sorted(near.tolist()) == np.flatnonzero(different == 1).tolist()
    assert len(near) == 35


class TestCost:
    @pytest.mark.parametrize(("classes", "pixels"), [(10, 32), (100, 32), (120, 16)])
    @pytest.mark.parametrize("text", ["8:8:8:8:8", "8:16:24:8:64", "64:64:40:40:8"])
    def test_is_that_of_the_network_built_in_torch(self, text, classes, pixels, measured):
        packed = SPACE.pack([SPACE.parse(text)])
        products, _, params = measured(network_of(text, classes), pixels)
        assert SPACE.params(packed, classes).tolist() == [params]
        assert SPACE.macs(packed, classes, pixels).tolist() == [products + classes]  # its bias

    def test_of_an_illegal_row_is_refused(self):
        rows = SPACE.pack([Cell(("input", *["width_8"] * 5, "output"), EDGES[1:])])
        for cost in (SPACE.params, SPACE.macs):
            with pytest.raises(CellError, match="Row 0 is not a legal NATS-Bench size cell"):
                cost(rows)


def network_of(text: str, classes: int):
    """The network of Dong et al. (2021) in torch."""
    from torch import nn

    def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, norm: bool = True) -> nn.Module:
        layer = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(nn.ReLU(), layer, nn.BatchNorm2d(c_out)) if norm else layer

    class CellModule(nn.Module):
        def __init__(self, c_in: int, c: int) -> None:
            super().__init__()
            self.first = nn.ModuleList([conv(c_in, c, 3), conv(c_in, c, 3)])
            self.later = nn.ModuleList([conv(c, c, 3) for _ in range(3)])
            self.skip = nn.Identity() if c_in == c else conv(c_in, c, 1)

        def forward(self, x):
            one = self.first[0](x)
            two = self.first[1](x) + self.later[0](one)
            return self.skip(x) + self.later[1](one) + self.later[2](two)

    class Residual(nn.Module):
        def __init__(self, c_in: int, c: int) -> None:
            super().__init__()
            self.body = nn.Sequential(conv(c_in, c, 3, 2), conv(c, c, 3))
            self.shortcut = nn.Sequential(nn.AvgPool2d(2), conv(c_in, c, 1, norm=False))

        def forward(self, x):
            return self.body(x) + self.shortcut(x)

    widths = list(map(int, text.split(":")))
    kinds = (CellModule, Residual, CellModule, Residual, CellModule)
    layers = [k(a, b) for k, a, b in zip(kinds, [widths[0], *widths], widths, strict=False)]
    return nn.Sequential(
        *(nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), *layers),
        *(nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(widths[-1], classes),
    )

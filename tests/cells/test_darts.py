"""The DARTS space against published networks, a network built in torch, and networkx."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from archrep.cells import Cell, CellArray, Darts, Genotype
from archrep.cells.darts import (
    CANDIDATES,
    CIFAR10,
    IMAGENET,
    MOBILE_LIMIT,
    NetworkShape,
    cell_to_pairs,
    network_cost,
    pairs_to_cell,
)
from archrep.errors import CellError, ConfigError, SpaceError

SPACE = Darts()
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
SEP3, SEP5, DIL3, DIL5 = "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"
MAX, SKIP = "max_pool_3x3", "skip_connect"
# Yan et al. (2020), Appendix C: the best cells of both searches
ARCH2VEC_RL = [
    *((SEP3, 0), (DIL3, 1), (MAX, 0), (DIL3, 1)),
    *((SKIP, 0), (SEP3, 1), (DIL5, 1), (SEP3, 0)),
]
ARCH2VEC_BO = [
    *((SEP5, 1), (MAX, 0), (SKIP, 0), (DIL3, 1)),
    *((SEP5, 1), (SEP3, 0), (DIL5, 2), (SEP3, 0)),
]
NO_BLOCK_IS_READ = [("none", 0), ("skip_connect", 1)] * 4


def random_spelling(cell: Cell, rng: np.random.Generator) -> Cell:
    """The same graph: blocks in another legal order, unused operations with other partners."""
    pairs = cell_to_pairs(cell)
    blocks = [pairs[k : k + 2] for k in range(0, 8, 2)]
    used = {source - 2 for _, source in pairs if source >= 2}
    loose = [pair for b in range(4) if b not in used for pair in blocks[b]]
    while True:
        rng.shuffle(loose)
        loose = [(str(op), int(source)) for op, source in loose]
        partners = [loose[k : k + 2] for k in range(0, len(loose), 2)]
        if all(first[1] != second[1] for first, second in partners):
            break
    named = [(b, blocks[b]) for b in used] + [(None, pair) for pair in partners]
    while True:
        order = rng.permutation(len(named))
        place = {named[n][0]: 2 + k for k, n in enumerate(order)}
        written = []
        for n in order:
            block = [(op, s if s < 2 else place[s - 2]) for op, s in named[n][1]]
            written += block if rng.random() < 0.5 else block[::-1]
        if all(source < 2 + k // 2 for k, (_, source) in enumerate(written)):
            return pairs_to_cell(written)


class TestText:
    def test_of_a_published_cell_is_its_eight_pairs(self):
        cell = SPACE.parse(str(ARCH2VEC_BO))
        assert cell_to_pairs(cell) == ARCH2VEC_BO
        assert SPACE.format(cell) == str(ARCH2VEC_BO)
        assert cell.predecessors(8) == (2, 3)  # block 3 reads both nodes of block 0

    def test_may_be_a_genotype_with_one_cell_in_two_spellings(self, rng):
        cell = pairs_to_cell(ARCH2VEC_BO)
        genotype = Genotype(cell, random_spelling(cell, rng))
        assert SPACE.parse(genotype.format()) == cell

    def test_of_a_genotype_with_two_cells_is_refused(self):
        with pytest.raises(CellError, match=r"one cell as both.*use `Genotype\.parse`"):
            SPACE.parse(DARTS_V2)

    @pytest.mark.parametrize(
        ("pairs", "complaint"),
        [
            (ARCH2VEC_BO[:-1], "written as 8 .operation, input. pairs"),
            (7, "written as 8 .operation, input. pairs"),
            ("abcdefgh", "written as 8 .operation, input. pairs"),
            ([("none", 0.5)] * 8, "written as 8 .operation, input. pairs"),
            ([("none", "0")] * 8, "written as 8 .operation, input. pairs"),
            ([("none", 2), *ARCH2VEC_BO[1:]], r"block 0 reads input 0\.\.1\. Got 2"),
            ([("none", -1), *ARCH2VEC_BO[1:]], r"block 0 reads input 0\.\.1\. Got -1"),
            ([*ARCH2VEC_BO[:-1], (SEP3, 2)], "block 3 must read different inputs"),
            ([*ARCH2VEC_BO[:-1], ("sëp", 0)], r"must be of \('none', .*has \['sëp'\]"),
        ],
    )
    def test_of_illegal_pairs_is_refused_with_the_reason(self, pairs, complaint):
        for refused in (lambda: pairs_to_cell(pairs), lambda: SPACE.parse(repr(pairs))):
            with pytest.raises(CellError, match=complaint):
                refused()

    @pytest.mark.parametrize(
        "text", ["[", "[('none', 0)", "{[]}", "[(none, 0)]", "-" * 100_000 + "1", "\0", "("]
    )
    def test_that_is_no_literal_is_refused_with_an_example(self, text):
        with pytest.raises(CellError, match=r"written as a list of 8 .*Genotype\(normal="):
            SPACE.parse(text)

    def test_with_an_infinite_input_is_refused(self):
        with pytest.raises(CellError, match="written as 8"):
            SPACE.parse("[" + "('none', 1e999)," * 8 + "]")

    def test_numpy_numbers_and_lists_will_do_in_place_of_pairs(self):
        pairs = [[np.str_(op), np.int64(source)] for op, source in ARCH2VEC_RL]
        assert pairs_to_cell(pairs) == pairs_to_cell(ARCH2VEC_RL)


class TestLegality:
    def test_inputs_must_not_read_each_other(self):
        cell = pairs_to_cell(ARCH2VEC_BO)
        bent = Cell(cell.ops, (*cell.edges, (0, 1)))
        assert not SPACE.is_legal(bent)
        assert not SPACE.legal(SPACE.pack([bent]))[0]

    @pytest.mark.parametrize(
        "edges", [((2, 8),), ((2, 8), (3, 8)), ((0, 3),), ((0, 10),), ((2, 3),)]
    )
    def test_toggled_edges_make_a_cell_illegal_in_both_answers(self, edges):
        cell = pairs_to_cell(ARCH2VEC_BO)
        bent = Cell(cell.ops, set(cell.edges) ^ set(edges))
        assert not SPACE.is_legal(bent)
        assert not SPACE.legal(SPACE.pack([bent]))[0]

    def test_a_genotype_with_none_belongs_to_the_space(self):
        assert SPACE.is_legal(pairs_to_cell(NO_BLOCK_IS_READ))


class TestCanonical:
    def test_equal_exactly_for_graphs_that_networkx_calls_isomorphic(self, rng, isomorphic):
        """Few operations, so that chance makes isomorphic pairs too."""
        found = {True: 0, False: 0}
        for n in range(400):
            cell = SPACE.sample(rng)
            ops = (*cell.ops[:2], *rng.choice(["none", "skip_connect"], 8, p=[0.9, 0.1]), "c_{k}")
            cell = Cell(ops, cell.edges)
            other = random_spelling(cell, rng)
            if n % 2:
                other = SPACE.mutate(other, rng)
            answer = isomorphic(cell, other)
            assert (SPACE.canonical(cell) == SPACE.canonical(other)) == answer
            assert cell.is_isomorphic(other) == answer
            found[answer] += 1
        assert min(found.values()) >= 150

    def test_is_legal_isomorphic_to_the_cell_and_puts_used_blocks_first(self, rng, isomorphic):
        for cell in itertools.islice(SPACE.walk(100, rng), 0, None, 5):
            canonical = SPACE.validate(SPACE.canonical(cell))
            assert isomorphic(cell, canonical)
            used = {source for _, source in cell_to_pairs(canonical) if source >= 2}
            assert used == set(range(2, 2 + len(used)))

    def test_does_not_depend_on_any_legal_spelling(self, rng):
        for pairs in (ARCH2VEC_BO, ARCH2VEC_RL, NO_BLOCK_IS_READ):
            cell = pairs_to_cell(pairs)
            spellings = [random_spelling(cell, rng) for _ in range(30)]
            assert len({SPACE.canonical(spelling) for spelling in spellings}) == 1

    def test_of_a_graph_that_no_order_of_nodes_makes_legal_is_refused(self):
        cell = pairs_to_cell(ARCH2VEC_BO)
        with pytest.raises(CellError, match="Not a legal DARTS cell"):
            SPACE.canonical(Cell(cell.ops[::-1], cell.edges))

    def test_of_an_array_with_an_illegal_row_is_refused(self):
        cells = SPACE.pack([pairs_to_cell(ARCH2VEC_BO)] * 3)
        for ops, bits, complaint in [
            (cells.ops, cells.adjacency_bits ^ np.array([0, 4, 0], np.uint64), "Each operation"),
            (
                cells.ops + np.array([[0], [1], [0]], np.uint8),
                cells.adjacency_bits,
                "Operation codes",
            ),
            (cells.ops, cells.adjacency_bits ^ np.array([0, 1 << 60, 0], np.uint64), "Unused"),
        ]:
            with pytest.raises(CellError, match=f"Row 1 is not a legal DARTS cell: {complaint}"):
                SPACE.canonical_array(CellArray(ops, bits, SPACE.ops))


class TestNeighbours:
    def test_do_not_depend_on_how_a_cell_is_written(self, rng):
        for pairs in (ARCH2VEC_BO, NO_BLOCK_IS_READ, cell_to_pairs(SPACE.sample(rng))):
            cell = pairs_to_cell(pairs)
            assert SPACE.neighbours(cell) == SPACE.neighbours(random_spelling(cell, rng))

    def test_are_what_one_change_in_some_spelling_gives(self, rng):
        for _ in range(3):
            cell = SPACE.sample(rng)
            found = set()
            for spelling in {random_spelling(cell, rng) for _ in range(60)}:
                pairs = cell_to_pairs(spelling)
                for k, (op, source) in enumerate(pairs):
                    changed = [(new, source) for new in CANDIDATES]
                    changed += [(op, s) for s in range(2 + k // 2) if s != pairs[k ^ 1][1]]
                    found |= {(*pairs[:k], pair, *pairs[k + 1 :]) for pair in changed}
            cells = SPACE.pack([pairs_to_cell(pairs) for pairs in found])
            near = set(SPACE.canonical_array(cells)) - {SPACE.canonical(cell)}
            assert set(SPACE.neighbours(cell)) == near


class TestStream:
    def test_keeps_the_mobile_limit_by_the_rule_it_is_given(self):
        cells = SPACE.sample_array(3000, seed=4)
        assert (network_cost(cells, rule="thop").macs < MOBILE_LIMIT).all()
        [loose] = SPACE.stream(3000, seed=4, macs_below=None)
        assert (network_cost(loose).macs > MOBILE_LIMIT).any()
        [strict] = SPACE.stream(50, seed=4, macs_below=3e8, rule="conv_linear")
        assert network_cost(strict).macs.max() < 3e8

    def test_cells_are_written_canonically(self):
        cells = SPACE.sample_array(500, seed=2)
        assert list(SPACE.canonical_array(cells)) == list(cells)

    def test_an_impossible_limit_is_refused(self, monkeypatch):
        monkeypatch.setattr("archrep.cells.darts._PATIENCE", 1)
        with pytest.raises(
            SpaceError, match=r"below 1\.0 .*16,384 draws gave no new one beyond 0\. Raise"
        ):
            next(SPACE.stream(5, macs_below=1.0))

    def test_an_unknown_rule_is_refused(self):
        with pytest.raises(ConfigError, match=r"'conv_linear' or 'thop'\. Got 'flops'"):
            next(SPACE.stream(5, rule="flops"))  # type: ignore[arg-type]

    def test_the_space_cannot_be_enumerated(self):
        for asked in (SPACE.enumerate, lambda: SPACE.index(pairs_to_cell(ARCH2VEC_BO))):
            with pytest.raises(SpaceError, match="DARTS is too large to enumerate"):
                asked()

    @pytest.mark.slow
    def test_gives_600_000_distinct_cells(self):
        cells = SPACE.sample_array(600_000)
        assert len(np.unique(cells.colour_hash())) == len(cells) == 600_000
        assert SPACE.legal(cells).all()


class TestCostOfPublishedNetworks:
    @pytest.mark.parametrize(
        ("shape", "params", "products", "thop"),
        [(CIFAR10, 3_349_342, 528.36e6, None), (IMAGENET, 4_718_752, 529.91e6, 538.19e6)],
        ids=["CIFAR-10", "ImageNet"],
    )
    def test_darts_v2(self, shape, params, products, thop):
        genotype = Genotype.parse(DARTS_V2)
        cost = network_cost(genotype, shape)
        assert cost.params == params
        assert cost.macs == pytest.approx(products, abs=5e3)
        if thop:
            assert network_cost(genotype, shape, rule="thop").macs == pytest.approx(thop, abs=5e3)

    @pytest.mark.parametrize(
        ("pairs", "macs", "params", "published"),
        [
            (ARCH2VEC_RL, 532.69e6, 4.818e6, (533, 4.8)),
            (ARCH2VEC_BO, 579.85e6, 5.180e6, (580, 5.2)),
        ],
        ids=["arch2vec-RL", "arch2vec-BO"],
    )
    def test_arch2vec_on_imagenet(self, pairs, macs, params, published):
        cost = network_cost(pairs_to_cell(pairs), rule="thop")
        assert cost.macs == pytest.approx(macs, abs=5e3)
        assert cost.params == pytest.approx(params, abs=500)
        assert (round(cost.macs / 1e6), round(cost.params / 1e6, 1)) == published


class TestCost:
    @pytest.mark.parametrize(
        "shape",
        [
            NetworkShape(cells=5, channels=6, image_size=16, classes=7, imagenet_stem=False),
            NetworkShape(cells=3, channels=3, image_size=8, classes=10, imagenet_stem=False),
            NetworkShape(cells=6, channels=4, image_size=64, classes=11, imagenet_stem=True),
        ],
        ids=["CIFAR", "odd width", "ImageNet"],
    )
    def test_is_that_of_the_network_built_in_torch(self, shape, rng, measured):
        cells = [pairs_to_cell(ARCH2VEC_BO), *(SPACE.sample(rng) for _ in range(3))]
        for normal, reduce in [*itertools.pairwise(cells), (cells[0], cells[0])]:
            genotype = Genotype(normal, reduce)
            products, thop, params = measured(network_of(genotype, shape), shape.image_size)
            assert network_cost(genotype, shape).params == params
            assert network_cost(genotype, shape).macs == products
            assert network_cost(genotype, shape, rule="thop").macs == products + thop

    def test_of_an_array_is_that_of_its_cells_and_of_their_genotypes(self):
        cells = SPACE.sample_array(20, seed=6)
        for rule in ("conv_linear", "thop"):
            together = network_cost(cells, rule=rule)
            alone = [network_cost(cell, rule=rule) for cell in cells]
            twice = [network_cost(Genotype(cell, cell), rule=rule) for cell in cells]
            assert together.macs.tolist() == [c.macs for c in alone] == [c.macs for c in twice]
            assert together.params.tolist() == [c.params for c in alone]

    def test_does_not_depend_on_how_a_cell_is_written(self, rng):
        cell = SPACE.sample(rng)
        assert network_cost(cell) == network_cost(random_spelling(cell, rng))

    def test_of_no_cells_is_empty(self):
        cost = network_cost(SPACE.pack([]))
        assert cost.macs.shape == cost.params.shape == (0,)

    def test_of_what_is_no_darts_cell_is_refused(self):
        foreign = Cell(("input", "output"), ((0, 1),))
        for wrong in (foreign, Genotype(foreign, foreign)):
            with pytest.raises(CellError, match="11 nodes; it has 2"):
                network_cost(wrong)
        with pytest.raises(CellError, match="has 11 node slots"):
            network_cost(CellArray(np.zeros((1, 7)), np.zeros(1), ("input", "output")))
        with pytest.raises(CellError, match="Row 0 is not a legal DARTS cell"):
            network_cost(CellArray(np.zeros((1, 11)), np.zeros(1), SPACE.ops))

    @pytest.mark.parametrize(
        ("channels", "image_size", "imagenet"), [(36, 30, False), (48, 100, True), (3, 224, True)]
    )
    def test_of_a_network_whose_shapes_do_not_halve_is_refused(
        self, channels, image_size, imagenet
    ):
        with pytest.raises(ConfigError, match=f"Got {image_size} and {channels}"):
            NetworkShape(4, channels, image_size, 10, imagenet)


def network_of(genotype: Genotype, shape: NetworkShape):
    """The evaluation network of Liu et al. (2019) in torch, without auxiliary head."""
    import torch
    from torch import nn

    def relu_conv_norm(c_in: int, c_out: int) -> nn.Module:
        return nn.Sequential(
            nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out)
        )

    def separable(c: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
        padding = dilation * (kernel // 2)
        depthwise = nn.Conv2d(c, c, kernel, stride, padding, dilation, groups=c, bias=False)
        return [nn.ReLU(), depthwise, nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)]

    class FactorizedReduce(nn.Module):
        def __init__(self, c_in: int, c_out: int) -> None:
            super().__init__()
            self.halves = nn.ModuleList(
                nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False) for _ in range(2)
            )
            self.norm = nn.BatchNorm2d(c_out)

        def forward(self, x):
            x = x.relu()
            parts = [self.halves[0](x), self.halves[1](x[:, :, 1:, 1:])]
            return self.norm(torch.cat(parts, 1))

    class Zero(nn.Module):
        def __init__(self, stride: int) -> None:
            super().__init__()
            self.stride = stride

        def forward(self, x):
            return 0 * x[:, :, :: self.stride, :: self.stride]

    def operation(op: str, c: int, stride: int) -> nn.Module:
        if op.startswith("sep_conv"):
            kernel = int(op[-1])
            return nn.Sequential(*separable(c, kernel, stride), *separable(c, kernel, 1))
        if op.startswith("dil_conv"):
            return nn.Sequential(*separable(c, int(op[-1]), stride, dilation=2))
        if op == "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
        return {
            "none": Zero(stride),
            "max_pool_3x3": nn.MaxPool2d(3, stride, 1),
            "avg_pool_3x3": nn.AvgPool2d(3, stride, 1, count_include_pad=False),
        }[op]

    class Stage(nn.Module):
        def __init__(self, before_last: int, last: int, c: int, reduce: bool, halved: bool) -> None:
            super().__init__()
            first = FactorizedReduce(before_last, c) if halved else relu_conv_norm(before_last, c)
            self.preprocess = nn.ModuleList([first, relu_conv_norm(last, c)])
            pairs = cell_to_pairs(genotype.reduce if reduce else genotype.normal)
            self.sources = [source for _, source in pairs]
            self.ops = nn.ModuleList(
                operation(op, c, 2 if reduce and source < 2 else 1) for op, source in pairs
            )

        def forward(self, before_last, last):
            states = [self.preprocess[0](before_last), self.preprocess[1](last)]
            for k in range(0, 8, 2):
                first, second = (self.ops[n](states[self.sources[n]]) for n in (k, k + 1))
                states.append(first + second)
            return torch.cat(states[2:], 1)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            c = shape.channels

            def conv_norm(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
                conv = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
                return [conv, nn.BatchNorm2d(c_out)]

            if shape.imagenet_stem:
                self.stem = nn.Sequential(
                    *conv_norm(3, c // 2, 2), nn.ReLU(), *conv_norm(c // 2, c, 2)
                )
                self.stem_1 = nn.Sequential(nn.ReLU(), *conv_norm(c, c, 2))
                widths, halved = [c, c], True
            else:
                self.stem, self.stem_1 = nn.Sequential(*conv_norm(3, 3 * c, 1)), nn.Identity()
                widths, halved = [3 * c, 3 * c], False
            self.stages = nn.ModuleList()
            for k in range(shape.cells):
                reduce = k in (shape.cells // 3, 2 * shape.cells // 3)
                c *= 2 if reduce else 1
                self.stages.append(Stage(*widths, c, reduce, halved))
                widths, halved = [widths[1], 4 * c], reduce
            self.classifier = nn.Linear(widths[1], shape.classes)

        def forward(self, x):
            before_last = self.stem(x)
            last = self.stem_1(before_last)
            for stage in self.stages:
                before_last, last = last, stage(before_last, last)
            return self.classifier(last.mean((2, 3)))

    return Network()

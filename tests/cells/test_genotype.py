"""Text of a genotype: as the DARTS code prints it, and never run."""

from __future__ import annotations

import pytest

from archrep.cells import Cell, Darts, Genotype
from archrep.errors import CellError

SPACE = Darts()
CELL = [("sep_conv_3x3", 0), ("skip_connect", 1)] * 4
OTHER = [("max_pool_3x3", 1), ("none", 0), ("dil_conv_5x5", 2), ("none", 0)] * 2
JOIN = "range(2, 6)"


def written(normal=CELL, normal_concat=JOIN, reduce=OTHER, reduce_concat=JOIN) -> str:
    return (
        f"Genotype(normal={normal}, normal_concat={normal_concat}, "
        f"reduce={reduce}, reduce_concat={reduce_concat})"
    )


def test_parsing_and_formatting_lead_back():
    genotype = Genotype.parse(written())
    assert genotype.format() == written()
    assert Genotype.parse(genotype.format()) == genotype
    assert (genotype.normal, genotype.reduce) == tuple(
        SPACE.parse(str(pairs)) for pairs in (CELL, OTHER)
    )


def test_random_genotypes_lead_back(rng):
    for _ in range(20):
        genotype = Genotype(SPACE.sample(rng), SPACE.sample(rng))
        assert Genotype.parse(genotype.format()) == genotype


@pytest.mark.parametrize(
    "text",
    [
        f"Genotype({CELL}, {JOIN}, {OTHER}, {JOIN})",
        f"  Genotype(reduce={OTHER},\n  normal={CELL})\n",
        written(normal_concat="[2, 3, 4, 5]", reduce_concat="(2,3,4,5)"),
        written(normal=str(CELL).replace("(", "[").replace(")", "]")),
    ],
    ids=["by position", "any order, without joins", "lists of blocks", "lists of pairs"],
)
def test_other_spellings_mean_the_same(text):
    assert Genotype.parse(text) == Genotype.parse(written())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "é",
        "Genotype",
        "Genotype()",
        f"Genotype(normal={CELL})",
        written().replace("Genotype", "Architecture"),
        written(normal="__import__('os').getcwd()"),
        written(normal="{[]}"),
        written()[:-1],
        "Genotype(" * 300,
        "Genotype(normal=" + "-" * 100_000 + "1)",
        "\0",
    ],
)
def test_other_text_is_refused_with_an_example(text):
    with pytest.raises(CellError, match=r"written as Genotype\(normal=\[.*Got "):
        Genotype.parse(text)


@pytest.mark.parametrize("concat", ["[4, 5]", "range(2, 7)", "5", "print(1)"])
def test_a_cell_that_joins_other_blocks_is_refused(concat):
    with pytest.raises(CellError, match=r"joins all four blocks: .* range\(2, 6\)\. Got "):
        Genotype.parse(written(reduce_concat=concat))


def test_an_illegal_cell_is_refused_with_the_reason():
    with pytest.raises(CellError, match="block 0 must read different inputs"):
        Genotype.parse(written(normal=[("none", 0)] * 8))


def test_cells_of_another_space_cannot_be_written():
    cell = Cell(("input", "output"), ((0, 1),))
    with pytest.raises(CellError, match="11 nodes; it has 2"):
        Genotype(cell, cell).format()

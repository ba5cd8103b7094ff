"""A genotype: the normal and the reduction cell that a search in the DARTS space ends with."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from archrep.cells.cell import Cell
from archrep.errors import CellError, NotationError

GENOTYPE_EXAMPLE = (
    "Genotype(normal=[('sep_conv_3x3', 1), ... 8 pairs], normal_concat=range(2, 6), "
    "reduce=[... 8 pairs], reduce_concat=range(2, 6))"
)
_ALL_BLOCKS = ("range(2, 6)", "[2, 3, 4, 5]", "(2, 3, 4, 5)")


@dataclass(frozen=True)
class Genotype:
    """Two cells of the DARTS space.

    Both concatenate all four blocks.

    Attributes:
        normal: Cell that keeps the resolution.
        reduce: Cell that halves it.
    """

    normal: Cell
    reduce: Cell

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """Genotype of the text that the DARTS code prints; read as literals, never executed.

        Raises:
            CellError: The text is no genotype, or a cell of it is not legal.
        """
        from archrep.cells.darts import pairs_to_cell

        try:
            call = ast.parse(text.strip(), mode="eval").body
            if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "Genotype"):
                raise TypeError
            names = ("normal", "normal_concat", "reduce", "reduce_concat")
            values = dict(zip(names, call.args, strict=False))
            values |= {word.arg: word.value for word in call.keywords if word.arg}
            normal, reduce = (ast.literal_eval(values[name]) for name in ("normal", "reduce"))
            joined = [ast.unparse(values[name]) for name in names if "_" in name and name in values]
        except (SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError):
            raise NotationError(
                f"A genotype is written as {GENOTYPE_EXAMPLE}. Got {text[:100]!r}."
            ) from None
        if partial := [blocks for blocks in joined if blocks not in _ALL_BLOCKS]:
            raise CellError(
                "A DARTS cell joins all four blocks: `normal_concat` and `reduce_concat` must be "
                f"range(2, 6). Got {partial[0][:100]}."
            )
        return cls(pairs_to_cell(normal), pairs_to_cell(reduce))

    def format(self) -> str:
        """Text in the notation of the DARTS code."""
        from archrep.cells.darts import cell_to_pairs

        return (
            f"Genotype(normal={cell_to_pairs(self.normal)}, normal_concat=range(2, 6), "
            f"reduce={cell_to_pairs(self.reduce)}, reduce_concat=range(2, 6))"
        )

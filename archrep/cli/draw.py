"""`archrep draw`: cells as pictures."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from archrep.cli.options import parse_options
from archrep.errors import CellError, ConfigError, NotationError

if TYPE_CHECKING:
    from archrep.cells.cell import Cell

EXAMPLES = """examples:
  archrep draw 28cfc7874f6d200472e1a9dcd8650aa0 --out cell.svg
  archrep draw "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|" > cell.svg
  archrep draw --space nasbench201 6111 9930 14581 --out three.png"""


@dataclass(frozen=True)
class Options:
    """Draw cells of any space, each from its inputs to its output.

    One cell without `--out` is printed as SVG. Several become one picture, in rows.
    """

    cells: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CELL")]
    """In the notation of their space, by hash or index; of a DARTS genotype both cells."""
    space: str | None = None
    """Their space; by default the one in whose notation they are written."""
    out: Path | None = None
    """File to write: .svg, .png or .pdf."""
    direction: Literal["down", "right"] | None = None
    """From input to output; by default right for cells with several inputs."""
    columns: int = 6
    """Cells in a row, where there are several."""
    dark: bool = False
    """Draw on a dark page; SVG of one cell has no page of its own."""


def main(argv: list[str]) -> int:
    """Run the command; see `Options`."""
    options = parse_options(Options, "draw", argv, EXAMPLES)
    if not options.cells:
        raise ConfigError("Name a cell. `archrep draw --help` has examples.")
    from archrep.plots.cell import cell_svg, draw_cells
    from archrep.plots.style import check_file, house_style, save_figure

    if options.out is not None:
        check_file(options.out)
    drawn = [pair for text in options.cells for pair in cells_of(text, options.space)]
    titles, cells = [title for title, _ in drawn], [cell for _, cell in drawn]
    if options.out is None or (len(cells) == 1 and options.out.suffix == ".svg"):
        if len(cells) > 1:
            raise ConfigError(f"{len(cells)} cells need `--out FILE`, .svg, .png or .pdf.")
        text = cell_svg(cells[0], direction=options.direction)
        if options.out is None:
            print(text)
            return 0
        from archrep.files import make_folder, write_atomically

        make_folder(options.out.parent)
        write_atomically(options.out, lambda aside: aside.write_text(text + "\n"))
    else:
        with house_style(options.dark):
            figure = draw_cells(
                cells,
                titles=titles if len(cells) > 1 else None,
                columns=options.columns,
                direction=options.direction,
            )
            save_figure(figure, options.out)
    print(json.dumps({"out": str(options.out), "cells": len(cells)}))
    print(f"Drawn: {options.out}", file=sys.stderr)
    return 0


def cells_of(text: str, space: str | None) -> list[tuple[str, Cell]]:
    """Cells that a text stands for, with titles; a genotype of DARTS has two.

    Raises:
        CellError: It is written in the notation of no space, or of several.
    """
    from archrep.cells.genotype import Genotype
    from archrep.cells.registry import SPACES, get_space

    title = text if len(text) <= 24 else f"{text[:21]}..."
    if text.lstrip().startswith("Genotype"):
        genotype = Genotype.parse(text)
        return [("normal", genotype.normal), ("reduction", genotype.reduce)]
    if space is not None:
        own = get_space(space)
        return [(title, own.validate(own.parse(text)))]
    found, illegal = {}, []
    for name, candidate in SPACES.items():
        try:
            found[name] = candidate.parse(text)
        except NotationError:
            continue
        except CellError as error:
            illegal.append(error)
    if not found and illegal:  # written as a cell of these spaces, and none of them
        raise CellError(" Or: ".join(str(error) for error in illegal))
    if not found:
        raise CellError(
            f"Expected a cell in the notation of {', '.join(SPACES)}. Got {text[:80]!r}. "
            "`archrep cells SPACE --count 1` shows how one is written."
        )
    if len(found) > 1:
        raise CellError(
            f"{text[:80]!r} is a cell of {' and of '.join(found)}. Say which: `--space NAME`."
        )
    return [(title, cell) for cell in found.values()]

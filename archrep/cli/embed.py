"""`archrep embed`: turn cells into vectors."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from archrep.cli.options import parse_options
from archrep.errors import CellError, ConfigError

EXAMPLES = """examples:
  archrep embed nasbench201 6111 9930
  archrep cells nasbench101 --count 1000 | archrep embed nasbench101 > vectors.jsonl
  archrep embed runs/darts --all --out darts.safetensors"""

CHUNK = 4096


@dataclass(frozen=True)
class Options:
    """Embed cells with a trained encoder.

    Prints one JSON line a cell, `{"cell": ..., "embedding": [...]}`, in bounded memory.
    """

    encoder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENCODER")]
    """Run directory, or a space whose encoder comes with the package."""
    cells: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CELL")] = ()
    """In the space's notation; none: one a line from standard input."""
    all: bool = False
    """Embed every cell of the space instead (the run's sample, if it is not enumerated)."""
    out: Path | None = None
    """With --all: the safetensors file to write."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to compute."""


def main(argv: list[str]) -> int:
    """Run the command; see `Options`."""
    options = parse_options(Options, "embed", argv, EXAMPLES)
    if options.all != (options.out is not None):
        raise ConfigError("`--all` and `--out FILE.safetensors` go together. Got one of them.")
    if options.all and options.cells:
        raise ConfigError("Name cells, or pass `--all`; not both.")
    from archrep.embeddings import EmbeddingTable, load_encoder

    encoder = load_encoder(options.encoder, options.device)
    if options.out is not None:
        from archrep.encoder.pretrain import load_cells

        cells = load_cells(encoder.config)
        table = EmbeddingTable(encoder.embed(cells), cells, encoder.space.name)
        table.save(options.out)
        rows, size = table.embeddings.shape
        print(json.dumps({"out": str(options.out), "cells": rows, "latent_dim": size}))
        return 0
    for chunk in _chunks(options.cells):
        parsed = []
        for number, text in chunk:
            try:
                parsed.append(encoder.space.parse(text))
            except CellError as error:
                raise CellError(f"Cell {number}: {error}") from None
        for (_, text), vector in zip(chunk, encoder.embed(parsed).tolist(), strict=True):
            print(json.dumps({"cell": text, "embedding": vector}))
    return 0


def _chunks(cells: tuple[str, ...]) -> Iterator[list[tuple[int, str]]]:
    lines = cells or (line.strip() for line in sys.stdin)
    numbered = ((n, text) for n, text in enumerate(lines, 1) if text)
    while chunk := list(itertools.islice(numbered, CHUNK)):
        yield chunk

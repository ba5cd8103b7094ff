"""`archrep decode`: turn vectors into cells."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from archrep.cli.options import parse_options
from archrep.errors import ConfigError, ShapeError

EXAMPLES = """examples:
  archrep embed nasbench201 6111 | archrep decode nasbench201
  echo "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]" | archrep decode nasbench101"""

CHUNK = 1024


@dataclass(frozen=True)
class Options:
    """Decode vectors from standard input, one JSON list (or a line of `archrep embed`) a line.

    Prints one JSON line a vector: `{"cell": ...}` in the space's notation, or null if no legal cell
    was found near it.
    """

    encoder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENCODER")]
    """Run directory of preset archrep, or a space whose encoder comes with the package."""
    candidates: int = 64
    """Cells considered for each vector; 1 takes the likeliest as it is."""
    refine: bool = False
    """Then step over neighbouring cells as long as that leads closer to the vector."""


def main(argv: list[str]) -> int:
    """Run the command; see `Options`."""
    options = parse_options(Options, "decode", argv, EXAMPLES)
    if options.candidates < 1:
        raise ConfigError(f"`candidates` must be at least 1. Got {options.candidates}.")
    import numpy as np

    from archrep.embeddings import load_encoder

    encoder = load_encoder(options.encoder)
    for chunk in _chunks(encoder.latent_dim):
        cells = encoder.decode(
            np.array(chunk), candidates=options.candidates, refine=options.refine
        )
        for cell in cells:
            text = None if cell is None else encoder.space.format(cell)
            print(json.dumps({"cell": text}))
    return 0


def _chunks(size: int) -> Iterator[list[list[float]]]:
    numbered = ((n, line) for n, line in enumerate(sys.stdin, 1) if line.strip())
    vectors = (_read_vector(line, n, size) for n, line in numbered)
    while chunk := list(itertools.islice(vectors, CHUNK)):
        yield chunk


def _read_vector(line: str, number: int, size: int) -> list[float]:
    try:
        value: Any = json.loads(line)
        if isinstance(value, dict):
            value = value["embedding"]
        vector = [float(x) for x in value]
    except (ValueError, TypeError, KeyError, OverflowError):
        raise ShapeError(
            f"Line {number}: expected a JSON list of {size} numbers. Got {line.strip()[:60]!r}."
        ) from None
    if len(vector) != size:
        raise ShapeError(f"Line {number}: expected {size} numbers. Got {len(vector)}.")
    return vector

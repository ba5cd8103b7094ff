"""What a model sees of a cell: learned embeddings, raw adjacency with operations, or paths."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from archrep.candidates import Candidates
from archrep.cells.array import CellArray, node_pairs
from archrep.errors import RunError, UnknownNameError


def adjacency_encoding(cells: CellArray) -> np.ndarray:
    """Upper triangle of the adjacency matrix and one-hot operations, `[N, V (V - 1) / 2 + V O]`.

    White et al. (2020), "A Study on Encodings for Neural Architecture Search", "adjacency matrix
    encoding". Columns that are the same for all cells, such as the fixed graph of NAS-Bench-201,
    are left out.
    """
    edges = [cells.edge(i, j) for i, j in node_pairs(cells.max_nodes)]
    ops = [
        cells.ops[:, v] == code
        for v in range(cells.max_nodes)
        for code in range(len(cells.vocabulary))
    ]
    return _varying(np.stack(edges + ops, 1))


def path_encoding(cells: CellArray, *, max_length: int = 3) -> np.ndarray:
    """Which sequences of operations lead from an input to the output, `[N, P]` of 0 and 1.

    White et al. (2021), "BANANAS", section 4: one column for each sequence of operations along a
    path. Columns that are the same for all cells are left out.

    Args:
        cells: N cells.
        max_length: Longest path, in inner nodes; longer paths are left out, as in the truncated
            encoding of the paper. 3 is all of NAS-Bench-201, 5 all of NAS-Bench-101.
    """
    counts = _count_paths(cells, max_length, reduce=False)
    return _varying(np.stack([counts[key] > 0 for key in sorted(counts)], 1))


def function_encoding(cells: CellArray, *, max_length: int = 5) -> np.ndarray:
    """How many paths apply each sequence of operations to an input, `[N, P]`.

    Like `path_encoding`, but of what a cell computes rather than of how it is written: a path
    through `none` carries nothing and is left out, `skip_connect` passes its input on and leaves no
    trace in the sequence, and equal sequences are counted, since outputs of paths are added up.
    Without such operations, as in NAS-Bench-101, it counts the paths of `path_encoding`.

    Args:
        cells: N cells.
        max_length: Longest path, in inner nodes.
    """
    counts = _count_paths(cells, max_length, reduce=True)
    return _varying(np.stack([counts[key] for key in sorted(counts)], 1))


ZERO, IDENTITY = "none", "skip_connect"
"""Operations whose output is zero, or their input."""


def _count_paths(
    cells: CellArray, max_length: int, *, reduce: bool
) -> dict[tuple[int, ...], np.ndarray]:
    """Number of paths with each sequence of operation codes, `[N]`; the first code is the input's.

    Args:
        cells: N cells.
        max_length: Longest path, in inner nodes.
        reduce: Drop paths that carry nothing and operations that do nothing.
    """
    base = len(cells.vocabulary) + 1
    code_of = {op: code for code, op in enumerate(cells.vocabulary)}
    last, at = cells.num_nodes - 1, np.arange(len(cells))
    adjacency = cells.adjacency.astype(bool)
    counts: dict[tuple[int, ...], np.ndarray] = {}
    for source in range(cells.max_nodes - 1):
        is_input = ~adjacency[:, :, source].any(1) & (source < last)
        if not is_input.any():
            continue
        for length in range(max_length + 1):
            for inner in combinations(range(source + 1, cells.max_nodes - 1), length):
                exists = is_input & adjacency[at, (source, *inner)[-1], last]
                for a, b in pairwise((source, *inner)):
                    exists &= adjacency[:, a, b]
                rows = np.flatnonzero(exists)
                sequence = np.zeros(len(rows), np.int64)
                carries = np.ones(len(rows), bool)
                for v in inner:
                    ops = cells.ops[rows, v].astype(np.int64)
                    longer = sequence * base + ops + 1
                    if reduce:
                        longer = np.where(ops == code_of.get(IDENTITY, -1), sequence, longer)
                        carries &= ops != code_of.get(ZERO, -1)
                    sequence = longer
                rows, sequence = rows[carries], sequence[carries]
                for label in np.unique(sequence).tolist():
                    column = counts.setdefault((source, label), np.zeros(len(cells), np.float32))
                    column[rows[sequence == label]] += 1
    return counts


def _varying(columns: np.ndarray) -> np.ndarray:
    """Those columns that tell cells apart, as float32."""
    return columns[:, (columns != columns[:1]).any(0)].astype(np.float32)


RAW_ENCODINGS: dict[str, Callable[[CellArray], np.ndarray]] = {
    "adjacency": adjacency_encoding,
    "path": path_encoding,
    "function": function_encoding,
}
"""Encodings that are computed from the cells alone, by name."""


def encode(candidates: Candidates, encoding: str | Path) -> Candidates:
    """Candidates with the vectors of an encoding.

    Args:
        candidates: The cells.
        encoding: `"archrep"`, the encoder of the space that comes with the package; a name of
            `RAW_ENCODINGS`; or a run directory of `archrep pretrain`, or its embeddings file.

    Raises:
        UnknownNameError: No such encoding.
        RunError: A file is damaged, or holds cells of another space or not all that are needed.
    """
    if str(encoding) in RAW_ENCODINGS:
        return candidates.with_features(
            RAW_ENCODINGS[str(encoding)](candidates.cells), str(encoding)
        )
    if str(encoding) == "archrep":
        from archrep.embeddings import load_encoder

        encoder = load_encoder(candidates.space.name)
        return candidates.with_features(encoder.embed(candidates.cells), "archrep")
    path = Path(encoding)
    if not path.exists():
        known = ", ".join(["archrep", *RAW_ENCODINGS])
        raise UnknownNameError(
            f"An encoding is one of {known}, or a run directory of `archrep pretrain`. "
            f"Got {str(encoding)!r}."
        )
    return candidates.with_features(_vectors_of_run(candidates, path), _name_of_run(path))


def _vectors_of_run(candidates: Candidates, path: Path) -> np.ndarray:
    from archrep.embeddings import EmbeddingTable

    table = EmbeddingTable.load(path / "embeddings.safetensors" if path.is_dir() else path)
    if table.space != candidates.space.name:
        raise RunError(
            f"Expected embeddings of {candidates.space.title} cells in {path}. "
            f"Got those of {table.space!r}."
        )
    row_of = {int(key): row for row, key in enumerate(table.cells.colour_hash())}
    rows = [row_of.get(int(key), -1) for key in candidates.cells.colour_hash()]
    if -1 in rows:
        raise RunError(
            f"Expected embeddings of all {len(rows):,} cells in {path}. Cell {rows.index(-1)} is "
            "missing; embed all cells with `archrep pretrain` or `archrep embed`."
        )
    return table.embeddings[rows]


def _name_of_run(path: Path) -> str:
    from archrep.encoder.config import PretrainConfig
    from archrep.files import read_json

    folder = path if path.is_dir() else path.parent
    if not (folder / "config.json").exists():
        return path.name
    config = PretrainConfig.from_dict(read_json(folder / "config.json", "a run's configuration"))
    return f"{folder.resolve().name} ({config.preset})"

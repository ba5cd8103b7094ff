"""What a model sees of a cell: learned embeddings, raw adjacency with operations, or paths."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from archrep.candidates import Candidates
from archrep.cells.array import PAD, CellArray, node_pairs
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
    count, base = cells.num_nodes, len(cells.vocabulary)
    present: dict[int, np.ndarray] = {}
    adjacency = cells.adjacency.astype(bool)
    at = np.arange(len(cells))
    for source in range(cells.max_nodes - 1):
        if (starts := _inputs(cells, source, adjacency)) is None:
            continue
        later = range(source + 1, cells.max_nodes - 1)
        for length in range(max_length + 1):
            for inner in combinations(later, length):
                exists = starts.copy()
                for a, b in pairwise((source, *inner)):
                    exists &= adjacency[:, a, b]
                exists &= adjacency[at, (source, *inner)[-1], count - 1]
                if inner:
                    exists &= inner[-1] < count - 1
                if not exists.any():
                    continue
                code = np.full(len(cells), source + 1, np.int64)
                for v in inner:
                    code = code * base + cells.ops[:, v]
                rows = np.flatnonzero(exists)
                for label in np.unique(code[rows]).tolist():
                    column = present.setdefault(
                        label * 16 + length, np.zeros(len(cells), bool)
                    )
                    column[rows[code[rows] == label]] = True
    return _varying(np.stack([present[key] for key in sorted(present)], 1))


def _inputs(cells: CellArray, v: int, adjacency: np.ndarray) -> np.ndarray | None:
    """Which cells have an input at node v, `[N]`; `None` if no cell has."""
    isolated = ~adjacency[:, :, v].any(1) & (cells.ops[:, v] != PAD)
    return isolated if isolated.any() else None


def _varying(columns: np.ndarray) -> np.ndarray:
    """Those columns that tell cells apart, as float32."""
    return columns[:, (columns != columns[:1]).any(0)].astype(np.float32)


RAW_ENCODINGS: dict[str, Callable[[CellArray], np.ndarray]] = {
    "adjacency": adjacency_encoding,
    "path": path_encoding,
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
        return candidates.with_features(RAW_ENCODINGS[str(encoding)](candidates.cells), str(encoding))
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
        return path.stem
    config = PretrainConfig.from_dict(read_json(folder / "config.json", "a run's configuration"))
    return config.preset

"""Trained encoders and the tables of vectors they make: load, embed, decode, save, look up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_tensors

from archrep.cells.array import CellArray
from archrep.cells.cell import Cell
from archrep.cells.registry import get_space
from archrep.cells.space import Space
from archrep.devices import resolve_device
from archrep.encoder.config import PretrainConfig
from archrep.encoder.models import Autoencoder, build_model
from archrep.errors import RunError, ShapeError, SpaceError, UnknownNameError
from archrep.files import read_json, write_atomically
from archrep.graphs import PackedGraphs, unpack_decoded

PRETRAINED = Path(__file__).parent / "encoder" / "pretrained"
"""Encoders that come with the package, one folder a space."""


class TrainedEncoder:
    """An encoder that has been trained, ready to embed and decode.

    Example:
        >>> encoder = load_encoder("nasbench201")
        >>> encoder.embed(["0", "15624"]).shape
        (2, 16)
    """

    def __init__(self, model: Autoencoder, config: PretrainConfig, space: Space) -> None:
        self.model, self.config, self.space = model.eval(), config, space

    @property
    def latent_dim(self) -> int:
        """Size D of an embedding."""
        return self.config.model.latent_dim

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def to(self, device: str | torch.device) -> TrainedEncoder:
        """The same encoder on another device."""
        self.model.to(device)
        return self

    def pack(self, cells: CellArray | Cell | str | Iterable[Cell | str]) -> CellArray:
        """Legal cells of this encoder's space, from cells or their official notation.

        Raises:
            CellError: A text is not of the notation or a cell is not legal.
        """
        if isinstance(cells, CellArray):
            self.space.check_columns(cells)
            return cells
        if isinstance(cells, (Cell, str)):
            cells = [cells]
        parsed = [self.space.parse(c) if isinstance(c, str) else c for c in cells]
        return self.space.pack([self.space.validate(cell) for cell in parsed])

    @torch.no_grad()
    def embed(
        self, cells: CellArray | Cell | str | Iterable[Cell | str], *, batch_size: int = 512
    ) -> np.ndarray:
        """Embeddings `[N, D]` of float32, in the order of the cells.

        Isomorphic cells have equal embeddings up to float32 rounding. Computed in float32 whatever
        the training precision was; memory is one batch beside the result.
        """
        packed = self.pack(cells)
        graphs = PackedGraphs(packed, self.device)
        result = np.empty((len(packed), self.latent_dim), np.float32)
        for start in range(0, len(packed), batch_size):
            rows = slice(start, min(start + batch_size, len(packed)))
            result[rows] = self.model.embed(graphs.batch(rows)).cpu().numpy()
        return result

    def decode(
        self, embeddings: np.ndarray, *, candidates: int = 64, refine: bool = False
    ) -> list[Cell | None]:
        """The legal cells nearest to embeddings, or `None` where none was found.

        The decoder's likeliest cell and draws from its distribution are encoded again and the legal
        one that lands closest is taken.

        Args:
            embeddings: `[N, D]`.
            candidates: Cells considered for each embedding; 1 takes the likeliest.
            refine: Then step over neighbouring cells as long as that leads closer; some 50 ms each.

        Raises:
            SpaceError: The preset has one latent a node, which an embedding does not determine.
            ShapeError: The vectors are not of size D or not finite.
        """
        from archrep.encoder.metrics import verified_decode

        if not self.model.decodes_embeddings:
            raise SpaceError(
                f"Embeddings of preset {self.config.preset!r} are pooled from node latents and "
                "cannot be decoded. Use an encoder of preset 'archrep'."
            )
        vectors = np.asarray(embeddings, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.latent_dim:
            raise ShapeError(f"Embeddings must be [N, {self.latent_dim}]. Got {vectors.shape}.")
        if not np.isfinite(vectors).all():
            raise ShapeError("Embeddings must be finite. Got a NaN or an infinity.")
        if not len(vectors):
            return []
        latents = torch.from_numpy(vectors).to(self.device)
        decoded, legal = verified_decode(
            self.model, self.space, latents, candidates=candidates, refine=refine
        )
        cells = unpack_decoded(decoded.ops, decoded.adjacency, self.space.ops)
        return [cells[n] if fine else None for n, fine in enumerate(legal)]


def load_encoder(source: str | Path, device: str = "cpu") -> TrainedEncoder:
    """Encoder of a run directory, or the one that comes with the package for a space.

    Args:
        source: A directory with `config.json` and `weights.safetensors`, or a space's name.
        device: Where to put the weights.

    Raises:
        UnknownNameError: Neither a directory nor a packaged encoder.
        RunError: The directory is incomplete or its weights do not fit its configuration.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = PRETRAINED / str(source)
        if not folder.is_dir():
            known = sorted(p.name for p in PRETRAINED.glob("*") if p.is_dir())
            raise UnknownNameError(
                f"An encoder is a run directory or one of {', '.join(known) or 'none packaged'}. "
                f"Got {str(source)!r}."
            )
    config = PretrainConfig.from_dict(read_json(folder / "config.json", "a run's configuration"))
    space = get_space(config.space)
    weights = folder / "weights.safetensors"
    if not weights.exists():
        raise RunError(f"Expected trained weights in {weights}. Finish the run with `--resume`.")
    model = build_model(config.model, space, config.seed)
    try:
        model.load_state_dict(load_tensors(weights))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise RunError(
            f"Expected the weights of this run's configuration in {weights}, and they cannot be "
            f"read ({str(error).splitlines()[0][:100]}). Train the run again."
        ) from None
    return TrainedEncoder(model.to(resolve_device(device)), config, space)


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings of many cells: what a strategy walks.

    Attributes:
        embeddings: `[N, D]` of float32.
        cells: The cells, one a row.
        space: Name of their space.
    """

    embeddings: np.ndarray
    cells: CellArray
    space: str

    def save(self, path: str | Path, metadata: dict[str, str] | None = None) -> None:
        """Write a safetensors file, atomically.

        It holds `embeddings` `[N, D]`, the cells as `ops` `[N, V]` and `adjacency_bits` `[N]`, and
        `cell_ids` `[N]`: official indices, or row numbers where a space has none.
        """
        arrays = {
            "embeddings": np.ascontiguousarray(self.embeddings),
            "ops": np.ascontiguousarray(self.cells.ops),
            "adjacency_bits": np.ascontiguousarray(self.cells.adjacency_bits.view(np.int64)),
            "cell_ids": self.cell_ids,
        }
        about = {"space": self.space, "vocabulary": self.cells.vocabulary} | (metadata or {})
        # One entry: safetensors writes several in an order that changes from process to process.
        header = {"archrep": json.dumps(about)}
        write_atomically(Path(path), lambda temporary: save_arrays(arrays, temporary, header))

    @classmethod
    def load(cls, path: str | Path) -> EmbeddingTable:
        """Read what `save` wrote.

        Raises:
            RunError: The file is missing, damaged or not of this kind.
        """
        try:
            with safe_open(path, "numpy") as file:
                about = json.loads((file.metadata() or {})["archrep"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            cells = CellArray(
                arrays["ops"],
                arrays["adjacency_bits"].view(np.uint64),
                tuple(about["vocabulary"]),
            )
            return cls(arrays["embeddings"], cells, about["space"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise RunError(
                f"Expected an embeddings file of archrep in {path}, and it cannot be read: {error}."
            ) from None

    @cached_property
    def cell_ids(self) -> np.ndarray:
        """Official index of each cell where the space has one, else the row, `[N]` of int64."""
        space = get_space(self.space)
        if space.size is None:
            return np.arange(len(self.cells))
        return space.index_array(self.cells)

    @cached_property
    def cells_sha256(self) -> str:
        """What tells the cells, in their order, from those of another file."""
        digest = hashlib.sha256(" ".join(self.cells.vocabulary).encode())
        digest.update(np.ascontiguousarray(self.cells.ops).tobytes())
        digest.update(np.ascontiguousarray(self.cells.adjacency_bits).tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.embeddings)

    def nearest(
        self, queries: np.ndarray | Sequence[Sequence[float]], k: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the k nearest embeddings and their Euclidean distances, `[Q, k]` each.

        Raises:
            ShapeError: The queries are not `[Q, D]`, or k is not in 1..N.
        """
        queries = np.asarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.embeddings.shape[1]:
            raise ShapeError(
                f"`queries` must be [Q, {self.embeddings.shape[1]}]. Got {queries.shape}."
            )
        if not 1 <= k <= len(self):
            raise ShapeError(f"`k` must lie in 1..{len(self)}. Got {k}.")
        distances, rows = self._tree.query(queries, k=range(1, k + 1))
        return rows, distances

    @cached_property
    def _tree(self):  # type: ignore[no-untyped-def]
        from scipy.spatial import cKDTree

        return cKDTree(self.embeddings)


def load_embeddings(run: Path) -> tuple[EmbeddingTable, str]:
    """Embeddings of a run directory or of a file, and a description of where they come from.

    Raises:
        RunError: There are none, or the file is damaged or of something else.
        UnknownNameError: They are of a space that is not registered.
    """
    file = run / "embeddings.safetensors" if run.is_dir() else run
    if run.is_dir() and not file.exists():
        raise RunError(
            f"{run} holds no embeddings.safetensors. RUN is a finished run of `archrep pretrain`, "
            "or an embeddings file."
        )
    table = EmbeddingTable.load(file)
    try:
        get_space(table.space)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"{error} If it is of your own, pass `--import MODULE` before the command."
        ) from None
    if table.embeddings.ndim != 2 or len(table.embeddings) != len(table.cells):
        raise RunError(f"{file} does not hold one embedding a cell. Make it anew.")
    if not len(table) or not np.isfinite(table.embeddings).all():
        raise RunError(
            f"{file} must hold finite embeddings of one cell at least. Did the training diverge?"
        )
    name = file.resolve().parent.name if file.name == "embeddings.safetensors" else file.stem
    config = file.parent / "config.json"
    if file.name == "embeddings.safetensors" and config.exists():
        about = read_json(config, "a run's configuration")
        if isinstance(about, dict) and "preset" in about:
            name += f" (preset {about['preset']}, seed {about.get('seed')})"
    return table, name

"""A surrogate of NAS-Bench-301: a small network that predicts how a DARTS genotype would train.

It was published with the data of YAHPO Gym (Pfisterer et al., 2022; first version, 2021) and fitted
to the learning curves of NAS-Bench-301 (Zela et al., 2022): networks of 8 cells and 32 channels on
CIFAR-10. It is not one of the ensembles of NAS-Bench-301, whose scale differs (mean validation
accuracy 0.931 for the XGBoost ensemble, 0.944 here) while ranks agree (Spearman 0.90). NumPy only.

Three towers of affine layers with SELU between them read the same input h and are summed:

    h = (34 embeddings, epoch * scale[0]);  s = sigmoid(wide(h) + deep(h) + deeper(h))
    accuracy in percent = s[0] / scale[1];  seconds = (s[1] - scale[1]) * scale[2] + scale[3]

The embeddings are of 14 edges a cell (an operation or none) and of the input pairs of its last
three nodes. All of them belong to one block of one cell, so that a first layer is a sum over eight
blocks, each with at most 10 * 8 * 8 values: it is tabulated.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from archrep.cells.array import CellArray
from archrep.cells.cell import Cell
from archrep.cells.darts import BLOCKS, CANDIDATES, Darts
from archrep.cells.genotype import Genotype
from archrep.errors import CellError, TableError, UnmeasuredError
from archrep.files import make_folder, write_atomically
from archrep.tables.file import TableInfo, content_hash
from archrep.tables.view import QueryResult

if TYPE_CHECKING:
    from archrep.tables.paid import PaidSurrogate

LAST_EPOCH = 98
"""A training with the 100-epoch schedule of NAS-Bench-301 reports this many epochs."""

CellLike = Cell | Genotype | str
"""What a query takes: a genotype, a cell for both of its cells, or the text of either."""

INFO = TableInfo(
    name="nasbench301",
    title="NAS-Bench-301 surrogate (YAHPO Gym network)",
    space="darts",
    source="slds-lmu/yahpo_data, nb301/new_model.onnx of October 2021",
    licence="Apache-2.0",
    citation=(
        "Zela et al. (2022), Surrogate NAS Benchmarks: Going Beyond the Limited Search Spaces of "
        "Tabular NAS Benchmarks; Pfisterer et al. (2022), YAHPO Gym"
    ),
    dataset="cifar10",
    epochs=LAST_EPOCH,
    seed="mean",
    notes=(
        "Every figure is a prediction, and there is no test accuracy.",
        "Ranks agree with NAS-Bench-301's XGBoost ensemble (Spearman 0.90 on 1,218 genotypes); the "
        "scale does not, so accuracies and regrets must not be set beside those of other work.",
        "Genotypes are queried in the canonical writing of their cells, which pairs the operations "
        "of unused blocks anew and changes a prediction by 0.001 on average.",
        "Predicted seconds rise with the epochs from 3 on; those of 1 and 2 are too high.",
        "Operation `none` does not occur in NAS-Bench-301.",
    ),
)

_SCHEMA = 1
_DAMAGE = (  # what NumPy and zipfile raise, depending on the byte that is wrong
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
_OPS = (  # in the order of their codes; 0 is an unused edge
    "avg_pool_3x3",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "max_pool_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "skip_connect",
)
_CODES = np.array([_OPS.index(op) + 1 if op in _OPS else 0 for op in CANDIDATES])
_FIRST_EDGE = (0, 2, 5, 9)  # of the edges into each block, which are numbered by their sources
_PAIRS = tuple(tuple(combinations(range(2 + b), 2)) for b in range(BLOCKS))
_TOWERS = {"wide": (2,), "deep": (512, 512, 2), "deeper": (256, 256, 128, 128, 2)}
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_BATCH = 256  # genotypes at a time, so that activations stay in the cache


def _shapes() -> dict[str, tuple[int, ...]]:
    """Arrays of the network."""
    edges = {f"emb_{k:02d}": (len(_OPS) + 1, 10) for k in range(28)}
    pairs = {f"emb_{28 + k:02d}": shape for k, shape in enumerate(2 * [(4, 6), (7, 10), (11, 12)])}
    shapes: dict[str, tuple[int, ...]] = edges | pairs | {"scale": (4,)}
    width = sum(shape[1] for shape in (edges | pairs).values()) + 1
    for tower, layers in _TOWERS.items():
        for layer, (c_in, c_out) in enumerate(zip((width, *layers), layers, strict=False)):
            shapes |= {f"{tower}_w{layer}": (c_out, c_in), f"{tower}_b{layer}": (c_out,)}
    return shapes


class Nasbench301Surrogate:
    """Predicted validation accuracy and training time of DARTS genotypes, by the network above.

    `query` and `query_array` answer as a `Table` does: whichever way a cell is written. `predict`
    takes the cells as they are written, which is what the network was fitted to.

    Attributes:
        info: Source and what a reader must know.
        space: The DARTS space.
        sha256: Hash of the weights.

    Example:
        >>> surrogate = Nasbench301Surrogate.load("nasbench301.safetensors")    # doctest: +SKIP
        >>> surrogate.query(genotype).valid_accuracy                            # doctest: +SKIP
        0.9447
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], info: TableInfo = INFO) -> None:
        self.info, self.space = info, Darts()
        self._arrays = _checked(arrays)
        self.sha256 = content_hash({}, self._arrays)

    # Files --------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path) -> Nasbench301Surrogate:
        """The network of a file that `save` wrote, or of the published .npz.

        Raises:
            TableError: There is none, or it is damaged or of another kind.
        """
        path = Path(path)
        try:
            with open(path, "rb") as file:
                is_zip = file.read(2) == b"PK"
        except FileNotFoundError:
            raise TableError(f"Expected a surrogate in {path}. There is no such file.") from None
        except OSError as error:
            raise TableError(f"Expected a surrogate in {path}: {error.strerror}.") from None
        try:
            return cls(_read_npz(path)) if is_zip else cls._load_saved(path)
        except TableError as error:
            raise TableError(f"Expected a surrogate of NAS-Bench-301 in {path}. {error}") from None

    @classmethod
    def _load_saved(cls, path: Path) -> Nasbench301Surrogate:
        try:
            with safe_open(path, "numpy") as file:
                header = json.loads((file.metadata() or {}).get("archrep_surrogate", "{}"))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise TableError(f"It cannot be read ({str(error).splitlines()[0][:120]}).") from None
        if header.get("kind") != cls.__name__:
            raise TableError("Got a safetensors file of another kind.")
        if header["schema"] > _SCHEMA:
            raise TableError(f"It has layout {header['schema']}; update archrep.")
        surrogate = cls(arrays)
        if surrogate.sha256 != header.get("sha256"):
            raise TableError("It has changed since it was written. Import it again.")
        return surrogate

    def save(self, path: str | Path) -> None:
        """Write the network, atomically, as safetensors.

        Raises:
            RunError: The disk is full or the folder cannot be written.
        """
        header = {
            "schema": _SCHEMA,
            "kind": type(self).__name__,
            "info": asdict(self.info),
            "sha256": self.sha256,
        }
        path = Path(path)
        make_folder(path.parent)
        text = {"archrep_surrogate": json.dumps(header)}
        write_atomically(path, lambda temporary: save_file(self._arrays, temporary, text))

    # Queries --------------------------------------------------------------------------------------

    def query(
        self,
        cell: CellLike,
        *,
        dataset: str | None = None,
        epochs: int | None = None,
        seed: int | str | None = None,
        at_epoch: int | None = None,
    ) -> QueryResult:
        """Prediction for one genotype; isomorphic cells get the same.

        Args:
            cell: Genotype or its text; or a cell, which is then used as both of its cells.
            dataset: Only `"cifar10"`.
            epochs: Epoch after which accuracy is measured and training stops, 1..98; the last by
                default.
            seed: Only `"mean"`: there are no runs.
            at_epoch: The same as `epochs`, for callers that also query tables.

        Returns:
            A record with `index` -1, for there are no positions here; a fraction and seconds.

        Raises:
            CellError: The cell is not legal.
            UnmeasuredError: It has operation `none`, or there is no such epoch.
        """
        for name, given, only in (
            ("dataset", dataset, self.info.dataset),
            ("seed", seed, self.info.seed),
        ):
            if given is not None and str(given).lower() != str(only):
                raise UnmeasuredError(
                    f"{self.info.title} knows only {name}={only!r}. Got {given!r}."
                )
        epochs = next((e for e in (at_epoch, epochs) if e is not None), LAST_EPOCH)
        found = self.query_array([cell], epochs=epochs)
        accuracy, seconds = (float(values[0]) for values in found.values())
        return QueryResult(
            index=-1,
            valid_accuracy=accuracy,
            test_accuracy=None,
            train_seconds=seconds,
            params=None,
            macs=None,
            dataset=self.info.dataset,
            epochs=epochs,
            seed=self.info.seed,
            metrics={},
        )

    def query_array(
        self,
        cells: CellArray | Iterable[CellLike],
        reduction_cells: CellArray | None = None,
        *,
        epochs: int = LAST_EPOCH,
    ) -> dict[str, np.ndarray]:
        """`query` for many genotypes.

        Args:
            cells: Normal cells `[N]`; or N genotypes, cells or texts.
            reduction_cells: Reduction cells `[N]`; by default the normal cells.
            epochs: See `query`.

        Returns:
            `valid_accuracy` (fractions) and `train_seconds`, `[N]` of float64 each.

        Raises:
            CellError: A cell is not legal.
            UnmeasuredError: One has operation `none`, or there is no such epoch.
        """
        if not isinstance(cells, CellArray):
            cells, reduction_cells = self._pack(cells)
        _check_equal_length(cells, reduction_cells)
        both = cells if reduction_cells is None else CellArray.concatenate([cells, reduction_cells])
        codes = self._block_codes(self.space.canonical_array(both))
        halves = [codes, codes] if reduction_cells is None else np.split(codes, 2)
        accuracy, seconds = self._predict(np.concatenate(halves, 1), epochs)
        return {"valid_accuracy": accuracy, "train_seconds": seconds}

    def answers(self, cells: CellArray) -> np.ndarray:
        """Which cells it was made for, `[N]` of bool: those without the operation `none`."""
        return (cells.ops != self.space.ops.index("none")).all(1)

    def predict(
        self,
        normal: CellArray,
        reduce: CellArray | None = None,
        *,
        epochs: int | np.ndarray = LAST_EPOCH,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions for cells as they are written.

        Args:
            normal: Normal cells, `[N]`. The order of the two operations of a block is of no effect;
                the order of blocks, and who shares a block, is.
            reduce: Reduction cells, `[N]`; by default the normal cells.
            epochs: Epoch, or one for each genotype, 1..98.

        Returns:
            Validation accuracy (fractions) and training time (seconds), `[N]` of float64.

        Raises:
            CellError: A cell is not legal, or there are not as many of both kinds.
            UnmeasuredError: One has operation `none`, or there is no such epoch.
        """
        _check_equal_length(normal, reduce)
        pair = (normal, normal if reduce is None else reduce)
        codes = [self._block_codes(self.space.validate_array(cells)) for cells in pair]
        return self._predict(np.concatenate(codes, 1), epochs)

    def _predict(
        self, codes: np.ndarray, epochs: int | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Accuracies and seconds, `[N]`, of block codes `[N, 8]`."""
        epoch = np.asarray(epochs)
        if epoch.dtype.kind not in "iu" or ((epoch < 1) | (epoch > LAST_EPOCH)).any():
            raise UnmeasuredError(f"`epochs` must be integers in 1..{LAST_EPOCH}. Got {epochs}.")
        epoch = np.broadcast_to(epoch.astype(np.float32), len(codes))
        s = np.empty((len(codes), 2))
        for start in range(0, len(codes), _BATCH):
            batch = slice(start, start + _BATCH)
            s[batch] = self._forward(codes[batch], epoch[batch])
        scale = self._arrays["scale"]
        return 0.01 * (s[:, 0] / scale[1]), (s[:, 1] - scale[1]) * scale[2] + scale[3]

    def _pack(self, cells: Iterable[CellLike]) -> tuple[CellArray, CellArray]:
        """Normal and reduction cells of genotypes, cells and texts."""
        if isinstance(cells, (str, Cell, Genotype)):
            cells = [cells]
        genotypes = [self._genotype(cell) for cell in cells]
        normal = self.space.pack([genotype.normal for genotype in genotypes])
        return normal, self.space.pack([genotype.reduce for genotype in genotypes])

    def _genotype(self, cell: CellLike) -> Genotype:
        if isinstance(cell, str):
            is_genotype = cell.strip().startswith("Genotype")
            cell = Genotype.parse(cell) if is_genotype else self.space.parse(cell)
        if isinstance(cell, Cell):
            cell = Genotype(cell, cell)
        if not isinstance(cell, Genotype):
            raise CellError(
                f"A query of {self.info.title} takes a Genotype, a Cell or the text of one. "
                f"Got {cell!r}."
            )
        # A cell may come in a node order in which no space reads it.
        return Genotype(self._in_order(cell.normal), self._in_order(cell.reduce))

    def _in_order(self, cell: Cell) -> Cell:
        return cell if self.space.is_legal(cell) else self.space.canonical(cell)

    # The network ----------------------------------------------------------------------------------

    def _block_codes(self, cells: CellArray) -> np.ndarray:
        """Number of each block of legal cells, `[N, 4]`: input pair, then operations."""
        sources, ops = self.space._parts(cells)
        codes = _CODES[ops]
        if (codes == 0).any():
            row = int((codes == 0).any((1, 2)).argmax())
            raise UnmeasuredError(
                f"NAS-Bench-301 has no operation `none`. Row {row} is {cells[row].ops[2:10]}."
            )
        swapped = sources[..., 0] > sources[..., 1]
        first = np.where(swapped, codes[..., 1], codes[..., 0])
        second = np.where(swapped, codes[..., 0], codes[..., 1])
        low, high = sources.min(-1), sources.max(-1)
        pairs = np.stack([_PAIR_CODES[b][low[:, b], high[:, b]] for b in range(BLOCKS)], 1)
        return (pairs * 8 + first) * 8 + second

    @cached_property
    def _block_tables(self) -> list[np.ndarray]:
        """What each block adds to the first layers of all towers, 8 of `[codes, C]`.

        Normal blocks come first; C is the sum of the widths of the towers.
        """
        edge_terms, pair_terms = self._first_layer_terms()
        tables = []
        for cell, block in np.ndindex(2, BLOCKS):
            edges = edge_terms[14 * cell + _FIRST_EDGE[block] :]
            table = np.zeros((len(_PAIRS[block]), 8, 8, edges[0].shape[1]))
            for p, pair in enumerate(_PAIRS[block]):
                table[p] += edges[pair[0]][:, None] + edges[pair[1]][None]
                for other in set(range(2 + block)) - set(pair):
                    table[p] += edges[other][0]
                if block:
                    table[p] += pair_terms[3 * cell + block - 1][1 + p]
            tables.append(table.reshape(-1, table.shape[-1]).astype(np.float32))
        return tables

    def _first_layer_terms(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Products of each embedding with its part of the first layers: of edges, and of pairs."""
        embeddings = [self._arrays[f"emb_{k:02d}"].astype(np.float64) for k in range(34)]
        ends = np.cumsum([embedding.shape[1] for embedding in embeddings])
        parts = np.split(self._first_weights, ends, axis=1)
        terms = [e @ part.T for e, part in zip(embeddings, parts, strict=False)]
        return terms[:28], terms[28:]

    @cached_property
    def _first_weights(self) -> np.ndarray:
        """First layers of all towers, `[C, 337]`."""
        return np.concatenate([self._arrays[f"{tower}_w0"] for tower in _TOWERS]).astype(float)

    @cached_property
    def _epoch_terms(self) -> tuple[np.ndarray, np.ndarray]:
        """Bias of the first layers, and what one epoch adds, `[C]` each."""
        bias = np.concatenate([self._arrays[f"{tower}_b0"] for tower in _TOWERS])
        return bias, (self._first_weights[:, -1] * self._arrays["scale"][0]).astype(np.float32)

    @cached_property
    def _layers(self) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
        """Weights `[C_in, C_out]` and biases behind the first layers; the scale of SELU is in."""
        return {
            tower: [
                (
                    np.ascontiguousarray(self._arrays[f"{tower}_w{k}"].T * np.float32(_SELU_SCALE)),
                    self._arrays[f"{tower}_b{k}"],
                )
                for k in range(1, len(layers))
            ]
            for tower, layers in _TOWERS.items()
        }

    def _forward(self, codes: np.ndarray, epoch: np.ndarray) -> np.ndarray:
        """Outputs s of block codes `[B, 8]` at epochs `[B]`, `[B, 2]` of float64."""
        bias, slope = self._epoch_terms
        first = bias + epoch[:, None] * slope
        for block, table in enumerate(self._block_tables):
            first += table[codes[:, block]]
        total = np.zeros((len(codes), 2))
        ends = np.cumsum([layers[0] for layers in _TOWERS.values()])
        for tower, x in zip(_TOWERS, np.split(first, ends[:-1], axis=1), strict=True):
            for weights, bias in self._layers[tower]:
                x = _selu_over_scale(x) @ weights
                x += bias
            total += x
        return 1 / (1 + np.exp(-total))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what is predicted."""
        return ("valid_accuracy", "train_seconds")

    def paid(
        self,
        *,
        protocol: str = "mean",
        epochs: int | None = None,
        max_queries: int | None = None,
        max_seconds: float | None = None,
        charge_repeats: bool = False,
    ) -> PaidSurrogate:
        """The same as a search sees it: every query is paid for, isomorphic repeats are not.

        See `archrep.tables.paid.PaidSurrogate`.
        """
        from archrep.tables.paid import PaidSurrogate

        if protocol != "mean":
            raise UnmeasuredError(
                f"{self.info.title} knows only protocol 'mean'. Got {protocol!r}."
            )
        return PaidSurrogate(
            self,
            epochs=epochs,
            max_queries=max_queries,
            max_seconds=max_seconds,
            charge_repeats=charge_repeats,
        )

    def key(self, cell: CellLike) -> tuple[str, str]:
        """Fingerprints of the normal and the reduction cell: equal for isomorphic genotypes."""
        genotype = self._genotype(cell)
        return genotype.normal.fingerprint, genotype.reduce.fingerprint

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.info.title}: epochs 1..{LAST_EPOCH}>"


def _check_equal_length(normal: CellArray, reduce: CellArray | None) -> None:
    if reduce is not None and len(normal) != len(reduce):
        raise CellError(
            f"A genotype has a normal and a reduction cell. Got {len(normal)} and {len(reduce)}."
        )


def _selu_over_scale(x: np.ndarray) -> np.ndarray:
    """Klambauer et al. (2017), eq. 2, without the scale: `x`, and `alpha * (exp(x) - 1)` below 0.

    Overwrites x.
    """
    y = np.minimum(x, 0)
    np.exp(y, out=y)
    y -= 1
    y *= _SELU_ALPHA
    y += np.maximum(x, 0, out=x)  # one of the two summands is 0
    return y


def _pair_codes(block: int) -> np.ndarray:
    """Number of each pair of inputs (low, high) of a block, `[1 + block, 2 + block]`."""
    codes = np.zeros((1 + block, 2 + block), np.int64)
    for number, pair in enumerate(_PAIRS[block]):
        codes[pair] = number
    return codes


_PAIR_CODES = tuple(_pair_codes(block) for block in range(BLOCKS))


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Arrays of the published file, after a look at the order of its features and operations."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except _DAMAGE as error:
        raise TableError(f"It cannot be read ({str(error)[:120]}).") from None
    names = [f"edge_{cell}_{k}" for cell in ("normal", "reduce") for k in range(14)]
    names += [f"inputs_node_{cell}_{k}" for cell in ("normal", "reduce") for k in (3, 4, 5)]
    for key, expected in (("feature_names", names), ("op_vocabulary", ["#na#", *_OPS])):
        if key not in arrays or arrays[key].tolist() != expected:
            raise TableError(f"`{key}` must be {', '.join(expected)[:120]}.")
    return {name: arrays[name] for name in arrays.keys() & _shapes().keys()}


def _checked(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of the network, and nothing else.

    Raises:
        TableError: One is missing, or has another shape or an infinite value.
    """
    checked = {}
    for name, shape in _shapes().items():
        if name not in arrays:
            raise TableError(f"The network must have an array `{name}`. There is none.")
        array = np.asarray(arrays[name])
        if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise TableError(
                f"Array `{name}` must hold finite floats of shape {shape}. "
                f"Got {array.dtype} of shape {array.shape}."
            )
        kind = np.float64 if name == "scale" else np.float32
        checked[name] = np.ascontiguousarray(array, kind)
    return checked

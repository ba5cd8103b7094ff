"""The DARTS space S0 (Liu et al., 2019): 4 blocks of two operations each; some 10^9 cells.

As a `Cell` the operations sit on nodes, as in arch2vec (Yan et al., 2020, Appendix A.3): nodes 0
and 1 are the outputs of the two cells before, nodes 2 + 2b and 3 + 2b the two operations that block
b adds up, node 10 the concatenation of all blocks. An operation that reads block b has edges from
both of its nodes. This encoding does not record which operations of *unused* blocks are added
together: cells that differ only there are one graph here, as in the published code; `canonical`
picks one.

Multiply-adds and parameters of the two usual networks are sums over operations, in closed form.
"""

from __future__ import annotations

import ast
import itertools
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from archrep.cells.array import PAD, CellArray, edge_bit
from archrep.cells.cell import Cell
from archrep.cells.genotype import GENOTYPE_EXAMPLE, Genotype
from archrep.cells.space import Space, check_request
from archrep.errors import CellError, ConfigError, NotationError, SpaceError

CANDIDATES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Candidate operations in the order of arch2vec's encoding."""

MOBILE_LIMIT = 600_000_000
"""Multiply-adds of the mobile setting: 224 px ImageNet networks stay below it."""

BLOCKS = 4
_ENDS = ("c_{k-2}", "c_{k-1}", "c_{k}")
_FIRST_OP = 2  # code of CANDIDATES[0] in the vocabulary
_OUTPUT_EDGES = np.uint64(0b1111111100)  # nodes 2..9, as the bits of `adjacency_bits` from (0, 10)
_DRAW = 262_144  # candidates drawn at a time; another number gives other cells for every seed
_SLICE = 16_384  # candidates looked at together, so that a few cells come quickly
_PATIENCE = 320  # slices without a new cell
_NO_ORDER = np.iinfo(np.uint64).max  # key of blocks that read each other in a circle


class Darts(Space):
    """Cells of the DARTS space, each used as both normal and reduction cell."""

    name = "darts"
    title = "DARTS"
    ops = (*_ENDS[:2], *CANDIDATES, _ENDS[2])
    max_nodes = 11
    size = None
    default_sample = 600_000

    def problems(self, cell: Cell) -> list[str]:
        found = []
        if len(cell) != 11:
            return [f"It must have 11 nodes; it has {len(cell)}."]
        if cell.ops[:2] != self.ops[:2] or cell.ops[10] != self.ops[10]:
            found.append(f"Nodes 0, 1 and 10 must be {self.ops[0]}, {self.ops[1]}, {self.ops[10]}.")
        if wrong := sorted(set(cell.ops[2:10]) - set(CANDIDATES)):
            found.append(f"Operations must be of {CANDIDATES}; it has {wrong}.")
        if cell.predecessors(1):
            found.append("The two cell inputs must have no predecessors.")
        if cell.predecessors(10) != tuple(range(2, 10)):
            found.append("All eight operations must lead to the output, and nothing else may.")
        for b in range(BLOCKS):
            sources = [_source_of(cell.predecessors(v), b) for v in (2 + 2 * b, 3 + 2 * b)]
            if None in sources:
                found.append(
                    f"Each operation of block {b} must read one cell input, or both nodes of one "
                    "earlier block."
                )
            elif sources[0] == sources[1]:
                found.append(f"The two operations of block {b} must read different inputs.")
        return found

    def legal(self, cells: CellArray) -> np.ndarray:
        self.check_columns(cells)
        inner = cells.ops[:, 2:10].astype(np.int64) - _FIRST_OP
        ok = (
            (cells.ops[:, 0] == 0)
            & (cells.ops[:, 1] == 1)
            & (cells.ops[:, 10] == 10)
            & ((inner >= 0) & (inner < len(CANDIDATES))).all(1)
        )
        sources = self._sources(cells)
        ok &= (sources >= 0).all((1, 2)) & (sources[..., 0] != sources[..., 1]).all(1)
        ok &= ~cells.edge(0, 1)
        return ok & (cells.adjacency_bits >> np.uint64(edge_bit(0, 10)) == _OUTPUT_EDGES)

    def _sources(self, cells: CellArray) -> np.ndarray:
        """What each operation reads, `[N, 4, 2]`: 0, 1 cell inputs, 2.. blocks, -1 not legal."""
        sources = np.full((len(cells), BLOCKS, 2), -1)
        for b, side in np.ndindex(BLOCKS, 2):
            v = 2 + 2 * b + side
            incoming = (cells.adjacency_bits >> np.uint64(edge_bit(0, v))) & np.uint64((1 << v) - 1)
            for source in range(2 + b):
                sources[incoming == np.uint64(_source_mask(source)), b, side] = source
        return sources

    # Text -------------------------------------------------------------------------------------

    def parse(self, text: str) -> Cell:
        """Cell of a list of 8 (operation, input) pairs, or of a genotype whose two cells are equal.

        Raises:
            CellError: Neither notation; or the two cells differ: parse those with `Genotype.parse`.
        """
        text = text.strip()
        if text.startswith("Genotype"):
            genotype = Genotype.parse(text)
            if not genotype.normal.is_isomorphic(genotype.reduce):
                raise CellError(
                    "This space uses one cell as both normal and reduction cell, and the genotype "
                    "has two. Pass the list of one of them, or use `Genotype.parse`."
                )
            return genotype.normal
        try:
            pairs = ast.literal_eval(text)
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            raise NotationError(
                "A DARTS cell is written as a list of 8 (operation, input) pairs or as "
                f"{GENOTYPE_EXAMPLE}. Got {text[:100]!r}."
            ) from None
        return pairs_to_cell(pairs)

    def format(self, cell: Cell) -> str:
        """A list of 8 (operation, input) pairs, two a block, as in the DARTS code."""
        return str(cell_to_pairs(cell))

    # Sampling ---------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Cell:
        return _build(*_draw(1, rng))[0]

    def stream(
        self,
        count: int,
        seed: int = 0,
        chunk: int = 65_536,
        *,
        macs_below: float | None = MOBILE_LIMIT,
        rule: Literal["conv_linear", "thop"] = "thop",
    ) -> Iterator[CellArray]:
        """`count` distinct random cells in chunks, each written canonically.

        Drawn as arch2vec's generator does (Yan et al., 2020, Appendix A.3). Memory is one chunk and
        eight bytes a cell, which remember exactly what was drawn.

        Args:
            count: Cells in all.
            seed: Fixes them, and their order.
            chunk: Most cells of one array; does not change which cells come.
            macs_below: Keep a cell only if the 14-cell, 48-channel ImageNet network of it needs
                fewer multiply-adds; `None` keeps all.
            rule: How multiply-adds are counted; see `network_cost`.

        Raises:
            SpaceError: Cells below `macs_below` ran out.
        """
        check_request(count, chunk)
        candidates = _candidates(np.random.default_rng(seed))
        seen = _SeenKeys()
        kept = idle = 0
        while kept < count:
            parts = next(candidates)
            if macs_below is not None:
                below = _network_cost(parts, parts, IMAGENET, rule).macs < macs_below
                parts = parts[0][below], parts[1][below]
            keys = _canonical_keys(*parts)
            fresh = keys[seen.add(keys)][: count - kept]
            kept, idle = kept + len(fresh), 0 if len(fresh) else idle + 1
            if idle == _PATIENCE:
                raise SpaceError(
                    f"Expected {count} cells below {macs_below} multiply-adds; "
                    f"{_PATIENCE * _SLICE:,} draws gave no new one beyond {kept}. "
                    "Raise `macs_below` or ask for fewer."
                )
            for start in range(0, len(fresh), chunk):
                yield _build(*_read_keys(fresh[start : start + chunk]))

    def _parts(self, cells: CellArray) -> tuple[np.ndarray, np.ndarray]:
        ops = cells.ops[:, 2:10].astype(np.int64).reshape(-1, BLOCKS, 2) - _FIRST_OP
        return self._sources(cells), ops

    def canonical_array(self, cells: CellArray) -> CellArray:
        """Blocks that others read first, in their smallest order; then the unused ones, re-paired.

        Raises:
            CellError: A row is not legal.
        """
        self.validate_array(cells)
        return _build(*_read_keys(_canonical_keys(*self._parts(cells))))

    def canonical(self, cell: Cell) -> Cell:
        """The one spelling of a cell whose nodes may stand in any other order."""
        return self.canonical_array(self.pack([self.validate(_in_blocks(cell))]))[0]

    # Moves ------------------------------------------------------------------------------------

    def neighbours(self, cell: Cell) -> list[Cell]:
        """Cells with one operation, or the input of one operation, changed; written canonically.

        They are those of the graph: blocks may take any order, and the operations of unused blocks
        any partners. So being neighbours is mutual and does not depend on how a cell is written.
        """
        own = _canonical_keys(*self._parts(self.pack([self.validate(cell)])))
        inputs, labels = (part.reshape(-1, 8) for part in _pairings(*_read_keys(own)))

        def changed(values: np.ndarray, choices: int) -> np.ndarray:
            """Each row with each of its 8 entries set to each choice, `[N * 8 * choices, 8]`."""
            rows = np.repeat(values, 8 * choices, axis=0).reshape(-1, 8, choices, 8)
            rows[:, np.arange(8), :, np.arange(8)] = np.arange(choices)
            return rows.reshape(-1, 8)

        new_inputs = changed(inputs, 2 + BLOCKS)
        new_labels = changed(labels[:1], len(CANDIDATES))
        inputs = np.concatenate([new_inputs, np.repeat(inputs[:1], len(new_labels), axis=0)])
        labels = np.concatenate([np.repeat(labels, 8 * (2 + BLOCKS), axis=0), new_labels])
        sources, ops = inputs.reshape(-1, BLOCKS, 2), labels.reshape(-1, BLOCKS, 2)
        apart = (sources[..., 0] != sources[..., 1]).all(1)
        keys = np.unique(_canonical_keys(sources[apart], ops[apart]))
        return list(_build(*_read_keys(keys[(keys != own) & (keys != _NO_ORDER)])))


def pairs_to_cell(pairs: object) -> Cell:
    """Legal cell of 8 (operation, input) pairs; inputs 0, 1 are cell inputs and 2.. blocks.

    Raises:
        CellError: The pairs do not describe a cell of the space.
    """
    try:
        items = [(str(op), operator.index(k)) for op, k in pairs]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        items = []
    if len(items) != 8:
        raise NotationError(
            f"A DARTS cell is written as 8 (operation, input) pairs. Got {str(pairs)[:100]!r}."
        )
    edges = [(v, 10) for v in range(2, 10)]
    for k, (_, source) in enumerate(items):
        if not 0 <= source < 2 + k // 2:
            raise CellError(
                f"An operation of block {k // 2} reads input 0..{1 + k // 2}. Got {source}."
            )
        edges += [(u, 2 + k) for u in range(10) if _source_mask(source) >> u & 1]
    ops = (Darts.ops[0], Darts.ops[1], *(op for op, _ in items), Darts.ops[10])
    return Darts().validate(Cell(ops, tuple(edges)))


def cell_to_pairs(cell: Cell) -> list[tuple[str, int]]:
    """The 8 (operation, input) pairs of a legal cell, two a block."""
    Darts().validate(cell)
    sources = [_source_of(cell.predecessors(2 + k), k // 2) for k in range(8)]
    return [(op, s) for op, s in zip(cell.ops[2:10], sources, strict=True) if s is not None]


def _source_mask(source: int) -> int:
    """Bits of the nodes that an operation reading `source` has edges from."""
    return 1 << source if source < 2 else 0b11 << (2 * source - 2)


def _source_of(predecessors: tuple[int, ...], block: int) -> int | None:
    mask = sum(1 << v for v in predecessors)
    return next((s for s in range(2 + block) if _source_mask(s) == mask), None)


def _in_blocks(cell: Cell) -> Cell:
    """The same graph with its nodes where the space expects them, as far as that can be told."""
    inner = [v for v in range(len(cell)) if cell.ops[v] in CANDIDATES]
    preds = {v: cell.predecessors(v) for v in inner}
    used = sorted({preds[v] for v in inner if len(preds[v]) == 2}, key=max)
    loose = sorted(set(inner).difference(*used), key=lambda v: preds[v])
    half = len(loose) // 2  # k with k + t: partners never read the same input
    pairs = [*used, *zip(loose[:half], loose[half:], strict=False)]
    ends = [[v for v in range(len(cell)) if cell.ops[v] == op] for op in _ENDS]
    order = [*ends[0], *ends[1], *itertools.chain(*pairs), *ends[2]]
    try:
        return cell.permuted(order)
    except CellError:  # no cell of the space in any order; `validate` says why
        return cell


def _draw(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and operations `[N, 4, 2]`: two distinct inputs and two operations a block."""
    sources = np.zeros((count, BLOCKS, 2), np.int64)
    for b in range(BLOCKS):
        first = rng.integers(0, 2 + b, count)
        second = rng.integers(0, 1 + b, count)
        sources[:, b, 0], sources[:, b, 1] = first, second + (second >= first)
    return sources, rng.integers(0, len(CANDIDATES), (count, BLOCKS, 2))


def _candidates(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs and operations of random cells without end, a slice at a time."""
    while True:
        sources, ops = _draw(_DRAW, rng)
        for start in range(0, _DRAW, _SLICE):
            yield sources[start : start + _SLICE], ops[start : start + _SLICE]


def _build(sources: np.ndarray, ops: np.ndarray) -> CellArray:
    """Cells of inputs `[N, 4, 2]` (0, 1 cell inputs, 2.. blocks) and operations `[N, 4, 2]`."""
    codes = np.full((len(ops), 11), PAD, np.uint8)
    codes[:, 0], codes[:, 1], codes[:, 10] = 0, 1, 10
    codes[:, 2:10] = ops.reshape(-1, 8) + _FIRST_OP
    masks = np.array([_source_mask(s) for s in range(2 + BLOCKS)], np.uint64)
    bits = np.full(len(ops), _OUTPUT_EDGES << np.uint64(edge_bit(0, 10)))
    for b, side in np.ndindex(BLOCKS, 2):
        bits |= masks[sources[:, b, side]] << np.uint64(edge_bit(0, 2 + 2 * b + side))
    return CellArray(codes, bits, Darts.ops)


# Canonical form. A block is "used" if another block reads it. Used blocks come first, in the order
# that gives the smallest key; the operations of unused blocks are sorted, and number k is paired
# with number k + t (t unused blocks), which never pairs two that read the same input. A key holds
# eight (input, operation) items of three bits each: the whole cell, not a hash of it.


def _canonical_keys(sources: np.ndarray, ops: np.ndarray) -> np.ndarray:
    used = np.stack([(sources == 2 + b).any((1, 2)) for b in range(BLOCKS)], 1)
    keys = np.zeros(len(sources), np.uint64)
    patterns = used @ (1 << np.arange(BLOCKS))
    for pattern in np.unique(patterns):
        rows = np.flatnonzero(patterns == pattern)
        core = [b for b in range(BLOCKS) if pattern >> b & 1]
        rest = [b for b in range(BLOCKS) if not pattern >> b & 1]
        best = np.full(len(rows), _NO_ORDER, np.uint64)
        for order in itertools.permutations(core):
            place = np.arange(2 + BLOCKS)
            place[[2 + b for b in order]] = 2 + np.arange(len(order))
            moved = place[sources[rows]]
            items = moved * 8 + ops[rows]
            forward = np.ones(len(rows), bool)
            for k, b in enumerate(order):
                forward &= (moved[:, b] < 2 + k).all(1)
            head = np.sort(items[:, list(order)], -1).reshape(len(rows), -1)
            tail = np.sort(items[:, rest].reshape(len(rows), -1), -1)
            written = np.concatenate([head, tail], 1).astype(np.uint64)
            key = written @ (np.uint64(64) ** np.arange(7, -1, -1, dtype=np.uint64))
            best = np.where(forward, np.minimum(best, key), best)
        # The number of used blocks goes on top, so that a key can be read back on its own; of no
        # effect on `_NO_ORDER`, which has all bits set.
        keys[rows] = best | np.uint64(len(core)) << np.uint64(48)
    return keys


def _read_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shifts = np.arange(42, -1, -6, dtype=np.uint64)
    items = ((keys[:, None] >> shifts) & np.uint64(63)).astype(np.int64)
    core = (keys >> np.uint64(48)).astype(np.int64)
    for size in range(BLOCKS):
        rows, t = np.flatnonzero(core == size), BLOCKS - size
        tail = items[rows, 2 * size :].reshape(-1, 2, t).transpose(0, 2, 1)
        items[rows, 2 * size :] = tail.reshape(-1, 2 * t)
    items = items.reshape(-1, BLOCKS, 2)
    return items // 8, items % 8


def _pairings(sources: np.ndarray, ops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All ways `[N, 4, 2]` to pair the operations of unused blocks of one canonical cell."""
    items = list(zip(sources.ravel().tolist(), ops.ravel().tolist(), strict=True))
    core = 2 * len({source for source, _ in items if source >= 2})

    def pairings(loose: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        if not loose:
            yield []
        for k in range(1, len(loose)):
            if loose[k][0] != loose[0][0]:
                for rest in pairings(loose[1:k] + loose[k + 1 :]):
                    yield [loose[0], loose[k], *rest]

    written = np.array([items[:core] + rest for rest in pairings(items[core:])])
    return written[..., 0].reshape(-1, BLOCKS, 2), written[..., 1].reshape(-1, BLOCKS, 2)


class _SeenKeys:
    """Exact set of 64-bit keys in sorted arrays: 8 bytes a key, merged ever more rarely."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def add(self, keys: np.ndarray) -> np.ndarray:
        """Positions of the keys that are new, first occurrences in order; they are remembered."""
        _, first = np.unique(keys, return_index=True)
        fresh = np.sort(first)
        for run in self._runs:
            place = np.searchsorted(run, keys[fresh]).clip(max=len(run) - 1)
            fresh = fresh[run[place] != keys[fresh]]
        if len(fresh):
            self._runs.append(np.sort(keys[fresh]))
        while len(self._runs) > 1 and len(self._runs[-1]) * 4 > len(self._runs[-2]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")
        return fresh


# Cost -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NetworkShape:
    """A stack of DARTS cells.

    Attributes:
        cells: Number of cells; those at one and two thirds reduce.
        channels: C, the width of the first cells.
        image_size: Input height and width in pixels.
        classes: Outputs of the classifier.
        imagenet_stem: Three stride-2 convolutions in place of one convolution to 3 C channels.
    """

    cells: int
    channels: int
    image_size: int
    classes: int
    imagenet_stem: bool

    def __post_init__(self) -> None:
        multiple = 32 if self.imagenet_stem else 4
        if self.image_size % multiple or (self.imagenet_stem and self.channels % 2):
            raise ConfigError(
                f"`image_size` must be a multiple of {multiple}, and `channels` even below the "
                f"ImageNet stem. Got {self.image_size} and {self.channels}."
            )


CIFAR10 = NetworkShape(cells=20, channels=36, image_size=32, classes=10, imagenet_stem=False)
IMAGENET = NetworkShape(cells=14, channels=48, image_size=224, classes=1000, imagenet_stem=True)


@dataclass(frozen=True)
class NetworkCost:
    """Multiply-adds of one image and trainable parameters, `[N]` of int64 or single numbers."""

    macs: np.ndarray
    params: np.ndarray


def network_cost(
    cells: CellArray | Cell | Genotype,
    shape: NetworkShape = IMAGENET,
    *,
    rule: Literal["conv_linear", "thop"] = "conv_linear",
) -> NetworkCost:
    """Exact size of the evaluation network of DARTS cells, without building it.

    Every operation costs the same wherever it stands in a cell, but for the stride in a reduction
    cell, so a network costs a constant plus a sum over its operations. Auxiliary heads are not
    counted.

    Args:
        cells: One cell or many, used as normal and reduction cell; or a `Genotype` with one each.
        shape: Network; `IMAGENET` (14 cells, C = 48, 224 px) or `CIFAR10` (20 cells, C = 36).
        rule: `"conv_linear"` counts convolutions and linear layers; `"thop"` adds two for each
            element that enters a batch norm and ten for each output of average pooling, as the
            counter behind the figures of arch2vec and UnNAS does.
    """
    space = Darts()
    if isinstance(cells, CellArray):
        parts = space._parts(space.validate_array(cells))
        return _network_cost(parts, parts, shape, rule)
    both = (cells.normal, cells.reduce) if isinstance(cells, Genotype) else (cells, cells)
    normal, reduce = (space._parts(space.pack([space.validate(cell)])) for cell in both)
    cost = _network_cost(normal, reduce, shape, rule)
    return NetworkCost(macs=cost.macs[0], params=cost.params[0])


def _network_cost(
    normal: tuple[np.ndarray, np.ndarray],
    reduce: tuple[np.ndarray, np.ndarray],
    shape: NetworkShape,
    rule: str,
) -> NetworkCost:
    """`network_cost` of the inputs and operations `[N, 4, 2]` of normal and reduction cells."""
    if rule not in ("conv_linear", "thop"):
        raise ConfigError(f"`rule` must be 'conv_linear' or 'thop'. Got {rule!r}.")
    frame, in_normal, in_reduce = _cost_tables(shape, rule == "thop")
    (_, ops), (sources, reduce_ops) = normal, reduce
    total = frame + in_normal[ops].sum((1, 2))
    total += in_reduce[(sources < 2).astype(int), reduce_ops].sum((1, 2))
    return NetworkCost(macs=total[:, 0], params=total[:, 1])


def _cost_tables(shape: NetworkShape, thop: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(macs, params) of the frame, of an operation in all normal cells, and in all reduction cells.

    The shapes are `[2]`, `[8, 2]` and `[2, 8, 2]`, the last one by whether the operation reads a
    cell input (stride 2) or not.
    """

    def norm(channels: int, side: int) -> np.ndarray:
        return np.array([2 * channels * side**2 if thop else 0, 2 * channels])

    def conv(c_in: int, c_out: int, kernel: int, side: int, groups: int = 1) -> np.ndarray:
        weights = kernel**2 * c_in // groups * c_out
        return np.array([weights * side**2, weights])

    def conv_norm(c_in: int, c_out: int, side: int) -> np.ndarray:
        """1x1 convolution and batch norm; a factorized reduction costs the same."""
        return conv(c_in, c_out, 1, side) + norm(c_out, side)

    def separable(c: int, kernel: int, side: int) -> np.ndarray:
        return conv(c, c, kernel, side, groups=c) + conv_norm(c, c, side)

    def operation(op: str, c: int, side: int, stride: int) -> np.ndarray:
        if op.startswith("sep_conv"):  # twice; only the first half has the stride
            return 2 * separable(c, int(op[-1]), side)
        if op.startswith("dil_conv"):
            return separable(c, int(op[-1]), side)
        if op == "skip_connect" and stride == 2:
            return conv_norm(c, c, side)
        if op == "avg_pool_3x3" and thop:
            return np.array([10 * c * side**2, 0])
        return np.zeros(2, np.int64)

    c, side = shape.channels, shape.image_size
    if shape.imagenet_stem:
        frame = conv(3, c // 2, 3, side // 2) + norm(c // 2, side // 2)
        frame = frame + conv(c // 2, c, 3, side // 4) + norm(c, side // 4)
        frame = frame + conv(c, c, 3, side // 8) + norm(c, side // 8)
        side, before_last, last = side // 8, c, c
    else:
        frame = conv(3, 3 * c, 3, side) + norm(3 * c, side)
        before_last, last = 3 * c, 3 * c
    normal = np.zeros((len(CANDIDATES), 2), np.int64)
    reduce = np.zeros((2, len(CANDIDATES), 2), np.int64)
    for k in range(shape.cells):
        reducing = k in (shape.cells // 3, 2 * shape.cells // 3)
        c *= 2 if reducing else 1
        # Both inputs come to C channels; one that precedes a reduction is brought down to size.
        frame = frame + conv_norm(before_last, c, side) + conv_norm(last, c, side)
        if reducing:
            side //= 2
            reduce += [[operation(op, c, side, s) for op in CANDIDATES] for s in (1, 2)]
        else:
            normal += [operation(op, c, side, 1) for op in CANDIDATES]
        before_last, last = last, BLOCKS * c
    frame = frame + [last * shape.classes, last * shape.classes + shape.classes]
    return frame, normal, reduce

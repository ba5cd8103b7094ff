"""Layered layout of a cell: where boxes stand and how edges bend around them. Pure Python.

The four steps of Sugiyama et al. (1981): layers by longest path, waypoints where an edge passes a
layer, an order of each layer with few crossings, then positions. Two choices keep cells tidy:

- Long edges into the same node share their waypoints, so they join on the way like railway lines.
  Lines only ever join towards one target, so every source of a joined line feeds that target.
- Between layers an edge is a curve that stays between them, and past a layer it runs straight
  through a lane of its own, so no edge can touch a box that is not its end.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from archrep.cells.cell import Cell
from archrep.errors import ConfigError

Point = tuple[float, float]
Direction = Literal["down", "right"]
Segments = dict[tuple[int, int], int]
"""Pairs of items in neighbouring layers that a line joins, and the edges of the cell on it."""

BOX_WIDTH, BOX_HEIGHT = 1.0, 0.32  # lengths are in box widths throughout
HEAD_LENGTH, HEAD_WIDTH = 0.085, 0.085
MARGIN = 0.06


@dataclass(frozen=True)
class Box:
    """A node, by its centre; y grows downwards."""

    x: float
    y: float
    width: float = BOX_WIDTH
    height: float = BOX_HEIGHT

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2


@dataclass(frozen=True)
class CellLayout:
    """A drawing of a cell in numbers.

    Attributes:
        boxes: One a node.
        routes: Of each edge the control points of joined cubic Bezier curves, 3 k + 1 of them,
            ending at the base of the arrow head.
        tips: Of each edge the tip of its arrow head.
        width: Extent of the drawing with a margin; everything lies between 0 and it.
        height: The same, downwards.
    """

    boxes: tuple[Box, ...]
    routes: dict[tuple[int, int], tuple[Point, ...]]
    tips: dict[tuple[int, int], Point]
    width: float
    height: float


def default_direction(cell: Cell) -> Direction:
    """Down; to the right for cells with several inputs, which are wide (DARTS prints them so)."""
    inputs = sum(not cell.predecessors(v) for v in range(len(cell)))
    return "right" if inputs > 1 else "down"


def layout(cell: Cell, direction: Direction | None = None) -> CellLayout:
    """Positions of all boxes and edges of a cell; the same cell gives the same numbers.

    Raises:
        ConfigError: `direction` is neither `"down"` nor `"right"` nor `None`.
    """
    if direction not in ("down", "right", None):
        raise ConfigError(f"`direction` must be 'down', 'right' or None. Got {direction!r}.")
    direction = direction or default_direction(cell)
    depth = _layers(cell)
    items, chains = _with_waypoints(cell, depth)
    pairs = [pair for chain in chains.values() for pair in itertools.pairwise(chain)]
    segments = dict(sorted(Counter(pairs).items()))  # and how many edges run through each
    down = direction == "down"
    across, along = (BOX_WIDTH, BOX_HEIGHT) if down else (BOX_HEIGHT, BOX_WIDTH)
    half = [across / 2 if item < len(cell) else 0.03 for item in range(sum(map(len, items)))]
    place = _places(items, segments, half, gap=0.17 if down else 0.16)
    start, end = _ports(segments, place, len(cell), across)

    tops = [MARGIN]
    for layer in range(len(items) - 1):
        reach = [abs(end[s] - start[s]) for s in segments if _layer_of(items, s[0]) == layer]
        tops.append(tops[-1] + along + _gap(max(reach, default=0.0), down))

    def point(sideways: float, forward: float) -> Point:
        return (sideways, forward) if down else (forward, sideways)

    boxes = []
    for v in range(len(cell)):
        x, y = point(place[v], tops[depth[v]] + along / 2)
        boxes.append(Box(x, y))
    routes, tips = {}, {}
    for edge, chain in chains.items():
        route = [point(start[chain[0], chain[1]], tops[depth[edge[0]]] + along)]
        for layer, (a, b) in enumerate(itertools.pairwise(chain), depth[edge[0]]):
            x0, y0 = start[a, b], tops[layer] + along
            x1, y1 = end[a, b], tops[layer + 1]
            if b == edge[1]:
                y1 -= HEAD_LENGTH
            middle = (y0 + y1) / 2
            route += [point(x0, middle), point(x1, middle), point(x1, y1)]
            if b != edge[1]:  # straight on, past the boxes of this layer
                lane = [y1 + along * part / 3 for part in (1, 2, 3)]
                route += [point(x1, y) for y in lane]
        routes[edge] = tuple(route)
        tips[edge] = point(x1, tops[depth[edge[1]]])
    breadth = max((place[i] + half[i] for i in range(len(half))), default=0.0) + MARGIN
    length = tops[-1] + along + MARGIN
    width, height = point(breadth, length)
    return CellLayout(tuple(boxes), routes, tips, width, height)


def _gap(reach: float, down: bool) -> float:
    """Room between two layers: more where an edge travels far sideways."""
    return min(0.3 + 0.1 * reach, 0.6) if down else min(0.42 + 0.12 * reach, 0.8)


def _layers(cell: Cell) -> list[int]:
    """Layer of each node: its longest path from an input, or later if that saves edge length."""
    preds = [cell.predecessors(v) for v in range(len(cell))]
    succs = [cell.successors(v) for v in range(len(cell))]
    depth: list[int] = []
    for v in range(len(cell)):
        depth.append(max((depth[u] + 1 for u in preds[v]), default=0))
    for v in reversed(range(len(cell))):
        if preds[v] and len(succs[v]) > len(preds[v]):
            depth[v] = min(depth[w] for w in succs[v]) - 1
    return depth


def _with_waypoints(
    cell: Cell, depth: list[int]
) -> tuple[list[list[int]], dict[tuple[int, int], list[int]]]:
    """Items of each layer (nodes, then waypoints) and the chain of items of every edge."""
    items: list[list[int]] = [[] for _ in range(max(depth, default=0) + 1)]
    for v, layer in enumerate(depth):
        items[layer].append(v)
    waypoint: dict[tuple[int, int], int] = {}  # (target, layer): long edges to a target join
    chains = {}
    for i, j in cell.edges:
        chain = [i]
        for layer in range(depth[i] + 1, depth[j]):
            if (j, layer) not in waypoint:
                waypoint[j, layer] = len(cell) + len(waypoint)
                items[layer].append(waypoint[j, layer])
            chain.append(waypoint[j, layer])
        chains[i, j] = [*chain, j]
    return items, chains


def _layer_of(items: Sequence[Sequence[int]], item: int) -> int:
    """Layer that holds an item."""
    return next(layer for layer, row in enumerate(items) if item in row)


def _places(
    items: list[list[int]], segments: Segments, half: list[float], gap: float
) -> list[float]:
    """Sideways position of each item, from the best of several orders of the layers."""
    rng = random.Random(0)  # own generator with a fixed seed: a drawing must not vary
    best: tuple[float, list[list[int]]] | None = None
    for attempt in range(12):
        rows = [list(row) for row in items]
        if attempt == 1:
            rows = [row[::-1] for row in rows]
        elif attempt > 1:
            for row in rows:
                rng.shuffle(row)
        _untangle(rows, segments)
        place = _positions(rows, segments, half, gap, line_up=False)
        length = sum(abs(place[a] - place[b]) for a, b in segments)
        width = max(place, default=0.0)
        score = _crossings(rows, segments) + 0.35 * length + 0.2 * width
        if best is None or score < best[0] - 1e-9:
            best = score, rows
    assert best is not None
    return _positions(best[1], segments, half, gap, line_up=True)


def _untangle(rows: list[list[int]], segments: Segments) -> None:
    """Order rows by the barycentre of their neighbours, then swap neighbours while it helps."""
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for a, b in segments:
        above.setdefault(b, []).append(a)
        below.setdefault(a, []).append(b)
    for sweep in range(6):
        links = below if sweep % 2 else above
        for row in reversed(rows) if sweep % 2 else rows:
            index = {item: k for other in rows for k, item in enumerate(other)}
            key = {
                item: sum(index[n] for n in links[item]) / len(links[item])
                if item in links
                else index[item]
                for item in row
            }
            row.sort(key=key.__getitem__)
    fewest = _crossings(rows, segments)
    improved = True
    while improved and fewest:
        improved = False
        for row in rows:
            for k in range(len(row) - 1):
                row[k], row[k + 1] = row[k + 1], row[k]
                crossings = _crossings(rows, segments)
                if crossings < fewest:
                    fewest, improved = crossings, True
                else:
                    row[k], row[k + 1] = row[k + 1], row[k]


def _crossings(rows: list[list[int]], segments: Segments) -> int:
    index = {item: (layer, k) for layer, row in enumerate(rows) for k, item in enumerate(row)}
    ends = [(index[a][0], index[a][1], index[b][1]) for a, b in segments]
    return sum(
        p[0] == q[0] and (p[1] - q[1]) * (p[2] - q[2]) < 0
        for p, q in itertools.combinations(ends, 2)
    )


def _positions(
    rows: list[list[int]], segments: Segments, half: list[float], gap: float, line_up: bool
) -> list[float]:
    """Positions that keep the order and distances of each row and pull neighbours together.

    Block-wise descent on the weighted distances between neighbours: first their squares, which
    centres, then by reweighting their absolute values, which lines boxes up (as Gansner et al.,
    1993, do by linear programming).
    """
    links: dict[int, list[tuple[int, float]]] = {item: [] for row in rows for item in row}
    is_waypoint = [h < BOX_HEIGHT / 4 for h in half]
    for (a, b), edges in segments.items():
        kind = is_waypoint[a] + is_waypoint[b]  # boxes and lanes each straight, lanes most
        weight = (3.0, 1.0, 6.0)[kind] * (edges if kind == 1 else 1)
        links[a].append((b, weight))
        links[b].append((a, weight))
    place = [0.0] * len(half)
    offsets = []
    for row in rows:
        offset = list(
            itertools.accumulate(
                (half[a] + half[b] + gap for a, b in itertools.pairwise(row)), initial=0.0
            )
        )[: len(row)]
        offsets.append(offset)
        for item, x in zip(row, offset, strict=True):
            place[item] = x - offset[-1] / 2
    for sweep in range(72 if line_up else 12):
        near = 0.5 * 0.91 ** (sweep - 12)  # distances below it count as squares still
        for layer in range(len(rows)) if sweep % 2 else reversed(range(len(rows))):
            row, offset = rows[layer], offsets[layer]
            wanted, weights = [], []
            for item, x in zip(row, offset, strict=True):
                pull = [
                    (place[n], w if sweep < 12 else w / max(abs(place[n] - place[item]), near))
                    for n, w in links[item]
                ]
                total = sum(w for _, w in pull) or 1e-3
                wanted.append(sum(p * w for p, w in pull) / total - x)
                weights.append(total)
            for item, x, base in zip(row, _rising(wanted, weights), offset, strict=True):
                place[item] = x + base
    left = min((place[i] - half[i] for i in range(len(half))), default=0.0)
    return [x - left + MARGIN for x in place]


def _rising(values: list[float], weights: list[float]) -> list[float]:
    """Nearest non-decreasing sequence by weighted squares: pool adjacent violators."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (v1, w1, n1), (v2, w2, n2) = pools.pop(-2), pools.pop()
            pools.append(((v1 * w1 + v2 * w2) / (w1 + w2), w1 + w2, n1 + n2))
    return [value for value, _, count in pools for _ in range(count)]


def _ports(
    segments: Segments, place: list[float], nodes: int, across: float
) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
    """Where each segment leaves and enters: spread over the side of a box, at a waypoint itself."""
    start = {segment: place[segment[0]] for segment in segments}
    end = {segment: place[segment[1]] for segment in segments}
    crowd: dict[tuple[tuple[int, int], int], int] = {}
    for side, ends in ((0, start), (1, end)):
        for v in range(nodes):
            own = [s for s in segments if s[side] == v]
            own.sort(key=lambda s: place[s[1 - side]])
            step = min(0.16, 0.62 * across / max(len(own) - 1, 1))
            for k, segment in enumerate(own):
                ends[segment] += step * (k - (len(own) - 1) / 2)
                crowd[segment, side] = len(own)
    for segment in segments:  # an end that has its side to itself moves to make the edge straight
        if abs(start[segment] - end[segment]) <= 0.31 * across:
            if crowd.get((segment, 1)) == 1:
                end[segment] = start[segment]
            elif crowd.get((segment, 0)) == 1:
                start[segment] = end[segment]
    return start, end

// Layered layout of a cell: a port of archrep/plots/layout.py, where each step is explained.

const BOX = { width: 1, height: 0.32 }; // lengths are in box widths throughout
const HEAD = 0.085;
const MARGIN = 0.06;
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Boxes, edge routes and arrow tips of a cell; everything lies in 0..width x 0..height. */
function layoutOf(cell) {
  const size = cell.ops.length;
  const inputs = cell.ops.filter((_, v) => !predecessors(cell, v).length).length;
  const down = inputs <= 1;
  const depth = layersOf(cell);
  const { rows, chains } = withWaypoints(cell, depth);
  const segments = segmentsOf(chains);
  const layer = [];
  rows.forEach((row, at) => row.forEach((item) => (layer[item] = at)));
  const [across, along] = down ? [BOX.width, BOX.height] : [BOX.height, BOX.width];
  const half = layer.map((_, item) => (item < size ? across / 2 : 0.03));
  const place = placesOf(rows, segments, half, down ? 0.17 : 0.16);
  portsOf(segments, place, size, across);

  const tops = [MARGIN];
  for (let at = 0; at + 1 < rows.length; at++) {
    const reach = segments.filter((s) => layer[s.a] === at).map((s) => Math.abs(s.end - s.start));
    const widest = Math.max(0, ...reach);
    const gap = down ? Math.min(0.3 + 0.1 * widest, 0.6) : Math.min(0.42 + 0.12 * widest, 0.8);
    tops.push(tops[at] + along + gap);
  }
  const point = (sideways, forward) => (down ? [sideways, forward] : [forward, sideways]);
  const boxes = cell.ops.map((_, v) => point(place[v], tops[depth[v]] + along / 2));
  const routes = chains.map((chain) => {
    const target = chain[chain.length - 1];
    const first = segments.find((s) => s.a === chain[0] && s.b === chain[1]);
    const route = [point(first.start, tops[layer[chain[0]]] + along)];
    let x1;
    for (let k = 0; k + 1 < chain.length; k++) {
      const segment = segments.find((s) => s.a === chain[k] && s.b === chain[k + 1]);
      const at = layer[chain[k]];
      const y0 = tops[at] + along;
      const last = chain[k + 1] === target;
      const y1 = tops[at + 1] - (last ? HEAD : 0);
      x1 = segment.end;
      route.push(point(segment.start, (y0 + y1) / 2), point(x1, (y0 + y1) / 2), point(x1, y1));
      if (!last) for (const part of [1, 2, 3]) route.push(point(x1, y1 + (along * part) / 3));
    }
    return { from: chain[0], to: target, route, tip: point(x1, tops[layer[target]]) };
  });
  const breadth = Math.max(...place.map((x, item) => x + half[item])) + MARGIN;
  const [width, height] = point(breadth, tops[tops.length - 1] + along + MARGIN);
  return { boxes, routes, width, height };
}

function layersOf(cell) {
  const depth = [];
  const nodes = cell.ops.map((_, v) => v);
  for (const v of nodes) depth[v] = Math.max(0, ...predecessors(cell, v).map((u) => depth[u] + 1));
  for (const v of nodes.reverse()) {
    const [before, after] = [predecessors(cell, v), successors(cell, v)];
    if (before.length && after.length > before.length) {
      depth[v] = Math.min(...after.map((w) => depth[w])) - 1;
    }
  }
  return depth;
}

/** Items of each layer (nodes, then waypoints) and the chain of items of every edge. */
function withWaypoints(cell, depth) {
  const rows = Array.from({ length: Math.max(...depth) + 1 }, () => []);
  depth.forEach((at, v) => rows[at].push(v));
  const waypoints = new Map(); // long edges to a target join
  const chains = cell.edges.map(([i, j]) => {
    const chain = [i];
    for (let at = depth[i] + 1; at < depth[j]; at++) {
      const key = `${j},${at}`;
      if (!waypoints.has(key)) {
        waypoints.set(key, cell.ops.length + waypoints.size);
        rows[at].push(waypoints.get(key));
      }
      chain.push(waypoints.get(key));
    }
    return [...chain, j];
  });
  return { rows, chains };
}

/** Pairs of items in neighbouring layers that a line joins, and how many edges run through it. */
function segmentsOf(chains) {
  const found = new Map();
  for (const chain of chains) {
    for (let k = 0; k + 1 < chain.length; k++) {
      const key = `${chain[k]},${chain[k + 1]}`;
      if (!found.has(key)) found.set(key, { a: chain[k], b: chain[k + 1], edges: 0 });
      found.get(key).edges++;
    }
  }
  return [...found.values()].sort((s, t) => s.a - t.a || s.b - t.b);
}

/** Sideways position of each item, from the best of several orders of the layers. */
function placesOf(rows, segments, half, gap) {
  const random = fixedRandom();
  let best = null;
  for (let attempt = 0; attempt < 12; attempt++) {
    const tried = rows.map((row) => [...row]);
    if (attempt === 1) tried.forEach((row) => row.reverse());
    else if (attempt > 1) tried.forEach((row) => shuffle(row, random));
    untangle(tried, segments);
    const place = positionsOf(tried, segments, half, gap, false);
    const length = sum(segments.map((s) => Math.abs(place[s.a] - place[s.b])));
    const score = crossings(tried, segments) + 0.35 * length + 0.2 * Math.max(...place);
    if (!best || score < best.score - 1e-9) best = { score, rows: tried };
  }
  return positionsOf(best.rows, segments, half, gap, true);
}

/** Always the same sequence of numbers in 0..1 (Park and Miller, 1988): a drawing must not vary. */
function fixedRandom() {
  let state = 1;
  return () => (state = (state * 48271) % 2147483647) / 2147483647;
}

function shuffle(row, random) {
  for (let k = row.length - 1; k > 0; k--) {
    const other = Math.floor(random() * (k + 1));
    [row[k], row[other]] = [row[other], row[k]];
  }
}

/** Order rows by the barycentre of their neighbours, then swap neighbours while it helps. */
function untangle(rows, segments) {
  for (let sweep = 0; sweep < 6; sweep++) {
    const [self, other] = sweep % 2 ? ["a", "b"] : ["b", "a"];
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      const index = indexIn(rows);
      const key = new Map(row.map((item) => {
        const links = segments.filter((s) => s[self] === item).map((s) => index.get(s[other]));
        return [item, links.length ? sum(links) / links.length : index.get(item)];
      }));
      row.sort((a, b) => key.get(a) - key.get(b));
    }
  }
  let fewest = crossings(rows, segments);
  for (let improved = true; improved && fewest; ) {
    improved = false;
    for (const row of rows) {
      for (let k = 0; k + 1 < row.length; k++) {
        [row[k], row[k + 1]] = [row[k + 1], row[k]];
        const now = crossings(rows, segments);
        if (now < fewest) [fewest, improved] = [now, true];
        else [row[k], row[k + 1]] = [row[k + 1], row[k]];
      }
    }
  }
}

const indexIn = (rows) => new Map(rows.flatMap((row) => row.map((item, k) => [item, k])));

function crossings(rows, segments) {
  const layer = new Map(rows.flatMap((row, at) => row.map((item) => [item, at])));
  const index = indexIn(rows);
  const ends = segments.map((s) => [layer.get(s.a), index.get(s.a), index.get(s.b)]);
  let found = 0;
  ends.forEach((p, k) => {
    for (const q of ends.slice(k + 1)) {
      if (p[0] === q[0] && (p[1] - q[1]) * (p[2] - q[2]) < 0) found++;
    }
  });
  return found;
}

/** Positions that keep the order and distances of each row and pull neighbours together. */
function positionsOf(rows, segments, half, gap, lineUp) {
  const links = half.map(() => []);
  const waypoint = half.map((h) => (h < BOX.height / 4 ? 1 : 0));
  for (const { a, b, edges } of segments) {
    const kind = waypoint[a] + waypoint[b]; // boxes and lanes each straight, lanes most
    const weight = [3, 1, 6][kind] * (kind === 1 ? edges : 1);
    links[a].push([b, weight]);
    links[b].push([a, weight]);
  }
  const place = half.map(() => 0);
  const offsets = rows.map((row) => {
    const offset = [0];
    for (let k = 0; k + 1 < row.length; k++) {
      offset.push(offset[k] + half[row[k]] + half[row[k + 1]] + gap);
    }
    row.forEach((item, k) => (place[item] = offset[k] - offset[offset.length - 1] / 2));
    return offset;
  });
  for (let sweep = 0; sweep < (lineUp ? 72 : 12); sweep++) {
    const near = 0.5 * 0.91 ** (sweep - 12); // distances below it count as squares still
    for (let k = 0; k < rows.length; k++) {
      const at = sweep % 2 ? k : rows.length - 1 - k;
      const [row, offset] = [rows[at], offsets[at]];
      const weights = [];
      const wanted = row.map((item, n) => {
        const pull = links[item].map(([other, weight]) => [
          place[other],
          sweep < 12 ? weight : weight / Math.max(Math.abs(place[other] - place[item]), near),
        ]);
        const total = sum(pull.map(([, weight]) => weight)) || 1e-3;
        weights.push(total);
        return sum(pull.map(([x, weight]) => x * weight)) / total - offset[n];
      });
      rising(wanted, weights).forEach((x, n) => (place[row[n]] = x + offset[n]));
    }
  }
  const left = Math.min(...place.map((x, item) => x - half[item]));
  return place.map((x) => x - left + MARGIN);
}

/** Nearest non-decreasing sequence by weighted squares: pool adjacent violators. */
function rising(values, weights) {
  const pools = [];
  values.forEach((value, k) => {
    pools.push([value, weights[k], 1]);
    while (pools.length > 1 && pools[pools.length - 2][0] > pools[pools.length - 1][0]) {
      const [[v1, w1, n1], [v2, w2, n2]] = pools.splice(-2);
      pools.push([(v1 * w1 + v2 * w2) / (w1 + w2), w1 + w2, n1 + n2]);
    }
  });
  return pools.flatMap(([value, , times]) => new Array(times).fill(value));
}

/** Where each segment leaves and enters: spread over the side of a box, at a waypoint itself. */
function portsOf(segments, place, nodes, across) {
  for (const s of segments) Object.assign(s, { start: place[s.a], end: place[s.b], out: 0, in: 0 });
  for (const [self, other, port, crowd] of [["a", "b", "start", "out"], ["b", "a", "end", "in"]]) {
    for (let v = 0; v < nodes; v++) {
      const own = segments.filter((s) => s[self] === v);
      own.sort((s, t) => place[s[other]] - place[t[other]]);
      const step = Math.min(0.16, (0.62 * across) / Math.max(own.length - 1, 1));
      own.forEach((s, k) => {
        s[port] += step * (k - (own.length - 1) / 2);
        s[crowd] = own.length;
      });
    }
  }
  for (const s of segments) { // an end that has its side to itself moves to make the edge straight
    if (Math.abs(s.start - s.end) > 0.31 * across) continue;
    if (s.in === 1) s.end = s.start;
    else if (s.out === 1) s.start = s.end;
  }
}

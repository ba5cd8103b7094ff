// Exact graph edit distance: a port of archrep/cells/edit_distance.py, for pages and their worker.

function bitCount(mask) {
  let bits = 0;
  for (let rest = mask; rest; rest &= rest - 1) bits++;
  return bits;
}

function neighbourMasks(cell) {
  const preds = new Array(cell.ops.length).fill(0);
  const succs = new Array(cell.ops.length).fill(0);
  for (const [i, j] of cell.edges) {
    preds[j] |= 1 << i;
    succs[i] |= 1 << j;
  }
  return [preds, succs];
}

/**
 * Fewest unit edits (insert or delete a node or an edge, change an operation) between two cells.
 * `bound`: stop looking for anything that is not smaller, and return it then.
 */
function editDistance(first, second, bound = Infinity) {
  if (first.ops.length > second.ops.length) [first, second] = [second, first];
  const [n, m] = [first.ops.length, second.ops.length];
  const [in1, out1] = neighbourMasks(first);
  const [in2, out2] = neighbourMasks(second);
  let best = Math.min(bound, n + m + first.edges.length + second.edges.length);
  const placedPreds = new Array(n).fill(0); // nodes of `second` that stand for placed predecessors

  // Place nodes k.. of `first`; `cost` is that of the nodes before and of the edges among them.
  function visit(k, used, cost) {
    const free = [];
    for (let w = 0; w < m; w++) if (!((used >> w) & 1)) free.push(w);
    const insertion = free.map((w) =>
      2 + 2 * (bitCount(in2[w] & used) + bitCount(out2[w] & used))
      + bitCount(in2[w] & ~used) + bitCount(out2[w] & ~used));
    if (k === n) {
      best = Math.min(best, cost + insertion.reduce((sum, cost2) => sum + cost2, 0) / 2);
      return;
    }
    // Twice the cost of node u on each free node, as far as it is certain: an edge to an open node
    // is shared by its two ends, so each end counts a half.
    const costs = [];
    for (let u = k; u < n; u++) {
      const openPreds = bitCount(in1[u] >> k);
      const afters = bitCount(out1[u]);
      costs.push(free.map((w) =>
        2 * ((first.ops[u] === second.ops[w] ? 0 : 1)
          + bitCount(placedPreds[u] ^ (in2[w] & used)) + bitCount(out2[w] & used))
        + Math.abs(openPreds - bitCount(in2[w] & ~used))
        + Math.abs(afters - bitCount(out2[w] & ~used))));
    }
    // No assignment costs less than the cheapest entries of all rows, or of all columns.
    const cheapest = [...insertion].sort((a, b) => a - b).slice(0, m - n);
    let byRow = cheapest.reduce((sum, entry) => sum + entry, 0);
    for (const row of costs) byRow += Math.min(...row);
    if (2 * cost + byRow > 2 * best - 2) return;
    let byColumn = 0;
    free.forEach((_, at) => {
      const least = Math.min(...costs.map((row) => row[at]));
      byColumn += m > n ? Math.min(least, insertion[at]) : least;
    });
    if (2 * cost + byColumn > 2 * best - 2) return;
    const order = free.map((w, at) => [costs[0][at], w]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (const [, w] of order) {
      const total = cost + (first.ops[k] === second.ops[w] ? 0 : 1)
        + bitCount(placedPreds[k] ^ (in2[w] & used)) + bitCount(out2[w] & used);
      if (total >= best) continue;
      for (let u = k + 1; u < n; u++) if ((out1[k] >> u) & 1) placedPreds[u] |= 1 << w;
      visit(k + 1, used | (1 << w), total);
      for (let u = k + 1; u < n; u++) if ((out1[k] >> u) & 1) placedPreds[u] ^= 1 << w;
    }
  }

  visit(0, 0, 0);
  return best;
}

// The thread that looks for neighbours, so that the map never waits for it.

let planes; // steps of every vector, dimension after dimension
let steps; // size of a step of each dimension
let squares; // of the distances of all cells

/** Rows and distances of the nearest other cells, exact for the vectors as they are stored. */
function nearest(row, wanted) {
  const count = squares.length;
  const worth = new Float32Array(256);
  squares.fill(0);
  for (let d = 0; d < steps.length; d++) {
    const plane = planes.subarray(d * count, (d + 1) * count);
    const own = plane[row];
    for (let code = 0; code < 256; code++) worth[code] = (steps[d] * (code - own)) ** 2;
    for (let k = 0; k < count; k++) squares[k] += worth[plane[k]];
  }
  const rows = [];
  let furthest = Infinity;
  for (let k = 0; k < count; k++) {
    if (squares[k] >= furthest || k === row) continue;
    let at = rows.length;
    while (at > 0 && squares[rows[at - 1]] > squares[k]) at--;
    rows.splice(at, 0, k);
    if (rows.length > wanted) rows.pop();
    if (rows.length === wanted) furthest = squares[rows[wanted - 1]];
  }
  return { rows, distances: rows.map((other) => Math.sqrt(squares[other])) };
}

self.onmessage = ({ data }) => {
  if (data.kind === "vectors") {
    ({ planes, steps } = data);
    squares = new Float32Array(data.count);
  } else if (data.kind === "nearest") {
    self.postMessage({ ticket: data.ticket, ...nearest(data.row, data.wanted) });
  } else {
    const edits = editDistance(data.first, data.second);
    self.postMessage({ ticket: data.ticket, place: data.place, edits });
  }
};

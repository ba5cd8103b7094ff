// Cells of the space: reading them from their arrays, writing and reading their notation.

const PAD = 255;
const operations = about.operations;
const codeOf = new Map(operations.map((look, code) => [look.name, code]));
const table = { ops: null, edges: null, ids: null }; // filled in by `readCells`

async function readCells() {
  table.ops = await readArray("ops");
  table.edges = await readArray("edges");
  table.ids = "ids" in about.arrays ? await readArray("ids") : null;
}

/** The cell of a row: operation codes and edges [i, j], in the order of Python's `Cell`. */
function cellOf(row) {
  const ops = [];
  for (let v = 0; v < about.nodes; v++) {
    const code = table.ops[v * count + row];
    if (code !== PAD) ops.push(code);
  }
  const edges = [];
  for (let i = 0; i < ops.length; i++) {
    for (let j = i + 1; j < ops.length; j++) {
      const bit = i + (j * (j - 1)) / 2;
      if ((table.edges[(bit >> 3) * count + row] >> (bit & 7)) & 1) edges.push([i, j]);
    }
  }
  return { ops, edges };
}

const predecessors = (cell, v) => cell.edges.filter(([, j]) => j === v).map(([i]) => i);
const successors = (cell, v) => cell.edges.filter(([i]) => i === v).map(([, j]) => j);

/** Official index of a row, or its row in the embeddings file. */
const idOf = (row) => (table.ids ? table.ids[row] : row);

/** Row of an official index; -1 if the page lacks it. */
function rowOfId(id) {
  if (!Number.isInteger(id) || id < 0) return -1;
  if (!table.ids) return id < count ? id : -1;
  const row = lowerBound(count, (k) => table.ids[k] < id);
  return row < count && table.ids[row] === id ? row : -1;
}

// Notations ------------------------------------------------------------------------------------
// `write` gives the official text of a cell; `read` a cell of a text, or null if it is none.

const matrixNotation = {
  hint: "matrix and ops",
  example: '{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"]}',
  write(cell) {
    const size = cell.ops.length;
    const rows = Array.from({ length: size }, () => new Array(size).fill(0));
    for (const [i, j] of cell.edges) rows[i][j] = 1;
    const matrix = rows.map((row) => `[${row.join(", ")}]`).join(", ");
    const names = cell.ops.map((code) => `"${operations[code].name}"`).join(", ");
    return `{"matrix": [${matrix}], "ops": [${names}]}`;
  },
  read(text) {
    try {
      const { matrix, ops } = JSON.parse(text);
      const edges = [];
      matrix.forEach((row, i) => row.forEach((on, j) => on && edges.push([i, j])));
      return named(ops, edges);
    } catch {
      return null;
    }
  },
};

const NB201_SLOTS = [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]]; // official edges
const NB201_EDGES = [
  [0, 1], [0, 2], [0, 4], [1, 3], [1, 5], [2, 6], [3, 6], [4, 7], [5, 7], [6, 7],
];

const architectureString = {
  hint: "architecture string",
  example: "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|",
  write(cell) {
    const nodes = [1, 2, 3].map((target) => {
      const slots = NB201_SLOTS.flatMap(([source, end], k) =>
        end === target ? [`${operations[cell.ops[1 + k]].name}~${source}`] : []);
      return `|${slots.join("|")}|`;
    });
    return nodes.join("+");
  },
  read(text) {
    const slots = [...text.matchAll(/([a-z0-9_]+)~([0-9])/g)].map((match) => match[1]);
    const cell = slots.length === 6 && named(["input", ...slots, "output"], NB201_EDGES);
    return cell && this.write(cell) === text ? cell : null;
  },
};

const DARTS_OUTPUT = 10;

const pairList = {
  hint: "list of pairs",
  example: "[('sep_conv_3x3', 0), ...]",
  write(cell) {
    const pairs = [2, 3, 4, 5, 6, 7, 8, 9].map((v) => {
      const first = predecessors(cell, v)[0];
      const source = first < 2 ? first : first / 2 + 1; // the two nodes of a block are 2b + 2, + 3
      return `('${operations[cell.ops[v]].name}', ${source})`;
    });
    return `[${pairs.join(", ")}]`;
  },
  read(text) {
    const pairs = [...text.matchAll(/\(\s*['"](\w+)['"]\s*,\s*(\d)\s*\)/g)];
    if (pairs.length !== 8) return null;
    const edges = pairs.map((_, k) => [2 + k, DARTS_OUTPUT]);
    pairs.forEach(([, , digit], k) => {
      const source = Number(digit);
      const nodes = source < 2 ? [source] : [2 * source - 2, 2 * source - 1];
      for (const node of nodes) edges.push([node, 2 + k]);
    });
    const ends = ["c_{k-2}", "c_{k-1}", "c_{k}"];
    return named([ends[0], ends[1], ...pairs.map((pair) => pair[1]), ends[2]], edges);
  },
};

const widths = {
  hint: "widths",
  example: "8:16:24:32:40",
  write: (cell) => cell.ops.slice(1, -1).map((code) => operations[code].name.slice(6)).join(":"),
  read(text) {
    const parts = text.split(":").map((width) => `width_${width}`);
    const chain = [0, 1, 2, 3, 4, 5].map((v) => [v, v + 1]);
    return parts.length === 5 ? named(["input", ...parts, "output"], chain) : null;
  },
};

const NOTATIONS = {
  nasbench101: matrixNotation,
  nasbench201: architectureString,
  darts: pairList,
  "nats-size": widths,
};
const notation = NOTATIONS[about.space.name] ?? matrixNotation;

/** A cell of operation names, or null if one is unknown or an edge runs backwards. */
function named(names, edges) {
  const ops = names.map((name) => codeOf.get(name));
  const forward = edges.every(([i, j]) => i < j && j < ops.length);
  return forward && !ops.includes(undefined) ? { ops, edges } : null;
}

/** Row of a cell, however its nodes are ordered; -1 if the page lacks it. */
function rowOfCell(cell) {
  const wanted = new Uint8Array(256);
  for (const code of cell.ops) wanted[code]++;
  wanted[PAD] = about.nodes - cell.ops.length;
  const tally = new Uint8Array(256);
  for (let row = 0; row < count; row++) {
    tally.fill(0);
    let fits = true;
    for (let v = 0; fits && v < about.nodes; v++) {
      const code = table.ops[v * count + row];
      fits = ++tally[code] <= wanted[code];
    }
    if (!fits) continue;
    const other = cellOf(row);
    if (other.edges.length === cell.edges.length && editDistance(cell, other, 1) === 0) return row;
  }
  return -1;
}

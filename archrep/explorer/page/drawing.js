// A cell as SVG, as archrep/plots/cell.py draws it; lines follow the theme by their classes.

const UNIT = 100; // a box width
const FONT = 0.128;
const CORNER = 0.07;

const coordinates = (points) => points.flat().map((x) => (x * UNIT).toFixed(1)).join(" ");

function headOf(base, tip) {
  const aside = [-(tip[1] - base[1]) / 2, (tip[0] - base[0]) / 2];
  return [[base[0] + aside[0], base[1] + aside[1]], tip, [base[0] - aside[0], base[1] - aside[1]]];
}

const escapeText = (text) =>
  text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** SVG text of a cell. */
function drawingOf(cell) {
  const plan = layoutOf(cell);
  const [width, height] = [plan.width * UNIT, plan.height * UNIT].map(Math.round);
  const faint = ({ from, to }) => [from, to].some((v) => operations[cell.ops[v]].dashed);
  const edges = [...plan.routes].sort((a, b) => faint(b) - faint(a)).map((edge) => {
    const { route, tip } = edge;
    const path = `M${coordinates(route.slice(0, 1))} C${coordinates(route.slice(1))}`;
    const head = coordinates(headOf(route[route.length - 1], tip));
    return `<g class="${faint(edge) ? "edge faint" : "edge"}"><path d="${path}"/>`
      + `<polygon points="${head}"/></g>`;
  });
  const nodes = cell.ops.map((code, v) => {
    const look = operations[code];
    const [x, y] = plan.boxes[v].map((place) => place * UNIT);
    const [w, h] = [BOX.width * UNIT, BOX.height * UNIT];
    return `<g><title>${escapeText(look.name)}</title>`
      + `<rect x="${(x - w / 2).toFixed(1)}" y="${(y - h / 2).toFixed(1)}" width="${w}"`
      + ` height="${h}" rx="${CORNER * UNIT}" fill="${look.fill}" stroke="${look.line}"`
      + `${look.dashed ? ' stroke-dasharray="4 3"' : ""}/>`
      + `<text x="${x.toFixed(1)}" y="${(y + 0.36 * FONT * UNIT).toFixed(1)}"`
      + ` fill="${look.text}">${escapeText(look.label)}</text></g>`;
  });
  return `<svg class="cell" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"`
    + ` role="img" aria-label="${escapeText(describeCell(cell))}" font-size="${FONT * UNIT}"`
    + ` text-anchor="middle" stroke-width="1.3">${edges.join("")}${nodes.join("")}</svg>`;
}

/** A cell in words, for those who do not see the drawing. */
function describeCell(cell) {
  const labels = cell.ops.map((code) => operations[code].label).join(", ");
  return `${cell.ops.length} nodes (${labels}), ${cell.edges.length} edges`;
}

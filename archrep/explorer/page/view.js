// Which part of the map is seen, and which cells are near a place of the screen.

const view = { x: 0.5, y: 0.5, scale: 1, width: 1, height: 1 }; // scale: pixels across the map
const MOST_ZOOM = 2000;
let positions; // u16 x of every cell, y of every cell: interleaved
let grid; // cells by places

const wholeScale = () => Math.min(view.width, view.height) * 0.92;
const zoomOf = () => view.scale / wholeScale();

const screenX = (x) => (x - view.x) * view.scale + view.width / 2;
const screenY = (y) => (view.y - y) * view.scale + view.height / 2; // y grows upwards on the map
const mapX = (sx) => (sx - view.width / 2) / view.scale + view.x;
const mapY = (sy) => view.y - (sy - view.height / 2) / view.scale;
const placeOf = (row) =>
  [screenX(positions[2 * row] / 65535), screenY(positions[2 * row + 1] / 65535)];

/** Change the view; keeps the map within reach. */
function setView(x, y, scale) {
  view.scale = Math.min(Math.max(scale, wholeScale() * 0.5), wholeScale() * MOST_ZOOM);
  view.x = Math.min(Math.max(x, 0), 1);
  view.y = Math.min(Math.max(y, 0), 1);
  onView();
}

const showAll = () => setView(0.5, 0.5, wholeScale());
const pan = (dx, dy) => setView(view.x - dx / view.scale, view.y + dy / view.scale, view.scale);

/** Zoom by a factor about a place of the screen, which stays where it is. */
function zoomAt(factor, sx = view.width / 2, sy = view.height / 2) {
  const [x, y] = [mapX(sx), mapY(sy)];
  const before = view.scale;
  const scale = Math.min(Math.max(before * factor, wholeScale() * 0.5), wholeScale() * MOST_ZOOM);
  const ratio = before / scale;
  setView(x + (view.x - x) * ratio, y + (view.y - y) * ratio, scale);
}

/** Glide to a view. */
let glide = 0;
function glideTo(x, y, scale, duration = 350) {
  cancelAnimationFrame(glide);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    setView(x, y, scale);
    return;
  }
  const from = { ...view };
  const begin = performance.now();
  const step = (now) => {
    const t = Math.min(Math.max((now - begin) / duration, 0), 1);
    const eased = t * t * (3 - 2 * t);
    const at = (a, b) => a + (b - a) * eased;
    setView(at(from.x, x), at(from.y, y), from.scale * (scale / from.scale) ** eased);
    if (t < 1) glide = requestAnimationFrame(step);
  };
  glide = requestAnimationFrame(step);
}

// Grid -------------------------------------------------------------------------------------------

/** Cells sorted by squares of the map: `rows[begin[s]..begin[s + 1]]` lie in square s. */
function makeGrid() {
  const side = count > 50000 ? 256 : 64;
  const square = new Uint16Array(count);
  const begin = new Uint32Array(side * side + 1);
  const shift = Math.log2(65536 / side);
  for (let row = 0; row < count; row++) {
    square[row] = (positions[2 * row + 1] >> shift) * side + (positions[2 * row] >> shift);
    begin[square[row] + 1]++;
  }
  for (let s = 0; s < side * side; s++) begin[s + 1] += begin[s];
  const next = begin.slice();
  const rows = new Uint32Array(count);
  for (let row = 0; row < count; row++) rows[next[square[row]]++] = row;
  return { side, begin, rows, square };
}

/** The shown cell nearest to a place of the screen, within so many pixels; -1 if there is none. */
function nearestOnScreen(sx, sy, radius) {
  const reach = radius / view.scale;
  const [x, y] = [mapX(sx), mapY(sy)];
  const inGrid = (place) => Math.min(Math.max(Math.floor(place * grid.side), 0), grid.side - 1);
  let best = -1;
  let least = (reach * 65535) ** 2;
  for (let gy = inGrid(y - reach); gy <= inGrid(y + reach); gy++) {
    const from = grid.begin[gy * grid.side + inGrid(x - reach)];
    const to = grid.begin[gy * grid.side + inGrid(x + reach) + 1];
    for (let k = from; k < to; k++) {
      const row = grid.rows[k];
      if (!shown[row]) continue;
      const squared = (positions[2 * row] - x * 65535) ** 2
        + (positions[2 * row + 1] - y * 65535) ** 2;
      if (squared < least || (squared === least && row < best)) [best, least] = [row, squared];
    }
  }
  return best;
}

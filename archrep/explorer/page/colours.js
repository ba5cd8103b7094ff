// From values to colours: viridis for numbers, colours of operations for categories, grey for none.

function ofHex(hex) {
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

// Matplotlib's viridis (Smith and van der Walt, 2015) at 11 places: even steps for every eye.
const VIRIDIS = ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884",
  "#44bf70", "#7ad151", "#bddf26", "#fde725"].map(ofHex);
const NO_VALUE = 255; // the shade of a cell without a value

const isDark = () => document.documentElement.dataset.theme === "dark";

/** Viridis at 0..1, without the end that would vanish on the page: yellow on white, or violet. */
function viridis(share) {
  const [from, to] = isDark() ? [0.13, 1] : [0, 0.93];
  const at = (from + (to - from) * Math.min(Math.max(share, 0), 1)) * (VIRIDIS.length - 1);
  const k = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return VIRIDIS[k].map((low, c) => Math.round(low + (VIRIDIS[k + 1][c] - low) * (at - k)));
}

const rgb = (colour) => `rgb(${colour.join(", ")})`;
const greyOf = () => (isDark() ? [74, 78, 88] : [192, 195, 201]);

/** How many shades a column has, and the colour of each. */
function paletteOf(column) {
  if (!column) return [isDark() ? [120, 170, 230] : [46, 94, 158]];
  if (column.kind === "categories") return column.categories.map(([, colour]) => ofHex(colour));
  if (column.kind === "steps") {
    const last = Math.max(column.distinct.length - 1, 1);
    return Array.from(column.distinct, (_, k) => viridis(k / last));
  }
  return Array.from({ length: NO_VALUE }, (_, k) => viridis(k / (NO_VALUE - 1)));
}

/** Shade of every cell: a place in the palette, or NO_VALUE. */
function shadesOf(column, ranked) {
  const shades = new Uint8Array(count);
  if (!column) return shades;
  const span = column.high - column.low || 1;
  const shareOf = ranked ? (value) => column.rank(value) : (value) => (value - column.low) / span;
  const scaled = (value) => Math.round(Math.min(Math.max(shareOf(value), 0), 1) * (NO_VALUE - 1));
  if (!column.distinct) {
    for (let row = 0; row < count; row++) {
      const value = column.codes[row];
      shades[row] = Number.isNaN(value) ? NO_VALUE : scaled(value);
    }
    return shades;
  }
  const shadeOf = column.kind === "continuous"
    ? Uint8Array.from(column.distinct, scaled)
    : Uint8Array.from(column.distinct, (value, code) => (column.categories ? value : code));
  for (let row = 0; row < count; row++) {
    const code = column.codes[row];
    shades[row] = code === column.absent ? NO_VALUE : shadeOf[code];
  }
  return shades;
}

// Colours of the cloud and what they mean.

/** Colour by a column, by its values or their ranks or what suits; all alike for an empty name. */
async function setColour(name, rankedOrNot) {
  const column = columnNamed(name) ?? null;
  if (column) await column.load();
  const ranked = column?.kind === "continuous" && (rankedOrNot ?? column.skewed);
  if (column === state.colour && ranked === state.ranked && cloud.layers) return;
  state.colour = column;
  state.ranked = ranked;
  state.shades = shadesOf(column, ranked);
  recolourCloud(state.shades, paletteOf(column));
  reorderCloud(state.shades);
  $("colour").value = column ? column.name : "";
  $("ranked").checked = ranked;
  $("ranked-row").hidden = column?.kind !== "continuous";
  drawLegend();
  saveLink();
}

/** Colours anew, as after a change of theme. */
function repaint() {
  recolourCloud(state.shades, paletteOf(state.colour));
  cloud.job = null;
  drawSoon();
  drawLegend();
}

function drawLegend() {
  const column = state.colour;
  const left = shownCount === count ? "" : `${grouped(shownCount)} of `;
  const cells = `<p class="count">${left}${grouped(count)} cells</p>`;
  $("colour-note").textContent = noteOf(column);
  if (!column) {
    $("legend").innerHTML = cells;
    return;
  }
  const tally = new Uint32Array(256); // shown cells by shade
  for (let row = 0; row < count; row++) tally[state.shades[row]] += shown[row];
  const items = column.kind === "continuous" ? [] : swatches(column, tally);
  if (tally[NO_VALUE]) items.push(swatch(greyOf(), "not recorded", tally[NO_VALUE]));
  $("legend").innerHTML = `<p class="what">${escapeText(column.label)}</p>`
    + `${column.kind === "continuous" ? bar(column) : ""}<ul>${items.join("")}</ul>${cells}`;
  for (const filled of $("legend").querySelectorAll("[data-fill]")) {
    filled.style.background = filled.dataset.fill; // a policy forbids style attributes
  }
}

function bar(column) {
  const stops = [0, 0.2, 0.4, 0.6, 0.8, 1].map((share) => rgb(viridis(share))).join(", ");
  const colours = `<div class="bar" data-fill="linear-gradient(to right, ${stops})"></div>`;
  const ends = (...texts) =>
    `${colours}<p class="ends">${texts.map((text) => `<span>${text}</span>`).join("")}</p>`;
  if (state.ranked) {
    return ends(...[column.min, column.middle, column.max].map((value) => column.format(value)));
  }
  const mark = (trimmed, sign) => (trimmed ? `${sign} ` : "");
  return ends(mark(column.low > column.min, "≤") + column.format(column.low),
    mark(column.high < column.max, "≥") + column.format(column.high));
}

function swatches(column, tally) {
  const palette = paletteOf(column);
  return Array.from(column.distinct, (value, code) => {
    const shade = column.categories ? value : code;
    return swatch(palette[shade], column.format(value), tally[shade]);
  });
}

const swatch = (colour, text, cells) =>
  `<li><i data-fill="${rgb(colour)}"></i>${escapeText(text)}<b>${grouped(cells)}</b></li>`;

function noteOf(column) {
  if (!column) return "All cells have one colour.";
  const told = column.told < count
    ? ` Recorded for ${grouped(column.told)} of ${grouped(count)} cells.`
    : "";
  const note = column.note ? ` ${column.note}` : "";
  if (column.kind !== "continuous") return `One colour a value.${told}${note}`;
  const how = state.ranked
    ? "Colours are even in the ranks of the values, with the median in the middle; they run from "
    : "The bar spans the middle 96 % of the values; they run from ";
  return how + `${column.format(column.min)} to ${column.format(column.max)}.${told}${note}`;
}

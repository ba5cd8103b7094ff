// Filters: a range of any column; a cell is shown if it lies in all of them.

const BARS = 40;
const filters = new Map(); // column name -> { column, low, high }
let shown; // 1 for every cell that is shown
let shownCount = 0;

/** Add a filter over everything a column has, or over a range. */
async function addFilter(name, low, high) {
  const column = columnNamed(name);
  if (!column) return;
  await column.load();
  filters.set(name, { column, low: low ?? column.min, high: high ?? column.max });
  listFilters();
  applyFilters();
}

/** Put filters [name, low, high] in the place of those there are. */
async function setFilters(ranges) {
  const known = ranges.filter(([name, low, high]) =>
    columnNamed(name) && Number.isFinite(low) && Number.isFinite(high));
  const changed = known.length || filters.size;
  filters.clear();
  for (const [name, low, high] of known) {
    filters.set(name, { column: await columnNamed(name).load(), low, high });
  }
  listFilters();
  if (changed) applyFilters();
  else sayShown();
}

function removeFilter(name) {
  filters.delete(name);
  listFilters();
  applyFilters();
}

/** Find out which cells are shown, and redraw. */
function applyFilters() {
  shown = new Uint8Array(count).fill(1);
  for (const { column, low, high } of filters.values()) {
    const fits = column.within(low, high);
    for (let row = 0; row < count; row++) if (shown[row] && !fits(row)) shown[row] = 0;
  }
  shownCount = shown.reduce((total, one) => total + one, 0);
  sayShown();
  if (state.hovered >= 0 && !shown[state.hovered]) hover(-1);
  $("hidden-cell")?.toggleAttribute("hidden", Boolean(shown[state.selected]));
  reorderCloud(state.shades);
  drawLegend();
  saveLink();
}

function sayShown() {
  const all = shownCount === count ? "" : ` of ${grouped(count)}`;
  $("shown").textContent = `${grouped(shownCount)}${all} cells are shown.`;
}

/** The list of filters in the panel. */
function listFilters() {
  const list = $("filters");
  list.replaceChildren(...[...filters].map(([name, filter]) => filterElement(name, filter)));
  const others = columns.filter((column) => !filters.has(column.name));
  fillSelect($("filter-add"), others, "a column …");
}

function filterElement(name, filter) {
  const { column } = filter;
  const box = document.createElement("fieldset");
  box.className = "filter";
  box.dataset.column = name;
  const scale = column.unit === "%" ? 100 : 1;
  const unit = column.unit ? ` (${column.unit})` : "";
  box.innerHTML = `<legend>${escapeText(column.label + unit)}</legend>`
    + `<svg class="histogram" viewBox="0 0 ${BARS} 20" preserveAspectRatio="none"`
    + ` aria-hidden="true">${histogram(column)}</svg>`
    + '<div class="ends"><input type="range" class="low" min="0" max="1000" aria-label="lowest">'
    + '<input type="range" class="high" min="0" max="1000" aria-label="highest"></div>'
    + '<div class="row"><label>from <input class="from" type="number" step="any"></label>'
    + '<label>to <input class="to" type="number" step="any"></label>'
    + '<button type="button" class="remove" aria-label="Remove this filter">✕</button></div>';
  const part = (selector) => box.querySelector(selector);
  const span = column.max - column.min || 1;
  const show = () => {
    part(".from").value = Number((filter.low * scale).toPrecision(10));
    part(".to").value = Number((filter.high * scale).toPrecision(10));
    part(".low").value = (1000 * (filter.low - column.min)) / span;
    part(".high").value = (1000 * (filter.high - column.min)) / span;
    box.querySelectorAll(".histogram rect").forEach((bar, k) => {
      const [from, to] = [k, k + 1].map((at) => column.min + (span * at) / BARS);
      bar.classList.toggle("out", to < filter.low || from > filter.high);
    });
  };
  const slid = (at) => {
    const value = column.min + (span * at) / 1000;
    return column.whole ? Math.round(value) : value;
  };
  const change = (low, high) => {
    if (!Number.isFinite(low) || !Number.isFinite(high)) return show();
    Object.assign(filter, { low, high });
    show();
    return applyFilters();
  };
  part(".low").oninput = () =>
    change(Math.min(slid(part(".low").valueAsNumber), filter.high), filter.high);
  part(".high").oninput = () =>
    change(filter.low, Math.max(slid(part(".high").valueAsNumber), filter.low));
  part(".from").onchange = () => change(part(".from").valueAsNumber / scale, filter.high);
  part(".to").onchange = () => change(filter.low, part(".to").valueAsNumber / scale);
  part(".remove").onclick = () => removeFilter(name);
  show();
  return box;
}

/** Bars of the numbers of cells by value; roots, so that small ones are seen. */
function histogram(column) {
  const bars = new Array(BARS).fill(0);
  const span = column.max - column.min || 1;
  column.levels.forEach((value, level) => {
    bars[Math.min(Math.floor((BARS * (value - column.min)) / span), BARS - 1)] += column.at(level);
  });
  const most = Math.sqrt(Math.max(...bars));
  return bars.map((number, k) => {
    const height = number ? Math.max((20 * Math.sqrt(number)) / most, 0.7) : 0;
    const [y, h] = [20 - height, height].map((length) => length.toFixed(2));
    return `<rect x="${k + 0.06}" y="${y}" width="0.88" height="${h}"/>`;
  }).join("");
}

/** Options of a list of columns, under the headings of their groups. */
function fillSelect(select, listed, first) {
  select.replaceChildren(new Option(first, ""));
  for (const group of new Set(listed.map((column) => column.group))) {
    const heading = document.createElement("optgroup");
    heading.label = group;
    for (const column of listed) {
      if (column.group === group) heading.append(new Option(column.label, column.name));
    }
    select.append(heading);
  }
}

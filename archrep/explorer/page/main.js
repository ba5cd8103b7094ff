// The state of the page, and its start.

const state = {
  colour: null,
  ranked: false, // whether colours follow ranks rather than values
  shades: new Uint8Array(count),
  hovered: -1,
  selected: -1,
  neighbours: [],
  ticket: 0, // of the present selection; answers to older ones are dropped
  keys: false, // whether the map was last used by keys
};

const say = (text) => ($("said").textContent = text);

function fail(text) {
  $("failure").textContent = text;
  $("failure").hidden = false;
  $("loading").hidden = true;
}

const firstColour = () =>
  (columns.find((column) => column.unit === "%") ?? columns[0] ?? { name: "" }).name;

/** Something about the view has changed. */
function onView() {
  cloud.moved = performance.now();
  drawSoon();
  saveLink();
}

let onFirstPicture;
const firstPicture = new Promise((resolve) => {
  onFirstPicture = () => {
    $("loading").hidden = true;
    performance.mark("first-picture");
    resolve();
  };
});

function setTheme(theme, chosen = true) {
  document.documentElement.dataset.theme = theme;
  if (chosen) document.documentElement.dataset.chosen = "yes";
  $("theme").textContent = theme === "dark" ? "Light" : "Dark";
  if (cloud.gl && shown) repaint();
  saveLink();
}

function fitMap() {
  const zoom = view.width > 1 ? zoomOf() : 1;
  view.width = $("map").clientWidth;
  view.height = $("map").clientHeight;
  view.scale = zoom * wholeScale();
  resizeCloud();
}

// Start ------------------------------------------------------------------------------------------

async function start() {
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    if (!document.documentElement.dataset.chosen) {
      setTheme(preferred.matches ? "dark" : "light", false);
    }
  };
  follow();
  preferred.onchange = follow;
  fillTexts();
  fillSelect($("colour"), columns, "one colour");
  if (!window.DecompressionStream) {
    fail("This browser is too old for this page: it lacks DecompressionStream. "
      + "Use one of 2023 or later.");
    return;
  }
  const [colour, ranked] = linkedColour();
  const [packed] = await Promise.all([readArray("positions"), columnNamed(colour)?.load()]);
  positions = packed;
  grid = makeGrid();
  view.width = $("map").clientWidth;
  view.height = $("map").clientHeight;
  if (!startCloud()) {
    fail("The map needs WebGL 2, and this browser has none or has it switched off. "
      + "Try another browser, or allow hardware acceleration in its settings.");
    return;
  }
  shown = new Uint8Array(count).fill(1);
  shownCount = count;
  fitMap();
  applyLinkedView();
  await setColour(colour, ranked);
  startPointers();
  new ResizeObserver(() => {
    if ($("map").clientWidth !== view.width || $("map").clientHeight !== view.height) fitMap();
  }).observe($("map"));
  await firstPicture;
  await readCells();
  for (const column of columns) await column.load();
  vectorsReady = startWorker();
  $("colour").onchange = () => setColour($("colour").value);
  $("ranked").onchange = () => setColour($("colour").value, $("ranked").checked);
  $("filter-add").onchange = () => addFilter($("filter-add").value);
  startFinder();
  startPlayer();
  startKeys();
  $("skip").onclick = () => $("panel").focus();
  $("zoom-in").onclick = () => zoomAt(1.6);
  $("zoom-out").onclick = () => zoomAt(1 / 1.6);
  $("zoom-all").onclick = () => glideTo(0.5, 0.5, wholeScale());
  $("theme").onclick = () => setTheme(isDark() ? "light" : "dark");
  $("help-open").onclick = () => $("help").showModal();
  $("copy-link").onclick = copyLink;
  $("sheet").onclick = () => {
    const open = document.body.classList.toggle("closed") === false;
    $("sheet").setAttribute("aria-expanded", String(open));
  };
  await readLink();
  window.addEventListener("hashchange", readLink);
  await vectorsReady;
  document.documentElement.dataset.ready = "yes";
  performance.mark("ready");
}

// What a test, or the console of a curious reader, can ask of the page.
window.explorer = {
  about, state, view, cloud, filters, player, columns, cellOf, idOf, placeOf, moduleHash,
  editDistance, drawingOf, find, select, setColour, setView, writeLink,
  write: (row) => notation.write(cellOf(row)),
  shownCount: () => shownCount,
};

start().catch((error) => {
  fail(`This page could not be shown: ${error.message}`);
  throw error;
});

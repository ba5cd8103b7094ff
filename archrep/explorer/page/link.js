// The address holds the view, so that a link or a reload brings it back.

const link = { ready: false, timer: 0, written: "" };

/** The part of the address after # that describes what is on the screen. */
function linkText() {
  const parts = new URLSearchParams();
  const short = (number) => String(Number(number.toPrecision(7)));
  parts.set("view", [view.x, view.y, zoomOf()].map(short).join(","));
  parts.set("colour", state.colour ? state.colour.name : "");
  if (state.ranked) parts.set("ranked", "yes");
  for (const [name, { low, high }] of filters) parts.append("filter", `${name}:${low}:${high}`);
  if (state.selected >= 0) parts.set("cell", String(idOf(state.selected)));
  if (player.rows) {
    const { name } = about.searches[player.search];
    parts.set("search", `${name}:${player.seed}:${player.step}`);
  }
  const { theme, chosen } = document.documentElement.dataset;
  if (chosen) parts.set("theme", theme);
  return parts.toString();
}

/** Write the address, a little later, since browsers limit how often it may change. */
function saveLink() {
  if (!link.ready) return;
  clearTimeout(link.timer);
  link.timer = setTimeout(writeLink, 300);
}

function writeLink() {
  clearTimeout(link.timer);
  link.written = linkText();
  history.replaceState(null, "", `#${link.written}`);
}

const linkParts = () => new URLSearchParams(location.hash.slice(1));

/** Column to colour by, and whether by rank (undefined: as suits it). */
function linkedColour() {
  const parts = linkParts();
  if (!parts.has("colour")) return [firstColour(), undefined];
  return [parts.get("colour"), parts.has("ranked")];
}

/** The view that the address names, or everything. */
function applyLinkedView() {
  const place = (linkParts().get("view") ?? "").split(",").map(Number);
  if (place.length === 3 && place.every(Number.isFinite)) {
    setView(place[0], place[1], place[2] * wholeScale());
  } else {
    showAll();
  }
}

/** Restore what the address describes; what it does not name becomes as it was at first. */
async function readLink() {
  if (link.ready && location.hash.slice(1) === link.written) return;
  link.ready = false;
  const parts = linkParts();
  if (["light", "dark"].includes(parts.get("theme"))) setTheme(parts.get("theme"));
  applyLinkedView();
  await setColour(...linkedColour());
  const ranges = parts.getAll("filter").map((filter) => filter.split(":"));
  await setFilters(ranges.map(([name, low, high]) => [name, Number(low), Number(high)]));
  select(parts.has("cell") ? rowOfId(Number(parts.get("cell"))) : -1);
  const told = (parts.get("search") ?? "").split(":");
  const [seed, step] = told.splice(-2);  // a name may hold colons
  const name = told.join(":");
  const search = about.searches.findIndex((one) => one.name === name);
  await showRun(search, Number(seed), Number(step) || undefined);
  link.ready = true;
}

async function copyLink() {
  writeLink();
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied.");
    $("copy-link").textContent = "Copied";
  } catch { // no clipboard for pages of this kind: the address bar has the link
    say("The link is in the address bar.");
    $("copy-link").textContent = "See address bar";
  }
  setTimeout(() => ($("copy-link").textContent = "Copy link"), 1600);
}

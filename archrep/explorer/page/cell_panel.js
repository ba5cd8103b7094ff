// The cell under the pointer, the selected cell, and its neighbours in latent space.

const NEIGHBOURS = 12;
let worker = null;
let vectorsReady = null; // resolves when the worker has the vectors

/** Heading of a cell: its index and, where the space has one, its hash. */
const titleOf = (row) => `${about.space.size ? "Cell" : "Row"} ${grouped(idOf(row))}`;

function figuresOf(row, listed) {
  const lines = listed.filter((column) => column.codes).map((column) => {
    const value = column.format(column.value(row));
    return `<dt>${escapeText(column.label)}</dt><dd>${escapeText(value)}</dd>`;
  });
  return `<dl>${lines.join("")}</dl>`;
}

// Hover ------------------------------------------------------------------------------------------

/** Show what is under the pointer; -1 for nothing. */
function hover(row, sx = 0, sy = 0) {
  const card = $("hover");
  if (row !== state.hovered) {
    state.hovered = row;
    card.classList.toggle("on", row >= 0);
    $("map").classList.toggle("over", row >= 0);
    askFrame();
    if (row >= 0) {
      card.innerHTML = `<h2>${titleOf(row)}</h2>${hashLine(row)}`
        + `<div class="drawing">${table.ops ? drawingOf(cellOf(row)) : ""}</div>`
        + figuresOf(row, briefly(row));
    }
  }
  if (row < 0) return;
  const [w, h] = [card.offsetWidth, card.offsetHeight];
  const x = sx + 18 + w < view.width ? sx + 18 : Math.max(sx - 18 - w, 4);
  const y = Math.min(Math.max(sy - h / 3, 4), Math.max(view.height - h - 4, 4));
  card.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
}

/** Some columns that say something of a cell: that of the colours first, then recorded ones. */
function briefly(row) {
  const recorded = (column) => (column === state.colour ? 2 : column.group === "Graph" ? 0 : 1);
  const told = columns.filter((column) =>
    column === state.colour
    || (column.codes && !column.categories && !Number.isNaN(column.value(row))));
  return told.sort((a, b) => recorded(b) - recorded(a)).slice(0, 6);
}

const hashLine = (row) =>
  hasHash && table.ops ? `<p class="hash">${moduleHash(cellOf(row))}</p>` : "";

// Selection --------------------------------------------------------------------------------------

/** Select a row, -1 for none; `look` moves the map there if it is out of sight. */
function select(row, look = false) {
  if (!vectorsReady) return; // the page is still being read
  state.selected = row;
  state.neighbours = [];
  state.ticket++;
  showSelected();
  if (row >= 0) {
    findNeighbours(row);
    $("cell-section").open = true;
    say(`${titleOf(row)} selected: ${describeCell(cellOf(row))}.`);
    if (look) lookAt(row);
  }
  askFrame();
  saveLink();
}

/** Bring a cell into sight, from beyond the border or from under the legend. */
function lookAt(row) {
  const [x, y] = [positions[2 * row] / 65535, positions[2 * row + 1] / 65535];
  const [sx, sy] = placeOf(row);
  const legend = $("legend");
  const covered = sx < legend.offsetLeft + legend.offsetWidth && sy > legend.offsetTop;
  const inSight = sx > 40 && sy > 70 && sx < view.width - 40 && sy < view.height - 60 && !covered;
  if (!inSight) glideTo(x, y, view.scale);
}

function showSelected() {
  const row = state.selected;
  const box = $("cell");
  if (row < 0) {
    box.innerHTML = '<p class="note">Click a cell on the map, or find one, to see it here with its '
      + "nearest in latent space.</p>";
    $("neighbours").replaceChildren();
    return;
  }
  const cell = cellOf(row);
  const hidden = `<p id="hidden-cell" class="note"${shown[row] ? " hidden" : ""}>A filter hides `
    + "this cell on the map.</p>";
  box.innerHTML = `<div class="row"><h2>${titleOf(row)}</h2><button type="button" id="unselect" `
    + `aria-label="Clear the selection">✕</button></div>${hashLine(row)}`
    + `<div class="drawing">${drawingOf(cell)}</div>`
    + `<p class="notation"><code>${escapeText(notation.write(cell))}</code></p>${hidden}`
    + figuresOf(row, columns);
  $("unselect").onclick = () => select(-1);
}

// Neighbours -------------------------------------------------------------------------------------

/** Start the thread that looks for neighbours, and give it the vectors. */
async function startWorker() {
  const source = new Blob([$("worker").textContent], { type: "text/javascript" });
  const address = URL.createObjectURL(source);
  worker = new Worker(address);
  URL.revokeObjectURL(address);
  worker.onmessage = ({ data }) => {
    if (data.ticket !== state.ticket) return; // another cell has been selected since
    if (data.rows) showNeighbours(data.rows, data.distances);
    else showEdits(data.place, data.edits);
  };
  worker.onerror = (event) => fail(`Neighbours cannot be computed: ${event.message}`);
  const [planes, steps] = [await readArray("vectors"), await readArray("steps")];
  arrays.delete("vectors"); // the worker has them now
  worker.postMessage({ kind: "vectors", planes, steps, count }, [planes.buffer]);
}

async function findNeighbours(row) {
  const { ticket } = state;
  $("neighbours").innerHTML = '<p class="note">Looking for neighbours …</p>';
  await vectorsReady;
  worker.postMessage({ kind: "nearest", ticket, row, wanted: NEIGHBOURS });
}

function showNeighbours(rows, distances) {
  const own = cellOf(state.selected);
  state.neighbours = rows.map((row, k) => ({ row, distance: distances[k], edits: null }));
  const items = state.neighbours.map(({ row, distance }, place) => {
    const cell = cellOf(row);
    worker.postMessage({ kind: "edit", ticket: state.ticket, place, first: own, second: cell });
    const value = state.colour ? state.colour.format(state.colour.value(row)) : "";
    return `<li><button type="button" data-row="${row}"><span class="who">${titleOf(row)}</span>`
      + `<span class="drawing">${drawingOf(cell)}</span><span>latent ${distance.toFixed(3)}</span>`
      + `<span class="edits">edits …</span><span>${escapeText(value)}</span></button></li>`;
  });
  $("neighbours").innerHTML = '<h3>Nearest in latent space</h3><p class="note">Latent: Euclidean '
    + "distance of the vectors. Edits: fewest insertions or deletions of a node or an edge and "
    + `changes of an operation.</p><ol class="neighbours">${items.join("")}</ol>`;
  for (const button of $("neighbours").querySelectorAll("button")) {
    const row = Number(button.dataset.row);
    button.onclick = () => select(row, true);
    button.onmouseenter = button.onfocus = () => {
      state.hovered = row;
      askFrame();
    };
    button.onmouseleave = button.onblur = () => {
      state.hovered = -1;
      askFrame();
    };
  }
  askFrame();
}

function showEdits(place, edits) {
  state.neighbours[place].edits = edits;
  const button = $("neighbours").querySelectorAll("button")[place];
  button.querySelector(".edits").textContent = edits === 1 ? "1 edit" : `${edits} edits`;
}

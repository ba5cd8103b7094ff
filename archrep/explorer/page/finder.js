// The box that finds a cell by its index, its hash or its official notation.

const FOUND = 8; // at most so many are listed

/** Rows that a text may mean, with what was understood; empty for an empty text. */
function find(text) {
  const asked = text.trim();
  if (!asked) return { rows: [], about: "" };
  const found = [];
  let more = 0;
  const digits = asked.replace(/[,\s]/g, "");
  if (/^\d{1,9}$/.test(digits)) {
    const row = rowOfId(Number(digits));
    if (row >= 0) found.push([row, "index"]);
  }
  if (hasHash && /^[0-9a-f]{2,32}$/i.test(asked)) {
    const [first, end] = rowsOfHash(asked.toLowerCase());
    for (let row = first; row < end && found.length < FOUND; row++) found.push([row, "hash"]);
    more = end - first;
  }
  const cell = notation.read(asked) ?? matrixNotation.read(asked);
  if (cell) {
    const row = rowOfCell(cell);
    if (row >= 0) found.push([row, "notation"]);
  }
  const none = found.length ? "" : "No such cell on this page.";
  return { rows: found, about: more > FOUND ? `${grouped(more)} hashes begin so.` : none };
}

function startFinder() {
  const kinds = ["index", ...(hasHash ? ["hash"] : []), notation.hint];
  $("find").placeholder = `Find: ${kinds.join(", ")}`;
  $("find").title = `${kinds.join(", ")} such as ${notation.example}`;
  const show = () => {
    const { rows, about: note } = find($("find").value);
    const items = rows.map(([row, how]) => {
      const hash = hasHash ? ` <code>${moduleHash(cellOf(row))}</code>` : "";
      return `<li><button type="button" data-row="${row}">${titleOf(row)}${hash}<i>${how}</i>`
        + "</button></li>";
    });
    $("found").innerHTML = items.join("") + (note ? `<li class="note">${note}</li>` : "");
    for (const button of $("found").querySelectorAll("button")) {
      button.onclick = () => take(Number(button.dataset.row));
    }
    return rows;
  };
  const take = (row) => {
    $("found").replaceChildren();
    select(row, true);
  };
  $("find").oninput = show;
  $("find").onkeydown = (event) => {
    if (event.key === "Escape") {
      $("find").value = "";
      $("found").replaceChildren();
      $("map").focus();
      event.stopPropagation();
    } else if (event.key === "ArrowDown") {
      $("found").querySelector("button")?.focus();
      event.preventDefault();
    }
  };
  $("found").onkeydown = (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      $("found").replaceChildren();
      $("find").focus();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...$("found").querySelectorAll("button")];
    if (!step) return;
    event.preventDefault();
    (buttons[buttons.indexOf(document.activeElement) + step] ?? $("find")).focus();
  };
  $("finder").onsubmit = (event) => {
    event.preventDefault();
    const rows = show();
    if (rows.length) take(rows[0][0]);
    else say("No such cell on this page.");
  };
}

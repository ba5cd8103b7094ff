// The way of one run of a search over the map, query by query.

const player = { search: -1, seed: 0, step: 0, playing: 0, rows: null, accuracies: null };
const SPEEDS = [1, 2, 4, 8, 16, 32, 64]; // queries a second

/** Show a run of a search at a query; a search of -1 shows none. */
async function showRun(search, seed, step) {
  stopPlaying();
  if (!about.searches[search]) {
    Object.assign(player, { search: -1, rows: null });
    $("search").value = "";
    $("player").hidden = true;
    $("seed").disabled = true;
    askFrame();
    saveLink();
    return;
  }
  const [seeds, starts, rows, accuracies] = await Promise.all(
    ["seeds", "starts", "rows", "accuracies"].map((part) => readArray(`search-${search}-${part}`)));
  const run = Math.max(seeds.indexOf(seed), 0);
  const [begin, end] = [starts[run], starts[run + 1]];
  const seen = accuracies.subarray(begin, end);
  const incumbents = new Uint32Array(seen.length); // first query with the best so far
  for (let k = 1; k < seen.length; k++) {
    incumbents[k] = seen[k] > seen[incumbents[k - 1]] ? k : incumbents[k - 1];
  }
  Object.assign(player, { search, seed: seeds[run], rows: rows.subarray(begin, end) });
  Object.assign(player, { accuracies: seen, incumbents });
  $("search").value = String(search);
  $("seed").replaceChildren(...Array.from(seeds, (value) => new Option(value, value)));
  $("seed").value = String(player.seed);
  $("seed").disabled = false;
  $("player").hidden = false;
  $("step").max = String(seen.length);
  setStep(step ?? seen.length);
}

/** Go to a query, counted from 1. */
function setStep(step) {
  if (!player.rows) return;
  player.step = Math.min(Math.max(Math.round(step) || 1, 1), player.rows.length);
  $("step").value = String(player.step);
  const k = player.step - 1;
  const best = player.incumbents[k];
  const link = (row) => (row < 0 ? "a cell that is not on this page"
    : `<button type="button" class="inline" data-row="${row}">${titleOf(row)}</button>`);
  const percent = (value) => formatNumber(value, "%");
  $("step-text").innerHTML = `Query <b>${player.step}</b> of ${player.rows.length}: `
    + `${link(player.rows[k])}, <b>${percent(player.accuracies[k])}</b>. Best so far `
    + `<b>${percent(player.accuracies[best])}</b>, query ${best + 1}: ${link(player.rows[best])}.`;
  for (const button of $("step-text").querySelectorAll("button")) {
    button.onclick = () => select(Number(button.dataset.row), true);
  }
  drawCurve();
  askFrame();
  saveLink();
}

/** Accuracy of every query as dots, that of the incumbent as a line, up to the present query. */
function drawCurve() {
  const [width, height] = [300, 70];
  const { accuracies, incumbents } = player;
  const ordered = Float32Array.from(accuracies).sort();
  const low = ordered[Math.floor(0.1 * (ordered.length - 1))];
  const high = ordered[ordered.length - 1];
  const x = (k) => (4 + ((width - 8) * k) / Math.max(accuracies.length - 1, 1)).toFixed(1);
  const y = (value) => {
    const share = (value - low) / (high - low || 1);
    return (height - 5 - (height - 10) * Math.max(share, 0)).toFixed(1);
  };
  let dots = "";
  let path = "";
  for (let k = 0; k < player.step; k++) {
    dots += `<circle cx="${x(k)}" cy="${y(accuracies[k])}" r="1.6"/>`;
    path += `${k ? `H${x(k)}V` : `M${x(0)} `}${y(accuracies[incumbents[k]])}`;
  }
  $("curve").setAttribute("viewBox", `0 0 ${width} ${height}`);
  $("curve").innerHTML = `${dots}<path d="${path}"/>`;
}

const TRAIL = 40; // the latest queries are joined by lines

function drawTrajectory(pen, ink, paper) {
  if (!player.rows) return;
  const last = player.step - 1;
  const at = (k) => (player.rows[k] < 0 ? null : placeOf(player.rows[k]));
  const trail = isDark() ? "255, 150, 90" : "204, 60, 0";
  for (let k = Math.max(1, last - TRAIL + 1); k <= last; k++) {
    const [from, to] = [at(k - 1), at(k)];
    if (!from || !to) continue;
    pen.strokeStyle = `rgba(${trail}, ${(0.15 + 0.6 * (1 - (last - k) / TRAIL)).toFixed(3)})`;
    pen.lineWidth = 1.2;
    line(pen, from, to);
  }
  for (let k = 0; k <= last; k++) {
    const place = at(k);
    if (!place) continue;
    pen.beginPath();
    pen.arc(...place, 3.2, 0, 2 * Math.PI);
    pen.fillStyle = `rgb(${trail})`;
    pen.strokeStyle = paper;
    pen.lineWidth = 1;
    pen.fill();
    pen.stroke();
  }
  const best = at(player.incumbents[last]);
  if (best) star(pen, best, ink, paper);
  if (at(last)) ring(pen, at(last), 7, `rgb(${trail})`, paper, 2.4);
}

/** A star on the best cell so far. */
function star(pen, [x, y], ink, paper) {
  pen.beginPath();
  for (let k = 0; k < 10; k++) {
    const [radius, angle] = [k % 2 ? 4.5 : 10.5, (k * Math.PI) / 5 - Math.PI / 2];
    pen.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  pen.closePath();
  pen.fillStyle = "#f2b134";
  pen.strokeStyle = isDark() ? paper : ink;
  pen.lineWidth = 1.4;
  pen.fill();
  pen.stroke();
}

function togglePlaying() {
  if (player.playing) {
    stopPlaying();
    return;
  }
  if (!player.rows) return;
  if (player.step === player.rows.length) setStep(1);
  $("play").textContent = "Pause";
  const advance = () => {
    if (player.step >= player.rows.length) {
      stopPlaying();
      return;
    }
    setStep(player.step + 1);
    player.playing = setTimeout(advance, 1000 / SPEEDS[$("speed").valueAsNumber]);
  };
  player.playing = setTimeout(advance, 200);
}

function stopPlaying() {
  clearTimeout(player.playing);
  player.playing = 0;
  $("play").textContent = "Play";
}

function startPlayer() {
  $("search-section").hidden = !about.searches.length;
  $("search").replaceChildren(new Option("none", ""), ...about.searches.map(({ label }, k) =>
    new Option(label, String(k))));
  $("search").onchange = () => {
    const chosen = $("search").value;
    showRun(chosen === "" ? -1 : Number(chosen), player.seed);
  };
  $("seed").onchange = () => showRun(player.search, Number($("seed").value), player.step);
  $("play").onclick = togglePlaying;
  $("step-back").onclick = () => stepBy(-1);
  $("step-on").onclick = () => stepBy(1);
  $("step").oninput = () => {
    stopPlaying();
    setStep($("step").valueAsNumber);
  };
  $("player").hidden = true;
  $("seed").disabled = true;
}

function stepBy(steps) {
  stopPlaying();
  setStep(player.step + steps);
}

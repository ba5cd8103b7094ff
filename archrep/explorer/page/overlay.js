// What lies over the cloud: rings, lines to neighbours, the way of a search.

let overlayBlank = false;

/** Draw the overlay anew, if there is or was anything on it. */
function drawOverlay() {
  const canvas = $("overlay");
  const blank = state.selected < 0 && state.hovered < 0 && !player.rows && !state.keys;
  if (blank && overlayBlank) return;
  overlayBlank = blank;
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const [width, height] = [view.width, view.height].map((side) => Math.round(side * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, view.width, view.height);
  if (!positions) return;
  const ink = isDark() ? "#ffffff" : "#111111";
  const paper = isDark() ? "#14161b" : "#ffffff";
  drawTrajectory(pen, ink, paper);
  if (state.selected >= 0) {
    const from = placeOf(state.selected);
    pen.lineWidth = 1.2;
    pen.strokeStyle = ink;
    for (const { row } of state.neighbours) {
      const to = placeOf(row);
      pen.globalAlpha = 0.55;
      line(pen, from, to);
      pen.globalAlpha = 1;
      ring(pen, to, 5, ink, paper, 1.4);
    }
    ring(pen, from, 9, ink, paper, 2.4);
  }
  if (state.hovered >= 0) ring(pen, placeOf(state.hovered), 7, ink, paper, 2);
  if (document.activeElement === $("map") && state.keys) cross(pen, ink);
}

function line(pen, from, to) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

/** A circle with a halo, so that it shows on any colour. */
function ring(pen, [x, y], radius, ink, paper, width) {
  for (const [colour, extra] of [[paper, 2.5], [ink, 0]]) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.lineWidth = width + extra;
    pen.strokeStyle = colour;
    pen.stroke();
  }
}

/** The middle of the map, where Enter selects. */
function cross(pen, ink) {
  const [x, y] = [view.width / 2, view.height / 2];
  pen.lineWidth = 1.5;
  pen.strokeStyle = ink;
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    line(pen, [x + 4 * dx, y + 4 * dy], [x + 10 * dx, y + 10 * dy]);
  }
}

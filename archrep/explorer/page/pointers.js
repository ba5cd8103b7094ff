// Mouse, pen and fingers on the map.

function startPointers() {
  const map = $("map");
  const down = new Map(); // pointers that touch the map, by id
  let moved = 0;
  const local = (event) => {
    const box = map.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  map.onpointerdown = (event) => {
    if (event.button) return;
    cancelAnimationFrame(glide);
    map.setPointerCapture(event.pointerId);
    down.set(event.pointerId, local(event));
    if (down.size === 1) moved = 0;
    state.keys = false;
  };
  map.onpointermove = (event) => {
    const now = local(event);
    const before = down.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") hover(nearestOnScreen(...now, 14), ...now);
      return;
    }
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (down.size === 1 && moved > 4) {
      hover(-1);
      map.classList.add("dragged");
      pan(now[0] - before[0], now[1] - before[1]);
    } else if (down.size === 2) {
      const [, other] = [...down].find(([id]) => id !== event.pointerId);
      const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
      const middle = (place) => [(place[0] + other[0]) / 2, (place[1] + other[1]) / 2];
      const [from, to] = [middle(before), middle(now)];
      pan(to[0] - from[0], to[1] - from[1]);
      zoomAt(apart(now) / Math.max(apart(before), 1), ...to);
    }
    down.set(event.pointerId, now);
  };
  const up = (event) => {
    const place = down.get(event.pointerId);
    down.delete(event.pointerId);
    map.classList.remove("dragged");
    if (!place || event.type === "pointercancel" || moved > 4 || down.size) return;
    const row = nearestOnScreen(...place, event.pointerType === "mouse" ? 14 : 24);
    if (row >= 0 || state.selected < 0) hover(-1);
    if (row >= 0) select(row);
  };
  map.onpointerup = up;
  map.onpointercancel = up;
  map.onpointerleave = () => hover(-1);
  map.addEventListener("wheel", (event) => {
    event.preventDefault();
    cancelAnimationFrame(glide);
    const pixels = event.deltaY * [1, 18, 300][event.deltaMode];
    zoomAt(Math.exp(-Math.min(Math.max(pixels, -300), 300) * 0.0022), ...local(event));
  }, { passive: false });
  map.ondblclick = (event) => {
    const [x, y] = local(event);
    glideTo(mapX(x), mapY(y), view.scale * 2.5);
  };
}

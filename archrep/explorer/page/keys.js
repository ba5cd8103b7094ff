// Keys, on the map and anywhere.

const MAP_KEYS = {
  ArrowLeft: () => pan(80, 0),
  ArrowRight: () => pan(-80, 0),
  ArrowUp: () => pan(0, 80),
  ArrowDown: () => pan(0, -80),
  Enter: () => {
    const row = nearestOnScreen(view.width / 2, view.height / 2, 200);
    if (row >= 0) select(row);
  },
  " ": togglePlaying,
};

const PAGE_KEYS = {
  "+": () => zoomAt(1.4),
  "=": () => zoomAt(1.4),
  "-": () => zoomAt(1 / 1.4),
  0: () => glideTo(0.5, 0.5, wholeScale()),
  "/": () => $("find").focus(),
  ",": () => stepBy(-1),
  ".": () => stepBy(1),
  "?": () => $("help").showModal(),
  Escape: () => select(-1),
};

function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const typing = event.target.matches("input, select, textarea");
    const onMap = event.target === $("map") && MAP_KEYS[event.key];
    const action = onMap || (!typing && PAGE_KEYS[event.key]);
    if (!action) return;
    event.preventDefault();
    state.keys = event.target === $("map");
    action();
    askFrame();
  });
  $("map").onfocus = () => {
    state.keys = $("map").matches(":focus-visible");
    askFrame();
  };
  $("map").onblur = askFrame;
}

// The point cloud. A picture is drawn in parts that fit a frame, off the screen, while the picture
// before it is moved and scaled along; on a graphics card all parts fit one frame.

const VERTEX = `#version 300 es
in vec2 place;
in float shade;
uniform vec4 frame;
uniform float size;
uniform sampler2D palette;
flat out vec4 colour;
void main() {
  gl_Position = vec4(place * frame.xy + frame.zw, 0.0, 1.0);
  gl_PointSize = size;
  colour = texelFetch(palette, ivec2(int(shade * 255.0 + 0.5), 0), 0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
flat in vec4 colour;
uniform float size;
uniform float alpha;
out vec4 drawn;
void main() {
  float cover = alpha;
  if (size > 2.5) {
    float away = length(gl_PointCoord - 0.5) * size;
    cover *= clamp(size * 0.5 - away, 0.0, 1.0);
  }
  drawn = vec4(colour.rgb * cover, cover);
}`;

const FRAME_MS = 24; // a part that is drawn within it may grow
const SLOW_MS = 40; // a picture that takes longer waits until the map rests
const REST_MS = 110;
const PREVIEW_MS = 300; // until the first picture is whole, what there is of it shows so often
const EDGE = 0.2; // of the width and height is drawn beyond each border, for panning

const cloud = {
  gl: null,
  part: 40000, // cells drawn at once; adapts to the machine
  job: null, // the picture being drawn
  fence: null, // passed when the last part is drawn
  seen: null, // the view of the picture on the screen
  wanted: false, // whether another picture is due
  moved: 0, // when the view last changed
  cost: 0, // milliseconds that the last picture took
  pictures: 0, // finished so far
};

/** Set WebGL up; false where there is none. */
function startCloud() {
  const canvas = $("points");
  const gl = canvas.getContext("webgl2", { antialias: false, depth: false, alpha: true });
  if (!gl) return false;
  cloud.gl = gl;
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault();
    fail("The graphics card was taken away. Reload the page.");
  });
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.bindAttribLocation(program, 0, "place");
  gl.bindAttribLocation(program, 1, "shade");
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    throw new Error(`The map's program does not link: ${gl.getProgramInfoLog(program)}`);
  }
  gl.useProgram(program);
  cloud.uniform = Object.fromEntries(["frame", "size", "alpha", "palette"].map((name) =>
    [name, gl.getUniformLocation(program, name)]));
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);

  const attribute = (place, size, type, data) => {
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, true, 0, 0);
    return buffer;
  };
  attribute(0, 2, gl.UNSIGNED_SHORT, positions);
  cloud.shades = attribute(1, 1, gl.UNSIGNED_BYTE, new Uint8Array(count));
  cloud.order = gl.createBuffer();
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, cloud.order);

  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
    gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
  }
  cloud.picture = gl.createRenderbuffer();
  cloud.target = gl.createFramebuffer();
  return true;
}

/** Give the canvas the size of the map. */
function resizeCloud() {
  const { gl } = cloud;
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const canvas = $("points");
  cloud.ratio = ratio;
  cloud.width = Math.round(view.width * (1 + 2 * EDGE));
  cloud.height = Math.round(view.height * (1 + 2 * EDGE));
  canvas.width = Math.round(cloud.width * ratio);
  canvas.height = Math.round(cloud.height * ratio);
  canvas.style.width = `${cloud.width}px`;
  canvas.style.height = `${cloud.height}px`;
  gl.bindRenderbuffer(gl.RENDERBUFFER, cloud.picture);
  gl.renderbufferStorage(gl.RENDERBUFFER, gl.RGBA8, canvas.width, canvas.height);
  gl.bindFramebuffer(gl.FRAMEBUFFER, cloud.target);
  gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.RENDERBUFFER, cloud.picture);
  cloud.seen = cloud.job = null;
  drawSoon();
}

/** New colours: shades of all cells, and the palette they refer to. */
function recolourCloud(shades, palette) {
  const { gl } = cloud;
  gl.bindBuffer(gl.ARRAY_BUFFER, cloud.shades);
  gl.bufferSubData(gl.ARRAY_BUFFER, 0, shades);
  const pixels = new Uint8Array(4 * 256);
  palette.forEach((colour, k) => pixels.set([...colour, 255], 4 * k));
  pixels.set([...greyOf(), 255], 4 * NO_VALUE);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
}

/** New order: shown cells without a value below those with one, each by squares of the grid. */
function reorderCloud(shades) {
  const { gl } = cloud;
  const squares = grid.side * grid.side;
  const order = new Uint32Array(count);
  const layers = [];
  let at = 0;
  for (const missing of [true, false]) {
    const begin = new Uint32Array(squares + 1);
    for (let s = 0; s < squares; s++) {
      begin[s] = at;
      for (let k = grid.begin[s]; k < grid.begin[s + 1]; k++) {
        const row = grid.rows[k];
        if (shown[row] && (shades[row] === NO_VALUE) === missing) order[at++] = row;
      }
    }
    begin[squares] = at;
    layers.push({ begin, missing });
  }
  cloud.layers = layers;
  cloud.drawn = at;
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, cloud.order);
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, order.subarray(0, at), gl.DYNAMIC_DRAW);
  cloud.job = null;
  drawSoon();
}

/** Parts of the order that lie in the picture: [first, number, whether they have no value]. */
function rangesInView() {
  const inGrid = (place) => Math.min(Math.max(Math.floor(place * grid.side), 0), grid.side - 1);
  const half = [(0.5 + EDGE) * view.width / view.scale, (0.5 + EDGE) * view.height / view.scale];
  const [left, right] = [inGrid(view.x - half[0]), inGrid(view.x + half[0])];
  const [bottom, top] = [inGrid(view.y - half[1]), inGrid(view.y + half[1])];
  const ranges = [];
  for (const { begin, missing } of cloud.layers) {
    for (let gy = bottom; gy <= top; gy++) {
      const first = begin[gy * grid.side + left];
      const number = begin[gy * grid.side + right + 1] - first;
      const last = ranges[ranges.length - 1];
      if (!number) continue;
      if (last && last[2] === missing && last[0] + last[1] === first) last[1] += number;
      else ranges.push([first, number, missing]);
    }
  }
  return ranges;
}

/** Diameter of a point in pixels of the page: larger where cells are few or the map is near. */
function pointSize(number) {
  const room = Math.sqrt((view.width * view.height) / Math.max(number, 1));
  return Math.min(Math.max(0.62 * room, 1.4), 11);
}

let frameAsked = false;
function drawSoon() {
  cloud.wanted = true;
  askFrame();
}

function askFrame() {
  if (!frameAsked) requestAnimationFrame(onFrame);
  frameAsked = true;
}

function onFrame() {
  frameAsked = false;
  if (!cloud.fence || fencePassed()) {
    if (!cloud.job && cloud.wanted && cloud.layers && isTime(performance.now())) startPicture();
    if (cloud.job) drawPart();
  }
  placePicture();
  drawOverlay();
  if (cloud.job || cloud.wanted || cloud.fence) askFrame();
}

/** Whether to draw anew: at once if that is quick, else when the map rests or would show a gap. */
function isTime(now) {
  if (!cloud.seen || cloud.cost < SLOW_MS || now - cloud.moved > REST_MS) return true;
  const ratio = view.scale / cloud.seen.scale;
  const spare = (size) => (size * ((1 + 2 * EDGE) * ratio - 1)) / 2 / view.scale;
  return Math.abs(view.x - cloud.seen.x) > spare(view.width)
    || Math.abs(view.y - cloud.seen.y) > spare(view.height) || ratio > 2.5;
}

function startPicture() {
  const { gl } = cloud;
  const ranges = rangesInView();
  const size = pointSize(sum(ranges.map((range) => range[1])));
  cloud.job = { ranges, at: 0, size, view: { ...view }, begun: performance.now() };
  cloud.job.previewed = cloud.job.begun;
  cloud.wanted = false;
  gl.bindFramebuffer(gl.FRAMEBUFFER, cloud.target);
  gl.viewport(0, 0, gl.canvas.width, gl.canvas.height);
  gl.clearColor(0, 0, 0, 0);
  gl.clear(gl.COLOR_BUFFER_BIT);
}

/** Draw the next cells of the job; nothing waits until that is done. */
function drawPart() {
  const { gl, job, uniform } = cloud;
  const seen = job.view;
  const [sx, sy] = [2 * seen.scale / cloud.width, 2 * seen.scale / cloud.height];
  gl.uniform4f(uniform.frame, sx, sy, -seen.x * sx, -seen.y * sy);
  let left = cloud.part;
  while (left > 0 && job.at < job.ranges.length) {
    const range = job.ranges[job.at];
    const number = Math.min(range[1], left);
    const size = range[2] ? Math.max(0.8 * job.size, 1) : job.size;
    gl.uniform1f(uniform.size, size * cloud.ratio);
    gl.uniform1f(uniform.alpha, range[2] ? 0.5 : 0.8);
    gl.drawElements(gl.POINTS, number, gl.UNSIGNED_INT, 4 * range[0]);
    left -= number;
    range[0] += number;
    range[1] -= number;
    if (!range[1]) job.at++;
  }
  const now = performance.now();
  const whole = job.at === job.ranges.length;
  if (whole || (!cloud.pictures && now - job.previewed > PREVIEW_MS)) {
    job.previewed = now;
    showPicture();
  }
  if (whole) cloud.job = null;
  const sync = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
  gl.flush();
  cloud.fence = { sync, job, whole, full: left <= 0, begun: now };
}

/** Whether the last part is drawn; if so, the next one takes about a frame. */
function fencePassed() {
  const { gl, fence } = cloud;
  if (gl.getSyncParameter(fence.sync, gl.SYNC_STATUS) !== gl.SIGNALED) return false;
  gl.deleteSync(fence.sync);
  cloud.fence = null;
  const now = performance.now();
  if (fence.full) {
    const fitting = cloud.part * (now - fence.begun < FRAME_MS ? 2 : 0.6);
    cloud.part = Math.round(Math.min(Math.max(fitting, 20000), 4e6));
  }
  if (fence.whole) {
    cloud.cost = now - fence.job.begun;
    cloud.pictures++;
    if (cloud.pictures === 1) onFirstPicture();
  }
  return true;
}

/** Copy what is drawn so far to the screen. */
function showPicture() {
  const { gl, job } = cloud;
  const { width, height } = gl.canvas;
  gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
  gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
  gl.bindFramebuffer(gl.FRAMEBUFFER, cloud.target);
  cloud.seen = job.view;
}

/** Move and scale the picture that is on the screen to where the view has gone since. */
function placePicture() {
  if (!cloud.seen) return;
  const ratio = view.scale / cloud.seen.scale;
  const dx = (cloud.seen.x - view.x) * view.scale + (view.width - cloud.width * ratio) / 2;
  const dy = (view.y - cloud.seen.y) * view.scale + (view.height - cloud.height * ratio) / 2;
  $("points").style.transform = `translate(${dx}px, ${dy}px) scale(${ratio})`;
}

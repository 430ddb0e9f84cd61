// The pictures: what is loaded, where one looks, and the drawing of each view.

const byId = (id) => document.getElementById(id);
const read = (element) => JSON.parse(element.textContent);
const data = { scenes: [], means: [], pairs: [], ...read(byId("colours")) };
const HEAT = paletteOf(data.heat);
const SIGNED = paletteOf(data.signed);
const stage = byId("stage");
const ZOOMS = [1 / 16, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32];
const MAPS = ["picture", "absolute", "signed", "psnr", "ssim", "spectrum", "entropy", "offcentre"];
const COMPARING = ["absolute", "signed", "psnr", "ssim"];
const IMPORTANCE = ["entropy", "offcentre"];

// `x`, `y`: the picture's point in the middle of every view; `zoom`: screen pixels a picture pixel.
// Item 0 is the reference (or, where there is none, the source), item n the n-th method; `against` is the item that
// errors are taken from. Offsets are kept by picture.
const state = {
  scene: 0, mode: "slider", map: "picture", limit: 32, left: 1, right: 1, current: 1, before: 0, against: 0,
  window: null, split: 0.5, zoom: 1, x: 0, y: 0, fitted: true, crop: -1, loupe: false, offsets: new Map(), pointer: null,
};

const sceneNow = () => data.scenes[state.scene];
const topNow = () => (sceneNow().deep ? 65535 : 255);
const itemsOf = (scene) => [scene.reference, ...scene.panels];
const itemNow = (item) => itemsOf(sceneNow())[item];
const keyOf = (item) => itemNow(item).images[0];
const offsetOf = (item) => state.offsets.get(keyOf(item)) ?? [0, 0];
const mapsNow = () => MAPS.filter((map) => !IMPORTANCE.includes(map) || sceneNow().panels.some((panel) => panel.importance));

// What to draw for an item: its picture, or a map; null while something is still being decoded or made (one map a
// task, so that the page stays alive). The reference has no error, so it is shown itself.
function sourceOf(item) {
  const found = entry(item);
  if (!found.ready) return null;
  const { map: kind, limit, against } = state;
  const itself = COMPARING.includes(kind) ? item === against : IMPORTANCE.includes(kind) && !itemNow(item).importance;
  if (kind === "picture" || itself) return pictureOf(found);
  const reference = entry(against);
  if (!wholeNow(item) || !wholeNow(against) || (IMPORTANCE.includes(kind) && !importanceOf(found, item))) return null;
  const key = [kind, COMPARING.includes(kind) && keyOf(against), ["absolute", "signed"].includes(kind) && limit].join(" ");
  if (!found.maps.has(key)) {
    found.maps.set(key, null);
    setTimeout(() => {
      const asked = state.map === kind && state.limit === limit && state.against === against;
      if (!asked || ![...loaded.values()].includes(found)) found.maps.delete(key);
      else found.maps.set(key, mapOf(found, reference));
      redraw();
    });
  }
  return found.maps.get(key);
}

function mapOf(found, reference) {
  const { width, height } = sceneNow();
  if (IMPORTANCE.includes(state.map)) {
    const { data: values, width: wide, height: high } = pixelsOf(found.importance.image);
    const channel = IMPORTANCE.indexOf(state.map);
    return painted(wide, high, HEAT, (i) => values[4 * i + channel] / 255);
  }
  const [mine, theirs] = [lumaPlane(found), lumaPlane(reference)];
  if (state.map === "absolute") {
    return painted(width, height, HEAT, (i) => Math.abs(mine[i] - theirs[i]) / state.limit);
  }
  if (state.map === "signed") {
    return painted(width, height, SIGNED, (i) => 0.5 + (0.5 * (mine[i] - theirs[i])) / state.limit);
  }
  if (state.map === "psnr") {
    const local = blurred(mine.map((v, i) => (v - theirs[i]) ** 2), width, height);
    return painted(width, height, HEAT, (i) => (50 - 10 * Math.log10(65025 / Math.max(local[i], 1e-3))) / 30);
  }
  if (state.map === "ssim") {
    const moments = [found, reference].map((one) => (one.moments ??= momentsOf(lumaPlane(one), width, height)));
    const local = ssimOf(mine, theirs, ...moments, width, height);
    return painted(width, height, HEAT, (i) => 1 - local[i]);
  }
  const { n, shade } = spectrumOf(mine, width, height);
  const square = painted(n, n, HEAT, shade);
  const canvas = canvasOf(width, height);
  const side = Math.min(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(square, (width - side) / 2, (height - side) / 2, side, side);
  return canvas;
}

// Views: one in slider and blink mode, one an item side by side. Each is {element, canvas, item, tags}.
let views = [];

function layOut() {
  for (const view of views) view.element.remove();
  views = [];
  if (!data.scenes.length) return;
  const count = itemsOf(sceneNow()).length;
  const items = state.mode === "grid" ? [...Array(count).keys()] : [state.mode === "slider" ? state.left : state.current];
  const columns = state.mode === "grid" ? gridColumns(count) : 1;
  const rows = Math.ceil(items.length / columns);
  // On whole screen pixels, wherever the stage begins, else the browser would resample the canvases; and all of one
  // size, so that the same pixel of all pictures falls on the same place of every view.
  const ratio = window.devicePixelRatio || 1;
  const box = stage.getBoundingClientRect();
  const places = (start, size, parts) => {
    const first = Math.ceil(start * ratio);
    const step = Math.floor((Math.floor((start + size) * ratio) - first + 1) / parts);
    return { length: (step - 1) / ratio, starts: Array.from({ length: parts }, (_, i) => (first + i * step) / ratio - start) };
  };
  const [across, down] = [places(box.left, box.width, columns), places(box.top, box.height, rows)];
  views = items.map((item, i) => {
    const element = document.createElement("div");
    element.className = "view";
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    element.append(canvas);
    const [column, row] = [i % columns, Math.floor(i / columns)];
    Object.assign(element.style, {
      left: `${across.starts[column]}px`, top: `${down.starts[row]}px`,
      width: `${across.length}px`, height: `${down.length}px`,
    });
    stage.prepend(element);
    const tags = ["left", "right"].map((side) => {
      const tag = document.createElement("span");
      tag.className = `tag ${side}`;
      element.append(tag);
      return tag;
    });
    return { element, canvas, item, tags };
  });
  if (state.fitted) fit();
  redraw();
}

function gridColumns(count) {
  const { width, height } = sceneNow();
  let best = 1, size = 0;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const fitted = Math.min(stage.clientWidth / columns / width, stage.clientHeight / rows / height);
    if (fitted > size) [best, size] = [columns, fitted];
  }
  return best;
}

// Where the picture's corner falls in a view, in screen pixels; whole, so that pixels stay squares.
function cornerOf(view, item) {
  const [dx, dy] = offsetOf(item);
  return [
    Math.round(view.canvas.width / 2 - (state.x - dx) * state.zoom),
    Math.round(view.canvas.height / 2 - (state.y - dy) * state.zoom),
  ];
}

function paint(view, item, from, to, quality) {
  const context = view.canvas.getContext("2d");
  const source = sourceOf(item);
  if (!source) {
    const { broken } = entry(item);
    context.fillStyle = "#888";
    context.fillText(broken ? "this picture cannot be decoded" : "…", from + 20, view.canvas.height / 2);
    return;
  }
  const { width, height } = sceneNow();
  const [left, top] = cornerOf(view, item);
  context.save();
  context.beginPath();
  context.rect(from, 0, to - from, view.canvas.height);
  context.clip();
  context.imageSmoothingEnabled = state.zoom < 1;
  context.imageSmoothingQuality = quality;
  context.drawImage(source, left, top, Math.round(width * state.zoom), Math.round(height * state.zoom));
  context.restore();
}

function nameOf(item) {
  const { label, psnr } = itemNow(item);
  return psnr === undefined || psnr === null ? label : `${label}  ${psnr.toFixed(2)} dB`;
}

function draw() {
  if (!data.scenes.length) return;
  const ratio = window.devicePixelRatio || 1;
  const whole = shownNow().every(wholeNow);
  const quality = whole ? "high" : "low";
  for (const view of views) {
    const box = view.element.getBoundingClientRect();
    const [width, height] = [Math.max(1, Math.round(box.width * ratio)), Math.max(1, Math.round(box.height * ratio))];
    if (view.canvas.width !== width || view.canvas.height !== height) Object.assign(view.canvas, { width, height });
    else view.canvas.getContext("2d").clearRect(0, 0, width, height);
    if (state.mode === "slider") {
      const cut = Math.round(width * state.split);
      paint(view, state.left, 0, cut, quality);
      paint(view, state.right, cut, width, quality);
      view.tags[0].textContent = nameOf(state.left);
      view.tags[1].textContent = nameOf(state.right);
    } else {
      if (state.mode === "single") view.item = state.current;
      paint(view, view.item, 0, width, quality);
      view.tags[0].textContent = nameOf(view.item);
      view.tags[1].textContent = "";
    }
    view.tags[1].hidden = state.mode !== "slider";
    view.canvas.setAttribute("aria-label", view.tags.map((tag) => tag.textContent).filter(Boolean).join(" and "));
  }
  drawRest();
  // For those who drive the page: whether something is still being made, or part of what is seen; and when the first
  // picture stood, in milliseconds after the page was asked for.
  const some = shownNow().every(sourceOf);
  const root = document.documentElement;
  if (some && whole) root.dataset.drawn ??= String(Math.round(performance.now()));
  if (some && whole) root.removeAttribute("data-busy");
  else root.dataset.busy = some ? "part" : "";
}

// The items that are looked at.
function shownNow() {
  if (state.mode === "slider") return [state.left, state.right];
  return state.mode === "single" ? [state.current] : views.map((view) => view.item);
}

let later = 0;
function redrawLater() {
  later ||= setTimeout(() => { later = 0; redraw(); }, 250);
}

let pending = false;
function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; draw(); });
}

function fit() {
  const { width, height } = sceneNow();
  const view = views[0];
  const ratio = window.devicePixelRatio || 1;
  const whole = Math.min((view.element.clientWidth * ratio) / width, (view.element.clientHeight * ratio) / height);
  Object.assign(state, { zoom: whole >= 1 ? Math.floor(whole) : whole, x: width / 2, y: height / 2, fitted: true, crop: -1 });
  redraw();
}

// Zoom keeping the picture's point under (px, py), in screen pixels from the middle of a view, where it is.
function zoomTo(zoom, px = 0, py = 0) {
  state.x += px / state.zoom - px / zoom;
  state.y += py / state.zoom - py / zoom;
  Object.assign(state, { zoom, fitted: false });
  redraw();
}

function stepZoom(direction, px, py) {
  const next = direction > 0 ? ZOOMS.find((z) => z > state.zoom * 1.001) : ZOOMS.findLast((z) => z < state.zoom * 0.999);
  if (next) zoomTo(next, px, py);
}

function nextCrop() {
  const { crops } = sceneNow();
  if (!crops.length) return;
  state.crop = (state.crop + 1) % crops.length;
  const [x, y, width, height] = crops[state.crop];
  const view = views[0];
  const ratio = window.devicePixelRatio || 1;
  const zoom = Math.min((view.element.clientWidth * ratio) / width, (view.element.clientHeight * ratio) / height) * 0.8;
  Object.assign(state, { x: x + width / 2, y: y + height / 2, zoom: Math.max(1, Math.floor(zoom)), fitted: false });
  redraw();
}

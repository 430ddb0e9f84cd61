// Keys, pointer and buttons; and what surrounds the pictures.

function choose(item, side) {
  if (item < 0 || item >= itemsOf(sceneNow()).length) return;
  if (state.mode === "grid") setMode("single");
  state.chosen = true;
  const target = side ?? (state.mode === "slider" ? "right" : "current");
  if (target === "current" && item !== state.current) state.before = state.current;
  state[target] = item;
  drawTable();
  redraw();
}

function swap() {
  if (state.mode === "slider") [state.left, state.right] = [state.right, state.left];
  else [state.current, state.before] = [state.before, state.current];
  drawTable();
  redraw();
}

function setMode(mode) {
  state.mode = mode;
  for (const button of document.querySelectorAll("#modes button")) {
    button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  }
  layOut();
  drawTable();
}

function setMap(map) {
  state.map = map;
  byId("map").value = map;
  byId("limit").disabled = !["absolute", "signed"].includes(map);
  byId("against").disabled = !COMPARING.includes(map);
  redraw();
}

function setAgainst(item) {
  state.against = item;
  byId("against").value = String(item);
  redraw();
}

function setScene(index) {
  const count = data.scenes.length;
  state.scene = (index + count) % count;
  byId("scene").value = String(state.scene);
  state.limit = sceneNow().limit;
  for (const id of ["black", "white"]) byId(id).max = String(topNow());
  setWindow(null);
  byId("limit").value = String(state.limit);
  takeItems();
  fit();
}

// What depends on which pictures the scene has.
function takeItems() {
  const items = itemsOf(sceneNow());
  for (const side of ["left", "right", "current", "before", "against"]) state[side] = Math.min(state[side], items.length - 1);
  byId("against").replaceChildren(...items.map(({ label }, i) => new Option(`against ${label}`, String(i))));
  setAgainst(state.against);
  for (const option of byId("map").options) option.hidden = option.disabled = !mapsNow().includes(option.value);
  if (!mapsNow().includes(state.map)) setMap("picture");
  layOut();
  drawTable();
}

// The first method beside the last one, or beside the source where there is one alone.
function chooseFirst() {
  const last = sceneNow().panels.length;
  Object.assign(state, { left: last > 1 ? 1 : 0, right: last, current: last, before: Math.max(0, last - 1), chosen: false });
}

// The values shown as black and as white; null: all there are.
function setWindow(window) {
  state.window = window && window[0] < window[1] ? window : null;
  [byId("black").value, byId("white").value] = state.window ?? [0, topNow()];
  redraw();
}

function toggleWindow() {
  if (state.window) return setWindow(null);
  const reference = entry(0);
  reference.decoded.then(() => reference.ready && setWindow(percentiles(valuesOf(reference))));
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

// Handle, legend, zoom, values and loupe.
function drawRest() {
  const handle = byId("handle");
  handle.hidden = state.mode !== "slider";
  handle.style.display = handle.hidden ? "none" : "";
  handle.style.left = `${100 * state.split}%`;
  handle.setAttribute("aria-valuenow", String(Math.round(100 * state.split)));
  handle.setAttribute("aria-valuetext", `${nameOf(state.left)} left, ${nameOf(state.right)} right`);
  byId("zoom").textContent = `${Math.round(1000 * state.zoom) / 10} %`;
  drawLegend();
  drawValues();
}

function drawLegend() {
  const texts = {
    absolute: ["0", `≥ ${state.limit} of 255`],
    signed: [`darker ${-state.limit}`, `+${state.limit} brighter`],
    psnr: ["PSNR ≥ 50 dB", "≤ 20 dB"],
    ssim: ["SSIM 1", "0"],
    spectrum: ["amplitude −80 dB", "0 dB"],
    entropy: ["entropy 0: one tap decides", "1: all alike"],
    offcentre: ["off-centre mass 0: the pixel itself", "1: its neighbours"],
  }[state.map];
  byId("legend").hidden = !texts;
  if (!texts) return;
  [byId("from").textContent, byId("to").textContent] = texts;
  const bar = byId("bar");
  const ramp = painted(bar.width, 1, state.map === "signed" ? SIGNED : HEAT, (i) => i / (bar.width - 1));
  bar.getContext("2d").drawImage(ramp, 0, 0, bar.width, bar.height);
}

// The view under the pointer, the item there, and the picture's pixel.
function underPointer() {
  if (!state.pointer) return null;
  const ratio = window.devicePixelRatio || 1;
  for (const view of views) {
    const box = view.element.getBoundingClientRect();
    const [px, py] = [(state.pointer[0] - box.left) * ratio, (state.pointer[1] - box.top) * ratio];
    if (px < 0 || py < 0 || px >= view.canvas.width || py >= view.canvas.height) continue;
    const item = state.mode === "slider" ? (px < view.canvas.width * state.split ? state.left : state.right) : view.item;
    const [left, top] = cornerOf(view, item);
    return { view, item, px, py, x: (px - left) / state.zoom, y: (py - top) / state.zoom };
  }
  return null;
}

function drawValues() {
  const spot = underPointer();
  const { width, height } = sceneNow();
  const within = ([x, y]) => x >= 0 && y >= 0 && x < width && y < height;
  const inside = spot && within([spot.x, spot.y]);
  const texts = [];
  if (inside) {
    const items = state.mode === "slider" ? [0, state.left, state.right] : [0, spot.item];
    for (const item of new Set(items)) {
      const found = entry(item);
      // What lies under the pointer in a picture that was moved is another of its pixels.
      const at = [0, 1].map((i) => Math.floor([spot.x, spot.y][i] + offsetOf(spot.item)[i] - offsetOf(item)[i]));
      if (!found.ready || !within(at)) continue;
      const first = 4 * (at[1] * width + at[0]);
      texts.push(`${itemNow(item).label} ${valuesOf(found).slice(first, first + 3).join(" ")}`);
    }
  }
  const [x, y] = inside ? [spot.x, spot.y].map(Math.floor) : [];
  byId("values").textContent = inside ? [`x ${x}  y ${y}`, ...texts].join("   ·   ") : "";
  drawLens(inside ? { ...spot, x, y } : null);
}

function drawLens(spot) {
  const lens = byId("lens");
  const source = spot && state.loupe && sourceOf(spot.item);
  lens.hidden = !source;
  if (!source) return;
  const context = lens.getContext("2d");
  const cells = 11, size = lens.width / cells;
  context.imageSmoothingEnabled = false;
  context.fillStyle = "#888";
  context.fillRect(0, 0, lens.width, lens.height);
  context.drawImage(source, spot.x - 5, spot.y - 5, cells, cells, 0, 0, lens.width, lens.height);
  context.strokeStyle = "#fff";
  context.strokeRect(5 * size + 0.5, 5 * size + 0.5, size - 1, size - 1);
  const box = stage.getBoundingClientRect();
  const place = (pointer, low, high) => (pointer - low + 200 < high - low ? pointer - low + 18 : pointer - low - 194);
  lens.style.left = `${place(state.pointer[0], box.left, box.right)}px`;
  lens.style.top = `${place(state.pointer[1], box.top, box.bottom)}px`;
}

function listenToPointer() {
  const ratio = () => window.devicePixelRatio || 1;
  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    state.pointer = [event.clientX, event.clientY];
    const item = event.target === byId("handle") ? null : underPointer()?.item;
    drag = { handle: event.target === byId("handle"), item: event.altKey ? item : undefined, at: state.pointer };
    stage.setPointerCapture(event.pointerId);
    stage.classList.toggle("moving", !drag.handle);
  });
  stage.addEventListener("pointermove", (event) => {
    state.pointer = [event.clientX, event.clientY];
    if (drag) {
      const [dx, dy] = [0, 1].map((i) => ((state.pointer[i] - drag.at[i]) * ratio()) / state.zoom);
      const box = stage.getBoundingClientRect();
      if (drag.handle) state.split = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
      else if (drag.item !== undefined) {
        shift(drag.item, dx, dy);
      } else {
        Object.assign(state, { x: state.x - dx, y: state.y - dy, fitted: false });
      }
      drag.at = state.pointer;
    }
    redraw();
  });
  const end = () => { drag = null; stage.classList.remove("moving"); };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);
  stage.addEventListener("pointerleave", () => { state.pointer = null; redraw(); });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    state.pointer = [event.clientX, event.clientY];
    const spot = underPointer();
    if (spot) stepZoom(-event.deltaY, spot.px - spot.view.canvas.width / 2, spot.py - spot.view.canvas.height / 2);
  }, { passive: false });
}

// Move one picture alone, by pixels of it.
function shift(item, dx, dy) {
  const [ox, oy] = offsetOf(item);
  state.offsets.set(keyOf(item), [ox + dx, oy + dy]);
  redraw();
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYS = {
  s: () => setMode("slider"), g: () => setMode("grid"), b: () => setMode("single"), " ": swap,
  m: () => setMap(mapsNow()[(mapsNow().indexOf(state.map) + 1) % mapsNow().length]),
  d: () => setAgainst((state.against + 1) % itemsOf(sceneNow()).length),
  "+": () => stepZoom(1), "=": () => stepZoom(1), "-": () => stepZoom(-1), f: fit, c: nextCrop,
  "[": () => setScene(state.scene - 1), "]": () => setScene(state.scene + 1),
  w: toggleWindow,
  r: () => { state.offsets.clear(); redraw(); },
  l: () => { state.loupe = !state.loupe; byId("loupe").setAttribute("aria-pressed", String(state.loupe)); redraw(); },
  t: () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
  "?": () => byId("help").showModal(),
};

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (!data.scenes.length || event.ctrlKey || event.metaKey || byId("help").open) return;
    if (event.altKey && !ARROWS[event.key]) return;
    if (event.target.closest("select, input, textarea") || (event.key === " " && event.target.closest("button"))) return;
    const arrow = ARROWS[event.key];
    const digit = /^Digit(\d)$/.exec(event.code);
    if (arrow && event.altKey) {
      shift(state.mode === "slider" ? state.right : state.mode === "single" ? state.current : (underPointer()?.item ?? 1), ...arrow);
    } else if (arrow && event.target === byId("handle")) {
      state.split = Math.max(0, Math.min(1, state.split + 0.02 * (arrow[0] - arrow[1])));
      redraw();
    } else if (arrow) {
      const step = 40 * (window.devicePixelRatio || 1) / state.zoom;
      Object.assign(state, { x: state.x + arrow[0] * step, y: state.y + arrow[1] * step, fitted: false });
      redraw();
    } else if (digit) choose(Number(digit[1]), event.shiftKey && state.mode === "slider" ? "left" : undefined);
    else if (KEYS[event.key.toLowerCase()]) KEYS[event.key.toLowerCase()]();
    else return;
    event.preventDefault();
  });
}

function listenToButtons() {
  const click = (id, act) => byId(id).addEventListener("click", act);
  click("previous", () => setScene(state.scene - 1));
  click("next", () => setScene(state.scene + 1));
  click("smaller", () => stepZoom(-1));
  click("larger", () => stepZoom(1));
  click("fit", fit);
  click("crop", nextCrop);
  click("window", toggleWindow);
  for (const id of ["black", "white"]) {
    byId(id).addEventListener("change", () => setWindow([Number(byId("black").value), Number(byId("white").value)]));
  }
  click("loupe", KEYS.l);
  click("theme", KEYS.t);
  click("ask", KEYS["?"]);
  byId("scene").addEventListener("change", (event) => setScene(Number(event.target.value)));
  byId("map").addEventListener("change", (event) => setMap(event.target.value));
  byId("against").addEventListener("change", (event) => setAgainst(Number(event.target.value)));
  byId("limit").addEventListener("change", (event) => { state.limit = Number(event.target.value); redraw(); });
  for (const button of document.querySelectorAll("#modes button")) {
    button.addEventListener("click", () => setMode(button.dataset.mode));
  }
  for (const button of document.querySelectorAll("#scopes button")) {
    button.addEventListener("click", () => { order.scope = button.dataset.scope; drawTable(); });
  }
  for (const button of document.querySelectorAll("#table th button")) {
    button.addEventListener("click", () => sortBy(button.dataset.sort));
  }
}

let begun = false;
function begin() {
  begun = true;
  chooseFirst();
  listenToPointer();
  listenToKeys();
  listenToButtons();
  setMap("picture");
  setMode("slider");
  setScene(0);
  new ResizeObserver(layOut).observe(stage);
}

setTheme(window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

// The pictures that were asked for: decoded, put together from their parts, and what is computed of them.

// Loaded pictures and the maps made of them; those looked at longest ago are let go.
const loaded = new Map();

// A picture that stands in the page, in an element of that name, or at that address.
function decodedLater(place) {
  const image = new Image();
  const inert = byId(place);
  image.src = inert ? "data:image/png;base64," + inert.textContent.trim() : place;
  return image;
}

// Every picture has its scene's size from here on; a smaller one, the source, is shown as blocks.
function fitted(image, width, height) {
  if (image.naturalWidth === width && image.naturalHeight === height) return image;
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, width, height);
  return canvas;
}

// An item's parts from the top down: one, or bands of rows that come while the rest is still being made.
const bandsOf = (item) => item.bands ?? [{ top: 0, images: item.images }];

function entry(item) {
  const now = itemNow(item);
  const key = now.images[0];
  let found = loaded.get(key);
  if (!found) found = { images: [], asked: 0, taken: 0, ready: false, decoded: Promise.resolve(), maps: new Map() };
  for (const bands = bandsOf(now); found.asked < bands.length; found.asked++) {
    const part = take(found, bands[found.asked], now.bands ? drawnInto : fittedInto, sceneNow());
    found.decoded = Promise.all([found.decoded, part]);
  }
  found.pending = now.pending;
  loaded.delete(key);
  loaded.set(key, found);
  for (const old of loaded.keys()) {
    if (loaded.size <= Math.max(12, 2 * itemsOf(sceneNow()).length)) break;
    loaded.delete(old);
  }
  return found;
}

function take(found, { top, images }, put, size) {
  const coming = images.map(decodedLater);
  const end = () => {
    put(found, coming, top, size);
    Object.assign(found, { ready: true, taken: found.taken + 1, maps: new Map(), values: null, luma: null, moments: null, shown: null });
    // Drawing anew takes longer than rows take to come: after the first ones it is done now and then.
    if (found.pending && found.taken > 1) redrawLater();
    else redraw();
  };
  return Promise.all(coming.map((one) => one.decode())).then(end).catch(() => { found.broken = true; redraw(); });
}

function fittedInto(found, coming, top, { width, height }) {
  found.images = coming.map((one) => fitted(one, width, height));
}

function drawnInto(found, coming, top, { width, height }) {
  if (!found.images.length) found.images = coming.map(() => canvasOf(width, height));
  coming.forEach((one, i) => found.images[i].getContext("2d").drawImage(one, 0, top));
}

// Whether all there will ever be of an item is there.
function wholeNow(item) {
  const now = itemNow(item);
  return !now.pending && entry(item).taken === bandsOf(now).length;
}

// Where the content mattered, decoded when it is first asked for; null until then.
function importanceOf(found, item) {
  if (!found.importance) {
    const image = decodedLater(itemNow(item).importance);
    found.importance = { image, ready: false };
    image.decode().then(() => { found.importance.ready = true; redraw(); }).catch(() => { found.broken = true; redraw(); });
  }
  return found.importance.ready ? found.importance.image : null;
}

// RGBA values, up to 65535 in a deep scene.
function valuesOf(found) {
  found.values ??= found.images.length > 1 ? joined(...found.images.map(pixelsOf)) : pixelsOf(found.images[0]).data;
  return found.values;
}

function lumaPlane(found) {
  found.luma ??= lumaOf(valuesOf(found), topNow());
  return found.luma;
}

function pictureOf(found) {
  const window = state.window ?? [0, topNow()];
  if (!sceneNow().deep && window[0] === 0 && window[1] === 255) return found.images[0];
  const key = window.join(" ");
  if (found.shown?.key !== key) {
    const { width, height } = sceneNow();
    found.shown = { key, canvas: windowed(valuesOf(found), width, height, ...window) };
  }
  return found.shown.canvas;
}

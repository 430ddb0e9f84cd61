"use strict";
// One trial: pictures at exactly one device pixel a picture pixel, an answer that is sent until it is kept, then on.
(() => {
  const body = document.body;
  const form = document.getElementById("form");
  const stage = document.getElementById("stage");
  const images = [...stage.querySelectorAll("img")];
  const next = document.getElementById("next");
  const notice = document.getElementById("notice");
  const shown = document.getElementById("shown");
  const switching = body.dataset.switch === "1";
  const address = `/r/${body.dataset.link}`;
  const GAP = 16;
  let exact = false, sending = false, started = null, front = 0;
  const seen = new Set([0]);

  const ratio = () => window.devicePixelRatio;
  const sizes = images.map((image) => [Number(image.dataset.width), Number(image.dataset.height)]);
  const loaded = () => images.every((image, i) => image.complete && image.naturalWidth === sizes[i][0]);

  // Positions and sizes are whole numbers of device pixels, so that the browser never resamples.
  function place() {
    const scale = ratio();
    const wide = switching ? sizes[0][0] : sizes.reduce((sum, size) => sum + size[0], (sizes.length - 1) * GAP);
    const high = Math.max(...sizes.map((size) => size[1]));
    const origin = stage.getBoundingClientRect();
    const top = Math.ceil(origin.top + window.scrollY) * scale;
    const room = Math.max(high, Math.floor((window.innerHeight - form.offsetHeight) * scale) - Math.ceil(top));
    let left = Math.max(0, Math.round((document.documentElement.clientWidth * scale - wide) / 2));
    const down = Math.ceil(top) + Math.max(0, Math.round((room - high) / 2));
    images.forEach((image, i) => {
      image.style.width = `${sizes[i][0] / scale}px`;
      image.style.height = `${sizes[i][1] / scale}px`;
      image.style.left = `${left / scale - origin.left - window.scrollX}px`;
      image.style.top = `${down / scale - origin.top - window.scrollY}px`;
      if (!switching) left += sizes[i][0] + GAP;
    });
    stage.style.minHeight = `${high / scale}px`;
    const pinch = window.visualViewport ? window.visualViewport.scale : 1;
    const fits = wide <= Math.floor(document.documentElement.clientWidth * scale) &&
      high <= Math.floor(window.innerHeight * scale);
    exact = fits && pinch === 1 && loaded();
    stage.classList.toggle("placed", loaded());
    if (loaded() && started === null && !document.getElementById("trial").hidden) started = performance.now();
    if (!fits) notice.textContent = "Please enlarge the window, or zoom out: the pictures must be seen whole.";
    else if (pinch !== 1) notice.textContent = "Please undo the zoom: pictures are judged pixel by pixel.";
    else if (!sending) notice.textContent = "";
    ready();
  }

  function ready() {
    next.disabled = sending || !exact || !form.elements.value.value || seen.size < (switching ? images.length : 1);
  }

  function show(index) {
    front = index;
    seen.add(index);
    images.forEach((image, i) => image.classList.toggle("under", i !== index));
    shown.textContent = `Shown: ${images[index].alt}`;
    ready();
  }

  async function send() {
    if (next.disabled || sending) return;
    sending = true;
    ready();
    const answer = {
      csrf: body.dataset.csrf,
      position: Number(body.dataset.position),
      value: Number(form.elements.value.value),
      elapsed_ms: Math.min(86400000, Math.round(performance.now() - started)),
      device_pixel_ratio: ratio(),
      exact_pixels: exact,
      screen: `${screen.width}x${screen.height} ${window.innerWidth}x${window.innerHeight}`,
    };
    try {
      const reply = await fetch(`${address}/answer`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(answer),
      });
      // Out of turn or no longer served: the page of now says what holds.
      if (reply.ok || [404, 409, 410].includes(reply.status)) return location.replace(address);
      const problem = await reply.json().catch(() => ({}));
      retry(typeof problem.detail === "string" ? problem.detail : `the server answered ${reply.status}`);
    } catch {
      retry("the server cannot be reached");
    }
  }

  function retry(reason) {
    sending = false;
    ready();
    notice.textContent = `Not kept yet: ${reason}. Please press Next again in a moment.`;
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("trial").hidden) return;
    if (event.key === "Enter") {
      event.preventDefault();
      if (!event.repeat) send();
      return;
    }
    if (event.key === " " && switching) {
      event.preventDefault();
      show((front + 1) % images.length);
      return;
    }
    const arrows = { ArrowLeft: "1", ArrowDown: "0", ArrowRight: "2" };
    const pair = form.querySelector("input[value='3']") === null;
    const value = pair ? arrows[event.key] : event.key;
    const choice = [...form.elements].find((field) => field.name === "value" && field.value === value);
    if (!choice) return;
    event.preventDefault();
    choice.checked = true;
    choice.focus({ preventScroll: true });
    ready();
  }

  form.addEventListener("change", ready);
  form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
  document.addEventListener("keydown", key);
  window.addEventListener("resize", place);
  window.visualViewport?.addEventListener("resize", place);
  // A page that comes back from the browser's memory shows a place that may be answered: ask anew.
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.replace(address); });
  images.forEach((image) => {
    image.addEventListener("load", place);
    image.addEventListener("error", () => { notice.textContent = "A picture did not arrive: please load the page again."; });
  });
  document.getElementById("switch")?.addEventListener("click", () => show((front + 1) % images.length));
  document.getElementById("go-on")?.addEventListener("click", () => {
    document.getElementById("rest").hidden = true;
    document.getElementById("trial").hidden = false;
    place();
  });
  if (switching) show(0);
  place();
  if (loaded()) preload(); else images[images.length - 1].addEventListener("load", preload);

  function preload() {
    if (body.dataset.last === "1") return;
    images.forEach((_, i) => { new Image().src = `${address}/pictures/${Number(body.dataset.position) + 1}/${i}`; });
  }
})();

// The studio: pictures are sent, followed while they are worked on, and shown in the viewer as they are made.

const form = byId("send");
const rows = new Map();
// Pictures that were sent from this page: each is shown once, when there is something of it to see.
const fresh = new Set();
let chosen = [];

function say(text) {
  byId("message").textContent = text;
}

// What the server says of a refusal, whatever it sends.
function reasonOf(status, text) {
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string" ? detail : detail.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ");
  } catch {
    return `the studio answered ${status}`;
  }
}

async function ask(method, path) {
  try {
    const reply = await fetch(path, { method, headers: { "x-csrf-token": document.body.dataset.csrf } });
    if (!reply.ok) say(reasonOf(reply.status, await reply.text()));
  } catch {
    say("The studio does not answer. Is it still running?");
  }
}

function sendAll(files) {
  chosen = [...files];
  byId("go").disabled = !chosen.length;
  say("");
  if (!form.reportValidity()) return;
  const models = [...form.querySelectorAll("[name=model]:checked")].map((box) => box.value);
  if (!models.length) return say("Choose at least one model.");
  for (const file of chosen) send(file, models);
}

function send(file, models) {
  if (file.size > Number(document.body.dataset.uploadBytes)) {
    return say(`${file.name} has ${Math.round(file.size / 1e6)} MB; at most ${document.body.dataset.uploadBytes / 1e6} MB are taken.`);
  }
  const query = new URLSearchParams({
    scale: byId("scale").value, suffix: byId("suffix").value,
    judge: byId("judge").checked, learned: byId("learned").checked,
  });
  for (const model of models) query.append("models", model);
  const row = document.createElement("li");
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", `sending ${file.name}`);
  row.append(`sending ${file.name} `, bar);
  byId("jobs").prepend(row);
  const request = new XMLHttpRequest();
  request.open("POST", `/api/jobs?${query}`);
  request.setRequestHeader("content-type", "application/octet-stream");
  request.setRequestHeader("x-csrf-token", document.body.dataset.csrf);
  request.setRequestHeader("x-name", encodeURIComponent(file.name));
  request.upload.onprogress = (event) => { bar.max = event.total; bar.value = event.loaded; };
  request.onload = () => {
    if (request.status === 201) fresh.add(JSON.parse(request.responseText).id);
    else say(`${file.name}: ${reasonOf(request.status, request.responseText)}`);
  };
  request.onerror = () => say(`${file.name} could not be sent: the studio does not answer, or it refused the size.`);
  request.onloadend = () => row.remove();
  request.send(file);
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// A picture in the list; made once, and filled anew whenever something has changed, so that focus stays.
function rowOf(job) {
  let row = rows.get(job.id);
  if (!row) {
    row = {
      item: element("li"),
      show: element("button", { type: "button", title: "Show" }),
      stop: element("button", { type: "button", textContent: "Cancel" }),
      remove: element("button", { type: "button", textContent: "Remove" }),
      lines: element("div"),
      reason: element("p", { className: "reason" }),
    };
    row.item.append(element("div", { className: "head" }, row.show, row.stop, row.remove), row.lines, row.reason);
    row.show.addEventListener("click", () => showJob(job.id));
    row.stop.addEventListener("click", () => ask("POST", `/api/jobs/${job.id}/cancel`));
    row.remove.addEventListener("click", () => ask("DELETE", `/api/jobs/${job.id}`));
    row.stop.setAttribute("aria-label", `Cancel ${job.name}`);
    row.remove.setAttribute("aria-label", `Remove ${job.name}`);
    rows.set(job.id, row);
    byId("jobs").prepend(row.item);
  }
  return row;
}

const PENDING = ["arriving", "waiting", "running"];

function fillRow(job) {
  const row = rowOf(job);
  row.show.textContent = `${job.name}  ×${job.scale}${job.judged ? ", judged" : ""}`;
  row.show.disabled = !job.source;
  row.stop.hidden = !PENDING.includes(job.state);
  row.reason.textContent = job.reason ?? "";
  // Links keep the focus, so a line is replaced only when it says something else.
  job.results.forEach((result, i) => {
    const said = JSON.stringify(result);
    const old = row.lines.children[i];
    if (old?.dataset.said === said) return;
    const line = lineOf(job, result);
    line.dataset.said = said;
    if (old) old.replaceWith(line);
    else row.lines.append(line);
  });
}

function lineOf(job, result) {
  const line = element("div", { className: "line" }, element("span", { textContent: result.model }));
  if (result.state === "running") {
    const bar = element("progress", { max: 1, value: result.share });
    bar.setAttribute("aria-label", `${result.model} of ${job.name}`);
    line.append(element("span", {}, bar));
  } else {
    const shown = { shown: `${(result.seconds ?? 0).toFixed(2)} s, the file is being written`, finished: `${(result.seconds ?? 0).toFixed(2)} s` };
    line.append(element("span", { textContent: shown[result.state] ?? (result.reason || result.state) }));
  }
  if (result.file) {
    const size = result.bytes < 1e6 ? `${Math.ceil(result.bytes / 1e3)} kB` : `${(result.bytes / 1e6).toFixed(1)} MB`;
    const link = element("a", { href: result.file, download: result.name, textContent: `Save ${size}` });
    link.setAttribute("aria-label", `Save ${result.name}, ${size}`);
    line.append(link);
  }
  return line;
}

function sceneOf(job) {
  return {
    id: job.id, name: `${job.name} ×${job.scale}`, width: job.width, height: job.height, deep: job.deep, limit: 32,
    crops: job.crops, reference: { label: job.judged ? "original" : "source", images: job.source },
    panels: job.results.map((result, i) => ({
      label: result.whole || PENDING.includes(result.state) ? result.model : `${result.model} (part)`,
      images: [`${job.id}/${i}`], bands: result.views, pending: !result.whole && PENDING.includes(result.state),
      seconds: result.seconds, importance: result.importance,
      psnr: result.psnr, psnr_infinite: result.psnr_infinite, ssim: result.ssim,
    })).filter((panel) => panel.bands.length),
  };
}

function showJob(id) {
  const index = data.scenes.findIndex((scene) => scene.id === id);
  if (index < 0) return;
  setScene(index);
  chooseFirst();
  takeItems();
}

// Take over what there is now; what one looks at stays as it is.
function takeJobs(jobs) {
  const ids = jobs.map((job) => job.id);
  for (const [id, row] of rows) if (!ids.includes(id)) { row.item.remove(); rows.delete(id); }
  jobs.forEach(fillRow);
  const before = data.scenes[state.scene];
  const scenes = jobs.filter((job) => job.source).map(sceneOf);
  const shape = ({ id, panels }) => JSON.stringify([id, panels.map((one) => [one.label, one.pending, one.importance])]);
  const same = (a, b) => a && b && shape(a) === shape(b);
  const renewed = scenes.length !== data.scenes.length || !scenes.every((scene, i) => same(scene, data.scenes[i]));
  data.scenes = scenes;
  document.documentElement.toggleAttribute("data-empty", !scenes.length);
  if (!scenes.length) return void layOut();
  // New rows are asked for, and drawn when they have come.
  if (!renewed) return shownNow().forEach(entry);
  byId("scene").replaceChildren(...scenes.map((scene, i) => new Option(scene.name, String(i))));
  for (const id of ["previous", "next"]) byId(id).hidden = scenes.length < 2;
  if (!begun) begin();
  const still = before ? scenes.findIndex((scene) => scene.id === before.id) : 0;
  if (still < 0 || !before) setScene(Math.max(0, still));
  else state.scene = still;
  byId("scene").value = String(state.scene);
  const grown = before && scenes[state.scene].panels.length !== before.panels.length;
  if (!before || (grown && !state.chosen)) chooseFirst();
  takeItems();
  for (const id of ids) if (fresh.has(id) && scenes.some((scene) => scene.id === id)) { fresh.delete(id); showJob(id); }
}

function follow() {
  const events = new EventSource("/api/events");
  events.onopen = () => { if (byId("message").dataset.lost) { say(""); delete byId("message").dataset.lost; } };
  events.onmessage = (event) => takeJobs(JSON.parse(event.data));
  events.onerror = () => {
    byId("message").dataset.lost = "1";
    say("The studio does not answer. Is it still running? Trying again…");
    // Refused for good, as after a restart: the page itself may say why.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
  };
}

form.addEventListener("submit", (event) => { event.preventDefault(); sendAll(chosen); });
byId("files").addEventListener("change", (event) => sendAll(event.target.files));
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) sendAll(event.clipboardData.files); });
document.addEventListener("dragover", (event) => { event.preventDefault(); document.documentElement.dataset.dragging = ""; });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) delete document.documentElement.dataset.dragging; });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  delete document.documentElement.dataset.dragging;
  if (event.dataTransfer.files.length) sendAll(event.dataTransfer.files);
});
follow();

// The figures: one table, of this picture or the means of all, sorted by any column.

const FIGURES = { psnr: 2, ssim: 4, seconds: 3 };
const order = { key: null, descending: true, scope: "scene" };

function rowsNow() {
  const { panels } = sceneNow();
  const rows = order.scope === "mean" ? data.means : panels;
  // A picture without an original has not every method of the others: what it lacks cannot be chosen.
  const numbered = rows.map((row) => ({ ...row, item: panels.findIndex(({ label }) => label === row.label) + 1 || null }));
  if (!order.key) return numbered;
  const value = (row) => row[order.key] ?? (order.descending ? -Infinity : Infinity);
  const compare = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
  return numbered.sort((a, b) => (order.descending ? -compare(a, b) : compare(a, b)));
}

function cell(row, text, ...classes) {
  const td = row.insertCell();
  td.textContent = text;
  td.classList.add(...classes);
  return td;
}

function choiceButtons(td, item) {
  const group = document.createElement("span");
  group.className = "group";
  const sides = state.mode === "slider" ? ["left", "right"] : ["current"];
  for (const side of sides) {
    const button = document.createElement("button");
    button.textContent = { left: "A", right: "B", current: "show" }[side];
    button.setAttribute("aria-pressed", String(state[side] === item));
    button.setAttribute("aria-label", `${{ left: "left: ", right: "right: ", current: "show " }[side]}${nameOf(item)}`);
    button.addEventListener("click", () => choose(item, side));
    group.append(button);
  }
  if (state.mode !== "grid") td.append(group);
}

function drawTable() {
  const rows = rowsNow();
  const body = document.querySelector("#table tbody");
  body.replaceChildren();
  const best = {};
  for (const [key] of Object.entries(FIGURES)) {
    const known = rows.map((row) => row[key]).filter((v) => v !== null && v !== undefined);
    if (known.length > 1) best[key] = key === "seconds" ? Math.min(...known) : Math.max(...known);
  }
  // A figure that nobody has, as where there is no reference, needs no column.
  for (const key of Object.keys(FIGURES)) {
    const known = rows.some((row) => row[`${key}_infinite`] || (row[key] ?? null) !== null);
    byId("table").classList.toggle(`no-${key}`, !known);
  }
  for (const row of [{ label: sceneNow().reference.label, item: 0 }, ...rows]) {
    const tr = body.insertRow();
    const shown = state.mode === "slider" ? [state.left, state.right] : state.mode === "single" ? [state.current] : [];
    tr.classList.toggle("shown", shown.includes(row.item));
    cell(tr, row.item === null ? "" : String(row.item));
    cell(tr, row.label);
    for (const [key, digits] of Object.entries(FIGURES)) {
      const value = row[key];
      const known = value !== null && value !== undefined;
      const td = cell(tr, known ? value.toFixed(digits) : row.item !== 0 ? "∞–".charAt(row[`${key}_infinite`] ? 0 : 1) : "");
      td.classList.toggle("best", known && value === best[key]);
      const interval = order.scope === "mean" && row[`${key}_interval`];
      if (interval) {
        const span = document.createElement("span");
        span.className = "interval";
        span.textContent = interval.map((v) => v.toFixed(Math.min(digits, 3))).join(" – ");
        td.append(span);
      }
    }
    const last = tr.insertCell();
    if (row.item !== null) choiceButtons(last, row.item);
  }
  for (const button of document.querySelectorAll("#table th button")) {
    const active = button.dataset.sort === order.key;
    const th = button.parentElement;
    if (active) th.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  }
  for (const button of document.querySelectorAll("#scopes button")) {
    button.setAttribute("aria-pressed", String(button.dataset.scope === order.scope));
  }
}

function sortBy(key) {
  const first = key === "psnr" || key === "ssim";
  Object.assign(order, { descending: order.key === key ? !order.descending : first, key });
  drawTable();
}

// The best method against each other one: difference, wins, and the two tests.
function drawPairs() {
  if (!data.pairs.length) return;
  const table = document.createElement("table");
  table.createCaption().textContent = `PSNR of ${data.pairs[0].first} minus that of …, over all pictures; small, here and above: 95 % bootstrap intervals`;
  const head = table.createTHead().insertRow();
  for (const text of ["method", "dB", "won", "t test", "Wilcoxon"]) {
    const th = document.createElement("th");
    th.scope = "col";
    th.textContent = text;
    head.append(th);
  }
  const body = table.createTBody();
  const p = (value) => (value < 0.001 ? "p < 0.001" : `p = ${value.toFixed(3)}`);
  for (const pair of data.pairs) {
    const row = body.insertRow();
    cell(row, pair.second);
    const td = cell(row, pair.difference.toFixed(2));
    if (pair.interval) {
      const span = document.createElement("span");
      span.className = "interval";
      span.textContent = pair.interval.map((v) => v.toFixed(2)).join(" – ");
      td.append(span);
    }
    cell(row, `${pair.wins} of ${pair.count}`);
    cell(row, p(pair.t_test));
    cell(row, p(pair.wilcoxon));
  }
  byId("pairs").append(table);
}

// Pictures that stand in the page itself, taken over while the browser still reads it.

// Take over what the browser has read by now; the pictures of a scene stand before its description.
function collect() {
  const found = document.getElementsByClassName("scene");
  const before = data.scenes.length;
  for (let i = before; i < found.length; i++) {
    // An element is there before its text is; what follows it shows that it has ended.
    if (document.readyState === "loading" && !found[i].nextElementSibling) break;
    const scene = read(found[i]);
    byId("scene").append(new Option(scene.name, String(i)));
    data.scenes.push(scene);
  }
  const summary = document.querySelector("script.summary");
  const done = summary && document.readyState !== "loading";
  if (done) Object.assign(data, read(summary));
  if (!before && data.scenes.length) begin();
  const many = data.scenes.length > 1;
  for (const id of ["previous", "next"]) byId(id).hidden = !many;
  byId("scopes").style.display = many && done && data.means.length ? "" : "none";
  if (done) drawPairs();
  return done;
}

const watcher = new MutationObserver(collect);
watcher.observe(byId("store"), { childList: true });
document.addEventListener("DOMContentLoaded", () => { watcher.disconnect(); collect(); });

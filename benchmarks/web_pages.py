"""How quick are the pages that people look at? ``python benchmarks/web_pages.py FOLDER``.

In FOLDER, comparison pages are made once (`--make-only`; leave the machine alone afterwards) and then opened in
Chromium without a cache: when the first picture is drawn and when the whole page is read, and how long the longest
frames are while one zooms and moves. Then the studio is started, and a picture of a megapixel enlarged twice: from
the moment it is given until the result is drawn on the screen.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, machine, write_results
from PIL import Image, ImageFilter
from playwright.sync_api import sync_playwright

from karaffe.visualize import Panel, Scene, page

PHOTOGRAPHS = ROOT / "examples" / "pictures"
PAGES = {
    "20 pictures of 2 megapixels, 5 methods": (20, 5, (1632, 1224)),
    "200 pictures of 0.35 megapixels, 3 methods": (200, 3, (684, 512)),
}
DIFFERENT = 2
MUCH = ("first", "whole", "computing")
# A look at every frame would have the browser make frames that nobody sees, on the cores that are measured.
LOOK_MS = 20
BUSY = "() => !document.documentElement.hasAttribute('data-busy')"
SHOWN = """([name, model]) =>
  document.querySelector("#scene option:checked")?.textContent.startsWith(name) &&
  [...document.querySelectorAll(".tag")].some((tag) => tag.textContent === model) &&
  !document.documentElement.hasAttribute("data-busy")"""
# Rows of the network's own result, while the others are still being made.
PART_SHOWN = SHOWN.replace(
    '!document.documentElement.hasAttribute("data-busy")', 'document.documentElement.dataset.busy !== ""'
)
FRAMES = """async () => {
  const stage = document.getElementById("stage"), box = stage.getBoundingClientRect(), gaps = [];
  const at = { clientX: box.left + box.width / 3, clientY: box.top + box.height / 3, bubbles: true, cancelable: true };
  const frame = () => new Promise((go) => requestAnimationFrame(go));
  let last = await frame();
  for (let i = 0; i < 60; i++) {
    if (i % 3 === 0) stage.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: i < 30 ? -100 : 100 }));
    else {
      const key = i % 2 ? "ArrowRight" : "ArrowDown";
      stage.dispatchEvent(new KeyboardEvent("keydown", { key, code: "", bubbles: true }));
    }
    const now = await frame();
    gaps.push(now - last);
    last = now;
  }
  return gaps;
}"""


def photograph(name: str, size: tuple[int, int]) -> Image.Image:
    """One of the example pictures at another size."""
    with Image.open(PHOTOGRAPHS / name) as picture:
        return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def scene(number: int, methods: int, size: tuple[int, int]) -> Scene:
    """A photograph with noise of its own, and methods that blur it more and more."""
    noise = np.random.default_rng(number).integers(-3, 4, (size[1], size[0], 1))
    picture = np.clip(np.asarray(photograph(("chelsea.png", "coffee.png")[number % 2], size)) + noise, 0, 255)
    original = Image.fromarray(picture.astype(np.uint8))
    blurred = [np.asarray(original.filter(ImageFilter.GaussianBlur(0.3 * (m + 1)))) for m in range(methods)]
    panels = tuple(Panel(f"method {m + 1}", pixels, 40.0 - m, 0.9, 0.1) for m, pixels in enumerate(blurred))
    return Scene("picture", np.asarray(original), panels, 2)


def make_pages(folder: Path) -> dict[str, Path]:
    """Write the pages that are not there yet; of each, some pictures are made and come again under other names."""
    made = {}
    for number, (title, (count, methods, size)) in enumerate(PAGES.items()):
        made[title] = folder / f"page-{number}.html"
        if made[title].exists():
            continue
        parts = [list(page([scene(n, methods, size)], title=title)) for n in range(DIFFERENT)]
        part = made[title].with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(parts[0][0])
            for n in range(count):
                file.write("".join(parts[n % DIFFERENT][1:-2]).replace("p0-", f"p{n}-"))
            file.write("".join(parts[0][-2:]))
        part.replace(made[title])
    return made


def look(browser: Any, path: Path, times: int) -> dict[str, float]:
    """Open a page several times; medians in milliseconds, frames of all times together."""
    drawn, whole, last, gaps = [], [], [], []
    for _ in range(times):
        tab = browser.new_page(viewport={"width": 1600, "height": 1000}, bypass_csp=True)
        tab.goto(path.as_uri(), wait_until="commit", timeout=120_000)
        tab.wait_for_selector("html[data-drawn]", timeout=120_000, state="attached")
        drawn.append(float(tab.get_attribute("html", "data-drawn")))
        tab.wait_for_load_state("load", timeout=240_000)
        whole.append(tab.evaluate("() => performance.timing.loadEventStart - performance.timing.navigationStart"))
        gaps += tab.evaluate(FRAMES)
        start = time.perf_counter()
        tab.keyboard.press("[")
        tab.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
        tab.wait_for_function(BUSY)
        last.append(1000 * (time.perf_counter() - start))
        tab.close()
    ordered = sorted(gaps)
    return {
        "megabytes": path.stat().st_size / 1e6,
        "first_picture_ms": statistics.median(drawn),
        "whole_page_ms": statistics.median(whole),
        "another_picture_ms": statistics.median(last),
        "frame_p95_ms": ordered[int(0.95 * len(ordered))],
        "frame_max_ms": ordered[-1],
    }


def enlarge(browser: Any, folder: Path, models: list[str], times: int) -> dict[str, dict[str, float]]:
    """Give the studio a picture of a megapixel; seconds until each model's first rows and its whole result are seen."""
    command = [sys.executable, "-m", "karaffe", "studio", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http\S+", server.stdout.readline() if server.stdout else "")
        if address is None:
            raise SystemExit("the studio did not start")
        tab = browser.new_page(viewport={"width": 1600, "height": 1000}, bypass_csp=True)
        tab.goto(address[0])
        warm = folder / "warm.png"
        photograph("coffee.png", (64, 48)).save(warm)
        found: dict[str, dict[str, list[float]]] = {model: {much: [] for much in MUCH} for model in models}
        for model in models:
            for box in tab.locator("[name=model]").all():
                box.set_checked(box.get_attribute("value") == model)
            for number in range(0 if model == models[0] else 1, times + 1):
                picture = folder / f"{model}-{number}.png" if number else warm
                if number:
                    photograph("coffee.png", (1160, 870)).rotate(number).save(picture)
                start = time.perf_counter()
                tab.set_input_files("#files", picture)
                for much, shown in (("first", PART_SHOWN), ("whole", SHOWN)):
                    tab.wait_for_function(shown, arg=[picture.name, model], timeout=120_000, polling=LOOK_MS)
                    if number:
                        found[model][much].append(time.perf_counter() - start)
                        print(f"{model}, {much} rows: {found[model][much][-1]:.2f} s", flush=True)
                if number:
                    computed = tab.inner_text("#table tbody tr:nth-child(2) td:nth-child(5)")
                    found[model]["computing"].append(float(computed))
                tab.get_by_role("button", name=f"Remove {picture.name}").click()
                tab.wait_for_selector("html[data-empty]", state="attached")
                # The worker puts down the file that it was writing.
                time.sleep(0.5)
        return {model: {k: statistics.median(s) for k, s in seconds.items()} for model, seconds in found.items()}
    finally:
        server.terminate()
        server.wait(20)


def table(pages: dict[str, Any], who: dict[str, str], browser: str) -> str:
    head = ("comparison page", "size", "first picture", "whole page", "another picture")
    rows = [
        [title, f"{row['megabytes']:.0f} MB"]
        + [f"{row[f'{what}_ms'] / 1000:.2f} s" for what in ("first_picture", "whole_page", "another_picture")]
        + [f"{row['frame_p95_ms']:.0f} / {row['frame_max_ms']:.0f} ms"]
        for title, row in pages.items()
    ]
    heading = ["# The comparison page in a browser"]
    return _page(heading, (*head, "frames in motion, 95 % / longest"), rows, who, browser)


def studio_table(studio: dict[str, Any], who: dict[str, str], browser: str) -> str:
    heading = ["# The studio in a browser: a picture of a megapixel, 1160 x 870 to 2320 x 1740", ""]
    heading += [
        "From the moment the picture is given until rows of the result are drawn, the first ones and all of them."
    ]
    rows = [[f"`{model}`", *(f"{s[much]:.2f} s" for much in MUCH)] for model, s in studio.items()]
    return _page(heading, ("model", "first rows", "all", "of that computing"), rows, who, browser)


def _page(heading: list[str], head: Sequence[str], rows: list[list[str]], who: dict[str, str], browser: str) -> str:
    lines = [*heading, "", *(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)), ""]
    lines += [f"- browser: {browser}, without a GPU", *(f"- {key}: {value}" for key, value in who.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pages are, or are made")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["bicubic", "sharp"])
    parser.add_argument("--make-only", action="store_true", help="make the pages and measure nothing")
    parser.add_argument("--only", choices=("studio", *PAGES), help="measure this, and take the rest from FOLDER")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    made = {} if options.only == "studio" else make_pages(options.folder)
    if options.make_only:
        return
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        version = f"Chromium {browser.version}"
        if options.only in (None, "studio"):
            record("web_studio", studio_table, enlarge(browser, options.folder, options.models, options.times), version)
        kept = options.folder / "measured.json"
        found = json.loads(kept.read_text()) if options.only and kept.exists() else {}
        for title, path in made.items():
            if options.only in (None, title):
                found[title] = look(browser, path, options.times)
        browser.close()
    kept.write_text(json.dumps(found))
    if found.keys() == PAGES.keys():
        record("web_pages", table, found, version)


def record(name: str, tabulate: Any, found: dict[str, Any], version: str) -> None:
    """Print and record what was measured."""
    who = machine()
    text = tabulate(found, who, version)
    print(text)
    print(write_results(name, {"machine": who, "browser": version, "measured": found}, text))


if __name__ == "__main__":
    main()

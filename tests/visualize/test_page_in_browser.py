"""The comparison page in a real browser: what keys and pointer do, pixels as they are, no barrier, no request."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from karaffe.evaluation import PAPERS, Comparison
from karaffe.visualize import Panel, Scene, page

HOSTILE = "</script><img src=x onerror=alert(1)>.png"
DRAWN = "() => document.documentElement.dataset.drawn && !document.documentElement.hasAttribute('data-busy')"


def pictures(seed: int) -> list[np.ndarray]:
    """A reference and three pictures, each of one colour but for the noise they share."""
    noise = np.random.default_rng(seed).integers(0, 40, (64, 96, 1))
    colours = [(90, 90, 90), (150, 90, 90), (90, 150, 90), (90, 90, 150)]
    return [(noise + colour).astype(np.uint8) for colour in colours]


def scene(name: str, seed: int) -> Scene:
    reference, *others = pictures(seed)
    figures = [(31.5, 0.91, 0.25), (30.5, 0.95, 0.5), (33.25, 0.93, 0.125)]
    labels = ["red", "green", HOSTILE]
    panels = [Panel(label, p, *f) for label, p, f in zip(labels, others, figures, strict=True)]
    return Scene(name, reference, tuple(panels), 2)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    scenes = [scene("first", 0), scene(HOSTILE, 1), scene("third", 2)]
    path.write_text("".join(page(scenes, title=HOSTILE, note="how it was measured")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def deep_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of 16 bit whose values lie in a narrow range, beside itself."""
    path = tmp_path_factory.mktemp("page") / "deep.html"
    ramp = np.linspace(1000, 1600, 64 * 96).reshape(64, 96).astype(np.uint16)
    path.write_text("".join(page([Scene("deep", ramp, (Panel("m", ramp + np.uint16(3)),), 2)])), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def learned_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A method with a known map of importance, inside of what a notebook shows."""
    path = tmp_path_factory.mktemp("page") / "notebook.html"
    reference, red, green, _ = pictures(0)
    importance = np.zeros((32, 48, 2), np.float32)
    importance[:, :24, 0], importance[:, :, 1] = 1, 0.6
    panels = (Panel("plain", red, 30.0), Panel("learned", green, 31.0, importance=importance))
    shown = Comparison(2, ("plain", "learned"), PAPERS, (), scenes=(Scene("p", reference, panels, 2),))
    path.write_text(f"<!doctype html><title>n</title>{shown._repr_html_()}", encoding="utf-8")
    return path


@pytest.fixture
def visit(launch: Callable[..., Any], file: Path) -> Iterator[Callable[..., Any]]:
    """Open the page; the test fails where it asks for anything, opens a dialog, or one of its scripts fails."""
    contexts: list[Any] = []
    faults: list[str] = []

    def open_page(path: Path = file, **options: Any) -> Any:
        # The policy forbids evaluating texts, which is how these tests look into the page.
        context = launch().new_context(
            **{"viewport": {"width": 1100, "height": 700}, "bypass_csp": True, "color_scheme": "light", **options}
        )
        context.set_default_timeout(15_000)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        tab.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        tab.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else faults.append(r.url))
        tab.goto(path.as_uri())
        if path.name != "notebook.html":
            settle(tab)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def settle(tab: Any) -> None:
    tab.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    tab.wait_for_function(DRAWN)


def press(tab: Any, *keys: str) -> None:
    for key in keys:
        tab.keyboard.press(key)
    settle(tab)


def shot(tab: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(tab.locator("#stage").screenshot())).convert("RGB"))


def tags(tab: Any) -> list[str]:
    return [text for text in tab.locator(".tag").all_inner_texts() if text]


def hue(pixels: np.ndarray) -> str:
    """The colour that stands out in a region."""
    means = pixels.reshape(-1, 3).mean(0)
    return "grey" if np.ptp(means) < 20 else ["red", "green", "blue"][int(means.argmax())]


def test_the_page_runs_under_its_own_policy(visit: Callable[..., Any]) -> None:
    tab = visit(bypass_csp=False)
    assert tags(tab) == ["red 31.50 dB", f"{HOSTILE} 33.25 dB"]
    assert tab.title() == HOSTILE
    assert tab.evaluate("() => document.images.length") == 0


def test_left_of_the_handle_is_one_method_and_right_the_other(visit: Callable[..., Any]) -> None:
    tab = visit()
    view = shot(tab)
    height, width = view.shape[:2]
    middle = slice(height // 2 + 30, height // 2 + 80)
    assert hue(view[middle, width // 2 - 100 : width // 2 - 40]) == "red"
    assert hue(view[middle, width // 2 + 40 : width // 2 + 100]) == "blue"
    box = tab.locator("#stage").bounding_box()
    tab.mouse.move(box["x"] + width / 2, box["y"] + height / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + width / 2 + 150, box["y"] + height / 2, steps=3)
    tab.mouse.up()
    settle(tab)
    assert hue(shot(tab)[middle, width // 2 + 40 : width // 2 + 100]) == "red"
    tab.locator("#handle").focus()
    press(tab, *["ArrowLeft"] * 16)
    assert hue(shot(tab)[middle, width // 2 + 40 : width // 2 + 100]) == "blue"


def test_digits_choose_and_space_blinks(visit: Callable[..., Any]) -> None:
    tab = visit()
    press(tab, "2", "Shift+0")
    assert tags(tab) == ["reference", "green 30.50 dB"]
    press(tab, "Space")
    assert tags(tab) == ["green 30.50 dB", "reference"]
    press(tab, "b", "1", "2")
    assert tags(tab) == ["green 30.50 dB"]
    centre = np.s_[250:350, 300:400]
    assert hue(shot(tab)[centre]) == "green"
    press(tab, "Space")
    assert tags(tab) == ["red 31.50 dB"]
    assert hue(shot(tab)[centre]) == "red"
    press(tab, "9")
    assert tags(tab) == ["red 31.50 dB"]


def test_pixels_are_shown_as_squares_of_their_own_colour(visit: Callable[..., Any]) -> None:
    tab = visit()
    press(tab, "b", "1")
    zoom = int(tab.inner_text("#zoom").split()[0]) // 100
    assert zoom >= 2
    view = shot(tab)
    wanted = pictures(0)[1].repeat(zoom, 0).repeat(zoom, 1)
    top, left = ((a - b + 1) // 2 for a, b in zip(view.shape[:2], wanted.shape[:2], strict=True))
    # Away from the label, the picture stands there to the pixel, but for half a pixel of centring.
    inner = np.s_[100 : wanted.shape[0] - 100, 100 : wanted.shape[1] - 100]
    places = [(top + dy, left + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    shifted = [view[y : y + wanted.shape[0], x : x + wanted.shape[1]][inner] for y, x in places]
    assert any(np.array_equal(s, wanted[inner]) for s in shifted)


def test_zoom_and_pan_move_all_panels_together(visit: Callable[..., Any]) -> None:
    tab = visit()
    press(tab, "g")
    assert len(tags(tab)) == 4
    boxes = [view.bounding_box() for view in tab.locator(".view").all()]
    tab.mouse.move(boxes[1]["x"] + 40, boxes[1]["y"] + 60)
    for _ in range(3):
        tab.mouse.wheel(0, -100)
    press(tab, "ArrowRight", "ArrowDown")
    stage = tab.locator("#stage").bounding_box()
    view = shot(tab).astype(int)
    cuts = []
    for box in boxes:
        y, x = round(box["y"] - stage["y"]), round(box["x"] - stage["x"])
        cuts.append(view[y + 60 : y + 200, x + 60 : x + 200])
    # The noise is the same in all, so that luma differs by a constant where the same place is shown.
    for cut in cuts:
        assert cut.std() > 3
        assert (cut.min(2) - cuts[0].min(2)).std() < 0.01


def test_error_maps_and_their_legend(visit: Callable[..., Any]) -> None:
    tab = visit()
    press(tab, "b", "2", "m")
    assert "of 255" in tab.inner_text("#to")
    tab.select_option("#limit", "64")
    settle(tab)
    # The green picture is 60 counts of green, 0.587 · 60 = 35 of luma too bright, everywhere.
    patch = shot(tab)[250:350, 300:400].reshape(-1, 3)
    assert np.ptp(patch, axis=0).max() <= 12
    place = 35 / 64 * 5
    low, high = np.array([(142, 36, 118), (221, 74, 70)])
    np.testing.assert_allclose(patch.mean(0), low + (place - 2) * (high - low), atol=12)
    press(tab, "m")
    assert hue(shot(tab)[250:350, 300:400]) == "red"
    press(tab, "m")
    # An error of 35 counts everywhere: 10 log10(255² / 35²) = 17 dB, which is beyond the bright end.
    np.testing.assert_allclose(shot(tab)[300, 350], (255, 246, 190), atol=3)
    press(tab, "m")
    assert tab.input_value("#map") == "ssim"
    press(tab, "m")
    assert tab.input_value("#map") == "spectrum"


def test_the_table_is_sorted_and_its_names_stay_text(visit: Callable[..., Any]) -> None:
    tab = visit()
    press(tab, "s")

    def column(number: int) -> list[str]:
        return tab.locator(f"#table tbody td:nth-child({number})").all_inner_texts()[1:]

    assert column(2) == ["red", "green", HOSTILE]
    tab.click("#table th:nth-child(4) button")
    assert column(4) == ["0.9500", "0.9300", "0.9100"]
    assert tab.get_attribute("#table th:nth-child(4)", "aria-sort") == "descending"
    tab.click("#table th:nth-child(5) button")
    assert column(2) == [HOSTILE, "red", "green"]
    tab.click("text=All pictures")
    assert "33.25" in tab.inner_text("#table")
    assert tab.locator("#pairs tbody tr").count() == 2


def test_pictures_change_and_crops_are_visited(visit: Callable[..., Any]) -> None:
    tab = visit()
    press(tab, "]")
    assert tab.locator("#scene option:checked").inner_text() == HOSTILE
    press(tab, "[", "[")
    assert tab.locator("#scene option:checked").inner_text() == "third"
    before = tab.inner_text("#zoom")
    press(tab, "c")
    assert tab.inner_text("#zoom") != before
    press(tab, "f")
    assert tab.inner_text("#zoom") == before


def test_pixel_values_under_the_pointer(visit: Callable[..., Any]) -> None:
    tab = visit()
    press(tab, "b", "1")
    box = tab.locator("#stage").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 + 3)
    settle(tab)
    reference, red = (" ".join(map(str, p[32, 48])) for p in pictures(0)[:2])
    assert tab.inner_text("#values") == f"x 48 y 32 · reference {reference} · red {red}"
    press(tab, "l")
    assert tab.locator("#lens").is_visible()


def test_sixteen_bit_is_windowed_and_its_values_are_shown(visit: Callable[..., Any], deep_file: Path) -> None:
    tab = visit(deep_file)
    press(tab, "b", "1")
    assert shot(tab)[330:350, 300:400].max() < 8
    press(tab, "w")
    tab.wait_for_function("() => Number(document.getElementById('black').value) > 0")
    settle(tab)
    assert [int(tab.input_value(f"#{name}")) for name in ("black", "white")] == pytest.approx([1006, 1594], abs=2)
    middle = shot(tab)[330:350, 300:400]
    assert 90 < middle.mean() < 165
    box = tab.locator("#stage").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 + 3)
    settle(tab)
    value = int(np.linspace(1000, 1600, 64 * 96).reshape(64, 96)[32, 48])
    assert f"reference {value} {value} {value} · m {value + 3}" in tab.inner_text("#values")
    tab.fill("#white", "65535")
    tab.locator("#white").blur()
    settle(tab)
    assert shot(tab)[330:350, 300:400].max() < 8
    press(tab, "w")
    assert tab.input_value("#black") == "0"


def test_importance_is_shown_inside_a_notebook(visit: Callable[..., Any], learned_file: Path) -> None:
    tab = visit(learned_file, bypass_csp=False)
    frame = tab.frame_locator("iframe")
    frame.locator("html[data-drawn]").wait_for()
    frame.locator("#map").select_option("entropy")
    frame.locator("#modes button", has_text="Blink").click()
    frame.locator("#table tbody tr", has_text="learned").get_by_role("button").click()
    frame.locator("html:not([data-busy])").wait_for()
    box = frame.locator("#stage").bounding_box()
    tab.wait_for_timeout(300)

    def view() -> np.ndarray:
        clip = {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}
        return np.asarray(Image.open(io.BytesIO(tab.screenshot(clip=clip))).convert("RGB"))

    height, width = view().shape[:2]
    np.testing.assert_allclose(view()[height // 2, width // 2 - 40], (255, 246, 190), atol=3)
    np.testing.assert_allclose(view()[height // 2, width // 2 + 40], (9, 9, 20), atol=3)
    frame.locator("#map").select_option("offcentre")
    frame.locator("html:not([data-busy])").wait_for()
    tab.wait_for_timeout(300)
    np.testing.assert_allclose(view()[height // 2, width // 2 - 40], (221, 74, 70), atol=4)


def test_errors_are_taken_from_the_picture_that_is_chosen(visit: Callable[..., Any]) -> None:
    tab = visit()
    assert "importance: entropy" not in tab.locator("#map option:not([disabled])").all_inner_texts()
    press(tab, "b", "1", "m", "m", "d", "d")
    assert tab.locator("#against option:checked").inner_text() == "against green"
    # Red against green: 60 counts of red more, 60 of green less, (0.299 - 0.587) 60 = -17 of luma: darker.
    assert hue(shot(tab)[250:350, 300:400]) == "blue"
    press(tab, "2")
    assert hue(shot(tab)[250:350, 300:400]) == "green"


def test_a_picture_that_is_moved_stays_so(visit: Callable[..., Any]) -> None:
    tab = visit()
    press(tab, "b", "1")
    tab.keyboard.down("Alt")
    press(tab, "ArrowRight", "ArrowRight", "ArrowDown")
    tab.keyboard.up("Alt")
    press(tab, "]", "[", "+")
    box = tab.locator("#stage").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 + 3)
    settle(tab)
    # The reference lies where it was, and under the same point is now an earlier pixel of the method's picture.
    reference, red = pictures(0)[0][32, 48], pictures(0)[1][31, 46]
    words = [" ".join(map(str, pixel)) for pixel in (reference, red)]
    assert tab.inner_text("#values") == f"x 46 y 31 · reference {words[0]} · red {words[1]}"
    press(tab, "r")
    assert f"x 48 y 32 · reference {words[0]} · red {' '.join(map(str, pictures(0)[1][32, 48]))}" == tab.inner_text(
        "#values"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barrier_is_found_by_axe(visit: Callable[..., Any], barriers: Callable[[Any], Any], scheme: str) -> None:
    tab = visit(color_scheme=scheme)
    assert tab.get_attribute("html", "data-theme") == scheme
    for keys in (["s"], ["g"], ["?"]):
        press(tab, *keys)
        assert barriers(tab) == []


def test_a_narrow_window_keeps_everything_within_reach(visit: Callable[..., Any]) -> None:
    tab = visit(viewport={"width": 420, "height": 800})
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= 420
    assert tab.locator("#stage").bounding_box()["height"] > 300

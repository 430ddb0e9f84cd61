"""The studio in a real browser: send, follow, look, save, cancel, leave; several people at once; no barrier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import PNG, picture, png, until

from karaffe.evaluation import compare
from karaffe.imaging import upscale
from karaffe.studio.enlarge.desk import Desk
from karaffe.studio.enlarge.job import State

HOSTILE = "<img src=x onerror=alert(1)>&amp;'.png"
DRAWN = "() => document.documentElement.dataset.drawn && !document.documentElement.hasAttribute('data-busy')"


@pytest.fixture
def visit(launch: Callable[..., Any], base: str) -> Iterator[Callable[..., Any]]:
    """Open the studio as a new person; the test fails where a script does, a dialog opens, or the policy is broken."""
    contexts: list[Any] = []
    faults: list[str] = []

    def open_page(**options: Any) -> Any:
        context = launch().new_context(**{"viewport": {"width": 1280, "height": 760}, **options})
        context.set_default_timeout(120_000)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("console", lambda m: faults.append(m.text) if "Content Security Policy" in m.text else None)
        tab.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        tab.on("request", lambda r: None if r.url.startswith((base, "data:")) else faults.append(r.url))
        tab.goto(base)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def give(tab: Any, content: bytes, name: str, *models: str) -> None:
    """Choose models, then a file."""
    for box in tab.locator("[name=model]").all():
        box.set_checked(box.get_attribute("value") in models)
    tab.set_input_files("#files", {"name": name, "mimeType": "image/png", "buffer": content})


def job_of(desk: Desk, name: str) -> Any:
    return until(lambda: next((job for job in desk._jobs.values() if job.task.name == name), None))


def settle(tab: Any) -> None:
    tab.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    tab.wait_for_function(DRAWN)


def values_at_centre(tab: Any) -> str:
    box = tab.locator("#stage").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2 + 2, box["y"] + box["height"] / 2 + 2)
    settle(tab)
    return str(tab.inner_text("#values"))


def test_a_picture_is_sent_looked_at_and_saved(visit, tmp_path: Path) -> None:
    tab = visit(bypass_csp=True)
    assert tab.locator("#table").is_hidden()
    give(tab, PNG, "small.png", "bicubic", "sharp")
    tab.get_by_text("Save").nth(1).wait_for()
    settle(tab)
    assert [t for t in tab.locator(".tag").all_inner_texts() if t] == ["bicubic", "sharp"]
    wanted = [upscale(picture(), 2, model) for model in ("bicubic", "sharp")]
    words = [" ".join(map(str, pixels[24, 32])) for pixels in (picture().repeat(2, 0).repeat(2, 1), *wanted)]
    assert values_at_centre(tab) == f"x 32 y 24 · source {words[0]} · bicubic {words[1]} · sharp {words[2]}"
    tab.keyboard.press("d")
    assert tab.locator("#against option:checked").inner_text() == "against bicubic"
    tab.keyboard.press("m")
    settle(tab)
    with tab.expect_download() as saving:
        tab.get_by_text("Save").nth(1).click()
    assert saving.value.suggested_filename == "small_sharp_x2.png"
    saving.value.save_as(tmp_path / "saved.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "saved.png")), wanted[1])
    tab.get_by_role("button", name="Remove small.png").click()
    tab.wait_for_selector("html[data-empty]")


def test_a_picture_is_judged_and_shows_where_the_content_mattered(visit) -> None:
    tab = visit(bypass_csp=True)
    tab.check("#judge")
    tab.check("#learned")
    give(tab, png(picture(64, 80)), "judged.png", "bicubic", "sharp")
    tab.wait_for_function("() => !document.querySelector('#map [value=entropy]').disabled")
    settle(tab)
    wanted = {row.model: row for row in compare(picture(64, 80), 2, ("bicubic", "sharp")).rows}
    for row in tab.locator("#table tbody tr").all()[1:]:
        name, psnr, ssim = row.locator("td").all_inner_texts()[1:4]
        assert (psnr, ssim) == (f"{wanted[name].psnr:.2f}", f"{wanted[name].ssim:.4f}")
    assert tab.locator("#table tbody tr").first.locator("td").nth(1).inner_text() == "original"
    tab.select_option("#map", "entropy")
    settle(tab)
    assert tab.locator("#legend").is_visible()
    tab.uncheck("#judge")
    give(tab, PNG, "plain.png", "nearest")
    tab.get_by_text("Save").nth(2).wait_for()
    settle(tab)
    assert tab.locator("#table th", has_text="PSNR").is_hidden()
    give(tab, PNG, "half.png", "nearest")
    tab.check("#judge")
    tab.fill("#scale", "1.5")
    give(tab, PNG, "odd.png", "nearest")
    tab.get_by_text("to judge, the scale must be a whole number from 2 on; it is 1.5").wait_for()


def test_rows_are_seen_while_the_rest_is_made(visit) -> None:
    tab = visit()
    give(tab, png(picture(700, 700)), "large.png", "sharp")
    tab.wait_for_selector("html[data-busy=part]", state="attached")
    assert tab.locator(".tag").nth(1).inner_text() == "sharp"
    tab.get_by_role("button", name="Cancel large.png").click()
    tab.locator(".tag", has_text="sharp (part)").wait_for()
    settle(tab)


def test_sixteen_bit_is_looked_at_and_saved_as_such(visit, tmp_path: Path) -> None:
    deep = picture()[..., 0].astype(np.uint16) * 100 + 3
    tifffile.imwrite(tmp_path / "deep.tif", deep)
    tab = visit(bypass_csp=True)
    give(tab, (tmp_path / "deep.tif").read_bytes(), "deep.tif", "nearest")
    tab.get_by_text("Save").wait_for()
    settle(tab)
    value = int(deep[12, 16])
    assert f"source {value} {value} {value} · nearest {value} {value} {value}" in values_at_centre(tab)
    with tab.expect_download() as saving:
        tab.get_by_text("Save").click()
    saving.value.save_as(tmp_path / "saved.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "saved.tif"), deep.repeat(2, 0).repeat(2, 1))


def test_what_fails_is_said_and_the_rest_goes_on(visit) -> None:
    tab = visit()
    give(tab, b"<b>no picture</b>", HOSTILE, "nearest")
    tab.get_by_text("is no known image format").wait_for()
    # Signs that file systems refuse are gone; the others stay text.
    assert tab.get_by_text("_img src=x onerror=alert(1)_&amp;'.png").count() >= 1
    give(tab, PNG, "good.png", "nearest")
    tab.get_by_text("Save").wait_for()
    give(tab, PNG, "none.png")
    assert tab.inner_text("#message") == "Choose at least one model."
    tab.fill("#scale", "16")
    give(tab, png(picture(200, 200)), "large.png", "nearest")
    tab.get_by_text("at most 4 million are made here").wait_for()
    tab.context.set_offline(True)
    give(tab, PNG, "lost.png", "nearest")
    tab.get_by_text("does not answer").wait_for()


def test_work_is_cancelled_shared_and_given_up(visit, desk: Desk) -> None:
    large = png(picture(900, 900))
    one, two = visit(), visit()
    give(one, large, "one.png", "sharp")
    until(lambda: job_of(desk, "one.png").results[0].share > 0)
    give(two, PNG, "two.png", "nearest")
    one.get_by_role("button", name="Cancel one.png").click()
    one.get_by_text("cancelled").first.wait_for()
    two.get_by_text("Save").wait_for()
    assert job_of(desk, "one.png").state is State.CANCELLED
    assert "two.png" not in one.inner_text("#jobs")
    # The page is closed in mid-job: the worker is free again.
    give(one, large, "left.png", "sharp")
    until(lambda: job_of(desk, "left.png").results[0].share > 0)
    one.context.close()
    until(lambda: job_of(desk, "left.png").state is State.CANCELLED)
    assert "page was left" in job_of(desk, "left.png").reason
    give(two, PNG, "after.png", "nearest")
    until(lambda: job_of(desk, "after.png").state is State.FINISHED)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barrier_is_found(visit, barriers: Callable[[Any], list[Any]], scheme: str) -> None:
    tab = visit(bypass_csp=True, color_scheme=scheme)
    assert barriers(tab) == []
    give(tab, PNG, "small.png", "nearest", "bicubic")
    give(tab, b"nothing", "none.png", "nearest")
    tab.get_by_text("Save").nth(1).wait_for()
    tab.get_by_text("is no known image format").wait_for()
    settle(tab)
    assert barriers(tab) == []
    tab.set_viewport_size({"width": 420, "height": 800})
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= 420

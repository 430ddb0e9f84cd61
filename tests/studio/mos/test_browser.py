"""Real people's steps in a real browser: a whole study, pixels as they are, keys, tabs, and no barrier."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from karaffe.studio.mos.create import create_study
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.votes import read_votes

playwright_api = pytest.importorskip("playwright.sync_api")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
ALLOWED_WINDOW = {"width": 1000, "height": 700}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a page in a fresh profile; the test fails if any of its scripts does."""
    contexts: list[Any] = []
    errors: list[str] = []

    def open_page(**options: Any) -> Any:
        context = chromium.new_context(**{"viewport": ALLOWED_WINDOW, **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if "Content Security Policy" in m.text else None)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def begin(page: Any, base: str) -> str:
    """Take part, agree, and return the personal link."""
    page.goto(base)
    page.get_by_role("button", name="Take part").click()
    page.get_by_role("button", name="I agree and begin").click()
    page.wait_for_selector("#stage.placed")
    return str(page.url)


def rate(page: Any, key: str) -> None:
    """Answer with the keyboard and wait for what comes next."""
    page.wait_for_selector("#stage.placed")
    before = page.get_attribute("body", "data-position")
    page.keyboard.press(key)
    page.keyboard.press("Enter")
    page.wait_for_function("before => document.body.dataset.position !== before", arg=before)


def finish(page: Any, keys: str) -> str:
    """Rate to the end, cycling over the keys; return the completion code."""
    for i in range(100):
        if page.query_selector("#completion"):
            break
        rate(page, keys[i % len(keys)])
    return str(page.inner_text("#completion"))


def votes_of(where: str) -> list[Any]:
    database = Database(where)
    try:
        return read_votes(database)
    finally:
        database.close()


def test_three_raters_rate_a_whole_study(study_file, where, serve, visit) -> None:
    create_study(study_file(repeats=1, training=["p0.png"]), where)
    base = serve(where).base
    codes = set()
    for keys in ("54", "31", "2"):
        page = visit()
        begin(page, base)
        codes.add(finish(page, keys))
    votes = votes_of(where)
    assert len(codes) == 3
    assert len(votes) == 3 * (2 + 3 * 2 + 1)
    assert all(vote.exact_pixels and vote.device_pixel_ratio == 1 and vote.elapsed_ms > 0 for vote in votes)
    assert {vote.value for vote in votes} == {1, 2, 3, 4, 5}
    assert [vote.kind for vote in votes[:3]] == ["training", "training", "test"]

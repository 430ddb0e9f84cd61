"""Real people's steps in a real browser: a whole study, pixels as they are, keys, tabs, and no barrier."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from karaffe.studio.mos.create import create_study
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.report import write_report
from karaffe.studio.mos.server.app import make_app
from karaffe.studio.mos.stimuli import decode
from karaffe.studio.mos.store import Store
from karaffe.studio.mos.votes import read_votes

ALLOWED_WINDOW = {"width": 1000, "height": 700}


@pytest.fixture
def visit(launch: Any) -> Iterator[Callable[..., Any]]:
    """Open a page in a fresh profile; the test fails if any of its scripts does."""
    contexts: list[Any] = []
    errors: list[str] = []

    def open_page(*flags: str, **options: Any) -> Any:
        context = launch(*flags).new_context(**{"viewport": ALLOWED_WINDOW, **options})
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
    page.wait_for_function("before => document.body && document.body.dataset.position !== before", arg=before)


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
    create_study(study_file(repeats=1, training=["p0.png"], trials_per_rater=3), where)
    base = serve(where).base
    codes = set()
    for keys in ("54", "31", "2"):
        page = visit()
        begin(page, base)
        codes.add(finish(page, keys))
    votes = votes_of(where)
    assert len(codes) == 3
    assert len(votes) == 3 * (2 + 3 + 1)
    assert all(vote.exact_pixels and vote.device_pixel_ratio == 1 and vote.elapsed_ms > 0 for vote in votes)
    assert {vote.value for vote in votes} == {1, 2, 3, 4, 5}
    assert [vote.kind for vote in votes[:3]] == ["training", "training", "test"]


@pytest.fixture
def served(study_file, place) -> Iterator[Callable[..., tuple[str, str]]]:
    """Create a study on SQLite and serve it from a thread; return its database and address."""
    stops: list[Callable[[], None]] = []

    def start(**entries: Any) -> tuple[str, str]:
        where = place("sqlite")
        create_study(study_file(**entries), where)
        database = Database(where)
        app = make_app(Store(database), "token", hosts=["127.0.0.1"])
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()

        def stop() -> None:
            server.should_exit = server.force_exit = True
            thread.join(20)
            listener.close()
            database.close()

        stops.append(stop)
        return where, f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for stop in stops:
        stop()


@pytest.mark.parametrize("ratio", [1.25, 2])
def test_a_picture_pixel_is_a_device_pixel(served, visit, ratio: float) -> None:
    where, base = served(trials_per_rater=1)
    # A screen of that ratio, not the emulation of one, which rounds to other pixels than screens do.
    page = visit(f"--screen-info={{2400x1800 devicePixelRatio={ratio}}}", viewport=None, no_viewport=True)
    begin(page, base)
    database = Database(where)
    with database.engine.connect() as connection:
        png = connection.exec_driver_sql(
            "SELECT png FROM pictures p JOIN stimuli s ON s.picture_id = p.id "
            "JOIN trials t ON t.first_id = s.id JOIN assignments a ON a.trial_id = t.id WHERE a.position = 0"
        ).scalar_one()
    database.close()
    wanted = decode(png)
    box = page.eval_on_selector("#stage img", "e => { const r = e.getBoundingClientRect(); return [r.left, r.top]; }")
    left, top = (round(edge * ratio) for edge in box)
    assert all(abs(edge * ratio - round(edge * ratio)) < 0.02 for edge in box)
    screen = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    height, width = wanted.shape[:2]
    np.testing.assert_array_equal(screen[top : top + height, left : left + width], wanted)
    finish(page, "3")
    (vote,) = votes_of(where)
    assert vote.exact_pixels
    assert vote.device_pixel_ratio == ratio


def test_impatience_counts_once(served, visit) -> None:
    where, base = served(trials_per_rater=3)
    page = visit()
    link = begin(page, base)
    page.keyboard.press("4")
    page.eval_on_selector("#next", "button => { button.click(); button.click(); button.click(); }")
    page.wait_for_selector("body[data-position='1']")
    assert [v.position for v in votes_of(where)] == [0]
    # Back leads to no old question: the browser's list has none.
    page.go_back()
    page.goto(link)
    page.wait_for_selector("body[data-position='1']")
    other = page.context.new_page()
    other.goto(link)
    rate(other, "2")
    rate(page, "5")
    page.wait_for_selector("body[data-position='2']")
    assert [(v.position, v.value) for v in votes_of(where)] == [(0, 4), (1, 2)]


def test_a_study_goes_on_where_it_stopped(served, visit) -> None:
    where, base = served(trials_per_rater=3)
    first = visit()
    link = begin(first, base)
    rate(first, "1")
    second = visit()
    second.goto(link)
    assert second.get_attribute("body", "data-position") == "1"
    finish(second, "2")
    assert [v.value for v in votes_of(where)] == [1, 2, 2]


def test_nothing_moves_on_before_an_answer_is_kept(served, visit) -> None:
    where, base = served(trials_per_rater=1)
    page = visit()
    begin(page, base)
    assert page.is_disabled("#next")
    page.keyboard.press("Enter")
    page.context.set_offline(True)
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    page.get_by_text("Not kept yet").wait_for()
    assert page.get_attribute("body", "data-position") == "0"
    assert votes_of(where) == []
    page.context.set_offline(False)
    page.keyboard.press("Enter")
    page.wait_for_selector("#completion")
    assert [v.value for v in votes_of(where)] == [3]


def test_pairs_by_keys_and_mouse(served, visit) -> None:
    where, base = served(design="pair", ties=True)
    page = visit()
    begin(page, base)
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown"):
        rate(page, key)
    page.wait_for_selector("#stage.placed")
    page.get_by_text("No difference").click()
    page.get_by_role("button", name="Next").click()
    page.wait_for_selector("#completion")
    votes = votes_of(where)
    seen = [3 - v.value if v.swapped and v.value else v.value for v in votes]
    assert seen == [1, 2, 0, 0]


def test_two_pictures_in_one_place_are_both_looked_at(served, visit) -> None:
    where, base = served(design="dsis", presentation="switch", trials_per_rater=1)
    page = visit()
    begin(page, base)
    page.keyboard.press("4")
    assert page.is_disabled("#next")
    boxes = page.eval_on_selector_all("#stage img", "all => all.map(e => e.getBoundingClientRect().left)")
    assert boxes[0] == boxes[1]
    assert page.inner_text("#shown") == "Shown: Reference"
    page.keyboard.press(" ")
    assert page.inner_text("#shown") == "Shown: To be rated"
    page.keyboard.press("Enter")
    page.wait_for_selector("#completion")
    assert votes_of(where)[0].value == 4


def test_a_window_that_is_too_small_waits(served, visit) -> None:
    where, base = served(design="pair", trials_per_rater=1)
    page = visit(viewport={"width": 120, "height": 700}, screen={"width": 1200, "height": 900})
    page.goto(base)
    page.get_by_role("button", name="Take part").click()
    page.get_by_role("button", name="I agree and begin").click()
    page.get_by_text("Please enlarge").wait_for()
    page.keyboard.press("ArrowLeft")
    assert page.is_disabled("#next")
    page.set_viewport_size(ALLOWED_WINDOW)
    page.wait_for_selector("#next:enabled")
    page.keyboard.press("Enter")
    page.wait_for_selector("#completion")
    assert votes_of(where)[0].exact_pixels


def test_small_screens_are_refused_kindly(served, visit) -> None:
    _, base = served()
    page = visit(viewport={"width": 390, "height": 800}, screen={"width": 390, "height": 844})
    page.goto(base)
    page.get_by_role("button", name="Take part").click()
    page.get_by_text("Thank you").wait_for()
    assert page.is_disabled("#begin")
    phone = visit(user_agent="Mozilla/5.0 (Linux; Android 15; Pixel) Chrome/150 Mobile Safari/537.36")
    phone.goto(base)
    assert "a phone's screen is too small" in " ".join(phone.inner_text("main").split())


def test_breaks_come_and_go(served, visit) -> None:
    _, base = served(break_every=2)
    page = visit()
    begin(page, base)
    rate(page, "1")
    page.wait_for_selector("#stage.placed")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#rest")
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    assert page.get_attribute("body", "data-position") == "2"
    page.get_by_role("button", name="Go on").click()
    rate(page, "5")
    assert page.query_selector("#rest") is None


def test_no_barriers_on_any_page(served, visit, barriers, tmp_path) -> None:
    where, base = served(design="pair", training=["p0.png"], break_every=1, trials_per_rater=2)
    page = visit(bypass_csp=True)

    def check(name: str) -> None:
        assert barriers(page) == [], name

    page.goto(base)
    check("front")
    page.get_by_role("button", name="Take part").click()
    check("consent")
    page.get_by_role("button", name="I agree and begin").click()
    page.wait_for_selector("#stage.placed")
    check("trial")
    rate(page, "ArrowLeft")
    rate(page, "ArrowLeft")
    page.wait_for_selector("#rest")
    check("break")
    page.get_by_role("button", name="Go on").click()
    page.wait_for_selector("#stage.placed")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_selector("#completion")
    check("end")
    page.goto(f"{base}/admin")
    check("login")
    page.goto(f"{base}/r/{'A' * 32}")
    check("unknown link")
    write_report(where, tmp_path / "report", note="A note.")
    page.goto((tmp_path / "report" / "report.html").as_uri())
    check("report")

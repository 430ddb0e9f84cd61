"""Fixtures of every test that drives a real browser: Chromium, and pages whose faults fail the test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Start Chromium, once for each set of further flags."""
    playwright_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    running: dict[tuple[str, ...], Any] = {}
    with playwright_api.sync_playwright() as playwright:

        def start(*flags: str) -> Any:
            if flags not in running:
                running[flags] = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags])
            return running[flags]

        yield start
        for browser in running.values():
            browser.close()


@pytest.fixture
def barriers() -> Callable[[Any], list[Any]]:
    """Give what axe finds wrong with a page that was opened without its content security policy."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def find(page: Any) -> list[Any]:
        faults = axe.run(page).response["violations"]
        return [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in faults]

    return find

"""Desks to test with: without workers, or with one real process that enlarges."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from karaffe.studio.enlarge import desk as desk_module
from karaffe.studio.enlarge.app import make_app
from karaffe.studio.enlarge.desk import Desk
from karaffe.studio.enlarge.limits import Limits

sys.path.insert(0, str(Path(__file__).parent))


class NoPool:
    """Workers that never come: whoever tests takes the orders."""

    def __init__(self, size: int, next_order: Callable[[], Any]) -> None:
        self.next_order = next_order

    def join(self) -> None:
        """Nothing runs."""


@pytest.fixture
def idle_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Desk]]:
    """Open a desk whose jobs nobody works on."""
    monkeypatch.setattr(desk_module, "Pool", NoPool)
    with ExitStack() as stack:

        def start(**limits: Any) -> Desk:
            return stack.enter_context(Desk(tmp_path, Limits(**limits)))

        yield start


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk with one worker."""
    with Desk(tmp_path_factory.mktemp("studio"), Limits(workers=1, leave_seconds=1.5, pixels=4_000_000)) as opened:
        yield opened


@pytest.fixture(scope="module")
def base(desk: Desk) -> Iterator[str]:
    """The address of a studio on loopback."""
    config = uvicorn.Config(make_app(desk, hosts=["127.0.0.1"]), log_level="warning", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join(20)
    listener.close()

"""A server that is killed while raters vote loses no vote that it acknowledged, and doubles none."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from wire import answer_body, csrf_in

from karaffe.studio.mos.create import create_study
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.store import Store
from karaffe.studio.mos.votes import read_votes

RATERS = 6


class Voter(threading.Thread):
    """Votes on and on; repeats a vote until it is acknowledged, as a rater's page does."""

    def __init__(self, base: str, link: str, csrf: str) -> None:
        super().__init__()
        self.address, self.csrf = f"{base}/r/{link}/answer", csrf
        self.acknowledged: dict[int, int] = {}
        self.retried = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        position = 0
        with httpx2.Client(timeout=10) as client:
            while not self.stopped.is_set():
                try:
                    body = answer_body(self.csrf, position, 1 + position % 5)
                    reply = client.post(self.address, json=body)
                except httpx2.TransportError:
                    self.retried += 1
                    time.sleep(0.05)
                    continue
                if reply.status_code == 409:
                    return
                assert reply.status_code == 200, reply.text
                self.acknowledged[position] = reply.json()["value"]
                position += 1


def test_a_killed_server_loses_and_doubles_nothing(study_file: Any, where: str, serve: Any) -> None:
    create_study(study_file(repeats=100, methods={f"m{i}": "sharp" for i in range(20)}), where)
    database = Database(where)
    store = Store(database)
    links = [store.join() for _ in range(RATERS)]
    for link in links:
        store.consent(link)
    database.close()

    served = serve(where)
    port = int(served.base.rsplit(":", 1)[1])
    tokens = [csrf_in(httpx2.get(f"{served.base}/r/{link}").text) for link in links]
    voters = [Voter(served.base, link, csrf) for link, csrf in zip(links, tokens, strict=True)]
    for voter in voters:
        voter.start()
    try:
        deadline = time.monotonic() + 30
        while sum(len(v.acknowledged) for v in voters) < 60 and time.monotonic() < deadline:
            time.sleep(0.02)
        served.stop(kill=True)
        before = [len(v.acknowledged) for v in voters]
        serve(where, port)
        deadline = time.monotonic() + 60
        while any(len(v.acknowledged) < b + 3 for v, b in zip(voters, before, strict=True)):
            assert time.monotonic() < deadline, "raters could not go on after the server came back"
            time.sleep(0.02)
    finally:
        for voter in voters:
            voter.stopped.set()
        for voter in voters:
            voter.join(20)

    assert sum(v.retried for v in voters) > 0
    database = Database(where)
    votes = read_votes(database)
    database.close()
    places = [(vote.rater, vote.position) for vote in votes]
    assert len(places) == len(set(places))
    by_rater: dict[str, list[int]] = {}
    for vote in votes:
        by_rater.setdefault(vote.rater, []).append(vote.value)
    for voter, values in zip(voters, by_rater.values(), strict=True):
        told = [voter.acknowledged[position] for position in range(len(voter.acknowledged))]
        assert values[: len(told)] == told
        assert len(told) <= len(values) <= len(told) + 1


def test_the_database_file_is_sound_after_a_kill(study_file: Any, tmp_path: Path, serve: Any) -> None:
    where = str(tmp_path / "killed.sqlite3")
    create_study(study_file(), where)
    serve(where).stop(kill=True)
    database = Database(where)
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


def test_a_taken_port_is_one_clear_error(study_file: Any, tmp_path: Path) -> None:
    import socket

    from karaffe.errors import FileError
    from karaffe.studio.mos.server.serving import serve_study

    where = str(tmp_path / "s.sqlite3")
    create_study(study_file(), where)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(FileError, match="Address already in use"):
        serve_study(where, port=taken.getsockname()[1])

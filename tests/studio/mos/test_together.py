"""Shared transactions: one that fails undoes itself alone, and nobody is told of what was not committed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from karaffe.studio.mos.database import Database
from karaffe.studio.mos.together import Together


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "x.sqlite3", create=True)
    with opened.write() as session:
        session.execute(text("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"))
    yield opened
    opened.close()


def numbers(database: Database) -> list[int]:
    with database.read() as session:
        return list(session.execute(text("SELECT n FROM numbers ORDER BY n")).scalars())


def test_work_of_many_is_kept_and_failures_stay_alone(database: Database) -> None:
    def work(n: int) -> int:
        def insert(session: Session) -> int:
            session.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": n})
            if n % 3 == 0:
                raise ValueError(n)
            return n

        return database.write_soon(insert)

    def tried(n: int) -> int | None:
        try:
            return work(n)
        except ValueError:
            return None

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(tried, range(60)))
    assert results == [None if n % 3 == 0 else n for n in range(60)]
    assert numbers(database) == [n for n in range(60) if n % 3]


def test_one_commit_serves_all_who_wait(database: Database) -> None:
    opened, gate = 0, threading.Event()

    @contextmanager
    def write() -> Iterator[Session]:
        nonlocal opened
        opened += 1
        with database.write() as session:
            yield session
            gate.wait(10)

    together = Together(write)

    def insert(n: int) -> None:
        together.run(lambda session: session.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": n}))

    with ThreadPoolExecutor(9) as pool:
        done = [pool.submit(insert, n) for n in range(9)]
        while len(together._waiting) < 8:
            pass
        assert not any(one.done() for one in done)
        gate.set()
        for one in done:
            one.result(10)
    assert opened == 2
    assert numbers(database) == list(range(9))


def test_a_commit_that_fails_is_nobodys_success(database: Database) -> None:
    @contextmanager
    def write() -> Iterator[Session]:
        with database.write() as session:
            yield session
            raise OSError("the disk is gone")

    together = Together(write)
    with pytest.raises(OSError, match="the disk is gone"):
        together.run(lambda session: session.execute(text("INSERT INTO numbers VALUES (1)")))
    assert numbers(database) == []

"""Shared transactions: one that fails undoes itself alone, and nobody is told of what was not committed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, CursorResult, text

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
        def insert(connection: Connection) -> int:
            connection.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": n})
            if n % 3 == 0:
                raise ValueError(n)
            return n

        return database.write_soon(insert).result(10)

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
    opened, first, gate = 0, threading.Event(), threading.Event()

    @contextmanager
    def write() -> Iterator[Connection]:
        nonlocal opened
        opened += 1
        first.set()
        with database.transaction() as connection:
            yield connection
            gate.wait(10)

    together = Together(write)

    insert = text("INSERT INTO numbers VALUES (:n)")

    def submit(n: int) -> Future[CursorResult[Any]]:
        return together.submit(lambda connection: connection.execute(insert, {"n": n}))

    done = [submit(0)]
    assert first.wait(10)
    done += [submit(n) for n in range(1, 9)]
    assert not any(one.done() for one in done)
    gate.set()
    for one in done:
        one.result(10)
    together.close()
    assert opened == 2
    assert numbers(database) == list(range(9))


def test_a_commit_that_fails_is_nobodys_success(database: Database) -> None:
    @contextmanager
    def write() -> Iterator[Connection]:
        with database.transaction() as connection:
            yield connection
            raise OSError("the disk is gone")

    together = Together(write)
    told = together.submit(lambda connection: connection.execute(text("INSERT INTO numbers VALUES (1)")))
    with pytest.raises(OSError, match="the disk is gone"):
        told.result(10)
    together.close()
    assert numbers(database) == []

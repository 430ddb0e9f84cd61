"""Small writes of many raters at once, committed together: one wait for the disk serves all who wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy.orm import Session

T = TypeVar("T")
Work = Callable[[Session], Any]


class _Job:
    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


class Together:
    """Runs pieces of work in shared transactions.

    Whoever comes while a transaction is being committed waits; the first of them to go on then takes the work of all
    who wait into the next transaction. Each piece has a savepoint of its own, so that one that fails undoes itself
    alone. Nobody's call returns before the transaction that holds it is committed.

    Args:
        write: Opens one transaction and commits it at the end of the block.
    """

    def __init__(self, write: Callable[[], AbstractContextManager[Session]]) -> None:
        self._write = write
        self._turn = threading.Lock()
        self._arrivals = threading.Lock()
        self._waiting: list[_Job] = []

    def run(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` in a transaction and return what it returned, once that is committed.

        Raises:
            Whatever ``work`` raised, or what committing raised: then nothing of it is kept.
        """
        job = _Job(work)
        with self._arrivals:
            self._waiting.append(job)
        with self._turn:
            if not job.done:
                self._run_all()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _run_all(self) -> None:
        with self._arrivals:
            jobs, self._waiting = self._waiting, []
        try:
            with self._write() as session:
                for job in jobs:
                    _run_one(session, job)
        except Exception as error:
            for job in jobs:
                job.error = job.error or error
        finally:
            for job in jobs:
                job.done = True


def _run_one(session: Session, job: _Job) -> None:
    try:
        with session.begin_nested():
            job.result = job.work(session)
    except Exception as error:
        # An error of the connection itself breaks the whole transaction and is found again at its end.
        job.error = error

"""Small writes of many raters at once, committed together: one wait for the disk serves all who wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
Work = Callable[[Connection], Any]


class _Job(NamedTuple):
    work: Work
    told: Future[Any]


class Together:
    """Runs pieces of work in shared transactions, in one thread of its own.

    What comes while a transaction is being committed goes into the next one, all of it. Each piece has a savepoint of
    its own, so that one that fails undoes itself alone. Nobody is told of a result before the transaction that holds
    it is committed.

    Args:
        write: Opens one transaction and commits it at the end of the block.
    """

    def __init__(self, write: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._write = write
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Run ``work`` soon; what it returned is told once that is committed.

        The future raises whatever ``work`` raised, or what committing raised: then nothing of it is kept.
        """
        told: Future[T] = Future()
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="karaffe-votes", daemon=True)
                self._thread.start()
        self._waiting.put(_Job(work, told))
        return told

    def close(self) -> None:
        """Finish what is waiting and end the thread."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _serve(self) -> None:
        while (job := self._waiting.get()) is not None:
            jobs = [job, *self._rest()]
            self._run_all([job for job in jobs if job.told.set_running_or_notify_cancel()])

    def _rest(self) -> Iterator[_Job]:
        """What else waits now."""
        with suppress(Empty):
            while (job := self._waiting.get_nowait()) is not None:
                yield job
            self._waiting.put(None)

    def _run_all(self, jobs: list[_Job]) -> None:
        results: list[tuple[Any, BaseException | None]] = []
        try:
            with self._write() as connection:
                results = [_run_one(connection, job.work) for job in jobs]
        except Exception as error:
            failed = [one for _, one in results] or [None] * len(jobs)
            results = [(None, one or error) for one in failed]
        for job, (result, problem) in zip(jobs, results, strict=True):
            if problem is None:
                job.told.set_result(result)
            else:
                job.told.set_exception(problem)


def _run_one(connection: Connection, work: Work) -> tuple[Any, BaseException | None]:
    try:
        with connection.begin_nested():
            return work(connection), None
    except Exception as error:
        # An error of the connection itself breaks the whole transaction and is found again at its end.
        return None, error

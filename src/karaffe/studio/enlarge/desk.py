"""The jobs of all visits: who may add one, whose turn it is, what has become of each, and when it is let go."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from karaffe.errors import ArgumentError
from karaffe.studio.enlarge.events import Task
from karaffe.studio.enlarge.job import Job, State
from karaffe.studio.enlarge.limits import Limits
from karaffe.studio.enlarge.pool import Pool
from karaffe.studio.web.forms import new_token

_SWEEP_SECONDS = 1.0


class UnknownJobError(ArgumentError):
    """No such job, or not of this visit."""


class BusyError(ArgumentError):
    """More than a visit may have at once."""


class Desk:
    """All jobs of one studio.

    Args:
        folder: Where pictures and results are; it is emptied of a job when that is removed.
        limits: What is taken on.

    Use it as a context manager: at the end, workers stop.
    """

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder, self.limits = folder, limits or Limits()
        self._jobs: dict[str, Job] = {}
        self._seen: dict[str, float] = {}
        self._watchers: Counter[str] = Counter()
        self._change = threading.Condition()
        self._version = 0
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        self._pool = Pool(self.limits.workers, self._take)
        self._sweeper = threading.Thread(target=self._sweep_on, daemon=True)
        self._sweeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._pool.join()
        self._sweeper.join()

    def close(self) -> None:
        """Give up all work and end what pages follow."""
        # Without the lock: this is called from a signal's handler, which may interrupt who holds it.
        self._ending.set()
        for job in list(self._jobs.values()):
            job.give_up("the studio was closed")

    @property
    def closed(self) -> bool:
        """Whether the studio ends."""
        return self._ending.is_set()

    @property
    def version(self) -> int:
        """Another number whenever anything has changed."""
        return self._version

    def changed(self) -> None:
        """Let waiting workers and watching pages look again."""
        with self._change:
            self._version += 1
            self._change.notify_all()

    def add(
        self,
        visit: str,
        name: str,
        scale: float,
        models: tuple[str, ...],
        suffix: str = "",
        *,
        judge: bool = False,
        learned: bool = False,
    ) -> Job:
        """Make a job whose picture is still to come, into :attr:`Job.task`'s source.

        Raises:
            BusyError: The visit has as many as it may.
        """
        self.see(visit)
        identity = new_token()
        folder = self.folder / identity
        task = Task(folder / "source", name, scale, models, suffix, self.limits.pixels, judge=judge, learned=learned)
        with self._change:
            if sum(job.visit == visit for job in self._jobs.values()) >= self.limits.jobs:
                raise BusyError(f"you have {self.limits.jobs} pictures here, as many as one may: remove one first")
            folder.mkdir()
            self._jobs[identity] = Job(identity, visit, task, self.changed)
        self.changed()
        return self._jobs[identity]

    def start(self, job: Job) -> None:
        """Put a job in the queue: its picture has arrived."""
        job.state = State.WAITING
        self.changed()

    def jobs(self, visit: str) -> list[Job]:
        """A visit's jobs, oldest first."""
        with self._change:
            return [job for job in self._jobs.values() if job.visit == visit]

    def find(self, visit: str, identity: str) -> Job:
        """A visit's job.

        Raises:
            UnknownJobError: It has none of that name; whether another visit has is not said.
        """
        job = self._jobs.get(identity)
        if job is None or job.visit != visit:
            raise UnknownJobError("there is no such picture here; it may have been removed")
        return job

    def remove(self, job: Job) -> None:
        """Forget a job; its files go when nobody works on them any more."""
        with self._change:
            job.give_up("removed")
            self._jobs.pop(job.identity, None)
            if not job.working:
                shutil.rmtree(job.task.folder, ignore_errors=True)
        self.changed()

    def see(self, visit: str) -> None:
        """Note that a visit's page was here."""
        self._seen[visit] = time.monotonic()

    @contextmanager
    def watched(self, visit: str) -> Iterator[None]:
        """A page of the visit looks on, for as long as the block lasts."""
        self._watchers[visit] += 1
        try:
            yield
        finally:
            self._watchers[visit] -= 1
            self.see(visit)

    def sweep(self, now: float) -> None:
        """Give up the work of visits that have left, and later their results."""
        for job in list(self._jobs.values()):
            away = now - self._seen.get(job.visit, now)
            if self._watchers[job.visit] > 0 or away < self.limits.leave_seconds:
                continue
            if away >= self.limits.keep_seconds:
                self.remove(job)
            elif job.state.pending:
                job.give_up("given up, because the page was left")
                self.changed()

    def _sweep_on(self) -> None:
        while not self._ending.wait(_SWEEP_SECONDS):
            self.sweep(time.monotonic())

    def _take(self) -> _Order | None:
        """Wait for the next job: of the visit that has the fewest in work, the oldest."""
        with self._change:
            while not self.closed:
                waiting = [job for job in self._jobs.values() if job.state is State.WAITING]
                if waiting:
                    busy = Counter(job.visit for job in self._jobs.values() if job.working)
                    job = min(waiting, key=lambda job: busy[job.visit])
                    job.state, job.working = State.RUNNING, True
                    self._version += 1
                    return _Order(self, job, self.limits.threads(1 + sum(busy.values())))
                self._change.wait(_SWEEP_SECONDS)
        return None

    def _end(self, job: Job) -> None:
        with self._change:
            job.working = False
            if job.identity not in self._jobs:
                shutil.rmtree(job.task.folder, ignore_errors=True)
        self.changed()


class _Order:
    """A job in a worker's hands."""

    def __init__(self, desk: Desk, job: Job, threads: int) -> None:
        self._desk, self._job = desk, job
        self.task = replace(job.task, threads=threads)
        self.tell = job.tell

    def unwanted(self) -> bool:
        return self._job.state is not State.RUNNING

    def end(self, error: Exception | None) -> None:
        self._job.end(died=error is not None)
        self._desk._end(self._job)

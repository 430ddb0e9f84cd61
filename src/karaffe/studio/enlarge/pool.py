"""Processes that enlarge, warm from the start: one picture at a time each, stopped at once where nobody wants it.

Work is stopped between two bands of rows, which keeps the process and what it has loaded; only where that takes too
long the process is ended and another one started. A process that dies takes its own picture with it and no other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from typing import Protocol

from PIL import Image

from karaffe.imaging.memory import keep_freed_memory
from karaffe.studio.enlarge.events import Event, Task
from karaffe.studio.enlarge.work import carry_out

PATIENCE_SECONDS = 3.0
_GLANCE_SECONDS = 0.05
_FINISHED = None


class StoppedError(Exception):
    """The work was stopped because nobody wants it."""


class DiedError(Exception):
    """The process that did the work is no more."""


class Order(Protocol):
    """A task that is handed to a worker, and who hears of it."""

    task: Task

    def tell(self, event: Event) -> None:
        """Take what the worker says."""

    def unwanted(self) -> bool:
        """Whether to stop."""

    def end(self, error: StoppedError | DiedError | None) -> None:
        """Hear that there is nothing more to come."""


class Worker:
    """One process."""

    def __init__(self) -> None:
        # A fresh interpreter: one that is copied while threads run may copy a lock that nobody opens.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._stop = context.Event()
        self._process = context.Process(target=_serve, args=(theirs, self._stop), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, task: Task, tell: Callable[[Event], None], unwanted: Callable[[], bool]) -> None:
        """Do a task to its end, telling what happens.

        Raises:
            StoppedError: ``unwanted`` became true. DiedError: The process ended. In both cases :meth:`alive` says
                whether another task can be given.
        """
        asked: float | None = None
        try:
            self._pipe.send(task)
            while True:
                if asked is None and unwanted():
                    self._stop.set()
                    asked = time.monotonic()
                if asked is not None and time.monotonic() - asked > PATIENCE_SECONDS:
                    self.close()
                    raise StoppedError
                if not self._pipe.poll(_GLANCE_SECONDS):
                    continue
                event = self._pipe.recv()
                if event is _FINISHED:
                    break
                if asked is None:
                    tell(event)
        except (EOFError, OSError) as error:
            self.close()
            raise DiedError from error
        if asked is not None:
            self._stop.clear()
            raise StoppedError

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


class Pool:
    """Workers, each with a thread that gives it one order after the other.

    Args:
        size: How many. next_order: Waits for an order; None ends the worker.
    """

    def __init__(self, size: int, next_order: Callable[[], Order | None]) -> None:
        self._next = next_order
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        worker = Worker()
        while (order := self._next()) is not None:
            if not worker.alive:
                worker = Worker()
            try:
                worker.run(order.task, order.tell, order.unwanted)
            except (StoppedError, DiedError) as error:
                order.end(error)
            else:
                order.end(None)
        worker.close()

    def join(self) -> None:
        """Wait until every worker has ended."""
        for thread in self._threads:
            thread.join()


def _serve(pipe: Connection, stop: Flag) -> None:
    """A process's life: get ready, then do what comes through the pipe until it is closed."""
    # Ctrl-C reaches every process of a terminal; the server ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whoever looks on is served first.
    with suppress(AttributeError, OSError):
        os.nice(5)
    keep_freed_memory()
    _warm_up()
    try:
        while True:
            task = pipe.recv()
            steps = carry_out(task)
            for event in steps:
                if stop.is_set():
                    break
                pipe.send(event)
            # Closes files that are half written, which removes them.
            steps.close()  # type: ignore[attr-defined]
            pipe.send(_FINISHED)
    except (EOFError, BrokenPipeError):
        return


def _warm_up() -> None:
    """Load what the first picture would wait for: by enlarging one."""
    with tempfile.TemporaryDirectory(prefix="karaffe-") as name:
        source = Path(name) / "source"
        # Of a whole tile and its surroundings, since what is prepared at the first one depends on its size.
        Image.new("RGB", (300, 300)).save(source, "PNG")
        for _ in carry_out(Task(source, "warm.png", 2, ("bicubic", "sharp"))):
            pass

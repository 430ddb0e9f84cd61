"""The jobs of all visits: turns, limits, who has left, and processes that stop, die, and come back."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from typing import Any

import pytest
from samples import PNG, picture, png, until

from karaffe.errors import ArgumentError
from karaffe.studio.enlarge.desk import BusyError, Desk, UnknownJobError
from karaffe.studio.enlarge.events import Banded, Failed, Mapped, Opened, Shown, Task, Written
from karaffe.studio.enlarge.job import Job, State
from karaffe.studio.enlarge.limits import Limits


def add(desk: Desk, visit: str = "one", content: bytes = PNG, **options: Any) -> Job:
    job = desk.add(visit, "p.png", **{"scale": 2.0, "models": ("nearest",), **options})
    job.task.source.write_bytes(content)
    desk.start(job)
    return job


def test_who_has_the_least_in_work_is_next(idle_desk) -> None:
    desk = idle_desk()
    first, second, third = add(desk), add(desk), add(desk, "two")
    taken = [desk._take() for _ in range(3)]
    assert [order._job for order in taken] == [first, third, second]
    assert taken[0].task.threads >= taken[2].task.threads >= 1


def test_a_visit_sees_its_own_and_may_have_so_many(idle_desk) -> None:
    desk = idle_desk(jobs=2)
    first, second = add(desk), add(desk)
    with pytest.raises(BusyError, match="you have 2 pictures here"):
        add(desk)
    other = add(desk, "two")
    assert desk.jobs("one") == [first, second]
    for visit, job in (("two", first), ("one", other)):
        with pytest.raises(UnknownJobError):
            desk.find(visit, job.identity)
    desk.remove(first)
    assert not first.task.folder.exists()
    add(desk)


def test_work_of_who_has_left_is_given_up_and_later_removed(idle_desk) -> None:
    desk = idle_desk(leave_seconds=10, keep_seconds=100)
    stays, leaves, over = add(desk, "stays"), add(desk, "leaves"), add(desk, "leaves")
    over.state = State.FINISHED
    now = time.monotonic()
    with desk.watched("stays"):
        desk.sweep(now + 5)
        assert leaves.state is State.WAITING
        desk.sweep(now + 50)
        assert (stays.state, leaves.state, over.state) == (State.WAITING, State.CANCELLED, State.FINISHED)
        assert "page was left" in (leaves.reason or "")
        desk.sweep(now + 200)
        assert desk.jobs("leaves") == []
        assert not leaves.task.folder.exists()
    # The page was closed only now.
    desk.sweep(time.monotonic() + 5)
    assert stays.state is State.WAITING


def test_files_of_a_removed_job_stay_until_nobody_works_on_them(idle_desk) -> None:
    desk = idle_desk()
    job = add(desk)
    order = desk._take()
    assert not order.unwanted()
    desk.remove(job)
    assert order.unwanted()
    assert job.task.folder.exists()
    order.end(None)
    assert not job.task.folder.exists()


def test_a_job_is_what_its_models_are() -> None:
    from pathlib import Path

    def job() -> Job:
        made = Job("id", "visit", Task(Path("x/source"), "photo.tar.png", 2, ("a", "b")), lambda: None, State.RUNNING)
        made.tell(Opened((1, 1), (2, 2), True, ".png"))
        return made

    good = job()
    for event in (Banded(0, 0), Banded(0, 1), Shown(0, 0.5, math.inf, 1.0), Failed(1, "too large"), Written(0, 9)):
        good.tell(event)
    good.end(died=False)
    assert good.state is State.FINISHED
    assert good.file(0) == (Path("x/result-0.png"), "photo.tar_a_x2.png")
    assert good.file(1) is None
    described = good.describe()
    first = described["results"][0]
    assert first["views"] == [
        {"top": top, "images": [f"/api/jobs/id/views/0@{top}", f"/api/jobs/id/views/0@{top}-low"]} for top in (0, 1)
    ]
    assert (first["psnr"], first["psnr_infinite"], first["ssim"], first["importance"]) == (None, True, 1.0, None)
    good.tell(Mapped(0))
    assert good.describe()["results"][0]["importance"] == "/api/jobs/id/views/0-importance"
    json.dumps(described, allow_nan=False)
    assert described["results"][1]["reason"] == "too large"
    bad = job()
    bad.tell(Failed(0, "x"))
    bad.tell(Failed(1, "y"))
    bad.end(died=False)
    assert (bad.state, bad.reason) == (State.FAILED, "x")
    dead = job()
    dead.tell(Shown(0, 0.5))
    dead.end(died=True)
    assert dead.state is State.FAILED
    assert "ended unexpectedly" in (dead.reason or "")
    dead.give_up("cancelled")
    assert dead.state is State.FAILED


def test_limits_must_be_positive() -> None:
    with pytest.raises(ArgumentError, match="pixels must be positive"):
        Limits(pixels=0)


def test_a_worker_stops_dies_and_goes_on(desk: Desk) -> None:
    with desk.watched("one"):
        job = add(desk)
        until(lambda: job.state is State.FINISHED)
        large = png(picture(700, 500))
        cancelled, after = add(desk, content=large, models=("sharp",)), add(desk)
        until(lambda: cancelled.results[0].share > 0)
        cancelled.give_up("cancelled")
        until(lambda: after.state is State.FINISHED)
        assert cancelled.state is State.CANCELLED
        assert not list(cancelled.task.folder.glob("result*"))
        killed, after = add(desk, content=large, models=("sharp",)), add(desk)
        until(lambda: killed.results[0].share > 0)
        os.kill(_worker(), signal.SIGKILL)
        until(lambda: after.state is State.FINISHED)
        assert killed.state is State.FAILED
        assert "ended unexpectedly" in (killed.reason or "")


def _worker() -> int:
    """The process that enlarges; there is one."""
    import multiprocessing

    (child,) = multiprocessing.active_children()
    assert child.pid is not None
    return child.pid

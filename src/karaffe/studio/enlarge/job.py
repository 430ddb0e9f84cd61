"""One picture's way through the studio, and what is known of it at any time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from karaffe.studio.enlarge.events import (
    Advanced,
    Banded,
    Cropped,
    Event,
    Failed,
    Mapped,
    Opened,
    Rectangle,
    Shown,
    Task,
    Written,
)
from karaffe.studio.enlarge.views import IMPORTANCE, LOW, SOURCE, band_view, view_file
from karaffe.studio.enlarge.work import result_file


class State(StrEnum):
    """Where a job or a model's result is; a result is ``shown`` before it is a file."""

    ARRIVING = "arriving"
    WAITING = "waiting"
    RUNNING = "running"
    SHOWN = "shown"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def pending(self) -> bool:
        """Whether something is still to come."""
        return self in (State.ARRIVING, State.WAITING, State.RUNNING, State.SHOWN)


@dataclass
class Result:
    """What one model has made so far."""

    model: str
    state: State = State.WAITING
    share: float = 0.0
    seconds: float | None = None
    size: int | None = None
    psnr: float | None = None
    ssim: float | None = None
    bands: list[int] = field(default_factory=list)
    mapped: bool = False
    reason: str | None = None

    def stop(self, state: State, reason: str | None) -> None:
        """Be ``state`` from now on, unless it is over already; what was shown stays to be seen."""
        if self.state.pending:
            self.state, self.reason = state, reason


@dataclass
class Job:
    """A picture and its results.

    Attributes:
        identity: Unguessable. visit: Whose it is. task: What is asked. changed: Called when anything becomes different.
        opened: What the picture is, once that is known. crops: Where results differ most.
        working: A worker has it in hand, also while it is being stopped.
    """

    identity: str
    visit: str
    task: Task
    changed: Callable[[], None]
    state: State = State.ARRIVING
    reason: str | None = None
    opened: Opened | None = None
    crops: tuple[Rectangle, ...] = ()
    working: bool = False
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.results = [Result(model) for model in self.task.models]

    def tell(self, event: Event) -> None:
        """Take what the worker says."""
        match event:
            case Opened():
                self.opened = event
            case Cropped(boxes):
                self.crops = boxes
            case Advanced(model, share):
                result = self.results[model]
                result.share = share
                if result.state is State.WAITING:
                    result.state = State.RUNNING
            case Banded(model, top):
                self.results[model].bands.append(top)
            case Shown(model, seconds, psnr, ssim):
                result = self.results[model]
                result.state, result.seconds, result.psnr, result.ssim = State.SHOWN, seconds, psnr, ssim
            case Mapped(model):
                self.results[model].mapped = True
            case Written(model, size):
                self.results[model].state, self.results[model].size = State.FINISHED, size
            case Failed(None, reason):
                self.stop(State.FAILED, reason)
            case Failed(int(model), reason):
                self.results[model].stop(State.FAILED, reason)
        self.changed()

    def give_up(self, reason: str) -> None:
        """Stop what is still to come; harmless when nothing is."""
        self.stop(State.CANCELLED, reason)

    def stop(self, state: State, reason: str) -> None:
        """End what is pending in ``state``."""
        if self.state.pending:
            self.state, self.reason = state, reason
            for result in self.results:
                result.stop(state, None)

    def end(self, died: bool) -> None:
        """The worker has put it down."""
        if died:
            self.stop(State.FAILED, "the process that enlarged it ended unexpectedly; it may need too much memory")
        elif self.state is State.RUNNING:
            failed = [result for result in self.results if result.state is State.FAILED]
            self.state = State.FAILED if len(failed) == len(self.results) else State.FINISHED
            self.reason = failed[0].reason if self.state is State.FAILED else None

    def view(self, name: str) -> Path:
        """The file of a view, by its name in :func:`karaffe.studio.enlarge.views.view_file`."""
        return view_file(self.task.folder, name)

    def views(self, name: str) -> list[str]:
        """Addresses of a picture's views: one, or of a deep picture the high and the low bytes."""
        base = f"/api/jobs/{self.identity}/views/{name}"
        return [base, f"{base}{LOW}"] if self.opened is not None and self.opened.deep else [base]

    def file(self, model: int) -> tuple[Path, str] | None:
        """The file of a finished result and the name to save it under; None while there is none."""
        if self.opened is None or self.results[model].state is not State.FINISHED:
            return None
        suffix = self.opened.suffix
        stem = self.task.name.removesuffix(suffix) if suffix else self.task.name
        stem = stem if stem != self.task.name else Path(self.task.name).stem
        name = f"{stem}_{self.results[model].model}_x{self.task.scale:g}{suffix}"
        return result_file(self.task, model, suffix), name

    def describe(self) -> dict[str, Any]:
        """What its page is told."""
        opened = self.opened
        return {
            "id": self.identity,
            "name": self.task.name,
            "scale": self.task.scale,
            "judged": self.task.judge,
            "state": self.state,
            "reason": self.reason,
            "width": opened.result[1] if opened else None,
            "height": opened.result[0] if opened else None,
            "deep": opened.deep if opened else None,
            "source": self.views(SOURCE) if opened else None,
            "crops": self.crops,
            "results": [self._describe(i, result) for i, result in enumerate(self.results)],
        }

    def _describe(self, number: int, result: Result) -> dict[str, Any]:
        file = self.file(number)
        finite = result.psnr is not None and math.isfinite(result.psnr)
        return {
            "model": result.model,
            "state": result.state,
            "share": round(result.share, 3),
            "seconds": result.seconds,
            "reason": result.reason,
            "psnr": result.psnr if finite else None,
            "psnr_infinite": result.psnr is not None and not finite,
            "ssim": result.ssim,
            "whole": result.seconds is not None,
            "views": [{"top": top, "images": self.views(band_view(number, top))} for top in result.bands],
            "importance": self.views(f"{number}{IMPORTANCE}")[0] if result.mapped else None,
            "file": f"/api/jobs/{self.identity}/files/{number}" if file else None,
            "name": file[1] if file else None,
            "bytes": result.size,
        }

"""What a worker does with one picture: every model's result, first to be looked at, then as a file of full depth.

Looking comes first because coding a file can take longer than making it: results wait as plain arrays on the disk
until all have been shown.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty

import numpy as np
import torch

from karaffe.errors import ArgumentError, KaraffeError
from karaffe.evaluation.images import Image, to_uint8
from karaffe.imaging import ImageInfo, Reader, Settings, Window, open_reader, open_writer
from karaffe.imaging.formats import identify, suffix_of
from karaffe.imaging.guard import file_errors
from karaffe.imaging.one_file import prepare
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
from karaffe.studio.enlarge.judged import Judged, reduce_first
from karaffe.studio.enlarge.learned import write_importance
from karaffe.studio.enlarge.shown import is_deep, shown_pixels
from karaffe.studio.enlarge.views import IMPORTANCE, SOURCE, ShowingWriter, view_file, write_view
from karaffe.visualize import Panel, Scene, find_crops

_ROWS = 256
# Source pixels: smaller than for files, so that the first rows can be looked at early.
_TILE = 128
_GLANCE_SECONDS = 1.0
_CROPS = 4
# Looking for the places where methods differ takes some dozen bytes a pixel and method.
_CROPPED_PIXELS = 8_000_000


def carry_out(task: Task) -> Iterator[Event]:
    """Do all of a task; what fails is said and the rest goes on."""
    torch.set_num_threads(task.threads)
    made: dict[int, ImageInfo] = {}
    looks: list[Panel] = []
    try:
        suffix = task.suffix or _own_suffix(task)
        judged = reduce_first(task) if task.judge else None
        source = judged.reduced if judged else task.source
        with open_reader(source) as original:
            yield _open(task, original, suffix, judged)
            for model in range(len(task.models)):
                try:
                    made[model], look = yield from _enlarge(task, model, original, suffix, judged)
                except (KaraffeError, MemoryError) as error:
                    yield Failed(model, reason_of(error, task))
                else:
                    looks += [Panel(str(model), look)] if look.size <= 3 * _CROPPED_PIXELS else []
        if len(looks) > 1:
            yield Cropped(_crops(task, looks))
        for model, info in made.items():
            try:
                yield from _write(task, model, info, suffix)
                if task.learned and write_importance(task.models[model], task.scale, source, _map_file(task, model)):
                    yield Mapped(model)
            except (KaraffeError, MemoryError) as error:
                yield Failed(model, reason_of(error, task))
    except (KaraffeError, MemoryError) as error:
        yield Failed(None, reason_of(error, task))


def reason_of(error: BaseException, task: Task) -> str:
    """An error for people: with the picture's name, and no path of this machine."""
    if isinstance(error, MemoryError):
        return f"{task.name}: there is not enough memory for this size"
    said = str(error)
    for path in (task.source, task.folder / "reduced.png", task.folder / "reduced.tif"):
        said = said.replace(str(path), task.name)
    return said.replace(f"{task.folder}/", "")


def result_file(task: Task, model: int, suffix: str) -> Path:
    """The file of a model's result."""
    return task.folder / f"result-{model}{suffix}"


def _map_file(task: Task, model: int) -> Path:
    return view_file(task.folder, f"{model}{IMPORTANCE}")


def _own_suffix(task: Task) -> str:
    """The name's suffix where it is one of the content's format, else the format's usual one."""
    found, named = identify(task.source), suffix_of(Path(task.name))
    return named if found is None or named in found.suffixes else found.suffixes[0]


def _open(task: Task, original: Reader, suffix: str, judged: Judged | None) -> Opened:
    """Check the size before anything large is read, and make the view of the source, or of what is to be reached."""
    info = original.info
    target = prepare(original, Settings(task.scale, "nearest"), task.source, result_file(task, 0, suffix))[0].target
    pixels = target.height * target.width * target.frames
    if pixels > task.pixels:
        frames = f" in {target.frames} frames" if target.frames > 1 else ""
        raise ArgumentError(
            f"{task.name}: {target.width} x {target.height} pixels{frames} are {pixels / 1e6:.1f} million; "
            f"at most {task.pixels / 1e6:g} million are made here"
        )
    if judged is None:
        shown = original.read(frame=info.frames // 2)
    else:
        shown = judged.reference.reshape(*judged.reference.shape[:2], -1)
    write_view(task.folder, SOURCE, shown_pixels(shown, info))
    return Opened((info.height, info.width), (target.height, target.width), is_deep(info), suffix)


def _enlarge(
    task: Task, model: int, original: Reader, suffix: str, judged: Judged | None
) -> Generator[Event, None, tuple[ImageInfo, Image]]:
    """Make a result, show it, and let it wait on the disk; return what it is, and its look on 8 bit."""
    started = time.perf_counter()
    target = result_file(task, model, suffix)
    enlarger, reader = prepare(original, Settings(task.scale, task.models[model], tile=_TILE), task.source, target)
    info, writer = enlarger.target, ShowingWriter(enlarger.target, task.folder, model)
    for done in enlarger.run(reader, writer):
        yield from _band(writer, model)
        yield Advanced(model, done / (info.height * info.width * info.frames))
    while not writer.shown.empty():
        yield from _band(writer, model)
    seconds = time.perf_counter() - started
    scores = judged.measure(writer.frames[0]) if judged else None
    yield Shown(model, seconds, *(scores or ()))
    with file_errors("write", target):
        np.save(_waiting(task, model), writer.frames)
    return info, to_uint8(shown_pixels(writer.frames[info.frames // 2], info))


def _band(writer: ShowingWriter, model: int) -> Iterator[Banded]:
    """Tell of the band that is just being written, which takes a moment; where that fails, there is nothing to tell."""
    with suppress(Empty):
        top = writer.shown.get(timeout=_GLANCE_SECONDS)
        if top is not None:
            yield Banded(model, top)


def _crops(task: Task, looks: list[Panel]) -> tuple[Rectangle, ...]:
    scene = Scene(task.name, looks[0].pixels, tuple(looks), max(1, round(task.scale)))
    return tuple((box.x, box.y, box.width, box.height) for box in find_crops(scene, count=_CROPS))


def _write(task: Task, model: int, info: ImageInfo, suffix: str) -> Iterator[Event]:
    """Code a waiting result band by band, so that it can be given up at any."""
    target, waiting = result_file(task, model, suffix), _waiting(task, model)
    frames = np.load(waiting, mmap_mode="r")
    with open_writer(target, info, overwrite=True) as writer:
        for frame in range(info.frames):
            for top in range(0, info.height, _ROWS):
                window = Window(top, 0, min(_ROWS, info.height - top), info.width)
                writer.write(window, frames[frame, top : window.bottom], frame)
                yield Advanced(model, 1.0)
    waiting.unlink()
    yield Written(model, target.stat().st_size)


def _waiting(task: Task, model: int) -> Path:
    return task.folder / f"waiting-{model}.npy"

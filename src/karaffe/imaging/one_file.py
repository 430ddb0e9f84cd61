"""Enlarge one file into another."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from karaffe import __version__
from karaffe.errors import FileError
from karaffe.imaging.engine import Enlarger, Tile, check_tile
from karaffe.imaging.files import open_reader, open_writer
from karaffe.imaging.geometry import wanted_size
from karaffe.imaging.info import ImageInfo
from karaffe.imaging.network import find_network
from karaffe.imaging.values import check_range, compute_dtype
from karaffe.models import describe_model


@dataclass(frozen=True)
class Settings:
    """How to enlarge; the arguments of :func:`karaffe.upscale`, as data."""

    scale: float | None = 4
    model: str | nn.Module = "sharp"
    size: tuple[int, int] | None = None
    tile: Tile = "auto"
    value_range: tuple[float, float] | None = None
    device: str | torch.device | None = None
    backend: str | None = None

    def __post_init__(self) -> None:
        check_range(self.value_range)
        check_tile(self.tile)
        wanted_size((1, 1), self.scale, self.size)
        if isinstance(self.model, str):
            describe_model(self.model)


@dataclass(frozen=True)
class Advance:
    """Target pixels finished, of how many, since the start of a file."""

    done: int
    total: int


@dataclass(frozen=True)
class FileSummary:
    """What was made: sizes as (rows, columns), frames, bands, and the seconds it took."""

    source: Path
    target: Path
    source_size: tuple[int, int]
    target_size: tuple[int, int]
    frames: int
    bands: int
    seconds: float


def upscale_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    scale: float | None = 4,
    model: str | nn.Module = "sharp",
    *,
    size: tuple[int, int] | None = None,
    tile: Tile = "auto",
    value_range: tuple[float, float] | None = None,
    device: str | torch.device | None = None,
    backend: str | None = None,
    overwrite: bool = False,
    progress: Callable[[Advance], None] | None = None,
) -> FileSummary:
    """Enlarge the image file ``source`` into ``target``, reading windows and writing rows as they are made.

    Arguments as :func:`karaffe.upscale`; ``overwrite`` lets an existing ``target`` be replaced. The kind of file is
    told from the content of ``source`` and the suffix of ``target``. Bit depth, colour space,
    profile, EXIF and density are kept; the orientation is applied once. The result appears under its name when it is
    complete. ``progress`` is called after each band of rows.

    Raises:
        FileError: ``source`` cannot be read, ``target`` cannot be written or hold the image, exists without
            ``overwrite``, or is ``source``.
        ArgumentError, UnknownNameError: As :func:`karaffe.upscale`.
    """
    settings = Settings(scale, model, size, tile, value_range, device, backend)
    steps = run_file(Path(source), Path(target), settings, overwrite=overwrite)
    while True:
        try:
            advance = next(steps)
        except StopIteration as finished:
            return cast(FileSummary, finished.value)
        if progress is not None:
            progress(advance)


def run_file(
    source: Path, target: Path, settings: Settings, *, overwrite: bool = False
) -> Generator[Advance, None, FileSummary]:
    """Do the work of :func:`upscale_file` band by band; the generator returns the summary."""
    started = time.perf_counter()
    if target.exists() and source.exists() and target.samefile(source):
        raise FileError(f"cannot write {target}: it is the source itself, which is never overwritten")
    with open_reader(source) as reader:
        info = reader.info
        if settings.value_range is not None:
            slope, intercept = info.rescale
            low, high = ((v - intercept) / slope for v in settings.value_range)
            info = replace(info, value_range=(low, high))
        size = wanted_size((info.height, info.width), settings.scale, settings.size)
        factor = max(size[0] / info.height, size[1] / info.width)
        model = "nearest" if info.labels else settings.model
        network = find_network(model, factor, compute_dtype(info), settings.device, settings.backend)
        made = replace(info.with_size(*size), history=_history(model, info, size))
        enlarger = Enlarger(info, made, network, settings.tile, str(source))
        total = size[0] * size[1] * info.frames
        with open_writer(target, enlarger.target, overwrite=overwrite) as writer:
            for done in enlarger.run(reader, writer):
                yield Advance(done, total)
    seconds = time.perf_counter() - started
    return FileSummary(source, target, (info.height, info.width), size, info.frames, info.bands, seconds)


def _history(model: str | nn.Module, info: ImageInfo, size: tuple[int, int]) -> str:
    name = model if isinstance(model, str) else type(model).__name__
    return f"karaffe {__version__}: {name}, {info.height} x {info.width} to {size[0]} x {size[1]} pixels"

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

from karaffe.errors import ArgumentError, FileError
from karaffe.imaging.engine import Enlarger, Tile, check_tile
from karaffe.imaging.fidelity import assess
from karaffe.imaging.fidelity_page import write_report
from karaffe.imaging.files import open_reader, open_writer, stored_as
from karaffe.imaging.info import ImageInfo
from karaffe.imaging.network import find_network
from karaffe.imaging.protocols import Reader
from karaffe.imaging.runtime import check_runtime
from karaffe.imaging.sizing import Size, Spacing, check_scale, wanted_grid
from karaffe.imaging.values import check_range, compute_dtype
from karaffe.imaging.volume import ThroughPlane
from karaffe.models import describe_model
from karaffe.version import __version__


@dataclass(frozen=True)
class Settings:
    """How to enlarge; the arguments of :func:`karaffe.upscale`, as data.

    ``report`` asks for a fidelity report beside each result (``RESULT.fidelity.html`` and ``.json``).
    """

    scale: float | None = 4
    model: str | nn.Module = "sharp"
    size: Size | None = None
    spacing: Spacing | None = None
    tile: Tile = "auto"
    value_range: tuple[float, float] | None = None
    consistent: bool = False
    report: bool = False
    device: str | torch.device | None = None
    backend: str | None = None
    runtime: str = "torch"

    def __post_init__(self) -> None:
        check_runtime(self.runtime)
        check_range(self.value_range)
        check_tile(self.tile)
        if self.scale is not None:
            check_scale(self.scale)
        if self.size is not None and self.spacing is not None:
            raise ArgumentError("give size or spacing, not both")
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
    size: Size | None = None,
    spacing: Spacing | None = None,
    tile: Tile = "auto",
    value_range: tuple[float, float] | None = None,
    consistent: bool = False,
    report: bool = False,
    device: str | torch.device | None = None,
    backend: str | None = None,
    runtime: str = "torch",
    overwrite: bool = False,
    progress: Callable[[Advance], None] | None = None,
) -> FileSummary:
    """Enlarge the image file ``source`` into ``target``, reading windows and writing rows as they are made.

    Arguments as :func:`karaffe.upscale`; the value range is given in real values (Hounsfield units); ``spacing`` is
    millimetres a pixel of the result, instead of ``scale``; ``overwrite`` lets an existing ``target`` be replaced.
    ``report`` writes ``TARGET.fidelity.html`` and ``.json`` beside it: how far the result departs from its source.
    ``scale`` holds for the slices of a volume too, which are interpolated by Lanczos. The kind of file is told from
    the content of ``source`` and the suffix of ``target``. Bit depth, colour space, profile, EXIF and density are kept;
    the orientation is applied once. The result appears under its name when it is complete. ``progress`` is called
    after each band of rows.

    Raises:
        FileError: ``source`` cannot be read, ``target`` cannot be written or hold the image, exists without
            ``overwrite``, or is ``source``.
        ArgumentError, UnknownNameError: As :func:`karaffe.upscale`.
    """
    settings = Settings(scale, model, size, spacing, tile, value_range, consistent, report, device, backend, runtime)
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
    with open_reader(source) as original:
        enlarger, reader = prepare(original, settings, source, target)
        info, made = original.info, enlarger.target
        total = made.height * made.width * made.frames
        with open_writer(target, made, overwrite=overwrite) as writer:
            for done in enlarger.run(reader, writer):
                yield Advance(done, total)
    if settings.report:
        medical = info.format in ("dicom", "nifti")
        write_report(assess(source, target, settings.value_range), source, target, made.history, medical=medical)
    seconds = time.perf_counter() - started
    sizes = (info.height, info.width), (made.height, made.width)
    return FileSummary(source, target, *sizes, made.frames, made.bands, seconds)


def prepare(original: Reader, settings: Settings, source: Path, target: Path) -> tuple[Enlarger, Reader]:
    """Return what enlarges a file, and the reader to do it from: through the plane first, where that is asked.

    ``original`` is ``source`` opened; ``target`` is only named, for what its format can hold.

    Raises:
        FileError, ArgumentError, UnknownNameError: As :func:`upscale_file`.
    """
    info = original.info
    if settings.value_range is not None:
        slope, intercept = info.rescale
        low, high = ((v - intercept) / slope for v in settings.value_range)
        info = replace(info, value_range=(low, high))
    rows, columns, slices = wanted_grid(info, settings.scale, settings.size, settings.spacing)
    model = "nearest" if info.labels else settings.model
    factor = max(rows / info.height, columns / info.width)
    volumes = info.frames // info.slices
    made = replace(
        info.with_size(rows, columns),
        frames=volumes * slices,
        slices=slices,
        history=_history(model, info, (rows, columns, slices), settings.consistent),
    )
    reader: Reader = original
    if slices != info.slices:
        reader = ThroughPlane(original, slices)
        info = replace(reader.info, value_range=info.value_range)
    runtime = "torch" if info.labels else settings.runtime
    network = find_network(model, factor, compute_dtype(info), settings.device, settings.backend, runtime)
    stored, consistent = stored_as(target, made), settings.consistent and not info.labels
    return Enlarger(info, stored, network, settings.tile, str(source), consistent=consistent), reader


def _history(model: str | nn.Module, info: ImageInfo, size: tuple[int, int, int], consistent: bool) -> str:
    name = model if isinstance(model, str) else type(model).__name__
    rows, columns, slices = size
    through = ""
    if slices != info.slices:
        through = f", {'nearest' if info.labels else 'Lanczos'} through plane {info.slices} to {slices}"
    kept = ", block means kept" if consistent else ""
    return f"karaffe {__version__}: {name} {info.height} x {info.width} to {rows} x {columns} pixels{through}{kept}"

"""``karaffe upscale``: enlarge image files and folders of them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from karaffe.cli.common import (
    Device,
    Json,
    Overwrite,
    SkipExisting,
    Threads,
    Tile,
    console,
    errors_console,
    existing_results,
    parse_tile,
    print_json,
    terminated_as_interrupted,
    use_threads,
)
from karaffe.errors import ArgumentError
from karaffe.imaging import BatchReport, FileAdvanced, FileFinished, FileStarted, Settings, upscale_batch
from karaffe.imaging.memory import keep_freed_memory
from karaffe.imaging.sizing import parse_length, parse_size
from karaffe.imaging.values import parse_range

Event = FileStarted | FileAdvanced | FileFinished


def upscale(
    inputs: Annotated[list[Path], typer.Argument(help="Image files, and folders that are searched for them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder; for one input file, a file name too.")],
    scale: Annotated[float, typer.Option(help="Factor; any positive number.")] = 4,
    size: Annotated[str | None, typer.Option(help="Instead: COLUMNSxROWS, 1920x1080, 1920x or x1080.")] = None,
    spacing: Annotated[str | None, typer.Option(help="Instead: size of a pixel, 0.5mm or 0.5x0.5x1mm.")] = None,
    resolution: Annotated[str | None, typer.Option(help="Instead: size of a pixel on the ground, 10m.")] = None,
    value_range: Annotated[
        str | None, typer.Option("--range", help="Values of black and white, LO,HI; default: by type.")
    ] = None,
    model: Annotated[str, typer.Option(help="A name that `karaffe models` lists.")] = "sharp",
    consistent: Annotated[
        bool, typer.Option(help="Correct the result so that the mean of a pixel's targets is the pixel.")
    ] = False,
    report: Annotated[
        bool, typer.Option(help="Write RESULT.fidelity.html and .json: how far each result departs from its source.")
    ] = False,
    tile: Tile = "auto",
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    device: Device = "cpu",
    runtime: Annotated[str, typer.Option(help="torch, or onnx: onnxruntime, the same image to 1e-4.")] = "torch",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Enlarge image files; a file that cannot be read is listed at the end and does not stop the others."""
    use_threads(threads)
    keep_freed_memory()
    whole = int(scale) if scale == int(scale) else scale
    length = spacing or resolution
    if spacing and resolution:
        raise ArgumentError("give --spacing or --resolution, not both")
    settings = Settings(
        whole,
        model,
        size=parse_size(size) if size else None,
        spacing=parse_length(length) if length else None,
        tile=parse_tile(tile),
        value_range=parse_range(value_range) if value_range else None,
        consistent=consistent,
        report=report,
        device=device,
        runtime=runtime,
    )
    events = upscale_batch(inputs, output, settings, existing=existing_results(overwrite, skip_existing))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn())
    bars = Progress(*columns, TimeRemainingColumn(), console=errors_console, transient=True, disable=as_json)
    with terminated_as_interrupted(), bars:
        outcome = _follow(events, bars)
    if as_json:
        print_json(outcome.as_dict())
    else:
        _tell(outcome)
    if outcome.failed:
        raise typer.Exit(1)


def _follow(events: Generator[Event, None, BatchReport], bars: Progress) -> BatchReport:
    """Draw one bar over all files, moved on within a file too."""
    files = bars.add_task("enlarging", total=None)
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        if isinstance(event, FileStarted):
            bars.update(files, total=event.count, completed=event.number - 1, description=event.job.source.name)
        elif isinstance(event, FileAdvanced):
            finished = int(bars.tasks[files].completed)
            bars.update(files, completed=finished + min(event.done / event.total, 0.99))
        elif isinstance(event, FileFinished):
            bars.update(files, completed=int(bars.tasks[files].completed) + 1)


def _tell(report: BatchReport) -> None:
    for file in report.files:
        if file.status == "done" and file.summary is not None:
            (h, w), (new_h, new_w) = file.summary.source_size, file.summary.target_size
            what = f"{w}x{h} -> {new_w}x{new_h}, {file.seconds:.2f} s"
            console.print(f"{file.job.target}  {what}", highlight=False, markup=False, soft_wrap=True)
        elif file.status == "skipped":
            console.print(f"{file.job.target}  exists, skipped", highlight=False, markup=False, soft_wrap=True)
    if report.failed:
        errors_console.print(f"{len(report.failed)} of {len(report.files)} failed:", highlight=False)
        for file in report.failed:
            errors_console.print(f"  {file.error}", highlight=False, markup=False, soft_wrap=True)

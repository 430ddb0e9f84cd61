"""``karaffe train``: train networks; each kind of network is a command of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from karaffe.cli.common import Json, Threads, console, names, needs_training, print_json, use_threads
from karaffe.errors import ArgumentError

app = typer.Typer(help="Train a network from a configuration file; a run can be interrupted and resumed to the bit.")

Resume = Annotated[Path | None, typer.Option(help="Folder of an unfinished run, instead of a configuration.")]
Runs = Annotated[Path, typer.Option(help="Where the new run's folder is made.")]
Name = Annotated[str | None, typer.Option(help="The run's name (default: the file's).")]
Loggers = Annotated[str, typer.Option(help="Also write the log for: tensorboard, csv; with commas.")]
Devices = Annotated[int, typer.Option(min=1, help="Processes that share every batch (DDP).")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]


def _check_one(config: Path | None, resume: Path | None) -> None:
    if (config is None) == (resume is None):
        raise ArgumentError(f"give a configuration file, or --resume RUN; got {config=!s}, {resume=!s}")


@app.callback()
def options() -> None:
    """Train a network from a configuration file; a run can be interrupted and resumed to the bit."""


@app.command("sr")
def sr(
    config: Annotated[Path | None, typer.Argument(help="TOML file: model, data, optimisation, run.")] = None,
    resume: Resume = None,
    runs: Runs = Path("benchmarks/runs"),
    name: Name = None,
    data: Annotated[Path | None, typer.Option(help="Folder of pictures, if not the configuration's.")] = None,
    loggers: Loggers = "",
    devices: Devices = 1,
    quiet: Quiet = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Train a super-resolution network, or go on with a run that was interrupted."""
    use_threads(threads)
    _check_one(config, resume)
    with needs_training():
        from karaffe.training import train_sr
    result = train_sr(
        config,
        resume=resume,
        runs=runs,
        name=name,
        data=data,
        loggers=names(loggers, "--loggers") if loggers else [],
        devices=devices,
        progress=not (quiet or as_json),
    )
    if as_json:
        print_json({"run": result.run, "weights": result.weights, "psnr": result.psnr, "steps": result.steps})
        return
    console.print(f"{result.steps} steps, {result.psnr:.2f} dB on the held-out pictures", highlight=False)
    console.print(f"weights: {result.weights}", highlight=False, soft_wrap=True)


@app.command("seg")
def seg(
    config: Annotated[Path | None, typer.Argument(help="TOML file: network, data, optimisation, run.")] = None,
    resume: Resume = None,
    runs: Runs = Path("benchmarks/runs"),
    name: Name = None,
    data: Annotated[Path | None, typer.Option(help="Data set, if not the configuration's.")] = None,
    loggers: Loggers = "",
    devices: Devices = 1,
    quiet: Quiet = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Train a segmentation network, or go on with a run that was interrupted."""
    use_threads(threads)
    _check_one(config, resume)
    with needs_training():
        from karaffe.training.segmentation import train_seg
    result = train_seg(
        config,
        resume=resume,
        runs=runs,
        name=name,
        data=data,
        loggers=names(loggers, "--loggers") if loggers else [],
        devices=devices,
        progress=not (quiet or as_json),
    )
    if as_json:
        print_json({"run": result.run, "weights": result.weights, "miou": result.miou, "steps": result.steps})
        return
    console.print(f"{result.steps} steps, mIoU {result.miou:.4f} on the selection split", highlight=False)
    console.print(f"weights: {result.weights}", highlight=False, soft_wrap=True)

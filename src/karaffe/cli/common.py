"""What commands share: consoles, option types, and settings that torch takes."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from karaffe.errors import ArgumentError

PIPED_WIDTH = 160

console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
errors_console = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Device = Annotated[str, typer.Option("--device", help="torch device to compute on, such as cpu or cuda:0.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads (default: torch's choice).")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that exist (default: refuse).")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave results that exist and go on.")]

Tile = Annotated[str, typer.Option("--tile", help="Source pixels a side of a tile, 'auto', or 0 for the whole image.")]


def parse_tile(value: str) -> int | Literal["auto"]:
    """``--tile``'s value as :func:`karaffe.upscale` takes it."""
    if value == "auto":
        return "auto"
    if not value.isdecimal():
        raise ArgumentError(f"--tile must be 'auto', 0 for the whole image, or source pixels a side; got {value!r}")
    return int(value)


def names(text: str, option: str) -> list[str]:
    """The names between commas, at least one."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise ArgumentError(f"{option} must name at least one; got {text!r}")
    return found


def labelled(text: str) -> tuple[str, Path]:
    """``LABEL=FOLDER`` as its two parts."""
    label, _, folder = text.partition("=")
    if not label or not folder:
        raise ArgumentError(f"--images must be LABEL=FOLDER; got {text!r}")
    return label, Path(folder)


def existing_results(overwrite: bool, skip_existing: bool) -> Literal["refuse", "overwrite", "skip"]:
    """What the two options say about results that exist."""
    if overwrite and skip_existing:
        raise ArgumentError("--overwrite and --skip-existing exclude each other; both were given")
    return "overwrite" if overwrite else "skip" if skip_existing else "refuse"


def parse_grid(text: str) -> tuple[int, int]:
    """``COLUMNSxROWS`` as (rows, columns)."""
    columns, _, rows = text.partition("x")
    if not (columns.isdecimal() and rows.isdecimal() and int(columns) and int(rows)):
        raise ArgumentError(f"--size must be COLUMNSxROWS, such as 480x360; got {text!r}")
    return int(rows), int(columns)


@contextmanager
def needs_training() -> Iterator[None]:
    """Say which extra to install where an import of the training package fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ArgumentError(f"training needs {error.name}: pip install 'karaffe[train]'") from error


def use_threads(threads: int | None) -> None:
    """Give torch, and so every backend, this many CPU threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Take SIGTERM (a scheduler's, a container's) as Ctrl-C, so that what is half done is removed."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table in the house style; the columns named in ``right`` are numbers."""
    built = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        built.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    return built


def count(number: float) -> str:
    """A count with thousands separated, as papers print parameters and multiply-adds."""
    return f"{number:,.0f}"

"""What a worker is asked, and what it tells: plain data that goes from process to process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True)
class Task:
    """A picture to enlarge: the file, what people call it, and what is asked.

    ``suffix`` is that of the results, empty for the picture's own; ``pixels`` bounds a result. ``judge``: reduce the
    picture first and measure the results against it. ``learned``: map where the content mattered to the models.
    """

    source: Path
    name: str
    scale: float
    models: tuple[str, ...]
    suffix: str = ""
    pixels: int = 64_000_000
    threads: int = 1
    judge: bool = False
    learned: bool = False

    @property
    def folder(self) -> Path:
        """Where results go: beside the source."""
        return self.source.parent


@dataclass(frozen=True)
class Opened:
    """The picture is one: (rows, columns) of it and of the results, whether it has more than 8 bit, its suffix."""

    source: tuple[int, int]
    result: tuple[int, int]
    deep: bool
    suffix: str


@dataclass(frozen=True)
class Advanced:
    """The share of a model's work that is done."""

    model: int
    share: float


@dataclass(frozen=True)
class Banded:
    """The rows of a model's result from ``top`` on, to the next band's, can be looked at."""

    model: int
    top: int


@dataclass(frozen=True)
class Shown:
    """All of a model's result can be looked at, after so many seconds of enlarging; with figures where it is judged."""

    model: int
    seconds: float
    psnr: float | None = None
    ssim: float | None = None


@dataclass(frozen=True)
class Mapped:
    """There is a map of where the content mattered to a model."""

    model: int


@dataclass(frozen=True)
class Written:
    """A model's result is a file of so many bytes."""

    model: int
    size: int


@dataclass(frozen=True)
class Failed:
    """A model, or with None all of them, could not do it, and why."""

    model: int | None
    reason: str


@dataclass(frozen=True)
class Cropped:
    """Where the results differ most: left, top, width, height."""

    boxes: tuple[Rectangle, ...]


Event = Opened | Advanced | Banded | Shown | Mapped | Written | Failed | Cropped

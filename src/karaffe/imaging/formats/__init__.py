"""The registry of image formats: one module a family, each with a ``FORMATS`` tuple
(what families share is in modules with a leading underscore).

A new format is a new module in this package; nothing else changes. Reading goes by content, writing by suffix.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from karaffe.errors import FileError
from karaffe.imaging.info import ImageInfo
from karaffe.imaging.protocols import Reader, Writer

HEAD = 4096


@dataclass(frozen=True)
class Format:
    """One image format.

    Attributes:
        name: Key in the registry.
        suffixes: File suffixes it is written to, lower case with the dot; the first is the usual one.
        matches: Whether content (first 4096 bytes, empty for a folder) at a path is of this format.
        read: Opens a reader.
        write: Opens a writer on a temporary path.
        refuses: Why an image cannot be stored in the format; None where it can.
        stores: How an image is described once it is in the format: where fewer bits than a whole type cannot be
            declared, values are spread over the whole type.
        rank: Formats are tried from the smallest rank up.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes, Path], bool]
    read: Callable[[Path], Reader]
    write: Callable[[Path, ImageInfo], Writer]
    refuses: Callable[[ImageInfo], str | None]
    stores: Callable[[ImageInfo], ImageInfo] = lambda info: info
    rank: int = 0

    def __post_init__(self) -> None:
        if not self.suffixes or any(s != s.lower() or not s.startswith(".") for s in self.suffixes):
            raise ValueError(f"format {self.name!r}: suffixes must be lower case with a dot: {self.suffixes}")


@functools.cache
def formats() -> tuple[Format, ...]:
    """Return every format, in the order in which they are tried."""
    found: list[Format] = []
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            found.extend(importlib.import_module(f"{__name__}.{module.name}").FORMATS)
    return tuple(sorted(found, key=lambda f: (f.rank, f.name)))


def suffixes() -> tuple[str, ...]:
    """Return every suffix that can be written, sorted."""
    return tuple(sorted({suffix for f in formats() for suffix in f.suffixes}))


def suffix_of(path: Path) -> str:
    """Return the longest known suffix that ``path`` ends in (``.nii.gz``), else its last one, lower case."""
    name = path.name.lower()
    return max((s for s in suffixes() if name.endswith(s)), key=len, default=path.suffix.lower())


def identify(path: Path) -> Format | None:
    """Return the format of a file's content, None where no format knows it.

    Raises:
        FileError: The file is absent, empty or cannot be read.
    """
    try:
        head = b""
        if not path.is_dir():
            with path.open("rb") as file:
                head = file.read(HEAD)
            if not head:
                raise FileError(f"cannot read {path}: the file is empty (0 bytes)")
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    return next((f for f in formats() if f.matches(head, path)), None)


def format_for_writing(path: Path, info: ImageInfo) -> Format:
    """Return the format that the suffix of ``path`` asks for, checked to hold such an image.

    Where several formats share a suffix, that of the source wins.

    Raises:
        FileError: An unknown suffix, or an image that no format of this suffix can hold.
    """
    suffix = suffix_of(path)
    candidates = [f for f in formats() if suffix in f.suffixes]
    if not candidates:
        raise FileError(f"cannot write {path}: unknown suffix {suffix!r}; accepted are {', '.join(suffixes())}")
    candidates.sort(key=lambda f: (f.name != info.format, -f.rank))
    reasons = [f.refuses(info) for f in candidates]
    for candidate, reason in zip(candidates, reasons, strict=True):
        if reason is None:
            return candidate
    raise FileError(f"cannot write {path}: {candidates[0].name} {reasons[0]}")

"""EXIF in TIFF files, where it is not a block but part of the file's own directories."""

from __future__ import annotations

import struct
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from karaffe.imaging.libraries import library

_EXIF_DIRECTORY, _GPS_DIRECTORY = 34665, 34853
_DIRECTORIES = (_EXIF_DIRECTORY, _GPS_DIRECTORY)
# tifffile writes no directory tags; an unused code one below holds the place, in order, until it is renamed.
_PLACE = -1
# ImageDescription, Make, Model, Orientation, Software, DateTime, Artist, HostComputer, Copyright
_TEXT = (270, 271, 272, 305, 306, 315, 316, 33432)
_ORIENTATION = 274


def read_exif(path: Path, *, description: bool) -> bytes | None:
    """Gather the EXIF of a file's first directory as a block of its own; None where there is none, or damaged.

    BigTIFF files are not looked into: Pillow cannot read their directories as EXIF.

    Args:
        description: Whether ImageDescription is a text to keep (microscopes store the layout of the file there).
    """
    with suppress(Exception), path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error")
        image = library("PIL.Image", "imaging")
        source = image.Exif()
        source.load_from_fp(file)
        block = image.Exif()
        for tag in (*_TEXT, _ORIENTATION):
            if tag in source and (description or tag != 270):
                block[tag] = source[tag]
        for directory in _DIRECTORIES:
            entries = source.get_ifd(directory)
            if entries:
                block.get_ifd(directory).update(entries)
        if set(block) - {_ORIENTATION} or any(block.get_ifd(d) for d in _DIRECTORIES):
            data: bytes = block.tobytes()
            return data.removeprefix(b"Exif\0\0")
    return None


def text_tags(exif: bytes | None) -> list[tuple[int, int, int, str, bool]]:
    """Return the texts of an EXIF block, and places for its directories, as tifffile's ``extratags``."""
    if exif is None:
        return []
    block = _parse(exif)
    tags = [(tag, 2, 0, str(block[tag]), True) for tag in _TEXT if tag in block and tag != 270]
    return tags + [(d + _PLACE, 4, 1, 0, True) for d in _DIRECTORIES if block.get_ifd(d)]  # type: ignore[misc]


def description(exif: bytes | None) -> str | None:
    """Return the ImageDescription of an EXIF block."""
    text = _parse(exif).get(270) if exif else None
    return None if text is None else str(text)


def append_directories(path: Path, exif: bytes | None) -> None:
    """Append the Exif and GPS directories of a block to a finished TIFF file and point its first page to them."""
    if exif is None:
        return
    tifffile = library("tifffile", "imaging")
    plugin = library("PIL.TiffImagePlugin", "imaging")
    block = _parse(exif)
    with tifffile.TiffFile(path, mode="r+b") as file:
        prefix = (b"II" if file.byteorder == "<" else b"MM") + (b"\x2b\0" if file.is_bigtiff else b"\x2a\0")
        if file.byteorder == ">":
            prefix = prefix[:2] + prefix[:1:-1]
        for tag in _DIRECTORIES:
            entries = block.get_ifd(tag)
            place = file.pages.first.tags.get(tag + _PLACE)
            if not entries or place is None:
                continue
            handle = file.filehandle
            handle.seek(0, 2)
            if handle.tell() % 2:
                handle.write(b"\0")
            at = handle.tell()
            directory = plugin.ImageFileDirectory_v2(prefix + bytes(12 if file.is_bigtiff else 4))
            for key, value in entries.items():
                directory[key] = value
            handle.write(directory.tobytes(at))
            place.overwrite(at)
            handle.seek(place.offset)
            handle.write(struct.pack(file.byteorder + "H", tag))


def _parse(exif: bytes) -> Any:
    block = library("PIL.Image", "imaging").Exif()
    block.load(b"Exif\0\0" + exif)
    return block

"""EXIF and XMP blocks, edited in place so that everything else in them stays byte for byte.

EXIF is a little TIFF file: a header, then directories of 12-byte entries. Only three short values are ever
changed: Orientation (tag 0x0112), and PixelXDimension / PixelYDimension (0xA002, 0xA003) of the Exif directory.
(JEITA CP-3451, sections 4.6.2 and 4.6.4.)
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_PREFIX = b"Exif\0\0"
_ORIENTATION, _EXIF_DIRECTORY, _WIDTH, _HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003
_SHORT, _LONG = 3, 4
_XMP_ORIENTATION = (
    re.compile(rb'(tiff:Orientation\s*=\s*["\'])(\d)(["\'])'),
    re.compile(rb"(<tiff:Orientation>\s*)(\d)(\s*</tiff:Orientation>)"),
)


def without_prefix(block: bytes | None) -> bytes | None:
    """Return an EXIF block as a TIFF structure (JPEG stores it behind ``Exif\\0\\0``); None where there is none."""
    if not block:
        return None
    return block.removeprefix(_PREFIX) or None


def with_prefix(exif: bytes) -> bytes:
    """Return a TIFF structure as JPEG stores it."""
    return _PREFIX + exif


def orientation(exif: bytes | None, xmp: bytes | None = None) -> int:
    """Return the orientation 1 … 8 that EXIF declares, else XMP, else 1 (also where the value is no orientation)."""
    if exif is not None:
        for tag, kind, at, order in _entries(exif):
            if tag == _ORIENTATION and kind == _SHORT:
                (value,) = struct.unpack_from(order + "H", exif, at)
                return value if 1 <= value <= 8 else 1
    for pattern in _XMP_ORIENTATION:
        match = pattern.search(xmp or b"")
        if match and 1 <= int(match[2]) <= 8:
            return int(match[2])
    return 1


def upright_exif(exif: bytes, width: int | None = None, height: int | None = None) -> bytes:
    """Return ``exif`` with orientation 1 and, where given and recorded, the pixel dimensions."""
    wanted = {_ORIENTATION: 1, _WIDTH: width, _HEIGHT: height}
    result = bytearray(exif)
    for tag, kind, at, order in _entries(exif):
        value = wanted.get(tag)
        if value is not None and kind in (_SHORT, _LONG):
            if kind == _SHORT and value > 0xFFFF:
                struct.pack_into(order + "H", result, at - 6, _LONG)
                kind = _LONG
            struct.pack_into(order + ("H" if kind == _SHORT else "I"), result, at, value)
    return bytes(result)


def upright_xmp(xmp: bytes) -> bytes:
    """Return ``xmp`` with orientation 1."""
    for pattern in _XMP_ORIENTATION:
        xmp = pattern.sub(rb"\g<1>1\g<3>", xmp)
    return xmp


def _entries(exif: bytes) -> Iterator[tuple[int, int, int, str]]:
    """Yield (tag, type, offset of the value, byte order) of the main and the Exif directory; stop at damage."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return
    pending = [struct.unpack_from(order + "I", exif, 4)[0]]
    seen: set[int] = set()
    while pending:
        start = pending.pop()
        if start in seen or start + 2 > len(exif):
            continue
        seen.add(start)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == _EXIF_DIRECTORY and kind == _LONG:
                pending.append(struct.unpack_from(order + "I", exif, entry + 8)[0])
            yield tag, kind, entry + 8, order

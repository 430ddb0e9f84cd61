"""PNG: grey, RGB, alpha, palettes, binary masks, 8 and 16 bit.

Read by Pillow, 16-bit files by imagecodecs (Pillow has no 16-bit RGB). Written here, because neither library
can take a picture in bands: rows are filtered, compressed and written as they come, so that memory does not grow
with the picture (W3C, Portable Network Graphics, third edition, sections 5, 9, 11).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from karaffe.errors import FileError
from karaffe.imaging.exif import upright_exif, without_prefix
from karaffe.imaging.formats import Format
from karaffe.imaging.formats._pillow import PillowReader
from karaffe.imaging.info import Array, ImageInfo, dtype_range
from karaffe.imaging.libraries import library
from karaffe.imaging.protocols import BaseWriter

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp"
_INCH = 0.0254
_LEVEL = 6
# Colour space and text are copied as they are; ICC, EXIF, XMP and density go through the description.
_COPIED = (b"sRGB", b"gAMA", b"cHRM", b"cICP", b"tEXt", b"zTXt", b"iTXt")
_COLOUR_TYPES = {("grey", False): 0, ("rgb", False): 2, ("grey", True): 4, ("rgb", True): 6}


class PngReader(PillowReader):
    """Decode with Pillow, or with imagecodecs where a sample has 16 bits."""

    def __init__(self, path: Path) -> None:
        chunks = dict[bytes, bytes]()
        copied: list[tuple[bytes, bytes]] = []
        for kind, data in _chunks(path):
            chunks.setdefault(kind, data)
            if kind in _COPIED and not data.startswith(_XMP):
                copied.append((kind, data))
        self._deep = len(chunks.get(b"IHDR", b"")) == 13 and chunks[b"IHDR"][8] == 16
        super().__init__(path, "PNG", exif=without_prefix(chunks.get(b"eXIf")), chunks=tuple(copied))
        if self._deep:
            channels = {0: 1, 2: 3, 4: 2, 6: 4}[chunks[b"IHDR"][9]] + (b"tRNS" in chunks)
            self._info = replace(
                self._info,
                bands=channels,
                dtype=np.dtype(np.uint16),
                bits=16,
                colour="grey" if channels < 3 else "rgb",
                has_alpha=channels in (2, 4),
                value_range=dtype_range(np.uint16),
            )

    def _decode(self) -> Array:
        if not self._deep:
            return super()._decode()
        pixels: Array = library("imagecodecs", "imaging").png_decode(Path(self._path).read_bytes())
        return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a PNG file without its pixels."""
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        while len(header := file.read(8)) == 8:
            size, kind = int.from_bytes(header[:4], "big"), header[4:]
            if kind in (b"IDAT", b"fdAT"):
                file.seek(size, 1)
            else:
                yield kind, file.read(size)
            file.seek(4, 1)
            if kind == b"IEND":
                return
    raise FileError(f"cannot read {path}: truncated, the PNG has no end chunk")


class PngWriter(BaseWriter):
    """Filter, compress and write band by band."""

    def __init__(self, path: Path, info: ImageInfo) -> None:
        super().__init__(info)
        self._file: BinaryIO = path.open("wb")
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
        self._above: Array | None = None
        colour = _COLOUR_TYPES[info.colour, info.has_alpha]
        depth = 1 if info.bits == 1 else 8 * info.dtype.itemsize
        self._file.write(SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", info.width, info.height, depth, colour, 0, 0, 0))
        for kind, data in _metadata_chunks(info):
            self._chunk(kind, data)

    def _write(self, band: Array, frame: int) -> None:
        if self.info.bits == 1:
            rows = np.packbits(band[:, :, 0] != 0, axis=1)
            rows = np.concatenate([np.zeros((len(rows), 1), np.uint8), rows], axis=1)
        else:
            samples = band.astype(band.dtype.newbyteorder(">"), copy=False)
            raw = np.ascontiguousarray(samples).view(np.uint8).reshape(len(band), -1)
            above = np.zeros_like(raw[:1]) if self._above is None else self._above
            rows = _filtered(raw, above, self.info.bands * band.dtype.itemsize)
            self._above = raw[-1:].copy()
        self._emit(self._deflate.compress(rows.tobytes()))

    def _emit(self, data: bytes) -> None:
        if data:
            self._chunk(b"IDAT", data)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind + data)
        self._file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))

    def _finish(self) -> None:
        self._emit(self._deflate.flush())
        self._chunk(b"IEND", b"")
        self._file.close()

    def abort(self) -> None:
        self._file.close()


def _filtered(raw: Array, above: Array, pixel: int) -> Array:
    """Return rows with their filter bytes, the filter of least absolute sum a row (section 12.7)."""
    up = np.concatenate([above, raw[:-1]]).astype(np.int16)
    now = raw.astype(np.int16)
    left = np.zeros_like(now)
    left[:, pixel:] = now[:, :-pixel]
    corner = np.zeros_like(now)
    corner[:, pixel:] = up[:, :-pixel]
    candidates = [raw, now - left, now - up, now - ((left + up) >> 1), now - _paeth(left, up, corner)]
    filtered = [c.astype(np.uint8) for c in candidates]
    cost = np.stack([np.abs(f.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for f in filtered])
    best = cost.argmin(axis=0)
    rows = np.empty((len(raw), raw.shape[1] + 1), np.uint8)
    rows[:, 0] = best
    for kind, candidate in enumerate(filtered):
        rows[best == kind, 1:] = candidate[best == kind]
    return rows


def _paeth(left: Array, up: Array, corner: Array) -> Array:
    """Return the neighbour nearest to ``left + up - corner`` (section 9.4), ties to left, then up."""
    to_left, to_up = np.abs(up - corner), np.abs(left - corner)
    to_corner = np.abs(left + up - 2 * corner)
    nearest = np.where(to_up <= to_corner, up, corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)


def _metadata_chunks(info: ImageInfo) -> Iterator[tuple[bytes, bytes]]:
    copied = info.extras.get("chunks", ()) if info.format == "png" else ()
    if info.icc:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(info.icc)
    for kind, data in copied:
        if kind in (b"sRGB", b"gAMA", b"cHRM", b"cICP"):
            yield kind, data
    if info.dpi:
        yield b"pHYs", struct.pack(">IIB", *(round(d / _INCH) for d in info.dpi), 1)
    if info.exif:
        yield b"eXIf", upright_exif(info.exif, info.width, info.height)
    if info.xmp:
        yield b"iTXt", _XMP + b"\0\0\0\0\0" + info.xmp
    for kind, data in copied:
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            yield kind, data


def _stored(info: ImageInfo) -> ImageInfo:
    """White is the largest value of a PNG's 8 or 16 bits, whatever the source stored in fewer."""
    full = 8 * info.dtype.itemsize
    if info.bits in (1, full):
        return info
    more = dtype_range(info.dtype)[1] / dtype_range(info.dtype, info.bits)[1]
    low, high = info.value_range
    return replace(info, bits=full, value_range=(low * more, high * more))


def _refuses(info: ImageInfo) -> str | None:
    if info.colour not in ("grey", "rgb"):
        return f"holds grey or rgb images, not {info.colour} of {info.bands} bands; choose .tif"
    if info.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        return f"holds 8- and 16-bit unsigned images, not {info.dtype}; choose .tif"
    if info.frames != 1:
        return f"holds one frame, not {info.frames}; choose .tif"
    return None


FORMATS = (
    Format(
        name="png",
        suffixes=(".png",),
        matches=lambda head, path: head.startswith(SIGNATURE),
        read=PngReader,
        write=PngWriter,
        refuses=_refuses,
        stores=_stored,
    ),
)

"""TIFF by tifffile: any integer or float, grey, RGB, CMYK, palettes, masks, alpha, strips, tiles, planes, pages,
BigTIFF.

Windows decode only the strips or tiles they touch. MinIsWhite images are inverted and associated alpha is divided
out at reading, and both are undone at writing, so that stored values come back to the bit.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from karaffe.errors import FileError
from karaffe.imaging.formats import Format
from karaffe.imaging.formats._pillow import oriented
from karaffe.imaging.formats._tiff_exif import read_exif
from karaffe.imaging.formats._tiff_writer import TiffWriter, associate
from karaffe.imaging.info import Array, Colour, ImageInfo, Window, dtype_range
from karaffe.imaging.libraries import library
from karaffe.imaging.orientation import stored_window, upright
from karaffe.imaging.protocols import BaseReader

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE, _BLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS: dict[int, Colour] = {_WHITE: "grey", _BLACK: "grey", _RGB: "rgb", _CMYK: "cmyk", _YCBCR: "rgb"}
_INCHES = {2: 1.0, 3: 2.54}
_JPEG = (6, 7)


class TiffReader(BaseReader):
    """Give windows of the full-resolution pages."""

    def __init__(self, path: Path) -> None:
        tifffile = library("tifffile", "imaging")
        self._file = tifffile.TiffFile(path)
        try:
            self._pages = _frames(self._file, path)
            _check_complete(self._pages, self._file.filehandle.size, path)
            self._stored = _describe(self._file, self._pages, path)
            declared = int(_tag(self._pages[0], 274, 1))
            self._orientation = declared if 1 <= declared <= 8 else 1
            super().__init__(oriented(self._stored, self._orientation), path)
        except BaseException:
            self._file.close()
            raise
        self._segments: dict[tuple[int, int], Array] = {}

    def _read(self, window: Window, frame: int) -> Array:
        stored = stored_window(window, self._orientation, self.info.height, self.info.width)
        return upright(self._convert(self._window(stored, frame), self._pages[frame]), self._orientation)

    def _window(self, window: Window, frame: int) -> Array:
        page = self._pages[frame]
        _, _, height, width, contig = page.shaped
        planes = page.shaped[0]
        rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
        rows = min(rows, height) if not page.is_tiled else rows
        across, down = math.ceil(width / columns), math.ceil(height / rows)
        out = np.zeros((window.height, window.width, planes * contig), page.dtype)
        used: dict[tuple[int, int], Array] = {}
        for plane in range(planes):
            for r in range(window.top // rows, (window.bottom - 1) // rows + 1):
                for c in range(window.left // columns, (window.right - 1) // columns + 1):
                    index = (plane * down + r) * across + c
                    segment = self._segment(page, frame, index)
                    if segment is None:
                        continue
                    used[frame, index] = segment
                    channels = slice(plane * contig, (plane + 1) * contig)
                    _paste(out[:, :, channels], segment, r * rows - window.top, c * columns - window.left)
        self._segments = used
        return out

    def _segment(self, page: Any, frame: int, index: int) -> Array | None:
        if (frame, index) in self._segments:
            return self._segments[frame, index]
        handle = self._file.filehandle
        handle.seek(page.dataoffsets[index])
        data = handle.read(page.databytecounts[index])
        decoded = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0]
        return None if decoded is None else decoded[0]

    def _convert(self, pixels: Array, page: Any) -> Array:
        info, extras = self._stored, self._stored.extras
        if page.photometric == _PALETTE:
            return (page.colormap[:, pixels[:, :, 0]] >> 8).astype(np.uint8).transpose(1, 2, 0)
        if pixels.dtype == bool:
            pixels = pixels.view(np.uint8)
        if extras["white_is_zero"]:
            pixels = (sum(dtype_range(info.dtype, info.bits)) - pixels).astype(pixels.dtype)
        if extras["associated_alpha"]:
            pixels = associate(pixels, info, undo=True)
        return pixels

    def close(self) -> None:
        self._file.close()
        self._segments = {}


def _paste(out: Array, segment: Array, top: int, left: int) -> None:
    """Copy the part of ``segment``, whose corner lies at (top, left) of ``out``, that falls inside."""
    rows = slice(max(0, top), min(len(out), top + segment.shape[0]))
    columns = slice(max(0, left), min(out.shape[1], left + segment.shape[1]))
    if rows.stop > rows.start and columns.stop > columns.start:
        out[rows, columns] = segment[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _frames(file: Any, path: Path) -> list[Any]:
    """Return the pages that are pictures of their own: no reduced copies, no masks."""
    pages = [p for p in (page.aspage() for page in file.pages) if not (p.subfiletype & 0b101)]
    if not pages:
        raise FileError(f"cannot read {path}: a TIFF without pages")
    first = pages[0]
    for number, page in enumerate(pages):
        if (page.shaped, page.dtype, page.photometric) != (first.shaped, first.dtype, first.photometric):
            raise FileError(
                f"cannot read {path}: page {number} is {page.shape} {page.dtype}, page 0 is {first.shape} "
                f"{first.dtype}; all pages must be alike, split the file first"
            )
    return pages


def _describe(file: Any, pages: list[Any], path: Path) -> ImageInfo:
    page = pages[0]
    planes, depth, height, width, contig = page.shaped
    bands, photometric, extra = planes * contig, int(page.photometric), tuple(page.extrasamples)
    dtype, bits = np.dtype(page.dtype or "V"), page.bitspersample
    if depth != 1 or dtype.kind not in "biuf" or (photometric not in _COLOURS and photometric != _PALETTE):
        raise FileError(
            f"cannot read {path}: TIFF of {page.dtype or 'unknown type'}, photometric {page.photometric!s}, depth "
            f"{depth}; accepted are integers and floats, grey, RGB, CMYK and palette"
        )
    if photometric == _YCBCR and page.compression not in _JPEG:
        raise FileError(f"cannot read {path}: YCbCr that is not JPEG-compressed")
    colour: Colour = _COLOURS.get(photometric, "rgb")
    has_alpha = len(extra) == 1 and int(extra[0]) in (1, 2)
    if photometric == _PALETTE:
        bands, dtype, bits = 3, np.dtype(np.uint8), 8
    elif bands - has_alpha != {"grey": 1, "rgb": 3, "cmyk": 4}[colour]:
        colour, has_alpha = "bands", False
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    text = not (file.is_ome or file.is_imagej or file.is_shaped)
    return ImageInfo(
        width=width,
        height=height,
        bands=bands,
        dtype=dtype.newbyteorder("="),
        bits=bits,
        colour=colour,
        has_alpha=has_alpha,
        value_range=_range(page, dtype, bits),
        frames=len(pages),
        format="tiff",
        icc=page.iccprofile or None,
        exif=None if file.is_bigtiff else read_exif(path, description=text),
        xmp=_bytes(_tag(page, 700, None)),
        dpi=_dpi(page),
        extras={
            "compression": int(page.compression),
            "white_is_zero": photometric == _WHITE,
            "associated_alpha": has_alpha and int(extra[0]) == 1,
            "extra_samples": tuple(int(e) for e in extra),
            "photometric": photometric,
            "iptc": _bytes(_tag(page, 33723, None)),
        },
    )


def _range(page: Any, dtype: np.dtype[Any], bits: int) -> tuple[float, float]:
    """Return the range by type; floats may declare theirs (SMinSampleValue, SMaxSampleValue)."""
    low, high = (np.atleast_1d(_tag(page, tag, np.nan)).astype(float) for tag in (340, 341))
    if dtype.kind == "f" and low.min() < high.max():
        return (float(low.min()), float(high.max()))
    return dtype_range(dtype, bits)


def _dpi(page: Any) -> tuple[float, float] | None:
    unit = _INCHES.get(int(_tag(page, 296, 2)))
    x, y = _tag(page, 282, None), _tag(page, 283, None)
    if unit is None or x is None or y is None or not (x[0] and x[1] and y[0] and y[1]):
        return None
    return (x[0] / x[1] * unit, y[0] / y[1] * unit)


def _tag(page: Any, code: int, default: Any) -> Any:
    tag = page.tags.get(code)
    return default if tag is None else tag.value


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if value is not None else None


def _check_complete(pages: list[Any], size: int, path: Path) -> None:
    page = pages[0]
    limit = library("PIL.Image", "imaging").MAX_IMAGE_PIXELS
    segment = math.prod(page.chunks[:4])
    if limit and segment > 2 * limit:
        raise FileError(
            f"cannot read {path}: a strip or tile of {segment} pixels exceeds {2 * limit}, it could be a "
            "decompression bomb; raise PIL.Image.MAX_IMAGE_PIXELS if the file is to be trusted"
        )
    for number, page in enumerate(pages):
        end = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
        if end > size:
            raise FileError(f"cannot read {path}: truncated, page {number} reaches to byte {end} of a file of {size}")


def _refuses(info: ImageInfo) -> str | None:
    if info.dtype.kind not in "biuf":
        return f"holds integers and floats, not {info.dtype}"
    return None


FORMATS = (
    Format(
        name="tiff",
        suffixes=(".tif", ".tiff"),
        matches=lambda head, path: head[:4] in MAGIC,
        read=TiffReader,
        write=TiffWriter,
        refuses=_refuses,
        rank=5,
    ),
)

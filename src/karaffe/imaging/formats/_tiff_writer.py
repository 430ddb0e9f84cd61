"""Write TIFF tile by tile while the picture is being made.

tifffile pulls tiles from an iterator, whereas a writer is pushed bands: the encoder runs in a thread of its own
behind a short queue, which also overlaps compression with computing.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from karaffe.imaging.blocks import RowBlocks
from karaffe.imaging.exif import upright_exif
from karaffe.imaging.formats._tiff_exif import append_directories, description, text_tags
from karaffe.imaging.info import Array, ImageInfo, dtype_range
from karaffe.imaging.libraries import library
from karaffe.imaging.protocols import BaseWriter

_TILE = 256
_CLASSIC_LIMIT = 4_000_000_000
# Lossless compressions that are kept; every other source, and every other format, gets deflate.
_NONE, _DEFLATE = 1, 8
_KEPT = {_NONE: None, 5: "lzw", _DEFLATE: "zlib", 32946: "zlib", 50000: "zstd"}
_PHOTOMETRIC = {"grey": "minisblack", "rgb": "rgb", "cmyk": "separated", "bands": "minisblack"}


class TiffWriter(BaseWriter):
    """Tiles of 256 x 256 pixels (a picture of at most as many in one strip), compressed as the source was.

    BigTIFF from 4 GB on.
    """

    def __init__(self, path: Path, info: ImageInfo) -> None:
        super().__init__(info)
        self._path = path
        self._tiled = info.height * info.width > _TILE**2
        self._blocks = RowBlocks(info.height, _TILE if self._tiled else info.height)
        self._exif = info.exif and upright_exif(info.exif, info.width, info.height)
        self._queue: queue.Queue[Array | None] = queue.Queue(maxsize=2)
        self._failure: BaseException | None = None
        tifffile = library("tifffile", "imaging")
        size = info.frames * info.height * info.width * info.bands * info.dtype.itemsize
        self._file = tifffile.TiffWriter(path, bigtiff=size > _CLASSIC_LIMIT)
        self._thread = threading.Thread(target=self._encode, name="tiff-writer", daemon=True)
        self._thread.start()

    def _write(self, band: Array, frame: int) -> None:
        extras = self.info.extras if self.info.format == "tiff" else {}
        if extras.get("associated_alpha"):
            band = associate(band, self.info, undo=False)
        if extras.get("white_is_zero"):
            band = (sum(dtype_range(band.dtype, self.info.bits)) - band).astype(band.dtype)
        block = self._blocks.push(band.astype(bool) if self.info.bits == 1 else band)
        if block is not None:
            self._put(block[1])

    def _put(self, item: Array | None) -> None:
        while self._failure is None:
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
        raise self._failure

    def _encode(self) -> None:
        try:
            for frame in range(self.info.frames):
                options = _options(self.info, self._exif if frame == 0 else None)
                self._file.write(
                    self._tiles() if self._tiled else self._page(),
                    shape=(self.info.height, self.info.width, *([self.info.bands] * (self.info.bands > 1))),
                    dtype=bool if self.info.bits == 1 else self.info.dtype,
                    tile=(_TILE, _TILE) if self._tiled else None,
                    rowsperstrip=None if self._tiled else self.info.height,
                    **options,
                )
        except BaseException as error:  # handed to the thread that writes
            self._failure = error

    def _tiles(self) -> Iterator[Array]:
        """Cut the blocks of one frame into tiles, row by row; those at the edges are smaller."""
        top = 0
        while top < self.info.height:
            block = self._next()
            for y in range(0, len(block), _TILE):
                for x in range(0, self.info.width, _TILE):
                    yield np.ascontiguousarray(block[y : y + _TILE, x : x + _TILE])
            top += len(block)

    def _page(self) -> Iterator[Array]:
        yield self._next()

    def _next(self) -> Array:
        block = self._queue.get()
        if block is None:
            raise InterruptedError("the writer was closed early")
        return block if self.info.bands > 1 else block[:, :, 0]

    def _finish(self) -> None:
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        self._file.close()
        append_directories(self._path, self._exif)

    def abort(self) -> None:
        if self._thread.is_alive():
            self._failure = self._failure or InterruptedError("the writer was closed early")
            while self._thread.is_alive():
                try:
                    self._queue.put(None, timeout=0.1)
                except queue.Full:
                    self._queue.get()
            self._thread.join()
        self._file.close()


def _options(info: ImageInfo, exif: bytes | None) -> dict[str, Any]:
    extras = info.extras if info.format == "tiff" else {}
    compression = _KEPT.get(extras.get("compression", _DEFLATE), "zlib")
    if info.bits not in (1, 8 * info.dtype.itemsize):
        compression = None  # packed samples, 12 bit say, are stored plainly
    tags: list[Any] = list(text_tags(exif))
    if info.xmp:
        tags.append((700, 1, len(info.xmp), info.xmp, True))
    if extras.get("iptc"):
        tags.append((33723, 7, len(extras["iptc"]), extras["iptc"], True))
    if info.dtype.kind == "f" and info.value_range != (0.0, 1.0):
        tags += [(340, 12, 1, info.value_range[0], True), (341, 12, 1, info.value_range[1], True)]
    options: dict[str, Any] = {
        "photometric": "miniswhite" if extras.get("white_is_zero") else _PHOTOMETRIC[info.colour],
        "bitspersample": info.bits if info.bits < 8 * info.dtype.itemsize and info.bits > 1 else None,
        "planarconfig": "contig" if info.bands > 1 else None,
        "extrasamples": _extra_samples(info, extras),
        "compression": compression,
        "predictor": compression is not None and info.bits != 1,
        "iccprofile": info.icc,
        "description": description(exif) if exif else None,
        "metadata": None,
        "software": False,
        "extratags": tags,
    }
    if info.dpi:
        options |= {"resolution": info.dpi, "resolutionunit": 2}
    return options


def _extra_samples(info: ImageInfo, extras: Any) -> tuple[int, ...] | None:
    colours = {"grey": 1, "rgb": 3, "cmyk": 4, "bands": 1}[info.colour]
    count = info.bands - colours
    if not count:
        return None
    if info.has_alpha:
        return (1,) if extras.get("associated_alpha") else (2,)
    return (0,) * count


def associate(pixels: Array, info: ImageInfo, *, undo: bool) -> Array:
    """Multiply colours by alpha, or undo it; on integers one after the other gives the values back.

    With colour c <= alpha a of maximum m, ``round(c * m / a)`` is off by at most 1/2, which times a / m is less than
    1/2 again (or exactly zero at a = m).
    """
    top = dtype_range(info.dtype, info.bits)[1]
    alpha = pixels[:, :, -1:].astype(np.float64)
    factor = np.divide(top, alpha, out=np.zeros_like(alpha), where=alpha != 0) if undo else alpha / top
    colour = pixels[:, :, :-1] * factor
    if info.dtype.kind != "f":
        colour = np.clip(np.floor(colour + 0.5), 0, top)
    return np.concatenate([colour.astype(pixels.dtype), pixels[:, :, -1:]], axis=2)

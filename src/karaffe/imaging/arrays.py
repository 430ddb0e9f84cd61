"""Arrays in memory behind the interfaces of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from karaffe.errors import ArgumentError, DtypeError, ShapeError
from karaffe.imaging.info import Array, ImageInfo, Window, dtype_range
from karaffe.imaging.protocols import BaseReader, BaseWriter


class ArrayReader(BaseReader):
    """Frames ``(frames, h, w, bands)`` in memory."""

    def __init__(self, frames: Array, info: ImageInfo, path: Path | str = "array") -> None:
        super().__init__(info, path)
        self._frames = frames

    def _read(self, window: Window, frame: int) -> Array:
        return np.asarray(window.of(self._frames[frame]), dtype=self.info.dtype)


class ArrayWriter(BaseWriter):
    """Collect frames ``(frames, h, w, bands)`` in memory."""

    def __init__(self, info: ImageInfo) -> None:
        super().__init__(info)
        self.frames: Array = np.empty((info.frames, info.height, info.width, info.bands), info.dtype)

    def _write(self, band: Array, frame: int) -> None:
        self.frames[frame, self._row : self._row + len(band)] = band

    def _finish(self) -> None:
        """Nothing is left to do."""


def array_info(
    frames: Array, *, alpha: bool = False, format: str = "", extras: Mapping[str, Any] | None = None
) -> ImageInfo:
    """Describe ``frames (frames, h, w, bands)``: 3 colours are RGB, 1 is grey, anything else is bands.

    Raises:
        ShapeError, DtypeError, ArgumentError: An empty array, a type that is not supported, alpha without colours.
    """
    count, height, width, bands = frames.shape
    if 0 in frames.shape:
        raise ShapeError(f"image must have at least one pixel and channel, got {frames.shape[1:]}")
    if alpha and bands not in (2, 4):
        raise ArgumentError(f"alpha=True needs 2 or 4 channels, got {bands}")
    mask = frames.dtype == bool
    if frames.dtype.kind not in "biuf" or frames.dtype.itemsize > 8:
        raise DtypeError(f"image must hold integers, floats or booleans, got {frames.dtype}")
    if frames.dtype.kind in "iu" and frames.dtype.itemsize == 8:
        raise DtypeError(f"image must hold integers of at most 32 bits, got {frames.dtype}")
    colours = bands - alpha
    return ImageInfo(
        width=width,
        height=height,
        bands=bands,
        dtype=np.dtype(np.uint8) if mask else frames.dtype.newbyteorder("="),
        bits=1 if mask else 8 * frames.dtype.itemsize,
        colour={1: "grey", 3: "rgb"}.get(colours, "bands"),  # type: ignore[arg-type]
        has_alpha=alpha,
        value_range=dtype_range(frames.dtype),
        frames=count,
        format=format,
        extras=extras or {},
    )

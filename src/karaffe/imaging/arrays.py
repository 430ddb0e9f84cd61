"""Arrays in memory behind the interfaces of files."""

from __future__ import annotations

import numpy as np

from karaffe.imaging.info import Array, ImageInfo, Window
from karaffe.imaging.protocols import BaseReader, BaseWriter


class ArrayReader(BaseReader):
    """Frames ``(frames, h, w, bands)`` in memory."""

    def __init__(self, frames: Array, info: ImageInfo) -> None:
        super().__init__(info, "array")
        self._frames = frames

    def _read(self, window: Window, frame: int) -> Array:
        return window.of(self._frames[frame])


class ArrayWriter(BaseWriter):
    """Collect frames ``(frames, h, w, bands)`` in memory."""

    def __init__(self, info: ImageInfo) -> None:
        super().__init__(info)
        self.frames: Array = np.empty((info.frames, info.height, info.width, info.bands), info.dtype)

    def _write(self, band: Array, frame: int) -> None:
        self.frames[frame, self._row : self._row + len(band)] = band

    def _finish(self) -> None:
        """Nothing is left to do."""

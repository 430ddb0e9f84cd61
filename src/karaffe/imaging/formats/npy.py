"""NumPy's .npy: ``(H, W)``, ``(H, W, C)`` or ``(N, H, W, C)``, mapped from the file and never loaded whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from karaffe.errors import FileError
from karaffe.imaging.arrays import ArrayReader, array_info
from karaffe.imaging.formats import Format
from karaffe.imaging.info import Array, ImageInfo
from karaffe.imaging.protocols import BaseWriter


class NpyReader(ArrayReader):
    """An array mapped into memory; its dimensions are kept for the writer."""

    def __init__(self, path: Path) -> None:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.ndim not in (2, 3, 4):
            raise FileError(
                f"cannot read {path}: an array of shape {array.shape}; accepted are (H, W), (H, W, C) and (N, H, W, C)"
            )
        frames = array[None, :, :, None] if array.ndim == 2 else array[None] if array.ndim == 3 else array
        super().__init__(frames, array_info(frames, format="npy", extras={"ndim": array.ndim}), path)


class NpyWriter(BaseWriter):
    """An array mapped into the file, filled from the top."""

    def __init__(self, path: Path, info: ImageInfo) -> None:
        super().__init__(info)
        shape = (info.frames, info.height, info.width, info.bands)
        fewest = 4 if info.frames > 1 else 3 if info.bands > 1 else 2
        dimensions = max(fewest, info.extras.get("ndim", 2) if info.format == "npy" else 2)
        stored = {4: shape, 3: shape[1:], 2: shape[1:3]}[dimensions]
        dtype = np.dtype(bool) if info.bits == 1 else info.dtype
        self._map: Array | None = np.lib.format.open_memmap(path, "w+", dtype, stored)
        self._frames: Array = self._map.reshape(shape)

    def _write(self, band: Array, frame: int) -> None:
        self._frames[frame, self._row : self._row + len(band)] = band

    def _finish(self) -> None:
        self._map.flush()  # type: ignore[union-attr]
        self.abort()

    def abort(self) -> None:
        self._map, self._frames = None, np.empty(0)


FORMATS = (
    Format(
        name="npy",
        suffixes=(".npy",),
        matches=lambda head, path: head.startswith(b"\x93NUMPY"),
        read=NpyReader,
        write=NpyWriter,
        refuses=lambda info: None,
    ),
)

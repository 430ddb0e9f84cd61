"""The two interfaces that every image format implements, and what their implementations share.

A reader gives any window. A writer takes full-width bands from the top down, frame after frame, because
that is what every compressed format can stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import numpy as np

from karaffe.errors import ArgumentError, FileError, ShapeError
from karaffe.imaging.guard import file_errors
from karaffe.imaging.info import Array, ImageInfo, Window


@runtime_checkable
class Reader(Protocol):
    """An open image. Use it as a context manager."""

    @property
    def info(self) -> ImageInfo:
        """What the file declares."""
        ...

    def read(self, window: Window | None = None, frame: int = 0) -> Array:
        """Return the pixels ``(height, width, bands)`` of a window, by default of the whole frame."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Writer(Protocol):
    """An image in the making. As a context manager it is finished on a normal exit and dropped on an error."""

    @property
    def info(self) -> ImageInfo:
        """What is being written."""
        ...

    def write(self, window: Window, array: Array, frame: int = 0) -> None:
        """Take the pixels ``(height, width, bands)`` of the next full-width band."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...

    def abort(self) -> None:
        """Drop the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BaseReader(ABC):
    """Checks the request, then asks the format for it."""

    def __init__(self, info: ImageInfo, path: Path | str) -> None:
        if min(info.width, info.height, info.bands, info.frames) < 1:
            raise FileError(
                f"cannot read {path}: it declares {info.height} x {info.width} pixels of {info.bands} bands"
            )
        self._info = info
        self._path = path

    @property
    def info(self) -> ImageInfo:
        return self._info

    def read(self, window: Window | None = None, frame: int = 0) -> Array:
        window = window or self._info.whole
        if not (
            0 <= window.top < window.bottom <= self._info.height and 0 <= window.left < window.right <= self._info.width
        ):
            size = f"{self._info.height} x {self._info.width}"
            raise ArgumentError(f"read: {window} does not lie within the image of {size} pixels")
        if not 0 <= frame < self._info.frames:
            raise ArgumentError(f"read: frame {frame} of an image with {self._info.frames}")
        with file_errors("read", self._path):
            return self._read(window, frame)

    @abstractmethod
    def _read(self, window: Window, frame: int) -> Array: ...

    def close(self) -> None:  # noqa: B027  (nothing to release is a valid answer)
        """Release the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BaseWriter(ABC):
    """Checks that bands come in order and fit, then hands them to the format."""

    def __init__(self, info: ImageInfo) -> None:
        self._info = info
        self._frame = 0
        self._row = 0

    @property
    def info(self) -> ImageInfo:
        return self._info

    def write(self, window: Window, array: Array, frame: int = 0) -> None:
        info = self._info
        if self._row == info.height:
            self._frame, self._row = self._frame + 1, 0
        expected = (self._frame, self._row, 0, info.width)
        if (frame, window.top, window.left, window.width) != expected or window.bottom > info.height:
            raise ArgumentError(
                f"write: {window} of frame {frame}; bands are full-width and come from the top down, next is row "
                f"{self._row} of frame {self._frame} of a {info.height} x {info.width} image"
            )
        if array.shape != (window.height, window.width, info.bands) or array.dtype != info.dtype:
            raise ShapeError(
                f"write: expected {info.dtype} of shape {(window.height, window.width, info.bands)}, "
                f"got {array.dtype} of shape {array.shape}"
            )
        self._write(np.ascontiguousarray(array), frame)
        self._row = window.bottom

    @abstractmethod
    def _write(self, band: Array, frame: int) -> None: ...

    def close(self) -> None:
        if (self._frame, self._row) != (self._info.frames - 1, self._info.height):
            self.abort()
            raise ArgumentError(
                f"close: only {self._row} of {self._info.height} rows of frame {self._frame} were written"
            )
        self._finish()

    @abstractmethod
    def _finish(self) -> None: ...

    def abort(self) -> None:  # noqa: B027  (nothing to release is a valid answer)
        """Drop the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class FrameWriter(BaseWriter):
    """A writer for formats whose encoder wants the whole image at once: collects the frames, then encodes."""

    def __init__(self, info: ImageInfo) -> None:
        super().__init__(info)
        self._pixels = np.empty((info.frames, info.height, info.width, info.bands), info.dtype)

    def _write(self, band: Array, frame: int) -> None:
        self._pixels[frame, self._row : self._row + len(band)] = band

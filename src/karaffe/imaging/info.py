"""What an image file declares about itself, and rectangles of it.

Everything here is read from headers; nothing is derived from pixel values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Colour = Literal["grey", "rgb", "cmyk", "bands"]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels: first row, first column, rows, columns."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The row after the last."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The column after the last."""
        return self.left + self.width

    def of(self, array: Array) -> Array:
        """Return the view of ``array (h, w, ...)`` that the window covers."""
        return array[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class ImageInfo:
    """Size, pixel type, colour and metadata of an image.

    Attributes:
        width, height: Pixels as they are to be seen, that is, after the EXIF orientation has been applied.
        bands: Values a pixel, alpha included.
        dtype: Type of the stored values.
        bits: Declared significant bits; 1 is a binary mask with the values 0 and 1.
        colour: What the bands before alpha are: ``"grey"`` (1), ``"rgb"`` (3), ``"cmyk"`` (4), or ``"bands"``.
        has_alpha: The last band is opacity, not premultiplied.
        value_range: Values that stand for black and white (of every band).
        rescale: Slope and intercept from stored to real values (Hounsfield units), in which users give ranges.
        unbounded: Floating values outside ``value_range`` are usual in this format (scene-linear light).
        labels: Values are names (classes of a map), which must not be mixed; only nearest neighbour enlarges them.
        frames: Pages, slices or time points, all of one size and type.
        slices: Frames that are the planes of one volume; ``frames`` counts those of all volumes, plane by plane.
        format: Name in the registry of formats, ``""`` for an array in memory.
        icc: ICC profile. exif: EXIF as a TIFF structure, without the ``Exif\\0\\0`` prefix, orientation 1.
        xmp: XMP packet. dpi: Pixels an inch (horizontal, vertical).
        spacing: Millimetres a pixel (vertical, horizontal). slice_spacing: Millimetres a slice.
        nodata: The value that marks absent pixels.
        history: What was done to make the image, for formats that record it.
        extras: What only the format itself understands (compression, geotransform, headers), handed to its
            writer.
    """

    width: int
    height: int
    bands: int
    dtype: np.dtype[Any]
    bits: int
    colour: Colour
    has_alpha: bool = False
    value_range: tuple[float, float] = (0.0, 1.0)
    rescale: tuple[float, float] = (1.0, 0.0)
    unbounded: bool = False
    labels: bool = False
    frames: int = 1
    slices: int = 1
    format: str = ""
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    spacing: tuple[float, float] | None = None
    slice_spacing: float | None = None
    nodata: float | None = None
    history: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> Window:
        """The window that covers the image."""
        return Window(0, 0, self.height, self.width)

    def with_size(self, height: int, width: int) -> ImageInfo:
        """Return the same description for another size."""
        return replace(self, height=height, width=width)


def dtype_range(dtype: npt.DTypeLike, bits: int | None = None) -> tuple[float, float]:
    """Return the values that stand for black and white: all of an integer's ``bits``, [0, 1] for floats."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return (0.0, 1.0)
    if dtype.kind not in "iu":
        return (0.0, 1.0)
    bits = bits or dtype.itemsize * 8
    if dtype.kind == "u":
        return (0.0, float(2**bits - 1))
    return (-float(2 ** (bits - 1)), float(2 ** (bits - 1) - 1))

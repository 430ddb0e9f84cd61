"""What browsers can show of any image: one frame, grey or RGB, on 8 bit, or on 16 as two pictures of 8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from karaffe.imaging.info import Array, ImageInfo

# Around what is transparent.
_BACKGROUND = 0.5


def is_deep(info: ImageInfo) -> bool:
    """Whether the image has more than 8 bit."""
    return info.dtype.kind == "f" or info.bits > 8


def shown_pixels(pixels: Array, info: ImageInfo) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return ``pixels (h, w, bands)`` of ``info`` as ``(h, w, 1 or 3)``, uint16 where they are deep, else uint8.

    Black and white are those of the declared range; more than three bands show their first three, two the first;
    what is transparent is blended with grey, what is absent is black.
    """
    colours = info.bands - info.has_alpha
    if info.colour == "cmyk" or info.has_alpha or pixels.dtype != np.uint8 or info.value_range != (0, 255):
        return _mapped(pixels, info, colours)
    return pixels[..., : 3 if colours >= 3 else 1]


def _mapped(pixels: Array, info: ImageInfo, colours: int) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    low, high = info.value_range
    values = np.nan_to_num((pixels.astype(np.float32) - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    values = values.clip(0, 1)
    picture = values[..., : 3 if colours >= 3 else 1]
    if info.colour == "cmyk":
        picture = (1 - values[..., :3]) * (1 - values[..., 3:4])
    if info.has_alpha:
        alpha = values[..., -1:]
        picture = picture * alpha + _BACKGROUND * (1 - alpha)
    if is_deep(info):
        return np.floor(picture * 65535 + 0.5).astype(np.uint16)
    return np.floor(picture * 255 + 0.5).astype(np.uint8)

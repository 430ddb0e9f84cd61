"""Arrays as images: ``(H, W)`` or ``(H, W, C)``, integers of 8 or 16 bit with their full range, or floats in [0, 1].

The peak of a dtype is declared here and never guessed from the values.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from karaffe.errors import DtypeError, ShapeError, unknown_name

Image = npt.NDArray[Any]
Range = Literal["studio", "full"]

# BT.601 luma of R, G, B in [0, 1]: on the studio range 16 … 235 of 255 as MATLAB's rgb2ycbcr, and on the full one.
_STUDIO = np.array([65.481, 128.553, 24.966]) / 255
_FULL = np.array([0.299, 0.587, 0.114])


def peak(image: Image) -> float:
    """Return the largest value that the dtype of ``image`` stands for: 255, 65535, or 1 for floats.

    Raises:
        DtypeError: Neither uint8, uint16 nor floating point.
    """
    if image.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(image.dtype).max)
    if np.issubdtype(image.dtype, np.floating):
        return 1.0
    raise DtypeError(f"an image must be uint8, uint16 or floating point in [0, 1], not {image.dtype}")


def quantize(values: npt.NDArray[np.float64], dtype: npt.DTypeLike) -> Image:
    """Round values on the scale of ``dtype`` half up and saturate; floats pass unrounded."""
    dtype = np.dtype(dtype)
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    return np.clip(np.floor(values + 0.5), 0, np.iinfo(dtype).max).astype(dtype)


def to_uint8(image: Image) -> npt.NDArray[np.uint8]:
    """Return ``image`` on 8 bit, rounded half up."""
    if image.dtype == np.uint8:
        return image
    return quantize(image.astype(np.float64) * (255 / peak(image)), np.uint8)


def check_image(image: Image, name: str) -> None:
    """Raise unless ``image`` is ``(H, W)`` or ``(H, W, C)`` with at least one pixel and a dtype that has a peak."""
    if not isinstance(image, np.ndarray):
        raise DtypeError(f"{name} must be a numpy array, not {type(image).__name__}")
    if image.ndim not in (2, 3) or image.size == 0:
        raise ShapeError(f"{name} must be (H, W) or (H, W, C) with at least one pixel; got shape {image.shape}")
    peak(image)


def check_pair(image: Image, reference: Image) -> None:
    """Raise unless both are images of one shape and dtype."""
    check_image(image, "image")
    check_image(reference, "reference")
    if image.shape != reference.shape:
        raise ShapeError(f"image and reference must have one shape; got {image.shape} and {reference.shape}")
    if image.dtype != reference.dtype:
        raise DtypeError(f"image and reference must have one dtype; got {image.dtype} and {reference.dtype}")


def luma(rgb: Image, *, range: Range = "studio") -> Image:
    """Return Y of BT.601, ``(H, W)``, in the dtype of ``rgb`` (integers rounded half up).

    ``Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255`` for ``R, G, B`` in [0, 1] (MATLAB's ``rgb2ycbcr``), or with
    ``range="full"`` ``Y = 0.299 R + 0.587 G + 0.114 B``, whose PSNR is ``20 log10(255 / 219) = 1.32`` dB lower.

    Args:
        rgb: ``(H, W, 3)``. A grey image, ``(H, W)`` or ``(H, W, 1)``, is its own luma, as in the papers' scripts;
            an RGB image that happens to be grey is not (its Y is on the studio range).

    Raises:
        ShapeError: Another number of channels.
        DtypeError: Neither uint8, uint16 nor floating point.
    """
    check_image(rgb, "rgb")
    if range not in get_args(Range):
        raise unknown_name("range", range, get_args(Range))
    if rgb.ndim == 2:
        return rgb
    if rgb.shape[2] == 1:
        return rgb[..., 0]
    if rgb.shape[2] != 3:
        raise ShapeError(f"luma: rgb must be grey or (H, W, 3), got shape {rgb.shape}")
    top = peak(rgb)
    y = rgb.astype(np.float64) @ _STUDIO + 16 / 255 * top if range == "studio" else rgb.astype(np.float64) @ _FULL
    return quantize(y, rgb.dtype)

"""PSNR and SSIM as sums: ``*_update`` gives (sum, count), sums add over images or tiles, ``*_compute`` ends them.

The means that papers print are means of per-image values, which :func:`psnr` and :func:`ssim` return; adding the
sums of several images first gives the pooled figure instead.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from karaffe.errors import ArgumentError, ShapeError
from karaffe.evaluation.images import Image, check_pair, peak

WINDOW = 11
SIGMA = 1.5


def crop_border(image: Image, border: int) -> Image:
    """Return ``image`` without ``border`` pixels on each side.

    Raises:
        ArgumentError: ``border`` is negative or leaves no pixel.
    """
    height, width = image.shape[:2]
    if border < 0 or 2 * border >= min(height, width):
        raise ArgumentError(f"border must be from 0 to less than half of {height}x{width} pixels, not {border}")
    return image[border : height - border, border : width - border]


def psnr_update(image: Image, reference: Image) -> tuple[float, int]:
    """Return (sum of squared differences, number of values), in units of the images' own scale."""
    check_pair(image, reference)
    difference = image.astype(np.float64) - reference.astype(np.float64)
    return float(np.square(difference).sum()), difference.size


def psnr_compute(squared_error: float, count: int, data_range: float) -> float:
    """Return ``10 log10(data_range² / (squared_error / count))`` in dB; infinite where nothing differs."""
    if squared_error == 0:
        return math.inf
    return 10 * math.log10(data_range**2 * count / squared_error)


def psnr(image: Image, reference: Image, *, border: int = 0, data_range: float | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB over all channels.

    Args:
        image, reference: Same shape ``(H, W)`` or ``(H, W, C)`` and dtype (uint8, uint16 or float).
        border: Pixels left out on each side.
        data_range: The peak; default that of the dtype: 255, 65535, or 1 for floats.

    Raises:
        ShapeError, DtypeError: The two do not fit each other.
        ArgumentError: ``border`` leaves no pixel.
    """
    check_pair(image, reference)
    sums = psnr_update(crop_border(image, border), crop_border(reference, border))
    return psnr_compute(*sums, data_range=peak(reference) if data_range is None else data_range)


def ssim_map(image: Image, reference: Image, *, data_range: float | None = None) -> npt.NDArray[np.float64]:
    """Return the local SSIM index at every place where the window fits: ``(H - 10, W - 10[, C])``.

    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13(4),
    2004, eq. 13 with their constants: an 11x11 Gaussian window of sigma 1.5, population moments,
    ``C1 = (0.01 L)²``, ``C2 = (0.03 L)²``; no down-sampling before (as their ``ssim_index``).

    Raises:
        ShapeError: A side is below 11 pixels, or the two do not fit each other.
    """
    check_pair(image, reference)
    if min(image.shape[:2]) < WINDOW:
        raise ShapeError(f"ssim: images must be at least {WINDOW} pixels a side, got shape {image.shape}")
    top = peak(reference) if data_range is None else data_range
    c1, c2 = (0.01 * top) ** 2, (0.03 * top) ** 2
    x, y = _planes(image), _planes(reference)
    mx, my = _blur(x), _blur(y)
    vx, vy, vxy = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    values = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    local: npt.NDArray[np.float64] = values[:, 0].permute(1, 2, 0).numpy()
    return local if image.ndim == 3 else local[..., 0]


def ssim_update(image: Image, reference: Image, data_range: float | None = None) -> tuple[float, int]:
    """Return (sum of the local SSIM indices, their number)."""
    local = ssim_map(image, reference, data_range=data_range)
    return float(local.sum()), local.size


def ssim_compute(total: float, count: int) -> float:
    """Return the mean of the local indices."""
    return total / count


def ssim(image: Image, reference: Image, *, border: int = 0, data_range: float | None = None) -> float:
    """Return the mean structural similarity over all places and channels; arguments as :func:`psnr`.

    The definition is that of :func:`ssim_map`.
    """
    check_pair(image, reference)
    return ssim_compute(*ssim_update(crop_border(image, border), crop_border(reference, border), data_range))


def _planes(image: Image) -> Tensor:
    """``(H, W[, C])`` -> ``(C, 1, H, W)`` in float64."""
    values = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float64))
    return values[None, None] if values.ndim == 2 else values.permute(2, 0, 1)[:, None]


@lru_cache(maxsize=1)
def _window() -> Tensor:
    distance = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-distance.square() / (2 * SIGMA**2))
    return weights / weights.sum()


def _blur(x: Tensor) -> Tensor:
    window = _window()
    return F.conv2d(F.conv2d(x, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))

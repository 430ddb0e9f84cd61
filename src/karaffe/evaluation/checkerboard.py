"""Checkerboard energy: how much of an image repeats with the stride of the upsampling that made it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from karaffe.errors import ArgumentError, ShapeError

Floats = npt.NDArray[np.floating]


def checkerboard_energy(image: Floats, stride: int) -> float:
    r"""Return the share of an image's variance that is periodic with ``stride`` pixels along both axes.

    The mean over all pixels of the same phase is a ``stride x stride`` pattern, and its variance, by Parseval's
    theorem, is the power of the image's spectrum at the multiples of ``1 / stride``, DC left out:

    .. math:: E = \frac{\mathrm{var}_{a,b}\, \mathrm{mean}_{y \equiv a, x \equiv b}\, I[y, x]}{\mathrm{var}\, I}
                = \frac{\sum_{(u, v) \ne 0} |\hat I(uH/s, vW/s)|^2}{\sum_{(u, v) \ne 0} |\hat I(u, v)|^2}

    A natural image has about ``(stride² - 1) / (H W)`` or less; transposed convolutions leave more (Odena et al.,
    "Deconvolution and checkerboard artifacts", Distill, 2016). Rows and columns beyond a multiple of the stride are
    left out.

    Args:
        image: ``(H, W)``, or ``(H, W, C)``, of which the mean over the channels is returned.
        stride: at least 2.

    Raises:
        ShapeError: another rank, or fewer than ``stride`` rows or columns.
        ArgumentError: ``stride`` below 2.
    """
    if stride < 2:
        raise ArgumentError(f"stride must be at least 2, got {stride}")
    if image.ndim not in (2, 3) or min(image.shape[:2]) < stride:
        raise ShapeError(f"image must be (H, W) or (H, W, C) with at least {stride} rows and columns: {image.shape}")
    planes = np.atleast_3d(image).astype(np.float64)
    height, width = (n // stride * stride for n in planes.shape[:2])
    planes = planes[:height, :width]
    folded = planes.reshape(height // stride, stride, width // stride, stride, -1).mean((0, 2))
    total = planes.var((0, 1))
    shares = np.divide(folded.var((0, 1)), total, out=np.zeros_like(total), where=total > 0)
    return float(shares.mean())

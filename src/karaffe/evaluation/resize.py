"""MATLAB's ``imresize`` on images, the degradation that super-resolution papers measure against."""

from __future__ import annotations

import math

import numpy as np
import torch

from karaffe.errors import ArgumentError
from karaffe.evaluation.images import Image, check_image, quantize
from karaffe.upsamplers.resampling import Border, ResamplingKernel, resample


def imresize(
    image: Image,
    scale: float | None = None,
    *,
    size: tuple[int, int] | None = None,
    kernel: str | ResamplingKernel = "cubic",
    antialias: bool = True,
    border: Border = "symmetric",
) -> Image:
    """Resize as MATLAB's ``imresize``: separable, antialiased, Keys' bicubic with a = -1/2.

    The axis with the smaller factor goes first, and an integer image is rounded and saturated after each of the two
    passes, as there. Values were compared with images that MATLAB made: equal to the bit.

    Args:
        image: ``(H, W)`` or ``(H, W, C)``; uint8, uint16 or floating point.
        scale: The factor; the new size is ``ceil(scale · n)``.
        size: The new ``(height, width)``, instead of ``scale``.
        border: ``"symmetric"`` is what MATLAB does now; ``"replicate"`` is what the releases did that the usual
            copies of Set5, Set14 and BSD100 were made with. They differ only along the border.

    Returns:
        An image of the same dtype and number of channels.

    Raises:
        ArgumentError: Not exactly one of ``scale`` and ``size``, a scale that is not positive, an unknown kernel or
            border.
        ShapeError, DtypeError: ``image`` is not an image.
    """
    check_image(image, "image")
    if (scale is None) == (size is None):
        raise ArgumentError(f"imresize: give either scale or size, got {scale=} and {size=}")
    height, width = image.shape[:2]
    if size is not None:
        factors = (size[0] / height, size[1] / width)
    elif scale is not None and scale > 0 and math.isfinite(scale):
        # 1e-9: a third of 510 must be 170 and not, by rounding, 171.
        size = (math.ceil(scale * height - 1e-9), math.ceil(scale * width - 1e-9))
        factors = (scale, scale)
    else:
        raise ArgumentError(f"imresize: scale must be a positive number, not {scale!r}")
    planes = image.reshape(height, width, -1).astype(np.float64)
    for axis in sorted((0, 1), key=factors.__getitem__):
        x = torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1)))[None]
        target = [x.shape[2], x.shape[3]]
        target[axis] = size[axis]
        only = [1.0, 1.0]
        only[axis] = factors[axis]
        y = resample(x, target, kernel=kernel, antialias=antialias, border=border, scale=only)
        planes = quantize(y[0].permute(1, 2, 0).numpy(), image.dtype).astype(np.float64)
    return planes.astype(image.dtype).reshape(*size, *image.shape[2:])

"""Results whose block means are the source: the mean of the s x s targets of a source pixel is that pixel.

Each block is shifted by what its mean lacks. Where that would leave the values that the type can hold (or, for a
network of convex kernels, the range of the source values around), the shift is chosen so that the mean is right after
clipping: ``mean(clip(y + t, lo, hi))`` grows with t from lo to hi and the source
lies between them, so bisection finds t. Integers are rounded so that the sum of a block stays the sum that it must have
(largest remainders), which makes the mean exact and not only right on average.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from karaffe.imaging.info import Array

_HALVINGS = 60


def consistent(y: Tensor, x: Tensor, bounds: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return ``y (bands, s h, t w)`` shifted block by block so that block means are ``x (bands, h, w)``.

    Args:
        bounds: Smallest and largest value of a block's targets, of the shape of ``x`` or one for all; None where there
            are none. ``x`` must lie between them.
    """
    bands, height, width = x.shape
    down, across = y.shape[1] // height, y.shape[2] // width
    blocks = y.unflatten(1, (height, down)).unflatten(3, (width, across)).permute(0, 1, 3, 2, 4).flatten(3)
    blocks = blocks + (x - blocks.mean(-1))[..., None]
    if bounds is not None:
        low, high = (b.to(blocks).expand(x.shape) for b in bounds)
        outside = ((blocks < low[..., None]) | (blocks > high[..., None])).any(-1)
        if bool(outside.any()):
            blocks[outside] = _clipped(blocks[outside], x[outside], low[outside, None], high[outside, None])
    blocks = blocks.unflatten(3, (down, across)).permute(0, 1, 3, 2, 4)
    return blocks.reshape(bands, height * down, width * across)


def _clipped(blocks: Tensor, means: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return ``clip(blocks + t, low, high)`` with the ``t`` of each block that makes its mean right."""
    wide, low, high = blocks.double(), low.double(), high.double()
    least, most = low - wide.amax(-1, keepdim=True), high - wide.amin(-1, keepdim=True)
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        small = (wide + middle).clamp(low, high).mean(-1, keepdim=True) < means[:, None]
        least, most = torch.where(small, middle, least), torch.where(small, most, middle)
    return (wide + (least + most) / 2).clamp(low, high).to(blocks.dtype)


def rounded(values: Array, means: Array) -> Array:
    """Round ``values (s h, t w, bands)`` so that every block sums to ``s t`` times its integer of ``means``."""
    height, width, bands = means.shape
    down, across = values.shape[0] // height, values.shape[1] // width
    blocks = values.reshape(height, down, width, across, bands).transpose(0, 2, 4, 1, 3)
    blocks = blocks.reshape(height, width, bands, down * across)
    whole = np.floor(blocks)
    missing = np.rint(means * (down * across) - whole.sum(-1))[..., None]
    order = np.argsort(whole - blocks, axis=-1, kind="stable")
    whole += np.take_along_axis(np.arange(down * across) < missing, np.argsort(order, axis=-1), axis=-1)
    whole = whole.reshape(height, width, bands, down, across).transpose(0, 3, 1, 4, 2)
    return np.asarray(whole.reshape(values.shape))

"""The smallest and largest value around each source pixel, between which a network of convex kernels must stay.

Convex kernels keep the promise in exact arithmetic; rounding, a change of value range and the correction of block means
do not know of it. The bounds are taken from stored values and applied to stored values, so that it holds to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from karaffe.imaging.info import Array


@dataclass(frozen=True)
class LocalRange:
    """Bounds of ``(h, w, bands)`` source pixels; infinite where there are none."""

    low: Array
    high: Array

    def at(self, rows: Array, columns: Array) -> LocalRange:
        """Return the bounds at the given rows and columns."""
        places = np.ix_(rows, columns)
        return LocalRange(self.low[places], self.high[places])


def local_range(pixels: Array, present: Array, radius: int) -> LocalRange:
    """Return the range of present values in the ``2 radius + 1`` rows and columns around each of ``pixels``.

    Args:
        pixels: ``(h, w, bands)`` of any type; what lies outside takes no part. present: bool of the same shape; the
            targets of a pixel that is not present have no bounds.
    """
    # Integers of up to 32 bits are exact in float64.
    values = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float64))
    here = torch.from_numpy(np.ascontiguousarray(present.transpose(2, 0, 1)))
    ends = []
    for sign in (-1.0, 1.0):
        end = _largest(torch.where(here, sign * values, -torch.inf), radius)
        ends.append((sign * torch.where(here, end, torch.inf)).permute(1, 2, 0).numpy())
    return LocalRange(*ends)


def _largest(x: Tensor, radius: int) -> Tensor:
    """Slide a maximum down, then across; max-pooling pads with minus infinity."""
    size = 2 * radius + 1
    down = F.max_pool2d(x[None], (size, 1), 1, (radius, 0))
    return F.max_pool2d(down, (1, size), 1, (0, radius))[0]

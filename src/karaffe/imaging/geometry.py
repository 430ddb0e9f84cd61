"""From target pixels to the source pixels they depend on.

An axis goes from ``source`` samples by a network of integer factor to ``source * factor`` samples, and from there,
where the target differs, by antialiased interpolation to ``target`` samples. Positions are those of the whole
image, so a tile is exactly a part of the untiled result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from karaffe.imaging.info import Array
from karaffe.upsamplers.resampling import resample_weights


@dataclass(frozen=True)
class Span:
    """What one run of target samples needs.

    Attributes:
        read: First and last + 1 source sample to read, context included.
        offset: Where the needed part of the network's output starts, in network samples from ``read[0] * factor``.
        length: Network samples needed.
    """

    read: tuple[int, int]
    offset: int
    length: int


class Axis:
    """One axis of an enlargement.

    Args:
        source, target: Samples before and after.
        factor: What the network multiplies by.
        kernel: What interpolates between ``source * factor`` and ``target``; ``"box"`` picks the nearest sample,
            ``"mean"`` takes the mean of the samples below a target.
    """

    def __init__(self, source: int, target: int, factor: int, kernel: str = "lanczos3") -> None:
        self.source, self.target, self.factor = source, target, factor
        self._taps: tuple[Tensor, Tensor] | None = None
        if target != source * factor:
            name = "box" if kernel == "mean" else kernel
            self._taps = resample_weights(source * factor, target, name, antialias=kernel != "box")

    @property
    def reach(self) -> int:
        """Source samples that the resampling looks to each side."""
        if self._taps is None:
            return 0
        return math.ceil(self._taps[0].shape[1] / 2 / self.factor) + 1

    def span(self, start: int, stop: int, context: int) -> Span:
        """Return what target samples ``start … stop - 1`` need, with ``context`` source samples on each side."""
        first, last = self._middle(start, stop)
        low = max(0, first // self.factor - context)
        high = min(self.source, -(-last // self.factor) + context)
        return Span((low, high), first - low * self.factor, last - first)

    def resample(self, x: Tensor, dim: int, start: int, stop: int) -> Tensor:
        """Bring the network samples of ``span(start, stop)`` along ``dim`` to the target samples."""
        if self._taps is None:
            return x
        index, weights = (t[start:stop] for t in self._taps)
        # A tap without weight may point outside the run; it adds zero wherever it lands.
        index = (index - self._middle(start, stop)[0]).clamp(0, x.shape[dim] - 1).to(x.device)
        matrix = torch.zeros(stop - start, x.shape[dim], dtype=x.dtype, device=x.device)
        matrix.scatter_add_(1, index, weights.to(x.device, x.dtype))
        return torch.movedim(torch.movedim(x, dim, -1) @ matrix.T, -1, dim)

    def nearest(self, start: int, stop: int) -> Array:
        """Return the source sample under each target sample, ``floor((t + 1/2) source / target)``."""
        targets = np.arange(start, stop, dtype=np.int64)
        return ((2 * targets + 1) * self.source) // (2 * self.target)

    def _middle(self, start: int, stop: int) -> tuple[int, int]:
        if self._taps is None:
            return start, stop
        index, weights = (t[start:stop] for t in self._taps)
        used = index[weights != 0]
        return int(used.min()), int(used.max()) + 1

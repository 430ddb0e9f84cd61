"""The classic interpolations as super-resolution networks without parameters, for comparison and as a fallback.

Borders are mirrored about the outer edge of the outermost pixel, as in MATLAB's ``imresize``.
"""

from __future__ import annotations

import math
from types import MappingProxyType

from torch import Tensor

from karaffe.errors import unknown_name
from karaffe.models.base import SuperResolver
from karaffe.upsamplers.resampling import KERNELS, resample

METHODS = MappingProxyType({"nearest": "box", "bilinear": "triangle", "bicubic": "cubic", "lanczos": "lanczos3"})


class Interpolation(SuperResolver):
    """Separable interpolation at pixel centres: target ``i`` reads the source around ``(i + 1/2) / s - 1/2``.

    ``bicubic`` is Keys' kernel with a = -1/2 (R. Keys, *Cubic convolution interpolation for digital image
    processing*, IEEE TASSP 29(6), 1981), equal to MATLAB's ``imresize``; ``lanczos`` has three lobes.

    Args:
        method: ``"nearest"``, ``"bilinear"``, ``"bicubic"`` or ``"lanczos"``.
        scale: the factor, a positive integer.

    Raises:
        UnknownNameError: a method that is not one of these.
        ArgumentError: a scale that is not a positive integer.
    """

    def __init__(self, method: str, scale: int) -> None:
        if method not in METHODS:
            raise unknown_name("interpolation", method, METHODS)
        super().__init__(scale, math.ceil(KERNELS[METHODS[method]].radius) if method != "nearest" else 0)
        self.method = method

    def enlarge(self, x: Tensor) -> Tensor:
        size = (x.shape[2] * self.scale, x.shape[3] * self.scale)
        if self.method == "nearest":
            return x.repeat_interleave(self.scale, dim=2).repeat_interleave(self.scale, dim=3)
        return resample(x, size, kernel=METHODS[self.method])

    def extra_repr(self) -> str:
        return f"{self.method!r}, {super().extra_repr()}"

"""SRCNN, the first convolutional network for super-resolution."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.models.kernels import filtered, interpolation_kernels
from karaffe.models.luma import LumaNetwork


class SRCNN(LumaNetwork):
    """9-1-5: three convolutions on the image that bicubic interpolation has enlarged already.

    C. Dong, C. C. Loy, K. He, X. Tang, *Learning a deep convolutional network for image super-resolution*, ECCV 2014,
    section 3; widths 64 and 32. The network learns the difference to the interpolation, as its successors do.

    Args:
        scale: the factor.
    """

    base: Tensor

    def __init__(self, scale: int) -> None:
        # Four and two target pixels of 9x9 and 5x5, and the four taps of bicubic around the outermost of them.
        super().__init__(scale, 1 - math.floor((0.5 - 6) / scale - 0.5))
        self.extract = nn.Conv2d(1, 64, 9, padding=4)
        self.map = nn.Conv2d(64, 32, 1)
        self.rebuild = nn.Conv2d(32, 1, 5, padding=2)
        nn.init.zeros_(self.rebuild.weight)
        self.register_buffer("base", interpolation_kernels(scale, 5).float(), persistent=False)

    def enlarge_luma(self, y: Tensor) -> Tensor:
        y = filtered(y, self.base, self.scale)
        return y + self.rebuild(F.relu(self.map(F.relu(self.extract(y)))))

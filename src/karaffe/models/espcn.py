"""ESPCN, which introduced the sub-pixel convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.models.luma import LumaNetwork


class ESPCN(LumaNetwork):
    """5-3-3: convolutions at source resolution, then one that has a channel for every sub-pixel.

    W. Shi et al., *Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
    network*, CVPR 2016, section 3; widths 64 and 32, hyperbolic tangent.

    Args:
        scale: the factor.
    """

    def __init__(self, scale: int) -> None:
        super().__init__(scale, 4)
        self.first = nn.Conv2d(1, 64, 5, padding=2)
        self.second = nn.Conv2d(64, 32, 3, padding=1)
        self.last = nn.Conv2d(32, scale**2, 3, padding=1)

    def enlarge_luma(self, y: Tensor) -> Tensor:
        x = torch.tanh(self.second(torch.tanh(self.first(y))))
        return F.pixel_shuffle(self.last(x), self.scale)

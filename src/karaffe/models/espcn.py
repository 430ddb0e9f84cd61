"""ESPCN, which introduced the sub-pixel convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.models.kernels import interpolation_kernels
from karaffe.models.luma import LumaNetwork
from karaffe.models.start import copy_first_channel

# The image goes through the hyperbolic tangents around their middle at this slope, bent by 0.02 at black and white. A
# smaller slope bends less, but its inverse in the last layer multiplies what a step of a training changes before it.
SLOPE, GREY = 0.5, 0.5


class ESPCN(LumaNetwork):
    """5-3-3: convolutions at source resolution, then one that has a channel for every sub-pixel.

    W. Shi et al., *Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
    network*, CVPR 2016, section 3; widths 64 and 32, hyperbolic tangent. It starts near bilinear interpolation
    (:mod:`karaffe.models.start`), where the paper's starts at random.

    Args:
        scale: the factor.
    """

    def __init__(self, scale: int) -> None:
        super().__init__(scale, 4)
        self.first = nn.Conv2d(1, 64, 5, padding=2)
        self.second = nn.Conv2d(64, 32, 3, padding=1)
        self.last = nn.Conv2d(32, scale**2, 3, padding=1)
        self._start_near_bilinear()

    @torch.no_grad()
    def _start_near_bilinear(self) -> None:
        # Free of the mean, and steep enough that edges reach where the tangent bends: else all is linear for long.
        nn.init.normal_(self.first.weight)
        self.first.weight -= self.first.weight.mean((2, 3), keepdim=True)
        copy_first_channel(self.first, SLOPE)
        self.first.get_parameter("bias")[0] = -SLOPE * GREY
        copy_first_channel(self.second)
        nn.init.normal_(self.last.weight, std=0.001)
        nn.init.constant_(self.last.get_parameter("bias"), GREY)
        kernels = interpolation_kernels(self.scale, 3, "triangle")
        self.last.weight[:, 0] = kernels.unflatten(1, (3, 3)) / SLOPE

    def enlarge_luma(self, y: Tensor) -> Tensor:
        x = torch.tanh(self.second(torch.tanh(self.first(y))))
        return F.pixel_shuffle(self.last(x), self.scale)

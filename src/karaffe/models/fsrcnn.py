"""FSRCNN: a narrow trunk at source resolution and one transposed convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from karaffe.errors import ArgumentError
from karaffe.models.luma import LumaNetwork
from karaffe.models.start import copy_first_channel, transposed_bicubic


class FSRCNN(LumaNetwork):
    """FSRCNN(d, s, m): extract, shrink, map m times, expand, deconvolve.

    C. Dong, C. C. Loy, X. Tang, *Accelerating the super-resolution convolutional neural network*, ECCV 2016, section
    3. The transposed convolution of 9x9 with stride ``scale`` is executed at source resolution: x4 takes 0.72 G
    multiply-adds for 1280x720, not the 4.6 G that the paper counts on the target grid. It starts at bicubic
    interpolation (:mod:`karaffe.models.start`), where the paper's starts at random.

    Args:
        scale: the factor.
        d, s, m: width, width of the mapping, number of mapping layers; the paper's best are 56, 12, 4.

    Raises:
        ArgumentError: a width below 1, or m below 0.
    """

    def __init__(self, scale: int, *, d: int = 56, s: int = 12, m: int = 4) -> None:
        if min(d, s) < 1 or m < 0:
            raise ArgumentError(f"d and s must be at least 1 and m at least 0; got {d=}, {s=}, {m=}")
        # The deconvolution's nine taps reach four target pixels: at most that many source pixels, fewer by the stride.
        super().__init__(scale, 2 + m + (4 + scale - 1) // scale)
        layers: list[nn.Module] = [nn.Conv2d(1, d, 5, padding=2), nn.PReLU(d), nn.Conv2d(d, s, 1), nn.PReLU(s)]
        for _ in range(m):
            layers += [nn.Conv2d(s, s, 3, padding=1), nn.PReLU(s)]
        layers += [nn.Conv2d(s, d, 1), nn.PReLU(d)]
        self.trunk = nn.Sequential(*layers)
        self.deconvolution = nn.ConvTranspose2d(d, 1, 9, stride=scale, padding=4, output_padding=scale - 1)
        for layer in self.trunk:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=0.25)
        nn.init.normal_(self.deconvolution.weight, std=0.001)
        self._start_at_bicubic()

    @torch.no_grad()
    def _start_at_bicubic(self) -> None:
        for layer in self.trunk:
            if isinstance(layer, nn.Conv2d):
                copy_first_channel(layer)
        taps = transposed_bicubic(self.scale, self.deconvolution.kernel_size[0])
        self.deconvolution.weight[0, 0] = torch.outer(taps, taps)
        nn.init.zeros_(self.deconvolution.get_parameter("bias"))

    def enlarge_luma(self, y: Tensor) -> Tensor:
        return self.deconvolution(self.trunk(y))

"""A small SRResNet whose upsampling is a parameter: the same network with each of the family's methods."""

from __future__ import annotations

from torch import Tensor, nn

from karaffe.errors import ArgumentError
from karaffe.models.kernels import filtered, interpolation_kernels
from karaffe.models.luma import LumaNetwork
from karaffe.upsamplers import create_upsampler


class SRResNetSmall(LumaNetwork):
    """Residual blocks at source resolution, one upsampling of features, one convolution; added to bicubic.

    After C. Ledig et al., *Photo-realistic single image super-resolution using a generative adversarial network*, CVPR
    2017, section 2.1, without batch normalisation; 32 channels and four blocks instead of 64 and sixteen.

    Args:
        scale: the factor.
        upsampler: a name of :func:`karaffe.list_upsamplers` that needs no guide.
        channels: width.
        blocks: residual blocks of two 3x3 convolutions.

    Raises:
        UnknownNameError: no upsampler of that name.
        ArgumentError: an upsampler that needs a guide, or an option out of range.
    """

    base: Tensor

    def __init__(self, scale: int, *, upsampler: str = "pixel-shuffle", channels: int = 32, blocks: int = 4) -> None:
        if channels < 1 or blocks < 0:
            raise ArgumentError(f"channels must be at least 1 and blocks at least 0; got {channels=}, {blocks=}")
        super().__init__(scale, 2 * blocks + 8)
        self.first = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.PReLU(channels))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.PReLU(channels),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.merge = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsampling = create_upsampler(upsampler, channels, scale)
        if self.upsampling.needs_guide:
            raise ArgumentError(f"upsampler must be one that needs no guide; got {upsampler!r}")
        self.last = nn.Conv2d(channels, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        self.register_buffer("base", interpolation_kernels(scale, 5).float(), persistent=False)

    def enlarge_luma(self, y: Tensor) -> Tensor:
        x = first = self.first(y)
        for block in self.blocks:
            x = x + block(x)
        return filtered(y, self.base, self.scale) + self.last(self.upsampling(first + self.merge(x)))

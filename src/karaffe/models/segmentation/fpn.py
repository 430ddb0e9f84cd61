"""A light residual encoder with a head in the form of a feature pyramid; five upsampling steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from karaffe.models.segmentation.base import REACH, Segmenter, block, make_upsampler, upsample, widths

STAGES = (32, 64, 128, 256)
PYRAMID = 64


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., CVPR 2016, figure 5, left)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        second = nn.Sequential(nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))
        self.convolve = nn.Sequential(block(channels, out, stride), second)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.activate = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.convolve(x) + self.shortcut(x))


class LightFPN(Segmenter):
    """A small residual network down to stride 32; a top-down path adds each enlarged map to the one it meets.

    Feature pyramid: Lin et al., CVPR 2017, section 3. The path goes on through strides 2 and 1, where it meets the
    first convolution's map and the image, with fewer channels.

    Args:
        classes: how many.
        upsampler: a name that :func:`karaffe.list_upsamplers` gives.
        width: factor on all numbers of channels.
        options: of the upsampler.

    Raises:
        UnknownNameError, ArgumentError: an upsampler, option or value that there is not.
    """

    def __init__(
        self, classes: int, upsampler: str = "carafe", *, width: float = 1.0, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(classes, 32, _halo())
        channels = widths(STAGES, width)
        pyramid, half, quarter = widths((PYRAMID, PYRAMID // 2, PYRAMID // 4), width)
        self.stem = block(3, channels[0], 2)
        before = (channels[0], *channels[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(Residual(a, b, 2), Residual(b, b, 1)) for a, b in zip(before, channels, strict=True)
        )
        seen, path = (3, channels[0], *channels), (quarter, half, pyramid, pyramid, pyramid, pyramid)
        self.laterals = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(seen, path, strict=True))
        self.ups = nn.ModuleList(make_upsampler(upsampler, c, options or {}) for c in path[:-1])
        self.narrow = nn.ModuleList([block(half, quarter), block(pyramid, half)])
        self.smooth = block(quarter, quarter)
        self.classify = nn.Conv2d(quarter, classes, 1)

    def logits(self, x: Tensor) -> Tensor:
        maps = [x, self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        met = [lateral(m) for lateral, m in zip(self.laterals, maps, strict=True)]
        y = met[-1]
        for level in reversed(range(len(self.ups))):
            if level < len(self.narrow):
                y = self.narrow[level](y)
            y = upsample(self.ups[level], y, met[level]) + met[level]
        return self.classify(self.smooth(y))


def _halo() -> int:
    down = 1 + sum(4 * 2**stage for stage in range(1, 6))
    up = sum((REACH + 1) * 2 ** (level + 1) for level in range(5)) + 1
    return -(-(down + up) // 32) * 32

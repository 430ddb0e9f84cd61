"""A decoder in the form of SegNet and U-Net on a VGG-16 encoder; five upsampling steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from karaffe.models.segmentation.base import REACH, Segmenter, block, make_upsampler, upsample
from karaffe.models.segmentation.vgg import STAGES, VGG16


class Step(nn.Module):
    """Enlarge a map to twice its size, join it with the encoder's, and convolve twice."""

    def __init__(self, upsampler: str, channels: int, out: int, skip: bool, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.skip = skip
        self.up = make_upsampler(upsampler, channels, options)
        self.convolve = nn.Sequential(block(channels * (1 + skip), out), block(out, out))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        y = upsample(self.up, x, skip)
        return self.convolve(torch.cat([y, skip], 1) if self.skip else y)


class VGGUNet(Segmenter):
    """VGG-16 down to stride 32 and five steps up, each joined with the encoder's map of that size.

    With ``skip=False`` nothing but the upsampler sees the encoder's maps: with ``upsampler="max-unpool"`` that is
    SegNet (Badrinarayanan et al., TPAMI 2017, section 3) with two convolutions a step; with skips it is a U-Net
    (Ronneberger et al., MICCAI 2015) on VGG-16.

    Args:
        classes: how many.
        upsampler: a name that :func:`karaffe.list_upsamplers` gives.
        width: factor on all numbers of channels.
        skip: join the encoder's maps.
        batch_norm: in the encoder.
        options: of the upsampler.

    Raises:
        UnknownNameError, ArgumentError: an upsampler, option or value that there is not.
    """

    def __init__(
        self,
        classes: int,
        upsampler: str = "carafe",
        *,
        width: float = 1.0,
        skip: bool = True,
        batch_norm: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(classes, 32, _halo())
        self.encoder = VGG16(width, batch_norm=batch_norm)
        channels = self.encoder.channels
        outs = (channels[0], *channels[:-1])
        steps = [Step(upsampler, c, out, skip, options or {}) for c, out in zip(channels, outs, strict=True)]
        self.steps = nn.ModuleList(steps)
        self.classify = nn.Conv2d(channels[0], classes, 1)

    def logits(self, x: Tensor) -> Tensor:
        maps, x = self.encoder(x)
        for step, skip in zip(reversed(self.steps), reversed(maps), strict=True):
            x = step(x, skip)
        return self.classify(x)


def _halo() -> int:
    down = sum((depth + 1) * 2**stage for stage, (_, depth) in enumerate(STAGES))
    up = sum(REACH * 2 ** (stage + 1) + 2 * 2**stage for stage in range(len(STAGES)))
    return -(-(down + up) // 32) * 32

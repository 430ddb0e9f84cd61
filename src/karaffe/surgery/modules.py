"""What stands at a replaced site: an upsampler, and how it takes over from the original call.

All are called ``module(original, guide, *args, **kwargs)``, where ``original(*args, **kwargs)`` is the call that the
network's author wrote.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from karaffe.surgery.keep import AnchoredCARAFE
from karaffe.surgery.operations import read_resize
from karaffe.upsamplers.base import CONVOLUTIONS

Original = Callable[..., Tensor]


class SiteModule(nn.Module, ABC):
    """An upsampler in the place of a call."""

    def __init__(self, upsampler: nn.Module) -> None:
        super().__init__()
        self.upsampler = upsampler

    @abstractmethod
    def forward(self, original: Original, guide: Tensor | None, /, *args: Any, **kwargs: Any) -> Tensor:
        """Give what ``original(*args, **kwargs)`` is replaced by."""


class Anchored(SiteModule):
    """An interpolation, exactly, until the kernels are trained."""

    upsampler: AnchoredCARAFE

    def forward(self, original: Original, guide: Tensor | None, /, *args: Any, **kwargs: Any) -> Tensor:
        asked = read_resize(original, args, kwargs)
        return self.upsampler.interpolate(asked.input, asked.target, asked.mode, asked.align_corners, asked.steps)


class Resized(SiteModule):
    """The upsampler alone, at the size that the interpolation would have."""

    def forward(self, original: Original, guide: Tensor | None, /, *args: Any, **kwargs: Any) -> Tensor:
        asked = read_resize(original, args, kwargs)
        return self.upsampler(asked.input, guide, size=asked.target)


class Gated(SiteModule):
    r"""The interpolation and the upsampler, mixed by a learned weight a channel that starts at zero.

    .. math:: y = o + g \cdot (u - o)
    """

    def __init__(self, upsampler: nn.Module, channels: int, dims: int) -> None:
        super().__init__(upsampler)
        self.gain = nn.Parameter(torch.zeros(channels, *[1] * dims))

    def forward(self, original: Original, guide: Tensor | None, /, *args: Any, **kwargs: Any) -> Tensor:
        kept = original(*args, **kwargs)
        source = args[0] if args else kwargs["input"]
        return kept + self.gain * (self.upsampler(source, guide, size=kept.shape[2:]) - kept)


class Beside(SiteModule):
    r"""The original, and the upsampler through a projection that starts at zero.

    .. math:: y = o(x) + W u(x)
    """

    def __init__(self, upsampler: nn.Module, channels: int, out_channels: int, dims: int) -> None:
        super().__init__(upsampler)
        self.projection = CONVOLUTIONS[dims - 1](channels, out_channels, 1, bias=False)
        nn.init.zeros_(self.projection.weight)

    def forward(self, original: Original, guide: Tensor | None, /, *args: Any, **kwargs: Any) -> Tensor:
        kept = original(*args, **kwargs)
        source = args[0] if args else kwargs["input"]
        added: Tensor = self.projection(self.upsampler(source, guide, size=kept.shape[2:]))
        return kept + added


class Projected(SiteModule):
    """The upsampler, then a 1x1 convolution to the channels that the original gave; the original does not run."""

    def __init__(self, upsampler: nn.Module, channels: int, out_channels: int, factors: tuple[float, ...]) -> None:
        super().__init__(upsampler)
        self.factors = factors
        self.projection = CONVOLUTIONS[len(factors) - 1](channels, out_channels, 1)

    def forward(self, original: Original, guide: Tensor | None, /, *args: Any, **kwargs: Any) -> Tensor:
        source: Tensor = args[0] if args else kwargs["input"]
        targets = [int(n * f) for n, f in zip(source.shape[2:], self.factors, strict=True)]
        result: Tensor = self.projection(self.upsampler(source, guide, size=targets))
        return result

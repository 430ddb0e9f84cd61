"""What every segmentation network is: images of any size in, one logit a class and pixel out.

An image is padded on the right and below to a multiple of the network's stride, so that every map is exactly twice
as large as the next and every upsampler can be used; what was padded is cut off the logits.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError, DtypeError, ShapeError
from karaffe.upsamplers import MaxUnpool, Upsampler, describe_upsampler
from karaffe.upsamplers.base import positive

# Of ImageNet, which torchvision's weights expect.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Source pixels that an upsampler may look at on every side of the one below a target (CARAFE: 2).
REACH = 3


class Segmenter(nn.Module, ABC):
    """Label every pixel of an image.

    Args:
        classes: how many, at least 2.
        stride: of the coarsest map, a power of two.
        halo: pixels of context that a tile needs on every side, a multiple of the stride.

    Attributes:
        classes, stride, halo: as given.
    """

    def __init__(self, classes: int, stride: int, halo: int) -> None:
        super().__init__()
        if positive(classes, "classes") < 2:
            raise ArgumentError(f"classes must be at least 2; got {classes=}")
        self.mean: Tensor
        self.deviation: Tensor
        self.classes, self.stride, self.halo = classes, stride, halo
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits.

        Args:
            x: ``(N, 3, H, W)`` or, for grey images, ``(N, 1, H, W)``; floating point, values in [0, 1].

        Returns:
            ``(N, classes, H, W)``.

        Raises:
            ShapeError: another rank or number of channels, or an empty axis.
            DtypeError: ``x`` is not floating point.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3) or 0 in x.shape[1:]:
            raise ShapeError(f"x must be (N, 3, H, W) or (N, 1, H, W), H and W at least 1; got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise DtypeError(f"x must be floating point with values in [0, 1]; got {x.dtype}")
        height, width = x.shape[2:]
        below, right = (-n % self.stride for n in (height, width))
        x = (x - self.mean) / self.deviation
        if below or right:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        return self.logits(x)[:, :, :height, :width]

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images whose sides are multiples of the stride."""

    def extra_repr(self) -> str:
        return f"classes={self.classes}, stride={self.stride}, halo={self.halo}"


def make_upsampler(name: str, channels: int, options: Mapping[str, Any]) -> Upsampler:
    """Make a x2 upsampler whose guide, if it takes one, has as many channels as its input.

    Methods that compress the features do so to a quarter of the channels, 16 to 64, as published for 256 channels:
    in a narrow network 64 would make the upsampler dearer than everything around it. A group normalisation that needs
    channels that 32 divides, SAPA's, is a layer normalisation for others; A2U's takes fewer groups, and LDA-AQU
    reduces less where little is left. ``options`` overrule all of it; one that the method does not have is an error.

    Raises:
        UnknownNameError: no upsampler or option of that name.
        ArgumentError: the method does not enlarge, or an option is out of range.
    """
    info = describe_upsampler(name)
    compressed = min(64, channels, max(16, channels // 4))
    fitting: dict[str, Any] = {
        "guide_channels": channels,
        "compressed_channels": compressed,
        "embedding_dim": compressed,
        **info.fitting_norm(channels),
    }
    fitting["norm_groups"] = math.gcd(32, channels)
    fitting["reduction"] = math.gcd(4, max(1, channels // 2))
    known = {key: value for key, value in fitting.items() if key in info.options}
    made = info.create(channels, 2, **(known | dict(options)))
    if made.target_sizes((4, 4), None) != (8, 8):
        raise ArgumentError(f"upsampler {name!r} does not enlarge; choose one that does")
    return made


def upsample(module: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
    """Enlarge ``x`` to twice its size, guided by the encoder's map ``skip`` of that size and as many channels.

    For max-unpooling the guide is where pooling ``skip`` finds its maxima, which are SegNet's indices.
    """
    guide = F.max_pool2d(skip, 2, return_indices=True)[1] if isinstance(module, MaxUnpool) else skip
    enlarged: Tensor = module(x, guide, size=tuple(skip.shape[2:]))
    return enlarged


def block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, batch normalisation and ReLU."""
    convolution = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def widths(base: tuple[int, ...], width: float) -> tuple[int, ...]:
    """Return ``base`` times ``width``, in whole multiples of 4.

    Raises:
        ArgumentError: ``width`` is not a number in (0, 4].
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= 4:
        raise ArgumentError(f"width must be a number above 0 and at most 4; got {width!r}")
    return tuple(max(4, round(n * width / 4) * 4) for n in base)

"""A stack of 3x3 convolutions at source resolution, and the ways in which it can make target pixels.

The trunk is that of ECBSR and SESR, whose layers are trained in another parametrisation
(:mod:`karaffe.training.expansion`) and are plain convolutions afterwards. What differs is the head: sub-pixels drawn
by a convolution, as published; or kernels that reassemble the image itself.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError, unknown_name
from karaffe.models.kernels import convolve, filtered, interpolation_kernels, reassemble_subpixels
from karaffe.models.luma import LumaNetwork

Head = Literal["sub-pixel", "kernels", "filters"]
Normalizer = Literal["zero-sum", "sum-to-one", "softmax", "none"]
# Edge of the window in which bicubic fits, whatever the factor.
BICUBIC = 5


class Stack(LumaNetwork):
    """The luma enlarged by ``depth`` + 1 convolutions and a head.

    X. Zhang, H. Zeng, L. Zhang, *Edge-oriented convolution block for real-time super resolution on mobile devices*
    (ECBSR), ACM MM 2021, with ``head="sub-pixel"``: M4C16 is ``depth=4, channels=16``.

    Args:
        scale: the factor.
        channels, depth: width, and number of 3x3 convolutions after the first.
        head: ``"sub-pixel"``: a 3x3 convolution with a channel a sub-pixel, added to the source pixel;
            :class:`KernelHead`: a kernel for every target pixel; :class:`FilterHead`: coefficients of learned filters.
        kernel_size, filters, normalizer: of these heads.
        residual: add sub-pixels of a 1x1 convolution to what a head of kernels gives.

    Raises:
        UnknownNameError: a head or normaliser that there is not.
        ArgumentError: a number out of range, or a residual without a head of kernels.
    """

    def __init__(
        self,
        scale: int,
        *,
        channels: int = 16,
        depth: int = 4,
        head: Head = "sub-pixel",
        kernel_size: int = 5,
        filters: int = 6,
        normalizer: Normalizer = "zero-sum",
        residual: bool = False,
    ) -> None:
        if head not in get_args(Head):
            raise unknown_name("head", head, get_args(Head))
        if channels < 1 or depth < 0 or filters < 1:
            raise ArgumentError(
                f"channels and filters must be at least 1, depth at least 0; got {channels=}, {filters=}, {depth=}"
            )
        if head == "sub-pixel" and residual:
            raise ArgumentError("residual adds sub-pixels to a head of kernels; head='sub-pixel' has nothing else")
        reach = 1 + depth + (head == "sub-pixel")
        super().__init__(scale, max(reach, max(kernel_size, BICUBIC) // 2 if head != "sub-pixel" else 0))
        self.trunk = nn.Sequential()
        for width in (1, *[channels] * depth):
            self.trunk.append(nn.Conv2d(width, channels, 3, padding=1))
            self.trunk.append(nn.PReLU(channels))
        self.sub_pixels: nn.Conv2d | None = None
        if head == "sub-pixel":
            self.sub_pixels = nn.Conv2d(channels, scale**2, 3, padding=1)
        elif residual:
            self.sub_pixels = nn.Conv2d(channels, scale**2, 1)
        self.head: KernelHead | FilterHead | None = None
        if head == "kernels":
            self.head = KernelHead(scale, channels, kernel_size, normalizer)
        elif head == "filters":
            self.head = FilterHead(scale, channels, kernel_size, filters, normalizer)
        if self.sub_pixels is not None:
            nn.init.normal_(self.sub_pixels.weight, std=0.01 if head == "sub-pixel" else 0)
            nn.init.zeros_(self.sub_pixels.get_parameter("bias"))

    def enlarge_luma(self, y: Tensor) -> Tensor:
        x = self.trunk(y)
        if self.head is None:
            assert self.sub_pixels is not None
            return F.pixel_shuffle(self.sub_pixels(x) + y, self.scale)
        enlarged = self.head(x, y)
        return enlarged if self.sub_pixels is None else enlarged + F.pixel_shuffle(self.sub_pixels(x), self.scale)


class KernelHead(nn.Module):
    r"""A kernel for every target pixel: ``A_p = B_p + normalise(W x + b)_p``, applied to the image.

    ``normalizer``: ``"zero-sum"`` and ``"none"`` add to the bicubic kernels ``B``; ``"sum-to-one"`` divides
    ``B + W x + b`` by its sum; ``"softmax"`` is convex and starts at bilinear.

    Raises:
        UnknownNameError: a normaliser that there is not.
        ArgumentError: ``kernel_size`` even, below 3, or below 5 where bicubic must fit.
    """

    base: Tensor

    def __init__(self, scale: int, channels: int, kernel_size: int, normalizer: Normalizer) -> None:
        super().__init__()
        _check(kernel_size, normalizer, minimum=5 if normalizer == "sum-to-one" else 3)
        self.scale, self.kernel_size, self.normalizer = scale, kernel_size, normalizer
        self.linear = nn.Conv2d(channels, scale**2 * kernel_size**2, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.get_parameter("bias"))
        base = interpolation_kernels(scale, max(kernel_size, BICUBIC))
        if normalizer == "softmax":
            base = interpolation_kernels(scale, kernel_size, "triangle").clamp_min(1e-3).log()
        self.register_buffer("base", base.float(), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        weight = self.linear.weight.unflatten(0, (self.scale**2, -1))
        bias = self.linear.get_parameter("bias").unflatten(0, (self.scale**2, -1))
        if self.normalizer == "zero-sum":
            weight, bias = weight - weight.mean(1, keepdim=True), bias - bias.mean(1, keepdim=True)
        fits = self.base.shape[1] == self.kernel_size**2
        taps = F.conv2d(x, weight.flatten(0, 1), (bias + self.base if fits else bias).flatten())
        if self.normalizer == "softmax":
            taps = taps.unflatten(1, self.base.shape).softmax(2).flatten(1, 2)
        elif self.normalizer == "sum-to-one":
            # The sum starts at one; a floor keeps the division from exploding on the way.
            taps = taps.unflatten(1, self.base.shape)
            taps = (taps / taps.sum(2, keepdim=True).clamp_min(0.25)).flatten(1, 2)
        enlarged = reassemble_subpixels(y, taps, self.scale, self.kernel_size)
        return enlarged if fits else enlarged + filtered(y, self.base, self.scale)


class FilterHead(nn.Module):
    r"""Kernels from a learned dictionary: ``A_p = B_p + \sum_m c_m(x) D_{m,p}``.

    The coefficients of a source pixel are shared by its sub-pixels, so the filters are applied to the image first and
    mixed afterwards. ``normalizer``: ``"zero-sum"`` holds for the filters, ``"softmax"`` for the coefficients;
    ``"sum-to-one"`` divides the kernels by their sums.

    Raises:
        UnknownNameError: a normaliser that there is not for coefficients of filters.
        ArgumentError: ``kernel_size`` even or below 3.
    """

    base: Tensor

    def __init__(self, scale: int, channels: int, kernel_size: int, filters: int, normalizer: Normalizer) -> None:
        super().__init__()
        _check(kernel_size, normalizer, minimum=3)
        self.scale, self.kernel_size, self.normalizer = scale, kernel_size, normalizer
        self.linear = nn.Conv2d(channels, filters, 1)
        self.dictionary = nn.Parameter(torch.randn(filters, scale**2, kernel_size**2) / kernel_size**2)
        nn.init.normal_(self.linear.weight, std=0.1)
        self.register_buffer("base", interpolation_kernels(scale, BICUBIC).float(), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        dictionary: Tensor = self.dictionary
        if self.normalizer in ("zero-sum", "softmax"):
            dictionary = dictionary - dictionary.mean(2, keepdim=True)
        coefficients = self.linear(x)
        if self.normalizer == "softmax":
            coefficients = coefficients.softmax(1)
        maps = convolve(y, dictionary.flatten(0, 1), self.kernel_size).unflatten(1, dictionary.shape[:2])
        enlarged = convolve(y, self.base, BICUBIC) + (coefficients[:, :, None] * maps).sum(1)
        if self.normalizer == "sum-to-one":
            sums = 1 + torch.einsum("nrhw,rs->nshw", coefficients, dictionary.sum(2))
            enlarged = enlarged / sums.clamp_min(0.25)
        return F.pixel_shuffle(enlarged, self.scale)


def _check(kernel_size: int, normalizer: str, *, minimum: int) -> None:
    if normalizer not in get_args(Normalizer):
        raise unknown_name("normalizer", normalizer, get_args(Normalizer))
    if kernel_size < minimum or kernel_size % 2 == 0:
        raise ArgumentError(f"kernel_size must be odd and at least {minimum} with {normalizer!r}; got {kernel_size!r}")

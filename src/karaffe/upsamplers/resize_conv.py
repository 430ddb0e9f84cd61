"""Resize-convolution: interpolate, then convolve at the target's resolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import CONVOLUTIONS, ScaleFactor, Upsampler, one_of
from karaffe.upsamplers.carafe import check_kernel
from karaffe.upsamplers.interpolation import LINEAR
from karaffe.upsamplers.registry import register


@register(
    "resize-conv",
    summary="interpolation, then a convolution at the target's resolution; no checkerboard",
    equation="Q = W * interpolate(x)",
    paper="Odena et al., Deconvolution and checkerboard artifacts, Distill 2016",
    learned=True,
    convex=False,
    unit_sum=False,
    shift_equivariant=True,
    inits=("paper", "bilinear", "nearest"),
)
class ResizeConv(Upsampler):
    r"""Interpolation followed by a convolution (Odena et al., Distill 2016).

    .. math:: Q = W * \mathrm{interpolate}(x) + b

    Every target sees the same number of source pixels, so that no checkerboard arises; the price is a convolution
    at the target's resolution.

    Args:
        channels: of the input and the output.
        scale_factor: a positive number, or one an axis.
        kernel_size: of the convolution, odd.
        mode: ``"nearest"`` or ``"bilinear"``; ``None``: as ``init`` says, nearest for ``"paper"``.
        init: ``"paper"``: torch's own start; ``"bilinear"``, ``"nearest"``: the convolution begins as the identity.
        padding_mode: of the convolution, ``"zeros"``, ``"replicate"``, ``"reflect"`` or ``"circular"``; ``None``:
            zeros.
        dims: number of spatial axes, 1 to 3.

    Raises:
        ArgumentError: an argument out of range, or ``init`` and ``mode`` name two interpolations.
    """

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        kernel_size: int = 3,
        *,
        mode: str | None = None,
        init: str = "paper",
        padding_mode: str | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims)
        self.init = one_of(init, ("paper", "bilinear", "nearest"), "init")
        default = "nearest" if init == "paper" else init
        self.mode = one_of(mode or default, ("nearest", "bilinear"), "mode")
        if init not in ("paper", self.mode):
            raise ArgumentError(f"init={init!r} needs mode={init!r}; got {mode=}")
        self.conv = CONVOLUTIONS[dims - 1](
            channels,
            channels,
            check_kernel(kernel_size, "kernel_size"),
            padding=kernel_size // 2,
            padding_mode=one_of(padding_mode or "zeros", ("zeros", "replicate", "reflect", "circular"), "padding_mode"),
        )
        if init != "paper":
            self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        if self.init == "paper":
            self.conv.reset_parameters()
        else:
            nn.init.dirac_(self.conv.weight)
            nn.init.zeros_(self.conv.bias)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        mode = self.mode if self.mode == "nearest" else LINEAR[len(targets) - 1]
        y: Tensor = self.conv(F.interpolate(x, list(targets), mode=mode))
        return y

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        return math.prod(targets) * self.conv.weight.numel()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}, init={self.init!r}"

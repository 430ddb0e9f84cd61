"""Sub-pixel convolution: a convolution at source resolution computes every target of a source pixel as a channel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.ops.normalize import shuffle
from karaffe.upsamplers.base import CONVOLUTIONS, ScaleFactor, Upsampler, crop, one_of, whole_factors
from karaffe.upsamplers.carafe import check_kernel
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.starts import phase_kernels

POOLS = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


@register(
    "pixel-shuffle",
    summary="a convolution computes the targets of a source pixel as channels (sub-pixel convolution)",
    equation="Q[c, s*y + r, s*x + q] = (W * x)[c*s*s + r*s + q, y, x]",
    paper="Shi et al., ESPCN, CVPR 2016, arXiv:1609.05158; start: Aitken et al., ICNR, arXiv:1707.02937",
    learned=True,
    convex=False,
    unit_sum=False,
    shift_equivariant=True,
    inits=("paper", "bilinear", "nearest"),
)
class PixelShuffle(Upsampler):
    r"""Sub-pixel convolution (Shi et al., CVPR 2016, equation 4).

    .. math:: Q[c, s y + r, s x + q] = (W * x + b)[c s^2 + r s + q, y, x]

    Any target with ``ceil(H' / s) = H`` is the bottom and right of the whole, cropped. Keys as mmcv's
    ``PixelShufflePack``: ``upsample_conv.{weight,bias}``.

    Args:
        channels: of the input and the output.
        scale_factor: whole, or one an axis.
        kernel_size: of the convolution, odd.
        blur: follow with a mean over ``s`` pixels an axis (Sugawara et al., 2018), which removes what is left of the
            checkerboard.
        init: ``"paper"``: ICNR, all sub-pixels of a channel start with one Kaiming-normal kernel, so that it begins
            without a checkerboard; ``"bilinear"``, ``"nearest"``: as the interpolation.
        padding_mode: of the convolution, ``"zeros"``, ``"replicate"``, ``"reflect"`` or ``"circular"``; ``None``:
            zeros for ``init="paper"``, else replicate.
        dims: number of spatial axes, 1 to 3.

    Raises:
        ArgumentError: an argument out of range; ``blur`` with a start from interpolation, which it would undo.
    """

    sizes = "crop"

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        kernel_size: int = 3,
        *,
        blur: bool = False,
        init: str = "paper",
        padding_mode: str | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims)
        self.sub_pixels = whole_factors(scale_factor, dims)
        self.init = one_of(init, ("paper", "bilinear", "nearest"), "init")
        self.blur = blur
        if blur and init != "paper":
            raise ArgumentError(f"blur=True would undo init={init!r}; use init='paper'")
        padding_mode = padding_mode or ("zeros" if init == "paper" else "replicate")
        self.upsample_conv = CONVOLUTIONS[dims - 1](
            channels,
            channels * math.prod(self.sub_pixels),
            check_kernel(kernel_size, "kernel_size"),
            padding=kernel_size // 2,
            padding_mode=one_of(padding_mode, ("zeros", "replicate", "reflect", "circular"), "padding_mode"),
        )
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        weight, sub_pixels = self.upsample_conv.weight, math.prod(self.sub_pixels)
        nn.init.zeros_(self.upsample_conv.bias)
        if self.init == "paper":
            one = nn.init.kaiming_normal_(torch.empty_like(weight[::sub_pixels]))
            weight.copy_(one.repeat_interleave(sub_pixels, 0))
            return
        taps = weight.shape[2:]
        kernels = phase_kernels(self.init, self.sub_pixels, taps).T.unflatten(1, taps)
        weight.zero_()
        for c in range(weight.shape[1]):
            weight[c * sub_pixels : (c + 1) * sub_pixels, c] = kernels.to(weight)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        y = shuffle(self.upsample_conv(x), self.sub_pixels)
        if self.blur:
            y = F.pad(y, [m for s in reversed(self.sub_pixels) for m in (s - 1, 0)], mode="replicate")
            y = POOLS[len(targets) - 1](y, self.sub_pixels, 1)
        return crop(y, targets)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        return math.prod(sizes) * self.upsample_conv.weight.numel()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, init={self.init!r}, blur={self.blur}"

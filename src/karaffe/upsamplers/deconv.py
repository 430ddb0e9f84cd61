"""Transposed convolution: every source pixel stamps a learned kernel onto the target."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import ScaleFactor, Upsampler, crop, one_of, positive, whole_factors
from karaffe.upsamplers.carafe import check_groups
from karaffe.upsamplers.registry import register

TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@register(
    "deconv",
    summary="every source pixel stamps a learned kernel onto the target (transposed convolution)",
    equation="y[i, j] = sum_{m, n} x[m, n] * k[i - s*m + p, j - s*n + p]",
    paper="Zeiler et al., Deconvolutional networks, CVPR 2010; Long et al., FCN, CVPR 2015 (bilinear start)",
    learned=True,
    convex=False,
    unit_sum=False,
    shift_equivariant=True,
    inits=("paper", "bilinear", "nearest"),
)
class Deconv(Upsampler):
    r"""Transposed convolution with ``s * H`` targets.

    .. math:: y[c', i, j] = b[c'] + \sum_{c, m, n} x[c, m, n] \cdot k[c, c', i - s m + p, j - s n + p]

    The weight is that of ``nn.ConvTranspose2d`` (``weight``, ``bias``), whose state_dict loads. Any target with
    ``ceil(H' / s) = H`` is the bottom and right of the whole, cropped.

    Args:
        channels: of the input and the output.
        scale_factor: whole, or one an axis.
        kernel_size: taps an axis, at least ``scale_factor``; ``None``: twice the factor, which overlaps evenly.
        groups: channel groups of the convolution.
        bias: add a bias.
        init: ``"paper"``: torch's own start; ``"bilinear"``, ``"nearest"``: the interpolation, channel by channel.
        padding_mode: what source pixels outside hold: ``"zeros"`` or ``"replicate"``; ``None``: zeros for
            ``init="paper"``, else replicate, which the interpolation needs at the border.
        dims: number of spatial axes, 1 to 3.

    Raises:
        ArgumentError: an argument out of range, or a kernel too small for its ``init``.

    Warns:
        UserWarning: the factor does not divide the kernel, so that targets get unequal numbers of taps: a
            checkerboard (Odena et al., Distill 2016).
    """

    sizes = "crop"

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        kernel_size: int | Sequence[int] | None = None,
        groups: int = 1,
        bias: bool = True,
        *,
        init: str = "paper",
        padding_mode: str | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims)
        self.stride = whole_factors(scale_factor, dims)
        self.kernel_size = self._kernel(kernel_size, dims)
        self.groups = positive(groups, "groups")
        check_groups(channels, groups, "groups")
        self.init = one_of(init, ("paper", "bilinear", "nearest"), "init")
        default = "zeros" if init == "paper" else "replicate"
        self.padding_mode = one_of(padding_mode or default, ("zeros", "replicate"), "padding_mode")
        self.padding = tuple((k - s + 1) // 2 for k, s in zip(self.kernel_size, self.stride, strict=True))
        self.weight = nn.Parameter(torch.empty(channels, channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None
        self.reset_parameters()

    def _kernel(self, kernel_size: int | Sequence[int] | None, dims: int) -> tuple[int, ...]:
        if kernel_size is None:
            return tuple(2 * s if s > 1 else 1 for s in self.stride)
        sizes = (kernel_size,) * dims if isinstance(kernel_size, int) else tuple(kernel_size)
        if len(sizes) != dims or any(k < s for k, s in zip(sizes, self.stride, strict=True)):
            raise ArgumentError(
                f"kernel_size must be at least scale_factor={self.stride} on each axis, or targets are left empty; "
                f"got {kernel_size=}"
            )
        if any(k % s for k, s in zip(sizes, self.stride, strict=True)):
            warnings.warn(
                f"kernel_size={sizes} is not a multiple of scale_factor={self.stride}: targets get unequal numbers of "
                f"taps, which shows as a checkerboard; a multiple, or 'resize-conv', does not",
                stacklevel=4,
            )
        return sizes

    def reset_parameters(self) -> None:
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if self.init == "paper":
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
            if self.bias is not None:
                bound = 1 / math.sqrt(self.weight[0].numel())
                nn.init.uniform_(self.bias, -bound, bound)
            return
        stamp = torch.ones((), dtype=torch.float64)
        for k, s, p in zip(self.kernel_size, self.stride, self.padding, strict=True):
            stamp = stamp[..., None] * _stamp(self.init, k, s, p)
        with torch.no_grad():
            self.weight.zero_()
            for c in range(self.weight.shape[0]):
                self.weight[c, c % self.weight.shape[1]] = stamp

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        margin = [0] * len(self.stride)
        if self.padding_mode == "replicate":
            margin = [-(-k // s) for k, s in zip(self.kernel_size, self.stride, strict=True)]
            x = F.pad(x, [m for m in reversed(margin) for _ in range(2)], mode="replicate")
        trimmed = [p + m * s for p, m, s in zip(self.padding, margin, self.stride, strict=True)]
        whole = [2 * p - (k - s) for p, k, s in zip(self.padding, self.kernel_size, self.stride, strict=True)]
        transposed = TRANSPOSED[len(self.stride) - 1]
        y = transposed(
            x, self.weight, self.bias, stride=self.stride, padding=trimmed, output_padding=whole, groups=self.groups
        )
        return crop(y, targets)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        return math.prod(sizes) * self.weight.numel()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, kernel_size={self.kernel_size}, init={self.init!r}"


def _stamp(mode: str, kernel_size: int, factor: int, padding: int) -> Tensor:
    """What one source pixel adds to the targets around it under an interpolation; float64 ``(kernel_size,)``."""
    # Distance of each target's centre from that of the source pixel, in targets.
    distance = torch.arange(kernel_size, dtype=torch.float64, device="cpu") - padding - (factor - 1) / 2
    stamp = (1 - distance.abs() / factor).clamp(min=0)
    if mode == "nearest":
        stamp = (distance.abs() < factor / 2).double()
    if abs(stamp.sum().item() - factor) > 1e-9:
        raise ArgumentError(f"init={mode!r} with scale_factor {factor} does not fit a kernel of {kernel_size} taps")
    return stamp

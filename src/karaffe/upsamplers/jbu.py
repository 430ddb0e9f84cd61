"""Joint bilateral upsampling: an image's edges decide which source pixels a target mixes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from karaffe import ops
from karaffe.errors import ArgumentError
from karaffe.ops.geometry import inside, source_index
from karaffe.upsamplers.base import ScaleFactor, Size, Upsampler
from karaffe.upsamplers.carafe import check_kernel
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import wide

POOLS: tuple[Any, ...] = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)


def pooled(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The means of the blocks that ``sizes`` cuts ``x`` into, as adaptive average pooling cuts."""
    if tuple(x.shape[2:]) == sizes:
        return x
    if x.shape[0] == 0:
        return x.new_zeros(0, x.shape[1], *sizes)
    means: Tensor = POOLS[len(sizes) - 1](x, sizes)
    return means


@register(
    "jbu",
    summary="a source pixel counts by its distance and by how alike the guide is there (Gaussians, nothing learned)",
    equation="Q[p] = sum_t w_t x[src(p) + t] / sum_t w_t, "
    "w_t = exp(-d_t^2 / 2 s_d^2 - |g[p] - g_low[src(p) + t]|^2 / 2 s_r^2)",
    paper="Kopf et al., Joint bilateral upsampling, ACM Transactions on Graphics 26(3), 2007, section 3",
    learned=False,
    guide_is="an image at the target size",
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
)
class JBU(Upsampler):
    r"""Joint bilateral upsampling (Kopf et al., 2007, section 3).

    .. math::
        w_t[p] = \exp\Big(-\tfrac{|u(p) - src(p) - t|^2}{2 \sigma_d^2}
        - \tfrac{|g[p] - \bar g[src(p) + t]|^2}{2 \sigma_r^2}\Big), \qquad
        Q[c, p] = \frac{\sum_t w_t[p]\, x[c, src(p) + t]}{\sum_t w_t[p]}

    u(p) is the target's centre in source pixels and g the guide, reduced to the source's size by area means. Taps
    outside have no part. Any target size: that of the guide.

    Args:
        channels: ignored where ``None``, else checked.
        scale_factor: a positive number, or one an axis.
        up_kernel: taps an axis, odd.
        sigma_spatial: sigma_d, in source pixels.
        sigma_range: sigma_r, in the guide's units.
        guide_channels: of the guide; ``None``: as ``channels``.
        dims: number of spatial axes, 1 to 3; ``None``: any.

    Raises:
        ArgumentError: an argument out of range.
    """

    needs_guide = True

    def __init__(
        self,
        channels: int | None = None,
        scale_factor: ScaleFactor = 2,
        up_kernel: int = 5,
        sigma_spatial: float = 1.0,
        sigma_range: float = 0.2,
        *,
        guide_channels: int | None = None,
        dims: int | None = None,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims, guide_channels=guide_channels)
        self.up_kernel = check_kernel(up_kernel, "up_kernel")
        for value, name in ((sigma_spatial, "sigma_spatial"), (sigma_range, "sigma_range")):
            if not 0 < value < math.inf:
                raise ArgumentError(f"{name} must be a positive number; got {name}={value!r}")
        self.sigma_spatial, self.sigma_range = sigma_spatial, sigma_range

    def kernels(self, x: Tensor, guide: Tensor, *, size: Size | None = None) -> Tensor:
        """The kernels that a call would apply: ``(N, 1, taps, *targets)``, taps row-major.

        Arguments and errors as in a call.
        """
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        self.check_guide(x, guide, targets)
        return self._weights(x, guide, targets)[:, None].to(x.dtype)

    def _weights(self, x: Tensor, guide: Tensor, targets: tuple[int, ...]) -> Tensor:
        sizes, dims = tuple(x.shape[2:]), len(targets)
        guide = wide(guide)
        # Around the mean, so that the squares below are small beside their differences.
        guide = (guide - guide.flatten(2).mean(2).reshape(*guide.shape[:2], *[1] * dims)) / self.sigma_range
        low = pooled(guide, sizes)
        # -|g - l|^2 / 2 without |g|^2 / 2, which all taps of a target share and softmax drops.
        query = torch.cat([guide, torch.ones_like(guide[:, :1])], 1)
        key = torch.cat([low, -low.square().sum(1, keepdim=True) / 2], 1)
        with torch.autocast(x.device.type, enabled=False):
            similar = ops.correlate(key, query, self.up_kernel)
        logits = similar + self._spatial(sizes, targets, guide)
        window = (self.up_kernel,) * dims
        outside = ~inside(sizes, targets, window, (1,) * dims, "corner", x.device)
        return logits.masked_fill(outside, -math.inf).softmax(1)

    def _spatial(self, sizes: tuple[int, ...], targets: tuple[int, ...], like: Tensor) -> Tensor:
        """Logits of the distance, ``(taps, *targets)``."""
        total: Tensor = like.new_zeros(())
        dims, reach = len(sizes), self.up_kernel // 2
        for axis, (size, target) in enumerate(zip(sizes, targets, strict=True)):
            y = torch.arange(target, device=like.device)
            centre = source_index(size, target, "corner", like.device)
            off = ((2 * y + 1) * size - (2 * centre + 1) * target).to(like.dtype) / (2 * target)
            taps = torch.arange(-reach, reach + 1, device=like.device)
            shape = [1] * (2 * dims)
            shape[axis], shape[dims + axis] = self.up_kernel, target
            total = total - (off - taps[:, None]).square().reshape(shape) / (2 * self.sigma_spatial**2)
        return total.flatten(0, dims - 1)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("JBU needs a guide")
        return ops.reassemble(x, self._weights(x, guide, targets).to(x.dtype), self.up_kernel)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        channels, guided = self.channels or 0, self.guide_channels or 0
        return math.prod(targets) * self.up_kernel ** len(sizes) * (channels + guided + 1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, up_kernel={self.up_kernel}, sigma_range={self.sigma_range}"

"""A2U: kernels for both ways from second-order affinities of the encoder's map."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe import ops
from karaffe.errors import ArgumentError, ShapeError
from karaffe.upsamplers.base import ScaleFactor, Upsampler, one_of, positive, whole_factors
from karaffe.upsamplers.carafe import check_kernel
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import wide

LEAK = 0.01


class _Affinity(nn.Module):
    """The kernel generator: what both ways of a pair need. Sub-modules have the official names."""

    def add_networks(self, channels: int, up_kernel: int, encode_kernel: int, share: bool, norm_groups: int) -> None:
        self.up_kernel = check_kernel(up_kernel, "up_kernel")
        self.encode_kernel = positive(encode_kernel, "encode_kernel")
        if channels % positive(norm_groups, "norm_groups"):
            raise ArgumentError(f"norm_groups must divide the guide's {channels} channels; got {norm_groups=}")
        filters = 1 if share else channels
        self.bnu = nn.Sequential(nn.GroupNorm(norm_groups, channels))
        self.bnv = nn.Sequential(nn.GroupNorm(norm_groups, channels))
        for name in ("bconv_U", "bconv_V"):
            layers = nn.AdaptiveAvgPool2d(encode_kernel), nn.Conv2d(channels, filters, 1)
            self.add_module(name, nn.Sequential(*layers))

    def add_vector(self, name: str, channels: int) -> None:
        """The branch that gives a number a tap."""
        taps = (2 * self.up_kernel) ** 2
        self.add_module(name, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, taps, 1)))

    def reset_parameters(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.GroupNorm):
                layer.reset_parameters()

    def affinity(self, y: Tensor) -> Tensor:
        """``(N, 1, H / 2, W / 2)``: inner products of two filtered maps, by filters made from the map itself.

        Raises:
            ShapeError: sizes that are not even.
        """
        if y.dim() != 4 or y.shape[2] % 2 or y.shape[3] % 2:
            raise ShapeError(f"the encoder's map must be (N, C, H, W) with even H and W; got {tuple(y.shape)}")
        a = self._normalised(y, self.bconv_U(y), self.bnu)  # type: ignore[operator]
        b = self._normalised(y, self.bconv_V(y), self.bnv)  # type: ignore[operator]
        return ((a * b).sum(1, keepdim=True) * y.shape[1] ** -0.5).to(y.dtype)

    def _normalised(self, y: Tensor, filters: Tensor, norm: nn.Sequential) -> Tensor:
        """In float32 at least: before they are normalised, products of the map with itself are beyond float16."""
        group = cast(nn.GroupNorm, norm[0])
        with torch.autocast(y.device.type, enabled=False):
            filtered = self._filtered(wide(y), wide(filters))
            weight, bias = wide(group.weight), wide(group.bias)
            return F.leaky_relu(F.group_norm(filtered, group.num_groups, weight, bias, group.eps), LEAK)

    def _filtered(self, y: Tensor, filters: Tensor) -> Tensor:
        n, c, height, width = y.shape
        weight = filters.expand(-1, c, -1, -1).reshape(n * c, 1, *filters.shape[2:])
        padding = (self.encode_kernel - 1) // 2
        flat = F.conv2d(y.reshape(1, n * c, height, width), weight, stride=2, padding=padding, groups=n * c)
        return flat.reshape(n, c, *flat.shape[2:])


class A2UPool(_Affinity):
    """The downsampling of :meth:`A2U.make_pair`: ``(N, C, 2h, 2w)`` to ``(N, C, h, w)`` and the map's kernels up.

    .. math:: D[c, p] = \\sum_t \\mathrm{softmax}_t(v_t\\, a[p])\\, y[c, 2 p + t]

    with an even window of ``2 * up_kernel`` taps, from ``1 - up_kernel`` to ``up_kernel``.
    """

    def __init__(self, channels: int, up_kernel: int, encode_kernel: int, share: bool, norm_groups: int) -> None:
        super().__init__()
        self.add_networks(channels, up_kernel, encode_kernel, share, norm_groups)
        self.add_vector("bconv_UP", channels)
        self.add_vector("bconv_DP", channels)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The reduced map, and kernels ``(N, up_kernel**2, 2h, 2w)`` for the way up."""
        a = self.affinity(y)
        down = (self.bconv_DP(y) * a).softmax(1)  # type: ignore[operator]
        return ops.reassemble(y, down, 2 * self.up_kernel), kernels_of(self.bconv_UP(y) * a)  # type: ignore[operator]


def kernels_of(logits: Tensor) -> Tensor:
    """Logits of a block's taps as kernels; the sigmoid in front keeps them within a factor e of each other."""
    return F.pixel_shuffle(logits, 2).sigmoid().softmax(1)


class A2UUnpool(Upsampler):
    """The upsampling of :meth:`A2U.make_pair`: reassembly with the kernels that the pooling made, its guide."""

    sizes = "exact"
    needs_guide = True

    def __init__(self, channels: int, up_kernel: int) -> None:
        super().__init__(channels, 2, guide_channels=up_kernel**2)
        self.up_kernel = up_kernel

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        return ops.reassemble(x, guide, self.up_kernel)  # type: ignore[arg-type]

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        return math.prod(targets) * self.up_kernel**2 * (self.channels or 0)


@register(
    "a2u",
    summary="kernels from an affinity map of the guide, times a vector that says how a tap follows it",
    equation="Q[p] = sum_t softmax_t(sigmoid(shuffle(v a)))[t, p] * x[floor(p / 2) + t], "
    "a = <f(u * guide), f(w * guide)> / sqrt(C)",
    paper="Dai et al., Learning Affinity-Aware Upsampling for Deep Image Matting, CVPR 2021, arXiv:2011.14288",
    learned=True,
    guide_is="the map of the encoder before its pooling",
    convex=True,
    unit_sum=True,
    shift_equivariant=False,
    inits=("paper",),
    dims=(2,),
)
class A2U(_Affinity, Upsampler):
    r"""Affinity-aware upsampling (Dai et al., CVPR 2021, section 3).

    .. math::
        a = \tfrac{1}{\sqrt C} \sum_c f(u * y)_c\, f(w * y)_c, \quad
        A = \mathrm{softmax}_t\big(\sigma(\mathrm{shuffle}_2(v\, a))\big), \qquad
        Q[c, p] = \sum_t A[t, p]\, x[c, \lfloor p / 2 \rfloor + t]

    u and w are k x k filters that a 1x1 convolution makes of the guide's k x k block means, applied with stride 2; f is
    group normalisation and leaky ReLU; the vector v comes from the guide's mean: a bilinear form of rank one. Only by
    2. The sigmoid in front of the softmax is released behaviour: weights stay within a factor e of each other, nearly a
    box filter. Groups are left out: the released code orders their taps in two ways at once. :meth:`make_pair` adds
    the content-aware downsampling. Official keys and weights load.

    Args:
        channels: of the input and the output.
        scale_factor: 2.
        up_kernel: taps an axis of the reassembly, odd.
        encode_kernel: k, as published 6; the released code's default is 5.
        share: one filter for all channels, else one each.
        norm_groups: of the group normalisation; divides the guide's channels.
        guide_channels: of the guide; ``None``: as ``channels``.
        init: ``"paper"``: torch's defaults.
        padding_mode: what taps outside read: ``"zeros"``, ``"replicate"``, ``"reflect"``. ``None``: zeros.

    Raises:
        ArgumentError: an argument out of range.
    """

    sizes = "exact"
    needs_guide = True

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        up_kernel: int = 3,
        encode_kernel: int = 6,
        share: bool = True,
        norm_groups: int = 32,
        *,
        guide_channels: int | None = None,
        init: str = "paper",
        padding_mode: str | None = None,
    ) -> None:
        Upsampler.__init__(self, channels, scale_factor, guide_channels=guide_channels)
        if whole_factors(scale_factor, 2) != (2, 2):
            raise ArgumentError(f"scale_factor must be 2 for A2U; got {scale_factor=}")
        self.init = one_of(init, ("paper",), "init")
        self.padding_mode = one_of(padding_mode or "zeros", ("zeros", "replicate", "reflect"), "padding_mode")
        guided = guide_channels or channels
        self.add_networks(guided, up_kernel, encode_kernel, share, norm_groups)
        self.add_vector("bconv_UP", guided)

    @classmethod
    def make_pair(
        cls, channels: int, up_kernel: int = 3, encode_kernel: int = 6, share: bool = True, norm_groups: int = 32
    ) -> tuple[A2UPool, A2UUnpool]:
        """Make the pooling, which returns ``(pooled, kernels)``, and the upsampling ``up(pooled, kernels)``.

        Arguments as the class. The pooling has the parameters.
        """
        return A2UPool(channels, up_kernel, encode_kernel, share, norm_groups), A2UUnpool(channels, up_kernel)

    def kernels(self, x: Tensor, guide: Tensor) -> Tensor:
        """The kernels that a call would apply: ``(N, 1, taps, *targets)``, taps row-major.

        Arguments and errors as in a call.
        """
        targets = self.target_sizes(x.shape[2:], None)
        self.check_input(x)
        self.check_guide(x, guide, targets)
        return self._kernels(guide)[:, None]

    def _kernels(self, guide: Tensor) -> Tensor:
        if guide.shape[0] == 0:  # torch has no convolution in zero groups
            return guide.new_zeros(0, self.up_kernel**2, *guide.shape[2:])
        return kernels_of(self.bconv_UP(guide) * self.affinity(guide))  # type: ignore[operator]

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("A2U needs a guide")
        return ops.reassemble(x, self._kernels(guide).to(x.dtype), self.up_kernel, padding_mode=self.padding_mode)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        """Without the few products a map, not a pixel, that make filters and vector."""
        guided = self.guide_channels or 0
        at_source = 2 * self.encode_kernel**2 * guided + guided + (2 * self.up_kernel) ** 2
        return math.prod(sizes) * at_source + math.prod(targets) * self.up_kernel**2 * (self.channels or 0)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, up_kernel={self.up_kernel}, encode_kernel={self.encode_kernel}"

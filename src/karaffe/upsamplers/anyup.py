"""AnyUp: image-guided attention within a window, for features of any number of channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import ScaleFactor, Upsampler, one_of, positive
from karaffe.upsamplers.carafe import check_kernel
from karaffe.upsamplers.image_attention import (
    CrossDecode,
    NumberedBlock,
    RotaryPlace,
    Window,
    around,
    check_width,
    encoder,
    encoder_macs,
    mixture,
    reset_children,
    whole,
)
from karaffe.upsamplers.jbu import pooled
from karaffe.upsamplers.registry import register


class FilterBank(nn.Module):
    """Which of a bank of filters answers most, on the mean over the channels: any C in, ``width`` channels out.

    ``released_order``: as the released code, which reads its responses, laid out channel by channel, as if filter by
    filter. Softmax and mean then run over mixed-up indices, and the order of the channels changes the result.
    """

    def __init__(self, width: int, kernel_size: int, released_order: bool) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.empty(width, 1, kernel_size, kernel_size))
        self.released_order = released_order
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.basis)

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        count, radius = self.basis.shape[0], self.basis.shape[2] // 2
        responses = F.conv2d(x.reshape(n * c, 1, height, width), self.basis, padding=radius)
        rows, columns = (_taps_inside(size, radius, x) for size in (height, width))
        responses = (responses / (rows[:, None] * columns)).reshape(n, c * count, height, width)
        if self.released_order:
            return responses.unflatten(1, (count, c)).softmax(1).mean(2)
        return responses.unflatten(1, (c, count)).softmax(2).mean(1)


def _taps_inside(size: int, radius: int, like: Tensor) -> Tensor:
    """How many taps round each of ``size`` places lie inside."""
    place = torch.arange(size, device=like.device)
    return ((place + radius).clamp(max=size - 1) - (place - radius).clamp(min=0) + 1).to(like.dtype)


@register(
    "anyup",
    summary="every target attends to the source pixels of a window; one set of weights for any features",
    equation="Q[p] = mean_h sum_(m near p) softmax_m(q_h(image)[p] . k_h(image, x)[m] / sqrt(d)) x[m]",
    paper="Wimmer et al., AnyUp: Universal Feature Upsampling, ICLR 2026, arXiv:2510.12764",
    learned=True,
    guide_is="an image of any size, normalised as the backbone's input",
    convex=True,
    unit_sum=True,
    shift_equivariant=False,
    inits=("paper",),
    dims=(2,),
)
class AnyUp(Upsampler):
    r"""Universal feature upsampling (Wimmer et al., ICLR 2026, section 3).

    .. math::
        e = \mathrm{rope}(E(I)), \quad q = \mathrm{pool}_{H'}(E_q e), \quad
        k = E_a\big[\mathrm{pool}_H(E_k e),\, E_f(x / |x|)\big]

    .. math::
        Q[p] = \tfrac1h \sum_h \sum_{m \in \Omega(p)} \mathrm{softmax}_m\big(q_h[p] \cdot k_h[m] / \sqrt d\big)\, x[m]

    The first layer of E_f is a bank of filters that is applied to every channel alone, softmax over the filters,
    mean over the channels, so that the weights do not know how many channels there are. Omega(p) holds the source
    pixels within ``window_ratio`` of the map's length from the target. Any target size. Official keys and weights
    load; value and output projections, which take no part in the result, are kept for them, without gradients.

    This is local attention, and yet not :func:`karaffe.ops.local_attention`: the number of sources in Omega(p) changes
    from target to target with where the target lies among them (both ends of the window are rounded), where that
    operator has k taps round every target; and all heads' weights are averaged before they mix whole vectors, where
    there each head mixes channels of its own. Rows of targets are taken a few at a time with the source rows that their
    windows reach, forward and backward, so that memory does not grow with targets times sources.

    Args:
        channels: of the input and the output; the parameters do not depend on it.
        scale_factor: a positive number, or one an axis; any ``size=``.
        qk_dim: width of queries and keys.
        heads: of the attention.
        filter_kernel: size of the bank's filters, odd.
        window_ratio: half the window's length by the map's; ``None``: attention to all.
        released_order: the bank as the released code computes it, with channels and filters mixed up, which released
            weights need; the result then depends on the order of the channels. ``False``: as the paper says.
        guide_channels: of the image.
        init: ``"paper"``: torch's defaults, Xavier for the projections.

    Raises:
        ArgumentError: an argument out of range.
    """

    needs_guide = True
    guide_at = "any"

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        qk_dim: int = 128,
        heads: int = 4,
        filter_kernel: int = 5,
        window_ratio: float | None = 0.1,
        released_order: bool = True,
        *,
        guide_channels: int | None = 3,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, scale_factor, guide_channels=guide_channels)
        self.qk_dim, self.heads = check_width(qk_dim, heads), positive(heads, "heads")
        if window_ratio is not None and not 0 < window_ratio <= 1:
            raise ArgumentError(f"window_ratio must be above 0 and at most 1, or None; got {window_ratio=}")
        self.window_ratio = window_ratio
        self.init = one_of(init, ("paper",), "init")
        self.image_encoder = encoder(self.guide_channels or 0, qk_dim, 1, NumberedBlock)
        self.key_encoder = encoder(qk_dim, qk_dim, 1, NumberedBlock)
        self.query_encoder = encoder(qk_dim, qk_dim, 1, NumberedBlock)
        bank = FilterBank(qk_dim, check_kernel(filter_kernel, "filter_kernel"), released_order)
        self.key_features_encoder = nn.Sequential(bank, NumberedBlock(qk_dim), NumberedBlock(qk_dim))
        self.aggregation = encoder(2 * qk_dim, qk_dim, 3, NumberedBlock)
        self.cross_decode = CrossDecode(qk_dim, None, packed=True)
        self.rope = RotaryPlace(qk_dim)

    def reset_parameters(self) -> None:
        reset_children(self)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("AnyUp needs a guide")
        sizes = (x.shape[2], x.shape[3])
        encoded = self.rope(self.image_encoder(guide.to(x.dtype)))
        query = pooled(self.query_encoder(encoded), targets)
        key = pooled(self.key_encoder(encoded), sizes)
        features = self.key_features_encoder(F.normalize(x, dim=1))
        key = self.aggregation(torch.cat([key, features], 1))
        query, key = self.cross_decode(query, key)
        return mixture(query, key, x, self.heads, self._windows(sizes, targets))

    def _windows(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> list[Window]:
        if self.window_ratio is None:
            return [whole(n, t) for n, t in zip(sizes, targets, strict=True)]
        return [around(n, t, self.window_ratio) for n, t in zip(sizes, targets, strict=True)]

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        """With an image of the target size; of attention, what a window holds."""
        source, target, square = math.prod(sizes), math.prod(targets), self.qk_dim**2
        image = encoder_macs(self.image_encoder) + encoder_macs(self.key_encoder) + encoder_macs(self.query_encoder)
        seen = math.prod(w.pairs() for w in self._windows(sizes, targets))
        features = encoder_macs(self.key_features_encoder) + encoder_macs(self.aggregation) + square
        channels = self.channels or 0
        features += channels * self.key_features_encoder[0].basis.numel()  # type: ignore[operator]
        return target * (image + 10 * square) + source * features + seen * (self.qk_dim + channels)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, qk_dim={self.qk_dim}, heads={self.heads}, window_ratio={self.window_ratio}"

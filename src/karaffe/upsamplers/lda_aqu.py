"""LDA-AQU: every target attends to a few points of its own map, whose places its query moves."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.upsamplers.base import ScaleFactor, Size, Upsampler, one_of, positive
from karaffe.upsamplers.carafe import check_groups, check_kernel
from karaffe.upsamplers.dysample import EXACT_STD
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import PADDING, sample, wide
from karaffe.upsamplers.sapa import ChannelNorm

BIAS_STD = 0.02


class NormOverChannels(nn.Module):
    """Layer normalisation over the channels, its parameters under ``norm`` as in the official module."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x)
        return normed


@register(
    "lda-aqu",
    summary="every target attends to a few points round it, whose places its interpolated query moves",
    equation="Q[p] = sum_t softmax_t(q[p] . (k(u_t) + b_t)) * x(u_t), u_t = place(p + t + r tanh(offset(q)[t, p]))",
    paper="Du et al., LDA-AQU: Adaptive Query-guided Upsampling via Local Deformable Attention, ACM MM 2024, "
    "arXiv:2411.19585",
    learned=True,
    convex=True,
    unit_sum=True,
    shift_equivariant=False,
    inits=("paper",),
    dims=(2,),
)
class LDAAQU(Upsampler):
    r"""Adaptive query-guided upsampling by local deformable attention (Du et al., ACM MM 2024, section 3).

    .. math::
        q = \mathrm{bilinear}(W_q \hat x), \quad k = W_k \hat x, \quad
        u_t[p] = \big(p + t + r \tanh(o_t(q)[p])\big) \tfrac{H - 1}{H' - 1}, \qquad
        Q[p] = \sum_t \mathrm{softmax}_t\Big(\tfrac{q[p]}{\sqrt d} \cdot \big(k(u_t) + b_t\big)\Big)\, x(u_t)

    with x normalised over its channels and t the taps of a k x k neighbourhood in *target* pixels. Bilinear reading,
    corners aligned (so that a shift of the source is not exactly one of the target), zeros outside. The released code
    divides by ``H' - 1``: one target pixel an axis gives NaN there; here it reads the first source pixel. The official
    constructor leaves the offsets at random; here they begin at zero, as its ``init_weights()`` does. Official keys
    and weights load.

    Args:
        channels: of the input and the output.
        scale_factor: a positive number, or one an axis; any ``size=``.
        reduction: query and key have ``channels / reduction`` channels.
        heads: contiguous groups of channels with attention of their own.
        up_kernel: taps k an axis, odd.
        encoder_kernel: of the convolution that predicts offsets, odd.
        groups: contiguous groups of channels with offsets of their own.
        offset_range: how far r an offset may move a tap, in target pixels.
        position_bias: each tap has a learned vector b added to its key.
        init: ``"paper"``: Xavier, offsets zero: begins as attention to a fixed neighbourhood.
        padding_mode: outside reads ``"zeros"``, as published, or the border, ``"replicate"``. ``None``: zeros.

    Raises:
        ArgumentError: an argument out of range, or channels that do not divide.
    """

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        reduction: int = 4,
        heads: int = 1,
        up_kernel: int = 3,
        encoder_kernel: int = 3,
        groups: int = 2,
        offset_range: float = 11,
        position_bias: bool = True,
        *,
        init: str = "paper",
        padding_mode: str | None = None,
    ) -> None:
        super().__init__(channels, scale_factor)
        check_groups(channels, positive(reduction, "reduction"), "reduction")
        self.heads, self.groups = positive(heads, "heads"), positive(groups, "groups")
        self.up_kernel, self.offset_range = check_kernel(up_kernel, "up_kernel"), float(offset_range)
        self.init = one_of(init, ("paper",), "init")
        self.padding_mode = one_of(padding_mode or "zeros", tuple(PADDING), "padding_mode")
        narrow = channels // reduction
        for count, name in ((heads, "heads"), (groups, "groups")):
            check_groups(narrow, count, name)
            check_groups(channels, count, name)
        each = narrow // groups
        encoder = check_kernel(encoder_kernel, "encoder_kernel")
        self.proj_q = nn.Conv2d(channels, narrow, 1, bias=False)
        self.proj_k = nn.Conv2d(channels, narrow, 1, bias=False)
        self.conv_offset = nn.Sequential(
            nn.Conv2d(each, each, 3, padding=1, groups=each, bias=False),
            NormOverChannels(each),
            nn.GELU(),
            nn.Conv2d(each, 2 * up_kernel**2, encoder, padding=encoder // 2),
        )
        self.layer_norm = NormOverChannels(channels)
        self.relative_position_bias_table: nn.Parameter | None = None
        if position_bias:
            self.relative_position_bias_table = nn.Parameter(torch.empty(1, heads, 1, up_kernel**2, narrow // heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
        # Not zero: the gradients of the layers before pass through these weights.
        nn.init.normal_(self.conv_offset[3].weight, std=EXACT_STD)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv_offset[3].bias)  # type: ignore[arg-type]
        if self.relative_position_bias_table is not None:
            nn.init.trunc_normal_(self.relative_position_bias_table, std=BIAS_STD)

    def offsets(self, x: Tensor, *, size: Size | None = None) -> Tensor:
        """Displacement of every tap from its target's place: ``(N, groups, k * k, 2, *targets)``.

        In source pixels, (x, y), the tap's place in the neighbourhood included. Arguments and errors as in a call.
        """
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        query = self._query(self.layer_norm(x), targets)
        return self._displacement(query) * self._pace(x.shape[2:], targets, query)

    def _query(self, normed: Tensor, targets: tuple[int, ...]) -> Tensor:
        query = wide(self.proj_q(normed))
        return F.interpolate(query, size=targets, mode="bilinear", align_corners=True).to(normed.dtype)

    def _displacement(self, query: Tensor) -> Tensor:
        """In target pixels."""
        n, c = query.shape[:2]
        moved = self.conv_offset(query.reshape(n * self.groups, c // self.groups, *query.shape[2:]))
        moved = self.offset_range * wide(moved).tanh()
        moved = moved.reshape(n, self.groups, self.up_kernel**2, 2, *query.shape[2:]).flip(3)
        radius = self.up_kernel // 2
        tap = torch.arange(-radius, radius + 1, device=query.device, dtype=moved.dtype)
        taps = torch.stack([tap.repeat(self.up_kernel), tap.repeat_interleave(self.up_kernel)], 1)
        return moved + taps[:, :, None, None]

    @staticmethod
    def _pace(sizes: torch.Size, targets: tuple[int, ...], like: Tensor) -> Tensor:
        """Source pixels a target pixel, (x, y)."""
        pace = [(n - 1) / max(t - 1, 1) for n, t in zip(sizes, targets, strict=True)]
        return wide(like).new_tensor(pace[::-1])[:, None, None]

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        normed = self.layer_norm(x)
        query, key, value = self._query(normed, targets), wide(self.proj_k(normed)), wide(x)
        displaced = self._displacement(query)
        rows, columns = (torch.arange(t, device=x.device, dtype=displaced.dtype) for t in targets)
        regular = torch.stack(torch.broadcast_tensors(columns, rows[:, None]))
        places = ((displaced + regular) * self._pace(x.shape[2:], targets, query)).flatten(0, 1).unbind(1)
        # A tap at a time: all at once would hold k * k copies of the target.
        heads = wide(query).unflatten(1, (self.heads, -1))
        heads = heads * heads.shape[2] ** -0.5
        logits = []
        for t, place in enumerate(places):
            read = self._read(key, place).unflatten(1, (self.heads, -1))
            if self.relative_position_bias_table is not None:
                read = read + wide(self.relative_position_bias_table[:, :, 0, t, :, None, None])
            logits.append((heads * read).sum(2))
        weights = torch.stack(logits, 2).softmax(2)[:, :, :, None].unbind(2)
        y = torch.zeros((), dtype=value.dtype, device=x.device)
        for weight, place in zip(weights, places, strict=True):
            y = y + weight * self._read(value, place).unflatten(1, (self.heads, -1))
        return y.flatten(1, 2).to(x.dtype)

    def _read(self, x: Tensor, place: Tensor) -> Tensor:
        n, c = x.shape[:2]
        grouped = x.reshape(n * self.groups, c // self.groups, *x.shape[2:])
        return sample(grouped, place, self.padding_mode).reshape(n, c, *place.shape[2:])

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        channels, narrow, taps = self.proj_q.in_channels, self.proj_q.out_channels, self.up_kernel**2
        convolved = self.groups * sum(m.weight.numel() for m in self.conv_offset if isinstance(m, nn.Conv2d))
        at_targets = 4 * narrow + convolved + 5 * taps * (narrow + channels)
        return math.prod(sizes) * 2 * self.proj_q.weight.numel() + math.prod(targets) * at_targets

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, up_kernel={self.up_kernel}, heads={self.heads}, groups={self.groups}"

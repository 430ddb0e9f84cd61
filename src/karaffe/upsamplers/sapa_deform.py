"""SAPA-D: every target attends to a few source points whose places are learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from karaffe.errors import ArgumentError
from karaffe.ops.geometry import source_index
from karaffe.ops.normalize import shuffle
from karaffe.upsamplers.base import ScaleFactor, Size, Upsampler, one_of, positive, whole_factors
from karaffe.upsamplers.carafe import check_groups
from karaffe.upsamplers.dysample import EXACT_STD
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import PADDING, read_at, sample, wide
from karaffe.upsamplers.sapa import make_norm, reset_projections
from karaffe.upsamplers.starts import sub_pixel_offsets


@register(
    "sapa-d",
    summary="every target attends to a few source points whose places are learned",
    equation="Q[p] = sum_t softmax_t(q(guide)[p] . k(src(p) + d_t[p])) * x(src(p) + d_t[p]), x(.), k(.) bilinear",
    paper="Lu et al., On Point Affiliation in Feature Upsampling, 2023, arXiv:2307.08198",
    learned=True,
    guide_is="the higher-resolution map of the encoder",
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
    inits=("paper", "bilinear", "nearest"),
    dims=(2,),
)
class SAPADeform(Upsampler):
    r"""Deformable similarity-aware point affiliation, SAPA-D (Lu et al., 2023).

    .. math::
        Q[c, p] = \sum_{t=1}^{P} \mathrm{softmax}_t\big(q[p] \cdot k(src(p) + d_t[p])\big)\, x_c(src(p) + d_t[p])

    in each channel group, with offsets d from a 1x1 convolution of the source, bilinear reading, zeros outside and no
    scaling of the logits. ``src(p)`` is the source pixel under p, not its sub-pixel place: untrained, it is nearest
    interpolation but for a little noise. Any target size; offsets are read at ``floor(y * s * H / H')``.

    Args:
        channels: of the input and the output.
        scale_factor: whole, or one an axis (rows, columns).
        num_point: points P of a target and group.
        groups: contiguous channel groups, each with queries, keys and points of its own.
        embedding_dim: channels of q and k in a group.
        guide_channels: of the guide; ``None``: as ``channels``.
        qkv_bias: the projections have biases.
        high_offset: each sub-pixel has offsets of its own; otherwise those of its source pixel.
        norm: ``"none"``, as published, ``"group"`` or ``"layer"``, before the projections.
        init: ``"paper"``; ``"nearest"``, ``"bilinear"`` (with ``high_offset``): all points begin at the source pixel,
            or the target's place in it, so that the module equals the interpolation to rounding.
        padding_mode: outside reads ``"zeros"`` or the border, ``"replicate"``; ``None``: zeros for ``init="paper"``, as
            published, else replicate.

    Raises:
        ArgumentError: an argument out of range.
    """

    needs_guide = True

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        num_point: int = 9,
        groups: int = 4,
        embedding_dim: int = 32,
        *,
        guide_channels: int | None = None,
        qkv_bias: bool = True,
        high_offset: bool = True,
        norm: str = "none",
        init: str = "paper",
        padding_mode: str | None = None,
    ) -> None:
        super().__init__(channels, scale_factor, guide_channels=guide_channels)
        self.sub_pixels = whole_factors(scale_factor, 2)
        self.num_point = positive(num_point, "num_point")
        self.groups = positive(groups, "groups")
        check_groups(channels, groups, "groups")
        self.embedding_dim = positive(embedding_dim, "embedding_dim")
        self.norm = one_of(norm, ("none", "group", "layer"), "norm")
        self.init = one_of(init, ("paper", "bilinear", "nearest"), "init")
        if init == "bilinear" and not high_offset:
            raise ArgumentError("init='bilinear' needs high_offset=True: each sub-pixel has a place of its own")
        default = "zeros" if init == "paper" else "replicate"
        self.padding_mode = one_of(padding_mode or default, tuple(PADDING), "padding_mode")
        self.high_offset = high_offset
        guided = guide_channels or channels
        self.norm_y = make_norm(norm, guided, "guide_channels")
        self.norm_x = make_norm(norm, channels, "channels")
        phases = math.prod(self.sub_pixels) if high_offset else 1
        self.q = nn.Conv2d(guided, groups * embedding_dim, 1, bias=qkv_bias)
        self.k = nn.Conv2d(channels, groups * embedding_dim, 1, bias=qkv_bias)
        self.offset = nn.Conv2d(channels, groups * num_point * 2 * phases, 1, bias=qkv_bias or init == "bilinear")
        self.reset_parameters()

    def reset_parameters(self) -> None:
        reset_projections(self.q, self.k, self.offset)
        if self.init == "paper":
            return
        nn.init.normal_(self.offset.weight, std=EXACT_STD)
        if self.init == "bilinear":
            rows, columns = (sub_pixel_offsets(s) for s in self.sub_pixels)
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            places = torch.stack([x.flatten(), y.flatten()]).repeat(self.groups * self.num_point, 1)
            self.offset.bias.data.copy_(places.flatten())  # type: ignore[union-attr]

    def offsets(self, x: Tensor, *, size: Size | None = None) -> Tensor:
        """Displacement of every point from the source pixel under its target: ``(N, groups, P, 2, *targets)``.

        In source pixels, (x, y). Arguments and errors as in a call, without the guide.
        """
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        return self._places(x, targets)

    def _places(self, x: Tensor, targets: tuple[int, ...]) -> Tensor:
        o = self.offset(self.norm_x(x))
        if self.high_offset:
            o = shuffle(o, self.sub_pixels)
        return read_at(o, targets).unflatten(1, (self.groups, self.num_point, 2))

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("SAPA-D needs a guide")
        positions = self._positions(x, targets).flatten(0, 1)
        query = self._grouped(wide(self.q(self.norm_y(guide))))
        key, value = self._grouped(wide(self.k(self.norm_x(x)))), self._grouped(wide(x))
        y = attend_at(query, key, value, positions, self.padding_mode)
        return y.reshape(*x.shape[:2], *targets).to(x.dtype)

    def _positions(self, x: Tensor, targets: tuple[int, ...]) -> Tensor:
        """Where every point reads the source, in its pixels, (x, y): ``(N, groups, P, 2, *targets)``."""
        places = wide(self._places(x, targets))
        rows, columns = (
            source_index(size, t, "corner", x.device).to(places.dtype)
            for size, t in zip(x.shape[2:], targets, strict=True)
        )
        return places + torch.stack(torch.broadcast_tensors(columns, rows[:, None]))

    def _grouped(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0] * self.groups, x.shape[1] // self.groups, *x.shape[2:])

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        at_source = self.k.weight.numel() + self.offset.weight.numel()
        read = 5 * self.num_point * (self.groups * self.embedding_dim + self.k.in_channels)
        return math.prod(sizes) * at_source + math.prod(targets) * (self.q.weight.numel() + read)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_point={self.num_point}, groups={self.groups}, init={self.init!r}"


def attend_at(query: Tensor, key: Tensor, value: Tensor, positions: Tensor, padding_mode: str) -> Tensor:
    """Attention of every target to P points of the source, read bilinearly: ``(B, C, *targets)``.

    ``query (B, E, *targets)``, ``key (B, E, H, W)``, ``value (B, C, H, W)``, ``positions (B, P, 2, *targets)``. A point
    at a time: all at once would hold P copies of the target.
    """
    points = positions.unbind(1)
    logits = torch.stack([(query * sample(key, p, padding_mode)).sum(1) for p in points], 1)
    y = torch.zeros((), dtype=value.dtype, device=value.device)
    for weight, p in zip(logits.softmax(1)[:, :, None].unbind(1), points, strict=True):
        y = y + weight * sample(value, p, padding_mode)
    return y

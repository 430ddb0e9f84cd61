"""SAPA: every target attends to its source window; the guide asks, the source answers."""

from __future__ import annotations

import math

from torch import Tensor, nn

from karaffe import ops
from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import CONVOLUTIONS, ScaleFactor, Size, Upsampler, one_of, positive
from karaffe.upsamplers.carafe import check_kernel
from karaffe.upsamplers.registry import NORM_GROUPS, register

PROJECTION_STD = 0.02


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of ``(N, C, *sizes)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def make_norm(norm: str, channels: int, name: str) -> nn.Module:
    """``"group"``: 32 groups, ``"layer"``: over the channels, ``"none"``: nothing."""
    if norm == "none":
        return nn.Identity()
    if norm == "layer":
        return ChannelNorm(channels)
    if channels % NORM_GROUPS:
        raise ArgumentError(
            f"norm='group' needs {name} that {NORM_GROUPS} divides; got {name}={channels}; "
            f"norm='layer' and norm='none' take any"
        )
    return nn.GroupNorm(NORM_GROUPS, channels)


def reset_projections(*layers: nn.Module) -> None:
    """Normal weights of deviation 0.02, zero biases."""
    for layer in layers:
        nn.init.normal_(layer.weight, std=PROJECTION_STD)  # type: ignore[arg-type]
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


@register(
    "sapa",
    summary="every target attends to its source window, by the similarity of a guide's pixel to the source's",
    equation="Q[p] = sum_t softmax_t(q(guide)[p] . k(x)[src(p) + t]) * x[src(p) + t]",
    paper="Lu et al., SAPA: Similarity-Aware Point Affiliation for Feature Upsampling, NeurIPS 2022, arXiv:2209.12866",
    learned=True,
    guide_is="the higher-resolution map of the encoder",
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
    inits=("paper",),
)
class SAPA(Upsampler):
    r"""Similarity-aware point affiliation, SAPA-B (Lu et al., NeurIPS 2022, section 3.2).

    .. math::
        q = W_q\,\mathrm{norm}(y), \quad k = W_k\,\mathrm{norm}(x), \qquad
        Q[c, p] = \sum_t \mathrm{softmax}_t\big(q[p] \cdot k[src(p) + t]\big)\, x[c, src(p) + t]

    without scaling of the logits; src(p) = floor(p * H / H'). Takes any target size: that of the guide.

    Args:
        channels: of the input and the output.
        scale_factor: a positive number, or one an axis.
        up_kernel: taps an axis, odd.
        embedding_dim: channels of q and k.
        guide_channels: of the guide; ``None``: as ``channels``.
        qkv_bias: the projections have biases.
        norm: ``"group"``: 32 groups, as in the later code, whose checkpoints have 4-D projections; ``"layer"``: over
            channels, as in the NeurIPS code (2-D projections); ``"none"``.
        init: ``"paper"``: projections near zero, begins as a box filter.
        padding_mode: what taps outside hold: ``"zeros"``, logit 0 and value 0, as published; ``"mask"``: they leave
            the softmax; ``"replicate"``, ``"reflect"``. ``None``: zeros.
        dims: number of spatial axes, 1 to 3.

    Raises:
        ArgumentError: an argument out of range, or channels that ``norm="group"`` cannot group.
    """

    needs_guide = True

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        up_kernel: int = 5,
        embedding_dim: int = 32,
        *,
        guide_channels: int | None = None,
        qkv_bias: bool = True,
        norm: str = "group",
        init: str = "paper",
        padding_mode: str | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims, guide_channels=guide_channels)
        self.up_kernel = check_kernel(up_kernel, "up_kernel")
        self.embedding_dim = positive(embedding_dim, "embedding_dim")
        self.norm = one_of(norm, ("group", "layer", "none"), "norm")
        self.init = one_of(init, ("paper",), "init")
        self.padding_mode = one_of(padding_mode or "zeros", ("zeros", "mask", "replicate", "reflect"), "padding_mode")
        guided = guide_channels or channels
        self.norm_y = make_norm(norm, guided, "guide_channels")
        self.norm_x = make_norm(norm, channels, "channels")
        self.q = CONVOLUTIONS[dims - 1](guided, embedding_dim, 1, bias=qkv_bias)
        self.k = CONVOLUTIONS[dims - 1](channels, embedding_dim, 1, bias=qkv_bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        reset_projections(self.q, self.k)

    def kernels(self, x: Tensor, guide: Tensor, *, size: Size | None = None) -> Tensor:
        """The kernels that a call would apply: ``(N, 1, taps, *targets)``, taps row-major.

        Arguments and errors as in a call. Under ``"mask"``, taps outside are listed as they would be with zeros.
        """
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        self.check_guide(x, guide, targets)
        mode = "zeros" if self.padding_mode == "mask" else self.padding_mode
        logits = ops.correlate(*self._keys(x, guide), self.up_kernel, padding_mode=mode)
        return logits.softmax(1)[:, None]

    def _keys(self, x: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and queries."""
        return self.k(self.norm_x(x)), self.q(self.norm_y(guide))

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("SAPA needs a guide")
        key, query = self._keys(x, guide)
        return ops.local_attention(query, key, x, self.up_kernel, scale=1.0, padding_mode=self.padding_mode)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        taps, channels = self.up_kernel ** len(sizes), self.k.in_channels
        at_targets = self.q.weight.numel() + taps * (self.embedding_dim + channels)
        return math.prod(sizes) * self.k.weight.numel() + math.prod(targets) * at_targets

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, up_kernel={self.up_kernel}, norm={self.norm!r}"

"""FADE: kernels from both resolutions, and a gate that lets the guide's details through."""

from __future__ import annotations

import math

from torch import Tensor, nn

from karaffe import ops
from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import CONVOLUTIONS, ScaleFactor, Size, Upsampler, one_of, positive
from karaffe.upsamplers.carafe import check_kernel
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import read_at

ENCODER_KERNEL = 3


class KernelGenerator(nn.Module):
    """Semi-shift convolution: one encoder, at the guide's resolution and at the source's, summed.

    Args:
        channels, guide_channels: of the source and the guide.
        embedding_dim: channels that both are compressed to.
        taps: channels of the result.
        depthwise: the encoder works on each channel alone.
        dims: number of spatial axes.
    """

    def __init__(
        self, channels: int, guide_channels: int, embedding_dim: int, taps: int, depthwise: bool, dims: int
    ) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[dims - 1]
        groups = taps if depthwise else 1
        self.compressor_en = convolution(guide_channels, embedding_dim, 1)
        self.compressor_de = convolution(channels, embedding_dim, 1, bias=False)
        self.content_encoder = convolution(
            embedding_dim, taps, ENCODER_KERNEL, padding=ENCODER_KERNEL // 2, groups=groups
        )

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Logits ``(N, taps, *targets)``."""
        low: Tensor = self.content_encoder(self.compressor_de(x))
        high: Tensor = self.content_encoder(self.compressor_en(guide))
        return high + read_at(low, tuple(guide.shape[2:]))


class GateGenerator(nn.Module):
    """How much of the guide each target takes, from the source alone."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[dims - 1](channels, 1, 1)

    def forward(self, x: Tensor, targets: tuple[int, ...]) -> Tensor:
        """``(N, 1, *targets)`` between 0 and 1."""
        return read_at(self.conv(x), targets).sigmoid()


@register(
    "fade",
    summary="kernels from source and guide together, and a gate that lets the guide's details through",
    equation="Q = g * guide + (1 - g) * reassemble(x, softmax(enc(W_e guide) + enc(W_d x)[src(p)])), g = gate(x)",
    paper="Lu et al., FADE: Fusing the Assets of Decoder and Encoder, ECCV 2022, arXiv:2207.10392; IJCV 2024",
    learned=True,
    guide_is="the higher-resolution map of the encoder, with as many channels",
    convex=False,
    unit_sum=False,
    shift_equivariant=True,
    inits=("paper",),
)
class FADE(Upsampler):
    r"""Fusing the assets of decoder and encoder (Lu et al., ECCV 2022, section 4).

    .. math::
        L[p] = (E * W_e y)[p] + (E * W_d x)[src(p)], \quad
        U[c, p] = \sum_t \mathrm{softmax}_t(L)[t, p]\, x[c, src(p) + t], \quad
        Q = \gamma \odot y + (1 - \gamma) \odot U

    with the gate :math:`\gamma[p] = \sigma(W_g x + b)[src(p)]` and src(p) = floor(p * H / H'). The encoder E, with its
    bias, is applied to both. Takes any target size: that of the guide.

    Args:
        channels: of the input and the output.
        scale_factor: a positive number, or one an axis.
        up_kernel: taps an axis, odd.
        embedding_dim: channels that both maps are compressed to.
        guide_channels: of the guide; ``None``: as ``channels``, which the gate needs.
        gating: blend with the guide; without it the result is U, convex mixtures of the source.
        init: ``"paper"``: Xavier-uniform, zero biases.
        padding_mode: what taps of the reassembly read outside: ``"zeros"``, as published, ``"replicate"``,
            ``"reflect"``. ``None``: zeros.
        dims: number of spatial axes, 1 to 3.

    Raises:
        ArgumentError: an argument out of range, or a guide of other width with ``gating``.
    """

    needs_guide = True

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        up_kernel: int = 5,
        embedding_dim: int = 64,
        *,
        guide_channels: int | None = None,
        gating: bool = True,
        init: str = "paper",
        padding_mode: str | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims, guide_channels=guide_channels)
        guided = guide_channels or channels
        if gating and guided != channels:
            raise ArgumentError(
                f"gating=True adds the guide to the result, so guide_channels must be channels={channels}; "
                f"got {guide_channels=}; gating=False takes any"
            )
        self.up_kernel = check_kernel(up_kernel, "up_kernel")
        self.init = one_of(init, ("paper",), "init")
        self.padding_mode = one_of(padding_mode or "zeros", ("zeros", "replicate", "reflect"), "padding_mode")
        self.ker_generator = self._make_generator(channels, guided, positive(embedding_dim, "embedding_dim"), dims)
        self.gate_generator = GateGenerator(channels, dims) if gating else None
        self.reset_parameters()

    def _make_generator(self, channels: int, guided: int, embedding_dim: int, dims: int) -> KernelGenerator:
        return KernelGenerator(channels, guided, embedding_dim, self.up_kernel**dims, False, dims)

    def reset_parameters(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def kernels(self, x: Tensor, guide: Tensor, *, size: Size | None = None) -> Tensor:
        """The kernels that a call would apply: ``(N, 1, taps, *targets)``, taps row-major; errors as in a call."""
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        self.check_guide(x, guide, targets)
        logits: Tensor = self.ker_generator(x, guide)
        return logits.softmax(1)[:, None]

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("FADE needs a guide")
        kernels = self.ker_generator(x, guide).softmax(1)
        y = ops.reassemble(x, kernels, self.up_kernel, padding_mode=self.padding_mode)
        if self.gate_generator is None:
            return y
        gate = self.gate_generator(x, targets)
        return gate * guide + (1 - gate) * y

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        generator, channels = self.ker_generator, self.channels or 0
        encoder = generator.content_encoder.weight.numel()
        source = generator.compressor_de.weight.numel() + encoder + (channels if self.gate_generator else 0)
        target = generator.compressor_en.weight.numel() + encoder + self.up_kernel ** len(sizes) * channels
        return math.prod(sizes) * source + math.prod(targets) * target

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, up_kernel={self.up_kernel}, gating={self.gate_generator is not None}"


@register(
    "fade-lite",
    summary="FADE with a depth-wise encoder on as many channels as taps",
    equation="as fade, enc depth-wise on up_kernel**2 channels",
    paper="Lu et al., FADE: A Task-Agnostic Upsampling Operator for Encoder-Decoder Architectures, IJCV 2024",
    learned=True,
    guide_is="the higher-resolution map of the encoder, with as many channels",
    convex=False,
    unit_sum=False,
    shift_equivariant=True,
    inits=("paper",),
)
class FADELite(FADE):
    """FADE with a depth-wise encoder (Lu et al., IJCV 2024, section 4.4); arguments and equation as :class:`FADE`."""

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        up_kernel: int = 5,
        *,
        guide_channels: int | None = None,
        gating: bool = True,
        init: str = "paper",
        padding_mode: str | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__(
            channels,
            scale_factor,
            up_kernel,
            guide_channels=guide_channels,
            gating=gating,
            init=init,
            padding_mode=padding_mode,
            dims=dims,
        )

    def _make_generator(self, channels: int, guided: int, embedding_dim: int, dims: int) -> KernelGenerator:
        taps = self.up_kernel**dims
        return KernelGenerator(channels, guided, taps, taps, True, dims)

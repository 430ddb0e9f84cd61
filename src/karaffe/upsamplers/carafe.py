"""CARAFE: reassembly with kernels that a small network predicts from the content."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from karaffe import ops
from karaffe.errors import ArgumentError
from karaffe.ops.normalize import NORMALIZERS, normalize, shuffle
from karaffe.upsamplers.base import CONVOLUTIONS, ScaleFactor, Size, Upsampler, one_of, positive
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import read_at
from karaffe.upsamplers.starts import phase_kernels, softmax_logits

PADDING_MODES = ("zeros", "replicate", "reflect", "mask")
# Weights of the encoder start this far from zero: the kernels begin as their bias says (paper, section 3.2).
ENCODER_STD = 1e-3
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "silu": F.silu}
NORMS: tuple[Any, ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def check_kernel(value: int, name: str) -> int:
    """Return ``value`` if it is an odd positive int."""
    if positive(value, name) % 2 == 0:
        raise ArgumentError(f"{name} must be odd, so that the kernel has a centre; got {name}={value}")
    return value


def check_groups(channels: int | None, groups: int, name: str) -> None:
    """Refuse groups that do not divide the channels."""
    if channels is None or channels % groups:
        raise ArgumentError(f"{name} must divide the {channels} channels; got {name}={groups}")


def reset_content_encoder(compressor: nn.Module, encoder: nn.Module, std: float = ENCODER_STD) -> None:
    """Xavier for the compressor, nearly zero for the encoder, zero biases."""
    nn.init.xavier_uniform_(compressor.weight)  # type: ignore[arg-type]
    nn.init.normal_(encoder.weight, std=std)  # type: ignore[arg-type]
    for layer in (compressor, encoder):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


@register(
    "carafe",
    summary="every target pixel mixes a source window with a kernel predicted from the content",
    equation="Q[p] = sum_t softmax_t(shuffle(encode(compress(x))))[t, p] * x[floor(p / s) + t]",
    paper="Wang et al., CARAFE: Content-Aware ReAssembly of FEatures, ICCV 2019, arXiv:1905.02188",
    learned=True,
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
    inits=("paper", "bilinear", "nearest"),
)
class CARAFE(Upsampler):
    r"""Content-aware reassembly of features (Wang et al., ICCV 2019, sections 3.1 to 3.3).

    .. math::
        A = \mathrm{softmax}_t(\mathrm{shuffle}_s(E * (W x))), \qquad
        Q[c, p] = \sum_{t} A[g(c), t, p] \cdot x[c, \lfloor p / s \rfloor + t]

    A 1x1 convolution W compresses the channels, a convolution E predicts ``up_group * up_kernel**dims`` logits for
    each of the ``s**dims`` targets of a source pixel, softmax over the taps makes them kernels. The order and names
    of the first seven arguments and of the state_dict are those of mmcv's ``CARAFEPack``, whose checkpoints load
    with ``strict=True``.

    ``size=`` takes any target: target ``y`` gets the kernel ``floor(y * s * H / H')`` of the finished kernel map,
    centred on ``floor(y * H / H')``; 4 to 7 is 4 to 8, cropped. A fractional ``scale_factor`` f does this with
    ``s = ceil(f)`` and ``H' = floor(f * H)``.

    Args:
        channels: of the input and the output.
        scale_factor: a positive number, or one an axis.
        up_kernel: taps an axis of the reassembly, odd.
        up_group: channels are cut into this many contiguous groups, each with kernels of its own.
        encoder_kernel: size of E, odd.
        encoder_dilation: of E.
        compressed_channels: output channels of W.
        init: ``"paper"``: E nearly zero, the module begins as a box filter. ``"bilinear"``, ``"nearest"``: E's bias
            holds the logarithm of the interpolation's weights, the module begins as ``F.interpolate`` (whole
            factors).
        padding_mode: what taps outside read: ``"zeros"``, ``"replicate"``, ``"reflect"``, or ``"mask"``: they leave
            the softmax. ``None``: zeros for ``init="paper"``, as published, else replicate: zeros would darken the
            border that interpolation keeps.
        init_floor: weight that the taps which an interpolation leaves empty share at the start; it is what makes
            them learnable, and about how far the start is from the interpolation.
        normalizer: ``"softmax"``, or from the paper's ablation ``"sigmoid"`` and ``"sigmoid_norm"``.
        activation: ``"relu"`` or ``"silu"`` behind W, and ``norm=True``: batch normalisation behind W and E; neither is
            the paper's, but widespread copies have them, whose checkpoints :func:`load_checkpoint` reads.
        out_channels: end with a 1x1 convolution to this many channels, as other copies do; ``None``: without one.
        dims: number of spatial axes, 1 to 3.

    Raises:
        ArgumentError: an argument out of range.
    """

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        up_kernel: int = 5,
        up_group: int = 1,
        encoder_kernel: int = 3,
        encoder_dilation: int = 1,
        compressed_channels: int = 64,
        *,
        init: str = "paper",
        padding_mode: str | None = None,
        init_floor: float = 1e-4,
        normalizer: str = "softmax",
        activation: str | None = None,
        norm: bool = False,
        out_channels: int | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims)
        self.up_kernel = check_kernel(up_kernel, "up_kernel")
        self.up_group = positive(up_group, "up_group")
        self.encoder_kernel = check_kernel(encoder_kernel, "encoder_kernel")
        self.encoder_dilation = positive(encoder_dilation, "encoder_dilation")
        self.compressed_channels = positive(compressed_channels, "compressed_channels")
        self.init = one_of(init, ("paper", "bilinear", "nearest"), "init")
        self.padding_mode = padding_mode or ("zeros" if init == "paper" else "replicate")
        self.normalizer = one_of(normalizer, NORMALIZERS, "normalizer")
        self.init_floor = init_floor
        self.activation = None if activation is None else one_of(activation, tuple(ACTIVATIONS), "activation")
        if not isinstance(norm, bool):
            raise ArgumentError(f"norm must be True or False; got {norm=}")
        self._check_options(norm or out_channels is not None)
        self.sub_pixels = tuple(math.ceil(f) for f in self.factors(dims))
        self.taps = up_kernel**dims
        convolution = CONVOLUTIONS[dims - 1]
        self.channel_compressor = convolution(channels, compressed_channels, 1, bias=not norm)
        self.content_encoder = convolution(
            compressed_channels,
            up_group * self.taps * math.prod(self.sub_pixels),
            encoder_kernel,
            padding=(encoder_kernel - 1) * encoder_dilation // 2,
            dilation=encoder_dilation,
            bias=not norm,
        )
        if norm:
            self.compressor_norm = NORMS[dims - 1](compressed_channels)
            self.encoder_norm = NORMS[dims - 1](self.content_encoder.out_channels)
        self.norm = norm
        self.output = None if out_channels is None else convolution(channels, out_channels, 1)
        self.reset_parameters()

    def _check_options(self, extended: bool) -> None:
        check_groups(self.channels, self.up_group, "up_group")
        one_of(self.padding_mode, PADDING_MODES, "padding_mode")
        if not 0 < self.init_floor < 1:
            raise ArgumentError(f"init_floor must be between 0 and 1; got init_floor={self.init_floor!r}")
        if self.init != "paper" and (self.normalizer != "softmax" or extended):
            raise ArgumentError(
                f"init={self.init!r} needs normalizer='softmax', norm=False and out_channels=None; "
                f"got normalizer={self.normalizer!r}"
            )

    def reset_parameters(self) -> None:
        if self.init == "paper":
            reset_content_encoder(self.channel_compressor, self.content_encoder)
            return
        # Not zero: the compressor's gradient passes through these weights.
        reset_content_encoder(self.channel_compressor, self.content_encoder, ENCODER_STD * self.init_floor)
        kernels = phase_kernels(self.init, self.sub_pixels, (self.up_kernel,) * len(self.sub_pixels))
        logits = softmax_logits(kernels, self.init_floor).flatten().repeat(self.up_group)
        self.content_encoder.bias.data.copy_(logits)

    def kernel_logits(self, x: Tensor) -> Tensor:
        """Encode ``x`` into ``(N, up_group * taps * sub-pixels, *sizes)``; channels ordered as pixel-shuffle reads."""
        x = self.channel_compressor(x)
        if self.norm:
            x = self.compressor_norm(x)
        if self.activation is not None:
            x = ACTIVATIONS[self.activation](x)
        x = self.content_encoder(x)
        return self.encoder_norm(x) if self.norm else x

    def kernels(self, x: Tensor, *, size: Size | None = None) -> Tensor:
        """The kernels that a call would apply: ``(N, up_group, taps, *targets)``, taps row-major.

        Arguments and errors as in a call. Taps outside the map are listed as they are, whatever ``padding_mode``.
        """
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        logits = self.kernel_logits(x).unflatten(1, (self.up_group, self.taps, -1))
        weights = normalize(logits, self.normalizer, 2).weights.flatten(1, 3)
        finished = shuffle(weights, self.sub_pixels)
        return read_at(finished, targets).unflatten(1, (self.up_group, self.taps))

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        y = ops.reassemble_logits(
            x,
            self.kernel_logits(x),
            self.up_kernel,
            scale_factor=self.sub_pixels,
            size=targets,
            groups=self.up_group,
            padding_mode=self.padding_mode,
            normalizer=self.normalizer,
        )
        return y if self.output is None else self.output(y)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        c, m = self.content_encoder.in_channels, self.content_encoder.out_channels
        source = math.prod(sizes) * (
            self.channel_compressor.in_channels * c + c * self.encoder_kernel ** len(sizes) * m
        )
        final = 0 if self.output is None else self.output.weight.numel()
        return source + math.prod(targets) * (self.taps * self.channel_compressor.in_channels + final)

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, up_kernel={self.up_kernel}, up_group={self.up_group}, "
            f"init={self.init!r}, padding_mode={self.padding_mode!r}"
        )


CARAFEPack = CARAFE

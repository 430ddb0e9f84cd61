"""CARAFE++ downwards: pooling whose weights a small network predicts from the content."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from karaffe import ops
from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import CONVOLUTIONS, ScaleFactor, Size, Upsampler, one_of, positive, whole_factors
from karaffe.upsamplers.carafe import ENCODER_STD, check_groups, check_kernel, reset_content_encoder
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.starts import downward_kernels, softmax_logits


@register(
    "carafe-down",
    summary="every target pools a source window with a kernel predicted from the content (reduces)",
    equation="Q[p] = sum_t softmax_t(encode_stride_s(compress(x)))[t, p] * x[s * p + t]",
    paper="Wang et al., CARAFE++: Unified Content-Aware ReAssembly of FEatures, TPAMI 44(9), 2022, arXiv:2012.04733",
    learned=True,
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
    inits=("paper", "bilinear", "nearest"),
)
class CARAFEDown(Upsampler):
    r"""Content-aware reduction by a whole factor s (Wang et al., TPAMI 2022, section 3).

    .. math::
        A = \mathrm{softmax}_t(E_{\downarrow s} * (W x)), \qquad
        Q[c, p] = \sum_t A[g(c), t, p] \cdot x[c, s p + t]

    Gives ``ceil(H / s)`` targets: a drop-in for a pooling or convolution of stride s. Here ``scale_factor`` is what
    the map is divided by. Names of arguments and state_dict as :class:`CARAFE`.

    Args:
        channels: of the input and the output.
        scale_factor: whole, or one an axis: what each size is divided by.
        down_kernel: taps an axis, odd.
        down_group: channels are cut into this many contiguous groups, each with kernels of its own.
        encoder_kernel: size of E, odd.
        compressed_channels: output channels of W.
        init: ``"paper"``: E nearly zero, begins as a box filter. ``"bilinear"``: begins as ``F.interpolate`` by
            ``1 / s`` (for s = 2 the mean of 2 x 2 pixels), ``"nearest"``: as taking every s-th pixel.
        padding_mode: what taps outside read, ``"zeros"`` or ``"replicate"``; ``None``: zeros for ``init="paper"``, else
            replicate.
        init_floor: weight that the taps which an interpolation leaves empty share at the start.
        dims: number of spatial axes, 1 to 3.

    Raises:
        ArgumentError: an argument out of range.
    """

    sizes = "exact"

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        down_kernel: int = 5,
        down_group: int = 1,
        encoder_kernel: int = 3,
        compressed_channels: int = 16,
        *,
        init: str = "paper",
        padding_mode: str | None = None,
        init_floor: float = 1e-4,
        dims: int = 2,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims)
        self.stride = whole_factors(scale_factor, dims)
        self.down_kernel = check_kernel(down_kernel, "down_kernel")
        self.down_group = positive(down_group, "down_group")
        check_groups(channels, down_group, "down_group")
        self.init = one_of(init, ("paper", "bilinear", "nearest"), "init")
        default = "zeros" if init == "paper" else "replicate"
        self.padding_mode = one_of(padding_mode or default, ("zeros", "replicate"), "padding_mode")
        if not 0 < init_floor < 1:
            raise ArgumentError(f"init_floor must be between 0 and 1; got {init_floor=}")
        self.init_floor = init_floor
        self.taps = down_kernel**dims
        convolution = CONVOLUTIONS[dims - 1]
        self.channel_compressor = convolution(channels, positive(compressed_channels, "compressed_channels"), 1)
        self.content_encoder = convolution(
            compressed_channels,
            down_group * self.taps,
            check_kernel(encoder_kernel, "encoder_kernel"),
            stride=self.stride,
            padding=encoder_kernel // 2,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.init == "paper":
            reset_content_encoder(self.channel_compressor, self.content_encoder)
            return
        reset_content_encoder(self.channel_compressor, self.content_encoder, ENCODER_STD * self.init_floor)
        kernels = downward_kernels(self.init, self.stride, (self.down_kernel,) * len(self.stride))
        self.content_encoder.bias.data.copy_(softmax_logits(kernels, self.init_floor).flatten().repeat(self.down_group))

    def target_sizes(self, sizes: Sequence[int], size: Size | None) -> tuple[int, ...]:
        if size is not None:
            return super().target_sizes(sizes, size)
        return tuple((n + s - 1) // s for n, s in zip(sizes, self.stride, strict=True))

    def kernels(self, x: Tensor) -> Tensor:
        """The kernels that a call would apply: ``(N, down_group, taps, *targets)``, taps row-major."""
        self.check_input(x)
        logits: Tensor = self.content_encoder(self.channel_compressor(x))
        return logits.unflatten(1, (self.down_group, self.taps)).softmax(2)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        kernels = self.kernels(x).flatten(1, 2)
        return reassemble_strided(x, kernels, self.down_kernel, self.stride, self.down_group, self.padding_mode)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        compressed = math.prod(sizes) * self.channel_compressor.weight.numel()
        channels = self.channel_compressor.in_channels
        return compressed + math.prod(targets) * (self.content_encoder.weight.numel() + self.taps * channels)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, down_kernel={self.down_kernel}, init={self.init!r}"


def reassemble_strided(
    x: Tensor, kernels: Tensor, kernel_size: int, factors: Sequence[int], groups: int, padding_mode: str
) -> Tensor:
    """Reassembly centred on source pixel ``s * p``: ``(N, C, *sizes)`` and ``(N, groups * taps, *targets)``.

    Of a source of ``s * H'`` pixels target y reads the window centred on ``floor(y * H / H') = s * y``; a shorter one
    is continued as its border says, which changes no tap.
    """
    missing = [t * s - n for t, s, n in zip(kernels.shape[2:], factors, x.shape[2:], strict=True)]
    if any(missing):
        mode = "replicate" if padding_mode == "replicate" else "constant"
        x = F.pad(x, [p for m in reversed(missing) for p in (0, m)], mode=mode)
    return ops.reassemble(x, kernels, kernel_size, groups=groups, padding_mode=padding_mode)

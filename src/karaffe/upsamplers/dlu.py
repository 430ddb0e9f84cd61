"""DLU: a small bank of kernels, one a source pixel, sampled at learned places."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from karaffe import ops
from karaffe.ops.geometry import source_index
from karaffe.ops.normalize import shuffle
from karaffe.upsamplers.base import ScaleFactor, Size, Upsampler, one_of, positive, whole_factors
from karaffe.upsamplers.carafe import check_kernel, reset_content_encoder
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import read_at, sample, wide


@register(
    "dlu",
    summary="CARAFE with one kernel a source pixel, which targets sample at learned places",
    equation="Q[p] = sum_t B_t(floor(p / s) + o[p]) * x[floor(p / s) + t], B = softmax_t(encode(compress(x)))",
    paper="Fu et al., DLU: Dynamic Lightweight Upsampling, ICPR 2024, arXiv:2410.22139",
    learned=True,
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
    inits=("paper",),
    dims=(2,),
)
class DLU(Upsampler):
    r"""Dynamic lightweight upsampling (Fu et al., ICPR 2024, section 3).

    .. math::
        B = \mathrm{softmax}_t(E * (W x)), \quad o = \mathrm{shuffle}_s(O * (W x)), \qquad
        Q[c, p] = \sum_t B_t\big(\lfloor p / s \rfloor + o[p]\big)\, x[c, \lfloor p / s \rfloor + t]

    with B read bilinearly, its border repeated. The encoder's width no longer grows with s², only the offsets' does.
    Untrained, all targets of a source pixel share its kernel. The released code divides by ``W - 1`` and so fails on
    maps of one pixel; positions here are in pixels. Any target size, as :class:`CARAFE`. Official keys and weights
    load.

    Args:
        channels: of the input and the output.
        scale_factor: whole, or one an axis.
        up_kernel: taps an axis of the reassembly, odd.
        encoder_kernel: of E and O, odd.
        compressed_channels: output channels of W.
        init: ``"paper"``: E nearly zero, O zero: begins as a box filter.
        padding_mode: what taps of x outside read: ``"zeros"``, ``"replicate"``, ``"reflect"``. ``None``: zeros.

    Raises:
        ArgumentError: an argument out of range.
    """

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        up_kernel: int = 5,
        encoder_kernel: int = 3,
        compressed_channels: int = 64,
        *,
        init: str = "paper",
        padding_mode: str | None = None,
    ) -> None:
        super().__init__(channels, scale_factor)
        self.sub_pixels = whole_factors(scale_factor, 2)
        self.up_kernel = check_kernel(up_kernel, "up_kernel")
        self.init = one_of(init, ("paper",), "init")
        self.padding_mode = one_of(padding_mode or "zeros", ("zeros", "replicate", "reflect"), "padding_mode")
        narrow, padding = (
            positive(compressed_channels, "compressed_channels"),
            check_kernel(encoder_kernel, "encoder_kernel") // 2,
        )
        self.channel_compressor = nn.Conv2d(channels, narrow, 1)
        self.kernel_space_generator = nn.Conv2d(narrow, up_kernel**2, encoder_kernel, padding=padding)
        self.conv_offset = nn.Conv2d(narrow, 2 * math.prod(self.sub_pixels), encoder_kernel, padding=padding)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        reset_content_encoder(self.channel_compressor, self.kernel_space_generator)
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def offsets(self, x: Tensor, *, size: Size | None = None) -> Tensor:
        """Where each target reads the bank, from the source pixel under it: ``(N, 1, 1, 2, *targets)``.

        In source pixels, (x, y). Arguments and errors as in a call.
        """
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        return self._offsets(self.channel_compressor(x), targets)[:, None, None]

    def kernels(self, x: Tensor, *, size: Size | None = None) -> Tensor:
        """The kernels that a call would apply: ``(N, 1, taps, *targets)``, taps row-major.

        Arguments and errors as in a call.
        """
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        return self._kernels(x, targets)[:, None].to(x.dtype)

    def _offsets(self, compressed: Tensor, targets: tuple[int, ...]) -> Tensor:
        return read_at(shuffle(self.conv_offset(compressed), self.sub_pixels), targets)

    def _kernels(self, x: Tensor, targets: tuple[int, ...]) -> Tensor:
        compressed = self.channel_compressor(x)
        bank = wide(self.kernel_space_generator(compressed)).softmax(1)
        moved = wide(self._offsets(compressed, targets))
        rows, columns = (
            source_index(n, t, "corner", x.device).to(moved.dtype) for n, t in zip(x.shape[2:], targets, strict=True)
        )
        parent = torch.stack(torch.broadcast_tensors(columns, rows[:, None]))
        return sample(bank, moved + parent, "replicate")

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        return ops.reassemble(x, self._kernels(x, targets).to(x.dtype), self.up_kernel, padding_mode=self.padding_mode)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        layers = (self.channel_compressor, self.kernel_space_generator, self.conv_offset)
        at_source = sum(layer.weight.numel() for layer in layers)
        return math.prod(sizes) * at_source + math.prod(targets) * self.up_kernel**2 * (4 + (self.channels or 0))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, up_kernel={self.up_kernel}"

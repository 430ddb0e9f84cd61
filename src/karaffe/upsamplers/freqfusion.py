"""FreqFusion: low-pass kernels for the map that is enlarged, high-pass ones for the guide that it meets."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from karaffe import ops
from karaffe.errors import ArgumentError
from karaffe.ops.normalize import shuffle, unshuffle
from karaffe.upsamplers.base import ScaleFactor, Size, Upsampler, one_of, positive, whole_factors
from karaffe.upsamplers.carafe import ENCODER_STD, check_groups, check_kernel
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import sample, wide
from karaffe.upsamplers.starts import sub_pixel_offsets

NORM_WIDTH, NEIGHBOURS, SPACING = 8, 8, 2


def hamming(size: int) -> Tensor:
    """The two-dimensional Hamming window, ``(1, 1, size, size)``: edges 0.08 an axis."""
    window = torch.hamming_window(size, periodic=False, dtype=torch.get_default_dtype())
    return torch.outer(window, window)[None, None]


def neighbour_similarity(x: Tensor) -> Tensor:
    """Cosine of every pixel with its eight neighbours at distance 2, zero outside: ``(N, 8, H, W)``."""
    x = x / x.norm(dim=1, keepdim=True).clamp(min=1e-8)
    every = ops.correlate(x, x, 3, dilation=SPACING)
    return torch.cat([every[:, : NEIGHBOURS // 2], every[:, NEIGHBOURS // 2 + 1 :]], 1)


class OffsetGenerator(nn.Module):
    """Where to read the enlarged map again: offsets from the similarity of neighbours in both compressed maps."""

    init_pos: Tensor

    def __init__(self, channels: int, factor: int, groups: int) -> None:
        super().__init__()
        if channels % NORM_WIDTH:
            raise ArgumentError(
                f"compressed_channels must be a multiple of {NORM_WIDTH} with feature_resample=True; got {channels}"
            )
        self.factor, self.groups = factor, groups
        seen, phases = channels + NEIGHBOURS, factor * factor
        self.offset = nn.Conv2d(seen, 2 * groups * phases, 3, padding=1)
        self.direct_scale = nn.Conv2d(seen, 2 * groups * phases, 3, padding=1)
        self.hr_offset = nn.Conv2d(seen, 2 * groups, 3, padding=1)
        self.hr_direct_scale = nn.Conv2d(seen, 2 * groups, 3, padding=1)
        self.norm_hr = nn.GroupNorm(channels // NORM_WIDTH, channels)
        self.norm_lr = nn.GroupNorm(channels // NORM_WIDTH, channels)
        y, x = torch.meshgrid(*[sub_pixel_offsets(factor)] * 2, indexing="ij")
        both = torch.stack([x, y])[:, None].expand(-1, groups, -1, -1)
        self.register_buffer("init_pos", both.reshape(1, -1, 1, 1).to(torch.get_default_dtype()))

    def places(self, high: Tensor, low: Tensor) -> Tensor:
        """Positions within their source pixels, ``(N, 2 * groups, *targets)``, x before y."""
        high, low = self.norm_hr(high), self.norm_lr(low)
        high, low = (torch.cat([v, neighbour_similarity(v)], 1) for v in (high, low))
        factors = (self.factor, self.factor)
        direction = self.offset(low) + unshuffle(self.hr_offset(high), factors)
        strength = (self.direct_scale(low) + unshuffle(self.hr_direct_scale(high), factors)).sigmoid()
        return shuffle(wide(direction * strength) + wide(self.init_pos), factors)

    def forward(self, enlarged: Tensor, high: Tensor, low: Tensor) -> Tensor:
        """Read ``enlarged`` at those positions; offsets of zero change nothing."""
        n, c, height, width = enlarged.shape
        place = self.places(high, low).unflatten(1, (2, self.groups)).transpose(1, 2).flatten(0, 1)
        rows, columns = (torch.arange(t, device=place.device) // self.factor for t in (height, width))
        parent = torch.stack(torch.broadcast_tensors(columns, rows[:, None]))
        position = (place + parent + 0.5) * self.factor - 0.5
        maps = wide(enlarged).reshape(n * self.groups, c // self.groups, height, width)
        return sample(maps, position, "replicate").reshape(enlarged.shape).to(enlarged.dtype)


@register(
    "freqfusion",
    summary="low-pass kernels from both maps enlarge x; fuse() also sharpens the guide with high-pass ones",
    equation="Q = reassemble(x, norm(Z)), Z = enc(h) + reassemble(enc(l), norm(enc(h))), norm = softmax * window / sum",
    paper="Chen et al., Frequency-aware Feature Fusion for Dense Image Prediction, TPAMI 2024, arXiv:2408.12879",
    learned=True,
    guide_is="the higher-resolution map of the encoder",
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
    inits=("paper",),
    dims=(2,),
)
class FreqFusion(Upsampler):
    r"""Frequency-aware feature fusion (Chen et al., TPAMI 2024, section 4).

    With compressed maps l of x and h of the guide y, two encoders E (low-pass) and F (high-pass), and
    ``norm(z) = softmax_t(z) * window[t] / sum``:

    .. math::
        h' = 2h - \mathrm{re}\big(h, \mathrm{norm}(F h)\big), \quad
        Z = E h' + \mathrm{re}\big(E l, \mathrm{norm}(E h')\big), \quad
        M = \mathrm{norm}(Z), \quad Q = \mathrm{re}(x, M)

    .. math::
        y' = 2y - \mathrm{re}\big(y, \mathrm{norm}(F h + \mathrm{re}(F l, M))\big)

    A call gives Q; :meth:`fuse` gives ``(M, y', Q)``, which the published networks add or concatenate. Any target size
    (that of the guide) without the sampler, exactly ``scale_factor`` times with it. Official keys and weights load. The
    official module reads zeros outside with mmcv's operator and mirrors without it; its weights suit one of the two.

    Args:
        channels: of the input and the output.
        scale_factor: a positive number, or one an axis; whole and one for both axes with ``feature_resample``.
        lowpass_kernel, highpass_kernel: taps an axis, odd.
        compressed_channels: of l and h.
        encoder_kernel: of E and F, odd.
        feature_resample: move targets by learned offsets afterwards, as the published networks do.
        resample_groups: contiguous channel groups with offsets of their own.
        guide_channels: of the guide; ``None``: as ``channels``.
        init: ``"paper"``: encoders near zero; the sampler begins as the identity.
        released_sweep: initialise as the released code does, whose Xavier sweep over all convolutions also reaches the
            sampler, so that it begins with offsets of some hundredths of a pixel.
        padding_mode: what taps outside read: ``"zeros"``, ``"replicate"``, ``"reflect"``; ``None``: zeros.

    Raises:
        ArgumentError: an argument out of range.
    """

    needs_guide = True
    hamming_lowpass: Tensor
    hamming_highpass: Tensor

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        lowpass_kernel: int = 5,
        highpass_kernel: int = 3,
        compressed_channels: int = 64,
        encoder_kernel: int = 3,
        feature_resample: bool = False,
        resample_groups: int = 4,
        *,
        guide_channels: int | None = None,
        init: str = "paper",
        released_sweep: bool = False,
        padding_mode: str | None = None,
    ) -> None:
        super().__init__(channels, scale_factor, guide_channels=guide_channels)
        self.up_kernel = check_kernel(lowpass_kernel, "lowpass_kernel")
        self.highpass_kernel = check_kernel(highpass_kernel, "highpass_kernel")
        padding = check_kernel(encoder_kernel, "encoder_kernel") // 2
        self.init, self.released_sweep = one_of(init, ("paper",), "init"), released_sweep
        self.padding_mode = one_of(padding_mode or "zeros", ("zeros", "replicate", "reflect"), "padding_mode")
        narrow = positive(compressed_channels, "compressed_channels")
        self.hr_channel_compressor = nn.Conv2d(guide_channels or channels, narrow, 1)
        self.lr_channel_compressor = nn.Conv2d(channels, narrow, 1)
        self.content_encoder = nn.Conv2d(narrow, lowpass_kernel**2, encoder_kernel, padding=padding)
        self.content_encoder2 = nn.Conv2d(narrow, highpass_kernel**2, encoder_kernel, padding=padding)
        self.register_buffer("hamming_lowpass", hamming(lowpass_kernel))
        self.register_buffer("hamming_highpass", hamming(highpass_kernel))
        self.dysampler = None
        if feature_resample:
            factors = whole_factors(scale_factor, 2)
            if factors[0] != factors[1]:
                raise ArgumentError(f"feature_resample needs one factor for both axes; got {scale_factor=}")
            check_groups(channels, positive(resample_groups, "resample_groups"), "resample_groups")
            self.dysampler = OffsetGenerator(narrow, factors[0], resample_groups)
            self.sizes = "exact"
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        for encoder in (self.content_encoder, self.content_encoder2):
            nn.init.normal_(encoder.weight, std=ENCODER_STD)
        if self.dysampler is not None and not self.released_sweep:
            for layer in (self.dysampler.offset, self.dysampler.hr_offset):
                nn.init.normal_(layer.weight, std=ENCODER_STD)
            for layer in (self.dysampler.direct_scale, self.dysampler.hr_direct_scale):
                nn.init.zeros_(layer.weight)

    def kernels(self, x: Tensor, guide: Tensor, *, size: Size | None = None) -> Tensor:
        """The low-pass kernels that a call would apply: ``(N, 1, taps, *targets)``, taps row-major.

        Arguments and errors as in a call.
        """
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        self.check_guide(x, guide, targets)
        return self._low_pass(self.lr_channel_compressor(x), self.hr_channel_compressor(guide))[0][:, None]

    def _normalised(self, logits: Tensor, window: Tensor) -> Tensor:
        weights = logits.softmax(1) * window.flatten()[:, None, None]
        return weights / weights.sum(1, keepdim=True)

    def _reassemble(self, x: Tensor, kernels: Tensor, size: int) -> Tensor:
        return ops.reassemble(x, kernels, size, padding_mode=self.padding_mode)

    def _low_pass(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Kernels M, the high-pass logits of the guide, and its compressed map with its detail raised."""
        detail: Tensor = self.content_encoder2(high)
        blurred = self._reassemble(high, self._normalised(detail, self.hamming_highpass), self.highpass_kernel)
        high = 2 * high - blurred
        first: Tensor = self.content_encoder(high)
        second = self._reassemble(
            self.content_encoder(low), self._normalised(first, self.hamming_lowpass), self.up_kernel
        )
        return self._normalised(first + second, self.hamming_lowpass), detail, high

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        low, high = self.lr_channel_compressor(x), self.hr_channel_compressor(guide)
        kernels, _, high = self._low_pass(low, high)
        y = self._reassemble(x, kernels, self.up_kernel)
        return y if self.dysampler is None else self.dysampler(y, high, low)

    def fuse(self, x: Tensor, guide: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both maps at the guide's size: ``(kernels (N, taps, *targets), guide, x)``.

        Args:
            x: ``(N, channels, H, W)``.
            guide: ``(N, guide_channels, *targets)``; its size is the target.

        Raises:
            ShapeError, ArgumentError, DtypeError: as in a call.
        """
        targets = tuple(guide.shape[2:])
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        self.check_guide(x, guide, targets)
        low, high = self.lr_channel_compressor(x), self.hr_channel_compressor(guide)
        kernels, detail, high = self._low_pass(low, high)
        logits = detail + self._reassemble(self.content_encoder2(low), kernels, self.up_kernel)
        smooth = self._reassemble(guide, self._normalised(logits, self.hamming_highpass), self.highpass_kernel)
        y = self._reassemble(x, kernels, self.up_kernel)
        y = y if self.dysampler is None else self.dysampler(y, high, low)
        return kernels, 2 * guide - smooth, y

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        low, high = math.prod(sizes), math.prod(targets)
        channels, narrow = self.lr_channel_compressor.in_channels, self.lr_channel_compressor.out_channels
        encoder, detail = self.content_encoder.weight.numel(), self.content_encoder2.weight.numel()
        read = self.up_kernel**2 * (self.up_kernel**2 + channels) + self.highpass_kernel**2 * narrow
        total = low * (self.lr_channel_compressor.weight.numel() + encoder)
        total += high * (self.hr_channel_compressor.weight.numel() + encoder + detail + read)
        if self.dysampler is None:
            return total
        similar = (NEIGHBOURS + 1) * narrow
        total += low * (2 * self.dysampler.offset.weight.numel() + similar)
        return total + high * (2 * self.dysampler.hr_offset.weight.numel() + similar + 4 * channels)

    def guide_macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        """Multiply-adds that :meth:`fuse` does on top of a call, for the guide."""
        taps = self.highpass_kernel**2
        at_targets = taps * (self.up_kernel**2 + self.hr_channel_compressor.in_channels)
        return math.prod(sizes) * self.content_encoder2.weight.numel() + math.prod(targets) * at_targets

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, up_kernel={self.up_kernel}, feature_resample={self.dysampler is not None}"

"""UPLiFT: a small decoder by two, repeated, whose last step only mixes the features that it was given."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe import ops
from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import ScaleFactor, Upsampler, one_of, positive, whole_factors
from karaffe.upsamplers.image_attention import reset_children
from karaffe.upsamplers.registry import register

# The neighbourhoods that releases know, as (row, column) from the centre, in the order of their channels.
_CROSS = [(-1, 0), (0, -1), (0, 0), (0, 1), (1, 0)]
_SQUARE = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
_WIDE = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
NEIGHBOURHOODS = {
    5: _CROSS,
    9: _SQUARE,
    13: [(y, x) for y, x in _WIDE if abs(y) + abs(x) <= 2],
    17: [(y, x) for y, x in _WIDE if max(abs(y), abs(x)) < 2 or (y % 2 == 0 and x % 2 == 0)],
    25: _WIDE,
}
ENCODER_WIDTHS = (16, 32, 64, 128, 128)


def add_what_fits(x: Tensor, y: Tensor) -> Tensor:
    """``y`` plus the channels of ``x`` that it has; the others are dropped, those missing are zero."""
    shared = min(x.shape[1], y.shape[1])
    if shared == y.shape[1]:
        return x[:, :shared] + y
    return torch.cat([x + y[:, :shared], y[:, shared:]], 1)


class LocalAttender(nn.Module):
    """Mix the neighbours of a source pixel with weights that a guide gives: softmax over a sparse footprint.

    Args:
        in_channels: of the guide, at least ``num_connected`` for the released residual to reach every weight.
        num_connected: 5, 9, 13, 17 or 25 neighbours.
    """

    def __init__(self, in_channels: int, num_connected: int = 17) -> None:
        super().__init__()
        if num_connected not in NEIGHBOURHOODS:
            raise ArgumentError(f"num_connected must be one of {tuple(NEIGHBOURHOODS)}; got {num_connected=}")
        self.conv1 = nn.Conv2d(in_channels, num_connected, 1)
        offsets = NEIGHBOURHOODS[num_connected]
        reach = max(y for y, _ in offsets)
        self.kernel_size = 2 * reach + 1
        self.places = [(y + reach) * self.kernel_size + x + reach for y, x in offsets]

    def kernels(self, guide: Tensor) -> Tensor:
        """``(N, taps of the whole window, *targets)``; taps outside of the footprint are zero."""
        weights = add_what_fits(guide, self.conv1(guide)).softmax(1)
        taps = self.kernel_size**2
        if len(self.places) == taps:
            return weights
        whole = weights.new_zeros(weights.shape[0], taps, *weights.shape[2:])
        return whole.index_copy(1, torch.tensor(self.places, device=weights.device), weights)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """``x (N, C, h, w)`` at the size of ``guide (N, in_channels, H, W)``; borders are repeated."""
        return ops.reassemble(x, self.kernels(guide), self.kernel_size, padding_mode="replicate")


class _Convolutions(nn.Module):
    """3 x 3 convolutions, each normalised and rectified, then 1 x 1, plus the input; under ``blocks.0.conv``."""

    def __init__(self, channels: int, *widths: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        block = nn.Module()
        block.conv = nn.Sequential(*layers, nn.Conv2d(channels, channels, 1))
        self.blocks = nn.Sequential(block)

    def forward(self, x: Tensor) -> Tensor:
        return add_what_fits(x, self.blocks[0].conv(x))  # type: ignore[operator]


class _TwofoldConvolution(nn.Module):
    """Transposed convolution by 2, plus bilinear interpolation with corners aligned."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, width, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        smooth = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        y: Tensor = self.up(x)
        return y + smooth


@register(
    "uplift",
    summary="a convolutional decoder by two, repeated, that says how to mix a source pixel's neighbours",
    equation="Q[p] = sum_t softmax_t(a(decode(x, encode(image))))[t, p] * x[floor(p / 2) + d_t], repeated",
    paper="Walmer et al., UPLiFT: Efficient Pixel-Dense Feature Upsampling with Local Attenders, CVPR 2026, "
    "arXiv:2601.17950",
    learned=True,
    guide_is="an image of any size, normalised as the backbone's input",
    convex=True,
    unit_sum=True,
    shift_equivariant=False,
    inits=("paper",),
    dims=(2,),
)
class UPLiFT(Upsampler):
    r"""Iterated upsampling with local attenders (Walmer et al., CVPR 2026, section 3).

    .. math::
        g = D\big(x, E(I)\big), \quad a = W g + g_{1 \ldots T}, \qquad
        Q[c, p] = \sum_{t=1}^{T} \mathrm{softmax}_t(a)[t, p] \; x[c, \lfloor p / 2 \rfloor + d_t]

    A step enlarges by 2; ``scale_factor`` a power of 2 repeats it with the same weights and the image encoder's maps
    computed once. D sees the image's maps at its own two resolutions, by nearest interpolation; T = 17 neighbours: the
    3 x 3 and eight of the ring around it; borders are repeated. So the result stays in the features' range. Official
    keys and weights load. For backbones of patch 14, the released code resizes the image by 16/14 first: do so outside.

    Args:
        channels: of the input and the output.
        scale_factor: a power of 2.
        num_connected: T, 5, 9, 13, 17 or 25.
        width: channels of D.
        guide_channels: of the image.
        init: ``"paper"``: torch's defaults.

    Raises:
        ArgumentError: an argument out of range.
    """

    sizes = "exact"
    needs_guide = True
    guide_at = "any"

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        num_connected: int = 17,
        width: int = 64,
        *,
        guide_channels: int | None = 3,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, scale_factor, guide_channels=guide_channels)
        factors = whole_factors(scale_factor, 2)
        self.steps = factors[0].bit_length() - 1
        if factors[0] != factors[1] or factors[0] != 1 << self.steps or not self.steps:
            raise ArgumentError(f"scale_factor must be a power of 2, 2 or more, for UPLiFT; got {scale_factor=}")
        self.init = one_of(init, ("paper",), "init")
        before = self.guide_channels or 0
        self.encoder = nn.Module()
        for i, after in enumerate(ENCODER_WIDTHS):
            self.encoder.add_module(f"block_{i}", _Convolutions(before, after))
            before = after
        self.decoder = nn.Module()
        self.decoder.block_0 = _Convolutions(channels + before, positive(width, "width"), width)
        self.decoder.up_1 = _TwofoldConvolution(width)
        self.decoder.block_1 = _Convolutions(width + ENCODER_WIDTHS[-2], width, width)
        self.attender = LocalAttender(width, num_connected)
        self.up_kernel = self.attender.kernel_size

    def reset_parameters(self) -> None:
        reset_children(self)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("UPLiFT needs a guide")
        encoded = [guide.to(x.dtype)]
        for i in range(len(ENCODER_WIDTHS)):
            encoded.append(getattr(self.encoder, f"block_{i}")(encoded[-1]))
        for _ in range(self.steps):
            x = self.attender(x, self._decoded(x, encoded))
        return x

    def _decoded(self, x: Tensor, encoded: list[Tensor]) -> Tensor:
        sizes = (x.shape[2], x.shape[3])
        y = self.decoder.block_0(torch.cat([x, F.interpolate(encoded[-1], size=sizes)], 1))  # type: ignore[operator]
        y = self.decoder.up_1(y)  # type: ignore[operator]
        larger = (2 * sizes[0], 2 * sizes[1])
        decoded: Tensor = self.decoder.block_1(  # type: ignore[operator]
            torch.cat([y, F.interpolate(encoded[-2], size=larger)], 1)
        )
        return decoded

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        """With an image of the target size."""

        def weights(module: nn.Module) -> int:
            kinds = (nn.Conv2d, nn.ConvTranspose2d)
            return sum(m.weight.numel() for m in module.modules() if isinstance(m, kinds))

        total = math.prod(targets) * weights(self.encoder)
        low = weights(self.decoder.block_0) + weights(self.decoder.up_1)  # type: ignore[arg-type]
        high = weights(self.decoder.block_1) + weights(self.attender)  # type: ignore[arg-type]
        high += self.up_kernel**2 * (self.channels or 0)
        pixels = math.prod(sizes)
        for _ in range(self.steps):
            total += pixels * (low + 4 * high)
            pixels *= 4
        return total

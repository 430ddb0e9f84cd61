"""NAF: neighbourhood attention from an image's code at targets to the same code at sources."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe import ops
from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import ScaleFactor, Upsampler, one_of
from karaffe.upsamplers.carafe import check_groups, check_kernel
from karaffe.upsamplers.image_attention import NORM_GROUPS, ROPE_BASE, check_width, reset_children
from karaffe.upsamplers.jbu import pooled
from karaffe.upsamplers.registry import register

# The image is first reduced to at most so many times the target.
LARGEST_IMAGE = 4


class _Block(nn.Module):
    """Two convolutions, each behind normalisation and SiLU; nothing is added."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv1 = _convolution(channels, channels, kernel_size)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv2 = _convolution(channels, channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return y


def _convolution(channels: int, out: int, kernel_size: int) -> nn.Conv2d:
    if kernel_size == 1:
        return nn.Conv2d(channels, out, 1)
    return nn.Conv2d(channels, out, kernel_size, padding=kernel_size // 2, padding_mode="reflect")


class HeadwisePlace(nn.Module):
    """Rotary place code of each head: a quarter of its channels' periods an axis, coordinates in [-1, 1].

    .. math:: x \\cos\\theta + [-x_2, x_1] \\sin\\theta, \\quad \\theta_i = 2 \\pi c / 100^{2 i / (D / 2)}
    """

    periods: Tensor

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        each = channels // heads
        exponents = 2 * torch.arange(each // 4, dtype=torch.get_default_dtype()) / (each // 2)
        self.register_buffer("periods", ROPE_BASE**exponents)

    def forward(self, x: Tensor) -> Tensor:
        """The code applied to ``(N, C, H, W)``."""
        height, width = x.shape[2:]
        like = self.periods
        rows, columns = ((2 * torch.arange(n, device=x.device, dtype=like.dtype) + 1) / n - 1 for n in (height, width))
        angles = 2 * math.pi / like[:, None, None]
        both = torch.cat([(angles * rows[:, None]).expand(-1, -1, width), (angles * columns).expand(-1, height, -1)])
        cosine, sine = (v.repeat(2, 1, 1).to(x.dtype) for v in (both.cos(), both.sin()))
        x = x.unflatten(1, (self.heads, -1))
        first, second = x.chunk(2, 2)
        return (x * cosine + torch.cat([-second, first], 2) * sine).flatten(1, 2)


class _ImageEncoder(nn.Module):
    """Half of the channels see a pixel, half its surroundings; means at the target, then the place code."""

    def __init__(self, channels: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        half = width // 2
        self.encoder, self.sem_encoder = (
            nn.Sequential(_convolution(channels, half, k), *(_Block(half, k) for _ in range(layers))) for k in (1, 3)
        )
        self.rope = HeadwisePlace(width, heads)

    def forward(self, image: Tensor, targets: tuple[int, ...]) -> Tensor:
        if any(n > LARGEST_IMAGE * t for n, t in zip(image.shape[2:], targets, strict=True)):
            # By the smaller of both axes, as released.
            most = LARGEST_IMAGE * min(targets)
            image = F.interpolate(image, size=[min(n, most) for n in image.shape[2:]], mode="bilinear")
        encoded = torch.cat([self.encoder(image), self.sem_encoder(image)], 1)
        y: Tensor = self.rope(pooled(encoded, targets))
        return y


@register(
    "naf",
    summary="every target attends to a source window by an image's code alone; one set of weights for any features",
    equation="Q[p] = sum_t softmax_t(e(image)[p] . mean(e(image))[src(p) + t] / sqrt(d)) x[src(p) + t]",
    paper="Chambon et al., NAF: Zero-Shot Feature Upsampling via Neighborhood Attention Filtering, 2025, "
    "arXiv:2511.18452",
    learned=True,
    guide_is="an image of any size, normalised as the backbone's input",
    convex=True,
    unit_sum=True,
    shift_equivariant=False,
    inits=("paper",),
    dims=(2,),
)
class NAF(Upsampler):
    r"""Neighbourhood attention filtering (2025, section 3).

    .. math::
        q = \mathrm{rope}\big(\mathrm{pool}_{H'}(E(I))\big), \quad k = \mathrm{pool}_H(q), \qquad
        Q[c, p] = \sum_t \mathrm{softmax}_t\big(q_h[p] \cdot k_h[src(p) + t] / \sqrt d\big)\, x[c, src(p) + t]

    Each head filters its contiguous share of the channels, with kernels that the image alone decides: no parameter
    depends on the features. Windows are moved until they lie inside (:func:`karaffe.ops.local_attention`, ``"shift"``);
    a source smaller than the window is seen whole. ``src(p) = floor((p + 1/2) * H / H')``: for whole factors the
    released computation, a dilated window of the source enlarged by nearest interpolation; between them that one rounds
    its dilation down. Training with randomly rescaled coordinates is left out. Official keys and weights load.

    Args:
        channels: of the input and the output; ``heads`` divides it.
        scale_factor: a positive number, or one an axis; any ``size=``.
        qk_dim: width of the code.
        heads: of the attention and of the place code.
        up_kernel: taps an axis, odd.
        layers: blocks of each image encoder.
        guide_channels: of the image.
        init: ``"paper"``: torch's defaults.

    Raises:
        ArgumentError: an argument out of range.
    """

    needs_guide = True
    guide_at = "any"

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        qk_dim: int = 256,
        heads: int = 4,
        up_kernel: int = 9,
        layers: int = 2,
        *,
        guide_channels: int | None = 3,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, scale_factor, guide_channels=guide_channels)
        check_width(qk_dim, heads)
        if qk_dim % (4 * heads) or qk_dim % (2 * NORM_GROUPS):
            raise ArgumentError(
                f"qk_dim must be a multiple of 4 * heads={4 * heads} and of {2 * NORM_GROUPS}; got {qk_dim}"
            )
        check_groups(channels, heads, "heads")
        self.heads, self.up_kernel = heads, check_kernel(up_kernel, "up_kernel")
        self.init = one_of(init, ("paper",), "init")
        self.image_encoder = _ImageEncoder(self.guide_channels or 0, qk_dim, heads, layers)

    def reset_parameters(self) -> None:
        reset_children(self)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("NAF needs a guide")
        query = self.image_encoder(guide.to(x.dtype), targets)
        key = pooled(query, (x.shape[2], x.shape[3]))
        window = [min(self.up_kernel, n) for n in x.shape[2:]]
        return ops.local_attention(query, key, x, window, heads=self.heads, padding_mode="shift", alignment="center")

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        """With an image of the target size."""
        encoders = sum(m.weight.numel() for m in self.image_encoder.modules() if isinstance(m, nn.Conv2d))
        width = 2 * self.image_encoder.encoder[0].out_channels  # type: ignore[operator]
        window = math.prod(min(self.up_kernel, n) for n in sizes)
        return int(math.prod(targets) * (encoders + window * (width + (self.channels or 0))))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, heads={self.heads}, up_kernel={self.up_kernel}"

"""`sharp`: a small network that looks at the luma and predicts, for every target pixel, how to mix source pixels.

The network does not draw pixels: it predicts signed kernels that sum to one, and :func:`karaffe.ops.reassemble`
applies them to the image. From the construction follow, for any weights: a constant image stays constant; adding a
constant to the image adds it to the result; every channel gets the same kernels, so that grey and RGB share one
network and no colour fringe can be invented.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.models.base import SuperResolver
from karaffe.models.strips import in_strips
from karaffe.ops import reassemble
from karaffe.upsamplers.resampling import resample_weights

# BT.601 luma of gamma-encoded RGB, on the full range.
LUMA = (0.299, 0.587, 0.114)
FIRST_KERNEL = 5


def to_luma(x: Tensor) -> Tensor:
    """Return the luma ``(N, 1, H, W)`` of grey or RGB images ``(N, 1 or 3, H, W)``."""
    return x if x.shape[1] == 1 else (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def bicubic_kernels(scale: int, kernel_size: int) -> Tensor:
    """Return bicubic interpolation (a = -1/2) as reassembly kernels ``(scale², kernel_size²)`` in float64.

    Sub-pixels are row-major within the source pixel, taps row-major around it. ``kernel_size`` is odd, at least 5.
    """
    centre, radius = 4, kernel_size // 2
    indices, weights = resample_weights(2 * centre + 1, scale * (2 * centre + 1), "cubic")
    rows = slice(centre * scale, (centre + 1) * scale)
    axis = torch.zeros(scale, kernel_size, dtype=torch.float64)
    axis.scatter_add_(1, indices[rows] - centre + radius, weights[rows])
    return torch.einsum("ai,bj->abij", axis, axis).reshape(scale**2, kernel_size**2)


def reassemble_subpixels(x: Tensor, kernels: Tensor, scale: int, kernel_size: int) -> Tensor:
    """Apply kernels ``(N, scale² · kernel_size², H, W)``, sub-pixel-major, to ``x (N, C, H, W)``, borders replicated.

    The ``scale²`` targets of a source pixel read one window, so they are groups of a reassembly at source
    resolution; only its result, not the kernels, has to be shuffled into place.
    """
    subpixels = scale**2
    targets = reassemble(x.repeat(1, subpixels, 1, 1), kernels, kernel_size, groups=subpixels, padding_mode="replicate")
    return F.pixel_shuffle(targets.unflatten(1, (subpixels, -1)).transpose(1, 2).flatten(1, 2), scale)


class Sharp(SuperResolver):
    r"""Content-aware kernels for the image itself, predicted from its luma.

    .. math:: A_p = B_p + (I - \tfrac{1}{k^2} 1 1^\top) (W\, T(Y) + b)_p, \qquad
              Q[c, p] = \sum_t A_p[t] \cdot V[c, src(p) + t]

    with the luma ``Y``, a trunk ``T`` of convolutions at source resolution whose first layer sums to zero, the
    bicubic kernels ``B`` and a linear head ``W, b`` whose result is projected to zero sum. An untrained network is
    bicubic interpolation. The reassembly is that of Wang et al., *CARAFE*, ICCV 2019, equation 2, with signed kernels
    and replicated borders.

    Args:
        scale: the factor.
        channels: width of the trunk.
        depth: number of 3x3 convolutions after the first one.
        kernel_size: taps an axis of the predicted kernels, odd, at least 5 (bicubic must fit).

    Raises:
        ArgumentError: an argument out of range.
    """

    base: Tensor

    def __init__(self, scale: int, *, channels: int = 32, depth: int = 4, kernel_size: int = 5) -> None:
        if kernel_size < 5 or kernel_size % 2 == 0:
            raise ArgumentError(f"kernel_size must be odd and at least 5; got {kernel_size!r}")
        if channels < 1 or depth < 0:
            raise ArgumentError(f"channels must be at least 1 and depth at least 0; got {channels=}, {depth=}")
        super().__init__(scale, max(FIRST_KERNEL // 2 + depth, kernel_size // 2))
        self.kernel_size = kernel_size
        self.first = nn.Conv2d(1, channels, FIRST_KERNEL)
        self.trunk = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth))
        self.head = nn.Conv2d(channels, scale**2 * kernel_size**2, 1)
        self.register_buffer("base", bicubic_kernels(scale, kernel_size).float(), persistent=False)
        for layer in (self.first, *self.trunk):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.get_parameter("bias"))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.get_parameter("bias"))

    def kernels(self, luma: Tensor) -> Tensor:
        """Predict the kernels of ``luma (N, 1, H, W)``: ``(N, scale² · kernel_size², H, W)``, sub-pixel-major."""
        return F.conv2d(self._features(luma).contiguous(), *self._head())

    def enlarge(self, x: Tensor) -> Tensor:
        weight, bias = self._head()

        def reassembled(image: Tensor, features: Tensor) -> Tensor:
            # The kernels are read tap by tap: planes are the layout for that.
            kernels = F.conv2d(features.contiguous(), weight, bias)
            return reassemble_subpixels(image, kernels, self.scale, self.kernel_size)

        return in_strips(reassembled, x, self._features(to_luma(x)), self.kernel_size // 2)

    def _features(self, luma: Tensor) -> Tensor:
        """Return the trunk's features, channels last. The first layer is put to zero sum: that costs nothing."""
        margin = FIRST_KERNEL // 2
        weight = self.first.weight - self.first.weight.mean((1, 2, 3), keepdim=True)
        x = F.pad(luma, (margin,) * 4, mode="replicate").contiguous(memory_format=torch.channels_last)
        x = first = F.relu_(F.conv2d(x, weight, self.first.bias))
        for layer in self.trunk:
            x = F.relu_(layer(x))
        return x + first

    def _head(self) -> tuple[Tensor, Tensor]:
        """Return the head's weight and bias, put to zero sum over the taps, bicubic kernels added."""
        weight = self.head.weight.unflatten(0, self.base.shape)
        bias = self.head.get_parameter("bias").unflatten(0, self.base.shape)
        weight = (weight - weight.mean(1, keepdim=True)).flatten(0, 1)
        return weight, (bias - bias.mean(1, keepdim=True) + self.base).flatten()

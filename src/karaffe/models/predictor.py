"""A small network that looks at the luma and predicts, for every target pixel, how to mix source pixels.

The network does not draw pixels: it predicts kernels, and :func:`karaffe.ops.reassemble` applies them to the image.
Every channel gets the same kernels, so that grey and RGB share one network and no colour fringe can be invented. The
first layer sums to zero, so that kernels do not depend on brightness.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.models.base import SuperResolver
from karaffe.models.kernels import reassemble_subpixels
from karaffe.models.luma import to_luma
from karaffe.models.strips import in_strips, is_recorded
from karaffe.ops import reassemble_logits
from karaffe.ops.normalize import normalize

FIRST_KERNEL = 5


class KernelPredictor(SuperResolver):
    """A trunk of convolutions at source resolution and a linear head with ``scale² · kernel_size²`` outputs.

    Args:
        scale: the factor.
        channels: width of the trunk.
        depth: number of 3x3 convolutions after the first one.
        kernel_size: taps an axis of the predicted kernels, odd, at least 5.

    Attributes:
        normalizer: what makes kernels of what the head gives, as :func:`karaffe.ops.reassemble_logits` names it.

    Raises:
        ArgumentError: an argument out of range.
    """

    normalizer: ClassVar[str] = "none"

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
        for layer in (self.first, *self.trunk):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.get_parameter("bias"))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.get_parameter("bias"))

    @abstractmethod
    def head_weights(self) -> tuple[Tensor, Tensor]:
        """Return the head's weight and bias, with what can be put on them of what the kernels promise."""

    def normalize(self, kernels: Tensor) -> Tensor:
        """Return what the head gives ``(N, scale² · kernel_size², H, W)`` as kernels of the same shape."""
        if self.normalizer == "none":
            return kernels
        return normalize(kernels.unflatten(1, (self.scale**2, -1)), self.normalizer, 2).weights.flatten(1, 2)

    def kernels(self, luma: Tensor) -> Tensor:
        """Predict the kernels of ``luma (N, 1, H, W)``: ``(N, scale² · kernel_size², H, W)``, sub-pixel-major."""
        return self.normalize(F.conv2d(self.features(luma).contiguous(), *self.head_weights()))

    def enlarge(self, x: Tensor) -> Tensor:
        luma = to_luma(x)
        if is_recorded(x):
            return reassemble_subpixels(x, self.kernels(luma), self.scale, self.kernel_size)
        # The same in the order of pixel-shuffle, tap by tap: normalised and put into place as they are used.
        weight, bias = (w.unflatten(0, (self.scale**2, -1)).transpose(0, 1).flatten(0, 1) for w in self.head_weights())

        def reassembled(image: Tensor, features: Tensor) -> Tensor:
            return reassemble_logits(
                image,
                F.conv2d(features, weight, bias),
                self.kernel_size,
                scale_factor=self.scale,
                padding_mode="replicate",
                normalizer=self.normalizer,
            )

        return in_strips(reassembled, x, self.features(luma), self.kernel_size // 2)

    def features(self, luma: Tensor) -> Tensor:
        """Return ``(N, channels, H, W)`` of ``luma (N, 1, H, W)``, channels last.

        That the first layer sums to zero is put on the weight.
        """
        margin = FIRST_KERNEL // 2
        weight = self.first.weight - self.first.weight.mean((1, 2, 3), keepdim=True)
        x = F.pad(luma, (margin,) * 4, mode="replicate").contiguous(memory_format=torch.channels_last)
        x = first = F.relu_(F.conv2d(x, weight, self.first.bias))
        for layer in self.trunk:
            x = F.relu_(layer(x))
        return x + first

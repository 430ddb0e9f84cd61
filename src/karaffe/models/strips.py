"""Predict and use kernels a few rows at a time, so that they never leave the processor's cache.

Kernels have ``scale² · kernel_size²`` values a source pixel, many times the image and its features. Written to memory
for a whole tile they cost more time than their arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# At this size the kernels of x2 fill 3 MB: part of the cache that cores share, and below what malloc maps anew.
STRIP_PIXELS = 1 << 13


def is_recorded(image: Tensor) -> bool:
    """Whether operators are recorded, for gradients or for a compiler, or run on another device than the CPU."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling() or image.device.type != "cpu"


def in_strips(part: Callable[[Tensor, Tensor], Tensor], image: Tensor, features: Tensor, margin: int) -> Tensor:
    """Return ``part(image, features)``, computed from strips of rows where there is more than one.

    Args:
        part: enlarges images ``(N, C, H, W)`` by a whole factor, with features of the same height and width.
        image, features: what it takes.
        margin: rows that it looks up and down in ``image``.
    """
    pixels, height = image[:, 0].numel(), image.shape[2]
    rows = max(1, height * STRIP_PIXELS // max(1, pixels))
    if rows >= height:
        return part(image, features)
    strips = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        low, high = max(0, top - margin), min(height, bottom + margin)
        strip = part(image[:, :, low:high], features[:, :, low:high])
        scale = strip.shape[2] // (high - low)
        strips.append(strip[:, :, scale * (top - low) : scale * (bottom - low)])
    return torch.cat(strips, 2)

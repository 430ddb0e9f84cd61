"""Interpolation written as reassembly kernels, from which learned methods can start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from karaffe.errors import ArgumentError


def axis_kernels(offset: Tensor, kernel_size: int, mode: str) -> Tensor:
    """Weights ``(len(offset), kernel_size)`` in float64 with which interpolation mixes the taps around a pixel.

    For a target that lies ``offset`` source pixels from it, bilinear gives the tap at distance ``t`` the weight
    ``max(0, 1 - |offset - t|)``; nearest gives the centre tap 1.
    """
    taps = torch.arange(kernel_size, dtype=torch.float64) - (kernel_size - 1) // 2
    if mode == "nearest":
        offset = torch.zeros_like(offset)
    weights = (1 - (offset[:, None] - taps).abs()).clamp(min=0)
    if not torch.allclose(weights.sum(1), torch.ones_like(offset)):
        reach = 2 * math.ceil(offset.abs().max().item()) + 1
        raise ArgumentError(f"init={mode!r} needs a kernel of at least {reach} taps an axis; got {kernel_size}")
    return weights


def sub_pixel_offsets(factor: int) -> Tensor:
    """How far each of a source pixel's ``factor`` targets lies from its centre, in source pixels."""
    return (torch.arange(factor, dtype=torch.float64) + 0.5) / factor - 0.5


def phase_kernels(mode: str, factors: Sequence[int], kernel_size: Sequence[int]) -> Tensor:
    """Weights ``(taps, sub-pixels)`` of ``"bilinear"`` or ``"nearest"``, both row-major, in float64.

    Equal to ``F.interpolate(align_corners=False)`` when taps outside repeat the border.

    Raises:
        ArgumentError: the kernel is too small to hold the interpolation.
    """
    with torch.device("cpu"):
        tables = [axis_kernels(sub_pixel_offsets(s), k, mode) for s, k in zip(factors, kernel_size, strict=True)]
        return reduce(_outer, tables).T


def downward_kernels(mode: str, factors: Sequence[int], kernel_size: Sequence[int]) -> Tensor:
    """The same for a reduction by ``factors``, around source pixel ``s * p``: ``(taps, 1)``."""
    with torch.device("cpu"):
        centres = [torch.tensor([(s - 1) / 2], dtype=torch.float64) for s in factors]
        tables = [axis_kernels(o, k, mode) for o, k in zip(centres, kernel_size, strict=True)]
        return reduce(_outer, tables).T


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, None, :, None] * b[None, :, None, :]).reshape(a.shape[0] * b.shape[0], -1)


def softmax_logits(weights: Tensor, floor: float) -> Tensor:
    """Logits whose softmax over the first axis is ``weights`` but for ``floor``, which the empty taps share.

    An empty tap of weight zero would have a gradient of zero: it could never be learned.
    """
    empty = weights <= 0
    share = floor / empty.sum(0).clamp(min=1)
    return torch.where(empty, share, weights).log()

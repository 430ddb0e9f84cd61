"""From a content encoder's logits to reassembly kernels, and back: normalisation over the taps, and the shuffle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NORMALIZERS = ("softmax", "sigmoid", "sigmoid_norm", "sum", "none")
UNIT_SUM = ("softmax", "sigmoid_norm", "sum")


@dataclass(frozen=True)
class Normalized:
    """Kernels along one dimension, with what their derivatives need.

    With ``p = f(logits)`` before division: weights ``p / total`` (``total=None``: p itself), slope ``dp/dlogits``
    (``None`` for softmax, whose derivative is told by the weights alone).
    """

    weights: Tensor
    slope: Tensor | None
    total: Tensor | None
    dim: int

    def pushforward(self, tangent: Tensor) -> Tensor:
        """The weights' tangent from the logits' one."""
        moved = tangent * (self.weights if self.slope is None else self.slope)
        if self.slope is not None and self.total is None:
            return moved
        moved = moved - self.weights * moved.sum(self.dim, keepdim=True)
        return moved if self.total is None else moved / self.total

    def pullback(self, grad: Tensor) -> Tensor:
        """The logits' gradient from the weights' one."""
        if self.slope is not None and self.total is None:
            return grad * self.slope
        centred = grad - (self.weights * grad).sum(self.dim, keepdim=True)
        centred = centred * (self.weights if self.slope is None else self.slope)
        return centred if self.total is None else centred / self.total


def normalize(logits: Tensor, normalizer: str, dim: int, keep: Tensor | None = None) -> Normalized:
    """Kernels along ``dim`` from their logits; taps that ``keep`` denies get nothing and have no part in the sum."""
    if normalizer == "softmax":
        if keep is not None:
            logits = logits.masked_fill(~keep, torch.finfo(logits.dtype).min)
        return Normalized(logits.softmax(dim), None, None, dim)
    if normalizer in ("sigmoid", "sigmoid_norm"):
        value = logits.sigmoid()
        slope = value * (1 - value)
    else:
        value, slope = logits, torch.ones((), dtype=logits.dtype, device=logits.device)
    if keep is not None:
        value, slope = value * keep, slope * keep
    if normalizer not in UNIT_SUM:
        return Normalized(value, slope, None, dim)
    total = value.sum(dim, keepdim=True)
    return Normalized(value / total, slope, total, dim)


def shuffle(x: Tensor, factors: Sequence[int]) -> Tensor:
    """Pixel-shuffle in any number of axes: ``(N, M·S, *sizes)`` -> ``(N, M, *(sizes · factors))``."""
    if math.prod(factors) == 1:
        return x
    if len(factors) == 2 and factors[0] == factors[1]:
        return torch.nn.functional.pixel_shuffle(x, factors[0])
    dims, sizes = len(factors), x.shape[2:]
    channels = x.shape[1] // math.prod(factors)
    x = x.reshape(x.shape[0], channels, *factors, *sizes)
    x = x.permute(0, 1, *(axis for a in range(dims) for axis in (2 + dims + a, 2 + a)))
    return x.reshape(x.shape[0], channels, *(size * factor for size, factor in zip(sizes, factors, strict=True)))


def unshuffle(x: Tensor, factors: Sequence[int]) -> Tensor:
    """The inverse of :func:`shuffle`."""
    if math.prod(factors) == 1:
        return x
    dims = len(factors)
    sizes = [target // factor for target, factor in zip(x.shape[2:], factors, strict=True)]
    x = x.reshape(*x.shape[:2], *(n for pair in zip(sizes, factors, strict=True) for n in pair))
    x = x.permute(0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2))
    return x.reshape(x.shape[0], x.shape[1] * math.prod(factors), *sizes)

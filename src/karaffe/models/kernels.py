"""Reassembly kernels at source resolution: those of interpolations, and how a set of them is applied to an image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from karaffe.ops import reassemble
from karaffe.upsamplers.resampling import resample_weights


def interpolation_kernels(scale: int, kernel_size: int, kind: str = "cubic") -> Tensor:
    """Return an interpolation as reassembly kernels ``(scale², kernel_size²)`` in float64.

    Sub-pixels are row-major within the source pixel, taps row-major around it. ``kernel_size`` is odd, at least 5 for
    ``"cubic"`` (a = -1/2), at least 3 for ``"triangle"`` (bilinear).
    """
    centre, radius = 4, kernel_size // 2
    indices, weights = resample_weights(2 * centre + 1, scale * (2 * centre + 1), kind)
    rows = slice(centre * scale, (centre + 1) * scale)
    # A tap that the window has no place for has weight 0, wherever it is counted.
    places = (indices[rows] - centre + radius).clamp(0, kernel_size - 1)
    axis = torch.zeros(scale, kernel_size, dtype=torch.float64)
    axis.scatter_add_(1, places, weights[rows])
    return torch.einsum("ai,bj->abij", axis, axis).reshape(scale**2, kernel_size**2)


def reassemble_subpixels(x: Tensor, kernels: Tensor, scale: int, kernel_size: int) -> Tensor:
    """Apply kernels ``(N, scale² · kernel_size², H, W)``, sub-pixel-major, to ``x (N, C, H, W)``, borders replicated.

    The ``scale²`` targets of a source pixel read one window, so they are groups of a reassembly at source
    resolution; only its result, not the kernels, has to be shuffled into place.
    """
    subpixels = scale**2
    if x.is_cuda and x.shape[1] == 1 and not x.requires_grad:
        # Luma patches that are trained on: one product of small tensors is quicker there than a launch a group.
        taps = kernels.unflatten(1, (subpixels, kernel_size**2))
        targets = (taps * windows(x, kernel_size)).sum(2)
    else:
        groups = x.repeat(1, subpixels, 1, 1)
        targets = reassemble(groups, kernels, kernel_size, groups=subpixels, padding_mode="replicate")
    return F.pixel_shuffle(targets.unflatten(1, (subpixels, -1)).transpose(1, 2).flatten(1, 2), scale)


def windows(x: Tensor, kernel_size: int) -> Tensor:
    """Return ``(N, 1, kernel_size², H, W)``, the window around every pixel of ``x (N, 1, H, W)``."""
    padded = F.pad(x, (kernel_size // 2,) * 4, mode="replicate")
    taps = padded.unfold(2, kernel_size, 1).unfold(3, kernel_size, 1)
    return taps.permute(0, 1, 4, 5, 2, 3).flatten(2, 3)


def filtered(y: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Enlarge ``y (N, 1, H, W)`` by the same ``kernels (scale², k²)`` everywhere."""
    return F.pixel_shuffle(convolve(y, kernels, round(kernels.shape[1] ** 0.5)), scale)


def convolve(y: Tensor, kernels: Tensor, kernel_size: int) -> Tensor:
    """Filter ``y (N, 1, H, W)`` by ``kernels (F, k²)``, borders replicated: ``(N, F, H, W)``."""
    padded = F.pad(y, (kernel_size // 2,) * 4, mode="replicate")
    return F.conv2d(padded, kernels.view(-1, 1, kernel_size, kernel_size))

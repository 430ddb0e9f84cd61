"""Separable resampling of images and feature maps: the classic kernels, with the usual borders.

One axis at a time, target i reads the source around ``u(i) = (i + 1/2) / s - 1/2`` with weights ``f(u - j)``
that are normalised to sum to one. When the axis shrinks and ``antialias`` is on, the kernel is widened by
``1/s``. This is what MATLAB's ``imresize`` does (borders ``"symmetric"``; ``"replicate"`` in old releases)
and what Pillow's ``resize`` does (``"renormalize"``). Weights are computed in float64 and cast last, so that
a float64 input is resampled in full precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from karaffe.errors import ArgumentError, DtypeError, ShapeError, unknown_name

Border = Literal["symmetric", "replicate", "renormalize"]


@dataclass(frozen=True)
class ResamplingKernel:
    """A one-dimensional kernel: ``function`` of the distance in source pixels, zero from ``radius`` on."""

    name: str
    radius: float
    function: Callable[[Tensor], Tensor]


def _box(x: Tensor) -> Tensor:
    return ((x >= -0.5) & (x < 0.5)).to(x.dtype)


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp_min(0)


def cubic(a: float = -0.5) -> ResamplingKernel:
    """Keys' cubic convolution kernel (R. Keys, IEEE TASSP 29(6), 1981) with slope ``a`` at distance 1.

    ``a = -1/2`` is the third-order accurate one of MATLAB and Pillow; torch's and OpenCV's bicubic have
    ``-3/4``.
    """

    def weight(x: Tensor) -> Tensor:
        x = x.abs()
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))

    return ResamplingKernel(f"cubic({a:g})", 2.0, weight)


def lanczos(a: int = 3) -> ResamplingKernel:
    """Lanczos' windowed sinc ``sinc(x) · sinc(x / a)`` for ``|x| < a``."""
    if a < 1:
        raise ArgumentError(f"lanczos: a must be a positive integer, not {a!r}")

    def weight(x: Tensor) -> Tensor:
        return torch.where(x.abs() < a, torch.sinc(x) * torch.sinc(x / a), torch.zeros_like(x))

    return ResamplingKernel(f"lanczos{a}", float(a), weight)


KERNELS: dict[str, ResamplingKernel] = {
    "box": ResamplingKernel("box", 0.5, _box),
    "triangle": ResamplingKernel("triangle", 1.0, _triangle),
    "cubic": cubic(),
    "lanczos2": lanczos(2),
    "lanczos3": lanczos(3),
}


def resample_weights(
    in_size: int,
    out_size: int,
    kernel: str | ResamplingKernel = "cubic",
    *,
    antialias: bool = True,
    border: Border = "symmetric",
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the taps of one axis: source indices and weights, each ``(out_size, taps)`` on the CPU.

    Target ``i`` is ``sum over t of weights[i, t] * source[indices[i, t]]``; indices are int64 within the
    source, weights are float64 and sum to one over the taps.

    Args:
        in_size, out_size: Samples of the source and of the target axis, at least one.
        kernel: ``"box"``, ``"triangle"``, ``"cubic"`` (a = -1/2), ``"lanczos2"``, ``"lanczos3"``, or a kernel
            made by :func:`cubic` or :func:`lanczos`.
        antialias: Widen the kernel by ``1/s`` where the axis shrinks.
        border: What a tap outside reads. ``"symmetric"``: the mirrored sample (… 2 1 0 | 0 1 2 …);
            ``"replicate"``: the outermost sample; ``"renormalize"``: nothing, and the other weights are
            normalised.
        scale: The factor ``s``; default ``out_size / in_size``, from which it differs where ``out_size`` was
            rounded.

    Raises:
        ArgumentError: A size below one, a scale that is not positive, an unknown kernel or border.
    """
    if in_size < 1 or out_size < 1:
        raise ArgumentError(f"resample: sizes must be at least 1, got {in_size=} and {out_size=}")
    s = out_size / in_size if scale is None else float(scale)
    if not (s > 0 and math.isfinite(s)):
        raise ArgumentError(f"resample: scale must be a positive number, not {scale!r}")
    if border not in get_args(Border):
        raise unknown_name("border", border, get_args(Border))
    kernel = _kernel(kernel)
    stretch = s if antialias and s < 1 else 1.0
    radius = kernel.radius / stretch

    u = (torch.arange(out_size, dtype=torch.float64) + 0.5) / s - 0.5
    taps = torch.arange(math.ceil(2 * radius) + 2)
    index = torch.floor(u - radius).long()[:, None] + taps
    weights = kernel.function((u[:, None] - index) * stretch)
    if border == "renormalize":
        weights = weights * ((index >= 0) & (index < in_size))
    weights = weights / weights.sum(1, keepdim=True)
    if border == "symmetric":
        index = index.remainder(2 * in_size)
        index = torch.where(index < in_size, index, 2 * in_size - 1 - index)
    else:
        index = index.clamp(0, in_size - 1)
    if torch.compiler.is_compiling():
        return index, weights  # a shape must not depend on values there; taps of weight zero change nothing
    used = (weights != 0).any(0)
    return index[:, used], weights[:, used]


def resample(
    x: Tensor,
    size: Sequence[int],
    *,
    kernel: str | ResamplingKernel = "cubic",
    antialias: bool = True,
    border: Border = "symmetric",
    scale: Sequence[float] | float | None = None,
) -> Tensor:
    """Resample the spatial axes of ``x (N, C, *S)`` to ``size``; differentiable, any number of spatial axes.

    The axis with the smallest factor goes first (ties in axis order), as in MATLAB. Arguments as in
    :func:`resample_weights`; ``scale`` is one factor, or one a spatial axis.

    Returns:
        A tensor ``(N, C, *size)`` of the dtype of ``x``. float16 and bfloat16 are accumulated in float32.

    Raises:
        ShapeError: ``x`` has no spatial axis, or ``size`` does not have one entry a spatial axis.
        DtypeError: ``x`` is not floating point.
        ArgumentError: As :func:`resample_weights`.
    """
    axes = x.ndim - 2
    if axes < 1 or len(size) != axes:
        raise ShapeError(
            f"resample: x must be (N, C, *S) and size have one entry a spatial axis; got {x.shape=}, {size=}"
        )
    if not x.is_floating_point():
        raise DtypeError(f"resample: x must be floating point, not {x.dtype}")
    if scale is None or isinstance(scale, (int, float)):
        scales: list[float | None] = [scale] * axes
    else:
        scales = list(scale)
    if len(scales) != axes:
        raise ShapeError(f"resample: scale must have one entry a spatial axis; got {x.shape=}, {scale=}")
    plans = [
        resample_weights(n, m, kernel, antialias=antialias, border=border, scale=s)
        for n, m, s in zip(x.shape[2:], size, scales, strict=True)
    ]
    factors = [s or m / n for n, m, s in zip(x.shape[2:], size, scales, strict=True)]
    y = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    for axis in sorted(range(axes), key=factors.__getitem__):
        y = _apply(y, axis + 2, *plans[axis])
    return y.to(x.dtype)


def _apply(x: Tensor, dim: int, index: Tensor, weights: Tensor) -> Tensor:
    index, weights = index.to(x.device), weights.to(x.device, x.dtype)
    shape = [1] * x.ndim
    shape[dim] = -1
    total = x.index_select(dim, index[:, 0]) * weights[:, 0].view(shape)
    for tap in range(1, index.shape[1]):
        total = total + x.index_select(dim, index[:, tap]) * weights[:, tap].view(shape)
    return total


def _kernel(kernel: str | ResamplingKernel) -> ResamplingKernel:
    if isinstance(kernel, ResamplingKernel):
        return kernel
    if kernel not in KERNELS:
        raise unknown_name("resampling kernel", kernel, KERNELS)
    return KERNELS[kernel]

"""Reassembly straight from a content encoder's output: normalise, shuffle to the targets, reassemble."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from karaffe.errors import ArgumentError, ShapeError
from karaffe.ops import checks
from karaffe.ops.geometry import source_index
from karaffe.ops.reassemble import reassemble

NORMALIZERS = ("softmax", "sigmoid", "sigmoid_norm", "sum", "none")


def reassemble_logits(
    input: Tensor,
    logits: Tensor,
    kernel_size: int | Sequence[int],
    *,
    scale_factor: int | Sequence[int] = 2,
    size: Sequence[int] | None = None,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    padding_mode: str = "zeros",
    normalizer: str | None = "softmax",
    backend: str | None = None,
) -> Tensor:
    r"""Reassembly with the kernels that a content encoder predicts at source resolution.

    .. math:: A = \mathrm{normalize}_t(\mathrm{shuffle}_s(L)), \qquad Q = \mathrm{reassemble}(V, A)

    Channel ``m · S + f`` of the logits is mask channel ``m`` (group-major, then taps row-major) of sub-pixel ``f``
    (row-major among the ``S`` sub-pixels of a source pixel), as pixel-shuffle reads them. Wang et al., *CARAFE*,
    ICCV 2019, section 3.2; the normalisers are those of its ablation.

    Args:
        input: source map V, ``(N, C, *sizes)`` with one to three axes; float32, float64, bfloat16 or float16.
        logits: L, ``(N, groups * T * S, *sizes)``, same dtype and device.
        kernel_size: taps an axis, an int or one an axis.
        scale_factor: targets a source pixel, an int or one an axis.
        size: target sizes other than ``scale_factor * sizes``: target ``y`` takes the kernel ``floor(y·s·H/H')``
            of the finished kernel map, centred on ``floor(y·H/H')``.
        groups: how many kernels a target has; divides ``C``.
        dilation: distance of neighbouring taps in source pixels.
        padding_mode: ``"zeros"``, ``"replicate"``, ``"reflect"``, or ``"mask"``: taps outside have no part in the
            normalisation (for softmax, sigmoid_norm and sum).
        normalizer: ``"softmax"``; ``"sigmoid"``; ``"sigmoid_norm"``, sigmoid over its sum; ``"sum"``, the logits
            over their sum; ``None`` or ``"none"``, as they are.
        backend: force ``"reference"`` or ``"cpu"``; by default the device decides.

    Returns:
        ``(N, C, *targets)`` in the input's dtype and memory layout.

    Raises:
        ShapeError: ranks, batches, sizes or channel numbers that do not fit.
        ArgumentError: an option out of range.
        DtypeError: dtypes or devices that differ or are not floating.
        BackendError: the forced backend cannot serve.
    """
    dims = checks.spatial_pair(input, logits, "input", "logits")
    checks.same_targets(input, logits, "input", "logits")
    factors = checks.per_axis(scale_factor, dims, "scale_factor")
    normalizer = normalizer if normalizer is not None else "none"
    checks.choice(normalizer, NORMALIZERS, "normalizer")
    taps = math.prod(checks.per_axis(kernel_size, dims, "kernel_size"))
    checks.divisible_groups(input.shape[1], groups, "input")
    expected = groups * taps * math.prod(factors)
    if logits.shape[1] != expected:
        raise ShapeError(
            f"logits must have groups * taps * sub-pixels = {groups} * {taps} * {math.prod(factors)} = {expected} "
            f"channels; got {logits.shape[1]} ({tuple(logits.shape)})"
        )
    if padding_mode == "mask":
        if normalizer not in ("softmax", "sigmoid_norm", "sum"):
            raise ArgumentError(f"padding_mode='mask' needs a normalizer that sums to one; got {normalizer=}")
        padding_mode = "renormalize"
    weights = normalize(logits.unflatten(1, (groups, taps, math.prod(factors))), normalizer, 2).flatten(1, 3)
    kernels = shuffle(weights, factors)
    if size is not None:
        kernels = at_size(kernels, size, dims)
    return reassemble(
        input,
        kernels,
        kernel_size,
        groups=groups,
        dilation=dilation,
        padding_mode=padding_mode,
        backend=backend,
    )


def normalize(logits: Tensor, normalizer: str, dim: int) -> Tensor:
    """The kernels' values along ``dim`` from their logits."""
    if normalizer == "softmax":
        return logits.softmax(dim)
    if normalizer in ("sigmoid", "sigmoid_norm"):
        logits = logits.sigmoid()
    return logits / logits.sum(dim, keepdim=True) if normalizer in ("sigmoid_norm", "sum") else logits


def shuffle(x: Tensor, factors: Sequence[int]) -> Tensor:
    """Pixel-shuffle in any number of axes: ``(N, M·S, *sizes)`` -> ``(N, M, *(sizes · factors))``."""
    if math.prod(factors) == 1:
        return x
    if len(factors) == 2 and factors[0] == factors[1]:
        return torch.nn.functional.pixel_shuffle(x, factors[0])
    dims = len(factors)
    x = x.unflatten(1, (-1, *factors))
    axes = [axis for a in range(dims) for axis in (2 + dims + a, 2 + a)]
    x = x.permute(0, 1, *axes)
    for axis in range(dims):
        x = x.flatten(2 + axis, 3 + axis)
    return x


def at_size(kernels: Tensor, size: Sequence[int], dims: int) -> Tensor:
    """The kernel map read at another target size by the nearest kernel to the upper left."""
    checks.source_sizes(size, dims, "size")
    for axis, target in enumerate(size):
        have = kernels.shape[2 + axis]
        if have != target:
            kernels = kernels.index_select(2 + axis, source_index(have, target, "corner", kernels.device))
    return kernels

"""Reassembly straight from a content encoder's output: normalise, shuffle to the targets, reassemble."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from torch import Tensor

from karaffe.errors import ArgumentError, ShapeError
from karaffe.ops import checks
from karaffe.ops.backends import implementation, reference_logits
from karaffe.ops.backends.contractions import FORMULAS
from karaffe.ops.fused import REASSEMBLE_LOGITS
from karaffe.ops.geometry import PADDING_MODES, source_index
from karaffe.ops.normalize import NORMALIZERS, UNIT_SUM, normalize, shuffle
from karaffe.ops.reassemble import reassemble


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
        backend: force one of :func:`karaffe.ops.backends`; by default the device decides.

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
    kernel, spacing = checks.geometry(dims, kernel_size, dilation, padding_mode, padding_modes=(*PADDING_MODES, "mask"))
    factors = checks.per_axis(scale_factor, dims, "scale_factor")
    normalizer = normalizer if normalizer is not None else "none"
    checks.choice(normalizer, NORMALIZERS, "normalizer")
    if padding_mode == "mask" and normalizer not in UNIT_SUM:
        raise ArgumentError(f"padding_mode='mask' needs a normalizer that sums to one; got {normalizer=}")
    checks.same_kind(input, logits, "input", "logits")
    checks.divisible_groups(input.shape[1], groups, "input")
    checks.non_empty(input, "input")
    _logits_channels(logits, groups, math.prod(kernel), math.prod(factors))
    targets = [size * factor for size, factor in zip(input.shape[2:], factors, strict=True)]
    if size is not None and list(size) != targets:
        checks.source_sizes(size, dims, "size")
        weights = normalize(logits.unflatten(1, (groups, math.prod(kernel), math.prod(factors))), normalizer, 2).weights
        return reassemble(
            input,
            at_size(shuffle(weights.flatten(1, 3), factors), size),
            kernel,
            groups=groups,
            dilation=spacing,
            padding_mode="renormalize" if padding_mode == "mask" else padding_mode,
            backend=backend,
        )
    formula = partial(reference_logits.reassemble_logits, FORMULAS)
    call = implementation(backend, input, REASSEMBLE_LOGITS, formula)
    return call(input, logits, kernel, factors, groups, spacing, padding_mode, normalizer)


def _logits_channels(logits: Tensor, groups: int, taps: int, phases: int) -> None:
    expected = groups * taps * phases
    if logits.shape[1] != expected:
        raise ShapeError(
            f"logits must have groups * taps * sub-pixels = {groups} * {taps} * {phases} = {expected} "
            f"channels; got {logits.shape[1]} ({tuple(logits.shape)})"
        )


def at_size(kernels: Tensor, size: Sequence[int]) -> Tensor:
    """The kernel map read at another target size by the nearest kernel to the upper left."""
    for axis, target in enumerate(size):
        have = kernels.shape[2 + axis]
        if have != target:
            kernels = kernels.index_select(2 + axis, source_index(have, target, "corner", kernels.device))
    return kernels

"""Windowed attention from target pixels to the source window under each: correlate, softmax, reassemble."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from karaffe.errors import ArgumentError, ShapeError
from karaffe.ops import checks
from karaffe.ops.backends import implementation, reference_attention
from karaffe.ops.backends.contractions import FORMULAS
from karaffe.ops.fused import LOCAL_ATTENTION
from karaffe.ops.geometry import PADDING_MODES, shift_fits

ATTENTION_PADDING = (*PADDING_MODES, "mask", "shift")


def local_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | Sequence[int],
    *,
    heads: int = 1,
    scale: float | None = None,
    bias: Tensor | None = None,
    taps: Sequence[int] | Sequence[Sequence[int]] | None = None,
    dilation: int | Sequence[int] = 1,
    padding_mode: str = "mask",
    alignment: str = "corner",
    backend: str | None = None,
) -> Tensor:
    r"""Attention of every target to the source window under it; query at target, key and value at source size.

    .. math::
        S[h, t, p] = scale \cdot \sum_{c \in h} Q[c, p] \cdot K[c, src(p) + t \cdot dilation] + bias[h, t], \qquad
        O[c, p] = \sum_t \mathrm{softmax}_t(S[h(c)])[t, p] \cdot V[c, src(p) + t \cdot dilation]

    Nothing of the size of S is kept for backward. With ``padding_mode="zeros"`` and ``scale=1`` this is SAPA's
    upsampling (Lu et al., NeurIPS 2022, equations 3 to 5), with ``"shift"`` neighbourhood attention (Hassani et
    al., CVPR 2023, section 3) from one resolution to another. Geometry as in :func:`karaffe.ops.reassemble`.

    Args:
        query: Q, ``(N, Cq, *targets)`` with one to three axes; float32, float64, bfloat16 or float16.
        key: K, ``(N, Cq, *sizes)``, same dtype and device.
        value: V, ``(N, Cv, *sizes)``, same dtype and device.
        kernel_size: taps an axis, an int or one an axis.
        heads: channels of query and key, and those of the value, are cut into this many contiguous groups.
        scale: factor of the inner products; by default ``(Cq / heads) ** -0.5``.
        bias: ``(heads, T)``, or ``(heads, len(taps))`` with ``taps``: added to the logits, by the tap's place in
            the window (under ``"shift"`` too, where the window may not be centred).
        taps: only these taps of the window take part: their row-major numbers, or their offsets from the window's
            centre, one int an axis, in units of the dilation.
        dilation: distance of neighbouring taps in source pixels.
        padding_mode: taps outside the map: ``"mask"``, they have no part in the softmax; ``"zeros"``, they have
            key and value zero and take part (SAPA); ``"shift"``, the window is moved until it is inside (needs
            ``kernel_size`` source pixels at the given dilation); ``"replicate"``, ``"reflect"``.
        alignment: ``"corner"``, ``"center"`` or ``"align_corners"``, see :func:`karaffe.ops.reassemble`.
        backend: force one of :func:`karaffe.ops.backends`; by default the device decides.

    Returns:
        ``(N, Cv, *targets)`` in the value's dtype and memory layout. A target none of whose taps takes part is 0.

    Raises:
        ShapeError: ranks, batches, sizes or channel numbers that do not fit.
        ArgumentError: an option out of range.
        DtypeError: dtypes or devices that differ or are not floating.
        BackendError: the forced backend cannot serve.
    """
    dims = checks.spatial_pair(query, key, "query", "key")
    checks.spatial_pair(key, value, "key", "value")
    window, spacing = checks.geometry(dims, kernel_size, dilation, padding_mode, alignment, ATTENTION_PADDING)
    for other, name in ((key, "key"), (value, "value")):
        checks.same_kind(query, other, "query", name)
        checks.non_empty(other, name)
    checks.same_channels(query, key, "query", "key")
    checks.same_sizes(key, value, "key", "value")
    checks.divisible_groups(query.shape[1], heads, "query", "heads")
    checks.divisible_groups(value.shape[1], heads, "value", "heads")
    chosen = None if taps is None else tap_numbers(taps, window)
    if padding_mode == "shift":
        _check_shift(key.shape[2:], window, spacing)
    factor = (query.shape[1] // heads) ** -0.5 if scale is None else _number(scale)
    everywhere = None if bias is None else _full_bias(bias, query, heads, chosen, math.prod(window))
    formula = partial(reference_attention.local_attention, FORMULAS)
    call = implementation(backend, query, LOCAL_ATTENTION, formula)
    out, _ = call(query, key, value, everywhere, window, heads, factor, chosen, spacing, padding_mode, alignment)
    return out


def tap_numbers(taps: Sequence[int] | Sequence[Sequence[int]], kernel_size: Sequence[int]) -> list[int]:
    """Row-major numbers of taps given by number or by offset from the window's centre.

    Raises:
        ArgumentError: none, one twice, one outside the window, or an offset of another number of axes.
    """
    numbers = [_tap_number(tap, kernel_size) for tap in taps]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ArgumentError(f"taps must be one or more different taps; got {taps=}")
    return numbers


def _tap_number(tap: int | Sequence[int], kernel_size: Sequence[int]) -> int:
    count = math.prod(kernel_size)
    if isinstance(tap, int):
        if not 0 <= tap < count:
            raise ArgumentError(
                f"taps by number must be 0 to {count - 1} for kernel_size={tuple(kernel_size)}; got {tap}"
            )
        return tap
    number = 0
    if len(tap) != len(kernel_size):
        raise ArgumentError(f"taps by offset need {len(kernel_size)} ints each for this input; got {tuple(tap)}")
    for offset, k in zip(tap, kernel_size, strict=True):
        place = offset + (k - 1) // 2
        if not 0 <= place < k:
            raise ArgumentError(
                f"taps by offset must lie in the window of kernel_size={tuple(kernel_size)}; got {tuple(tap)}"
            )
        number = number * k + place
    return number


def _number(scale: float) -> float:
    if not isinstance(scale, int | float) or not math.isfinite(scale):
        raise ArgumentError(f"scale must be a finite number; got {scale=}")
    return float(scale)


def _check_shift(sizes: Sequence[int], kernel_size: Sequence[int], dilation: Sequence[int]) -> None:
    for size, k, d in zip(sizes, kernel_size, dilation, strict=True):
        if not shift_fits(size, k, d):
            raise ShapeError(
                f"padding_mode='shift' needs kernel_size * dilation = {k} * {d} source pixels or more an axis; "
                f"key and value are {tuple(sizes)}"
            )


def _full_bias(bias: Tensor, query: Tensor, heads: int, taps: list[int] | None, count: int) -> Tensor:
    """The bias of every tap, ``(N, heads * T)``: a view where there is no tap list."""
    expected = (heads, count if taps is None else len(taps))
    if tuple(bias.shape) != expected:
        raise ShapeError(f"bias must be (heads, taps) = {expected}; got {tuple(bias.shape)}")
    checks.same_kind(query, bias, "query", "bias")
    if taps is not None:
        places = torch.tensor(taps, device=bias.device)
        bias = bias.new_zeros(heads, count).index_copy(1, places, bias)
    return bias.reshape(1, -1).expand(query.shape[0], -1)

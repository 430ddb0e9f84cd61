"""Correlation of a target query with the source window under it: reassembly's derivative by its kernels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from karaffe.ops import checks
from karaffe.ops.backends import implementation, reference
from karaffe.ops.registration import CORRELATE


def correlate(
    input: Tensor,
    query: Tensor,
    kernel_size: int | Sequence[int],
    *,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    padding_mode: str = "zeros",
    alignment: str = "corner",
    backend: str | None = None,
) -> Tensor:
    r"""Inner product of every target's query with each source pixel of its window.

    .. math:: A[n, g \cdot T + t, p] = \sum_{c \in g} Q[n, c, p] \cdot V[n, c, src(p) + t \cdot dilation]

    The logits of windowed attention (SAPA, Lu et al., NeurIPS 2022, equation 5, is this with no scaling), and the
    derivative of :func:`reassemble` by its kernels. Geometry as there.

    Args:
        input: source map V, ``(N, C, *sizes)`` with one to three axes; float32, float64, bfloat16 or float16.
        query: Q, ``(N, C, *targets)``, same channels, dtype and device.
        kernel_size: taps an axis, an int or one an axis.
        groups: channels are summed within each of this many contiguous groups; divides ``C``.
        dilation: distance of neighbouring taps in source pixels.
        padding_mode: what taps outside read: ``"zeros"``, ``"replicate"`` or ``"reflect"``.
        alignment: ``"corner"``, ``"center"`` or ``"align_corners"``, see :func:`reassemble`.
        backend: force one of :func:`karaffe.ops.backends`; by default the device decides.

    Returns:
        ``(N, groups * T, *targets)`` in the input's dtype and memory layout.

    Raises:
        ShapeError: ranks, batches or channel numbers that do not fit.
        ArgumentError: ``groups``, ``kernel_size``, ``dilation``, ``padding_mode`` or ``alignment`` out of range.
        DtypeError: dtypes or devices that differ or are not floating.
        BackendError: the forced backend cannot serve.
    """
    dims = checks.spatial_pair(input, query, "input", "query")
    sizes, spacing = checks.geometry(dims, kernel_size, dilation, padding_mode, alignment)
    checks.same_kind(input, query, "input", "query")
    checks.same_channels(input, query, "input", "query")
    checks.divisible_groups(input.shape[1], groups, "input")
    checks.non_empty(input, "input")
    call = implementation(backend, input, CORRELATE, reference.correlate)
    return call(input, query, sizes, groups, spacing, padding_mode, alignment)

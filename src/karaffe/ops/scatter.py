"""Scattering of target values back to the source windows they came from: reassembly's derivative by its input."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from karaffe.ops import checks
from karaffe.ops.backends import implementation, reference
from karaffe.ops.registration import SCATTER


def scatter(
    kernels: Tensor,
    query: Tensor,
    kernel_size: int | Sequence[int],
    input_size: Sequence[int],
    *,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    padding_mode: str = "zeros",
    alignment: str = "corner",
    backend: str | None = None,
) -> Tensor:
    r"""Give every target's value back to the source pixels of its window, by its kernel.

    .. math:: V[n, c, q] = \sum_{(p, t)\,:\,src(p) + t \cdot dilation = q} A[n, g(c) \cdot T + t, p] \cdot Q[n, c, p]

    The adjoint of :func:`reassemble`, and so its derivative by the input. Under ``"replicate"`` and ``"reflect"``
    border pixels also receive what was read through the border. Geometry as in :func:`reassemble`.

    Args:
        kernels: A, ``(N, groups * T, *targets)``; float32, float64, bfloat16 or float16.
        query: Q, ``(N, C, *targets)``, same dtype and device.
        kernel_size: taps an axis, an int or one an axis.
        input_size: the source map's sizes, one an axis.
        groups: how many kernels a target has; divides ``C``.
        dilation: distance of neighbouring taps in source pixels.
        padding_mode: what taps outside read: ``"zeros"``, ``"replicate"`` or ``"reflect"``.
        alignment: ``"corner"``, ``"center"`` or ``"align_corners"``, see :func:`reassemble`.
        backend: force one of :func:`karaffe.ops.backends`; by default the device decides.

    Returns:
        ``(N, C, *input_size)`` in the query's dtype and memory layout.

    Raises:
        ShapeError: ranks, batches, sizes or channel numbers that do not fit.
        ArgumentError: ``groups``, ``kernel_size``, ``dilation``, ``padding_mode`` or ``alignment`` out of range.
        DtypeError: dtypes or devices that differ or are not floating.
        BackendError: the forced backend cannot serve.
    """
    dims = checks.spatial_pair(query, kernels, "query", "kernels")
    sizes, spacing = checks.geometry(dims, kernel_size, dilation, padding_mode, alignment)
    checks.same_kind(kernels, query, "kernels", "query")
    checks.same_targets(kernels, query, "kernels", "query")
    checks.divisible_groups(query.shape[1], groups, "query")
    checks.kernel_channels(kernels, sizes, groups)
    checks.source_sizes(input_size, dims, "input_size")
    checks.non_empty(query, "query")
    call = implementation(backend, query, SCATTER, reference.scatter)
    return call(kernels, query, list(input_size), sizes, groups, spacing, padding_mode, alignment)

"""Reassembly: every target pixel is a weighted sum of the source window under it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from karaffe.ops import checks
from karaffe.ops.backends import implementation, reference
from karaffe.ops.registration import REASSEMBLE


def reassemble(
    input: Tensor,
    kernels: Tensor,
    kernel_size: int | Sequence[int],
    *,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    padding_mode: str = "zeros",
    alignment: str = "corner",
    backend: str | None = None,
) -> Tensor:
    r"""Apply a kernel of its own to every target pixel's source window.

    .. math:: Q[n, c, p] = \sum_{t} A[n, g(c) \cdot T + t, p] \cdot V[n, c, src(p) + t \cdot dilation]

    with ``T`` taps in row-major order and ``g(c)`` the group of channel ``c`` (contiguous blocks of ``C / groups``).
    Target ``y`` of an axis reads the window centred on ``src(y)``; an even kernel reaches one further right.
    Wang et al., *CARAFE*, ICCV 2019, equation 2 (``padding_mode="zeros"``, integer factor).

    Args:
        input: source map V, ``(N, C, *sizes)`` with one to three axes; float32, float64, bfloat16 or float16.
        kernels: A, ``(N, groups * T, *targets)``, same dtype and device; ``targets`` may be any size, smaller than
            the source too.
        kernel_size: taps an axis, an int or one an axis.
        groups: how many kernels a target has; divides ``C``.
        dilation: distance of neighbouring taps in source pixels.
        padding_mode: taps outside read ``"zeros"``, the border (``"replicate"``) or the mirror image about the
            border pixel (``"reflect"``). ``"renormalize"``, for non-negative kernels: taps outside are left out and
            the others divided by their sum.
        alignment: ``src(y)`` is ``"corner"``: floor(y·H/H'); ``"center"``: floor((y + 1/2)·H/H');
            ``"align_corners"``: round(y·(H-1)/(H'-1)).
        backend: force one of :func:`karaffe.ops.backends`; by default the device decides.

    Returns:
        ``(N, C, *targets)`` in the input's dtype and memory layout.

    Raises:
        ShapeError: ranks, batches or channel numbers that do not fit.
        ArgumentError: ``groups``, ``kernel_size``, ``dilation``, ``padding_mode`` or ``alignment`` out of range.
        DtypeError: dtypes or devices that differ or are not floating.
        BackendError: the forced backend cannot serve.
    """
    if padding_mode == "renormalize":
        return _renormalized(input, kernels, kernel_size, groups, dilation, alignment, backend)
    dims = checks.spatial_pair(input, kernels, "input", "kernels")
    sizes, spacing = checks.geometry(dims, kernel_size, dilation, padding_mode, alignment)
    checks.same_kind(input, kernels, "input", "kernels")
    checks.divisible_groups(input.shape[1], groups, "input")
    checks.kernel_channels(kernels, sizes, groups)
    checks.non_empty(input, "input")
    call = implementation(backend, input, REASSEMBLE, reference.reassemble)
    return call(input, kernels, sizes, groups, spacing, padding_mode, alignment)


def _renormalized(
    input: Tensor,
    kernels: Tensor,
    kernel_size: int | Sequence[int],
    groups: int,
    dilation: int | Sequence[int],
    alignment: str,
    backend: str | None,
) -> Tensor:
    """reassemble(V, A) / reassemble(1, A): the second is each group's weight inside the map."""

    def plain(source: Tensor) -> Tensor:
        return reassemble(
            source,
            kernels,
            kernel_size,
            groups=groups,
            dilation=dilation,
            alignment=alignment,
            backend=backend,
        )

    total = plain(input)
    inside = plain(input.new_ones((input.shape[0], groups, *input.shape[2:])))
    return total / inside.repeat_interleave(input.shape[1] // groups, dim=1)

"""Which source pixels a target pixel reads.

Everything the operators know of sizes, alignments, dilation and borders is in one table an axis:
``tap_table(...)[y, i]`` is the source index that tap ``i`` of target ``y`` reads, or ``size`` (one past the last)
for a tap outside under ``padding_mode="zeros"``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PADDING_MODES = ("zeros", "replicate", "reflect")
ALIGNMENTS = ("corner", "center", "align_corners")
LARGEST_FACTOR = 16


def floor_divide(a: Tensor, b: int) -> Tensor:
    """``a // b`` for non-negative ``a``; truncation is the same there and is one operator in ONNX."""
    return torch.div(a, b, rounding_mode="trunc")


def source_index(size: int, target: int, alignment: str, device: torch.device | None = None) -> Tensor:
    """Source pixel under each of ``target`` pixels, int64 ``(target,)``.

    ``corner``: floor(y·H/H'); ``center``: floor((y + 1/2)·H/H'); ``align_corners``: round(y·(H-1)/(H'-1)), halves
    up, and 0 where H' is 1. Integer arithmetic throughout, so no size is large enough to round wrongly.
    """
    y = torch.arange(target, device=device)
    if alignment == "corner":
        return floor_divide(y * size, target)
    if alignment == "center":
        return floor_divide((2 * y + 1) * size, 2 * target)
    if target == 1:
        return y
    return floor_divide(2 * y * (size - 1) + (target - 1), 2 * (target - 1))


def fold_into(position: Tensor, size: int, padding_mode: str) -> Tensor:
    """Map positions anywhere on the integer line to ``0 … size - 1``, or to ``size`` for "outside" (zeros)."""
    if padding_mode == "replicate":
        return position.clamp(0, size - 1)
    if padding_mode == "reflect":
        if size == 1:
            return torch.zeros_like(position)
        period = 2 * (size - 1)
        position = position.abs()  # a mirror at zero
        folded = position - period * floor_divide(position, period)
        return torch.minimum(folded, period - folded)
    outside = (position < 0) | (position >= size)
    return torch.where(outside, size, position)


def tap_table(centre: Tensor, size: int, kernel_size: int, dilation: int, padding_mode: str) -> Tensor:
    """Source index of every tap of every target, int64 ``(len(centre), kernel_size)``.

    Tap ``i`` lies at ``centre + (i - (k - 1) // 2)·dilation``: an even kernel reaches one further to the right.
    Under ``"shift"`` the whole window is moved along its own residue class modulo the dilation until no tap is
    outside; that takes a class of at least ``kernel_size`` pixels (:func:`shift_fits`).
    """
    if padding_mode == "shift":
        residue = torch.remainder(centre, dilation)
        length = floor_divide(size - 1 - residue, dilation) + 1
        first = floor_divide(centre, dilation) - (kernel_size - 1) // 2
        first = torch.minimum(first, length - kernel_size).clamp(min=0)
        taps = torch.arange(kernel_size, device=centre.device)
        return (first[:, None] + taps) * dilation + residue[:, None]
    taps = (torch.arange(kernel_size, device=centre.device) - (kernel_size - 1) // 2) * dilation
    return fold_into(centre[:, None] + taps, size, padding_mode)


def shift_fits(size: int, kernel_size: int, dilation: int) -> bool:
    """Whether every residue class modulo ``dilation`` has ``kernel_size`` pixels or more."""
    return size // dilation >= kernel_size


def inside(
    sizes: Sequence[int],
    targets: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    alignment: str,
    device: torch.device,
) -> Tensor:
    """Which taps fall into the source map, bool ``(taps, *targets)``, taps in row-major order."""
    dims = len(sizes)
    found = torch.ones((1,) * (2 * dims), dtype=torch.bool, device=device)
    for axis, (size, target, k, d) in enumerate(zip(sizes, targets, kernel_size, dilation, strict=True)):
        centre = source_index(size, target, alignment, device)
        shape = [1] * (2 * dims)
        shape[axis], shape[dims + axis] = k, target
        found = found & (tap_table(centre, size, k, d, "zeros") < size).mT.reshape(shape)
    return found.flatten(0, dims - 1)


def integer_factor(size: int, target: int, alignment: str) -> int | None:
    """``s`` where every source pixel has exactly the ``s`` targets ``s·p … s·p + s - 1``, else ``None``.

    Decided without a guard under tracing: an unknown relation of symbolic sizes gives ``None``.
    """
    largest = LARGEST_FACTOR if alignment != "align_corners" else 1
    if isinstance(size, int) and isinstance(target, int):
        factor = target // size if size else 0
        return factor if 1 <= factor <= largest and factor * size == target else None
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    for factor in range(1, largest + 1):
        if statically_known_true(target == factor * size):
            return factor
    return None

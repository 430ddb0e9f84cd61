"""The index tables of a call, on the device that reads them: positions and phases an axis, leading axes as rows.

Along an axis of whole factor s a *position* is a source pixel and has s targets, its *phases*, which read the same
window; along any other axis a position is one target. All axes but the last are one axis of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from karaffe.ops.geometry import integer_factor, source_index, tap_table


class Axis(NamedTuple):
    """One axis of a call: what it reads, and how many phases its positions have."""

    size: int
    target: int
    kernel_size: int
    dilation: int
    padding_mode: str
    alignment: str
    phases: int = 1

    @property
    def positions(self) -> int:
        return self.target // self.phases

    @property
    def factor(self) -> int:
        """Targets a source pixel where that is a whole number, else 1."""
        return integer_factor(self.size, self.target, self.alignment) or 1


class Readers(NamedTuple):
    """Source row or column ``q`` is read by the pairs number ``first[q] … first[q + 1] - 1``; all int32."""

    first: Tensor
    position: Tensor
    tap: Tensor


Axes = tuple[Axis, ...]


def axes_of(
    sizes: Sequence[int],
    targets: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding_mode: str,
    alignment: str,
) -> Axes:
    """One axis a dimension, each target a position; at least rows and columns."""
    spacing = dilation or [1] * len(kernel_size)
    axes = [Axis(*parts, padding_mode, alignment) for parts in zip(sizes, targets, kernel_size, spacing, strict=True)]
    return (*[Axis(1, 1, 1, 1, "zeros", "corner")] * (2 - len(axes)), *axes)


def with_phases(axes: Axes, fits: Callable[[int], bool]) -> Axes | None:
    """The most phases a position for which ``fits(phases)``: all, the columns' alone, or none; ``None`` if none fit.

    Rows that are more than one axis have no phases: their targets do not lie in one line.
    """
    *leading, column = axes
    row_factor = leading[0].factor if len(leading) == 1 else 1
    for rows, columns in ((row_factor, column.factor), (1, column.factor), (1, 1)):
        if fits(rows * columns):
            phased = [axis._replace(phases=rows) for axis in leading]
            return (*phased, column._replace(phases=columns))
    return None


def row_axes(axes: Axes) -> Axes:
    return axes[:-1]


def positions(axes: Axes) -> tuple[int, int]:
    """Rows and columns of positions."""
    return math.prod(axis.positions for axis in axes[:-1]), axes[-1].positions


def taps(axes: Axes) -> tuple[int, int]:
    """Rows and columns of taps."""
    return math.prod(axis.kernel_size for axis in axes[:-1]), axes[-1].kernel_size


def _axis_reads(axis: Axis) -> Tensor:
    """Source index of every tap of every position; the complement of the nearest one for a tap outside."""
    size, target = (axis.size, axis.size) if axis.phases > 1 else (axis.size, axis.target)
    centre = source_index(size, target, axis.alignment if axis.phases == 1 else "corner")
    table = tap_table(centre, size, axis.kernel_size, axis.dilation, axis.padding_mode)
    nearest = tap_table(centre, size, axis.kernel_size, axis.dilation, "replicate")
    return torch.where(table == size, -1 - nearest, table)


def _table(axes: Axes) -> Tensor:
    """Rows (or columns) of source pixels that the taps of every position read, ``(positions, taps)``."""
    merged = _axis_reads(axes[0])
    for axis in axes[1:]:
        table = _axis_reads(axis)
        outside = (merged < 0)[:, None, :, None] | (table < 0)[None, :, None, :]
        upper, lower = torch.where(merged < 0, -1 - merged, merged), torch.where(table < 0, -1 - table, table)
        both = upper[:, None, :, None] * axis.size + lower[None, :, None, :]
        merged = torch.where(outside, -1 - both, both).flatten(2, 3).flatten(0, 1)
    return merged


def _readers(axes: Axes) -> tuple[Tensor, Tensor, Tensor]:
    table = _table(axes)
    flat, size = table.flatten(), math.prod(axis.size for axis in axes)
    order = flat.argsort(stable=True)
    order = order[flat[order] >= 0]
    first = torch.searchsorted(flat[order].contiguous(), torch.arange(size + 1))
    return first, order // table.shape[1], order % table.shape[1]


def _on(device: torch.device, *tables: Tensor) -> tuple[Tensor, ...]:
    return tuple(table.to(torch.int32).to(device) for table in tables)


@lru_cache(maxsize=512)
def reads(axes: Axes, device: torch.device) -> Tensor:
    """:func:`_table` as int32 on the device."""
    return _on(device, _table(axes))[0]


@lru_cache(maxsize=512)
def readers(axes: Axes, device: torch.device) -> Readers:
    """The inverse of :func:`reads`, in the order of the positions."""
    return Readers(*_on(device, *_readers(axes)))


@lru_cache(maxsize=512)
def chosen(numbers: tuple[int, ...], count: int, device: torch.device) -> Tensor:
    """1 for every tap in the list, int32 ``(count,)``."""
    table = torch.zeros(count, dtype=torch.int64)
    table[list(numbers)] = 1
    return _on(device, table)[0]

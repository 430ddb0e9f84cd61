"""The index tables of one axis, on the device that reads them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from karaffe.ops.geometry import source_index, tap_table


class Axis(NamedTuple):
    """One axis of a call, as a key of the tables."""

    size: int
    target: int
    kernel_size: int
    dilation: int
    padding_mode: str
    alignment: str
    device: torch.device


class Readers(NamedTuple):
    """Source index ``q`` is read by the pairs number ``first[q] … first[q + 1] - 1``; all int32."""

    first: Tensor
    target: Tensor
    tap: Tensor


def _reads(axis: Axis) -> Tensor:
    centre = source_index(axis.size, axis.target, axis.alignment)
    table = tap_table(centre, axis.size, axis.kernel_size, axis.dilation, axis.padding_mode)
    return table.masked_fill(table == axis.size, -1).to(torch.int32)


def _readers(axis: Axis) -> Readers:
    table = _reads(axis).flatten()
    order = table.argsort(stable=True)
    order = order[table[order] >= 0]
    first = torch.searchsorted(table[order].contiguous(), torch.arange(axis.size + 1, dtype=torch.int32))
    parts = (first, order // axis.kernel_size, order % axis.kernel_size)
    return Readers(*(part.to(torch.int32).to(axis.device) for part in parts))


@lru_cache(maxsize=512)
def reads(axis: Axis) -> Tensor:
    """Source index that each tap of each target reads, int32 ``(target, kernel_size)``; -1 for none."""
    return _reads(axis).to(axis.device)


@lru_cache(maxsize=512)
def readers(axis: Axis) -> Readers:
    """The inverse of :func:`reads`, in the order of the targets."""
    return _readers(axis)

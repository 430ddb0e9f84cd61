"""The specification of the three operators: one formula, in plain PyTorch.

With ``t`` a tap, ``p`` a target pixel and ``src(p, t)`` the source pixel it reads (:mod:`karaffe.ops.geometry`),

    T(A, Q, V) = sum over p, t, c of  A[t, p] · Q[c, p] · V[c, src(p, t)]

and each operator is one partial contraction of T. The arithmetic is a matrix product a target block: along an axis
of integer factor s the s targets of a source pixel share their taps, so they form one block of s phases; along any
other axis a block is one target. Taps of the last axis are gathered together, those of the others one by one.
Float16 and bfloat16 are computed in float32 and rounded once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from karaffe.ops.geometry import integer_factor, source_index, tap_table
from karaffe.ops.layout import result_format


@dataclass(frozen=True)
class Blocks:
    """How one call is cut: ``positions`` x ``phases`` targets an axis, and the taps each position reads."""

    positions: list[int]
    phases: list[int]
    tables: list[Tensor]  # (positions, kernel_size) int64 an axis
    sizes: list[int]
    groups: int
    zeros: bool

    @property
    def leading_taps(self) -> itertools.product[tuple[int, ...]]:
        return itertools.product(*(range(t.shape[1]) for t in self.tables[:-1]))


def cut(
    sizes: Sequence[int],
    targets: Sequence[int],
    kernel_size: Sequence[int],
    groups: int,
    dilation: Sequence[int],
    padding_mode: str,
    alignment: str,
    device: torch.device,
) -> Blocks:
    """Choose the blocks of every axis and build its tap table."""
    positions, phases, tables = [], [], []
    for size, target, k, d in zip(sizes, targets, kernel_size, dilation or [1] * len(kernel_size), strict=True):
        factor = integer_factor(size, target, alignment)
        count = size if factor else target
        centre = torch.arange(size, device=device) if factor else source_index(size, target, alignment, device)
        positions.append(count)
        phases.append(factor or 1)
        tables.append(tap_table(centre, size, k, d, padding_mode))
    return Blocks(positions, phases, tables, list(sizes), groups, padding_mode == "zeros")


def split_kernels(kernels: Tensor, cutting: Blocks) -> Tensor:
    """``(N, G·taps, *targets)`` -> ``(leading taps, N, G, *positions, phases, last taps)``."""
    n, dims = kernels.shape[0], len(cutting.sizes)
    taps = [t.shape[1] for t in cutting.tables]
    x = kernels.reshape(n, cutting.groups, *taps, *interleave(cutting.positions, cutting.phases))
    first_axis = 2 + dims
    axes = range(first_axis, first_axis + 2 * dims)
    x = x.permute(*range(2, 1 + dims), 0, 1, *axes[::2], *axes[1::2], 1 + dims)
    x = x.flatten(dims + 1 + dims, -2)
    return x.flatten(0, dims - 2) if dims > 1 else x.unsqueeze(0)


def join_kernels(x: Tensor, cutting: Blocks) -> Tensor:
    """The inverse of :func:`split_kernels`."""
    dims = len(cutting.sizes)
    taps = [t.shape[1] for t in cutting.tables]
    n = x.shape[1]
    x = x.reshape(*taps[:-1], n, cutting.groups, *cutting.positions, *cutting.phases, taps[-1])
    position, phase = dims + 1, 2 * dims + 1
    spatial = interleave(range(position, position + dims), range(phase, phase + dims))
    x = x.permute(dims - 1, dims, *range(dims - 1), 3 * dims + 1, *spatial)
    return x.reshape(n, cutting.groups * math.prod(taps), *targets_of(cutting))


def split_query(query: Tensor, cutting: Blocks) -> Tensor:
    """``(N, C, *targets)`` -> ``(N, G, *positions, phases, C/G)``."""
    n, c, dims = query.shape[0], query.shape[1], len(cutting.sizes)
    groups = cutting.groups
    x = query.reshape(n, groups, c // groups, *interleave(cutting.positions, cutting.phases))
    axes = range(3, 3 + 2 * dims)
    return x.permute(0, 1, *axes[::2], *axes[1::2], 2).flatten(2 + dims, -2)


def join_query(x: Tensor, cutting: Blocks) -> Tensor:
    """The inverse of :func:`split_query`."""
    n, dims, channels = x.shape[0], len(cutting.sizes), x.shape[-1]
    x = x.reshape(n, cutting.groups, *cutting.positions, *cutting.phases, channels)
    spatial = interleave(range(2, 2 + dims), range(2 + dims, 2 + 2 * dims))
    x = x.permute(0, 1, 2 + 2 * dims, *spatial)
    return x.reshape(n, cutting.groups * channels, *targets_of(cutting))


def interleave(a: Sequence[int], b: Sequence[int]) -> list[int]:
    return [v for pair in zip(a, b, strict=True) for v in pair]


def targets_of(cutting: Blocks) -> list[int]:
    return [p * f for p, f in zip(cutting.positions, cutting.phases, strict=True)]


def channels_last_groups(x: Tensor, groups: int) -> Tensor:
    """``(N, C, *sizes)`` -> ``(N, G, *sizes, C/G)``."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]).movedim(2, -1)


def windows(source: Tensor, cutting: Blocks) -> Tensor:
    """Taps of the last axis gathered: ``(N, G, …, last positions, last taps, C/G)``."""
    x = channels_last_groups(source, cutting.groups)
    if cutting.zeros:  # one slot of zeros behind each axis is what "outside" reads
        x = torch.nn.functional.pad(x, (0, 0) + (0, 1) * len(cutting.sizes))
    table = cutting.tables[-1]
    return x.index_select(-2, table.flatten()).unflatten(-2, tuple(table.shape))


def at_leading_tap(x: Tensor, tap: tuple[int, ...], cutting: Blocks) -> Tensor:
    for axis, i in enumerate(tap):
        x = x.index_select(2 + axis, cutting.tables[axis][:, i])
    return x


def wide(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The dtype that sums are formed in: float32 for the half precisions, else the tensors' own."""
    if tensors[0].dtype in (torch.float16, torch.bfloat16):
        return tuple(t.float() for t in tensors)
    return tensors


def reassemble(
    input: Tensor,
    kernels: Tensor,
    kernel_size: Sequence[int],
    groups: int = 1,
    dilation: Sequence[int] = (),
    padding_mode: str = "zeros",
    alignment: str = "corner",
) -> Tensor:
    """Q[c, p] = sum over t of A[t, p] · V[c, src(p, t)]."""
    cutting = cut(
        input.shape[2:],
        kernels.shape[2:],
        kernel_size,
        groups,
        dilation,
        padding_mode,
        alignment,
        input.device,
    )
    source, weights = wide(input, kernels)
    columns, weights = windows(source, cutting), split_kernels(weights, cutting)
    out = torch.zeros((), dtype=source.dtype, device=source.device)
    for i, tap in enumerate(cutting.leading_taps):
        out = out + weights[i] @ at_leading_tap(columns, tap, cutting)
    return join_query(out, cutting).to(input.dtype).contiguous(memory_format=result_format(input))


def correlate(
    input: Tensor,
    query: Tensor,
    kernel_size: Sequence[int],
    groups: int = 1,
    dilation: Sequence[int] = (),
    padding_mode: str = "zeros",
    alignment: str = "corner",
) -> Tensor:
    """A[t, p] = sum over the group's c of Q[c, p] · V[c, src(p, t)]."""
    cutting = cut(
        input.shape[2:], query.shape[2:], kernel_size, groups, dilation, padding_mode, alignment, input.device
    )
    source, target = wide(input, query)
    columns, target = windows(source, cutting), split_query(target, cutting)
    products = [target @ at_leading_tap(columns, tap, cutting).mT for tap in cutting.leading_taps]
    out = join_kernels(torch.stack(products), cutting)
    return out.to(input.dtype).contiguous(memory_format=result_format(input))


def scatter(
    kernels: Tensor,
    query: Tensor,
    input_size: Sequence[int],
    kernel_size: Sequence[int],
    groups: int = 1,
    dilation: Sequence[int] = (),
    padding_mode: str = "zeros",
    alignment: str = "corner",
) -> Tensor:
    """V[c, q] = sum over all (p, t) with src(p, t) = q of A[t, p] · Q[c, p]."""
    cutting = cut(input_size, query.shape[2:], kernel_size, groups, dilation, padding_mode, alignment, query.device)
    weights, target = wide(kernels, query)
    weights, target = split_kernels(weights, cutting), split_query(target, cutting)
    sizes = [size + cutting.zeros for size in cutting.sizes]
    out = torch.zeros((), dtype=target.dtype, device=target.device)
    for i, tap in enumerate(cutting.leading_taps):
        part = (weights[i].mT @ target).flatten(-3, -2)
        part = sum_at(part, -2, cutting.tables[-1].flatten(), sizes[-1])
        for axis in reversed(range(len(tap))):
            part = sum_at(part, 2 + axis, cutting.tables[axis][:, tap[axis]], sizes[axis])
        out = out + part
    for axis, size in enumerate(cutting.sizes):
        out = out.narrow(2 + axis, 0, size)
    out = out.movedim(-1, 2).flatten(1, 2)
    return out.to(query.dtype).contiguous(memory_format=result_format(query))


def sum_at(x: Tensor, dim: int, index: Tensor, size: int) -> Tensor:
    """The adjoint of ``index_select``: entries of ``x`` along ``dim`` summed into ``size`` slots."""
    shape = list(x.shape)
    shape[dim] = size
    return x.new_zeros(shape).index_add(dim, index, x)

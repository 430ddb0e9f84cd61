"""The three contractions and the fused reassembly over the Triton kernels: shapes, layouts, blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from karaffe.ops.backends.triton import readers, taps, tiles, windows
from karaffe.ops.backends.triton.call import Block, Call, dense, strides
from karaffe.ops.backends.triton.tables import Axes, axes_of, with_phases
from karaffe.ops.layout import empty_like_layout, result_format

# Numbers of its window that a thread keeps in registers.
WINDOW = 128
ROWS = 4  # source rows a thread makes in `scatter_window`

# By kernel, for contiguous and for channels-last memory; the tuner takes one.
BLOCKS = {
    "reassemble": ((Block(2, 32, 64), Block(4, 32, 64), Block(2, 32, 256)), (Block(4, 4, 256), Block(8, 8, 256))),
    "correlate": ((Block(1, 32), Block(2, 32)), (Block(2, 4), Block(4, 4))),
    "scatter": ((Block(4, 32), Block(2, 32)), (Block(4, 4), Block(2, 4))),
    "attention": ((Block(1, 32), Block(2, 32)), (Block(2, 4), Block(4, 4))),
}

_NORMALIZER = {
    "none": tiles.NONE.value,
    "softmax": tiles.SOFTMAX.value,
    "sigmoid": tiles.SIGMOID.value,
    "sigmoid_norm": tiles.SIGMOID_NORM.value,
    "sum": tiles.SUM.value,
}


def windowed(axes: Axes, taps_kept: int, dtype: torch.dtype, tuples: int = 1) -> Axes | None:
    """The axes with the phases whose windows fit a thread's registers; ``None`` where not even one does."""
    room = WINDOW // tuples // (2 if dtype == torch.float64 else 1)
    return with_phases(axes, lambda phases: phases * taps_kept <= room)


def blocks_of(kind: str, call: Call) -> tuple[Block, ...]:
    contiguous, last = BLOCKS[kind]
    return last if call.layout.step > 1 else contiguous


class Kernels:
    """How kernels lie in memory: plain, or as the logits of a content encoder."""

    def __init__(self, factors: Sequence[int] = (1, 1), normalizer: str = "none", mask: bool = False) -> None:
        down, across = ([1] * (2 - len(factors)) + list(factors))[-2:]
        self.constants = {"SY": down, "SX": across, "NORMALIZER": _NORMALIZER[normalizer]}
        self.mask = {"MASK": mask}


PLAIN = Kernels()


def reassemble(
    input: Tensor,
    kernels: Tensor,
    kernel_size: Sequence[int],
    groups: int = 1,
    dilation: Sequence[int] = (),
    padding_mode: str = "zeros",
    alignment: str = "corner",
) -> Tensor:
    targets = kernels.shape[2:]
    out = empty_like_layout(input, (*input.shape[:2], *targets), input)
    if not out.numel():
        return out
    axes = axes_of(input.shape[2:], targets, kernel_size, dilation, padding_mode, alignment)
    phased = windowed(axes, math.prod(kernel_size), input.dtype)
    if phased is None:
        _reassemble_taps(dense(input), dense(kernels), out, axes, groups)
    else:
        reassemble_window(dense(input), dense(kernels), out, phased, groups, PLAIN)
    return out


def reassemble_window(input: Tensor, kernels: Tensor, out: Tensor, axes: Axes, groups: int, form: Kernels) -> None:
    call = Call(axes, input, input.shape[1] // groups, (input, kernels, out))

    def prepared(block: Block) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
        count, across = call.tile(block)
        step = call.layout.step
        steps = max(1, min(block.channels, triton.next_power_of_2(call.per_group)) // step)
        chunks = triton.cdiv(call.per_group, steps * step)
        sizes = (groups, call.per_group, chunks, steps, axes[-1].size, call.rows, call.cols, axes[-1].target)
        constants = {
            **call.taps, **call.phases, **call.lanes, **form.constants, **form.mask, "PAIR": call.pairs,
            "CHECK": call.per_group % step != 0, "BLOCK_P": count, "BLOCK_X": across,
        }  # fmt: skip
        arguments = (input, kernels, out, *call.reads(), *sizes, *strides(input), *strides(kernels), *strides(out))
        return input.shape[0] * groups * chunks * call.tiles(count, across), arguments, constants

    call.launch(windows.reassemble_window, blocks_of("reassemble", call), tuple(form.constants.values()), prepared)


def _reassemble_taps(input: Tensor, kernels: Tensor, out: Tensor, axes: Axes, groups: int) -> None:
    call = Call(axes, input, input.shape[1] // groups, (input, kernels, out))

    def prepared(block: Block) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
        count, across = call.tile(block)
        unroll = _unroll(call)
        chunks = triton.cdiv(call.per_group, unroll * call.layout.step)
        sizes = (groups, call.per_group, chunks, axes[-1].size, call.rows, call.cols)
        constants = {**call.taps, **call.lanes, "UNROLL": unroll, "BLOCK_P": count, "BLOCK_X": across}
        arguments = (input, kernels, out, *call.reads(), *sizes, *strides(input), *strides(kernels), *strides(out))
        return input.shape[0] * groups * chunks * call.tiles(count, across), arguments, constants

    call.launch(taps.reassemble_taps, (Block(4),), (), prepared)


def correlate(
    input: Tensor,
    query: Tensor,
    kernel_size: Sequence[int],
    groups: int = 1,
    dilation: Sequence[int] = (),
    padding_mode: str = "zeros",
    alignment: str = "corner",
) -> Tensor:
    targets = query.shape[2:]
    count = math.prod(kernel_size)
    out = empty_like_layout(input, (input.shape[0], groups * count, *targets), input)
    if not out.numel():
        return out
    axes = axes_of(input.shape[2:], targets, kernel_size, dilation, padding_mode, alignment)
    phased = windowed(axes, count, input.dtype)
    source = dense(input)
    asked = dense(query, result_format(source))
    if phased is None:
        _correlate_taps(source, asked, out, axes, groups)
    else:
        correlate_window(source, asked, None, out, phased, groups, PLAIN)
    return out


def correlate_window(
    input: Tensor, query: Tensor, logits: Tensor | None, out: Tensor, axes: Axes, groups: int, form: Kernels
) -> Tensor:
    """Fills ``out``; gives every target's statistic, which only logits with a normaliser have."""
    call = Call(axes, input, input.shape[1] // groups, (input, query, out))
    shape = (input.shape[0], groups, call.rows * call.phases["FY"], axes[-1].target)
    dtype = torch.promote_types(input.dtype, torch.float32)
    statistics = out if logits is None else torch.empty(shape, dtype=dtype, device=out.device)
    logits = out if logits is None else logits

    def prepared(block: Block) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
        count, across = call.tile(block)
        sizes = (groups, call.per_group, axes[-1].size, call.rows, call.cols, axes[-1].target)
        constants = {
            **call.taps, **call.phases, **call.lanes, **form.constants, **form.mask,
            "CHECK": call.per_group % call.layout.step != 0, "BLOCK_P": count, "BLOCK_X": across,
        }  # fmt: skip
        tensors = (input, query, logits, out, statistics, *call.reads())
        arguments = (*tensors, *sizes, *strides(input), *strides(query), *strides(out))
        return input.shape[0] * groups * call.tiles(count, across), arguments, constants

    call.launch(windows.correlate_window, blocks_of("correlate", call), tuple(form.constants.values()), prepared)
    return statistics


def _correlate_taps(input: Tensor, query: Tensor, out: Tensor, axes: Axes, groups: int) -> None:
    call = Call(axes, input, input.shape[1] // groups, (input, query, out))

    def prepared(block: Block) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
        count, across = call.tile(block)
        blocks = triton.cdiv(math.prod(call.taps.values()), 8)
        sizes = (groups, call.per_group, axes[-1].size, call.rows, call.cols)
        constants = {**call.taps, "BLOCK_T": 8, "BLOCK_P": count, "BLOCK_X": across}
        arguments = (input, query, out, *call.reads(), *sizes, *strides(input), *strides(query), *strides(out))
        return input.shape[0] * groups * blocks * call.tiles(count, across), arguments, constants

    call.launch(taps.correlate_taps, (Block(2),), (), prepared)


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
    out = empty_like_layout(query, (*query.shape[:2], *input_size), query)
    if not out.numel():
        return out
    axes = axes_of(input_size, query.shape[2:], kernel_size, dilation, padding_mode, alignment)
    phased = with_phases(axes, lambda phases: True)
    assert phased is not None
    scatter_phased(dense(kernels), dense(query), None, out, phased, groups, PLAIN)
    return out


def scatter_phased(
    kernels: Tensor, query: Tensor, statistics: Tensor | None, out: Tensor, axes: Axes, groups: int, form: Kernels
) -> None:
    statistics = out if statistics is None else statistics
    if all(a.padding_mode == "zeros" and a.positions == a.size for a in axes) and axes[0].dilation == 1:
        if len(axes) == 2 and all(a.factor == a.phases for a in axes):
            _scatter_window(kernels, query, statistics, out, axes, groups, form)
            return
    _scatter_readers(kernels, query, statistics, out, axes, groups, form)


def _scatter_window(
    kernels: Tensor, query: Tensor, statistics: Tensor, out: Tensor, axes: Axes, groups: int, form: Kernels
) -> None:
    call = Call(axes, query, query.shape[1] // groups, (kernels, query, out))

    def prepared(block: Block) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
        count, across = call.tile(block)
        unroll = _unroll(call)
        chunks = triton.cdiv(call.per_group, unroll * call.layout.step)
        sizes = (groups, call.per_group, chunks, axes[-1].dilation, call.rows, call.cols, axes[-1].target)
        constants = {
            **call.taps, **call.phases, **call.lanes, **form.constants, "PAIR": call.pairs,
            "ROWS": ROWS, "UNROLL": unroll, "BLOCK_P": count, "BLOCK_X": across,
        }  # fmt: skip
        tiles_ = call.tiles(count, across, triton.cdiv(call.rows, ROWS))
        arguments = (kernels, query, statistics, out, *sizes, *strides(kernels), *strides(query), *strides(out))
        return query.shape[0] * groups * chunks * tiles_, arguments, constants

    call.launch(readers.scatter_window, blocks_of("scatter", call), tuple(form.constants.values()), prepared)


def _scatter_readers(
    kernels: Tensor, query: Tensor, statistics: Tensor, out: Tensor, axes: Axes, groups: int, form: Kernels
) -> None:
    call = Call(axes, query, query.shape[1] // groups, (kernels, query, out))
    rows, cols = math.prod(a.size for a in axes[:-1]), axes[-1].size

    def prepared(block: Block) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
        count = min(call.tile(block)[0], triton.next_power_of_2(cols))
        unroll = _unroll(call)
        chunks = triton.cdiv(call.per_group, unroll * call.layout.step)
        targets = (math.prod(a.target for a in axes[:-1]), axes[-1].target)
        sizes = (groups, call.per_group, chunks, rows, cols, *targets)
        constants = {**call.taps, **call.phases, **call.lanes, **form.constants, "UNROLL": unroll, "BLOCK_P": count}
        tensors = (kernels, query, statistics, out, *call.readers())
        arguments = (*tensors, *sizes, *strides(kernels), *strides(query), *strides(out))
        return query.shape[0] * groups * chunks * rows * triton.cdiv(cols, count), arguments, constants

    call.launch(readers.scatter_readers, (Block(2), Block(4)), tuple(form.constants.values()), prepared)


def _unroll(call: Call) -> int:
    """Blocks of channels a program takes, so that a weight serves about eight values of a thread."""
    least = max(1, 8 // call.layout.vector)
    return min(least, triton.next_power_of_2(triton.cdiv(call.per_group, call.layout.step)))

"""The fused operators over the Triton kernels, and the composite of the three contractions where these cannot serve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from karaffe.ops.backends import reference_attention, reference_logits
from karaffe.ops.backends.contractions import Contractions
from karaffe.ops.backends.triton import attention, launch
from karaffe.ops.backends.triton.call import Block, Call, dense, strides
from karaffe.ops.backends.triton.launch import Kernels, blocks_of, windowed
from karaffe.ops.backends.triton.tables import Axes, axes_of, chosen, with_phases
from karaffe.ops.layout import empty_like_layout, result_format

CONTRACTIONS = Contractions(launch.reassemble, launch.correlate, launch.scatter)
SOURCE_BLOCK = Block(4)
# Channels a head, of keys and of values, that a team of threads keeps while it walks through a source pixel's readers.
CHANNELS = 256


def logits_why_not(input: Tensor, kernel_size: Sequence[int]) -> str | None:
    """Why the fused reassembly cannot compute this call; ``None`` if it can."""
    if len(kernel_size) > 2:
        return "logits of three axes"
    if windowed(_no_phases(input, kernel_size), math.prod(kernel_size), input.dtype) is None:
        return f"a window of {math.prod(kernel_size)} taps in {input.dtype} does not fit in registers"
    return None


def _no_phases(x: Tensor, kernel_size: Sequence[int]) -> Axes:
    return axes_of(x.shape[2:], x.shape[2:], kernel_size, (), "zeros", "corner")


def reassemble_logits(
    input: Tensor,
    logits: Tensor,
    kernel_size: Sequence[int],
    scale_factor: Sequence[int],
    groups: int = 1,
    dilation: Sequence[int] = (),
    padding_mode: str = "zeros",
    normalizer: str = "softmax",
) -> Tensor:
    if logits_why_not(input, kernel_size) is not None:
        rest = (kernel_size, scale_factor, groups, dilation, padding_mode, normalizer)
        return reference_logits.reassemble_logits(CONTRACTIONS, input, logits, *rest)
    targets = [size * factor for size, factor in zip(input.shape[2:], scale_factor, strict=True)]
    out = empty_like_layout(input, (*input.shape[:2], *targets), input)
    if out.numel():
        mask = padding_mode == "mask"
        axes = axes_of(input.shape[2:], targets, kernel_size, dilation, "zeros" if mask else padding_mode, "corner")
        phased = windowed(axes, math.prod(kernel_size), input.dtype)
        assert phased is not None
        form = Kernels(scale_factor, normalizer, mask)
        launch.reassemble_window(dense(input), dense(logits), out, phased, groups, form)
    return out


def reassemble_logits_backward(
    grad: Tensor,
    input: Tensor,
    logits: Tensor,
    kernel_size: Sequence[int],
    scale_factor: Sequence[int],
    groups: int = 1,
    dilation: Sequence[int] = (),
    padding_mode: str = "zeros",
    normalizer: str = "softmax",
) -> tuple[Tensor, Tensor]:
    if logits_why_not(input, kernel_size) is not None:
        rest = (kernel_size, scale_factor, groups, dilation, padding_mode, normalizer)
        return reference_logits.reassemble_logits_backward(CONTRACTIONS, grad, input, logits, *rest)
    by_input = empty_like_layout(input, input.shape, input)
    by_logits = empty_like_layout(logits, logits.shape, logits)
    if not grad.numel():
        return by_input, by_logits
    mask = padding_mode == "mask"
    mode = "zeros" if mask else padding_mode
    axes = axes_of(input.shape[2:], grad.shape[2:], kernel_size, dilation, mode, "corner")
    form = Kernels(scale_factor, normalizer, mask)
    source, scores = dense(input), dense(logits)
    grad = dense(grad, result_format(source))
    phased = windowed(axes, math.prod(kernel_size), input.dtype, tuples=1 if normalizer == "none" else 2)
    if phased is None:
        phased = windowed(axes, math.prod(kernel_size), input.dtype)
    assert phased is not None
    statistics = launch.correlate_window(source, grad, scores, by_logits, phased, groups, form)
    every = with_phases(axes, lambda _: True)
    assert every is not None
    launch.scatter_phased(scores, grad, statistics, by_input, every, groups, form)
    return by_input, by_logits


def attention_why_not(
    key: Tensor, value: Tensor, kernel_size: Sequence[int], heads: int, taps: Sequence[int] | None, tuples: int
) -> str | None:
    """Why the attention kernels cannot compute this call; ``None`` if they can."""
    count = len(taps) if taps is not None else math.prod(kernel_size)
    if windowed(_no_phases(key, kernel_size), count, key.dtype, tuples) is None:
        return f"a window of {count} taps in {key.dtype} does not fit in registers"
    if tuples > 1 and max(key.shape[1], value.shape[1]) // heads > CHANNELS:
        return f"more than {CHANNELS} channels a head"
    return None


class _Attention:
    """What forward and backward have in common."""

    def __init__(
        self,
        targets: Sequence[int],
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        kernel_size: Sequence[int],
        heads: int,
        taps: Sequence[int] | None,
        dilation: Sequence[int],
        padding_mode: str,
        alignment: str,
    ) -> None:
        self.mask, self.heads = padding_mode == "mask", heads
        self.numbers = tuple(taps) if taps is not None else tuple(range(math.prod(kernel_size)))
        mode = "zeros" if self.mask else padding_mode
        self.axes = axes_of(key.shape[2:], targets, kernel_size, dilation, mode, alignment)
        self.per_key, self.per_value = key.shape[1] // heads, value.shape[1] // heads
        self.biased = bias is not None
        self.bias = key if bias is None else bias.contiguous()
        self.bias_stride = 0 if bias is None else self.bias.stride(0)

    def constants(self, call: Call, block: Block) -> dict[str, Any]:
        count, across = call.tile(block)
        step = call.layout.step
        return {
            **call.taps, **call.phases, **call.lanes, "TAPS": self.numbers, "MASK": self.mask, "BIASED": self.biased,
            "CHECK": self.per_key % step != 0 or self.per_value % step != 0, "PAIR": call.pairs,
            "BLOCK_P": count, "BLOCK_X": across,
        }  # fmt: skip

    def sizes(self, call: Call, scale: float) -> tuple[Any, ...]:
        axis = call.axes[-1]
        per = (self.heads, self.per_key, self.per_value, float(scale))
        return (*per, axis.size, call.rows, call.cols, axis.target)


def local_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    kernel_size: Sequence[int],
    heads: int = 1,
    scale: float = 1.0,
    taps: Sequence[int] | None = None,
    dilation: Sequence[int] = (),
    padding_mode: str = "mask",
    alignment: str = "corner",
) -> tuple[Tensor, Tensor]:
    if attention_why_not(key, value, kernel_size, heads, taps, 1) is not None:
        rest = (kernel_size, heads, scale, taps, dilation, padding_mode, alignment)
        return reference_attention.local_attention(CONTRACTIONS, query, key, value, bias, *rest)
    targets = query.shape[2:]
    out = empty_like_layout(value, (value.shape[0], value.shape[1], *targets), value)
    wide = torch.promote_types(query.dtype, torch.float32)
    log_sum = query.new_empty((query.shape[0], heads, *targets), dtype=wide)
    if not log_sum.numel():
        return out, log_sum
    form = _Attention(targets, key, value, bias, kernel_size, heads, taps, dilation, padding_mode, alignment)
    value = dense(value)
    query, key = dense(query, result_format(value)), dense(key, result_format(value))
    phased = windowed(form.axes, len(form.numbers), query.dtype)
    assert phased is not None
    call = Call(phased, value, min(form.per_key, form.per_value), (query, key, value, out))

    def prepared(block: Block) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
        constants = form.constants(call, block)
        spans = (*strides(query), *strides(key), *strides(value), *strides(out), form.bias_stride)
        tensors = (query, key, value, form.bias, out, log_sum, *call.reads())
        programs = query.shape[0] * heads * call.tiles(constants["BLOCK_P"], constants["BLOCK_X"])
        return programs, (*tensors, *form.sizes(call, scale), *spans), constants

    call.launch(
        attention.attention_forward, blocks_of("attention", call), (len(form.numbers), form.per_value), prepared
    )
    return out, log_sum


def local_attention_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    log_sum: Tensor,
    kernel_size: Sequence[int],
    heads: int = 1,
    scale: float = 1.0,
    taps: Sequence[int] | None = None,
    dilation: Sequence[int] = (),
    padding_mode: str = "mask",
    alignment: str = "corner",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if attention_why_not(key, value, kernel_size, heads, taps, 2) is not None:
        rest = (kernel_size, heads, scale, taps, dilation, padding_mode, alignment)
        return reference_attention.local_attention_backward(CONTRACTIONS, grad, query, key, value, bias, log_sum, *rest)
    by_query, by_key, by_value = (empty_like_layout(t, t.shape, t) for t in (query, key, value))
    by_bias = grad.new_zeros((grad.shape[0], 0 if bias is None else bias.shape[1]))
    if not log_sum.numel():
        return by_query, by_key, by_value, by_bias
    form = _Attention(grad.shape[2:], key, value, bias, kernel_size, heads, taps, dilation, padding_mode, alignment)
    # channels last within: a team of threads reads one pixel's channels at a time
    last = _channels_last(grad)
    grad, query, key, value = (dense(t, last) for t in (grad, query, key, value))
    inner, partial = _by_query(form, grad, query, key, value, log_sum, by_query, scale)
    _by_source(form, grad, query, key, value, log_sum, inner, by_key, by_value, scale)
    if partial is not None:
        by_bias = partial.sum(2).flatten(1).to(grad.dtype)
    return by_query, by_key, by_value, by_bias


def _channels_last(x: Tensor) -> torch.memory_format:
    return {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim(), torch.contiguous_format)


def _by_query(
    form: _Attention, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, log_sum: Tensor, by_query: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Fills the queries' gradient; gives every target's inner product, and every tile's part in the bias's."""
    phased = windowed(form.axes, len(form.numbers), query.dtype, tuples=2)
    assert phased is not None
    call = Call(phased, value, min(form.per_key, form.per_value), (grad, query, key, value))
    inner = torch.empty_like(log_sum)
    laid_out = empty_like_layout(query, query.shape, query)
    block = blocks_of("attention", call)[0]
    constants = form.constants(call, block)
    tiles = call.tiles(constants["BLOCK_P"], constants["BLOCK_X"])
    partial = None
    if form.biased:
        count = math.prod(call.taps.values())
        partial = log_sum.new_zeros((query.shape[0], form.heads, tiles, count))

    def prepared(_: Block) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
        spans = (*strides(grad), *strides(query), *strides(key), *strides(value), form.bias_stride)
        parts = inner if partial is None else partial
        tensors = (grad, query, key, value, form.bias, log_sum, inner, laid_out, parts, *call.reads())
        return query.shape[0] * form.heads * tiles, (*tensors, *form.sizes(call, scale), *spans), constants

    call.launch(attention.attention_by_query, (block,), (), prepared)
    by_query.copy_(laid_out)
    return inner, partial


def _by_source(
    form: _Attention, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, log_sum: Tensor, inner: Tensor,
    by_key: Tensor, by_value: Tensor, scale: float,
) -> None:  # fmt: skip
    phased = with_phases(form.axes, lambda _: True)
    assert phased is not None
    call = Call(phased, value, form.per_value, (grad, query, key, value))
    rows, cols = math.prod(a.size for a in phased[:-1]), phased[-1].size
    keys, values = (triton.next_power_of_2(n) for n in (form.per_key, form.per_value))
    count = max(1, min(1024 // max(keys, values), 32, triton.next_power_of_2(cols)))
    picked = chosen(form.numbers, math.prod(call.taps.values()), key.device)
    laid_key, laid_value = (empty_like_layout(t, t.shape, t) for t in (key, value))

    def prepared(_: Block) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
        constants = {
            **call.taps, **call.phases, "SPARSE": len(form.numbers) < picked.numel(), "BIASED": form.biased,
            "KEYS": keys, "VALUES": values, "BLOCK_P": count,
        }  # fmt: skip
        targets = (math.prod(a.target for a in phased[:-1]), phased[-1].target)
        sizes = (form.heads, form.per_key, form.per_value, float(scale), rows, cols, *targets)
        spans = (*strides(grad), *strides(query), *strides(key), *strides(value), form.bias_stride)
        tensors = (grad, query, key, value, form.bias, log_sum, inner, laid_key, laid_value, picked)
        programs = query.shape[0] * form.heads * rows * triton.cdiv(cols, count)
        return programs, (*tensors, *call.readers(), *sizes, *spans), constants

    call.launch(attention.attention_by_source, (SOURCE_BLOCK,), (), prepared)
    by_key.copy_(laid_key)
    by_value.copy_(laid_value)

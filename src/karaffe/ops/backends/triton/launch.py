"""The operators' signatures over the Triton kernels: layouts settled, tables fetched, a block size chosen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

from karaffe.ops.backends.triton import kernels as source_of_kernels
from karaffe.ops.backends.triton.tables import Axis, readers, reads
from karaffe.ops.layout import empty_like_layout, result_format

_ACCUMULATE = {
    torch.float64: tl.float64,
    torch.float32: tl.float32,
    torch.bfloat16: tl.float32,
    torch.float16: tl.float32,
}
_KEY = ["groups", "per_group", "source_x", "target_x", "TAPS_X", "out_c"]


def _tuned(kernel: Any, second: str) -> Any:
    """The kernel behind Triton's tuner, which times these blocks once a shape; the interpreter takes the first."""
    blocks = ((64, 8, 4), (32, 16, 4), (128, 4, 4), (16, 32, 4), (64, 16, 8))
    if isinstance(kernel, InterpretedFunction):
        x, other, _ = blocks[0]
        return lambda grid: lambda *a, **k: kernel[grid](*a, **k, **{"BLOCK_X": x, second: other})
    configs = [triton.Config({"BLOCK_X": x, second: other}, num_warps=warps) for x, other, warps in blocks]
    tuner = triton.autotune(configs, key=_KEY)(kernel)
    return lambda grid: tuner[grid]


_REASSEMBLE = _tuned(source_of_kernels.reassemble_kernel, "BLOCK_C")
_CORRELATE = _tuned(source_of_kernels.correlate_kernel, "BLOCK_T")
_SCATTER = _tuned(source_of_kernels.scatter_kernel, "BLOCK_C")


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
    axes = _axes(input.shape[2:], targets, kernel_size, dilation, padding_mode, alignment, input.device)
    _run(_REASSEMBLE, "BLOCK_C", axes, groups, (input, kernels, out), input.shape[1] // groups, targets, reads)
    return out


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
    axes = _axes(input.shape[2:], targets, kernel_size, dilation, padding_mode, alignment, input.device)
    taps = axes[0].kernel_size * axes[1].kernel_size * axes[2].kernel_size
    out = empty_like_layout(input, (input.shape[0], groups * taps, *targets), input)
    _run(_CORRELATE, "BLOCK_T", axes, groups, (input, query, out), input.shape[1] // groups, targets, reads)
    return out


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
    axes = _axes(input_size, query.shape[2:], kernel_size, dilation, padding_mode, alignment, query.device)
    _run(_SCATTER, "BLOCK_C", axes, groups, (kernels, query, out), query.shape[1] // groups, input_size, readers)
    return out


def _axes(
    sizes: Sequence[int],
    targets: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding_mode: str,
    alignment: str,
    device: torch.device,
) -> list[Axis]:
    """Depth, height and width; absent ones of one pixel and one tap."""
    present = zip(sizes, targets, kernel_size, dilation or [1] * len(kernel_size), strict=True)
    axes = [Axis(size, target, k, d, padding_mode, alignment, device) for size, target, k, d in present]
    absent = Axis(1, 1, 1, 1, "zeros", "corner", device)
    return [absent] * (3 - len(axes)) + axes


def _run(
    kernel: Callable[..., Any],
    second: str,
    axes: list[Axis],
    groups: int,
    tensors: tuple[Tensor, Tensor, Tensor],
    per_group: int,
    result_sizes: Sequence[int],
    table: Callable[[Axis], Any],
) -> None:
    x, y, out = tensors
    if not out.numel():
        return
    x, y = _dense(x), _dense(y)
    table = _uncached_while_capturing(table, out)
    parts = [table(axis) for axis in axes]
    tables = parts if isinstance(parts[0], Tensor) else [part[i] for i in range(len(parts[0])) for part in parts]
    taps = [axis.kernel_size for axis in axes]
    width = result_sizes[-1]
    rows = out.numel() // (out.shape[0] * out.shape[1] * width)
    across = per_group if second == "BLOCK_C" else taps[0] * taps[1] * taps[2]

    def grid(chosen: dict[str, int]) -> tuple[int]:
        blocks = triton.cdiv(across, chosen[second]) * triton.cdiv(width, chosen["BLOCK_X"])
        return (out.shape[0] * groups * rows * blocks,)

    with torch.cuda.device(out.device) if out.is_cuda else contextlib.nullcontext():
        kernel(grid)(
            x,
            y,
            out,
            *tables,
            groups,
            per_group,
            axes[1].size,
            axes[2].size,
            axes[1].target,
            axes[2].target,
            rows,
            *_strides(x),
            *_strides(y),
            *_strides(out),
            TAPS_Z=taps[0],
            TAPS_Y=taps[1],
            TAPS_X=taps[2],
            ACCUMULATE=_ACCUMULATE[out.dtype],
        )


def _dense(x: Tensor) -> Tensor:
    """Contiguous or channels-last as it is, else a contiguous copy: one stride tells every pixel."""
    return x.contiguous(memory_format=result_format(x))


def _strides(x: Tensor) -> tuple[int, int, int]:
    """Of batch, channel and pixel; a dense tensor's own strides lie where an axis has one entry."""
    pixels = x[0, 0].numel()
    if result_format(x) is torch.contiguous_format:
        return x.shape[1] * pixels, pixels, 1
    return x.shape[1] * pixels, 1, x.shape[1]


def _uncached_while_capturing(table: Callable[[Axis], Any], out: Tensor) -> Callable[[Axis], Any]:
    """A table made inside a CUDA graph lives in the graph's memory, and may not outlive it in a cache."""
    if out.is_cuda and torch.cuda.is_current_stream_capturing():
        return table.__wrapped__  # type: ignore[attr-defined]
    return table

"""One call on its way to a kernel: the lanes that its memory layout wants, offsets, and the launch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from karaffe.ops.backends.triton import tuning
from karaffe.ops.backends.triton.tables import Axes, Readers, positions, readers, reads, taps
from karaffe.ops.layout import result_format

_ACCUMULATE = {
    torch.float64: tl.float64,
    torch.float32: tl.float32,
    torch.bfloat16: tl.float32,
    torch.float16: tl.float32,
}
LARGEST_OFFSET = 2**31 - 1


class Block(NamedTuple):
    """What the tuner may choose: nothing that changes the order of a sum."""

    warps: int
    width: int = 32  # most positions of a tile along x
    channels: int = 64  # of one program, about


class Layout(NamedTuple):
    """How threads share channels: neighbours in memory where channels are last, else none."""

    lanes: int
    vector: int

    @property
    def step(self) -> int:
        return self.lanes * self.vector


def layout_of(x: Tensor, per_group: int) -> Layout:
    """Sixteen bytes a thread and up to eight threads in channels-last memory; a channel at a time otherwise."""
    if result_format(x) is torch.contiguous_format:
        return Layout(1, 1)
    vector = min(16 // x.element_size(), triton.next_power_of_2(per_group))
    lanes = min(8, triton.next_power_of_2(triton.cdiv(per_group, vector)))
    return Layout(lanes, vector)


def dense(x: Tensor, layout: torch.memory_format | None = None) -> Tensor:
    """Contiguous or channels-last as it is, else a copy in ``layout``: one stride tells every pixel."""
    own = result_format(x)
    if layout is None:
        layout = own
    return x.contiguous(memory_format=layout)


def strides(x: Tensor) -> tuple[int, int, int]:
    """Of batch, channel and pixel; a dense tensor's own strides lie where an axis has one entry."""
    pixels = math.prod(x.shape[2:])
    if result_format(x) is torch.contiguous_format:
        return x.shape[1] * pixels, pixels, 1
    return x.shape[1] * pixels, 1, x.shape[1]


class Call:
    """What every kernel of a call is told: sizes, tables, and the constants of its layout."""

    def __init__(self, axes: Axes, leader: Tensor, per_group: int, tensors: Sequence[Tensor]) -> None:
        self.axes, self.device, self.per_group = axes, leader.device, per_group
        self.layout, self.dtype = layout_of(leader, per_group), leader.dtype
        self.rows, self.cols = positions(axes)
        self.pairs = axes[-1].phases == 2 and self.layout.step == 1
        self._capturing = leader.is_cuda and torch.cuda.is_current_stream_capturing()
        sample = max(math.prod(t.shape[1:]) for t in tensors)
        self.wide = sample > LARGEST_OFFSET

    @property
    def phases(self) -> dict[str, int]:
        rows = self.axes[0].phases if len(self.axes) == 2 else 1
        return {"FY": rows, "FX": self.axes[-1].phases}

    @property
    def taps(self) -> dict[str, int]:
        down, across = taps(self.axes)
        return {"TAPS_Y": down, "TAPS_X": across}

    @property
    def types(self) -> dict[str, Any]:
        return {"OFFSET": tl.int64 if self.wide else tl.int32, "ACCUMULATE": _ACCUMULATE[self.dtype]}

    @property
    def lanes(self) -> dict[str, int]:
        return {"LANES": self.layout.lanes, "VECTOR": self.layout.vector}

    def reads(self) -> tuple[Tensor, Tensor]:
        table = self._uncached_while_capturing(reads)
        return table(self.axes[:-1], self.device), table(self.axes[-1:], self.device)

    def readers(self) -> tuple[Tensor, ...]:
        table = self._uncached_while_capturing(readers)
        down: Readers = table(self.axes[:-1], self.device)
        across: Readers = table(self.axes[-1:], self.device)
        return (*down, *across)

    def _uncached_while_capturing(self, table: Any) -> Callable[..., Any]:
        """A table made inside a CUDA graph lives in the graph's memory, and may not outlive it in a cache."""
        return table.__wrapped__ if self._capturing else table

    def tile(self, block: Block, columns: int | None = None) -> tuple[int, int]:
        """Positions of a tile, and how many of them lie along x: one a thread, or one a team of lanes."""
        count = max(1, 32 * block.warps // self.layout.lanes)
        across = triton.next_power_of_2(columns if columns is not None else self.cols)
        return count, min(count, block.width, across)

    def tiles(self, count: int, across: int, rows: int | None = None) -> int:
        down = triton.cdiv(self.rows if rows is None else rows, count // across)
        return int(down * triton.cdiv(self.cols, across))

    def key(self, *more: Any) -> tuple[Any, ...]:
        """Calls that may share a choice: sizes count by their power of two."""
        sizes = (self.rows.bit_length(), self.cols.bit_length(), self.per_group.bit_length())
        return (
            self.device,
            self.dtype,
            self.layout,
            self.wide,
            *self.phases.values(),
            *self.taps.values(),
            *sizes,
            *more,
        )

    def launch(
        self,
        kernel: Any,
        blocks: Sequence[Block],
        key: tuple[Any, ...],
        prepared: Callable[[Block], tuple[int, tuple[Any, ...], dict[str, Any]]],
    ) -> None:
        """Run ``kernel`` with the best of ``blocks``; ``prepared`` gives programs, arguments and constants of one."""

        def run(block: Block) -> None:
            programs, arguments, constants = prepared(block)
            kernel[(programs,)](*arguments, **constants, **self.types, num_warps=block.warps)

        with torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext():
            run(tuning.best(kernel, self.key(*key), blocks, run, self.device, self._capturing))

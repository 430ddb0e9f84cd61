"""Reassembly and correlation with any number of taps: what does not fit in registers is read again.

A position is one target here. A tap outside the map has a negative table entry (:mod:`.tables`) and is not read.
"""

# Triton's language, in which mypy sees untyped Python.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from karaffe.ops.backends.triton.readers import channels_of, load_unrolled
from karaffe.ops.backends.triton.tiles import lanes


@triton.jit
def reassemble_taps(
    source,
    kernels,
    out,
    row_reads,
    col_reads,
    groups,
    per_group,
    chunks,
    source_x,
    rows,
    cols,
    source_n,
    source_c,
    source_p,
    kernels_n,
    kernels_c,
    kernels_p,
    out_n,
    out_c,
    out_p,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    step: tl.constexpr = LANES * VECTOR
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(rows, BLOCK_P // BLOCK_X) * tl.cdiv(cols, BLOCK_X)
    chunk = (program // tiles) % chunks
    g = (program // (tiles * chunks)) % groups
    n = program // (tiles * chunks * groups)
    row, col, live = lanes(program % tiles, rows, cols, BLOCK_P, BLOCK_X)
    channel, _ = channels_of(chunk, per_group, live, LANES, VECTOR, UNROLL)
    target = row.to(OFFSET) * cols + col
    weights = kernels + n * kernels_n + g * (TAPS_Y * TAPS_X) * kernels_c + target * kernels_p
    source += n * source_n + (g * per_group) * source_c
    sums = ()
    for _ in tl.static_range(UNROLL):
        sums = sums + (tl.zeros((BLOCK_P, LANES, VECTOR), dtype=ACCUMULATE),)
    for i in range(TAPS_Y):
        at_y = tl.load(row_reads + row * TAPS_Y + i)
        for j in range(TAPS_X):
            at_x = tl.load(col_reads + col * TAPS_X + j)
            ok = live & (at_y >= 0) & (at_x >= 0)
            weight = tl.load(weights, mask=ok, other=0).to(ACCUMULATE)
            weights += kernels_c
            at = source + ((at_y.to(OFFSET) * source_x + at_x) * source_p)[:, None, None]
            there = ()
            for u in tl.static_range(UNROLL):
                there = there + (ok[:, None, None] & (channel + u * step < per_group),)
            values = load_unrolled(at, there, channel, source_c, step, UNROLL, OFFSET, ACCUMULATE)
            grown = ()
            for u in tl.static_range(UNROLL):
                grown = grown + (sums[u] + weight[:, None, None] * values[u],)
            sums = grown
    at = out + n * out_n + (g * per_group) * out_c + (target * out_p)[:, None, None]
    for u in tl.static_range(UNROLL):
        pointer = at + (channel + u * step).to(OFFSET) * out_c
        there = live[:, None, None] & (channel + u * step < per_group)
        tl.store(pointer, sums[u].to(out.dtype.element_ty), mask=there)


@triton.jit
def correlate_taps(
    source,
    query,
    out,
    row_reads,
    col_reads,
    groups,
    per_group,
    source_x,
    rows,
    cols,
    source_n,
    source_c,
    source_p,
    query_n,
    query_c,
    query_p,
    out_n,
    out_c,
    out_p,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    TAPS: tl.constexpr = TAPS_Y * TAPS_X
    blocks: tl.constexpr = (TAPS + BLOCK_T - 1) // BLOCK_T
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(rows, BLOCK_P // BLOCK_X) * tl.cdiv(cols, BLOCK_X)
    tap = (program % blocks).to(tl.int32) * BLOCK_T + tl.arange(0, BLOCK_T)
    g = (program // (blocks * tiles)) % groups
    n = program // (blocks * tiles * groups)
    row, col, live = lanes((program // blocks) % tiles, rows, cols, BLOCK_P, BLOCK_X)
    has_tap = (tap < TAPS)[None, :]
    at_y = tl.load(row_reads + row[:, None] * TAPS_Y + (tap // TAPS_X)[None, :], mask=has_tap, other=-1)
    at_x = tl.load(col_reads + col[:, None] * TAPS_X + (tap % TAPS_X)[None, :], mask=has_tap, other=-1)
    inside = (at_y >= 0) & (at_x >= 0)
    target = row.to(OFFSET) * cols + col
    values = source + n * source_n + g * per_group * source_c + (at_y.to(OFFSET) * source_x + at_x) * source_p
    asked = query + n * query_n + g * per_group * query_c + target * query_p
    total = tl.zeros((BLOCK_P, BLOCK_T), dtype=ACCUMULATE)
    # one channel after another: a sum across lanes would depend on the block sizes
    for _ in range(per_group):
        value = tl.load(values, mask=inside, other=0).to(ACCUMULATE)
        total += tl.load(asked).to(ACCUMULATE)[:, None] * value
        values += source_c
        asked += query_c
    place = out + n * out_n + (g * TAPS + tap)[None, :] * out_c + (target * out_p)[:, None]
    tl.store(place, total.to(out.dtype.element_ty), mask=live[:, None] & has_tap)

"""Reassembly and correlation with a target's whole window in registers, plain or straight from logits.

The first keeps the weights and walks through the channels; the second keeps a sum a tap and phase. Both read a
source value once for all phases of its position. Plain kernels are logits without normaliser and without shuffle.
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from karaffe.ops.backends.triton.tiles import (
    NONE,
    SIGMOID,
    kernel_place,
    lanes,
    load_kernels,
    normalized,
    pulled_back,
    target_pixel,
    window,
    zeroed,
)


@triton.jit
def load_channels(pointer, channel, per_group, CHECK: tl.constexpr, ACCUMULATE: tl.constexpr):
    if CHECK:
        return tl.load(pointer, mask=channel < per_group, other=0).to(ACCUMULATE)
    return tl.load(pointer).to(ACCUMULATE)


@triton.jit
def weighted(
    values,
    pixels,
    weights,
    channel,
    per_group,
    stride_p,
    T: tl.constexpr,
    F: tl.constexpr,
    CHECK: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
):
    """The window's weighted sum of one block of channels, a phase each."""
    sums = ()
    for t in tl.static_range(T):
        at = values + (pixels[t].to(OFFSET) * stride_p)[:, None, None]
        value = load_channels(at, channel, per_group, CHECK, ACCUMULATE)
        grown = ()
        for f in tl.static_range(F):
            part = weights[t * F + f][:, None, None] * value
            if t > 0:
                part += sums[f]
            grown = grown + (part,)
        sums = grown
    return sums


@triton.jit
def store_targets(
    sums,
    out,
    row,
    col,
    live,
    channel,
    per_group,
    target_x,
    out_c,
    out_p,
    FY: tl.constexpr,
    FX: tl.constexpr,
    PAIR: tl.constexpr,
    OFFSET: tl.constexpr,
):
    """Write a block of channels of every phase; neighbours along x together where they are two and contiguous."""
    there = live[:, None, None] & (channel < per_group)
    lane = channel.to(OFFSET) * out_c
    if PAIR:
        for f in tl.static_range(FY):
            both = tl.join(sums[2 * f], sums[2 * f + 1])
            pixel = target_pixel(row, col, target_x, 2 * f, FY, FX).to(OFFSET) * out_p
            at = (pixel[:, None, None] + lane)[:, :, :, None] + tl.arange(0, 2)[None, None, None, :]
            tl.store(out + at, both.to(out.dtype.element_ty), mask=there[:, :, :, None])
    else:
        for f in tl.static_range(FY * FX):
            pixel = target_pixel(row, col, target_x, f, FY, FX).to(OFFSET) * out_p
            tl.store(out + (pixel[:, None, None] + lane), sums[f].to(out.dtype.element_ty), mask=there)


@triton.jit
def reassemble_window(
    source,
    kernels,
    out,
    row_reads,
    col_reads,
    groups,
    per_group,
    chunks,
    steps,
    source_x,
    rows,
    cols,
    target_x,
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
    FY: tl.constexpr,
    FX: tl.constexpr,
    SY: tl.constexpr,
    SX: tl.constexpr,
    NORMALIZER: tl.constexpr,
    MASK: tl.constexpr,
    CHECK: tl.constexpr,
    PAIR: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    T: tl.constexpr = TAPS_Y * TAPS_X
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(rows, BLOCK_P // BLOCK_X) * tl.cdiv(cols, BLOCK_X)
    chunk = (program // tiles) % chunks
    g = (program // (tiles * chunks)) % groups
    n = program // (tiles * chunks * groups)
    row, col, live = lanes(program % tiles, rows, cols, BLOCK_P, BLOCK_X)
    pixels, inside = window(row_reads, col_reads, row, col, source_x, TAPS_Y, TAPS_X)
    at = kernels + n * kernels_n + g * (T * SY * SX) * kernels_c
    raw = load_kernels(at, row, col, target_x, kernels_c, kernels_p, T, FY, FX, SY, SX, OFFSET, ACCUMULATE)
    weights, _ = normalized(raw, inside, T, FY * FX, NORMALIZER, MASK)
    weights = zeroed(weights, inside, T, FY * FX)
    step: tl.constexpr = LANES * VECTOR
    lane = (tl.arange(0, LANES) * VECTOR)[None, :, None] + tl.arange(0, VECTOR)[None, None, :]
    first = (chunk * steps * step).to(tl.int32)
    source += n * source_n + (g * per_group) * source_c
    out += n * out_n + (g * per_group) * out_c
    for c in range(first, tl.minimum(first + steps * step, per_group), step):
        channel = c + lane
        values = source + channel.to(OFFSET) * source_c
        sums = weighted(values, pixels, weights, channel, per_group, source_p, T, FY * FX, CHECK, OFFSET, ACCUMULATE)
        store_targets(sums, out, row, col, live, channel, per_group, target_x, out_c, out_p, FY, FX, PAIR, OFFSET)


@triton.jit
def correlated(
    source,
    query,
    pixels,
    row,
    col,
    per_group,
    target_x,
    source_c,
    source_p,
    query_c,
    query_p,
    T: tl.constexpr,
    FY: tl.constexpr,
    FX: tl.constexpr,
    CHECK: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Products of a position's targets with its window, summed over a group's channels: vectors over the lanes.

    A thread sums its own channels one after another; the threads that share a position are added at the end.
    """
    F: tl.constexpr = FY * FX
    step: tl.constexpr = LANES * VECTOR
    lane = (tl.arange(0, LANES) * VECTOR)[None, :, None] + tl.arange(0, VECTOR)[None, None, :]
    sums = ()
    for _ in tl.static_range(T * F):
        sums = sums + (tl.zeros((BLOCK_P, LANES), dtype=ACCUMULATE),)
    for c in range(0, per_group, step):
        channel = c + lane
        asked = ()
        for f in tl.static_range(F):
            pixel = target_pixel(row, col, target_x, f, FY, FX).to(OFFSET) * query_p
            at = query + (pixel[:, None, None] + channel.to(OFFSET) * query_c)
            asked = asked + (load_channels(at, channel, per_group, CHECK, ACCUMULATE),)
        values = source + channel.to(OFFSET) * source_c
        grown = ()
        for t in tl.static_range(T):
            at = values + (pixels[t].to(OFFSET) * source_p)[:, None, None]
            value = load_channels(at, channel, per_group, CHECK, ACCUMULATE)
            for f in tl.static_range(F):
                grown = grown + (sums[t * F + f] + tl.sum(asked[f] * value, axis=2),)
        sums = grown
    out = ()
    for i in tl.static_range(T * F):
        out = out + (tl.sum(sums[i], axis=1),)
    return out


@triton.jit
def store_kernels(
    sums,
    out,
    row,
    col,
    live,
    target_x,
    out_c,
    out_p,
    T: tl.constexpr,
    FY: tl.constexpr,
    FX: tl.constexpr,
    SY: tl.constexpr,
    SX: tl.constexpr,
    OFFSET: tl.constexpr,
):
    for f in tl.static_range(FY * FX):
        place = kernel_place(row, col, target_x, out_c, out_p, f, FY, FX, SY, SX, OFFSET)
        for t in tl.static_range(T):
            value = sums[t * (FY * FX) + f].to(out.dtype.element_ty)
            tl.store(out + t * (SY * SX) * out_c + place, value, mask=live)


@triton.jit
def correlate_window(
    source,
    query,
    logits,
    out,
    statistics,
    row_reads,
    col_reads,
    groups,
    per_group,
    source_x,
    rows,
    cols,
    target_x,
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
    FY: tl.constexpr,
    FX: tl.constexpr,
    SY: tl.constexpr,
    SX: tl.constexpr,
    NORMALIZER: tl.constexpr,
    MASK: tl.constexpr,
    CHECK: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """The kernels' gradient; with a normaliser the logits' one, and the statistic of every target beside it."""
    T: tl.constexpr = TAPS_Y * TAPS_X
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(rows, BLOCK_P // BLOCK_X) * tl.cdiv(cols, BLOCK_X)
    g = (program // tiles) % groups
    n = program // (tiles * groups)
    row, col, live = lanes(program % tiles, rows, cols, BLOCK_P, BLOCK_X)
    pixels, inside = window(row_reads, col_reads, row, col, source_x, TAPS_Y, TAPS_X)
    source += n * source_n + (g * per_group) * source_c
    query += n * query_n + (g * per_group) * query_c
    sums = correlated(
        source, query, pixels, row, col, per_group, target_x, source_c, source_p, query_c, query_p,
        T, FY, FX, CHECK, OFFSET, ACCUMULATE, LANES, VECTOR, BLOCK_P,
    )  # fmt: skip
    sums = zeroed(sums, inside, T, FY * FX)
    place = n * out_n + g * (T * SY * SX) * out_c
    if NORMALIZER != NONE:
        raw = load_kernels(logits + place, row, col, target_x, out_c, out_p, T, FY, FX, SY, SX, OFFSET, ACCUMULATE)
        weights, totals = normalized(raw, inside, T, FY * FX, NORMALIZER, MASK)
        sums, _ = pulled_back(sums, weights, raw, inside, totals, T, FY * FX, NORMALIZER, MASK)
        if NORMALIZER != SIGMOID:
            for f in tl.static_range(FY * FX):
                pixel = target_pixel(row, col, target_x, f, FY, FX)
                at = statistics + (n * groups + g) * (rows.to(tl.int64) * FY * target_x) + pixel
                tl.store(at, totals[f], mask=live)
    store_kernels(sums, out + place, row, col, live, target_x, out_c, out_p, T, FY, FX, SY, SX, OFFSET)

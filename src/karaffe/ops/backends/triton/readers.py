"""The gradient of a source map as a gather: every source pixel asks which targets read it, and nothing is atomic.

:func:`scatter_window` serves zero borders at whole factors: a thread makes ROWS source rows, so that it reads a
target value once for all of them. :func:`scatter_readers` serves every geometry, by tables of readers. Both can
take the weights straight from logits and their targets' statistics. A source value is the sum of its readers in the
order of the targets' rows, taps and phases, whatever the blocks.
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from karaffe.ops.backends.triton.tiles import NONE, SIGMOID, kernel_place, lanes, rebuilt, target_pixel


@triton.jit
def load_unrolled(
    at,
    there,
    channel,
    stride_c,
    step: tl.constexpr,
    UNROLL: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
):
    """UNROLL blocks of channels, each a vector over lanes and channels."""
    values = ()
    for u in tl.static_range(UNROLL):
        pointer = at + (channel + u * step).to(OFFSET) * stride_c
        values = values + (tl.load(pointer, mask=there[u], other=0).to(ACCUMULATE),)
    return values


@triton.jit
def load_pairs(
    at,
    there,
    channel,
    stride_c,
    step: tl.constexpr,
    UNROLL: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
):
    """Like :func:`load_unrolled` at two targets that are neighbours in memory."""
    first, second = (), ()
    for u in tl.static_range(UNROLL):
        pointer = at + (channel + u * step).to(OFFSET) * stride_c
        both = pointer[:, :, :, None] + tl.arange(0, 2)[None, None, None, :]
        a, b = tl.split(tl.load(both, mask=there[u][:, :, :, None], other=0).to(ACCUMULATE))
        first, second = first + (a,), second + (b,)
    return first, second


@triton.jit
def channels_of(chunk, per_group, live, LANES: tl.constexpr, VECTOR: tl.constexpr, UNROLL: tl.constexpr):
    """The first block's channels, and which exist in every block."""
    step: tl.constexpr = LANES * VECTOR
    lane = (tl.arange(0, LANES) * VECTOR)[None, :, None] + tl.arange(0, VECTOR)[None, None, :]
    channel = (chunk * (step * UNROLL)).to(tl.int32) + lane
    there = ()
    for u in tl.static_range(UNROLL):
        there = there + (live[:, None, None] & (channel + u * step < per_group),)
    return channel, there


@triton.jit
def added(
    sums,
    values,
    kernels,
    statistic,
    ok,
    place,
    j,
    stride_t,
    r: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    ROWS: tl.constexpr,
    UNROLL: tl.constexpr,
    NORMALIZER: tl.constexpr,
    ACCUMULATE: tl.constexpr,
):
    """One target's part in every one of the ROWS source rows that it reads."""
    grown = ()
    for b in tl.static_range(ROWS):
        if b <= r and r < b + TAPS_Y:
            tap = (b + TAPS_Y - 1 - r) * TAPS_X + j
            weight = tl.load(kernels + tap * stride_t + place, mask=ok, other=0).to(ACCUMULATE)
            if NORMALIZER != NONE:
                weight = tl.where(ok, rebuilt(weight, statistic, NORMALIZER), 0.0)
            for u in tl.static_range(UNROLL):
                grown = grown + (sums[b * UNROLL + u] + weight[:, None, None] * values[u],)
        else:
            for u in tl.static_range(UNROLL):
                grown = grown + (sums[b * UNROLL + u],)
    return grown


@triton.jit
def scatter_window(
    kernels,
    query,
    statistics,
    out,
    groups,
    per_group,
    chunks,
    dilation_x,
    rows,
    cols,
    target_x,
    kernels_n,
    kernels_c,
    kernels_p,
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
    PAIR: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    ROWS: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    step: tl.constexpr = LANES * VECTOR
    bands = tl.cdiv(rows, ROWS)
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(bands, BLOCK_P // BLOCK_X) * tl.cdiv(cols, BLOCK_X)
    chunk = (program // tiles) % chunks
    g = (program // (tiles * chunks)) % groups
    n = program // (tiles * chunks * groups)
    band, col, live = lanes(program % tiles, bands, cols, BLOCK_P, BLOCK_X)
    channel, there = channels_of(chunk, per_group, live, LANES, VECTOR, UNROLL)
    kernels += n * kernels_n + g * (TAPS_Y * TAPS_X * SY * SX) * kernels_c
    query += n * query_n + (g * per_group) * query_c
    statistics += (n * groups + g) * (rows.to(tl.int64) * FY * target_x)
    stride_t = SY * SX * kernels_c
    sums = ()
    for _ in tl.static_range(ROWS * UNROLL):
        sums = sums + (tl.zeros((BLOCK_P, LANES, VECTOR), dtype=ACCUMULATE),)
    for r in tl.static_range(ROWS + TAPS_Y - 1):
        row = band * ROWS + (r - (TAPS_Y - 1 - (TAPS_Y - 1) // 2))
        live_y = (row >= 0) & (row < rows)
        row = tl.minimum(tl.maximum(row, 0), rows - 1)
        for m in range(TAPS_X * FY):
            j = m // FY
            at_x = col - (j - (TAPS_X - 1) // 2) * dilation_x
            ok = live_y & (at_x >= 0) & (at_x < cols)
            at_x = tl.minimum(tl.maximum(at_x, 0), cols - 1)
            for fx in tl.static_range(FX):
                y = row * FY + m % FY
                x = at_x * FX + fx
                pixel = y * target_x + x
                shuffled = (y // SY) * (target_x // SX) + x // SX
                place = shuffled.to(OFFSET) * kernels_p + ((y % SY) * SX + x % SX).to(OFFSET) * kernels_c
                at = query + (pixel.to(OFFSET) * query_p)[:, None, None]
                if PAIR:
                    if fx == 0:
                        values, later = load_pairs(at, there, channel, query_c, step, UNROLL, OFFSET, ACCUMULATE)
                    else:
                        values = later
                else:
                    values = load_unrolled(at, there, channel, query_c, step, UNROLL, OFFSET, ACCUMULATE)
                statistic = 0.0
                if NORMALIZER != NONE and NORMALIZER != SIGMOID:
                    statistic = tl.load(statistics + pixel)
                sums = added(
                    sums, values, kernels, statistic, ok, place, j, stride_t,
                    r, TAPS_Y, TAPS_X, ROWS, UNROLL, NORMALIZER, ACCUMULATE,
                )  # fmt: skip
    out += n * out_n + (g * per_group) * out_c
    for b in tl.static_range(ROWS):
        row = band * ROWS + b
        at = out + ((row * cols + col).to(OFFSET) * out_p)[:, None, None]
        for u in tl.static_range(UNROLL):
            total = sums[b * UNROLL + u].to(out.dtype.element_ty)
            pointer = at + (channel + u * step).to(OFFSET) * out_c
            tl.store(pointer, total, mask=there[u] & (row < rows)[:, None, None])


@triton.jit
def scatter_readers(
    kernels,
    query,
    statistics,
    out,
    row_first,
    row_position,
    row_tap,
    col_first,
    col_position,
    col_tap,
    groups,
    per_group,
    chunks,
    rows,
    cols,
    target_y,
    target_x,
    kernels_n,
    kernels_c,
    kernels_p,
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
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    step: tl.constexpr = LANES * VECTOR
    program = tl.program_id(0).to(tl.int64)
    across = tl.cdiv(cols, BLOCK_P)
    row = ((program // across) % rows).to(tl.int32)
    chunk = (program // (across * rows)) % chunks
    g = (program // (across * rows * chunks)) % groups
    n = program // (across * rows * chunks * groups)
    col = (program % across).to(tl.int32) * BLOCK_P + tl.arange(0, BLOCK_P)
    live = col < cols
    channel, there = channels_of(chunk, per_group, live, LANES, VECTOR, UNROLL)
    kernels += n * kernels_n + g * (TAPS_Y * TAPS_X * SY * SX) * kernels_c
    query += n * query_n + (g * per_group) * query_c
    statistics += (n * groups + g) * (target_y.to(tl.int64) * target_x)
    begin = tl.load(col_first + col, mask=live, other=0)
    count = tl.load(col_first + col + 1, mask=live, other=0) - begin
    longest = tl.max(count, axis=0)
    sums = ()
    for _ in tl.static_range(UNROLL):
        sums = sums + (tl.zeros((BLOCK_P, LANES, VECTOR), dtype=ACCUMULATE),)
    for reader in range(tl.load(row_first + row), tl.load(row_first + row + 1)):
        at_y = tl.load(row_position + reader)
        tap_y = tl.load(row_tap + reader)
        for i in range(longest):
            ok = i < count
            at_x = tl.load(col_position + begin + i, mask=ok, other=0)
            tap = tap_y * TAPS_X + tl.load(col_tap + begin + i, mask=ok, other=0)
            for f in tl.static_range(FY * FX):
                pixel = target_pixel(at_y, at_x, target_x, f, FY, FX)
                place = kernel_place(at_y, at_x, target_x, kernels_c, kernels_p, f, FY, FX, SY, SX, OFFSET)
                place += tap.to(OFFSET) * (SY * SX) * kernels_c
                weight = tl.load(kernels + place, mask=ok, other=0).to(ACCUMULATE)
                if NORMALIZER != NONE:
                    statistic = 0.0
                    if NORMALIZER != SIGMOID:
                        statistic = tl.load(statistics + pixel, mask=ok, other=1)
                    weight = tl.where(ok, rebuilt(weight, statistic, NORMALIZER), 0.0)
                at = query + (pixel.to(OFFSET) * query_p)[:, None, None]
                values = load_unrolled(at, there, channel, query_c, step, UNROLL, OFFSET, ACCUMULATE)
                grown = ()
                for u in tl.static_range(UNROLL):
                    # a value nobody reads may be anything, so that its weight of zero is not enough
                    value = tl.where(ok[:, None, None], values[u], 0.0)
                    grown = grown + (sums[u] + weight[:, None, None] * value,)
                sums = grown
    at = out + n * out_n + (g * per_group) * out_c + ((row.to(OFFSET) * cols + col) * out_p)[:, None, None]
    for u in tl.static_range(UNROLL):
        pointer = at + (channel + u * step).to(OFFSET) * out_c
        tl.store(pointer, sums[u].to(out.dtype.element_ty), mask=there[u])

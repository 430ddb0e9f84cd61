"""The three contractions as Triton kernels: one program makes a block of one row of the result.

All three gather: a result value is written once, by one program, its terms added in one fixed order whatever the
block sizes, so results are the same bits at every run and every choice of the tuner, and nothing is atomic.

Which source index a tap of a target reads, and which (target, tap) pairs read a source index, stand in tables an
axis (:mod:`.tables`); an absent axis has one pixel and one tap. A tensor is told by its batch, channel and pixel
strides, so contiguous and channels-last memory is read as it is. Offsets are 64-bit.
"""

# Triton's language, in which mypy sees untyped Python.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def reassemble_kernel(
    source,
    kernels,
    out,
    reads_z,
    reads_y,
    reads_x,
    groups,
    per_group,
    source_y,
    source_x,
    target_y,
    target_x,
    rows,
    source_n,
    source_c,
    source_p,
    kernels_n,
    kernels_c,
    kernels_p,
    out_n,
    out_c,
    out_p,
    TAPS_Z: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    blocks_c = tl.cdiv(per_group, BLOCK_C)
    blocks_x = tl.cdiv(target_x, BLOCK_X)
    program = tl.program_id(0).to(tl.int64)
    block_c = program % blocks_c
    block_x = (program // blocks_c) % blocks_x
    row = (program // (blocks_c * blocks_x)) % rows
    batch_group = program // (blocks_c * blocks_x * rows)
    n = batch_group // groups
    g = batch_group % groups
    z = row // target_y
    y = row % target_y
    x = block_x * BLOCK_X + tl.arange(0, BLOCK_X)
    c = block_c * BLOCK_C + tl.arange(0, BLOCK_C)
    live_x = x < target_x
    live_c = c < per_group
    target = row * target_x + x
    channel = g * per_group + c
    weights = kernels + n * kernels_n + g * (TAPS_Z * TAPS_Y * TAPS_X) * kernels_c + target * kernels_p
    values = source + n * source_n + channel[None, :] * source_c
    total = tl.zeros((BLOCK_X, BLOCK_C), dtype=ACCUMULATE)
    for tap_z in range(TAPS_Z):
        at_z = tl.load(reads_z + z * TAPS_Z + tap_z)
        for tap_y in range(TAPS_Y):
            at_y = tl.load(reads_y + y * TAPS_Y + tap_y)
            start = (at_z.to(tl.int64) * source_y + at_y) * source_x
            for tap_x in range(TAPS_X):
                at_x = tl.load(reads_x + x * TAPS_X + tap_x, mask=live_x, other=-1)
                inside = (at_x >= 0) & (at_y >= 0) & (at_z >= 0)
                tap = (tap_z * TAPS_Y + tap_y) * TAPS_X + tap_x
                weight = tl.load(weights + tap * kernels_c, mask=inside, other=0).to(ACCUMULATE)
                pixel = (start + at_x)[:, None] * source_p
                value = tl.load(values + pixel, mask=inside[:, None] & live_c[None, :], other=0).to(ACCUMULATE)
                total += weight[:, None] * value
    place = out + n * out_n + channel[None, :] * out_c + target[:, None] * out_p
    tl.store(place, total.to(out.dtype.element_ty), mask=live_x[:, None] & live_c[None, :])


@triton.jit
def correlate_kernel(
    source,
    query,
    out,
    reads_z,
    reads_y,
    reads_x,
    groups,
    per_group,
    source_y,
    source_x,
    target_y,
    target_x,
    rows,
    source_n,
    source_c,
    source_p,
    query_n,
    query_c,
    query_p,
    out_n,
    out_c,
    out_p,
    TAPS_Z: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    TAPS: tl.constexpr = TAPS_Z * TAPS_Y * TAPS_X
    blocks_t = tl.cdiv(TAPS, BLOCK_T)
    blocks_x = tl.cdiv(target_x, BLOCK_X)
    program = tl.program_id(0).to(tl.int64)
    block_t = program % blocks_t
    block_x = (program // blocks_t) % blocks_x
    row = (program // (blocks_t * blocks_x)) % rows
    batch_group = program // (blocks_t * blocks_x * rows)
    n = batch_group // groups
    g = batch_group % groups
    z = row // target_y
    y = row % target_y
    x = block_x * BLOCK_X + tl.arange(0, BLOCK_X)
    tap = block_t * BLOCK_T + tl.arange(0, BLOCK_T)
    live_x = x < target_x
    live_t = tap < TAPS
    at_z = tl.load(reads_z + z * TAPS_Z + tap // (TAPS_Y * TAPS_X), mask=live_t, other=-1)
    at_y = tl.load(reads_y + y * TAPS_Y + (tap // TAPS_X) % TAPS_Y, mask=live_t, other=-1)
    live = live_x[:, None] & live_t[None, :]
    at_x = tl.load(reads_x + x[:, None] * TAPS_X + (tap % TAPS_X)[None, :], mask=live, other=-1)
    inside = (at_x >= 0) & ((at_y >= 0) & (at_z >= 0))[None, :]
    pixel = ((at_z.to(tl.int64) * source_y + at_y) * source_x)[None, :] + at_x
    target = row * target_x + x
    values = source + n * source_n + g * per_group * source_c + pixel * source_p
    asked = query + n * query_n + g * per_group * query_c + target * query_p
    total = tl.zeros((BLOCK_X, BLOCK_T), dtype=ACCUMULATE)
    # one channel after another: a sum across lanes would depend on the block sizes
    for _ in range(per_group):
        value = tl.load(values, mask=inside, other=0).to(ACCUMULATE)
        question = tl.load(asked, mask=live_x, other=0).to(ACCUMULATE)
        total += question[:, None] * value
        values += source_c
        asked += query_c
    place = out + n * out_n + (g * TAPS + tap)[None, :] * out_c + target[:, None] * out_p
    tl.store(place, total.to(out.dtype.element_ty), mask=live)


@triton.jit
def scatter_kernel(
    kernels,
    query,
    out,
    first_z,
    first_y,
    first_x,
    target_of_z,
    target_of_y,
    target_of_x,
    tap_of_z,
    tap_of_y,
    tap_of_x,
    groups,
    per_group,
    source_y,
    source_x,
    target_y,
    target_x,
    rows,
    kernels_n,
    kernels_c,
    kernels_p,
    query_n,
    query_c,
    query_p,
    out_n,
    out_c,
    out_p,
    TAPS_Z: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    blocks_c = tl.cdiv(per_group, BLOCK_C)
    blocks_x = tl.cdiv(source_x, BLOCK_X)
    program = tl.program_id(0).to(tl.int64)
    block_c = program % blocks_c
    block_x = (program // blocks_c) % blocks_x
    row = (program // (blocks_c * blocks_x)) % rows
    batch_group = program // (blocks_c * blocks_x * rows)
    n = batch_group // groups
    g = batch_group % groups
    z = row // source_y
    y = row % source_y
    x = block_x * BLOCK_X + tl.arange(0, BLOCK_X)
    c = block_c * BLOCK_C + tl.arange(0, BLOCK_C)
    live_x = x < source_x
    live_c = c < per_group
    channel = g * per_group + c
    weights = kernels + n * kernels_n + g * (TAPS_Z * TAPS_Y * TAPS_X) * kernels_c
    values = query + n * query_n + channel[None, :] * query_c
    begin_x = tl.load(first_x + x, mask=live_x, other=0)
    count_x = tl.load(first_x + x + 1, mask=live_x, other=0) - begin_x
    longest = tl.max(count_x, axis=0)
    total = tl.zeros((BLOCK_X, BLOCK_C), dtype=ACCUMULATE)
    for reader_z in range(tl.load(first_z + z), tl.load(first_z + z + 1)):
        from_z = tl.load(target_of_z + reader_z).to(tl.int64)
        tap_z = tl.load(tap_of_z + reader_z)
        for reader_y in range(tl.load(first_y + y), tl.load(first_y + y + 1)):
            start = (from_z * target_y + tl.load(target_of_y + reader_y)) * target_x
            tap_zy = tap_z * TAPS_Y + tl.load(tap_of_y + reader_y)
            for i in range(longest):
                live = i < count_x
                target = start + tl.load(target_of_x + begin_x + i, mask=live, other=0)
                tap = tap_zy * TAPS_X + tl.load(tap_of_x + begin_x + i, mask=live, other=0)
                at = tap.to(tl.int64) * kernels_c + target * kernels_p
                weight = tl.load(weights + at, mask=live, other=0).to(ACCUMULATE)
                there = live[:, None] & live_c[None, :]
                value = tl.load(values + target[:, None] * query_p, mask=there, other=0).to(ACCUMULATE)
                total += weight[:, None] * value
    place = out + n * out_n + channel[None, :] * out_c + (row * source_x + x)[:, None] * out_p
    tl.store(place, total.to(out.dtype.element_ty), mask=live_x[:, None] & live_c[None, :])

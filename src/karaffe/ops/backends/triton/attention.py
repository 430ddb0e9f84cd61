"""Windowed attention without anything of the kernels' size in memory.

The forward pass and the queries' gradient keep the scores of a position's window in registers; the gradients of
keys and values compute them again, pair by pair, from the source's side, as FlashAttention does (Dao et al., 2022,
algorithm 4), so that nothing is atomic.
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from karaffe.ops.backends.triton.tiles import SOFTMAX, lanes, normalized, target_pixel, zeroed
from karaffe.ops.backends.triton.windows import correlated, store_targets, weighted


@triton.jit
def sparse_window(
    row_reads, col_reads, row, col, source_x, TAPS: tl.constexpr, TAPS_Y: tl.constexpr, TAPS_X: tl.constexpr
):
    """Source pixel of every listed tap, and whether it lies inside."""
    pixels, inside = (), ()
    for t in tl.static_range(len(TAPS)):
        at_y = tl.load(row_reads + row * TAPS_Y + TAPS[t] // TAPS_X)
        at_x = tl.load(col_reads + col * TAPS_X + TAPS[t] % TAPS_X)
        pixel = tl.where(at_y < 0, ~at_y, at_y) * source_x + tl.where(at_x < 0, ~at_x, at_x)
        pixels = pixels + (pixel,)
        inside = inside + ((at_y >= 0) & (at_x >= 0),)
    return pixels, inside


@triton.jit
def scored(sums, bias, inside, scale, TAPS: tl.constexpr, F: tl.constexpr, BIASED: tl.constexpr):
    """Logits from the products: scaled, zero outside, biased."""
    out = ()
    for t in tl.static_range(len(TAPS)):
        shift = 0.0
        if BIASED:
            shift = tl.load(bias + TAPS[t]).to(sums[0].dtype)
        for f in tl.static_range(F):
            out = out + (tl.where(inside[t], sums[t * F + f] * scale, 0.0) + shift,)
    return out


@triton.jit
def attention_forward(
    query,
    key,
    value,
    bias,
    out,
    log_sum,
    row_reads,
    col_reads,
    heads,
    per_key,
    per_value,
    scale,
    source_x,
    rows,
    cols,
    target_x,
    query_n,
    query_c,
    query_p,
    key_n,
    key_c,
    key_p,
    value_n,
    value_c,
    value_p,
    out_n,
    out_c,
    out_p,
    bias_n,
    TAPS: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    FY: tl.constexpr,
    FX: tl.constexpr,
    MASK: tl.constexpr,
    BIASED: tl.constexpr,
    CHECK: tl.constexpr,
    PAIR: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    T: tl.constexpr = len(TAPS)
    F: tl.constexpr = FY * FX
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(rows, BLOCK_P // BLOCK_X) * tl.cdiv(cols, BLOCK_X)
    h = (program // tiles) % heads
    n = program // (tiles * heads)
    row, col, live = lanes(program % tiles, rows, cols, BLOCK_P, BLOCK_X)
    pixels, inside = sparse_window(row_reads, col_reads, row, col, source_x, TAPS, TAPS_Y, TAPS_X)
    key += n * key_n + (h * per_key) * key_c
    query += n * query_n + (h * per_key) * query_c
    sums = correlated(
        key, query, pixels, row, col, per_key, target_x, key_c, key_p, query_c, query_p,
        T, FY, FX, CHECK, OFFSET, ACCUMULATE, LANES, VECTOR, BLOCK_P,
    )  # fmt: skip
    bias += n * bias_n + h * (TAPS_Y * TAPS_X)
    scores = scored(sums, bias, inside, scale, TAPS, F, BIASED)
    weights, totals = normalized(scores, inside, T, F, SOFTMAX, MASK)
    for f in tl.static_range(F):
        place = (n * heads + h) * (rows.to(tl.int64) * FY * target_x) + target_pixel(row, col, target_x, f, FY, FX)
        tl.store(log_sum + place, totals[f], mask=live)
    weights = zeroed(weights, inside, T, F)
    value += n * value_n + (h * per_value) * value_c
    out += n * out_n + (h * per_value) * out_c
    lane = (tl.arange(0, LANES) * VECTOR)[None, :, None] + tl.arange(0, VECTOR)[None, None, :]
    for c in range(0, per_value, LANES * VECTOR):
        channel = c + lane
        at = value + channel.to(OFFSET) * value_c
        mixed = weighted(at, pixels, weights, channel, per_value, value_p, T, F, CHECK, OFFSET, ACCUMULATE)
        store_targets(mixed, out, row, col, live, channel, per_value, target_x, out_c, out_p, FY, FX, PAIR, OFFSET)


@triton.jit
def through_softmax(scores, moved, log_sum, inside, T: tl.constexpr, F: tl.constexpr, MASK: tl.constexpr):
    """The scores' gradient from the weights' one, and a phase's inner product of weights and gradient."""
    weights, inner = (), ()
    for t in tl.static_range(T):
        for f in tl.static_range(F):
            weight = tl.exp(scores[t * F + f] - log_sum[f])
            if MASK:
                weight = tl.where(inside[t], weight, 0.0)
            weights = weights + (weight,)
    for f in tl.static_range(F):
        total = weights[f] * moved[f]
        for t in tl.static_range(1, T):
            total += weights[t * F + f] * moved[t * F + f]
        inner = inner + (total,)
    grads = ()
    for t in tl.static_range(T):
        for f in tl.static_range(F):
            grads = grads + (weights[t * F + f] * (moved[t * F + f] - inner[f]),)
    return grads, inner


@triton.jit
def attention_by_query(
    grad,
    query,
    key,
    value,
    bias,
    log_sum,
    inner,
    by_query,
    by_bias,
    row_reads,
    col_reads,
    heads,
    per_key,
    per_value,
    scale,
    source_x,
    rows,
    cols,
    target_x,
    grad_n,
    grad_c,
    grad_p,
    query_n,
    query_c,
    query_p,
    key_n,
    key_c,
    key_p,
    value_n,
    value_c,
    value_p,
    bias_n,
    TAPS: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    FY: tl.constexpr,
    FX: tl.constexpr,
    MASK: tl.constexpr,
    BIASED: tl.constexpr,
    CHECK: tl.constexpr,
    PAIR: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """The queries' gradient, every tile's part in the bias's, and the inner products that keys and values need."""
    T: tl.constexpr = len(TAPS)
    F: tl.constexpr = FY * FX
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(rows, BLOCK_P // BLOCK_X) * tl.cdiv(cols, BLOCK_X)
    h = (program // tiles) % heads
    n = program // (tiles * heads)
    row, col, live = lanes(program % tiles, rows, cols, BLOCK_P, BLOCK_X)
    pixels, inside = sparse_window(row_reads, col_reads, row, col, source_x, TAPS, TAPS_Y, TAPS_X)
    key += n * key_n + (h * per_key) * key_c
    query += n * query_n + (h * per_key) * query_c
    sums = correlated(
        key, query, pixels, row, col, per_key, target_x, key_c, key_p, query_c, query_p,
        T, FY, FX, CHECK, OFFSET, ACCUMULATE, LANES, VECTOR, BLOCK_P,
    )  # fmt: skip
    bias += n * bias_n + h * (TAPS_Y * TAPS_X)
    scores = scored(sums, bias, inside, scale, TAPS, F, BIASED)
    value += n * value_n + (h * per_value) * value_c
    grad += n * grad_n + (h * per_value) * grad_c
    moved = correlated(
        value, grad, pixels, row, col, per_value, target_x, value_c, value_p, grad_c, grad_p,
        T, FY, FX, CHECK, OFFSET, ACCUMULATE, LANES, VECTOR, BLOCK_P,
    )  # fmt: skip
    moved = zeroed(moved, inside, T, F)
    places, sums_of = (), ()
    for f in tl.static_range(F):
        place = (n * heads + h) * (rows.to(tl.int64) * FY * target_x) + target_pixel(row, col, target_x, f, FY, FX)
        places = places + (place,)
        sums_of = sums_of + (tl.load(log_sum + place),)
    grads, products = through_softmax(scores, moved, sums_of, inside, T, F, MASK)
    for f in tl.static_range(F):
        tl.store(inner + places[f], products[f], mask=live)
    if BIASED:
        by_bias += ((n * heads + h) * tiles + program % tiles) * (TAPS_Y * TAPS_X)
        for t in tl.static_range(T):
            total = grads[t * F]
            for f in tl.static_range(1, F):
                total += grads[t * F + f]
            tl.store(by_bias + TAPS[t], tl.sum(tl.where(live, total, 0.0), axis=0))
    by_query += n * query_n + (h * per_key) * query_c
    factors = ()
    for t in tl.static_range(T):
        for f in tl.static_range(F):
            factors = factors + (tl.where(inside[t], grads[t * F + f] * scale, 0.0),)
    lane = (tl.arange(0, LANES) * VECTOR)[None, :, None] + tl.arange(0, VECTOR)[None, None, :]
    for c in range(0, per_key, LANES * VECTOR):
        channel = c + lane
        at = key + channel.to(OFFSET) * key_c
        mixed = weighted(at, pixels, factors, channel, per_key, key_p, T, F, CHECK, OFFSET, ACCUMULATE)
        store_targets(
            mixed, by_query, row, col, live, channel, per_key, target_x, query_c, query_p, FY, FX, PAIR, OFFSET
        )


@triton.jit
def attention_by_source(
    grad,
    query,
    key,
    value,
    bias,
    log_sum,
    inner,
    by_key,
    by_value,
    chosen,
    row_first,
    row_position,
    row_tap,
    col_first,
    col_position,
    col_tap,
    heads,
    per_key,
    per_value,
    scale,
    rows,
    cols,
    target_y,
    target_x,
    grad_n,
    grad_c,
    grad_p,
    query_n,
    query_c,
    query_p,
    key_n,
    key_c,
    key_p,
    value_n,
    value_c,
    value_p,
    bias_n,
    TAPS_Y: tl.constexpr,
    TAPS_X: tl.constexpr,
    FY: tl.constexpr,
    FX: tl.constexpr,
    SPARSE: tl.constexpr,
    BIASED: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    across = tl.cdiv(cols, BLOCK_P)
    row = ((program // across) % rows).to(tl.int32)
    h = (program // (across * rows)) % heads
    n = program // (across * rows * heads)
    col = (program % across).to(tl.int32) * BLOCK_P + tl.arange(0, BLOCK_P)
    live = col < cols
    keys, values = tl.arange(0, KEYS), tl.arange(0, VALUES)
    has_key, has_value = (keys < per_key)[None, :], (values < per_value)[None, :]
    source = (row.to(OFFSET) * cols + col)[:, None]
    key_at = n * key_n + (h * per_key) * key_c + source * key_p + keys.to(OFFSET)[None, :] * key_c
    value_at = n * value_n + (h * per_value) * value_c + source * value_p + values.to(OFFSET)[None, :] * value_c
    k = tl.load(key + key_at, mask=live[:, None] & has_key, other=0).to(ACCUMULATE)
    v = tl.load(value + value_at, mask=live[:, None] & has_value, other=0).to(ACCUMULATE)
    query += n * query_n + (h * per_key) * query_c
    grad += n * grad_n + (h * per_value) * grad_c
    log_sum += (n * heads + h) * (target_y.to(tl.int64) * target_x)
    inner += (n * heads + h) * (target_y.to(tl.int64) * target_x)
    bias += n * bias_n + h * (TAPS_Y * TAPS_X)
    begin = tl.load(col_first + col, mask=live, other=0)
    count = tl.load(col_first + col + 1, mask=live, other=0) - begin
    longest = tl.max(count, axis=0)
    dk = tl.zeros((BLOCK_P, KEYS), dtype=ACCUMULATE)
    dv = tl.zeros((BLOCK_P, VALUES), dtype=ACCUMULATE)
    for reader in range(tl.load(row_first + row), tl.load(row_first + row + 1)):
        at_y = tl.load(row_position + reader)
        tap_y = tl.load(row_tap + reader)
        for i in range(longest):
            ok = i < count
            at_x = tl.load(col_position + begin + i, mask=ok, other=0)
            tap = tap_y * TAPS_X + tl.load(col_tap + begin + i, mask=ok, other=0)
            if SPARSE:
                ok = ok & (tl.load(chosen + tap) > 0)
            shift = tl.zeros((BLOCK_P,), dtype=ACCUMULATE)
            if BIASED:
                shift = tl.load(bias + tap).to(ACCUMULATE)
            for f in tl.static_range(FY * FX):
                pixel = target_pixel(at_y, at_x, target_x, f, FY, FX)
                wide = pixel.to(OFFSET)[:, None]
                q = tl.load(query + wide * query_p + keys[None, :] * query_c, mask=ok[:, None] & has_key, other=0)
                d = tl.load(grad + wide * grad_p + values[None, :] * grad_c, mask=ok[:, None] & has_value, other=0)
                q, d = q.to(ACCUMULATE), d.to(ACCUMULATE)
                score = tl.sum(q * k, axis=1) * scale + shift
                weight = tl.exp(score - tl.load(log_sum + pixel, mask=ok, other=0))
                weight = tl.where(ok, weight, 0.0)
                moved = tl.sum(d * v, axis=1) - tl.load(inner + pixel, mask=ok, other=0)
                dk += (weight * moved * scale)[:, None] * q
                dv += weight[:, None] * d
    tl.store(by_key + key_at, dk.to(by_key.dtype.element_ty), mask=live[:, None] & has_key)
    tl.store(by_value + value_at, dv.to(by_value.dtype.element_ty), mask=live[:, None] & has_value)

"""What the register kernels share: the lanes of a tile, a target's address, and the weights of its window.

A tile is a block of *positions*; a position has ``FY * FX`` targets, its phases, that read the same window. Every
thread keeps the weights of all phases of its position in registers, as a tuple of vectors over the lanes: entry
``tap * F + phase``. A tap outside the map has a negative table entry, whose complement is a pixel of the map: it is
read and weighted with zero, so that loads in the inner loop need no mask.
"""

# Triton's language, in which mypy sees untyped Python.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

NONE = tl.constexpr(0)
SOFTMAX = tl.constexpr(1)
SIGMOID = tl.constexpr(2)
SIGMOID_NORM = tl.constexpr(3)
SUM = tl.constexpr(4)


@triton.jit
def lanes(tile, rows, cols, BLOCK_P: tl.constexpr, BLOCK_X: tl.constexpr):
    """Row and column of every lane's position, and whether it exists; one that does not repeats the last."""
    across = tl.cdiv(cols, BLOCK_X)
    i = tl.arange(0, BLOCK_P)
    row = (tile // across).to(tl.int32) * (BLOCK_P // BLOCK_X) + i // BLOCK_X
    col = (tile % across).to(tl.int32) * BLOCK_X + i % BLOCK_X
    live = (row < rows) & (col < cols)
    return tl.minimum(row, rows - 1), tl.minimum(col, cols - 1), live


@triton.jit
def window(row_reads, col_reads, row, col, source_x, TAPS_Y: tl.constexpr, TAPS_X: tl.constexpr):
    """The source pixel of every tap, and whether it lies inside: two tuples over the taps."""
    pixels, inside = (), ()
    for i in tl.static_range(TAPS_Y):
        at_y = tl.load(row_reads + row * TAPS_Y + i)
        for j in tl.static_range(TAPS_X):
            at_x = tl.load(col_reads + col * TAPS_X + j)
            pixel = tl.where(at_y < 0, ~at_y, at_y) * source_x + tl.where(at_x < 0, ~at_x, at_x)
            pixels = pixels + (pixel,)
            inside = inside + ((at_y >= 0) & (at_x >= 0),)
    return pixels, inside


@triton.jit
def target_pixel(row, col, target_x, f: tl.constexpr, FY: tl.constexpr, FX: tl.constexpr):
    return (row * FY + f // FX) * target_x + col * FX + f % FX


@triton.jit
def kernel_place(
    row,
    col,
    target_x,
    stride_c,
    stride_p,
    f: tl.constexpr,
    FY: tl.constexpr,
    FX: tl.constexpr,
    SY: tl.constexpr,
    SX: tl.constexpr,
    OFFSET: tl.constexpr,
):
    """Where the first tap of a target's kernel lies in memory that is shuffled by SY x SX sub-pixels."""
    y = row * FY + f // FX
    x = col * FX + f % FX
    pixel = (y // SY) * (target_x // SX) + x // SX
    return pixel.to(OFFSET) * stride_p + ((y % SY) * SX + x % SX).to(OFFSET) * stride_c


@triton.jit
def load_kernels(
    kernels,
    row,
    col,
    target_x,
    stride_c,
    stride_p,
    T: tl.constexpr,
    FY: tl.constexpr,
    FX: tl.constexpr,
    SY: tl.constexpr,
    SX: tl.constexpr,
    OFFSET: tl.constexpr,
    ACCUMULATE: tl.constexpr,
):
    """Every tap of every phase, as they stand in memory."""
    places = ()
    for f in tl.static_range(FY * FX):
        places = places + (kernel_place(row, col, target_x, stride_c, stride_p, f, FY, FX, SY, SX, OFFSET),)
    raw = ()
    for t in tl.static_range(T):
        for f in tl.static_range(FY * FX):
            raw = raw + (tl.load(kernels + t * (SY * SX) * stride_c + places[f]).to(ACCUMULATE),)
    return raw


@triton.jit
def activate(raw, peak, keep, NORMALIZER: tl.constexpr, MASK: tl.constexpr):
    """A logit before division by the sum; zero for a tap that has no part in it."""
    value = raw
    if NORMALIZER == SOFTMAX:
        value = tl.exp(raw - peak)
    if NORMALIZER == SIGMOID or NORMALIZER == SIGMOID_NORM:
        value = tl.sigmoid(raw)
    if MASK:
        value = tl.where(keep, value, 0.0)
    return value


@triton.jit
def peaks_of(raw, inside, T: tl.constexpr, F: tl.constexpr, MASK: tl.constexpr):
    """The largest logit that takes part, a phase each; zero where none does."""
    peaks = ()
    for f in tl.static_range(F):
        peak = raw[f]
        if MASK:
            peak = tl.where(inside[0], peak, -float("inf"))
        for t in tl.static_range(1, T):
            one = raw[t * F + f]
            if MASK:
                one = tl.where(inside[t], one, -float("inf"))
            peak = tl.maximum(peak, one)
        if MASK:
            peak = tl.where(peak == -float("inf"), 0.0, peak)
        peaks = peaks + (peak,)
    return peaks


@triton.jit
def normalized(raw, inside, T: tl.constexpr, F: tl.constexpr, NORMALIZER: tl.constexpr, MASK: tl.constexpr):
    """Weights, and what the backward pass rebuilds them from: softmax's log-sum or the other sums, a phase each."""
    weights, sums = raw, raw
    if NORMALIZER != NONE:
        peaks = raw
        if NORMALIZER == SOFTMAX:
            peaks = peaks_of(raw, inside, T, F, MASK)
        values = ()
        for t in tl.static_range(T):
            for f in tl.static_range(F):
                values = values + (activate(raw[t * F + f], peaks[f], inside[t], NORMALIZER, MASK),)
        weights, sums = values, values
        if NORMALIZER != SIGMOID:
            weights, sums = divided(values, peaks, T, F, NORMALIZER)
    return weights, sums


@triton.jit
def divided(values, peaks, T: tl.constexpr, F: tl.constexpr, NORMALIZER: tl.constexpr):
    totals, sums = (), ()
    for f in tl.static_range(F):
        total = values[f]
        for t in tl.static_range(1, T):
            total += values[t * F + f]
        if NORMALIZER == SOFTMAX:
            total = tl.where(total == 0.0, 1.0, total)
            sums = sums + (peaks[f] + tl.log(total),)
        else:
            sums = sums + (total,)
        totals = totals + (total,)
    weights = ()
    for t in tl.static_range(T):
        for f in tl.static_range(F):
            weights = weights + (values[t * F + f] / totals[f],)
    return weights, sums


@triton.jit
def rebuilt(raw, statistic, NORMALIZER: tl.constexpr):
    """The weight of one logit from its target's statistic."""
    weight = raw
    if NORMALIZER == SOFTMAX:
        weight = tl.exp(raw - statistic)
    if NORMALIZER == SIGMOID:
        weight = tl.sigmoid(raw)
    if NORMALIZER == SIGMOID_NORM:
        weight = tl.sigmoid(raw) / statistic
    if NORMALIZER == SUM:
        weight = raw / statistic
    return weight


@triton.jit
def zeroed(weights, inside, T: tl.constexpr, F: tl.constexpr):
    """Nothing where the tap is outside."""
    out = ()
    for t in tl.static_range(T):
        for f in tl.static_range(F):
            out = out + (tl.where(inside[t], weights[t * F + f], 0.0),)
    return out


@triton.jit
def pulled_back(
    moved, weights, raw, inside, totals, T: tl.constexpr, F: tl.constexpr, NORMALIZER: tl.constexpr, MASK: tl.constexpr
):
    """The logits' gradient from the weights' one; what :mod:`karaffe.ops.normalize` does."""
    inner = ()
    for f in tl.static_range(F):
        total = weights[f] * moved[f]
        for t in tl.static_range(1, T):
            total += weights[t * F + f] * moved[t * F + f]
        inner = inner + (total,)
    out = ()
    for t in tl.static_range(T):
        for f in tl.static_range(F):
            grad = moved[t * F + f]
            if NORMALIZER == SOFTMAX:
                grad = weights[t * F + f] * (grad - inner[f])
            if NORMALIZER == SIGMOID_NORM or NORMALIZER == SUM:
                grad = (grad - inner[f]) / totals[f]
            if NORMALIZER == SIGMOID or NORMALIZER == SIGMOID_NORM:
                value = tl.sigmoid(raw[t * F + f])
                grad = grad * value * (1.0 - value)
            if MASK:
                grad = tl.where(inside[t], grad, 0.0)
            out = out + (grad,)
    return out, inner

"""The specification of ``reassemble_logits``: normalise the logits, shuffle them to the targets, reassemble.

Everything is computed in float32 or wider, like the three contractions that it is built of, and nothing is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from karaffe.ops import geometry
from karaffe.ops.backends.contractions import Bound, Contractions
from karaffe.ops.backends.reference import wide
from karaffe.ops.layout import result_format
from karaffe.ops.normalize import Normalized, normalize, shuffle, unshuffle

TAPS = 2  # the taps' dimension of (N, groups, taps, sub-pixels, *sizes)


class _Call:
    """One call's options, and the linear operators they lead to."""

    def __init__(
        self,
        by: Contractions,
        kernel_size: Sequence[int],
        scale_factor: Sequence[int],
        groups: int = 1,
        dilation: Sequence[int] = (),
        padding_mode: str = "zeros",
        normalizer: str = "softmax",
    ) -> None:
        self.kernel_size, self.factors, self.groups = list(kernel_size), list(scale_factor), groups
        self.dilation = list(dilation) or [1] * len(self.kernel_size)
        self.mask, self.normalizer = padding_mode == "mask", normalizer
        linear = "zeros" if self.mask else padding_mode
        self.linear = Bound(by, (self.kernel_size, groups, self.dilation, linear, "corner"))

    def split(self, logits: Tensor) -> Tensor:
        channels = (self.groups, math.prod(self.kernel_size), math.prod(self.factors))
        return logits.reshape(logits.shape[0], *channels, *logits.shape[2:])

    def join(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1] * x.shape[2] * x.shape[3], *x.shape[4:])

    def normalized(self, logits: Tensor) -> Normalized:
        keep = None
        if self.mask:
            sizes = logits.shape[2:]
            keep = geometry.inside(sizes, sizes, self.kernel_size, self.dilation, "corner", logits.device).unsqueeze(1)
        return normalize(self.split(logits), self.normalizer, TAPS, keep)

    def kernels(self, weights: Tensor) -> Tensor:
        return shuffle(self.join(weights), self.factors)


def reassemble_logits(by: Contractions, input: Tensor, logits: Tensor, *options: Any) -> Tensor:
    """Q = reassemble(V, shuffle(normalize(L)))."""
    call = _Call(by, *options)
    source, scores = wide(input, logits)
    out = call.linear.reassemble(source, call.kernels(call.normalized(scores).weights))
    return out.to(input.dtype)


def reassemble_logits_backward(
    by: Contractions, grad: Tensor, input: Tensor, logits: Tensor, *options: Any
) -> tuple[Tensor, Tensor]:
    """The gradients of ``<Q, grad>`` by V and by L, from V and L alone."""
    call = _Call(by, *options)
    out_grad, source, scores = wide(grad, input, logits)
    normalized = call.normalized(scores)
    by_input = call.linear.scatter(call.kernels(normalized.weights), out_grad, input.shape[2:])
    by_weights = call.split(unshuffle(call.linear.correlate(source, out_grad), call.factors))
    by_logits = call.join(normalized.pullback(by_weights))
    return _like(by_input, input), _like(by_logits, logits)


def reassemble_logits_tangent(
    by: Contractions,
    input: Tensor,
    logits: Tensor,
    input_tangent: Tensor | None,
    logits_tangent: Tensor | None,
    *options: Any,
) -> Tensor | None:
    """The tangent of Q; an argument without one has ``None``."""
    call = _Call(by, *options)
    source, scores = wide(input, logits)
    normalized = call.normalized(scores)
    parts = []
    if input_tangent is not None:
        (moved,) = wide(input_tangent)
        parts.append(call.linear.reassemble(moved, call.kernels(normalized.weights)))
    if logits_tangent is not None:
        (moved,) = wide(logits_tangent)
        moved = normalized.pushforward(call.split(moved))
        parts.append(call.linear.reassemble(source, call.kernels(moved)))
    return sum(parts[1:], parts[0]).to(input.dtype) if parts else None


def _like(grad: Tensor, tensor: Tensor) -> Tensor:
    return grad.to(tensor.dtype).contiguous(memory_format=result_format(tensor))

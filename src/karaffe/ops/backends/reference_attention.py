"""The specification of ``local_attention``: correlate, softmax over the taps, reassemble.

Everything is computed in float32 or wider, like the three contractions that it is built of. What backward keeps is
the log of each softmax's sum, one number a target and head; the softmax is computed again from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from karaffe.ops import geometry
from karaffe.ops.backends.contractions import FORMULAS, Bound, Contractions
from karaffe.ops.backends.reference import wide
from karaffe.ops.layout import result_format

TAPS = 2  # the taps' dimension of (N, heads, taps, *targets)


class _Call:
    """One call's options, and the linear operators they lead to."""

    def __init__(
        self,
        by: Contractions,
        kernel_size: Sequence[int],
        heads: int = 1,
        scale: float = 1.0,
        taps: Sequence[int] | None = None,
        dilation: Sequence[int] = (),
        padding_mode: str = "mask",
        alignment: str = "corner",
    ) -> None:
        self.kernel_size, self.heads, self.scale, self.taps = list(kernel_size), heads, scale, taps
        self.dilation = list(dilation) or [1] * len(self.kernel_size)
        self.padding_mode, self.alignment = padding_mode, alignment
        linear = "zeros" if padding_mode == "mask" else padding_mode
        if padding_mode == "shift":  # only the formula's tap tables know it
            by = FORMULAS
        self.linear = Bound(by, (self.kernel_size, heads, self.dilation, linear, alignment))

    def reassemble(self, source: Tensor, weights: Tensor) -> Tensor:
        return self.linear.reassemble(source, self.join(weights))

    def correlate(self, source: Tensor, query: Tensor) -> Tensor:
        return self.split(self.linear.correlate(source, query))

    def scatter(self, weights: Tensor, query: Tensor, size: Sequence[int]) -> Tensor:
        return self.linear.scatter(self.join(weights), query, size)

    def split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], self.heads, math.prod(self.kernel_size), *x.shape[2:])

    def join(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:])

    def keep(self, sizes: Sequence[int], targets: Sequence[int], device: torch.device) -> Tensor | None:
        """Which taps take part in the softmax, broadcast to ``(taps, *targets)``; ``None``: all."""
        count, keep = math.prod(self.kernel_size), None
        if self.padding_mode == "mask":
            keep = geometry.inside(sizes, targets, self.kernel_size, self.dilation, self.alignment, device)
        if self.taps is not None:
            number = torch.arange(count, device=device)
            chosen = torch.stack([number == tap for tap in self.taps]).any(0)
            chosen = chosen.view(-1, *[1] * len(sizes))
            keep = chosen if keep is None else keep & chosen
        return keep

    def scores(self, query: Tensor, key: Tensor, bias: Tensor | None, keep: Tensor | None) -> Tensor:
        """Logits ``(N, heads, taps, *targets)``, the smallest number where a tap takes no part."""
        scores = self.correlate(key, query) * self.scale
        if bias is not None:
            scores = scores + self.split(bias)[(..., *[None] * (scores.dim() - 3))]
        return scores if keep is None else scores.masked_fill(~keep, torch.finfo(scores.dtype).min)

    def keep_for(self, query: Tensor, key: Tensor) -> Tensor | None:
        return self.keep(key.shape[2:], query.shape[2:], query.device)


def _softmax(scores: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weights over the taps, and the log of their sum before division."""
    peak = scores.detach().amax(TAPS, keepdim=True)
    raised = (scores - peak).exp()
    total = raised.sum(TAPS, keepdim=True)
    weights = raised / total
    # a target none of whose taps takes part gets zero, not the mean of what was left out
    weights = weights if keep is None else weights * keep
    return weights, (peak + total.log()).squeeze(TAPS)


def local_attention(
    by: Contractions,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    *options: Any,
) -> tuple[Tensor, Tensor]:
    """The output, and the log of every softmax's sum ``(N, heads, *targets)`` in float32 or wider."""
    call = _Call(by, *options)
    keep = call.keep_for(query, key)
    target, source, values = wide(query, key, value)
    weights, log_sum = _softmax(call.scores(target, source, _wide(bias), keep), keep)
    return call.reassemble(values, weights).to(query.dtype), log_sum


def local_attention_backward(
    by: Contractions,
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    log_sum: Tensor | None,
    *options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients by query, key, value and bias (empty without one).

    With ``log_sum=None`` the softmax is computed from the scores, so that the result can be differentiated again.
    """
    call = _Call(by, *options)
    keep = call.keep_for(query, key)
    out_grad, target, source, values = wide(grad, query, key, value)
    scores = call.scores(target, source, _wide(bias), keep)
    if log_sum is None:
        weights, _ = _softmax(scores, keep)
    else:
        weights = (scores - log_sum.unsqueeze(TAPS)).exp()
        weights = weights if keep is None else weights * keep
    by_value = call.scatter(weights, out_grad, value.shape[2:])
    by_scores = _through_softmax(weights, call.correlate(values, out_grad))
    by_bias = (
        call.join(by_scores.sum(tuple(range(3, by_scores.dim()))))
        if bias is not None
        else grad.new_empty(grad.shape[0], 0)
    )
    by_scores = by_scores * call.scale
    by_query, by_key = call.reassemble(source, by_scores), call.scatter(by_scores, target, key.shape[2:])
    return _like(by_query, query), _like(by_key, key), _like(by_value, value), by_bias.to(grad.dtype)


def local_attention_tangent(
    by: Contractions,
    tensors: tuple[Tensor, Tensor, Tensor, Tensor | None],
    tangents: Sequence[Tensor | None],
    *options: Any,
) -> Tensor | None:
    """The tangent of the output from those of query, key, value and bias, ``None`` where there is none."""
    call = _Call(by, *options)
    query, key, value, bias = tensors
    keep = call.keep_for(query, key)
    target, source, values = wide(query, key, value)
    weights, _ = _softmax(call.scores(target, source, _wide(bias), keep), keep)
    dquery, dkey, dvalue, dbias = (_wide(t) for t in tangents)
    moves = []
    if dquery is not None:
        moves.append(call.correlate(source, dquery) * call.scale)
    if dkey is not None:
        moves.append(call.correlate(dkey, target) * call.scale)
    if dbias is not None:
        moves.append(call.split(dbias)[(..., *[None] * (weights.dim() - 3))])
    parts = [call.reassemble(dvalue, weights)] if dvalue is not None else []
    if moves:
        parts.append(call.reassemble(values, _through_softmax(weights, sum(moves[1:], moves[0]))))
    return sum(parts[1:], parts[0]).to(query.dtype) if parts else None


def _through_softmax(weights: Tensor, moved: Tensor) -> Tensor:
    """The derivative of softmax, which is symmetric: both the tangent's and the gradient's way."""
    moved = weights * moved
    return moved - weights * moved.sum(TAPS, keepdim=True)


def _wide(x: Tensor | None) -> Tensor | None:
    return None if x is None else wide(x)[0]


def _like(grad: Tensor, tensor: Tensor) -> Tensor:
    return grad.to(tensor.dtype).contiguous(memory_format=result_format(tensor))

"""The fused operators as ``torch.library`` operators, with derivatives that keep nothing of the size of the kernels.

Each has a ``_backward`` operator of its own that computes the kernels again; a native backend may implement either.
One Python kernel on the ``Autograd`` key differentiates the forward operator by the backward one, and in forward
mode by the tangent's formula. The backward operators have no derivative of their own: where one is asked for, the
formula runs instead, which is made of differentiable operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from karaffe.ops import dispatch, flops
from karaffe.ops.backends import reference_attention, reference_logits, triton
from karaffe.ops.backends.contractions import Contractions
from karaffe.ops.dispatch import Operator
from karaffe.ops.layout import empty_like_layout
from karaffe.ops.registration import CORRELATE, REASSEMBLE, SCATTER

_LOGITS = (
    "Tensor input, Tensor logits, int[] kernel_size, int[] scale_factor, int groups=1, int[] dilation=[], "
    'str padding_mode="zeros", str normalizer="softmax"'
)
# taps: None and not an empty list for all of them, because an ahead-of-time package hands an empty list on as None
_ATTENTION = (
    "int[] kernel_size, int heads=1, float scale=1.0, int[]? taps=None, int[] dilation=[], "
    'str padding_mode="mask", str alignment="corner"'
)
_TENSORS = "Tensor query, Tensor key, Tensor value, Tensor? bias"
ATTENTION_ARGUMENTS = f"{_TENSORS}, {_ATTENTION}"
dispatch.define(
    (
        f"reassemble_logits({_LOGITS}) -> Tensor",
        f"reassemble_logits_backward(Tensor grad, {_LOGITS}) -> (Tensor, Tensor)",
        f"local_attention({ATTENTION_ARGUMENTS}) -> (Tensor, Tensor)",
        f"local_attention_backward(Tensor grad, {_TENSORS}, Tensor log_sum, {_ATTENTION}) "
        "-> (Tensor, Tensor, Tensor, Tensor)",
    )
)

REASSEMBLE_LOGITS = torch.ops.karaffe.reassemble_logits.default
REASSEMBLE_LOGITS_BACKWARD = torch.ops.karaffe.reassemble_logits_backward.default
LOCAL_ATTENTION = torch.ops.karaffe.local_attention.default
LOCAL_ATTENTION_BACKWARD = torch.ops.karaffe.local_attention_backward.default

OPERATORS = Contractions(REASSEMBLE, CORRELATE, SCATTER)


class _Logits(torch.autograd.Function):
    """One level of differentiation of ``reassemble_logits``."""

    @staticmethod
    def forward(ctx: Any, keyset: Any, input: Tensor, logits: Tensor, *options: Any) -> Tensor:
        ctx.options = options
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(input, logits)
        ctx.save_for_forward(input, logits)
        return dispatch.redispatch(REASSEMBLE_LOGITS, keyset, (input, logits, *options))

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Any, ...]:
        unneeded = (None,) * len(ctx.options)
        if grad is None:
            return (None, None, None, *unneeded)
        return (None, *REASSEMBLE_LOGITS_BACKWARD(grad, *ctx.saved_tensors, *ctx.options), *unneeded)

    @staticmethod
    def jvp(ctx: Any, _keyset: Any, dinput: Tensor | None, dlogits: Tensor | None, *_: Any) -> Tensor | None:
        tangent = reference_logits.reassemble_logits_tangent
        return tangent(OPERATORS, *ctx.saved_tensors, dinput, dlogits, *ctx.options)


class _Attention(torch.autograd.Function):
    """One level of differentiation of ``local_attention``; the log-sum has no derivative."""

    @staticmethod
    def forward(ctx: Any, keyset: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        tensors, ctx.options = arguments[:4], arguments[4:]
        ctx.set_materialize_grads(False)
        out, log_sum = dispatch.redispatch(LOCAL_ATTENTION, keyset, arguments)
        ctx.mark_non_differentiable(log_sum)
        ctx.save_for_backward(*tensors, log_sum)
        ctx.save_for_forward(*tensors, log_sum)
        return out, log_sum

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Any, ...]:
        unneeded = (None,) * len(ctx.options)
        if grad is None:
            return (None,) * 5 + unneeded
        saved = ctx.saved_tensors  # a checkpoint lets them be unpacked once
        by_query, by_key, by_value, by_bias = LOCAL_ATTENTION_BACKWARD(grad, *saved, *ctx.options)
        return (None, by_query, by_key, by_value, None if saved[3] is None else by_bias, *unneeded)

    @staticmethod
    def jvp(ctx: Any, _keyset: Any, *tangents: Any) -> tuple[Tensor | None, None]:
        tangent = reference_attention.local_attention_tangent
        return tangent(OPERATORS, ctx.saved_tensors[:4], tangents[:4], *ctx.options), None


def _forward_kernel(op: Operator, function: type[torch.autograd.Function], tensors: int) -> Callable[..., Any]:
    complete, apply = dispatch.completed(op), dispatch.one_level(function)

    def kernel(keyset: Any, *arguments: Any) -> Any:
        arguments = complete(arguments)
        if dispatch.untracked(*arguments[:tensors]):
            return dispatch.redispatch(op, keyset, arguments)
        return apply(keyset, *arguments)

    return kernel


def _backward_kernel(op: Operator, formula: Callable[..., Any], tensors: int) -> Callable[..., Any]:
    complete = dispatch.completed(op)

    def kernel(keyset: Any, *arguments: Any) -> Any:
        arguments = complete(arguments)
        if dispatch.differentiated(*arguments[:tensors]):
            return formula(*arguments)
        return dispatch.redispatch(op, keyset, arguments)

    return kernel


def _fake_logits(input: Tensor, _: Tensor, kernel_size: Any, scale_factor: Sequence[int], *__: Any) -> Tensor:
    targets = (size * factor for size, factor in zip(input.shape[2:], scale_factor, strict=True))
    return empty_like_layout(input, (*input.shape[:2], *targets), input)


def _fake_logits_backward(_: Tensor, input: Tensor, logits: Tensor, *__: Any) -> tuple[Tensor, Tensor]:
    return empty_like_layout(input, input.shape, input), empty_like_layout(logits, logits.shape, logits)


def _fake_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Any, kernel_size: Any, heads: int = 1, *_: Any
) -> tuple[Tensor, Tensor]:
    batch, targets = query.shape[0], query.shape[2:]
    dtype = torch.float32 if query.dtype in (torch.float16, torch.bfloat16) else query.dtype
    out = empty_like_layout(value, (batch, value.shape[1], *targets), value)
    return out, query.new_empty((batch, heads, *targets), dtype=dtype)


def _fake_attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    by_bias = grad.new_empty((grad.shape[0], bias.shape[1] if bias is not None else 0))
    by_query, by_key, by_value = (empty_like_layout(t, t.shape, t) for t in (query, key, value))
    return by_query, by_key, by_value, by_bias


def _product(sizes: Any) -> int:
    return math.prod(sizes)


def _logits_flops(input: Any, logits: Any, kernel_size: Any, scale_factor: Any, *_: Any, **__: Any) -> int:
    return 2 * _product(input) * _product(kernel_size) * _product(scale_factor)


def _logits_backward_flops(_: Any, *arguments: Any, **options: Any) -> int:
    return 2 * _logits_flops(*arguments, **options)


def _attention_flops(query: Any, key: Any, value: Any, bias: Any, kernel_size: Any, *_: Any, **__: Any) -> int:
    return 2 * (query[1] + value[1]) * query[0] * _product(query[2:]) * _product(kernel_size)


def _attention_backward_flops(
    _: Any, query: Any, key: Any, value: Any, bias: Any, log_sum: Any, kernel_size: Any, *__: Any, **___: Any
) -> int:
    """Three contractions of the queries' channels (the scores again, their two gradients), two of the values'."""
    return 2 * (3 * query[1] + 2 * value[1]) * query[0] * _product(query[2:]) * _product(kernel_size)


class _Fused(NamedTuple):
    op: Operator
    formula: Callable[..., Any]
    fake: Callable[..., Any]
    count: Callable[..., int]
    autograd: Callable[..., Any]
    tensors: int


def _recomputed_attention_backward(*arguments: Any) -> Any:
    """The backward formula with its softmax from the scores: what depends on them may be differentiated again."""
    tensors, options = arguments[:5], arguments[6:]
    return reference_attention.local_attention_backward(OPERATORS, *tensors, None, *options)


def _by_operators(formula: Callable[..., Any]) -> Callable[..., Any]:
    def bound(*arguments: Any) -> Any:
        return formula(OPERATORS, *arguments)

    return bound


def _register() -> None:
    logits, attention = reference_logits, reference_attention
    logits_backward = _by_operators(logits.reassemble_logits_backward)
    operators = (
        _Fused(
            REASSEMBLE_LOGITS,
            _by_operators(logits.reassemble_logits),
            _fake_logits,
            _logits_flops,
            _forward_kernel(REASSEMBLE_LOGITS, _Logits, 2),
            2,
        ),
        _Fused(
            REASSEMBLE_LOGITS_BACKWARD,
            logits_backward,
            _fake_logits_backward,
            _logits_backward_flops,
            _backward_kernel(REASSEMBLE_LOGITS_BACKWARD, logits_backward, 3),
            3,
        ),
        _Fused(
            LOCAL_ATTENTION,
            _by_operators(attention.local_attention),
            _fake_attention,
            _attention_flops,
            _forward_kernel(LOCAL_ATTENTION, _Attention, 4),
            4,
        ),
        _Fused(
            LOCAL_ATTENTION_BACKWARD,
            _by_operators(attention.local_attention_backward),
            _fake_attention_backward,
            _attention_backward_flops,
            _backward_kernel(LOCAL_ATTENTION_BACKWARD, _recomputed_attention_backward, 6),
            6,
        ),
    )
    for op, formula, fake, count, autograd, tensors in operators:
        dispatch.register_formula(op, formula, fake)
        dispatch.library.impl(op._schema.name.split("::")[1], autograd, "Autograd", with_keyset=True)
        dispatch.register_vmap(op, tensors)
        flops.register(op, count)
    triton.register(dispatch.library, triton.FUSED)
    dispatch.register_autocast(REASSEMBLE_LOGITS, tensors=2)
    dispatch.register_autocast(LOCAL_ATTENTION, tensors=4)


_register()

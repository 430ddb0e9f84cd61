"""The three operators as ``torch.library`` operators.

Python owns the schema, the fake kernel, every derivative, vmap, autocast and the flop formula; a backend only
*implements* an operator for its device. The formula is registered for every device
(``CompositeExplicitAutograd``), a native kernel for its own device key, which the dispatcher prefers, in
whichever order the two are loaded.

Derivatives are one Python kernel on the ``Autograd`` key that the three operators share: each operator's partial
derivatives are the other two, so reverse mode of any order, forward mode and every nesting of ``torch.func``
follow. ``torch.library.register_autograd`` alone was seen to give zeros in forward mode without an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from karaffe.ops import dispatch, flops
from karaffe.ops.backends import reference, triton
from karaffe.ops.dispatch import Arguments, Operator
from karaffe.ops.layout import empty_like_layout

_GEOMETRY = 'int[] kernel_size, int groups=1, int[] dilation=[], str padding_mode="zeros", str alignment="corner"'
dispatch.define(
    (
        f"reassemble(Tensor input, Tensor kernels, {_GEOMETRY}) -> Tensor",
        f"correlate(Tensor input, Tensor query, {_GEOMETRY}) -> Tensor",
        f"scatter(Tensor kernels, Tensor query, SymInt[] input_size, {_GEOMETRY}) -> Tensor",
    )
)

REASSEMBLE = torch.ops.karaffe.reassemble.default
CORRELATE = torch.ops.karaffe.correlate.default
SCATTER = torch.ops.karaffe.scatter.default


def _fake_reassemble(input: Tensor, kernels: Tensor, kernel_size: Sequence[int], *_: Any) -> Tensor:
    return empty_like_layout(input, (*input.shape[:2], *kernels.shape[2:]), input)


def _fake_correlate(input: Tensor, query: Tensor, kernel_size: Sequence[int], groups: int = 1, *_: Any) -> Tensor:
    return empty_like_layout(input, (input.shape[0], groups * math.prod(kernel_size), *query.shape[2:]), input)


def _fake_scatter(kernels: Tensor, query: Tensor, input_size: Sequence[Any], *_: Any) -> Tensor:
    return empty_like_layout(query, (*query.shape[:2], *input_size), query)


def _partials(op: Operator, x: Tensor, y: Tensor, grad: Tensor, rest: Arguments) -> tuple[Callable[[], Tensor], ...]:
    """The two partial derivatives of ``<op(x, y), grad>``, each as a call that may be left out."""
    if op is SCATTER:
        return lambda: CORRELATE(grad, y, *rest[1:]), lambda: REASSEMBLE(grad, x, *rest[1:])
    size = x.shape[2:]
    if op is REASSEMBLE:
        return lambda: SCATTER(y, grad, size, *rest), lambda: CORRELATE(x, grad, *rest)
    return lambda: SCATTER(grad, y, size, *rest), lambda: REASSEMBLE(x, grad, *rest)


class _Trilinear(torch.autograd.Function):
    """One level of differentiation of any of the three (no ``setup_context``: it costs 15 µs a call)."""

    @staticmethod
    def forward(ctx: Any, op: Operator, keyset: Any, x: Tensor, y: Tensor, *rest: Any) -> Tensor:
        ctx.op, ctx.rest = op, rest
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)
        return dispatch.redispatch(op, keyset, (x, y, *rest))

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Any, ...]:
        unneeded = (None,) * (2 + len(ctx.rest))
        if grad is None:
            return (None, None, *unneeded)
        x, y = ctx.saved_tensors
        by_x, by_y = _partials(ctx.op, x, y, grad, ctx.rest)
        needs_x, needs_y = ctx.needs_input_grad[2:4]
        return (None, None, by_x() if needs_x else None, by_y() if needs_y else None, *unneeded[2:])

    @staticmethod
    def jvp(ctx: Any, _op: Any, _keyset: Any, dx: Tensor | None, dy: Tensor | None, *_: Any) -> Tensor | None:
        x, y = ctx.saved_tensors
        parts = []
        if dx is not None:
            parts.append(ctx.op(dx, y, *ctx.rest))
        if dy is not None:
            parts.append(ctx.op(x, dy, *ctx.rest))
        return sum(parts[1:], parts[0]) if parts else None


_apply = dispatch.one_level(_Trilinear)


def _autograd_kernel(op: Operator) -> Callable[..., Tensor]:
    complete = dispatch.completed(op)

    def kernel(keyset: Any, *arguments: Any) -> Tensor:
        x, y, *rest = complete(arguments)
        if dispatch.untracked(x, y):
            return dispatch.redispatch(op, keyset, (x, y, *rest))
        return _apply(op, keyset, x, y, *rest)

    return kernel


class _Forms(NamedTuple):
    op: Operator
    formula: Callable[..., Tensor]
    fake: Callable[..., Tensor]
    count: Callable[..., int]  # flops, from the shapes


def _flops_by_kernels(x: Sequence[int], kernels: Sequence[int], groups: int) -> int:
    return 2 * x[0] * x[1] * (kernels[1] // groups) * math.prod(kernels[2:])


def _reassemble_flops(x: Any, kernels: Any, kernel_size: Any, groups: int = 1, *_: Any, **__: Any) -> int:
    return _flops_by_kernels(x, kernels, groups)


def _correlate_flops(x: Any, query: Any, kernel_size: Any, *_: Any, **__: Any) -> int:
    return 2 * math.prod(query) * math.prod(kernel_size)


def _scatter_flops(kernels: Any, query: Any, size: Any, kernel_size: Any, *_: Any, **__: Any) -> int:
    return 2 * math.prod(query) * math.prod(kernel_size)


def _register() -> None:
    forms = (
        _Forms(REASSEMBLE, reference.reassemble, _fake_reassemble, _reassemble_flops),
        _Forms(CORRELATE, reference.correlate, _fake_correlate, _correlate_flops),
        _Forms(SCATTER, reference.scatter, _fake_scatter, _scatter_flops),
    )
    triton.register(dispatch.library, triton.CONTRACTIONS)
    for op, formula, fake, count in forms:
        dispatch.register_formula(op, formula, fake)
        dispatch.library.impl(op._schema.name.split("::")[1], _autograd_kernel(op), "Autograd", with_keyset=True)
        dispatch.register_autocast(op, tensors=2)
        dispatch.register_vmap(op, tensors=2)
        flops.register(op, count)


_register()

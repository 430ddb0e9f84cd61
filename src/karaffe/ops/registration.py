"""The three operators as ``torch.library`` operators.

Python owns the schema, the fake kernel, every derivative, vmap, autocast and the flop formula; a backend only
*implements* an operator for its device. The formula is registered for every device
(``CompositeExplicitAutograd``), a native kernel for its own device key, which the dispatcher prefers, in
whichever order the two are loaded.

Derivatives are one Python kernel on the ``Autograd`` key that the three operators share: each operator's partial
derivatives are the other two, so reverse mode of any order, forward mode and every nesting of ``torch.func``
follow. The kernel handles one level at a time and redispatches; ``torch.library.register_autograd`` alone was seen
to give zeros in forward mode without an error. This is the only module that uses torch's private names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from karaffe.ops.backends import reference
from karaffe.ops.layout import result_format

_GEOMETRY = 'int[] kernel_size, int groups=1, int[] dilation=[], str padding_mode="zeros", str alignment="corner"'
_SCHEMAS = (
    f"reassemble(Tensor input, Tensor kernels, {_GEOMETRY}) -> Tensor",
    f"correlate(Tensor input, Tensor query, {_GEOMETRY}) -> Tensor",
    f"scatter(Tensor kernels, Tensor query, SymInt[] input_size, {_GEOMETRY}) -> Tensor",
)

library = torch.library.Library("karaffe", "DEF")
for _schema in _SCHEMAS:
    library.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))

REASSEMBLE = torch.ops.karaffe.reassemble.default
CORRELATE = torch.ops.karaffe.correlate.default
SCATTER = torch.ops.karaffe.scatter.default

Operator = Any
Arguments = tuple[Any, ...]


def _empty(like: Tensor, shape: Sequence[Any], layout_of: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=result_format(layout_of))


def _fake_reassemble(input: Tensor, kernels: Tensor, kernel_size: Sequence[int], *_: Any) -> Tensor:
    return _empty(input, (*input.shape[:2], *kernels.shape[2:]), input)


def _fake_correlate(input: Tensor, query: Tensor, kernel_size: Sequence[int], groups: int = 1, *_: Any) -> Tensor:
    return _empty(input, (input.shape[0], groups * math.prod(kernel_size), *query.shape[2:]), input)


def _fake_scatter(kernels: Tensor, query: Tensor, input_size: Sequence[Any], *_: Any) -> Tensor:
    return _empty(query, (*query.shape[:2], *input_size), query)


def _partials(op: Operator, x: Tensor, y: Tensor, grad: Tensor, rest: Arguments) -> tuple[Callable[[], Tensor], ...]:
    """The two partial derivatives of ``<op(x, y), grad>``, each as a call that may be left out."""
    if op is SCATTER:
        return lambda: CORRELATE(grad, y, *rest[1:]), lambda: REASSEMBLE(grad, x, *rest[1:])
    size = x.shape[2:]
    if op is REASSEMBLE:
        return lambda: SCATTER(y, grad, size, *rest), lambda: CORRELATE(x, grad, *rest)
    return lambda: SCATTER(grad, y, size, *rest), lambda: REASSEMBLE(x, grad, *rest)


def _redispatch(op: Operator, keyset: Any, arguments: Arguments) -> Tensor:
    """The same operator, below the autograd key."""
    keyset = keyset & torch._C._after_autograd_keyset
    if torch._C._are_functorch_transforms_active():
        # the outer transforms must record this call, so their modes are switched on again
        with (
            torch.enable_grad(),
            forward_ad._set_fwd_grad_enabled(True),
            torch._C._AutoDispatchBelowAutograd(),
        ):
            return op.redispatch(keyset, *arguments)
    with torch._C._AutoDispatchBelowAutograd():
        return op.redispatch(keyset, *arguments)


class _Trilinear(torch.autograd.Function):
    """One level of differentiation of any of the three (no ``setup_context``: it costs 15 µs a call)."""

    @staticmethod
    def forward(ctx: Any, op: Operator, keyset: Any, x: Tensor, y: Tensor, *rest: Any) -> Tensor:
        ctx.op, ctx.rest = op, rest
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)
        return _redispatch(op, keyset, (x, y, *rest))

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


# One level: Function.apply would see the outer functorch levels, which the dispatcher handles already, and refuse.
_apply: Callable[..., Tensor] = super(torch.autograd.Function, _Trilinear).apply


def _autograd_kernel(op: Operator) -> Callable[..., Tensor]:
    schema = op._schema.arguments
    count = len(schema) - 2
    defaults = tuple(a.default_value for a in schema if a.has_default_value())

    def kernel(keyset: Any, x: Tensor, y: Tensor, *rest: Any) -> Tensor:
        missing = count - len(rest)
        if missing:  # the dispatcher drops trailing arguments equal to their defaults
            rest += defaults[len(defaults) - missing :]
        nested = torch._C._are_functorch_transforms_active()
        # Only for exact Tensors: while tracing, Python cannot see the level of a dual tensor.
        untracked = type(x) is Tensor and not nested and forward_ad._current_level < 0
        if untracked and not (torch.is_grad_enabled() and torch._C._any_requires_grad(x, y)):
            return _redispatch(op, keyset, (x, y, *rest))
        if nested:
            with enable_single_level_autograd_function():
                return _apply(op, keyset, x, y, *rest)
        return _apply(op, keyset, x, y, *rest)

    return kernel


def _vmap_rule(op: Operator) -> Callable[..., tuple[Tensor, int]]:
    """A mapped dimension is more batch."""

    def rule(info: Any, in_dims: Any, x: Tensor, y: Tensor, *rest: Any) -> tuple[Tensor, int]:
        def into_batch(t: Tensor, dim: int | None) -> Tensor:
            moved = t.movedim(dim, 0) if dim is not None else t.expand(info.batch_size, *t.shape)
            return moved.flatten(0, 1)

        out = op(into_batch(x, in_dims[0]), into_batch(y, in_dims[1]), *rest)
        return out.unflatten(0, (info.batch_size, out.shape[0] // info.batch_size)), 0

    return rule


def _autocast_kernel(op: Operator, device_type: str, key: Any) -> Callable[..., Tensor]:
    """Both tensors in autocast's dtype; float64 is left alone, as torch's own rules do."""

    def kernel(x: Tensor, y: Tensor, *rest: Any) -> Tensor:
        dtype = torch.get_autocast_dtype(device_type)
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(key)):
            if torch.float64 in (x.dtype, y.dtype):
                return op(x, y, *rest)
            return op(x.to(dtype), y.to(dtype), *rest)

    return kernel


class _Forms(NamedTuple):
    op: Operator
    formula: Callable[..., Tensor]
    fake: Callable[..., Tensor]
    values: Callable[..., int]  # multiply-adds a result value, times values, from the shapes


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
    for op, formula, fake, flops in forms:
        name = op._schema.name.split("::")[1]
        library.impl(name, formula, "CompositeExplicitAutograd")
        library.impl(name, _autograd_kernel(op), "Autograd", with_keyset=True)
        for device, key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA"), ("xpu", "AutocastXPU")):
            kernel = _autocast_kernel(op, device, getattr(torch._C.DispatchKey, key))
            library.impl(name, kernel, key)
        torch.library.register_fake(op, fake, lib=library)
        torch.library.register_vmap(op, _vmap_rule(op), lib=library)
        register_flop_formula(op.overloadpacket)(flops)
        # ONNX's exporter takes standard operators from here; the "meta" entry keeps FakeTensor off the formula.
        torch._decomp.register_decomposition(op)(formula)
        torch._decomp.register_decomposition(op, type="meta")(fake)


_register()

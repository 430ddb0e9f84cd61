"""What registering an operator with a Python derivative takes of torch: its private names, and nothing of ours.

A kernel on the ``Autograd`` key handles one level of differentiation and redispatches below itself. This module and
``inductor`` are the only ones that use torch's private names, so that a torch that renames one breaks it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad

from karaffe.ops import inductor

Operator = Any
Arguments = tuple[Any, ...]

library = torch.library.Library("karaffe", "DEF")


def define(schemas: Iterable[str]) -> None:
    for schema in schemas:
        library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))


def redispatch(op: Operator, keyset: Any, arguments: Arguments) -> Any:
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


def one_level(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """``function.apply`` for use in a kernel on the Autograd key.

    ``Function.apply`` itself would see the outer functorch levels, which the dispatcher handles already, and refuse.
    """
    apply: Callable[..., Any] = super(torch.autograd.Function, function).apply  # type: ignore[misc]

    def call(*arguments: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            with enable_single_level_autograd_function():
                return apply(*arguments)
        return apply(*arguments)

    return call


def needs_grad(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and torch._C._any_requires_grad(*tensors)


def untracked(*tensors: Tensor | None) -> bool:
    """Nobody differentiates or maps this call. Never said of a subclass: while tracing, Python cannot see the level
    of a dual tensor."""
    return (
        type(tensors[0]) is Tensor
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and not needs_grad(*tensors)
    )


def differentiated(*tensors: Tensor | None) -> bool:
    """Somebody differentiates or maps this call; true also of tensors that are being traced with a tangent."""
    if torch._C._are_functorch_transforms_active() or needs_grad(*tensors):
        return True
    return any(t is not None and torch._VF._unpack_dual(t, level=0)[1] is not None for t in tensors)


def completed(op: Operator) -> Callable[[Arguments], Arguments]:
    """Restores the trailing arguments that the dispatcher drops because they equal their defaults."""
    schema = op._schema.arguments
    defaults = tuple(a.default_value for a in schema)
    return lambda arguments: arguments + defaults[len(arguments) :]


def register_autocast(op: Operator, tensors: int) -> None:
    """The first ``tensors`` arguments in autocast's dtype; float64 is left alone, as torch's own rules do."""

    def kernel_for(device_type: str, key: Any) -> Callable[..., Any]:
        def kernel(*arguments: Any) -> Any:
            given, rest = arguments[:tensors], arguments[tensors:]
            with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(key)):
                if any(t is not None and t.dtype == torch.float64 for t in given):
                    return op(*arguments)
                dtype = torch.get_autocast_dtype(device_type)
                return op(*(t if t is None else t.to(dtype) for t in given), *rest)

        return kernel

    name = op._schema.name.split("::")[1]
    for device, key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA"), ("xpu", "AutocastXPU")):
        library.impl(name, kernel_for(device, getattr(torch._C.DispatchKey, key)), key)


def register_formula(op: Operator, formula: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """The kernel of every device that has none of its own, the shapes, and the decomposition."""
    library.impl(op._schema.name.split("::")[1], formula, "CompositeExplicitAutograd")
    torch.library.register_fake(op, fake, lib=library)
    # ONNX's exporter takes standard operators from here; the "meta" entry keeps FakeTensor off the formula.
    torch._decomp.register_decomposition(op)(formula)
    torch._decomp.register_decomposition(op, type="meta")(fake)
    inductor.keep_whole(op)


def register_vmap(op: Operator, tensors: int) -> None:
    """A mapped dimension is more batch."""

    def rule(info: Any, in_dims: Any, *arguments: Any) -> Any:
        size = info.batch_size

        def into_batch(t: Tensor | None, dim: int | None) -> Tensor | None:
            if t is None:
                return None
            return (t.movedim(dim, 0) if dim is not None else t.expand(size, *t.shape)).flatten(0, 1)

        given = [into_batch(t, dim) for t, dim in zip(arguments[:tensors], in_dims[:tensors], strict=True)]
        out = op(*given, *arguments[tensors:])
        if isinstance(out, Tensor):
            return out.unflatten(0, (size, out.shape[0] // size)), 0
        return tuple(t.unflatten(0, (size, t.shape[0] // size)) for t in out), (0,) * len(out)

    torch.library.register_vmap(op, rule, lib=library)

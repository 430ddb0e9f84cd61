"""Every way of differentiating, mapping, tracing and compiling the operators, by numbers and not by absence of errors.

Forward mode is compared with the formula's own tangents: a transform that silently gave zeros would agree with
itself everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from karaffe import ops
from oracle import FORMULAS, Case, assert_close

CASE = Case((3, 2), (6, 4), (3, 3), batch=1, channels=4, groups=2)
ODD = Case((3, 4), (5, 3), (2, 3), batch=1, channels=2, padding_mode="reflect", alignment="center")


def as_function(operator: str, case: Case = CASE, formula: bool = False) -> tuple[Callable[..., Tensor], tuple]:
    """The operator as a function of its two tensors, and the tensors."""
    op = FORMULAS[operator] if formula else getattr(torch.ops.karaffe, operator).default
    x, y, *rest = case.arguments(operator, case.tensors())
    return lambda a, b: op(a, b, *rest), (x, y)


@pytest.mark.parametrize("case", [CASE, ODD], ids=["whole", "odd"])
@pytest.mark.parametrize("operator", FORMULAS)
def test_gradcheck_of_every_order_and_mode(operator: str, case: Case) -> None:
    function, tensors = as_function(operator, case)
    tensors = tuple(t.requires_grad_() for t in tensors)
    assert torch.autograd.gradcheck(
        function, tensors, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(function, tensors, check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("operator", FORMULAS)
def test_forward_mode_equals_the_formulas(operator: str) -> None:
    function, tensors = as_function(operator)
    formula, _ = as_function(operator, formula=True)
    tangents = tuple(torch.randn_like(t) for t in tensors)
    _, wanted = torch.func.jvp(formula, tensors, tangents)
    _, got = torch.func.jvp(function, tensors, tangents)
    assert wanted.abs().max() > 0.1
    assert_close(got, wanted, "jvp")
    with forward_ad.dual_level():
        dual = function(*(forward_ad.make_dual(t, d) for t, d in zip(tensors, tangents, strict=True)))
        assert_close(forward_ad.unpack_dual(dual).tangent, wanted, "dual tensors")
        one_sided = function(forward_ad.make_dual(tensors[0], tangents[0]), tensors[1])
        assert_close(forward_ad.unpack_dual(one_sided).tangent, function(tangents[0], tensors[1]), "one side")


@pytest.mark.parametrize("operator", FORMULAS)
def test_jacobians_and_hessians_agree(operator: str) -> None:
    function, tensors = as_function(operator)
    formula, _ = as_function(operator, formula=True)
    forward = torch.func.jacfwd(function, (0, 1))(*tensors)
    for got, reverse in zip(forward, torch.func.jacrev(function, (0, 1))(*tensors), strict=True):
        assert_close(got, reverse, "jacfwd against jacrev")

    def scalar(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda a, b: f(a, b).pow(2).sum()

    got = torch.func.hessian(scalar(function), 1)(*tensors)
    assert_close(got, torch.func.hessian(scalar(formula), 1)(*tensors), "hessian")


@pytest.mark.parametrize("in_dims", [(0, 0), (1, None), (None, 2)])
@pytest.mark.parametrize("operator", FORMULAS)
def test_vmap(operator: str, in_dims: tuple) -> None:
    function, tensors = as_function(operator)
    mapped = []
    for t, dim in zip(tensors, in_dims, strict=True):
        mapped.append(t if dim is None else torch.stack([t, 2 * t, t - 1], dim))
    got = torch.func.vmap(function, in_dims)(*mapped)
    one_by_one = [
        function(*(t if d is None else t.select(d, i) for t, d in zip(mapped, in_dims, strict=True))) for i in range(3)
    ]
    assert_close(got, torch.stack(one_by_one), "vmap")


def test_vmap_of_grad() -> None:
    function, (x, y) = as_function("reassemble")
    gradient = torch.func.grad(lambda a, b: function(a, b).pow(2).sum())
    xs = torch.stack([x, 2 * x])
    got = torch.func.vmap(gradient, (0, None))(xs, y)
    assert_close(got, torch.stack([gradient(x, y), gradient(2 * x, y)]), "vmap of grad")


def test_checkpoint_and_saved_tensors() -> None:
    function, tensors = as_function("reassemble")
    x, y = (t.requires_grad_() for t in tensors)
    wanted = torch.autograd.grad(function(x, y).pow(2).sum(), (x, y))
    out = torch.utils.checkpoint.checkpoint(function, x, y, use_reentrant=False)
    for got, want in zip(torch.autograd.grad(out.pow(2).sum(), (x, y)), wanted, strict=True):
        assert_close(got, want, "checkpoint")


def test_autocast_takes_its_dtype_and_leaves_float64() -> None:
    x, kernels = torch.randn(1, 4, 3, 3, requires_grad=True), torch.randn(1, 9, 6, 6, requires_grad=True)
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        out = ops.reassemble(x, kernels, 3)
        mixed = ops.reassemble(x.bfloat16(), kernels, 3)
        double = ops.reassemble(x.double(), kernels.double(), 3)
    assert out.dtype == mixed.dtype == torch.bfloat16
    assert double.dtype == torch.float64
    out.float().sum().backward()
    assert x.grad.dtype == torch.float32


def test_flops_are_two_a_multiply_add() -> None:
    x, kernels = torch.randn(2, 6, 4, 5), torch.randn(2, 3 * 9, 8, 10)
    for call, count in (
        (lambda: ops.reassemble(x, kernels, 3, groups=3), 2 * 2 * 6 * 9 * 80),
        (lambda: ops.correlate(x, torch.randn(2, 6, 8, 10), 3, groups=3), 2 * 2 * 6 * 9 * 80),
        (lambda: ops.scatter(kernels, torch.randn(2, 6, 8, 10), 3, (4, 5), groups=3), 2 * 2 * 6 * 9 * 80),
    ):
        with FlopCounterMode(display=False) as counter:
            call()
        assert counter.get_total_flops() == count


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_in_inference_and_training(dynamic: bool) -> None:
    def network(x: Tensor, logits: Tensor) -> Tensor:
        return ops.reassemble_logits(x, logits, 3, groups=2).relu()

    compiled = torch.compile(network, fullgraph=True, dynamic=dynamic)
    for height in (4, 6):
        x = torch.randn(2, 4, height, 5, requires_grad=True)
        logits = torch.randn(2, 2 * 9 * 4, height, 5, requires_grad=True)
        with torch.no_grad():
            assert_close(compiled(x, logits), network(x, logits), "inference")
        wanted = torch.autograd.grad(network(x, logits).pow(2).sum(), (x, logits))
        got = torch.autograd.grad(compiled(x, logits).pow(2).sum(), (x, logits))
        for a, b in zip(got, wanted, strict=True):
            assert_close(a, b, "training")


def test_compiled_forward_mode_is_not_zero() -> None:
    function, tensors = as_function("reassemble")
    tangents = tuple(torch.randn_like(t) for t in tensors)

    def tangent(a: Tensor, b: Tensor, da: Tensor, db: Tensor) -> Tensor:
        return torch.func.jvp(function, (a, b), (da, db))[1]

    compiled = torch.compile(tangent, backend="aot_eager", fullgraph=True)
    assert_close(compiled(*tensors, *tangents), tangent(*tensors, *tangents), "compiled jvp")

"""Windowed attention: against a loop, against the formula, and through every transform."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from attention_oracle import PADDING, Attention, attention_loop, attentions
from hypothesis import given
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from karaffe import errors, ops
from oracle import assert_close

CASES = [
    Attention((3, 4), (6, 8), (3, 3), heads=2, biased=True),
    Attention((4, 5), (7, 3), (3, 2), padding_mode="zeros", scale=1.0, alignment="center", values=3),
    Attention((5, 6), (10, 12), (3, 3), heads=2, padding_mode="shift"),
    Attention((4, 4), (8, 8), (5, 5), taps=(0, 2, 4, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 20, 22, 24), biased=True),
]
SMALL = [
    Attention((3, 2), (4, 3), (3, 2), batch=1, channels=2, values=2, heads=2, biased=True),
    Attention((3, 2), (3, 4), (3, 2), batch=1, channels=2, values=1, padding_mode="shift"),
]


def call(case: Attention, tensors: list[Tensor], **more: object) -> Tensor:
    query, key, value, *bias = tensors
    bias = bias[0] if bias else None
    return ops.local_attention(query, key, value, case.kernel_size, bias=bias, **case.options, **more)


def as_function(case: Attention, **more: object) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    return lambda *tensors: call(case, list(tensors), **more), tuple(case.tensors())


@given(case=attentions())
def test_equals_the_loop(case: Attention) -> None:
    tensors = case.tensors()
    wanted = attention_loop(case, *tensors)
    assert_close(call(case, tensors, backend="reference"), wanted, f"formula {case}")
    assert_close(call(case, tensors), wanted, f"operator {case}")


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_and_gradients_equal_the_formulas(
    case: Attention, layout: torch.memory_format, dtype: torch.dtype
) -> None:
    tensors = [t.requires_grad_() for t in case.tensors(dtype)]
    exact = [t.requires_grad_() for t in case.tensors()]
    laid_out = [t.contiguous(memory_format=layout) if t.dim() == 4 else t for t in tensors]
    got, wanted = call(case, laid_out), call(case, exact, backend="reference")
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=layout)
    assert_close(got, wanted, "output")
    grad = torch.randn_like(wanted)
    wanted_grads = torch.autograd.grad(wanted, exact, grad)
    for name, a, b in zip("qkvb", torch.autograd.grad(got, tensors, grad.to(dtype)), wanted_grads, strict=False):
        assert_close(a, b, name, 4e-2 if dtype == torch.bfloat16 else 8e-3 if dtype == torch.float16 else None)


def test_a_target_without_any_tap_is_zero() -> None:
    """The tap to the upper left of the first pixel is outside, and no other is asked for."""
    case = Attention((3, 3), (3, 3), (3, 3), taps=(0,))
    tensors = [t.requires_grad_() for t in case.tensors()]
    out = call(case, tensors)
    assert (out[:, :, 0] == 0).all()
    assert_close(out[:, :, 1:, 1:], tensors[2][:, :, :2, :2], "one tap is a copy")
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), tensors))


def test_offsets_are_tap_numbers() -> None:
    case = CASES[3]
    offsets = [(i // 5 - 2, i % 5 - 2) for i in case.taps]
    query, key, value, bias = case.tensors()
    got = ops.local_attention(query, key, value, 5, bias=bias, taps=offsets)
    assert torch.equal(got, call(case, [query, key, value, bias]))


def test_the_same_as_global_attention_where_the_window_is_the_map() -> None:
    query, key, value = torch.randn(2, 4, 7, 5), torch.randn(2, 4, 3, 3), torch.randn(2, 6, 3, 3)
    got = ops.local_attention(query, key, value, 3, padding_mode="shift", heads=2)
    heads = [t.unflatten(1, (2, -1)).flatten(3).mT for t in (query, key, value)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*heads).mT.reshape(2, 6, 7, 5)
    assert_close(got, wanted, "global", 1e-5)


@pytest.mark.parametrize("case", SMALL, ids=["mask", "shift"])
def test_gradcheck_of_every_order_and_mode(case: Attention) -> None:
    function, tensors = as_function(case)
    tensors = tuple(t.requires_grad_() for t in tensors)
    batched = case.padding_mode != "shift"  # torch's older vmap knows no views, and says so
    assert torch.autograd.gradcheck(
        function, tensors, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=batched
    )
    assert torch.autograd.gradgradcheck(function, tensors, check_fwd_over_rev=True, check_batched_grad=batched)


@pytest.mark.parametrize("case", CASES[:3], ids=["mask", "zeros", "shift"])
def test_forward_mode_equals_the_formulas(case: Attention) -> None:
    function, tensors = as_function(case)
    formula, _ = as_function(case, backend="reference")
    tangents = tuple(torch.randn_like(t) for t in tensors)
    _, wanted = torch.func.jvp(formula, tensors, tangents)
    assert wanted.abs().max() > 0.1
    assert_close(torch.func.jvp(function, tensors, tangents)[1], wanted, "jvp")


def test_tangents_pass_through_a_backward_that_is_not_recorded() -> None:
    """Forward over reverse with dual tensors and without ``create_graph``: the Hessian times a vector."""

    def product(function: Callable[..., Tensor]) -> Tensor:
        query, *others = (t.requires_grad_() for t in SMALL[0].tensors())
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(query, torch.ones_like(query))
            (gradient,) = torch.autograd.grad(function(dual, *others).pow(2).sum(), query)
            return forward_ad.unpack_dual(gradient).tangent

    wanted = product(as_function(SMALL[0], backend="reference")[0])
    assert wanted.abs().max() > 1e-3
    assert_close(product(as_function(SMALL[0])[0]), wanted, "Hessian times vector")


def test_jacobians_and_hessians_agree() -> None:
    function, tensors = as_function(SMALL[0])
    formula, _ = as_function(SMALL[0], backend="reference")
    which = (0, 1, 2, 3)
    reverse = torch.func.jacrev(function, which)(*tensors)
    for forward, backward in zip(torch.func.jacfwd(function, which)(*tensors), reverse, strict=True):
        assert_close(forward, backward, "jacfwd against jacrev")

    def hessian(f: Callable[..., Tensor]) -> Tensor:
        return torch.func.hessian(lambda q: f(q, *tensors[1:]).pow(2).sum())(tensors[0])

    assert_close(hessian(function), hessian(formula), "hessian")


@pytest.mark.parametrize("in_dims", [(0, 0, 0, 0), (None, 1, None, None), (None, None, None, 1), (0, None, 1, None)])
def test_vmap(in_dims: tuple) -> None:
    function, tensors = as_function(CASES[0])
    mapped = [t if d is None else torch.stack([t, 2 * t, t - 1], d) for t, d in zip(tensors, in_dims, strict=True)]
    got = torch.func.vmap(function, in_dims)(*mapped)
    for i in range(3):
        one = [t if d is None else t.select(d, i) for t, d in zip(mapped, in_dims, strict=True)]
        assert_close(got[i], function(*one), "vmap")


@pytest.mark.parametrize("needs_grad", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_opcheck(biased: bool, needs_grad: bool) -> None:
    query, key, value = (torch.randn(2, 4, *s, requires_grad=needs_grad) for s in ((4, 6), (2, 3), (2, 3)))
    bias = torch.randn(2, 2 * 9, requires_grad=needs_grad) if biased else None
    options = ([3, 3], 2, 0.5, [0, 4, 5], [1, 1], "mask", "corner")
    operators = torch.ops.karaffe
    torch.library.opcheck(operators.local_attention.default, (query, key, value, bias, *options))
    out, log_sum = operators.local_attention(query.detach(), key, value, bias, *options)
    arguments = (torch.randn_like(out), query, key, value, bias, log_sum.detach(), *options)
    if not needs_grad:
        torch.library.opcheck(operators.local_attention_backward.default, arguments)


def test_nothing_of_the_kernels_size_is_kept() -> None:
    case = Attention((16, 16), (32, 32), (7, 7), channels=8, values=8)
    tensors = [t.requires_grad_() for t in case.tensors(torch.float32)]
    kept: list[int] = []

    def keep(t: Tensor) -> Tensor:
        kept.append(t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        call(case, tensors)
    assert kept
    assert max(kept) == tensors[0].numel()


def test_checkpoint() -> None:
    function, tensors = as_function(CASES[0])
    tensors = tuple(t.requires_grad_() for t in tensors)
    wanted = torch.autograd.grad(function(*tensors).pow(2).sum(), tensors)
    out = torch.utils.checkpoint.checkpoint(function, *tensors, use_reentrant=False)
    for got, want in zip(torch.autograd.grad(out.pow(2).sum(), tensors), wanted, strict=True):
        assert_close(got, want, "checkpoint")


def test_autocast() -> None:
    tensors = [t.requires_grad_() for t in CASES[0].tensors(torch.float32)]
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        out = call(CASES[0], tensors)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(t.grad.dtype == torch.float32 for t in tensors)


def test_flops() -> None:
    case = Attention((4, 5), (8, 10), (3, 3), channels=4, values=6)
    tensors = [t.requires_grad_() for t in case.tensors(torch.float32)]
    with FlopCounterMode(display=False) as counter:
        call(case, tensors)
    assert counter.get_total_flops() == 2 * 2 * (4 + 6) * 80 * 9
    out = call(case, tensors)
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * 2 * (3 * 4 + 2 * 6) * 80 * 9


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_in_inference_and_training(dynamic: bool) -> None:
    def network(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        return ops.local_attention(query, key, value, 3, heads=2, bias=bias).relu()

    compiled = torch.compile(network, fullgraph=True, dynamic=dynamic)
    for height in (4, 6):
        case = Attention((height, 5), (2 * height, 9), (3, 3), heads=2, biased=True)
        tensors = [t.requires_grad_() for t in case.tensors(torch.float32)]
        with torch.no_grad():
            assert_close(compiled(*tensors), network(*tensors), "inference")
        wanted = torch.autograd.grad(network(*tensors).pow(2).sum(), tensors)
        for a, b in zip(torch.autograd.grad(compiled(*tensors).pow(2).sum(), tensors), wanted, strict=True):
            assert_close(a, b, "training")


def test_compiled_graphs_keep_the_operators() -> None:
    graphs: list[str] = []

    def look(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph.code)
        return graph

    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    def compiler(graph: torch.fx.GraphModule, inputs: object) -> Callable:
        return make_boxed_func(look(graph, inputs).forward)

    case = CASES[0]
    compiled = torch.compile(lambda *t: call(case, list(t)), backend=aot_autograd(fw_compiler=compiler))
    tensors = [t.requires_grad_() for t in case.tensors()]
    compiled(*tensors).sum().backward()
    forward, backward = graphs
    assert "karaffe.local_attention.default" in forward
    assert "karaffe.local_attention_backward.default" in backward


def test_compiled_forward_mode_and_forward_over_reverse_are_not_zero() -> None:
    function, tensors = as_function(SMALL[0])
    tangents = tuple(torch.randn_like(t) for t in tensors)

    def tangent(*both: Tensor) -> Tensor:
        return torch.func.jvp(function, both[:4], both[4:])[1]

    def curvature(*both: Tensor) -> Tensor:
        gradient = torch.func.grad(lambda *t: function(*t).pow(2).sum(), (0, 1, 2))
        return torch.func.jvp(gradient, both[:4], both[4:])[1][1]

    for f in (tangent, curvature):
        wanted = f(*tensors, *tangents)
        assert wanted.abs().max() > 1e-3
        compiled = torch.compile(f, backend="aot_eager", fullgraph=True)
        assert_close(compiled(*tensors, *tangents), wanted, f.__name__)


def test_empty_batch() -> None:
    tensors = [t.requires_grad_() for t in Attention((4, 5), (8, 10), (3, 3), batch=0).tensors()]
    out = call(Attention((4, 5), (8, 10), (3, 3), batch=0), tensors)
    assert out.shape == (0, 6, 8, 10)
    out.sum().backward()
    assert tensors[1].grad.shape == (0, 4, 4, 5)


Q, K, V = torch.zeros(2, 4, 6, 8), torch.zeros(2, 4, 3, 4), torch.zeros(2, 6, 3, 4)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: ops.local_attention(Q[0, 0], K, V, 3), errors.ShapeError, r"query must have 3, 4 or 5"),
        (lambda: ops.local_attention(Q, K[:, :, 0], V, 3), errors.ShapeError, r"key must have as many dimensions"),
        (lambda: ops.local_attention(Q, K, V[:1], 3), errors.ShapeError, r"key and value must have one batch size"),
        (lambda: ops.local_attention(Q, K[:, :3], V, 3), errors.ShapeError, r"query and key .* as many channels"),
        (lambda: ops.local_attention(Q, K, V[..., :3], 3), errors.ShapeError, r"same sizes; got \(3, 4\) and \(3, 3\)"),
        (lambda: ops.local_attention(Q, K[..., :0], V[..., :0], 3), errors.ShapeError, r"key may be empty only"),
        (lambda: ops.local_attention(Q, K, V.double(), 3), errors.DtypeError, r"query and value must have one dtype"),
        (lambda: ops.local_attention(Q, K, V.to("meta"), 3), errors.DtypeError, r"one device; got cpu and meta"),
        (lambda: ops.local_attention(Q, K, V, 0), errors.ArgumentError, r"kernel_size must be a positive int"),
        (lambda: ops.local_attention(Q, K, V, 3, dilation=0), errors.ArgumentError, r"dilation must be"),
        (lambda: ops.local_attention(Q, K, V, 3, heads=3), errors.ArgumentError, r"heads .* 4 channels of query"),
        (lambda: ops.local_attention(Q, K, V, 3, heads=4), errors.ArgumentError, r"heads .* 6 channels of value"),
        (lambda: ops.local_attention(Q, K, V, 3, scale=float("nan")), errors.ArgumentError, r"scale must be a finite"),
        (lambda: ops.local_attention(Q, K, V, 3, scale="a"), errors.ArgumentError, r"scale must be a finite"),
        (lambda: ops.local_attention(Q, K, V, 3, padding_mode="wrap"), errors.ArgumentError, r"'mask', 'shift'; got"),
        (lambda: ops.local_attention(Q, K, V, 3, alignment="left"), errors.ArgumentError, r"alignment .*'left'"),
        (
            lambda: ops.local_attention(Q, K, V, 5, padding_mode="shift"),
            errors.ShapeError,
            r"'shift' needs kernel_size \* dilation = 5 \* 1 source pixels .*\(3, 4\)",
        ),
        (lambda: ops.local_attention(Q, K, V, 3, taps=[]), errors.ArgumentError, r"one or more different taps"),
        (lambda: ops.local_attention(Q, K, V, 3, taps=[4, (0, 0)]), errors.ArgumentError, r"different taps"),
        (lambda: ops.local_attention(Q, K, V, 3, taps=[9]), errors.ArgumentError, r"0 to 8 .*got 9"),
        (lambda: ops.local_attention(Q, K, V, 3, taps=[(0, 2)]), errors.ArgumentError, r"in the window .*got \(0, 2\)"),
        (lambda: ops.local_attention(Q, K, V, 3, taps=[(0,)]), errors.ArgumentError, r"need 2 ints each"),
        (
            lambda: ops.local_attention(Q, K, V, 3, bias=torch.zeros(9)),
            errors.ShapeError,
            r"bias must be \(heads, taps\) = \(1, 9\); got \(9,\)",
        ),
        (
            lambda: ops.local_attention(Q, K, V, 3, bias=torch.zeros(1, 9), taps=[1, 2]),
            errors.ShapeError,
            r"= \(1, 2\); got \(1, 9\)",
        ),
        (
            lambda: ops.local_attention(Q, K, V, 3, bias=torch.zeros(1, 9).double()),
            errors.DtypeError,
            r"query and bias must have one dtype",
        ),
        (lambda: ops.local_attention(Q, K, V, 3, backend="gpu"), errors.UnknownNameError, r"unknown backend 'gpu'"),
    ],
)
def test_wrong_argument(call, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        call()


def test_every_padding_mode_is_tried() -> None:
    from karaffe.ops.local_attention import ATTENTION_PADDING

    assert set(ATTENTION_PADDING) == set(PADDING)

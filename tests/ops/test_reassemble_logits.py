"""The fused operator from logits: against the steps it stands for, and through every transform."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from karaffe import ops
from karaffe.ops.normalize import NORMALIZERS, UNIT_SUM, normalize, shuffle, unshuffle
from oracle import Case, assert_close, loop


@dataclass(frozen=True)
class Logits:
    sizes: tuple[int, ...]
    kernel_size: tuple[int, ...]
    factors: tuple[int, ...]
    batch: int = 2
    channels: int = 4
    groups: int = 1
    dilation: tuple[int, ...] = ()
    padding_mode: str = "zeros"
    normalizer: str = "softmax"

    def tensors(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """Logits around two: no sum over the taps comes near zero."""
        generator = torch.Generator(torch.get_default_device()).manual_seed(0)
        count = self.groups * math.prod(self.kernel_size) * math.prod(self.factors)
        x = torch.randn(self.batch, self.channels, *self.sizes, generator=generator, dtype=torch.float64)
        logits = torch.rand(self.batch, count, *self.sizes, generator=generator, dtype=torch.float64) * 2 + 1
        return x.to(dtype), logits.to(dtype)

    def __call__(self, x: Tensor, logits: Tensor, backend: str | None = None) -> Tensor:
        return ops.reassemble_logits(
            x,
            logits,
            self.kernel_size,
            scale_factor=self.factors,
            groups=self.groups,
            dilation=self.dilation or 1,
            padding_mode=self.padding_mode,
            normalizer=self.normalizer,
            backend=backend,
        )

    def by_steps(self, x: Tensor, logits: Tensor) -> Tensor:
        """One sub-pixel of one source pixel at a time: its taps that exist, normalised; then the operator's loop."""
        n, taps, dims = self.batch, math.prod(self.kernel_size), len(self.sizes)
        split = logits.reshape(n, self.groups, taps, *self.factors, *self.sizes)
        targets = tuple(s * f for s, f in zip(self.sizes, self.factors, strict=True))
        kernels = torch.zeros(n, self.groups, taps, *targets, dtype=logits.dtype)
        spacing = self.dilation or (1,) * dims
        for p in torch.cartesian_prod(*(torch.arange(t) for t in targets)).reshape(-1, dims).tolist():
            q = [a // f for a, f in zip(p, self.factors, strict=True)]
            phase = [a % f for a, f in zip(p, self.factors, strict=True)]
            chosen = []
            for t in range(taps):
                tap = [int(i) for i in torch.unravel_index(torch.tensor(t), self.kernel_size)]
                at = [c + (i - (k - 1) // 2) * d for c, i, k, d in zip(q, tap, self.kernel_size, spacing, strict=True)]
                if self.padding_mode != "mask" or all(0 <= a < s for a, s in zip(at, self.sizes, strict=True)):
                    chosen.append(t)
            values = split[(slice(None), slice(None), chosen, *phase, *q)]
            if self.normalizer == "softmax":
                values = values.exp() / values.exp().sum(2, keepdim=True)
            if self.normalizer in ("sigmoid", "sigmoid_norm"):
                values = 1 / (1 + (-values).exp())
            if self.normalizer in ("sigmoid_norm", "sum"):
                values = values / values.sum(2, keepdim=True)
            kernels[(slice(None), slice(None), chosen, *p)] = values
        linear = "zeros" if self.padding_mode == "mask" else self.padding_mode
        case = Case(
            self.sizes, targets, self.kernel_size, n, self.channels, self.groups, self.dilation, padding_mode=linear
        )
        return loop(
            "reassemble", case, {"V": x, "A": kernels.flatten(1, 2), "Q": torch.zeros(n, self.channels, *targets)}
        )


@st.composite
def cases(draw: st.DrawFn) -> Logits:
    dims = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 2))
    normalizer = draw(st.sampled_from(NORMALIZERS))
    borders = ("zeros", "replicate", "reflect") + (("mask",) if normalizer in UNIT_SUM else ())
    return Logits(
        sizes=draw(st.tuples(*[st.integers(1, 5 if dims < 3 else 3)] * dims)),
        kernel_size=draw(st.tuples(*[st.integers(1, 5 if dims < 3 else 2)] * dims)),
        factors=draw(st.tuples(*[st.integers(1, 3 if dims < 3 else 2)] * dims)),
        batch=draw(st.integers(1, 2)),
        channels=groups * draw(st.integers(1, 3)),
        groups=groups,
        dilation=draw(st.tuples(*[st.integers(1, 2)] * dims)),
        padding_mode=draw(st.sampled_from(borders)),
        normalizer=normalizer,
    )


EVERY = [
    Logits((3, 4), (3, 3), (2, 2), groups=2, normalizer=normalizer, padding_mode=border)
    for normalizer in NORMALIZERS
    for border in (("zeros", "mask") if normalizer in UNIT_SUM else ("zeros",))
]
PLAIN = Logits((4, 5), (5, 5), (2, 2), groups=2)
SMALL = Logits((2, 2), (2, 3), (2, 1), batch=1, channels=2, groups=2)


@given(case=cases())
def test_equals_the_steps(case: Logits) -> None:
    tensors = case.tensors()
    wanted = case.by_steps(*tensors)
    assert_close(case(*tensors, backend="reference"), wanted, f"formula {case}")
    assert_close(case(*tensors), wanted, f"operator {case}")


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("case", [*EVERY, PLAIN, replace(PLAIN, factors=(3, 1), padding_mode="reflect")], ids=str)
def test_output_and_gradients_equal_the_formulas(case: Logits, layout: torch.memory_format, dtype: torch.dtype) -> None:
    tensors = [t.requires_grad_() for t in case.tensors(dtype)]
    exact = [t.detach().double().requires_grad_() for t in tensors]
    got = case(*(t.contiguous(memory_format=layout) for t in tensors))
    wanted = case(*exact, backend="reference")
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=layout)
    assert_close(got, wanted, "output")
    grad = torch.randn_like(wanted)
    wanted_grads = torch.autograd.grad(wanted, exact, grad.to(dtype).double())
    for name, a, b in zip(
        ("input", "logits"), torch.autograd.grad(got, tensors, grad.to(dtype)), wanted_grads, strict=True
    ):
        assert_close(a, b, name)


@pytest.mark.parametrize("case", [*EVERY, SMALL], ids=str)
def test_gradcheck_of_every_order_and_mode(case: Logits) -> None:
    case = replace(case, sizes=(2, 2), kernel_size=(2, 3), factors=(2, 1), batch=1, channels=2)
    tensors = tuple(t.requires_grad_() for t in case.tensors())
    assert torch.autograd.gradcheck(
        case, tensors, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(case, tensors, check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_forward_mode_equals_the_formulas(case: Logits) -> None:
    tensors = case.tensors()
    tangents = tuple(torch.randn_like(t) for t in tensors)
    _, wanted = torch.func.jvp(lambda x, y: case(x, y, backend="reference"), tensors, tangents)
    assert wanted.abs().max() > 0.1
    assert_close(torch.func.jvp(case, tensors, tangents)[1], wanted, "jvp")


def test_jacobians_and_hessians_agree() -> None:
    tensors = SMALL.tensors()
    reverse = torch.func.jacrev(SMALL, (0, 1))(*tensors)
    for forward, backward in zip(torch.func.jacfwd(SMALL, (0, 1))(*tensors), reverse, strict=True):
        assert_close(forward, backward, "jacfwd against jacrev")

    def hessian(backend: str | None) -> Tensor:
        return torch.func.hessian(lambda y: SMALL(tensors[0], y, backend=backend).pow(2).sum())(tensors[1])

    assert_close(hessian(None), hessian("reference"), "hessian")


@pytest.mark.parametrize("in_dims", [(0, 0), (1, None), (None, 2)])
def test_vmap(in_dims: tuple) -> None:
    tensors = PLAIN.tensors()
    mapped = [t if d is None else torch.stack([t, 2 * t], d) for t, d in zip(tensors, in_dims, strict=True)]
    got = torch.func.vmap(PLAIN, in_dims)(*mapped)
    for i in range(2):
        one = [t if d is None else t.select(d, i) for t, d in zip(mapped, in_dims, strict=True)]
        assert_close(got[i], PLAIN(*one), "vmap")


@pytest.mark.parametrize("needs_grad", [False, True])
@pytest.mark.parametrize("border", ["zeros", "mask"])
def test_opcheck(border: str, needs_grad: bool) -> None:
    x, logits = (t.requires_grad_(needs_grad) for t in PLAIN.tensors(torch.float32))
    options = ([5, 5], [2, 2], 2, [1, 1], border, "softmax")
    torch.library.opcheck(torch.ops.karaffe.reassemble_logits.default, (x, logits, *options))
    if not needs_grad:
        grad = torch.randn(2, 4, 8, 10)
        torch.library.opcheck(torch.ops.karaffe.reassemble_logits_backward.default, (grad, x, logits, *options))


@pytest.mark.parametrize("training", [False, True])
def test_nothing_of_the_kernels_size_is_kept_but_the_logits(training: bool) -> None:
    x, logits = (t.requires_grad_() for t in PLAIN.tensors(torch.float32))
    kept: list[Tensor] = []

    def keep(t: Tensor) -> Tensor:
        kept.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), torch.set_grad_enabled(training):
        PLAIN(x, logits)
    assert {t.data_ptr() for t in kept} == ({x.data_ptr(), logits.data_ptr()} if training else set())


def test_autocast_and_flops() -> None:
    x, logits = (t.requires_grad_() for t in PLAIN.tensors(torch.float32))
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        out = PLAIN(x, logits)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert x.grad.dtype == logits.grad.dtype == torch.float32
    with FlopCounterMode(display=False) as counter:
        PLAIN(x, logits).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * (2 * 4 * 80 * 25)


def test_compiled_graphs_keep_the_operators() -> None:
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    graphs: list[str] = []

    def compiler(graph: torch.fx.GraphModule, _: object) -> Callable:
        graphs.append(graph.code)
        return make_boxed_func(graph.forward)

    tensors = [t.requires_grad_() for t in PLAIN.tensors()]
    compiled = torch.compile(lambda x, y: PLAIN(x, y), backend=aot_autograd(fw_compiler=compiler))
    compiled(*tensors).sum().backward()
    forward, backward = graphs
    assert "karaffe.reassemble_logits.default" in forward
    assert "karaffe.reassemble_logits_backward.default" in backward


def test_compiled_forward_over_reverse_is_not_zero() -> None:
    tensors = SMALL.tensors()
    tangents = tuple(torch.randn_like(t) for t in tensors)

    def curvature(*both: Tensor) -> Tensor:
        gradient = torch.func.grad(lambda x, y: SMALL(x, y).pow(2).sum(), (0, 1))
        return torch.func.jvp(gradient, both[:2], both[2:])[1][1]

    wanted = curvature(*tensors, *tangents)
    assert wanted.abs().max() > 1e-3
    compiled = torch.compile(curvature, backend="aot_eager", fullgraph=True)
    assert_close(compiled(*tensors, *tangents), wanted, "compiled")


@pytest.mark.parametrize("normalizer", [*UNIT_SUM, None])
def test_another_size_reads_the_finished_kernel_map(normalizer: str | None) -> None:
    case = replace(PLAIN, normalizer=normalizer or "none")
    x, logits = case.tensors()
    options = {"scale_factor": 2, "groups": 2, "normalizer": normalizer}
    odd = ops.reassemble_logits(x, logits, 5, size=(7, 9), **options)
    assert_close(odd, case(x, logits)[:, :, :7, :9], "one less than twice is twice, cropped")
    small = ops.reassemble_logits(x, logits, 5, size=(4, 5), **options)
    assert_close(small, case(x, logits)[:, :, ::2, ::2], "the source's own size takes the first sub-pixel")
    if normalizer:
        masked = ops.reassemble_logits(x, logits, 5, size=(7, 9), padding_mode="mask", **options)
        full = replace(case, padding_mode="mask")(x, logits)
        assert_close(masked, full[:, :, :7, :9], "masked")


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3))
def test_unshuffle_undoes_shuffle(factors: list[int], channels: int) -> None:
    x = torch.randn(2, channels * math.prod(factors), *range(2, 2 + len(factors)))
    there = shuffle(x, factors)
    assert there.shape[2:] == tuple(s * f for s, f in zip(x.shape[2:], factors, strict=True))
    assert torch.equal(unshuffle(there, factors), x)


def test_softmax_of_large_logits_stays_finite() -> None:
    weights = normalize(torch.tensor([[1e4, -1e4, 1e4]]), "softmax", 1).weights
    assert torch.equal(weights, torch.tensor([[0.5, 0.0, 0.5]]))

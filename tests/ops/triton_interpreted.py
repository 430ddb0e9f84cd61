"""The Triton kernels in Triton's interpreter; run by ``test_triton.py`` in a process of its own.

The interpreter is chosen by an environment variable when Triton is imported, and works on CPU tensors. It takes a
tenth of a second an operator call at the least, so shapes are small.
"""

from __future__ import annotations

import math

import pytest
import torch
from attention_oracle import Attention, attentions
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from karaffe.ops.backends import reference_attention, reference_logits
from karaffe.ops.backends.contractions import FORMULAS as CONTRACTIONS
from karaffe.ops.backends.triton import fused, launch, tables, tuning
from karaffe.ops.backends.triton.call import Block
from karaffe.ops.local_attention import _full_bias
from oracle import FORMULAS, Case, assert_close, cases

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
CASES = [
    Case((2, 3), (4, 6), (3, 3), batch=1, channels=4, groups=2),
    Case((2, 3), (3, 7), (2, 3), batch=2, channels=3, alignment="center", padding_mode="reflect"),
    Case((3, 4), (2, 3), (3, 1), batch=1, channels=9, padding_mode="replicate", dilation=(2, 1)),
    Case((5, 3), (5, 9), (2, 3), batch=1, channels=3, dilation=(1, 2)),
    Case((3,), (7,), (4,), batch=2, channels=2, alignment="align_corners"),
    Case((2, 2, 2), (2, 4, 2), (2, 1, 3), batch=1, channels=2),
    Case((1, 40), (1, 80), (1, 5), batch=1, channels=10),
    Case((3,), (6,), (130,), batch=1, channels=3),  # more taps than registers hold
    Case((2, 3), (4, 6), (3, 3), batch=0),
]


def check(operator: str, case: Case, dtype: torch.dtype, layout: torch.memory_format) -> None:
    tensors = {k: t.contiguous(memory_format=layout) for k, t in case.tensors(dtype).items()}
    exact = {k: t.double() for k, t in tensors.items()}
    got = getattr(launch, operator)(*case.arguments(operator, tensors))
    assert got.dtype == dtype
    assert not got.numel() or got.is_contiguous(memory_format=layout)
    assert_close(got, FORMULAS[operator](*case.arguments(operator, exact)), f"{operator} {case} {dtype}")


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("operator", FORMULAS)
def test_equals_the_formula(operator: str, case: Case) -> None:
    check(operator, case, torch.float32, torch.contiguous_format)


@pytest.mark.parametrize("operator", FORMULAS)
@settings(max_examples=6)
@given(case=cases(dims=st.integers(1, 2), largest=3), last=st.booleans())
def test_any_shape(operator: str, case: Case, last: bool) -> None:
    layout = torch.channels_last if last and len(case.sizes) == 2 else torch.contiguous_format
    check(operator, case, torch.float32, layout)


@pytest.mark.parametrize("operator", FORMULAS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_other_dtypes_in_channels_last(operator: str, dtype: torch.dtype) -> None:
    check(operator, CASES[0], dtype, torch.channels_last)


@pytest.mark.parametrize("operator", FORMULAS)
def test_strided_tensors_are_read_right(operator: str) -> None:
    case = CASES[1]
    tensors = case.tensors()
    strided = {k: t.transpose(2, 3).contiguous().transpose(2, 3) for k, t in tensors.items()}
    got = getattr(launch, operator)(*case.arguments(operator, strided))
    assert_close(got, FORMULAS[operator](*case.arguments(operator, tensors)), operator)


@pytest.mark.parametrize("operator", FORMULAS)
def test_the_same_bits_whatever_the_block(operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[0]
    arguments = case.arguments(operator, case.tensors(torch.float32))
    results = []
    for block in (Block(1, 4, 1), Block(2, 32, 64), Block(4, 64, 2)):
        monkeypatch.setattr(tuning, "best", lambda *_, block=block: block)
        results.append(getattr(launch, operator)(*arguments))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


LOGITS = [
    ((2, 3), (3, 3), (2, 2), 2, "zeros", "softmax"),
    ((3, 2), (3, 2), (2, 1), 1, "mask", "softmax"),
    ((2, 3), (1, 3), (1, 3), 1, "replicate", "sigmoid_norm"),
    ((4,), (3,), (2,), 1, "reflect", "sigmoid"),
    ((2, 3), (3, 1), (2, 2), 1, "mask", "sum"),
    ((2, 3), (2, 3), (2, 2), 1, "zeros", "none"),
    ((1, 2, 2), (1, 2, 3), (1, 2, 1), 1, "zeros", "softmax"),  # three axes: the composite
]


def logits_tensors(form: tuple, layout: torch.memory_format) -> tuple[Tensor, Tensor, Tensor, tuple]:
    sizes, kernel_size, factors, groups, padding_mode, normalizer = form
    if len(sizes) != 2:
        layout = torch.contiguous_format
    channels = groups * math.prod(kernel_size) * math.prod(factors)
    logits = torch.randn(2, channels, *sizes)
    logits = logits.abs() + 0.1 if normalizer == "sum" else logits
    grad = torch.randn(2, 4, *(s * f for s, f in zip(sizes, factors, strict=True)))
    tensors = (t.contiguous(memory_format=layout) for t in (torch.randn(2, 4, *sizes), logits, grad))
    return *tensors, (list(kernel_size), list(factors), groups, [1] * len(sizes), padding_mode, normalizer)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("form", LOGITS, ids=str)
def test_fused_reassembly_and_its_gradients(form: tuple, layout: torch.memory_format) -> None:
    x, logits, grad, options = logits_tensors(form, layout)
    exact = (x.double(), logits.double())
    wanted = reference_logits.reassemble_logits(CONTRACTIONS, *exact, *options)
    assert_close(fused.reassemble_logits(x, logits, *options), wanted, "output")
    got = fused.reassemble_logits_backward(grad, x, logits, *options)
    wanted = reference_logits.reassemble_logits_backward(CONTRACTIONS, grad.double(), *exact, *options)
    for name, a, b in zip(("input", "logits"), got, wanted, strict=True):
        assert_close(a, b, name)


ATTENTIONS = [
    Attention((3, 3), (6, 6), (3, 3), batch=1, heads=2, biased=True),
    Attention((3, 4), (4, 3), (3, 2), padding_mode="zeros", scale=1.0, alignment="center", values=3),
    Attention((3, 4), (6, 8), (3, 1), batch=1, heads=2, padding_mode="shift"),
    Attention((3, 3), (6, 6), (3, 3), batch=1, taps=(0, 2, 4, 6, 7), biased=True),
    Attention((3, 3), (3, 3), (3, 3), taps=(0,)),
    Attention((5,), (5,), (3,), padding_mode="reflect"),
    Attention((1, 2, 3), (2, 2, 6), (1, 2, 3), batch=1, padding_mode="replicate"),
    Attention((4,), (8,), (70,), batch=1, padding_mode="zeros"),  # forward in registers, backward the composite
]


def check_attention(case: Attention, layout: torch.memory_format) -> None:
    if len(case.sizes) != 2:
        layout = torch.contiguous_format
    query, key, value, *rest = case.tensors(torch.float32)
    count, taps = math.prod(case.kernel_size), None if case.taps is None else list(case.taps)
    bias = _full_bias(rest[0], query, case.heads, taps, count) if rest else None
    query, key, value = (t.contiguous(memory_format=layout) for t in (query, key, value))
    scale = 0.5 if case.scale is None else case.scale
    options = (list(case.kernel_size), case.heads, scale, taps, list(case.spacing), case.padding_mode, case.alignment)
    exact = [t if t is None else t.double() for t in (query, key, value, bias)]
    wanted, wanted_sums = reference_attention.local_attention(CONTRACTIONS, *exact, *options)
    got, sums = fused.local_attention(query, key, value, bias, *options)
    assert_close(got, wanted, "output")
    assert got.is_contiguous(memory_format=layout)
    grad = torch.randn_like(got)
    got = fused.local_attention_backward(grad, query, key, value, bias, sums, *options)
    backward = reference_attention.local_attention_backward
    wanted = backward(CONTRACTIONS, grad.double(), *exact, wanted_sums, *options)
    for name, a, b in zip(("query", "key", "value", "bias"), got, wanted, strict=True):
        assert_close(a, b, name, 4e-5)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("case", ATTENTIONS, ids=str)
def test_attention_and_its_gradients(case: Attention, layout: torch.memory_format) -> None:
    check_attention(case, layout)


@settings(max_examples=4)
@given(case=attentions())
def test_attention_of_any_shape(case: Attention) -> None:
    check_attention(case, torch.contiguous_format)


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect", "shift"])
def test_readers_are_the_inverse_of_reads(padding_mode: str) -> None:
    axes = (tables.Axis(5, 9, 3, 2 if padding_mode != "shift" else 1, padding_mode, "center"),)
    cpu = torch.device("cpu")
    reads, readers = tables.reads(axes, cpu), tables.readers(axes, cpu)
    pairs = {(y, i): int(q) for y, row in enumerate(reads) for i, q in enumerate(row) if q >= 0}
    found = {}
    for q in range(axes[0].size):
        for at in range(int(readers.first[q]), int(readers.first[q + 1])):
            found[int(readers.position[at]), int(readers.tap[at])] = q
    assert found == pairs
    assert len(readers.position) == len(pairs)


@pytest.mark.parametrize("phases", [1, 2])
def test_a_tap_outside_names_the_nearest_pixel(phases: int) -> None:
    axes = (tables.Axis(3, 3 * phases, 5, 1, "zeros", "corner", phases),)
    reads = tables.reads(axes, torch.device("cpu"))
    assert reads.shape == (3, 5)
    assert reads[0].tolist() == [~0, ~0, 0, 1, 2]
    assert reads[2].tolist() == [0, 1, 2, ~2, ~2]


def test_leading_axes_are_rows() -> None:
    depth, height = tables.Axis(2, 2, 3, 1, "zeros", "corner"), tables.Axis(3, 3, 1, 1, "zeros", "corner")
    reads = tables.reads((depth, height), torch.device("cpu"))
    assert reads.tolist() == [[~0, 0, 3], [~1, 1, 4], [~2, 2, 5], [0, 3, ~3], [1, 4, ~4], [2, 5, ~5]]

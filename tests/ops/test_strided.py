"""The kernels for planes that are reduced by whole factors: every geometry against the formula, layouts, threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

import oracle
from karaffe.ops.backends import cpu
from oracle import Case

pytestmark = pytest.mark.skipif(cpu.why_not() is not None, reason=f"native kernels: {cpu.why_not()}")

OPERATORS = ("reassemble", "correlate", "scatter")


@st.composite
def strided_cases(draw: st.DrawFn) -> Case:
    """Widths and channels around a vector's, a block's and a ring's."""
    targets = draw(st.tuples(st.integers(1, 6), st.sampled_from((1, 2, 3, 7, 8, 9, 16, 17, 33))))
    factors = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    groups = draw(st.integers(1, 2))
    return Case(
        sizes=tuple(t * s for t, s in zip(targets, factors, strict=True)),
        targets=targets,
        kernel_size=draw(st.tuples(st.integers(1, 7), st.integers(1, 7))),
        batch=draw(st.integers(0, 2)),
        channels=groups * draw(st.sampled_from((1, 3, 8, 13, 32, 45))),
        groups=groups,
        dilation=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding_mode=draw(st.sampled_from(("zeros", "replicate", "reflect"))),
        alignment=draw(st.sampled_from(("corner", "center"))),
    )


@pytest.mark.parametrize("operator", OPERATORS)
@given(case=strided_cases())
@example(case=Case((12, 16), (6, 8), (5, 5), channels=8))
@example(case=Case((12, 6), (2, 3), (3, 3), channels=5))  # rows and columns that no target reads
@example(case=Case((4, 24), (2, 8), (4, 4), padding_mode="reflect"))  # even windows, mirrored
@example(case=Case((2, 2), (1, 1), (7, 7), padding_mode="reflect"))
def test_against_the_formula(operator, case):
    tensors = case.tensors(torch.float32)
    exact = {k: t.double() for k, t in tensors.items()}
    got = getattr(torch.ops.karaffe, operator)(*case.arguments(operator, tensors))
    assert got.is_contiguous()
    oracle.assert_close(got, oracle.FORMULAS[operator](*case.arguments(operator, exact)), f"{operator} {case}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("operator", ["reassemble", "correlate"])
def test_gradients(operator, dtype):
    cases = [Case((12, 18), (6, 9), (5, 5), channels=9), Case((9, 8), (3, 8), (3, 4), channels=6, groups=2)]
    candidate = getattr(torch.ops.karaffe, operator)
    oracle.check(operator, candidate, cases, dtype)
    oracle.check(operator, candidate, cases, dtype, torch.channels_last)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
def test_bits_do_not_depend_on_threads(operator, padding_mode):
    case = Case((74, 66), (37, 33), (5, 5), channels=40, padding_mode=padding_mode)
    tensors, before, found = case.tensors(torch.float32), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found.append(getattr(torch.ops.karaffe, operator)(*case.arguments(operator, tensors)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])

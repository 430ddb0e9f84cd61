"""The specification against a loop over targets and taps that was written from the definition alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from karaffe.ops.geometry import integer_factor, source_index
from oracle import FIXED, FORMULAS, Case, assert_close, cases, loop

OPERATORS = tuple(FORMULAS)


@pytest.mark.parametrize("operator", OPERATORS)
@given(case=cases())
def test_equals_the_loop(operator: str, case: Case) -> None:
    tensors = case.tensors()
    got = FORMULAS[operator](*case.arguments(operator, tensors))
    assert_close(got, loop(operator, case, tensors), f"{operator} {case}")


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("case", FIXED[::2], ids=str)
def test_equals_the_loop_at_fixed_shapes(operator: str, case: Case) -> None:
    tensors = case.tensors()
    got = FORMULAS[operator](*case.arguments(operator, tensors))
    assert_close(got, loop(operator, case, tensors), f"{operator} {case}")


@given(case=cases())
def test_the_three_contractions_are_one_number(case: Case) -> None:
    tensors = case.tensors()
    sums = [
        (FORMULAS[operator](*case.arguments(operator, tensors)) * tensors[third]).sum()
        for operator, third in (("reassemble", "Q"), ("correlate", "A"), ("scatter", "V"))
    ]
    scale = sum(s.abs() for s in sums) + 1
    assert (sums[0] - sums[1]).abs() < 1e-10 * scale
    assert (sums[0] - sums[2]).abs() < 1e-10 * scale


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    """4096 ones: a running sum in bfloat16 would stop at 256, in float16 at 2048."""
    source = torch.ones(1, 1, 64, 64, dtype=dtype)
    kernels = torch.ones(1, 64 * 64, 1, 1, dtype=dtype)
    for name in ("reassemble", "correlate"):
        if name == "reassemble":
            total = FORMULAS[name](source, kernels, [64, 64], 1, [1, 1], "replicate")
        else:
            wide = torch.ones(1, 4096, 1, 1, dtype=dtype)
            total = FORMULAS[name](wide, wide, [1, 1])
        assert total.item() == 4096


def test_source_index_is_torchs_nearest() -> None:
    """``corner`` is what ``F.interpolate(mode="nearest")`` reads, ``center`` what ``nearest-exact`` reads."""
    for size in range(1, 12):
        line = torch.arange(size, dtype=torch.float64)[None, None]
        for target in range(1, 40):
            for alignment, mode in (("corner", "nearest"), ("center", "nearest-exact")):
                exact = torch.nn.functional.interpolate(line, size=target, mode=mode)[0, 0].long()
                mine = source_index(size, target, alignment)
                # torch multiplies by a rounded ratio: where y·H/H' is a whole number it may fall one short
                whole = torch.arange(target) * size % target == 0 if alignment == "corner" else None
                differ = mine != exact
                assert not (differ & ~whole).any() if whole is not None else differ.sum() <= 1


def test_corner_alignment_of_an_odd_size_is_the_next_even_one_cropped() -> None:
    for size in range(2, 40):
        assert torch.equal(source_index(size, 2 * size - 1, "corner"), source_index(size, 2 * size, "corner")[:-1])


@pytest.mark.parametrize(
    ("size", "target", "alignment", "factor"),
    [
        (4, 8, "corner", 2),
        (4, 8, "center", 2),
        (4, 8, "align_corners", None),
        (4, 4, "align_corners", 1),
        (4, 7, "corner", None),
        (4, 2, "corner", None),
        (1, 64, "corner", None),
    ],
)
def test_integer_factor(size: int, target: int, alignment: str, factor: int | None) -> None:
    assert integer_factor(size, target, alignment) == factor

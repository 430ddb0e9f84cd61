"""The Triton kernels in Triton's interpreter; run by ``test_triton.py`` in a process of its own.

The interpreter is chosen by an environment variable when Triton is imported, and works on CPU tensors.
"""

from __future__ import annotations

import pytest
import torch

from karaffe.ops.backends.triton import launch, tables
from oracle import FORMULAS, Case, assert_close

CASES = [
    Case((2, 3), (4, 6), (3, 3), batch=1, channels=4, groups=2),
    Case((2, 3), (3, 7), (2, 3), batch=2, channels=3, alignment="center", padding_mode="reflect"),
    Case((3, 4), (2, 3), (3, 1), batch=1, channels=9, padding_mode="replicate", dilation=(2, 1)),
    Case((3,), (7,), (4,), batch=2, channels=2, alignment="align_corners"),
    Case((2, 2, 2), (2, 4, 2), (2, 1, 3), batch=1, channels=2),
    Case((1, 40), (1, 80), (1, 5), batch=1, channels=10),
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


@pytest.mark.parametrize("blocks", [(4, 1), (64, 16)])
@pytest.mark.parametrize("operator", FORMULAS)
def test_the_same_bits_whatever_the_blocks(operator: str, blocks: tuple[int, int], monkeypatch) -> None:
    case = CASES[0]
    arguments = case.arguments(operator, case.tensors(torch.float32))
    wanted = getattr(launch, operator)(*arguments)
    kernel = getattr(launch.source_of_kernels, f"{operator}_kernel")
    second = "BLOCK_T" if operator == "correlate" else "BLOCK_C"

    def fixed(grid):
        return lambda *a, **k: kernel[grid](*a, **k, **{"BLOCK_X": blocks[0], second: blocks[1]})

    monkeypatch.setattr(launch, f"_{operator.upper()}", fixed)
    assert torch.equal(getattr(launch, operator)(*arguments), wanted)


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect", "shift"])
def test_readers_are_the_inverse_of_reads(padding_mode: str) -> None:
    axis = tables.Axis(5, 9, 3, 2 if padding_mode != "shift" else 1, padding_mode, "center", torch.device("cpu"))
    reads, readers = tables.reads(axis), tables.readers(axis)
    pairs = {(y, i): int(q) for y, row in enumerate(reads) for i, q in enumerate(row) if q >= 0}
    found = {}
    for q in range(axis.size):
        for at in range(int(readers.first[q]), int(readers.first[q + 1])):
            found[int(readers.target[at]), int(readers.tap[at])] = q
    assert found == pairs
    assert len(readers.target) == len(pairs)

"""The registered operators: against the reference, the recorded vectors, and torch's own checks of a registration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from safetensors import safe_open
from torch import Tensor

import karaffe
from karaffe import ops
from oracle import FIXED, Case, assert_close, cases, check

OPERATORS = {name: getattr(torch.ops.karaffe, name).default for name in ("reassemble", "correlate", "scatter")}
SMALL = Case((3, 2), (6, 4), (3, 3), batch=1, channels=4, groups=2)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("operator", OPERATORS)
def test_fixed_shapes(operator: str, layout: torch.memory_format, dtype: torch.dtype) -> None:
    fitting = [c for c in FIXED if layout is torch.contiguous_format or len(c.sizes) == 2]
    check(operator, OPERATORS[operator], fitting, dtype, layout)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("operator", OPERATORS)
def test_half_precision(operator: str, dtype: torch.dtype) -> None:
    check(operator, OPERATORS[operator], FIXED, dtype)


@pytest.mark.parametrize("operator", OPERATORS)
@given(case=cases(largest=9))
def test_any_shape(operator: str, case: Case) -> None:
    check(operator, OPERATORS[operator], [case], torch.float64)
    check(operator, OPERATORS[operator], [case], torch.float32)


@given(case=cases(largest=20))
def test_the_three_contractions_are_one_number(case: Case) -> None:
    tensors = case.tensors()
    totals = [
        (OPERATORS[operator](*case.arguments(operator, tensors)) * tensors[third]).sum().item()
        for operator, third in (("reassemble", "Q"), ("correlate", "A"), ("scatter", "V"))
    ]
    assert totals[1:] == pytest.approx([totals[0]] * 2, rel=1e-10, abs=1e-10)


def test_non_contiguous_tensors_are_read_as_they_are() -> None:
    case = Case((5, 7), (10, 14), (5, 5), channels=8)
    tensors = case.tensors()
    strided = {k: t.transpose(2, 3).contiguous().transpose(2, 3) for k, t in tensors.items()}
    assert not strided["V"].is_contiguous()
    for operator, op in OPERATORS.items():
        plain = op(*case.arguments(operator, tensors))
        assert_close(op(*case.arguments(operator, strided)), plain, operator)


@pytest.mark.parametrize("needs_grad", [False, True])
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    "case", [SMALL, Case((3, 4), (5, 3), (2, 3), alignment="center", padding_mode="reflect")], ids=str
)
def test_opcheck(operator: str, case: Case, needs_grad: bool) -> None:
    tensors = {k: t.requires_grad_(needs_grad) for k, t in case.tensors().items()}
    torch.library.opcheck(OPERATORS[operator], case.arguments(operator, tensors))


def test_opcheck_of_channels_last() -> None:
    case = Case((3, 5), (6, 10), (3, 3), channels=6)
    tensors = {k: t.contiguous(memory_format=torch.channels_last) for k, t in case.tensors(torch.float32).items()}
    for operator, op in OPERATORS.items():
        torch.library.opcheck(op, case.arguments(operator, tensors))


def here(x: Tensor) -> Tensor:
    return x.to(torch.get_default_device())


RECORDED = ["k3_g4_s2", "k3_g8_s1", "k5_g1_s2", "k5_g2_s3", "k5_g4_s2", "k7_g1_s4"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_vectors(golden_vectors: Path, name: str, dtype: torch.dtype) -> None:
    with safe_open(golden_vectors / f"reassemble_{name}.safetensors", "pt") as file:
        recorded = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        arguments = json.loads(file.metadata()["json"])["arguments"]
    inputs = {
        k.split(".", 1)[1]: here(v).to(dtype).requires_grad_() for k, v in recorded.items() if k.startswith("input.")
    }
    features, masks = inputs.values() if next(iter(inputs)) != "masks" else reversed(inputs.values())
    kernel_size, groups = (arguments.get(k) for k in ("kernel_size", "group_size"))
    scale = recorded["output"].shape[-1] // features.shape[-1]
    out = ops.carafe(features, masks, kernel_size, groups, scale)
    tolerance = 1e-10 if dtype is torch.float64 else 1e-5
    assert_close(out, recorded["output"], name, tolerance)
    (out * here(recorded["grad_output"]).to(dtype)).sum().backward()
    for key, tensor in inputs.items():
        assert_close(tensor.grad, recorded[f"grad_input.{key}"], f"{name} {key}", tolerance)


def test_renormalize_keeps_a_constant_constant() -> None:
    kernels = torch.rand(1, 2 * 25, 8, 6, dtype=torch.float64)
    kernels = kernels.view(1, 2, 25, 8, 6).softmax(2).flatten(1, 2)
    ones = torch.full((1, 4, 4, 3), 3.0, dtype=torch.float64)
    out = ops.reassemble(ones, kernels, 5, groups=2, padding_mode="renormalize")
    assert_close(out, torch.full_like(out, 3.0), "constant")
    dimmed = ops.reassemble(ones, kernels, 5, groups=2)
    assert dimmed[0, 0, 0, 0] < 2.9


def test_backend_can_be_forced() -> None:
    x, kernels = torch.randn(1, 2, 3, 3), torch.randn(1, 9, 6, 6)
    wanted = ops.reassemble(x, kernels, 3, backend="reference")
    with ops.use_backend("reference"):
        assert torch.equal(ops.reassemble(x, kernels, 3), wanted)
    names = {b.name: b for b in ops.backends()}
    assert names["reference"].available
    if names["cpu"].available:
        assert_close(ops.reassemble(x, kernels, 3, backend="cpu"), wanted, "cpu")
    else:
        with pytest.raises(karaffe.errors.BackendError, match="cannot be used"):
            ops.reassemble(x, kernels, 3, backend="cpu")

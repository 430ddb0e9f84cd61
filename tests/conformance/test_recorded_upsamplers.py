"""Equality with what the methods' original implementations computed: outputs, input and parameter gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from recorded import CASES, Recorded

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("case", CASES)
def test_recorded(golden_vectors: Path, case: str, dtype: torch.dtype) -> None:
    recorded = Recorded(golden_vectors / f"{case}.safetensors")
    module = CASES[case](recorded.about["arguments"]).double()
    module.load_state_dict(recorded.state, strict=True)
    module = module.to(dtype)
    leaves = {k: v.to(dtype).requires_grad_() for k, v in recorded.inputs.items()}
    output = module(*(leaves[k] for k in ("x", "guide") if k in leaves))
    output.backward(recorded.grad_output.to(dtype))
    pairs = {"output": (output.detach(), recorded.output)}
    pairs |= {f"gradient of {k}": (leaves[k].grad, v) for k, v in recorded.input_grads.items()}
    parameters = dict(module.named_parameters())
    pairs |= {f"gradient of {k}": (parameters[k].grad, v) for k, v in recorded.parameter_grads.items()}
    assert set(recorded.parameter_grads) == set(parameters)
    for what, (got, wanted) in pairs.items():
        scale = max(1.0, wanted.abs().max().item())
        error = (got.double() - wanted.double()).abs().max().item() / scale
        assert error <= TOLERANCE[dtype], f"{what}: {error:.1e}"

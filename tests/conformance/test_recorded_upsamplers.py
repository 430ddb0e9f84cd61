"""Equality with what the methods' original implementations computed: outputs, input and parameter gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from recorded import CASES, Recorded, computed
from torch import Tensor

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
# Rounding their inputs to float32 changes these by more than the bound (phases at frequencies up to 22,026), whoever
# computes them: in float32 they are compared with the float64 module, whose equality is tested, on the rounded inputs.
SENSITIVE = ("loftup_sine",)


def evaluated(case: str, recorded: Recorded, dtype: torch.dtype, stored: torch.dtype) -> dict[str, Tensor]:
    """Outputs and gradients in ``dtype``, of inputs and parameters that were kept in ``stored``."""
    module = CASES[case](dict(recorded.about["arguments"])).double().eval()
    module.load_state_dict(recorded.state, strict=True)
    module = module.to(stored).to(dtype)
    leaves = {k: v.to(stored).to(dtype).requires_grad_() for k, v in recorded.inputs.items()}
    outputs = computed(module, leaves, recorded.outputs)
    upstream = [v.to(stored).to(dtype) for v in recorded.upstream.values()]
    torch.autograd.backward([outputs[k] for k in recorded.outputs], upstream)
    found = {f"output {k}": outputs[k].detach() for k in recorded.outputs}
    found |= {f"gradient of input {k}": leaves[k].grad for k in recorded.input_grads}
    return found | {f"gradient of {k}": p.grad for k, p in module.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("case", CASES)
def test_recorded(golden_vectors: Path, case: str, dtype: torch.dtype) -> None:
    recorded = Recorded(golden_vectors / f"{case}.safetensors")
    wanted = {f"output {k}": v for k, v in recorded.outputs.items()}
    wanted |= {f"gradient of input {k}": v for k, v in recorded.input_grads.items()}
    wanted |= {f"gradient of {k}": v for k, v in recorded.parameter_grads.items()}
    found = evaluated(case, recorded, dtype, dtype)
    assert set(found) == set(wanted)
    if case in SENSITIVE and dtype == torch.float32:
        wanted = evaluated(case, recorded, torch.float64, dtype)
    for what, value in wanted.items():
        scale = max(1.0, value.abs().max().item())
        error = (found[what].double() - value.double()).abs().max().item() / scale
        assert error <= TOLERANCE[dtype], f"{what}: {error:.1e}"

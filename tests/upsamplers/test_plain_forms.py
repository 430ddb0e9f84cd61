"""The plain PyTorch forms that the benchmark compares with compute the same, in output and gradients."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
plain_upsamplers = pytest.importorskip("plain_upsamplers", reason="the benchmarks are not here")

from families import inputs_of, shaken  # noqa: E402

from karaffe import ops  # noqa: E402
from karaffe.upsamplers import create_upsampler  # noqa: E402

# What each method asks of the operators; the others are made of torch's own.
CALLED = {
    "carafe": {"reassemble_logits"},
    "carafe-down": {"reassemble"},
    "sapa": {"local_attention"},
    "sapa-d": {"attend_at"},
    "fade": {"reassemble"},
    "fade-lite": {"reassemble"},
    "dysample": {"sample"},
    "lda-aqu": {"sample"},
    "freqfusion": {"reassemble"},
    "jbu": {"correlate", "reassemble"},
    "jbu-learned": {"correlate", "reassemble"},
    "jbu-stack": {"correlate", "reassemble"},
    "uplift": {"reassemble"},
    "a2u": {"reassemble"},
    "dlu": {"reassemble", "sample"},
    "naf": {"local_attention"},
}


@pytest.mark.parametrize("name", CALLED)
def test_module_the_plain_way(name):
    module, (x, *guide) = shaken(name), inputs_of(name, (2, 8, 6, 10))
    x.requires_grad_()
    ours = module(x, *guide)
    with plain_upsamplers.plainly():
        plain = module(x, *guide)
    torch.testing.assert_close(plain, ours, rtol=1e-4, atol=1e-4)
    upstream, leaves = torch.randn_like(ours), [x, *(p for p in module.parameters() if p.requires_grad)]
    found, wanted = (torch.autograd.grad(y, leaves, upstream) for y in (plain, ours))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", CALLED)
def test_calls_alone(name):
    calls = plain_upsamplers.calls_of(shaken(name), inputs_of(name, (2, 8, 6, 10)))
    assert {call.form.name for call in calls} == CALLED[name]
    for call in calls:
        assert all(t.requires_grad for t in call.tensors)
        torch.testing.assert_close(call.plain(), call.ours(), rtol=1e-4, atol=1e-4)


def test_operators_are_put_back():
    with plain_upsamplers.plainly():
        assert ops.reassemble is plain_upsamplers.reassemble
    assert ops.reassemble is not plain_upsamplers.reassemble


def test_methods_of_torch_alone_call_nothing():
    assert plain_upsamplers.calls_of(shaken("deconv"), inputs_of("deconv", (1, 8, 4, 4))) == []


def test_sizes_without_a_plain_form():
    module = create_upsampler("carafe", 8)
    with plain_upsamplers.plainly(), pytest.raises(plain_upsamplers.NoPlainForm, match=r"\(4, 4\) to \(7, 7\)"):
        module(torch.randn(1, 8, 4, 4), size=7)

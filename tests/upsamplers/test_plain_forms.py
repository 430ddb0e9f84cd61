"""The plain PyTorch forms that the benchmark compares with compute the same, in output and gradients."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
plain_upsamplers = pytest.importorskip("plain_upsamplers", reason="the benchmarks are not here")

from families import shaken  # noqa: E402

from karaffe.upsamplers import create_upsampler  # noqa: E402


def full(name: str) -> torch.nn.Module:
    """With the kernel sizes of the papers, which the plain forms are written for."""
    options = {"sapa": {"norm": "layer"}}.get(name, {})
    module = create_upsampler(name, 8, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("name", plain_upsamplers.RESAMPLINGS)
def test_plain_form(name):
    module = full(name)
    x = torch.randn(2, 8, 6, 10, requires_grad=True)
    guide = torch.randn(2, 8, 12, 20, requires_grad=True)
    ours = module(x, guide)
    plain = plain_upsamplers.plain_module(module, x, guide)
    torch.testing.assert_close(plain, ours, rtol=1e-4, atol=1e-4)
    upstream, leaves = torch.randn_like(ours), [x, *module.parameters()]
    for got, wanted in zip(
        torch.autograd.grad(plain, leaves, upstream), torch.autograd.grad(ours, leaves, upstream), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", plain_upsamplers.RESAMPLINGS)
def test_resampling_alone(name):
    parts = plain_upsamplers.RESAMPLINGS[name]
    tensors = parts.prepare(full(name), torch.randn(2, 8, 6, 10), torch.randn(2, 8, 12, 20))
    torch.testing.assert_close(parts.ours(*tensors), parts.plain(*tensors), rtol=1e-4, atol=1e-4)


def test_methods_without_a_plain_form():
    assert plain_upsamplers.plain_module(shaken("deconv"), torch.randn(1, 8, 4, 4), torch.randn(1, 8, 8, 8)) is None

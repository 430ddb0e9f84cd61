"""torch.compile, torch.export and ONNX, for every method that declares them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from families import ALL, inputs, shaken

from karaffe.upsamplers import describe_upsampler

# torch's own exporters and compiler use what torch itself deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    """All methods share one forward, of which the compiler keeps only so many versions."""
    torch.compiler.reset()


def declaring(what: str) -> list[str]:
    return [name for name in ALL if what in describe_upsampler(name).exports]


@pytest.mark.parametrize("name", declaring("compile"))
def test_compiles_whole(name):
    """One graph, forward and backward, captured without a break."""
    m, arguments = shaken(name), inputs(name)
    compiled = torch.compile(m, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), m(*arguments))
    arguments[0].requires_grad_()
    (wanted,) = torch.autograd.grad(m(*arguments).square().sum(), arguments[:1])
    (got,) = torch.autograd.grad(compiled(*arguments).square().sum(), arguments[:1])
    torch.testing.assert_close(got, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", declaring("compile"))
def test_compiles_to_machine_code(name):
    m, arguments = shaken(name), inputs(name)
    torch.testing.assert_close(torch.compile(m, fullgraph=True)(*arguments), m(*arguments), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", declaring("export"))
def test_exports(name):
    m, arguments = shaken(name).eval(), inputs(name)
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(m, tuple(arguments)), buffer)
    buffer.seek(0)
    torch.testing.assert_close(torch.export.load(buffer).module()(*arguments), m(*arguments))


@pytest.mark.parametrize("name", declaring("onnx"))
def test_onnx(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    m, arguments = shaken(name).eval(), inputs(name)
    path = tmp_path / "model.onnx"
    torch.onnx.export(m, tuple(arguments), path, dynamo=True, verbose=False, optimize=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    (got,) = session.run(None, {n: a.numpy() for n, a in zip(names, arguments, strict=True)})
    np.testing.assert_allclose(got, m(*arguments).detach().numpy(), rtol=1e-4, atol=1e-4)

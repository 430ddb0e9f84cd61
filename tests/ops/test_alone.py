"""Each operator alone in a graph: compiled by inductor for any size, in training too, and as an ONNX file.

In a network the operators' neighbours fix layouts and sizes that alone nothing fixes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from karaffe import ops
from karaffe.export import OLDEST_OPSET, export_onnx
from oracle import assert_close

Shapes = Sequence[tuple[int, ...]]


def scatter(kernels: Tensor, query: Tensor, like: Tensor) -> Tensor:
    """To the sizes of another input, which may differ from call to call."""
    return ops.scatter(kernels, query, 3, like.shape[2:]) + 0 * like


# Each operator, and the shapes of its tensors for a batch, a source and a target size. No channel number equals a size
# of the first ones: torch takes equal sizes for one and compiles again where they part.
ALONE: dict[str, tuple[Callable[..., Tensor], Callable[[int, tuple[int, int], tuple[int, int]], Shapes]]] = {
    "reassemble": (lambda v, a: ops.reassemble(v, a, 3), lambda n, at, to: [(n, 4, *at), (n, 9, *to)]),
    "correlate": (lambda v, q: ops.correlate(v, q, 3, groups=2), lambda n, at, to: [(n, 4, *at), (n, 4, *to)]),
    "scatter": (scatter, lambda n, at, to: [(n, 9, *to), (n, 4, *to), (n, 4, *at)]),
    "reassemble_logits": (lambda v, a: ops.reassemble_logits(v, a, 3), lambda n, at, _: [(n, 4, *at), (n, 36, *at)]),
    "local_attention": (
        lambda q, k, v: ops.local_attention(q, k, v, 3, heads=2),
        lambda n, at, to: [(n, 4, *to), (n, 4, *at), (n, 8, *at)],
    ),
}
SIZES = ((2, (5, 6), (10, 12)), (3, (7, 4), (9, 11)), (1, (3, 8), (3, 4)))


def tensors(operator: str, n: int, source: tuple[int, int], target: tuple[int, int]) -> list[Tensor]:
    return [torch.randn(shape, requires_grad=True) for shape in ALONE[operator][1](n, source, target)]


@pytest.mark.parametrize("operator", ALONE)
def test_compiled_for_any_size_in_inference_and_training(operator: str) -> None:
    function, _ = ALONE[operator]
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, dynamic=True)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for n, source, target in SIZES[:2]:
            given = [t.detach().contiguous(memory_format=memory_format) for t in tensors(operator, n, source, target)]
            with torch.no_grad():
                assert_close(compiled(*given), function(*given), "inference")
            given = [t.requires_grad_() for t in given]
            wanted, got = function(*given), compiled(*given)
            assert got.stride() == wanted.stride()
            gradients = [torch.autograd.grad(out.pow(2).sum(), given) for out in (got, wanted)]
            for name, a, b in zip("xyz", *gradients, strict=False):
                assert_close(a, b, f"gradient by {name}")
    # one for inference and one for training in each layout, none for another size
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - before <= 4


class Alone(nn.Module):
    """An operator as a model, its arguments named as ONNX's inputs."""

    def __init__(self, operator: str) -> None:
        super().__init__()
        self.function = ALONE[operator][0]


class OfTwo(Alone):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.function(x, y)


class OfThree(Alone):
    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return self.function(x, y, z)


@pytest.mark.parametrize("newest", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["oldest opset", "newest"])
@pytest.mark.parametrize("operator", ALONE)
def test_as_standard_operators_of_any_size(operator: str, newest: bool, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    example = [t.detach() for t in tensors(operator, *SIZES[0])]
    model = (OfTwo if len(example) == 2 else OfThree)(operator)
    opset = onnx.defs.onnx_opset_version() if newest else OLDEST_OPSET
    written = export_onnx(model, example, tmp_path / "alone.onnx", opset=opset)
    assert written.opset == opset
    assert {node.domain for node in onnx.load(written.path).graph.node} == {""}
    session = runtime.InferenceSession(str(written.path), providers=["CPUExecutionProvider"])
    for sizes in SIZES:
        given = [t.detach() for t in tensors(operator, *sizes)]
        feeds = {i.name: t.numpy() for i, t in zip(session.get_inputs(), given, strict=True)}
        got = torch.from_numpy(session.run(None, feeds)[0])
        assert_close(got, model(*given), "onnxruntime", 1e-5)

"""ONNX files: standard operators alone, and the numbers of torch in runtimes that never heard of karaffe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import karaffe
from karaffe import errors, ops
from karaffe.export import OLDEST_OPSET, export_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

NEWEST = onnx.defs.onnx_opset_version()


class Network(nn.Module):
    """CARAFE between convolutions, as a decoder holds it."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.before, self.up = nn.Conv2d(3, 8, 3, padding=1), karaffe.CARAFE(8, compressed_channels=8, **options)
        self.after = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.up(self.before(x)).relu())


class ToASize(nn.Module):
    """Reassembly to the sizes of a second input, whatever they are: no factor is known."""

    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        return ops.reassemble(x, kernels.softmax(1), 3)


class Attends(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        count = len(self.options.get("taps", range(9)))
        bias = torch.linspace(-1, 1, count).expand(self.options.get("heads", 1), count)
        return ops.local_attention(query, key, key, 3, bias=bias, **self.options)


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path: Path, *tensors: Tensor) -> Tensor:
    opened = session(path)
    feeds = {i.name: t.numpy() for i, t in zip(opened.get_inputs(), tensors, strict=True)}
    return torch.from_numpy(opened.run(None, feeds)[0])


def domains(path: Path) -> set[str]:
    model = onnx.load(path)
    assert not model.functions
    return {node.domain for node in model.graph.node}


def largest(got: Tensor, wanted: Tensor) -> float:
    assert got.shape == wanted.shape
    return (got.double() - wanted.double()).abs().max().item()


@pytest.mark.parametrize(("dynamic", "opset"), [(False, None), (False, NEWEST), (True, OLDEST_OPSET), (True, NEWEST)])
def test_a_network_with_carafe(tmp_path: Path, dynamic: bool, opset: int | None) -> None:
    model, x = Network().eval(), torch.randn(1, 3, 6, 7)
    written = export_onnx(model, x, tmp_path / "model.onnx", dynamic=dynamic, opset=opset)
    assert domains(written.path) == {""}
    assert opset is None or written.opset == opset
    assert written.largest_error < 1e-5
    shapes = [(1, 3, 6, 7), (2, 3, 9, 4), (1, 3, 2, 13)] if dynamic else [(1, 3, 6, 7)]
    for shape in shapes:
        x = torch.randn(shape)
        assert largest(run(written.path, x), model(x).detach()) < 1e-5
    (name, shape), *_ = written.inputs.items()
    assert name == "x"
    assert [isinstance(size, str) for size in shape] == [dynamic, False, dynamic, dynamic]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("normalizer", "padding_mode"), [("sigmoid", "reflect"), ("sigmoid_norm", "replicate")])
def test_options(tmp_path: Path, normalizer: str, padding_mode: str) -> None:
    model = Network(normalizer=normalizer, padding_mode=padding_mode, up_group=2, scale_factor=3)
    assert export_onnx(model, torch.randn(1, 3, 5, 6), tmp_path / "model.onnx").largest_error < 1e-5


def test_sizes_that_are_no_factor(tmp_path: Path) -> None:
    model = ToASize()
    written = export_onnx(model, (torch.randn(1, 4, 5, 6), torch.randn(1, 9, 7, 9)), tmp_path / "model.onnx")
    assert domains(written.path) == {""}
    for source, target in (((5, 6), (7, 9)), ((8, 3), (2, 11)), ((4, 4), (8, 8))):
        pair = torch.randn(2, 4, *source), torch.randn(2, 9, *target)
        assert largest(run(written.path, *pair), model(*pair)) < 1e-5


@pytest.mark.parametrize(
    "options", [{"heads": 2}, {"padding_mode": "shift"}, {"padding_mode": "zeros", "taps": [0, 4]}]
)
def test_attention(tmp_path: Path, options: dict) -> None:
    model = Attends(**options)
    written = export_onnx(model, (torch.randn(1, 4, 7, 9), torch.randn(1, 4, 5, 6)), tmp_path / "model.onnx")
    assert domains(written.path) == {""}
    pair = torch.randn(2, 4, 11, 4), torch.randn(2, 4, 4, 7)
    assert largest(run(written.path, *pair), model(*pair)) < 1e-5


@pytest.mark.slow
def test_one_and_three_axes(tmp_path: Path) -> None:
    for dims in (1, 3):
        model = karaffe.CARAFE(4, compressed_channels=4, up_kernel=3, dims=dims)
        assert export_onnx(model, torch.randn(1, 4, *(4,) * dims), tmp_path / "model.onnx").largest_error < 1e-5


def test_half_precision_runs(tmp_path: Path) -> None:
    model = Network().eval()
    written = export_onnx(model.half(), torch.randn(1, 3, 6, 7).half(), tmp_path / "model.onnx")
    x = torch.randn(1, 3, 8, 5)
    got = run(written.path, x.half())
    assert got.dtype == torch.float16
    assert largest(got, model.float()(x).detach()) < 5e-3


def test_openvino_gives_the_same(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    model, x = Network().eval(), torch.randn(1, 3, 6, 7)
    export_onnx(model, x, tmp_path / "model.onnx")
    # OpenVINO's own choice of precision is bfloat16 where the processor has it
    compiled = openvino.Core().compile_model(tmp_path / "model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for shape in ((1, 3, 6, 7), (2, 3, 9, 4)):
        x = torch.randn(shape)
        got = torch.from_numpy(np.array(compiled(x.numpy())[0]))
        assert largest(got, model(x).detach()) < 1e-5


def test_the_mode_of_every_module_is_left_as_it_was(tmp_path: Path) -> None:
    model = Network().train()
    model.after.eval()
    export_onnx(model, torch.randn(1, 3, 4, 5), tmp_path / "model.onnx", dynamic=False)
    assert model.training
    assert model.up.training
    assert not model.after.training


class Unsupported(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x).real


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return sum(x[:, :, row] for row in range(x.shape[2]))


X = torch.randn(1, 3, 4, 5)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda path: export_onnx(Network(), "x", path), errors.ArgumentError, "example must be a tensor"),
        (lambda path: export_onnx(Network(), (), path), errors.ArgumentError, "example must be a tensor"),
        (lambda path: export_onnx(Network(), X[0, 0], path), errors.ShapeError, r"sizes of 2 or more .*\(4, 5\)"),
        (lambda path: export_onnx(Network(), X[..., :1], path), errors.ShapeError, r"sizes of 2 or more"),
        (lambda path: export_onnx(Network(), X, path, opset=17), errors.ArgumentError, r"from 18 to .*got opset=17"),
        (lambda path: export_onnx(Network(), X, path, opset=NEWEST + 1), errors.ArgumentError, r"opset must be"),
        (lambda path: export_onnx(Network(), X, path / "no" / "folder"), errors.FileError, "cannot write"),
        (lambda path: export_onnx(Unsupported(), X[..., :4], path), errors.ArgumentError, "cannot export Unsupported"),
        (lambda path: export_onnx(Fixed(), X, path), errors.ArgumentError, r"fixes axes \[2\] of input 'x'"),
    ],
)
def test_wrong_argument(tmp_path: Path, call, kind: type[Exception], words: str) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(kind, match=words):
        call(path)
    assert not list(tmp_path.iterdir())


def test_numbers_that_differ_are_an_error_and_leave_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("before")
    monkeypatch.setitem(karaffe.export.TOLERANCE, torch.float32, -1.0)
    with pytest.raises(errors.KaraffeError, match="differs from torch's"):
        export_onnx(Network(), X, path, dynamic=False)
    assert path.read_text() == "before"

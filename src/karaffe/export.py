"""Models to ONNX files that hold standard operators alone, and the check that a runtime gives the same numbers."""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from karaffe.errors import ArgumentError, BackendError, FileError, KaraffeError, ShapeError

OLDEST_OPSET = 18
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class OnnxExport:
    """What was written.

    Attributes:
        path: the file.
        opset: version of the standard operator set that it uses.
        nodes: number of operators.
        inputs: name and shape of every input; a str in a shape is a dynamic axis.
        largest_error: largest difference of onnxruntime's output from torch's on the example, relative to the
            largest value or one; ``None`` where onnxruntime is not installed.
    """

    path: Path
    opset: int
    nodes: int
    inputs: dict[str, tuple[int | str, ...]]
    largest_error: float | None


def export_onnx(
    model: nn.Module,
    example: Tensor | Sequence[Tensor],
    path: str | os.PathLike[str],
    *,
    dynamic: bool = True,
    opset: int | None = None,
) -> OnnxExport:
    """Write ``model`` as one ONNX file, in evaluation mode, and compare it with torch where onnxruntime is installed.

    The operators of :mod:`karaffe.ops` become standard ones by the formula that specifies them.

    Args:
        model: its forward takes the example's tensors; left in the mode it was in.
        example: one input tensor or several, ``(N, C, *sizes)``, of any size the model takes.
        path: the file to write; replaced if it exists, and left as it was if anything fails.
        dynamic: batch and spatial axes may differ from the example's at run time. Axes of size one in the example
            cannot be told from constants: the batch is doubled for tracing, other axes must be two or more.
        opset: version of the standard operator set, 18 or newer; by default torch's choice.

    Returns:
        What was written, and how far onnxruntime is from torch.

    Raises:
        ArgumentError: an argument out of range, an axis that cannot be dynamic, or a model that torch cannot export.
        BackendError: the packages ``onnx`` and ``onnxscript`` are missing.
        KaraffeError: onnxruntime's numbers are not torch's; nothing is written.
        FileError: the file cannot be written.
    """
    tensors = _examples(example, dynamic)
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendError(f"exporting needs {' and '.join(missing)}: pip install 'karaffe[export]'")
    _check_opset(opset)
    with _evaluating(model), torch.no_grad():
        program = _exported(model, tensors, dynamic, opset)
        wanted = model(*tensors)
    _check_operators(program)
    inputs = {i.name: tuple(d if isinstance(d, int) else str(d) for d in i.shape) for i in program.model.graph.inputs}
    if dynamic:
        _check_dynamic(inputs)
    target = Path(path)
    with _atomic(target) as file:
        program.save(file, external_data=False)
        error = _difference(file, tensors, wanted)
    used = program.model.opset_imports[""]
    return OnnxExport(target, used, program.model.graph.num_nodes(), inputs, error)


def _examples(example: Tensor | Sequence[Tensor], dynamic: bool) -> tuple[Tensor, ...]:
    tensors = (example,) if isinstance(example, Tensor) else tuple(example)
    if not tensors or not all(isinstance(t, Tensor) for t in tensors):
        raise ArgumentError(f"example must be a tensor or several; got {type(example).__name__}")
    if not dynamic:
        return tensors
    for t in tensors:
        if t.dim() < 3 or min(t.shape[2:]) < 2:
            raise ShapeError(
                f"example must be (batch, channels, *sizes) with sizes of 2 or more to be exported with dynamic "
                f"axes; got {tuple(t.shape)}"
            )
    return tuple(t if t.shape[0] > 1 else t.repeat(2, *[1] * (t.dim() - 1)) for t in tensors)


def _check_opset(opset: int | None) -> None:
    from onnx.defs import onnx_opset_version

    newest = onnx_opset_version()
    if opset is not None and (not isinstance(opset, int) or not OLDEST_OPSET <= opset <= newest):
        raise ArgumentError(f"opset must be an int from {OLDEST_OPSET} to {newest}; got {opset=}")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _exported(model: nn.Module, tensors: tuple[Tensor, ...], dynamic: bool, opset: int | None) -> Any:
    # torch.export first: the ONNX exporter's own tracing lets a model fix an axis without saying so
    free = torch.export.Dim.AUTO
    shapes = tuple({d: free for d in range(t.dim()) if d != 1} for t in tensors) if dynamic else None
    chatter = logging.getLogger("torch.onnx")
    level = chatter.level
    chatter.setLevel(logging.ERROR)  # it names every absent third-party library
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's exporter about torch
            program = torch.export.export(model, tensors, dynamic_shapes=shapes)
            return torch.onnx.export(program, dynamo=True, opset_version=opset, verbose=False)
    except Exception as error:  # whatever the model's own code raises under tracing, too
        raise ArgumentError(f"torch cannot export {type(model).__name__}: {error}") from error
    finally:
        chatter.setLevel(level)


def _check_dynamic(inputs: dict[str, tuple[int | str, ...]]) -> None:
    for name, shape in inputs.items():
        fixed = [axis for axis, size in enumerate(shape) if axis != 1 and isinstance(size, int)]
        if fixed:
            raise ArgumentError(
                f"the model fixes axes {fixed} of input {name!r} at the example's sizes {shape}; "
                "export it with dynamic=False"
            )


def _check_operators(program: Any) -> None:
    strange = sorted({f"{n.domain}::{n.op_type}" for n in program.model.graph if n.domain not in ("", "ai.onnx")})
    if strange or program.model.functions:
        raise ArgumentError(f"the model holds operators that ONNX has not: {', '.join(strange) or 'functions'}")


@contextmanager
def _atomic(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place at the end, or is removed."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error
    os.close(handle)
    try:
        yield Path(name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _difference(file: Path, tensors: tuple[Tensor, ...], wanted: Tensor | Sequence[Tensor]) -> float | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    feeds = {i.name: t.detach().cpu().numpy() for i, t in zip(session.get_inputs(), tensors, strict=True)}
    expected = (wanted,) if isinstance(wanted, Tensor) else tuple(wanted)
    worst = 0.0
    for got, want in zip(session.run(None, feeds), expected, strict=True):
        want = want.detach().cpu()
        largest = max(want.double().abs().max().item(), 1.0)
        error = (torch.from_numpy(got).double() - want.double()).abs().max().item() / largest
        if not error <= TOLERANCE[want.dtype]:
            raise KaraffeError(
                f"onnxruntime's output differs from torch's by {error:.1e} of the largest value; "
                f"{TOLERANCE[want.dtype]:.0e} is accepted for {want.dtype}"
            )
        worst = max(worst, error)
    return worst

"""``karaffe export``: a network as an ONNX file of standard operators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from karaffe.cli.common import Json, Overwrite, Seed, console, print_json
from karaffe.cli.factories import build_network, parse_shape
from karaffe.errors import ArgumentError, FileError
from karaffe.export import export_onnx
from karaffe.models import create_model


def export(
    model: Annotated[str, typer.Argument(help="A name that `karaffe models` lists, or MODULE:FACTORY.")],
    onnx: Annotated[Path, typer.Option("--onnx", help="The file to write.")],
    scale: Annotated[int, typer.Option(min=1, help="Factor, for a model by name.")] = 2,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="Shape of an input, such as 1,3,512,512, for MODULE:FACTORY.")
    ] = None,
    opset: Annotated[int | None, typer.Option(help="Standard operator set (default: torch's choice).")] = None,
    static: Annotated[bool, typer.Option("--static", help="Fix batch and sizes to the example's.")] = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Export a network to ONNX, and say how far onnxruntime's numbers are from torch's."""
    torch.manual_seed(seed)
    if onnx.exists() and not overwrite:
        raise FileError(f"{onnx} exists; give --overwrite to replace it")
    if ":" in model:
        if not inputs:
            raise ArgumentError("MODULE:FACTORY needs --input SHAPE, once an input; got none")
        example = [torch.randn(parse_shape(text)) for text in inputs]
        network: torch.nn.Module = build_network(model)
    else:
        network = create_model(model, scale)
        example = [torch.rand(parse_shape(text)) for text in inputs or ["1,1,48,64"]]
    written = export_onnx(network, example, onnx, dynamic=not static, opset=opset)
    if as_json:
        print_json(
            {
                "path": written.path,
                "opset": written.opset,
                "nodes": written.nodes,
                "inputs": written.inputs,
                "largest_error": written.largest_error,
            }
        )
        return
    checked = "not checked: onnxruntime is not installed"
    if written.largest_error is not None:
        checked = f"onnxruntime differs from torch by {written.largest_error:.1e} of the largest value"
    console.print(f"{written.path}: opset {written.opset}, {written.nodes} nodes; {checked}", highlight=False)
    for name, shape in written.inputs.items():
        console.print(f"  {name}: {' x '.join(map(str, shape))}", highlight=False)

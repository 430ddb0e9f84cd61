"""Weights of super-resolution networks as safetensors files that say which network they are of."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from karaffe.errors import ArgumentError, FileError


def save_weights(model: nn.Module, path: str | os.PathLike[str], *, name: str, scale: int) -> None:
    """Write the ``state_dict`` of ``model`` to ``path``, with its ``name`` and ``scale`` in the file's metadata.

    The file appears whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    try:
        save_file(tensors, scratch, metadata={"format": "karaffe", "model": name, "scale": str(scale)})
        os.replace(scratch, path)
    except (OSError, SafetensorError) as error:
        scratch.unlink(missing_ok=True)
        raise FileError(f"cannot write weights to {path}: {error}") from error


def load_weights(model: nn.Module, path: str | os.PathLike[str], *, name: str, scale: int) -> None:
    """Load the weights of network ``name`` at ``scale`` from ``path`` into ``model``, in the model's own dtype.

    Raises:
        FileError: the file is missing, truncated, or not a safetensors file.
        ArgumentError: the file holds weights of another network or scale, or tensors of other names or shapes.
    """
    tensors, found = read_weights(path)
    if found != (name, str(scale)):
        raise ArgumentError(f"{path} holds weights of model {found[0]!r} at scale {found[1]}, not {name!r} at {scale}")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ArgumentError(f"the weights in {path} do not fit {name!r} at scale {scale}: {error}") from error


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], tuple[str | None, str | None]]:
    """Read a file of weights: its tensors, and the (name, scale) of the network they are of.

    Raises:
        FileError: the file is missing, truncated, or not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FileError(f"cannot read weights from {path}: {error}") from error
    return tensors, (metadata.get("model"), metadata.get("scale"))

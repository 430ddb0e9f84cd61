"""Weights of super-resolution networks as safetensors files that say which network they are of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from karaffe.errors import ArgumentError, FileError


def save_weights(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    name: str,
    scale: int,
    options: Mapping[str, bool | int | float | str] | None = None,
) -> None:
    """Write the ``state_dict`` of ``model`` to ``path``, with what :func:`create_model` makes it from as metadata.

    The file appears whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    metadata = {"format": "karaffe", "model": name, "scale": str(scale)}
    if options:
        metadata["options"] = json.dumps(dict(options))
    write_tensors(path, model.state_dict(), metadata)


def load_weights(model: nn.Module, path: str | os.PathLike[str], *, name: str, scale: int) -> None:
    """Load the weights of network ``name`` at ``scale`` from ``path`` into ``model``, in the model's own dtype.

    Raises:
        FileError: the file is missing, truncated, or not a safetensors file.
        ArgumentError: the file holds weights of another network or scale, or tensors of other names or shapes.
    """
    tensors, metadata = read_tensors(path)
    found = (metadata.get("model"), metadata.get("scale"))
    if found != (name, str(scale)):
        raise ArgumentError(f"{path} holds weights of model {found[0]!r} at scale {found[1]}, not {name!r} at {scale}")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ArgumentError(f"the weights in {path} do not fit {name!r} at scale {scale}: {error}") from error


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file under a temporary name, force it to the disk, and rename it to ``path``.

    Raises:
        FileError: the file cannot be written.
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, dict(metadata))
    try:
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise FileError(f"cannot write {path}: {error}") from error


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        FileError: the file is missing, truncated, or not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FileError(f"cannot read {path}: {error}") from error

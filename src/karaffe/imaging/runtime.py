"""Run networks in onnxruntime: exported once, kept in the user's cache, the same image to 1e-4.

A file in the cache (``$XDG_CACHE_HOME/karaffe``, by default ``~/.cache/karaffe``) is named by a digest of the network,
its weights and the versions that made it; it appears whole or not at all. Later runs need onnxruntime alone.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from karaffe.errors import ArgumentError, unknown_name
from karaffe.export import export_onnx
from karaffe.imaging.libraries import library
from karaffe.version import __version__

RUNTIMES = ("torch", "onnx")
_EXAMPLE = (2, 24, 20)


def check_runtime(runtime: str) -> None:
    """Raise unless ``runtime`` is one of :data:`RUNTIMES`.

    Raises:
        UnknownNameError: another name.
        BackendError: onnxruntime is asked for and not installed.
    """
    if runtime not in RUNTIMES:
        raise unknown_name("runtime", runtime, RUNTIMES)
    if runtime == "onnx":
        library("onnxruntime", "export")


class OnnxFunction:
    """A module on ``(N, 1 or 3, H, W)`` as onnxruntime computes it, in float32 on the CPU.

    Args:
        module: A network in evaluation mode.

    Raises:
        BackendError: onnxruntime is not installed, or onnx and onnxscript where the network is not in the cache yet.
        ArgumentError: The module is not in float32 on the CPU, or torch cannot export it.
    """

    def __init__(self, module: nn.Module) -> None:
        wrong = [t for t in module.parameters() if (t.dtype, t.device.type) != (torch.float32, "cpu")]
        if wrong:
            raise ArgumentError(
                f"runtime 'onnx' computes in float32 on the CPU; the network is {wrong[0].dtype} on {wrong[0].device}"
            )
        self._module = module
        self._sessions: dict[int, Any] = {}

    def __call__(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        if channels not in self._sessions:
            self._sessions[channels] = _session(self._module, channels)
        session = self._sessions[channels]
        feed = {session.get_inputs()[0].name: x.detach().cpu().float().contiguous().numpy()}
        return torch.from_numpy(session.run(None, feed)[0]).to(x.dtype)


def _session(module: nn.Module, channels: int) -> Any:
    name = f"{_digest(module, channels)}.onnx"
    with tempfile.TemporaryDirectory() as scratch:
        path = (_cache() or Path(scratch)) / name
        if path.exists():
            try:
                return _load(path)
            except Exception:  # a file that is no network any more, whatever onnxruntime calls it: made again
                path.unlink(missing_ok=True)
        batch, height, width = _EXAMPLE
        export_onnx(module, torch.rand(batch, channels, height, width), path)
        return _load(path)


def _load(path: Path) -> Any:
    onnxruntime = library("onnxruntime", "export")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _cache() -> Path | None:
    """Return the folder for exported networks; None where it cannot be written."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "karaffe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _digest(module: nn.Module, channels: int) -> str:
    digest = hashlib.sha256(f"{__version__} {torch.__version__} {channels} {module!r}".encode())
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

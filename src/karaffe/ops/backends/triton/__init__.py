"""The Triton kernels for NVIDIA and AMD GPUs: whether they can serve, and their place in the dispatcher.

Triton is imported at the first call and not before.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch

CONTRACTIONS = ("reassemble", "correlate", "scatter")
FUSED = ("reassemble_logits", "reassemble_logits_backward", "local_attention", "local_attention_backward")


def why_not() -> str | None:
    """The reason why the kernels cannot be used; ``None`` if they can."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch is built without CUDA and ROCm"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed: pip install 'karaffe[triton]'"
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    return None


def _kernel(module: str, name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        launchers = importlib.import_module(f"karaffe.ops.backends.triton.{module}")
        return getattr(launchers, name)(*arguments)

    return call


def register(library: torch.library.Library, names: Sequence[str]) -> None:
    """Give the operators their kernels on GPUs, where this torch and an installed triton can have any."""
    built_for_gpus = torch.version.cuda is not None or torch.version.hip is not None
    if not built_for_gpus or importlib.util.find_spec("triton") is None:
        return
    for name in names:
        library.impl(name, _kernel("fused" if name in FUSED else "launch", name), "CUDA")

"""The Triton kernels for NVIDIA and AMD GPUs: whether they can serve, and their place in the dispatcher.

Triton is imported at the first call and not before.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

OPERATORS = ("reassemble", "correlate", "scatter")


def why_not() -> str | None:
    """The reason why the kernels cannot be used; ``None`` if they can."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch is built without CUDA and ROCm"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed: pip install 'karaffe[triton]'"
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    return None


def _kernel(name: str) -> Callable[..., Tensor]:
    def call(*arguments: Any) -> Tensor:
        from karaffe.ops.backends.triton import launch

        return getattr(launch, name)(*arguments)

    return call


def register(library: torch.library.Library) -> None:
    """Give the operators their kernels on GPUs, where this torch and an installed triton can have any."""
    built_for_gpus = torch.version.cuda is not None or torch.version.hip is not None
    if not built_for_gpus or importlib.util.find_spec("triton") is None:
        return
    for name in OPERATORS:
        library.impl(name, _kernel(name), "CUDA")

"""Content-aware feature upsampling for PyTorch.

The operators and the upsamplers are here at once; surgery, and what works on files, measures, draws or trains, is
imported when it is first named, so ``import karaffe`` costs little more than ``import torch``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from karaffe import errors, ops, upsamplers
from karaffe.errors import KaraffeError
from karaffe.upsamplers import (
    CARAFE,
    CARAFEPack,
    Upsampler,
    create_upsampler,
    describe_upsampler,
    list_upsamplers,
    load_checkpoint,
)
from karaffe.version import __version__

if TYPE_CHECKING:
    from karaffe.evaluation import compare
    from karaffe.export import export_onnx
    from karaffe.imaging import upscale
    from karaffe.surgery import (
        find_upsamplers,
        load_original_state_dict,
        replace_upsamplers,
        restore_upsamplers,
    )

__all__ = [
    "CARAFE",
    "CARAFEPack",
    "KaraffeError",
    "Upsampler",
    "__version__",
    "compare",
    "create_upsampler",
    "describe_upsampler",
    "errors",
    "export_onnx",
    "find_upsamplers",
    "list_upsamplers",
    "load_checkpoint",
    "load_original_state_dict",
    "ops",
    "replace_upsamplers",
    "restore_upsamplers",
    "surgery",
    "upsamplers",
    "upscale",
]

_LAZY = {
    "export_onnx": "karaffe.export",
    "compare": "karaffe.evaluation",
    "find_upsamplers": "karaffe.surgery",
    "load_original_state_dict": "karaffe.surgery",
    "replace_upsamplers": "karaffe.surgery",
    "restore_upsamplers": "karaffe.surgery",
    "upscale": "karaffe.imaging",
}
_PACKAGES = ("evaluation", "imaging", "models", "surgery", "training", "visualize")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"karaffe.{name}")
    raise AttributeError(f"module 'karaffe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_PACKAGES})

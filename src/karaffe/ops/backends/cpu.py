"""The native CPU kernels: loading them, and the reason where they cannot be.

``KARAFFE_SIMD`` (``avx512``, ``avx2``, ``neon``, ``portable``) forces an instruction set, ``KARAFFE_LIBRARY`` names
another file of the library than the installed one; both are read once, here.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from karaffe.errors import BackendError
from karaffe.ops import dispatch

OLDEST_TORCH = (2, 10)
_SUFFIX = {"darwin": "dylib", "win32": "dll"}.get(sys.platform, "so")
_INSTALLED = Path(__file__).parents[2] / "_native" / f"libkaraffe_cpu.{_SUFFIX}"
LIBRARY = Path(os.environ.get("KARAFFE_LIBRARY") or _INSTALLED)

_native: ctypes.CDLL | None = None
_reason: str | None = "karaffe.ops has not been imported yet"


def _try_to_load() -> str | None:
    """Load the library; the reason where that fails."""
    global _native
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        return f"torch is {torch.__version__}, and the native library needs {oldest} or newer"
    if not LIBRARY.is_file():
        return f"the native library is not built: there is no {LIBRARY}"
    try:
        torch.ops.load_library(LIBRARY)
        _native = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        return f"{LIBRARY} does not load: {error}"
    _native.karaffe_simd.restype = ctypes.c_char_p
    _native.karaffe_select_simd.argtypes = [ctypes.c_char_p]
    return None


def fused_logits_serves(
    input: Tensor, kernel_size: Sequence[int], scale_factor: Sequence[int], dilation: Sequence[int], padding_mode: str
) -> bool:
    """Whether the fused kernels compute this: two axes, square kernels of 3, 5 or 7, one factor up to 4, no mask, and
    not float64, which is for checking."""
    if input.dim() != 4 or input.dtype == torch.float64 or padding_mode == "mask":
        return False
    (k, k2), (s, s2) = kernel_size, scale_factor
    return k == k2 and s == s2 and k in (3, 5, 7) and 1 <= s <= 4 and all(d == 1 for d in dilation)


def _register_fused_logits() -> None:
    """``reassemble_logits`` and its backward on the CPU: fused kernels where they serve, else the formulas of native
    operators."""
    from karaffe.ops import fused
    from karaffe.ops.backends import reference_logits

    arguments = "Tensor input, Tensor logits, int[] kernel_size, int[] scale_factor, int groups, "
    options = "str padding_mode, str normalizer"
    dispatch.define(
        (
            f"fused_logits({arguments}{options}) -> Tensor",
            f"fused_logits_backward(Tensor grad, {arguments}{options}) -> (Tensor, Tensor)",
        )
    )
    names = torch.ops.karaffe

    def register(op: dispatch.Operator, tensors: int, native: Callable[..., Any], formula: Callable[..., Any]) -> None:
        complete = dispatch.completed(op)

        def kernel(*arguments: Any) -> Any:
            arguments = complete(arguments)
            *_, input, _ = of = arguments[:tensors]
            kernel_size, scale_factor, groups, dilation, padding_mode, normalizer = arguments[tensors:]
            if fused_logits_serves(input, kernel_size, scale_factor, dilation, padding_mode):
                return native(*of, kernel_size, scale_factor, groups, padding_mode, normalizer)
            return formula(fused.OPERATORS, *arguments)

        dispatch.library.impl(op._schema.name.split("::")[1], kernel, "CPU")

    register(fused.REASSEMBLE_LOGITS, 2, names.fused_logits.default, reference_logits.reassemble_logits)
    register(
        fused.REASSEMBLE_LOGITS_BACKWARD,
        3,
        names.fused_logits_backward.default,
        reference_logits.reassemble_logits_backward,
    )


def load() -> None:
    """Load the native library, once; warn, once, where it cannot be.

    Raises:
        BackendError: ``KARAFFE_SIMD`` names an instruction set that this processor or this build has not.
    """
    global _reason
    if _native is not None:
        return
    _reason = _try_to_load()
    if _native is None:
        warnings.warn(
            f"karaffe computes with its slower plain-PyTorch formula: {_reason}", RuntimeWarning, stacklevel=2
        )
        return
    wanted = os.environ.get("KARAFFE_SIMD", "")
    if wanted and not _native.karaffe_select_simd(wanted.encode()):
        raise BackendError(
            f"KARAFFE_SIMD={wanted!r} is not to be had here; unset it for the best ({simd()}), or name one of "
            "avx512, avx2, neon, portable that the processor has"
        )
    _register_fused_logits()


def why_not() -> str | None:
    """The reason why the native kernels cannot be used; ``None`` if they can."""
    return _reason


def simd() -> str | None:
    """The instruction set in use: ``"avx512"``, ``"avx2"``, ``"neon"``, ``"portable"``; ``None``: no library."""
    return None if _native is None else _native.karaffe_simd().decode()

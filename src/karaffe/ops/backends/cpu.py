"""The native CPU kernels: loading them, and the reason where they cannot be.

``KARAFFE_SIMD`` (``avx512``, ``avx2``, ``portable``) forces an instruction set; it is read once, here.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from pathlib import Path

import torch

from karaffe.errors import BackendError

OLDEST_TORCH = (2, 10)
_SUFFIX = {"darwin": "dylib", "win32": "dll"}.get(sys.platform, "so")
LIBRARY = Path(__file__).parents[2] / "_native" / f"libkaraffe_cpu.{_SUFFIX}"

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
            "avx512, avx2, portable that the processor has"
        )


def why_not() -> str | None:
    """The reason why the native kernels cannot be used; ``None`` if they can."""
    return _reason


def simd() -> str | None:
    """The instruction set in use: ``"avx512"``, ``"avx2"`` or ``"portable"``; ``None`` without the library."""
    return None if _native is None else _native.karaffe_simd().decode()

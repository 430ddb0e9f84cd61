"""The native CPU kernels: loading them, and the reason where they cannot be."""

from __future__ import annotations


def load() -> None:
    """Load the native library, once."""


def why_not() -> str | None:
    """The reason why the native kernels cannot be used; ``None`` if they can."""
    return "the native library is not built"

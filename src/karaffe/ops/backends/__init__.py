"""Who computes an operator, and why another cannot.

The dispatcher chooses by device: a native kernel where one is registered, else the formula. ``backend=`` or
:func:`use_backend` forces one; a backend that cannot serve says why, and nothing falls back silently.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from karaffe.errors import BackendError, unknown_name
from karaffe.ops.backends import cpu, triton

__all__ = ["Backend", "backends", "use_backend", "why_not"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Backend:
    """One way of computing the operators.

    Attributes:
        name: ``"reference"``, ``"cpu"`` or ``"triton"``.
        device: device type it serves; ``None``: every one.
        summary: what it is.
        reason: why it cannot be used here; ``None`` if it can.
    """

    name: str
    device: str | None
    summary: str
    reason: str | None

    @property
    def available(self) -> bool:
        return self.reason is None


_KNOWN: dict[str, tuple[str | None, str, Callable[[], str | None]]] = {
    "reference": (None, "plain PyTorch, the specification; any device", lambda: None),
    "cpu": ("cpu", "C++ SIMD kernels", cpu.why_not),
    "triton": ("cuda", "Triton kernels for NVIDIA and AMD GPUs", triton.why_not),
}
_forced: str | None = None


def backends() -> list[Backend]:
    """Every backend with the reason where it is unavailable."""
    return [Backend(name, device, summary, reason()) for name, (device, summary, reason) in _KNOWN.items()]


def why_not(name: str, device: str) -> str | None:
    """The reason why backend ``name`` cannot serve tensors of ``device``; ``None`` if it can.

    Raises:
        UnknownNameError: no backend of that name.
    """
    if name not in _KNOWN:
        raise unknown_name("backend", name, _KNOWN)
    serves, _, reason = _KNOWN[name]
    if serves is not None and serves != device:
        return f"it serves {serves} tensors, and these are on {device}"
    return reason()


@contextlib.contextmanager
def use_backend(name: str | None) -> Iterator[None]:
    """Force a backend for every operator call inside the ``with`` block; ``None`` gives the choice back.

    It holds for the whole process: other threads that call operators meanwhile are forced too.

    Raises:
        UnknownNameError: no backend of that name.
    """
    global _forced
    if name is not None and name not in _KNOWN:
        raise unknown_name("backend", name, _KNOWN)
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


def implementation(
    backend: str | None, x: Tensor, operator: Callable[..., Result], formula: Callable[..., Result]
) -> Callable[..., Result]:
    """What to call: the dispatched ``operator``, or its ``formula`` where the reference is asked for."""
    name = backend if backend is not None else _forced
    if name is None:
        return operator
    reason = why_not(name, x.device.type)
    if reason is not None:
        raise BackendError(f"backend {name!r} cannot be used: {reason}")
    return formula if name == "reference" else operator

"""The generated class of a module whose code was rewritten: a subclass of its own class, rebuilt when unpickled.

The instance's ``__class__`` is set to it, so the module keeps its identity, attributes, hooks and parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from karaffe.surgery.rewrite import Edit, rewritten_forward

CHILD = "karaffe"


def original_class(module: nn.Module) -> type:
    """The class before surgery."""
    return getattr(type(module), "_karaffe_base", type(module))


def is_replaced(module: nn.Module) -> bool:
    return hasattr(type(module), "_karaffe_base")


def edits_of(module: nn.Module) -> tuple[Edit, ...]:
    return getattr(type(module), "_karaffe_edits", ())


@functools.cache
def rewritten_class(base: type, edits: tuple[Edit, ...]) -> type:
    """A subclass of ``base`` whose ``forward`` has the ``edits``.

    Raises:
        SurgeryError: the code is not there, changed, or cannot be rewritten.
    """
    return _subclass(base, edits, {"forward": rewritten_forward(base, list(edits))})


@functools.cache
def swapped_class(base: type) -> type:
    """A subclass of an upsampling module's class that asks its child ``karaffe`` instead."""
    forward = _resizing if issubclass(base, nn.Upsample) else _beside(base)
    return _subclass(base, (), {"forward": forward, "_karaffe_swapped": True})


def _resizing(self: nn.Upsample, input: Tensor, guide: Tensor | None = None) -> Tensor:
    return self.karaffe(  # type: ignore[operator]
        F.interpolate,
        guide,
        input,
        size=self.size,
        scale_factor=self.scale_factor,
        mode=self.mode,
        align_corners=self.align_corners,
        recompute_scale_factor=self.recompute_scale_factor,
    )


def _beside(base: Any) -> Any:
    def forward(self: nn.Module, *args: Any, guide: Tensor | None = None, **kwargs: Any) -> Tensor:
        return self.karaffe(functools.partial(base.forward, self), guide, *args, **kwargs)  # type: ignore[operator]

    return forward


def _subclass(base: type, edits: tuple[Edit, ...], members: dict[str, Any]) -> type:
    names = ("__module__", "__qualname__", "__doc__")
    members |= {name: getattr(base, name) for name in names}
    members |= {"_karaffe_base": base, "_karaffe_edits": edits, "__reduce_ex__": _reduce}
    if issubclass(base, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        members |= _without_child(base)
    metaclass: Any = type(base)
    return metaclass(base.__name__, (base,), members)


def _reduce(self: nn.Module, protocol: Any) -> Any:
    cls: Any = type(self)
    parts = super(cls, self).__reduce_ex__(protocol)
    return (_rebuild, (cls._karaffe_base, cls._karaffe_edits), *parts[2:])


def _rebuild(base: type, edits: tuple[Edit, ...]) -> nn.Module:
    cls: Any = rewritten_class(base, edits) if edits else swapped_class(base)
    return cls.__new__(cls)


def _without_child(base: type) -> dict[str, Any]:
    """Containers that loop over their own children must not meet the new one."""

    def own(self: nn.Module) -> dict[str, Any]:
        return {name: module for name, module in self._modules.items() if name != CHILD}

    if issubclass(base, nn.ModuleDict):
        return {
            "__iter__": lambda self: iter(own(self)),
            "__len__": lambda self: len(own(self)),
            "keys": lambda self: own(self).keys(),
            "values": lambda self: own(self).values(),
            "items": lambda self: own(self).items(),
        }

    def iterate(self: nn.Module) -> Iterator[Any]:
        return iter(own(self).values())

    return {"__iter__": iterate, "__len__": lambda self: len(own(self))}

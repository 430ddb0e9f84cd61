"""Upsamplers by name in the yaml files that describe ultralytics' networks.

    from karaffe.integrations import ultralytics
    ultralytics.register()

and then ``- [-1, 1, CARAFE, [2]]`` where the yaml has ``- [-1, 1, nn.Upsample, [None, 2, "nearest"]]``.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, ClassVar

from torch import Tensor, nn

from karaffe.errors import ArgumentError, BackendError
from karaffe.upsamplers import Upsampler, create_upsampler


class YamlUpsampler(nn.Module):
    """An upsampler whose channels the yaml does not say: made at its first call.

    ultralytics runs every network once while it builds it, to learn the strides, so the parameters are there before
    weights are loaded or an optimizer is made.

    Args:
        scale_factor: the first argument in the yaml's list.
        options: a mapping, the second: the method's own options, such as ``{up_kernel: 3}``.
    """

    method: ClassVar[str]

    def __init__(self, scale_factor: int | float = 2, options: dict[str, Any] | None = None) -> None:
        super().__init__()
        if options is not None and not isinstance(options, dict):
            raise ArgumentError(
                f"{type(self).__name__} takes a factor and a mapping of options in the yaml; got {options!r}"
            )
        self.scale_factor, self.options = scale_factor, dict(options or {})
        self.upsampler: Upsampler | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.upsampler is None:
            made = create_upsampler(self.method, x.shape[1], self.scale_factor, **self.options)
            self.upsampler = made.to(x).train(self.training)
        enlarged: Tensor = self.upsampler(x)
        return enlarged


class CARAFE(YamlUpsampler):
    """``carafe`` in a yaml."""

    method = "carafe"


class DySample(YamlUpsampler):
    """``dysample`` in a yaml."""

    method = "dysample"


class Deconv(YamlUpsampler):
    """``deconv`` in a yaml."""

    method = "deconv"


class SubPixel(YamlUpsampler):
    """``pixel-shuffle`` in a yaml."""

    method = "pixel-shuffle"


class ResizeConv(YamlUpsampler):
    """``resize-conv`` in a yaml."""

    method = "resize-conv"


NAMES = {cls.__name__: cls for cls in (CARAFE, DySample, Deconv, SubPixel, ResizeConv)}


def register() -> list[str]:
    """Let ultralytics' yaml files name the upsamplers; a second call changes nothing.

    Returns:
        The names: ``CARAFE``, ``DySample``, ``Deconv``, ``SubPixel``, ``ResizeConv``.

    Raises:
        BackendError: ultralytics cannot be imported.
        ArgumentError: ultralytics has another class of one of the names.
    """
    tasks = _tasks()
    for name, cls in NAMES.items():
        taken = getattr(tasks, name, cls)
        if taken is not cls:
            raise ArgumentError(f"ultralytics has a {name!r} of its own, {taken!r}")
    for name, cls in NAMES.items():
        setattr(tasks, name, cls)
    return list(NAMES)


def _tasks() -> ModuleType:
    try:
        return importlib.import_module("ultralytics.nn.tasks")
    except ImportError as error:
        raise BackendError(f"ultralytics cannot be imported: {error}") from error

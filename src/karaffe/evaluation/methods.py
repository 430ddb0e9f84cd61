"""A model made ready to enlarge image after image, and its time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from karaffe.errors import ArgumentError
from karaffe.evaluation.images import Image
from karaffe.imaging import upscale
from karaffe.imaging.engine import Tile
from karaffe.models import create_model, describe_model


@dataclass
class Method:
    """One model of one scale.

    Args:
        name: A name of :func:`karaffe.models.list_models`, which is also the label.
        scale: The factor. tile: As in :func:`karaffe.imaging.upscale`.

    Raises:
        UnknownNameError: No such model.
        ArgumentError: The model does not have that scale.
        FileError: Its weights cannot be read.
    """

    name: str
    scale: int
    tile: Tile = "auto"
    _model: str | nn.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        info = describe_model(self.name)
        info.check_scale(self.scale)
        self._model = create_model(self.name, self.scale) if info.learned else self.name
        # What is made at the first call (threads, kernels) is no part of any image's time.
        upscale(np.zeros((16, 16, 3), np.uint8), self.scale, self._model)

    def __call__(self, low: Image) -> tuple[Image, float]:
        """Return ``low`` enlarged, in its dtype, and the seconds of wall clock that this took."""
        start = time.perf_counter()
        enlarged = upscale(low, self.scale, self._model, tile=self.tile)
        return enlarged, time.perf_counter() - start


def make_methods(models: Sequence[str], scale: int, tile: Tile = "auto") -> list[Method]:
    """Return one method a name, in the given order.

    Raises:
        ArgumentError: No name, or one named twice; and as :class:`Method`.
    """
    if isinstance(models, str) or not models or len(set(models)) != len(models):
        raise ArgumentError(f"models must be a sequence of different names, got {models!r}")
    return [Method(name, scale, tile) for name in models]

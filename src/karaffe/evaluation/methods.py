"""What makes the pictures that are compared: a model, or a folder of pictures that another tool made."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import nn

from karaffe.errors import ArgumentError, FileError, ShapeError
from karaffe.evaluation.images import Image, peak, quantize
from karaffe.evaluation.pictures import SUFFIXES, read_picture
from karaffe.imaging import upscale
from karaffe.imaging.engine import Tile
from karaffe.models import describe_model, list_models, open_model


class Method(Protocol):
    """Gives, for each picture, what is compared with the reference."""

    @property
    def name(self) -> str:
        """The label, unique in a comparison."""

    def make(self, picture: str, low: Image, reference: Image) -> tuple[Image, float]:
        """Return the enlarged picture, of the reference's shape and dtype, and the seconds it took (NaN: unknown).

        Args:
            picture: Name of the picture. low: The reduced picture. reference: The original, for its shape only.
        """


@dataclass
class ModelMethod:
    """A super-resolution model.

    Args:
        name: The label, and what :func:`karaffe.models.open_model` is called with unless ``model`` is given.
        scale: The factor. tile: As in :func:`karaffe.imaging.upscale`. model: A network to use instead of a name's.

    Raises:
        UnknownNameError: No such model.
        ArgumentError: The model does not have that scale.
        FileError: Its weights cannot be read.
    """

    name: str
    scale: int
    tile: Tile = "auto"
    model: nn.Module | None = None
    _enlarger: str | nn.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.model is not None:
            self._enlarger = self.model
        else:
            interpolation = self.name in list_models() and not describe_model(self.name).learned
            self._enlarger = self.name if interpolation else open_model(self.name, self.scale)
        # What is made at the first call (threads, kernels) is no part of any image's time.
        upscale(np.zeros((16, 16, 3), np.uint8), self.scale, self._enlarger)

    @property
    def network(self) -> nn.Module | None:
        """The network that enlarges, where there is one: interpolations have none."""
        return self._enlarger if isinstance(self._enlarger, nn.Module) else None

    def make(self, picture: str, low: Image, reference: Image) -> tuple[Image, float]:
        """Return ``low`` enlarged, in its dtype, and the seconds of wall clock."""
        start = time.perf_counter()
        enlarged = upscale(low, self.scale, self._enlarger, tile=self.tile)
        return enlarged, time.perf_counter() - start


@dataclass(frozen=True)
class FolderMethod:
    """Pictures that were made elsewhere, found by the name of the original (the suffix may differ).

    A picture may be larger than the reference by what was cut off to reach a multiple of the scale.

    Raises:
        FileError: ``folder`` is none.
    """

    name: str
    folder: Path
    scale: int

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise FileError(f"cannot read the pictures of {self.name!r}: {self.folder} is no folder")

    @property
    def stems(self) -> dict[str, None]:
        """The names of its pictures, in order, without suffixes and without what :func:`find_by_name` overlooks."""
        marked = re.compile(rf"[_-]?x{self.scale}$")
        files = (p for p in sorted(self.folder.iterdir()) if p.suffix.lower() in SUFFIXES)
        return dict.fromkeys(marked.sub("", path.stem) or path.stem for path in files)

    def read(self, picture: str) -> Image:
        """Return the picture of that name as it is."""
        return read_picture(find_by_name(self.folder, picture, self.scale))

    def make(self, picture: str, low: Image, reference: Image) -> tuple[Image, float]:
        """Return the picture of that name, and NaN for its time."""
        image = self.read(picture)
        extra = [mine - wanted for mine, wanted in zip(image.shape[:2], reference.shape[:2], strict=True)]
        if not all(0 <= e < self.scale for e in extra):
            raise ShapeError(
                f"{picture}: the picture of {self.name!r} has shape {image.shape}, the reference {reference.shape}"
            )
        if image.ndim != reference.ndim:
            raise ShapeError(f"{picture}: one of the picture of {self.name!r} and the reference is grey, one RGB")
        image = image[: reference.shape[0], : reference.shape[1]]
        if image.dtype == reference.dtype:
            return image, math.nan
        return quantize(image.astype(np.float64) * (peak(reference) / peak(image)), reference.dtype), math.nan


def find_by_name(folder: Path, picture: str, scale: int) -> Path:
    """Return the file in ``folder`` of the stem of ``picture``, also with ``xSCALE``, ``_xSCALE`` or ``-xSCALE`` added.

    Raises:
        FileError: There is none, or more than one.
    """
    stem = Path(picture).stem
    stems = (stem, f"{stem}x{scale}", f"{stem}_x{scale}", f"{stem}-x{scale}")
    found = [p for p in sorted(folder.iterdir()) if p.stem in stems and p.suffix.lower() in SUFFIXES]
    if len(found) != 1:
        seen = "none" if not found else "several: " + ", ".join(p.name for p in found)
        raise FileError(f"cannot find the picture of {picture} in {folder}: there is {seen}")
    return found[0]


def networks_of(methods: Sequence[Method]) -> dict[str, nn.Module]:
    """The networks among the methods, by label."""
    return {m.name: m.network for m in methods if isinstance(m, ModelMethod) and m.network is not None}


def make_methods(
    models: Sequence[str] | Mapping[str, nn.Module | None],
    scale: int,
    tile: Tile = "auto",
    folders: Mapping[str, str | os.PathLike[str]] | None = None,
) -> list[Method]:
    """Return the models, and after them the folders of pictures, in the given orders.

    Raises:
        ArgumentError: No method, or one label twice; and what the methods raise.
    """
    if isinstance(models, str):
        raise ArgumentError(f"models must be a sequence of names, got the text {models!r}")
    labels = [*models, *(folders or {})]
    if not labels or len(set(labels)) != len(labels):
        raise ArgumentError(f"models and folders must be at least one, with different names, got {labels}")
    modules = models if isinstance(models, Mapping) else {}
    methods: list[Method] = [ModelMethod(name, scale, tile, modules.get(name)) for name in models]
    return [*methods, *(FolderMethod(label, Path(folder), scale) for label, folder in (folders or {}).items())]

"""Weights of segmentation networks as safetensors files that say which network and which classes they are of."""

from __future__ import annotations

import colorsys
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from karaffe.errors import ArgumentError, FileError
from karaffe.models.checkpoint import read_tensors, write_tensors
from karaffe.models.segmentation.base import Segmenter
from karaffe.models.segmentation.registry import create_segmenter

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassTable:
    """What the classes are called, which values label maps hold for them, and how they are painted.

    Attributes:
        names: one a class.
        values: of label maps, one a class; ``()``: 0, 1, 2 ….
        ignore: value of pixels that are not labelled.
        colours: 8-bit RGB, one a class; ``()``: distinct hues.
    """

    names: tuple[str, ...]
    values: tuple[int, ...] = ()
    ignore: int = 255
    colours: tuple[Colour, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.names)
        if count < 2 or len(set(self.names)) < count:
            raise ArgumentError(f"classes must be at least two different names; got {list(self.names)}")
        values = self.values or tuple(range(count))
        if len(values) != count or len(set(values)) < count or not all(0 <= v <= 255 for v in values):
            raise ArgumentError(f"values must be one a class, different and in 0 to 255; got {list(values)}")
        if self.ignore in values or not 0 <= self.ignore <= 255:
            raise ArgumentError(f"ignore must be a value in 0 to 255 of no class; got {self.ignore}")
        colours = tuple(tuple(c) for c in self.colours) or tuple(_hue(i, count) for i in range(count))
        if len(colours) != count or not all(len(c) == 3 and all(0 <= v <= 255 for v in c) for c in colours):
            raise ArgumentError(f"colours must be one a class, three values in 0 to 255 each; got {list(colours)}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "colours", colours)


@dataclass(frozen=True)
class _Recipe:
    network: str
    upsampler: str
    width: float
    classes: ClassTable
    options: dict[str, Any] = field(default_factory=dict)


def save_segmenter(
    model: Segmenter,
    path: str | os.PathLike[str],
    *,
    network: str,
    upsampler: str,
    classes: ClassTable,
    width: float = 1.0,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write the weights with all that is needed to make the network again; the file appears whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    recipe = asdict(_Recipe(network, upsampler, width, classes, dict(options or {})))
    write_tensors(path, model.state_dict(), {"format": "karaffe", "segmenter": json.dumps(recipe)})


def load_segmenter(path: str | os.PathLike[str]) -> tuple[Segmenter, ClassTable]:
    """Return the network of a checkpoint, in evaluation mode, and its classes.

    Raises:
        FileError: the file is missing, truncated, or not a safetensors file.
        ArgumentError: it is no segmentation network's, or its tensors are of another architecture.
    """
    tensors, metadata = read_tensors(path)
    if "segmenter" not in metadata:
        found = metadata.get("model")
        what = f"weights of the super-resolution network {found!r}" if found else "no network of karaffe"
        raise ArgumentError(f"{path} is not the checkpoint of a segmentation network; it holds {what}")
    try:
        recipe = json.loads(metadata["segmenter"])
        table = recipe["classes"]
        classes = ClassTable(
            tuple(table["names"]), tuple(table["values"]), table["ignore"], tuple(map(tuple, table["colours"]))
        )
        model = create_segmenter(
            recipe["network"],
            len(classes.names),
            recipe["upsampler"],
            width=recipe["width"],
            options=recipe["options"],
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise FileError(f"cannot read {path}: its description of the network is damaged ({error})") from error
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        text = f"the weights in {path} do not fit {recipe['network']!r} with {recipe['upsampler']!r}: {error}"
        raise ArgumentError(text) from error
    return model.eval(), classes


def _hue(index: int, count: int) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(index / count, 0.65, 0.95 if index % 2 else 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)

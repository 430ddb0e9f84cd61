"""From pictures to scenes: reduce each, let every method enlarge it again, measure; what fails is listed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from karaffe.errors import ArgumentError, KaraffeError
from karaffe.evaluation.images import Image
from karaffe.evaluation.methods import FolderMethod, Method, networks_of
from karaffe.evaluation.pictures import crop_to_multiple, expand, read_picture, reduce
from karaffe.evaluation.protocol import Protocol
from karaffe.evaluation.results import Row
from karaffe.visualize import Box, Panel, Scene, importance_map
from karaffe.visualize.crops import check_crops
from karaffe.visualize.learned import predicts_kernels

Picture = str | os.PathLike[str] | Image
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Failure:
    """A picture that could not be compared, and why."""

    image: str
    reason: str


@dataclass
class Found:
    """What is known of the pictures so far.

    Attributes:
        rows: One a measured picture and method. failures: Pictures that could not be compared.
        unmeasured: Pictures that were compared without an original.
    """

    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)

    def all(self) -> tuple[tuple[Row, ...], tuple[Failure, ...], tuple[str, ...]]:
        """The three, as they are kept."""
        return tuple(self.rows), tuple(self.failures), tuple(self.unmeasured)


def name_pictures(images: Picture | Sequence[Picture] | Mapping[str, Image]) -> dict[str, Picture]:
    """Give every picture a name of its own: that of its file, or its whole path where two files share one."""
    if isinstance(images, Mapping):
        return dict(images)
    several = [images] if isinstance(images, (str, os.PathLike, np.ndarray)) else list(images)
    arrays = [image for image in several if isinstance(image, np.ndarray)]
    paths = list(dict.fromkeys(expand(image for image in several if not isinstance(image, np.ndarray))))
    bare = [path.name for path in paths]
    named: dict[str, Picture] = {path.name if bare.count(path.name) == 1 else str(path): path for path in paths}
    return named | {f"image {number}": array for number, array in enumerate(arrays, start=1)}


def without_original(methods: Sequence[Method], pictures: Mapping[str, Picture]) -> list[str]:
    """Names, without suffixes, of what the methods' folders hold beside the pictures."""
    known = {Path(name).stem for name in pictures}
    folders = [method for method in methods if isinstance(method, FolderMethod)]
    stems = dict.fromkeys(stem for folder in folders for stem in folder.stems)
    return [
        stem for stem in stems if not known & {stem, *(f"{stem}{mark}x{folders[0].scale}" for mark in ("", "_", "-"))}
    ]


def make_scenes(
    pictures: Mapping[str, Picture],
    alone: Sequence[str],
    methods: Sequence[Method],
    scale: int,
    protocol: Protocol,
    crops: Sequence[Box],
    found: Found,
    progress: Progress | None,
) -> Iterator[Scene]:
    """Yield a scene a picture, then one for each name of ``alone``, which has no original; note them in ``found``.

    Raises:
        KaraffeError: The first picture's error, where none could be compared.
    """
    first: KaraffeError | None = None
    names, made = [*pictures, *alone], False
    for number, name in enumerate(names):
        if progress:
            progress(number, len(names), name)
        try:
            picture = pictures.get(name)
            scene = _alone(name, methods, scale) if picture is None else _scene(name, picture, methods, scale, protocol)
            check_crops(scene, crops)
        except KaraffeError as error:
            first = first or error
            found.failures.append(Failure(name, str(error)))
            continue
        made = True
        if scene.measured:
            found.rows += _rows(scene)
        else:
            found.unmeasured.append(name)
        yield scene
    if first and not made:
        raise first


def _rows(scene: Scene) -> Iterator[Row]:
    for panel in scene.panels:
        figures = (panel.psnr, panel.ssim, panel.seconds)
        yield Row(scene.name, panel.label, *(math.nan if v is None else v for v in figures))


def _scene(name: str, picture: Picture, methods: Sequence[Method], scale: int, protocol: Protocol) -> Scene:
    image = picture if isinstance(picture, np.ndarray) else read_picture(picture)
    reference = crop_to_multiple(image, scale, name)
    low = reduce(reference, scale)
    panels = []
    for method in methods:
        enlarged, seconds = method.make(name, low, reference)
        scores = protocol.measure(enlarged, reference, scale)
        known = None if math.isnan(seconds) else seconds
        panels.append(Panel(method.name, enlarged, scores.psnr, scores.ssim, known))
    return Scene(name, reference, tuple(panels), scale)


def _alone(name: str, methods: Sequence[Method], scale: int) -> Scene:
    """What other tools made of a picture whose original is not there: the first in the place of the reference."""
    folders = [method for method in methods if isinstance(method, FolderMethod)]
    if len(folders) < 2:
        raise ArgumentError(f"{name}: there is no original, and nothing but {folders[0].name!r} to compare")
    first, *others = [Panel(folder.name, folder.read(f"{name}.png")) for folder in folders]
    return Scene(name, first.pixels, tuple(others), scale, first.label)


def with_importance(scenes: Iterator[Scene], methods: Sequence[Method]) -> Iterator[Scene]:
    """Give each scene's panels the maps of where the content mattered, where a network predicts kernels."""
    networks = {name: network for name, network in networks_of(methods).items() if predicts_kernels(network)}
    for scene in scenes:
        if not scene.measured:
            yield scene
            continue
        low = reduce(scene.reference, scene.scale)
        maps = {name: importance_map(network, low) for name, network in networks.items()}
        yield replace(scene, panels=tuple(replace(p, importance=maps.get(p.label)) for p in scene.panels))

"""Reduce pictures, enlarge them again by several models, and show and measure what each made of them."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from karaffe.errors import ArgumentError, KaraffeError, unknown_name
from karaffe.evaluation.images import Image
from karaffe.evaluation.methods import Method, ModelMethod, make_methods
from karaffe.evaluation.pictures import crop_to_multiple, expand, read_picture, reduce
from karaffe.evaluation.protocol import PAPERS, Protocol, get_protocol
from karaffe.evaluation.results import Row, Summary, plain, summarize, to_csv
from karaffe.evaluation.staging import staged_folder
from karaffe.imaging.engine import Tile
from karaffe.visualize import Box, Panel, Scene, importance_map, importances, latex, page, pdf, strip
from karaffe.visualize.crops import check_crops
from karaffe.visualize.learned import predicts_kernels

Picture = str | os.PathLike[str] | Image
Progress = Callable[[int, int, str], None]

FORMATS = ("png", "pdf", "tex")
PAGE, FIGURES, TABLE = "comparison.html", "comparison.json", "comparison.csv"
LEARNED = "-learned.png"


@dataclass(frozen=True)
class Failure:
    """A picture that could not be compared, and why."""

    image: str
    reason: str


@dataclass(frozen=True)
class Look:
    """How strips and page are drawn: crops (default: where the methods differ most), their size, number, zoom.

    ``formats`` are those of the strips: ``"png"``, ``"pdf"``, and ``"tex"``, which is LaTeX and the PNGs it includes.
    ``learned`` adds, for the models that predict kernels, maps of where the content mattered to the page, and a
    picture of them.

    Raises:
        UnknownNameError: Another format.
    """

    crops: tuple[Box, ...] = ()
    crop_size: int = 48
    count: int = 2
    zoom: int = 5
    formats: tuple[str, ...] = ("png",)
    learned: bool = False

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise unknown_name("format of strips", name, FORMATS)

    def cut(self) -> dict[str, Any]:
        """What every kind of strip takes."""
        return {"crops": self.crops, "crop_size": self.crop_size, "count": self.count, "zoom": self.zoom}


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        scale, protocol: As asked. models: The labels of the methods, in their order.
        rows: One an image and model. summaries: One a model.
        failures: Pictures that could not be compared; the others were.
        files: What was written. scenes: The pictures themselves, kept where nothing was written.
    """

    scale: int
    models: tuple[str, ...]
    protocol: Protocol
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()
    files: tuple[Path, ...] = ()
    scenes: tuple[Scene, ...] = field(default=(), repr=False)

    @property
    def summaries(self) -> list[Summary]:
        """Means over the images, one a model."""
        return summarize(self.rows)

    @property
    def note(self) -> str:
        """How the figures were taken."""
        return f"{self.protocol.describe(self.scale)}. Reduced by MATLAB's antialiased bicubic."

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures, ready for JSON (infinities as ``"inf"``)."""
        return {
            "scale": self.scale,
            "models": list(self.models),
            "protocol": self.note,
            "images": plain([asdict(row) for row in self.rows]),
            "means": plain([asdict(summary) for summary in self.summaries]),
            "failures": [asdict(failure) for failure in self.failures],
            "files": [str(path) for path in self.files],
        }

    def _repr_html_(self) -> str:
        """The page, for notebooks."""
        pages = [path for path in self.files if path.name == PAGE]
        text = pages[0].read_text(encoding="utf-8") if pages else "".join(self._page())
        return (
            f'<iframe srcdoc="{html.escape(text)}" title="Comparison" sandbox="allow-scripts" '
            'style="width: 100%; height: 640px; border: 0"></iframe>'
        )

    def _page(self) -> Iterator[str]:
        return page(self.scenes, title=_title(self.scale), note=self.note)


def compare(
    images: Picture | Sequence[Picture] | Mapping[str, Image],
    scale: int = 4,
    models: Sequence[str] = ("bicubic", "sharp"),
    *,
    folders: Mapping[str, str | os.PathLike[str]] | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    protocol: str | Protocol = PAPERS,
    look: Look | None = None,
    tile: Tile = "auto",
    progress: Progress | None = None,
) -> Comparison:
    """Reduce each picture by ``scale``, enlarge it by each model, and compare with the original.

    Pictures are cut to a multiple of ``scale`` and reduced as the super-resolution papers do (MATLAB's antialiased
    bicubic). PSNR, SSIM and the seconds of each enlargement are measured. With ``output`` a folder is written:
    ``comparison.html`` (one page for all, without network), ``comparison.json``, ``comparison.csv``, and a strip
    ``NAME-xSCALE.png`` (or PDF, or LaTeX) a picture. It appears whole or not at all.

    Args:
        images: Files, folders of files, or arrays ``(H, W)`` or ``(H, W, 3)`` of uint8, uint16 or floats in [0, 1];
            one, several, or a mapping from names to arrays.
        scale: A whole number.
        models: Names of :func:`karaffe.models.list_models`, shown in this order.
        folders: Pictures that other tools made of the reduced ones, by label: folders of files with the names of
            the originals. They are shown after the models.
        output: The folder, or None: nothing is written and the pictures are kept in the result.
        overwrite: Replace results that are there; else refused.
        protocol: How to measure; a :class:`Protocol` or the name of one.
        look: How strips and page are drawn.
        tile: Source pixels a side of a tile, ``"auto"``, or 0 for whole images.
        progress: Called with (pictures done, pictures in all, name of the next) before each picture.

    Returns:
        The figures. A picture that fails is listed in ``failures`` and the others go on.

    Raises:
        UnknownNameError: A model or protocol that there is not.
        ArgumentError: A model without this scale, no picture, or options that do not fit.
        FileError: ``output`` cannot be written, or its files exist and ``overwrite`` is not given.
        KaraffeError: The first picture's error, where no picture could be compared.
    """
    protocol = get_protocol(protocol)
    look = look or Look()
    pictures = _named(images)
    methods = make_methods(models, scale, tile, folders)
    labels = tuple(method.name for method in methods)
    rows: list[Row] = []
    failures: list[Failure] = []
    scenes = _scenes(pictures, methods, scale, protocol, look.crops, rows, failures, progress)
    if look.learned:
        scenes = _with_importance(scenes, methods)
    result = Comparison(scale, labels, protocol, ())
    if output is None:
        kept = tuple(scenes)
        return Comparison(scale, labels, protocol, tuple(rows), tuple(failures), scenes=kept)
    stems = _stems(pictures, scale)
    fixed = [PAGE, FIGURES, TABLE]
    endings = [f".{ending}" for ending in look.formats] + [LEARNED] * look.learned
    named = [f"{stem}{ending}" for stem in stems.values() for ending in endings]
    with staged_folder(output, overwrite=overwrite, names=[*fixed, *named]) as stage:
        drawn = _drawn(scenes, stage, stems, look, result.note)
        if look.learned:
            drawn = _learned(drawn, stage, stems, methods)
        with (stage / PAGE).open("w", encoding="utf-8") as file:
            file.writelines(page(drawn, title=_title(scale), note=result.note, crop_size=look.crop_size))
        files = tuple(Path(output) / name for name in fixed + [n for n in named if (stage / n).exists()])
        result = Comparison(scale, labels, protocol, tuple(rows), tuple(failures), files)
        (stage / FIGURES).write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
        (stage / TABLE).write_text(to_csv(rows), encoding="utf-8", newline="")
    return result


def _title(scale: int) -> str:
    return f"Enlarged ×{scale}"


def _named(images: Picture | Sequence[Picture] | Mapping[str, Image]) -> dict[str, Picture]:
    """Give every picture a name of its own: that of its file, or its whole path where two files share one."""
    if isinstance(images, Mapping):
        named: dict[str, Picture] = dict(images)
    else:
        several = [images] if isinstance(images, (str, os.PathLike, np.ndarray)) else list(images)
        arrays = [image for image in several if isinstance(image, np.ndarray)]
        paths = list(dict.fromkeys(expand(image for image in several if not isinstance(image, np.ndarray))))
        bare = [path.name for path in paths]
        named = {path.name if bare.count(path.name) == 1 else str(path): path for path in paths}
        named |= {f"image {number}": array for number, array in enumerate(arrays, start=1)}
    if not named:
        raise ArgumentError("compare: at least one picture is needed")
    return named


def _scenes(
    pictures: dict[str, Picture],
    methods: Sequence[Method],
    scale: int,
    protocol: Protocol,
    crops: Sequence[Box],
    rows: list[Row],
    failures: list[Failure],
    progress: Progress | None,
) -> Iterator[Scene]:
    """Yield a scene a picture; add its rows, or its failure. Where all fail, raise the first one's error."""
    first: KaraffeError | None = None
    for number, (name, picture) in enumerate(pictures.items()):
        if progress:
            progress(number, len(pictures), name)
        try:
            scene = _scene(name, picture, methods, scale, protocol)
            check_crops(scene, crops)
        except KaraffeError as error:
            first = first or error
            failures.append(Failure(name, str(error)))
            continue
        for panel in scene.panels:
            figures = (panel.psnr, panel.ssim, panel.seconds)
            rows.append(Row(name, panel.label, *(math.nan if v is None else v for v in figures)))
        yield scene
    if first and not rows:
        raise first


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


def _drawn(scenes: Iterator[Scene], stage: Path, stems: dict[str, str], look: Look, note: str) -> Iterator[Scene]:
    """Write each scene's strips, and hand it on."""
    for scene in scenes:
        stem = stems[scene.name]
        if {"png", "pdf"} & set(look.formats):
            figure = strip(scene, **look.cut(), note=note)
            if "png" in look.formats:
                figure.save(stage / f"{stem}.png", "PNG", optimize=True)
            if "pdf" in look.formats:
                (stage / f"{stem}.pdf").write_bytes(pdf(figure))
        if "tex" in look.formats:
            for name, content in latex(scene, stem, **look.cut()).items():
                (stage / name).write_bytes(content)
        yield scene


def _networks(methods: Sequence[Method]) -> dict[str, nn.Module]:
    return {m.name: m.network for m in methods if isinstance(m, ModelMethod) and m.network is not None}


def _with_importance(scenes: Iterator[Scene], methods: Sequence[Method]) -> Iterator[Scene]:
    """Give each scene's panels the maps of where the content mattered, where a network predicts kernels."""
    networks = {name: network for name, network in _networks(methods).items() if predicts_kernels(network)}
    for scene in scenes:
        low = reduce(scene.reference, scene.scale)
        maps = {name: importance_map(network, low) for name, network in networks.items()}
        yield replace(scene, panels=tuple(replace(p, importance=maps.get(p.label)) for p in scene.panels))


def _learned(scenes: Iterator[Scene], stage: Path, stems: dict[str, str], methods: Sequence[Method]) -> Iterator[Scene]:
    """Write where the content mattered in each scene, and hand it on."""
    networks = _networks(methods)
    for scene in scenes:
        figure = importances(networks, reduce(scene.reference, scene.scale))
        if figure is not None:
            figure.save(stage / f"{stems[scene.name]}{LEARNED}", "PNG", optimize=True)
        yield scene


def _stems(names: Iterable[str], scale: int) -> dict[str, str]:
    """Give each picture's files a stem of their own, also where names differ only in suffix, case or odd signs."""
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        stem, number = _file_stem(name), 1
        while f"{stem}-{number}".lower() in taken:
            number += 1
        taken.add(f"{stem}-{number}".lower())
        stems[name] = f"{stem}-x{scale}" if number == 1 else f"{stem}-{number}-x{scale}"
    return stems


def _file_stem(name: str) -> str:
    """A name that is safe as a file's: separators and signs that some systems refuse become ``_``."""
    stem = Path(name).with_suffix("").as_posix() if Path(name).suffix else name
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in stem).strip(". ")[:120] or "picture"

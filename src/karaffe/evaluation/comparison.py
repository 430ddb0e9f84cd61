"""Reduce pictures, enlarge them again by several models, and show and measure what each made of them."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from karaffe.errors import ArgumentError
from karaffe.evaluation.images import Image
from karaffe.evaluation.look import Look
from karaffe.evaluation.methods import make_methods
from karaffe.evaluation.protocol import PAPERS, Protocol, get_protocol
from karaffe.evaluation.results import Row, Summary, plain, summarize, to_csv
from karaffe.evaluation.scenes import (
    Failure,
    Found,
    Picture,
    Progress,
    make_scenes,
    name_pictures,
    with_importance,
    without_original,
)
from karaffe.evaluation.staging import staged_folder
from karaffe.evaluation.strips import LEARNED, file_stems, write_importance, write_strips
from karaffe.imaging.engine import Tile
from karaffe.visualize import Scene, page

PAGE, FIGURES, TABLE = "comparison.html", "comparison.json", "comparison.csv"


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        scale, protocol: As asked. models: The labels of the methods, in their order.
        rows: One an image and model. summaries: One a model.
        failures: Pictures that could not be compared; the others were.
        unmeasured: Pictures of other tools that have no original, compared without figures.
        files: What was written. scenes: The pictures themselves, kept where nothing was written.
    """

    scale: int
    models: tuple[str, ...]
    protocol: Protocol
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()
    unmeasured: tuple[str, ...] = ()
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
            "unmeasured": list(self.unmeasured),
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
    models: Sequence[str] | Mapping[str, nn.Module | None] = ("bicubic", "sharp"),
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
        models: Names of :func:`karaffe.models.list_models`, shown in this order; or a mapping from labels to networks
            with ``scale`` and ``halo``, None for the model of that name.
        folders: Pictures that other tools made of the reduced ones, by label: folders of files with the names of
            the originals. They are shown after the models. Where two labels or more have a picture without an
            original among ``images``, they are compared with one another, without figures; ``images`` may be empty.
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
    protocol, look = get_protocol(protocol), look or Look()
    pictures = name_pictures(images)
    # Models enlarge what originals are reduced to.
    methods = make_methods(models if pictures or not folders else (), scale, tile, folders)
    alone = without_original(methods, pictures)
    if not pictures and not alone:
        raise ArgumentError("compare: at least one picture is needed")
    labels, found = tuple(method.name for method in methods), Found()
    scenes = make_scenes(pictures, alone, methods, scale, protocol, look.crops, found, progress)
    if look.learned:
        scenes = with_importance(scenes, methods)
    if output is None:
        kept = tuple(scenes)
        return Comparison(scale, labels, protocol, *found.all(), scenes=kept)
    stems = file_stems([*pictures, *alone], scale)
    fixed = [PAGE, FIGURES, TABLE]
    endings = [f".{ending}" for ending in look.formats] + [LEARNED] * look.learned
    named = [f"{stem}{ending}" for stem in stems.values() for ending in endings]
    with staged_folder(output, overwrite=overwrite, names=[*fixed, *named]) as stage:
        note = Comparison(scale, labels, protocol, ()).note
        drawn = write_strips(scenes, stage, stems, look, note)
        if look.learned:
            drawn = write_importance(drawn, stage, stems, methods)
        with (stage / PAGE).open("w", encoding="utf-8") as file:
            file.writelines(page(drawn, title=_title(scale), note=note, crop_size=look.crop_size))
        files = tuple(Path(output) / name for name in fixed + [n for n in named if (stage / n).exists()])
        result = Comparison(scale, labels, protocol, *found.all(), files)
        (stage / FIGURES).write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
        (stage / TABLE).write_text(to_csv(result.rows), encoding="utf-8", newline="")
    return result


def _title(scale: int) -> str:
    return f"Enlarged ×{scale}"

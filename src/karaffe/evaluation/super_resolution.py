"""Evaluate super-resolution models on folders of pictures, beginning with what is known: bicubic interpolation.

Published figures are comparable only where data and protocol are the same, so bicubic comes first: where its
published figure is known, the evaluation says whether these files and this protocol reproduce it.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from karaffe.errors import ArgumentError, KaraffeError, ShapeError
from karaffe.evaluation.cost import Cost, measure_cost
from karaffe.evaluation.images import Image
from karaffe.evaluation.methods import Method, find_by_name, make_methods
from karaffe.evaluation.pictures import crop_to_multiple, expand, read_frames, reduce
from karaffe.evaluation.protocol import PAPERS, Protocol, Scores, get_protocol
from karaffe.evaluation.published import BICUBIC
from karaffe.evaluation.results import Row, Summary, compare_models, plain, summarize
from karaffe.evaluation.scenes import Failure, Progress
from karaffe.evaluation.staging import staged_folder
from karaffe.evaluation.statistics import PairedTest
from karaffe.imaging.engine import Tile

BASELINE = "bicubic"
FIGURES, TABLE = "evaluation.json", "evaluation.csv"
TOLERANCE = Scores(0.02, 0.002)


@dataclass(frozen=True)
class Check:
    """Bicubic as published and as measured here."""

    dataset: str
    published: Scores
    measured: Scores

    @property
    def passed(self) -> bool:
        """Whether the two agree to 0.02 dB and 0.002."""
        return all(abs(p - m) <= t for p, m, t in zip(self.published, self.measured, TOLERANCE, strict=True))

    def __str__(self) -> str:
        verdict = "reproduced" if self.passed else "NOT reproduced: other data or another protocol"
        return (
            f"bicubic on {self.dataset}: {self.measured.psnr:.2f} dB / {self.measured.ssim:.4f}, published "
            f"{self.published.psnr:.2f} / {self.published.ssim:.4f}: {verdict}"
        )


@dataclass(frozen=True)
class Table:
    """All figures on one protocol: rows of images and models, their means, and the first model against the others."""

    protocol: Protocol
    rows: tuple[Row, ...]
    seed: int = 0

    @property
    def summaries(self) -> list[Summary]:
        """Means with intervals, one a model."""
        return summarize(self.rows, seed=self.seed)

    def test(self, first: str, second: str, metric: str = "psnr") -> PairedTest:
        """Test two models against each other.

        Raises:
            ShapeError: Fewer than two images that both have finite figures for.
        """
        return compare_models(self.rows, first, second, metric=metric, seed=self.seed)


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate_sr` found.

    Attributes:
        scale, models: As asked, bicubic first. tables: One a protocol, in the given order.
        check: Bicubic against its published figure, where there is one. costs: One a model, where asked for.
        failures: Pictures that could not be measured. files: What was written.
        degradation: How the reduced pictures came about.
    """

    scale: int
    models: tuple[str, ...]
    tables: tuple[Table, ...]
    check: Check | None
    costs: tuple[Cost, ...]
    failures: tuple[Failure, ...]
    degradation: str
    files: tuple[Path, ...] = ()

    def notes(self) -> list[str]:
        """How the figures were taken, one line a protocol."""
        return [f"{table.protocol.describe(self.scale)}. {self.degradation}." for table in self.tables]

    def tests(self) -> list[PairedTest]:
        """PSNR of the last model against every other one, on the first protocol; none for fewer than two images."""
        table, last = self.tables[0], self.models[-1]
        if len({row.image for row in table.rows}) < 2:
            return []
        return [table.test(last, other) for other in self.models[:-1]]

    def to_csv(self) -> str:
        """Return one line an image, model and protocol."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["image", "model", "psnr", "ssim", "seconds", "protocol"])
        for table, note in zip(self.tables, self.notes(), strict=True):
            writer.writerows([*asdict(row).values(), note] for row in table.rows)
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON (infinities as ``"inf"``, unknown figures as null)."""
        tables = [
            {"protocol": note, "images": [asdict(r) for r in t.rows], "means": [asdict(s) for s in t.summaries]}
            for t, note in zip(self.tables, self.notes(), strict=True)
        ]
        check = self.check and {**asdict(self.check), "passed": self.check.passed}
        value = {
            "scale": self.scale,
            "models": self.models,
            "tables": tables,
            "check": check,
            "tests": [asdict(test) for test in self.tests()],
            "costs": [asdict(cost) for cost in self.costs],
            "failures": [asdict(failure) for failure in self.failures],
        }
        result: dict[str, Any] = plain(value)
        return result


def evaluate_sr(
    references: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    scale: int,
    models: Sequence[str] | Mapping[str, nn.Module] = ("sharp",),
    *,
    reduced: str | os.PathLike[str] | None = None,
    folders: Mapping[str, str | os.PathLike[str]] | None = None,
    protocols: Sequence[str | Protocol] = (PAPERS,),
    value_range: tuple[float, float] | None = None,
    dataset: str | None = None,
    costs: bool = False,
    tile: Tile = "auto",
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure models on pictures, bicubic first.

    Args:
        references: The originals: files, or folders of files. Every frame (page, slice) of a file counts.
        scale: A whole number.
        models: Names of :func:`karaffe.models.list_models`, or a mapping from labels to networks of that scale.
        reduced: Folder of the reduced pictures, found by the names of the originals; default: they are made by
            MATLAB's antialiased bicubic.
        folders: Pictures that other tools made, by label: folders with the names of the originals.
        protocols: How to measure; the first is the main one, others are printed beside it.
        value_range: Real values (Hounsfield units, reflectance) of black and white; pictures are clipped to it and
            measured as floats on this range. Default: the range that each file declares.
        dataset: ``"Set5"``, ``"Set14"`` or ``"BSD100"``, whose published bicubic figure is to be reproduced;
            default: the folder of that name that the originals lie in, if any.
        costs: Also measure parameters, multiply-adds, CPU time and memory of the named models.
        tile: Source pixels a side of a tile, ``"auto"``, or 0 for whole images.
        seed: Of the bootstrap.
        output: Folder to write ``evaluation.csv`` and ``evaluation.json`` into, whole or not at all.
        overwrite: Replace results that are there; else refused.
        progress: Called with (pictures done, pictures in all, name of the next) before each picture.

    Raises:
        UnknownNameError: A model or protocol that there is not.
        ArgumentError: A model without this scale, or options that do not fit.
        FileError: No picture, an ``output`` that cannot be written.
        KaraffeError: The first picture's error, where none could be measured.
    """
    chosen = [get_protocol(p) for p in protocols]
    if not chosen:
        raise ArgumentError("protocols must name at least one")
    paths = list(expand([references] if isinstance(references, (str, os.PathLike)) else references))
    methods = [] if BASELINE in models else make_methods([BASELINE], scale, tile)
    methods += make_methods(models, scale, tile, folders)
    rows: list[list[Row]] = [[] for _ in chosen]
    failures: list[Failure] = []
    first: KaraffeError | None = None
    for number, path in enumerate(paths):
        if progress:
            progress(number, len(paths), path.name)
        try:
            found = _measure(path, reduced, scale, methods, chosen, value_range)
        except KaraffeError as error:
            first = first or error
            failures.append(Failure(path.name, str(error)))
            continue
        for table, more in zip(rows, found, strict=True):
            table.extend(more)
    if first and not rows[0]:
        raise first
    names = tuple(method.name for method in methods)
    priced = [name for name in names if costs and name not in (folders or {}) and not isinstance(models, Mapping)]
    made = "Reduced by MATLAB's antialiased bicubic" if reduced is None else "Reduced pictures as given"
    tables = tuple(Table(p, tuple(r), seed) for p, r in zip(chosen, rows, strict=True))
    check = _check(dataset or _dataset_of(paths), scale, tables)
    result = Evaluation(
        scale, names, tables, check, tuple(measure_cost(n, scale) for n in priced), tuple(failures), made
    )
    return result if output is None else _write(result, output, overwrite)


def _measure(
    path: Path,
    reduced: str | os.PathLike[str] | None,
    scale: int,
    methods: Sequence[Method],
    protocols: Sequence[Protocol],
    value_range: tuple[float, float] | None,
) -> list[list[Row]]:
    """Return the rows of one file, a list a protocol."""
    rows: list[list[Row]] = [[] for _ in protocols]
    for name, reference, low in _pairs(path, reduced, scale, value_range):
        for method in methods:
            enlarged, seconds = method.make(name, low, reference)
            for table, protocol in zip(rows, protocols, strict=True):
                scores = protocol.measure(enlarged, reference, scale)
                table.append(Row(name, method.name, scores.psnr, scores.ssim, seconds))
    return rows


def _pairs(
    path: Path, reduced: str | os.PathLike[str] | None, scale: int, value_range: tuple[float, float] | None
) -> Iterator[tuple[str, Image, Image]]:
    """Yield name, reference and reduced picture of every frame."""
    given = None if reduced is None else read_frames(find_by_name(Path(reduced), path.name, scale), value_range)
    for name, whole in read_frames(path, value_range):
        reference = crop_to_multiple(whole, scale, name)
        if given is None:
            yield name, reference, reduce(reference, scale)
            continue
        low_name, low = next(given, ("nothing", reference[:0]))
        if tuple(n // scale for n in reference.shape[:2]) != low.shape[:2] or low.ndim != reference.ndim:
            raise ShapeError(
                f"{name} has shape {reference.shape} without what exceeds a multiple of {scale}, which does not fit "
                f"{low_name} of shape {low.shape}"
            )
        yield name, reference, low


def _dataset_of(paths: Sequence[Path]) -> str | None:
    """The one known data set in whose folder all the files lie."""
    known = {name for name, _ in BICUBIC}
    found = [known & set(path.absolute().parts) for path in paths]
    common = set.intersection(*found)
    return common.pop() if len(common) == 1 else None


def _check(dataset: str | None, scale: int, tables: Sequence[Table]) -> Check | None:
    published = BICUBIC.get((dataset or "", scale))
    papers = [table for table in tables if table.protocol == PAPERS]
    if dataset is None or published is None or not papers:
        return None
    measured = next(s for s in papers[0].summaries if s.model == BASELINE)
    return Check(dataset, published, Scores(measured.psnr, measured.ssim))


def _write(result: Evaluation, output: str | os.PathLike[str], overwrite: bool) -> Evaluation:
    files = tuple(Path(output) / name for name in (TABLE, FIGURES))
    with staged_folder(output, overwrite=overwrite, names=[TABLE, FIGURES]) as stage:
        (stage / TABLE).write_text(result.to_csv(), encoding="utf-8", newline="")
        (stage / FIGURES).write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    return replace(result, files=files)

"""The files of a comparison beside its page: a strip a picture, and where the content mattered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from karaffe.evaluation.look import Look
from karaffe.evaluation.methods import Method, networks_of
from karaffe.evaluation.pictures import reduce
from karaffe.visualize import Scene, importances, latex, pdf, strip

LEARNED = "-learned.png"


def write_strips(scenes: Iterator[Scene], stage: Path, stems: dict[str, str], look: Look, note: str) -> Iterator[Scene]:
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


def write_importance(
    scenes: Iterator[Scene], stage: Path, stems: dict[str, str], methods: Sequence[Method]
) -> Iterator[Scene]:
    """Write where the content mattered in each scene, and hand it on."""
    networks = networks_of(methods)
    for scene in scenes:
        figure = importances(networks, reduce(scene.reference, scene.scale)) if scene.measured else None
        if figure is not None:
            figure.save(stage / f"{stems[scene.name]}{LEARNED}", "PNG", optimize=True)
        yield scene


def file_stems(names: Iterable[str], scale: int) -> dict[str, str]:
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

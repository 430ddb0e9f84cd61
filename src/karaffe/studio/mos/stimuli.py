"""The pictures of a study: read or made, checked against each other, and prepared for a browser.

Prepared means 8-bit PNG without metadata: every browser shows the same values, and no file name, date or comment
tells a rater which method made the picture.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from karaffe.errors import ArgumentError, FileError
from karaffe.studio.mos.config import LONGEST_NAME, NAME, REFERENCE, Make, StudyConfig, gold_complaints

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"})
LISTED = 5


@dataclass(frozen=True)
class Stimulus:
    """One picture of one method, ready to be shown.

    Attributes:
        content: What it shows: the file name that all methods share, without its ending.
        method: A method's name, or ``reference``.
        png: The prepared file. sha256: Its digest. width, height: In pixels.
    """

    content: str
    method: str
    png: bytes
    sha256: str
    width: int
    height: int


def prepare(pixels: npt.NDArray[np.uint8], content: str, method: str) -> Stimulus:
    """Return the 8-bit picture ``pixels``, ``(H, W)`` or ``(H, W, 3)``, as a stimulus."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    png = buffer.getvalue()
    return Stimulus(content, method, png, hashlib.sha256(png).hexdigest(), pixels.shape[1], pixels.shape[0])


def load_stimuli(config: StudyConfig, folder: Path) -> list[Stimulus]:
    """Read or make every picture of the study, references included.

    Args:
        config: The study. folder: Where its relative paths start.

    Raises:
        FileError: A folder or file cannot be read.
        ArgumentError: A picture is missing in some folder, two have one name, or sizes differ.
    """
    if config.comparison is not None:
        found = list(_compared(config, folder / config.comparison))
    else:
        found = list(_made(config.make, folder) if config.make else _read(config, folder))
    _check_sizes(found)
    _check_names(config, {stimulus.content for stimulus in found})
    return found


def pictures_in(folder: Path) -> dict[str, Path]:
    """Return the pictures of ``folder`` by name without ending.

    Raises:
        FileError: No such folder, or no picture in it.
        ArgumentError: Two files differ in their ending alone.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise FileError(f"cannot read the folder {folder}: {error.strerror}") from None
    if not paths:
        raise FileError(f"the folder {folder} holds no picture ({', '.join(sorted(SUFFIXES))})")
    for stem, group in itertools.groupby(paths, key=lambda path: path.stem):
        names = [path.name for path in group]
        if len(names) > 1:
            raise ArgumentError(f"duplicate id {stem!r} in {folder}: {', '.join(names)}")
    return {path.stem: path for path in paths}


def _read(config: StudyConfig, folder: Path) -> Iterator[Stimulus]:
    folders = dict(config.methods or {})
    if config.reference is not None:
        folders[REFERENCE] = config.reference
    listed = {method: pictures_in(folder / path) for method, path in folders.items()}
    names = sorted(set().union(*listed.values()))
    missing = [f"{folders[m] / name}" for name in names for m in listed if name not in listed[m]]
    if missing:
        more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        raise ArgumentError(f"every method needs every picture; missing: {', '.join(missing[:LISTED])}{more}")
    for name in names:
        for method in listed:
            yield prepare(_eight_bit(listed[method][name]), name, method)


def _eight_bit(path: Path) -> npt.NDArray[np.uint8]:
    from karaffe.evaluation.images import to_uint8
    from karaffe.evaluation.pictures import read_picture

    return to_uint8(read_picture(path))


def _made(make: Make, folder: Path) -> Iterator[Stimulus]:
    from karaffe.evaluation.images import to_uint8
    from karaffe.evaluation.pictures import crop_to_multiple, expand, reduce
    from karaffe.imaging import upscale

    paths = list(expand([folder / path for path in make.images]))
    names = [name for path in paths for name in make.names(path)]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"duplicate id {name!r} among the images to make the study from")
    for path in paths:
        for name, square in _squares(_eight_bit(path), make, path):
            original = crop_to_multiple(square, make.scale, str(path))
            low = reduce(original, make.scale)
            yield prepare(np.ascontiguousarray(original), name, REFERENCE)
            for model in make.models:
                yield prepare(to_uint8(upscale(low, make.scale, model)), name, model)


def _squares(whole: npt.NDArray[np.uint8], make: Make, path: Path) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """The parts of a picture that the study takes, by name: each in the middle of a cell of a grid of equal ones."""
    if make.crop is None:
        yield path.stem, whole
        return
    cells = math.isqrt(make.crops - 1) + 1
    height, width = (size // cells for size in whole.shape[:2])
    if min(height, width) < make.crop:
        squares = f"the crop {make.crop}" if make.crops == 1 else f"{make.crops} crops of {make.crop}"
        raise ArgumentError(f"{path} is {whole.shape[1]}x{whole.shape[0]}, smaller than {squares}")
    for number, name in enumerate(make.names(path)):
        row, column = divmod(number, cells)
        top, left = row * height + (height - make.crop) // 2, column * width + (width - make.crop) // 2
        yield name, whole[top : top + make.crop, left : left + make.crop]


def _compared(config: StudyConfig, place: Path) -> Iterator[Stimulus]:
    """The pictures of a comparison, its originals as the reference."""
    from karaffe.evaluation.comparison import PAGE
    from karaffe.evaluation.images import to_uint8
    from karaffe.visualize import read_page

    path = place / PAGE if place.is_dir() else place
    seen: dict[str, str] = {}
    for scene in read_page(path):
        content = Path(scene.name).stem
        if content in seen:
            raise ArgumentError(f"duplicate id {content!r} in {path}: {seen[content]}, {scene.name}")
        seen[content] = scene.name
        if scene.reference is None:
            raise ArgumentError(f"{path}: {scene.name} has no original; a study takes comparisons with originals")
        _check_methods(config, list(scene.panels), path)
        yield prepare(to_uint8(scene.reference), content, REFERENCE)
        for method, pixels in scene.panels.items():
            yield prepare(to_uint8(pixels), content, method)


def _check_methods(config: StudyConfig, methods: list[str], path: Path) -> None:
    """Raise where a comparison's labels are no names of a study's methods, or do not serve its design."""
    wrong = [method for method in methods if not re.fullmatch(NAME, method) or len(method) > LONGEST_NAME]
    if wrong or REFERENCE in methods:
        raise ArgumentError(
            f"{path}: a method's name is up to 64 letters, digits and ._+-, and not {REFERENCE!r}; got {methods}"
        )
    if config.plan.compares and len(methods) < 2:
        raise ArgumentError(f"design {config.design!r} needs at least two methods; {path} has {methods}")
    for gold in config.gold:
        for complaint in gold_complaints(gold, config, {*methods, REFERENCE}):
            raise ArgumentError(complaint)


def _check_sizes(stimuli: list[Stimulus]) -> None:
    by_content: dict[str, list[Stimulus]] = {}
    for stimulus in stimuli:
        by_content.setdefault(stimulus.content, []).append(stimulus)
    for content, group in by_content.items():
        sizes = {(s.width, s.height) for s in group}
        if len(sizes) > 1:
            told = ", ".join(f"{s.method} {s.width}x{s.height}" for s in group)
            raise ArgumentError(f"pictures of {content!r} differ in size: {told}")


def _check_names(config: StudyConfig, contents: set[str]) -> None:
    named = {Path(name).stem: name for name in [*config.training, *(gold.image for gold in config.gold)]}
    unknown = sorted(named[stem] for stem in named.keys() - contents)
    if unknown:
        raise ArgumentError(f"'training' and 'gold' name pictures that no folder has: {', '.join(unknown)}")
    if not contents - {Path(name).stem for name in config.training}:
        raise ArgumentError("every picture is in 'training'; nothing is left to be rated")


def decode(png: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels of a prepared picture."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)

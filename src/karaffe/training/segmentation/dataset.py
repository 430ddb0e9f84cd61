"""Labelled images in memory: read, checked and, where asked, reduced once; or packed in one file.

Label maps leave here as class numbers 0, 1, 2 … and ``IGNORE``, whatever values the files hold.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from karaffe.errors import ArgumentError, FileError, ShapeError
from karaffe.evaluation import to_uint8
from karaffe.evaluation.segmentation import IGNORE
from karaffe.models.segmentation import ClassTable
from karaffe.training.segmentation.layouts import SPLITS, Pair, Split, find_pairs

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]


@dataclass(frozen=True)
class Labelled:
    """One image ``(H, W, 3)``, 8-bit RGB, and its classes ``(H, W)``."""

    name: str
    image: Pixels
    labels: Pixels


Dataset = dict[Split, list[Labelled]]


def load_dataset(data: str | os.PathLike[str], classes: ClassTable, size: Size | None = None) -> Dataset:
    """Read a data set whole.

    Args:
        data: a folder or an index file as :func:`find_pairs` knows them, or a file that :func:`pack` wrote.
        classes: what the values of the label maps mean.
        size: rows and columns that everything is resized to: images by the mean of the area, labels by the nearest.

    Raises:
        FileError: something is missing or cannot be read.
        ShapeError: an image and its label map differ in size.
        ArgumentError: a value that is no class; an empty split.
    """
    path = Path(data)
    if path.suffix == ".zip":
        return _unpack(path, classes, size)
    return {split: [_read(pair, classes, size) for pair in pairs] for split, pairs in find_pairs(path).items()}


def load_split(
    data: str | os.PathLike[str], split: str, classes: ClassTable, size: Size | None = None
) -> list[Labelled]:
    """Read one split of a data set; arguments and errors as :func:`load_dataset`.

    Raises:
        ArgumentError: also where ``split`` is not train, selection or test.
    """
    if split not in SPLITS:
        raise ArgumentError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    path = Path(data)
    if path.suffix == ".zip":
        return _unpack(path, classes, size)[split]
    return [_read(pair, classes, size) for pair in find_pairs(path)[split]]


def read_image(path: Path) -> Pixels:
    """Return an image file as 8-bit RGB; grey ones get three equal channels.

    Raises:
        FileError: the file cannot be read.
    """
    from karaffe.evaluation.pictures import read_picture

    pixels = to_uint8(read_picture(path))
    return np.stack([pixels] * 3, axis=2) if pixels.ndim == 2 else pixels


def read_labels(path: Path, classes: ClassTable) -> Pixels:
    """Return a label map as class numbers and ``IGNORE``.

    Raises:
        FileError: the file cannot be read, or holds colours instead of one value a pixel.
        ArgumentError: a value that is no class; it is named.
    """
    try:
        with Image.open(path) as file:
            if file.mode not in ("L", "P", "1", "I;16", "I"):
                raise FileError(f"{path} has mode {file.mode}; a label map has one value a pixel (grey or palette)")
            values = np.array(file)
    except UnidentifiedImageError as error:
        raise FileError(f"cannot read label map {path}: it is no image") from error
    except (OSError, SyntaxError) as error:
        raise error if isinstance(error, FileError) else FileError(f"cannot read label map {path}: {error}") from error
    return _classes_of(values.astype(np.int64), classes, str(path))


def _classes_of(values: npt.NDArray[np.int64], classes: ClassTable, name: str) -> Pixels:
    table = np.full(256, -1, dtype=np.int64)
    table[classes.ignore] = IGNORE
    table[list(classes.values)] = np.arange(len(classes.values))
    known = {*classes.values, classes.ignore}
    wrong = sorted(set(np.unique(values).tolist()) - known)
    if wrong:
        shown = ", ".join(map(str, wrong[:5]))
        raise ArgumentError(
            f"{name} holds the values {shown}{' …' if len(wrong) > 5 else ''}; accepted are {list(classes.values)} "
            f"for the {len(classes.values)} classes and {classes.ignore} for pixels without a label"
        )
    return table[values].astype(np.uint8)


def _read(pair: Pair, classes: ClassTable, size: Size | None) -> Labelled:
    image, labels = read_image(pair.image), read_labels(pair.label, classes)
    if image.shape[:2] != labels.shape:
        raise ShapeError(
            f"image {pair.image} is {image.shape[1]}x{image.shape[0]} and its label map {pair.label} is "
            f"{labels.shape[1]}x{labels.shape[0]}; they must be of one size"
        )
    return resized(Labelled(pair.name, image, labels), size)


def resized(item: Labelled, size: Size | None) -> Labelled:
    """Return the pair at another size: the image by the mean of the area, the labels by the nearest."""
    if size is None or size == item.labels.shape:
        return item
    image = torch.from_numpy(item.image).permute(2, 0, 1)[None].float()
    labels = torch.from_numpy(item.labels)[None, None].float()
    pixels = F.interpolate(image, size, mode="area")[0].permute(1, 2, 0).round().byte().numpy()
    nearest = F.interpolate(labels, size, mode="nearest-exact")[0, 0].byte().numpy()
    return Labelled(item.name, pixels, nearest)


def pack(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """Write a data set into one zip file, losslessly: images as WebP, classes as PNG, in the order they are in.

    The file appears whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
            for split, items in dataset.items():
                for number, item in enumerate(items):
                    stem = f"{split}/{number:06d}/{item.name}"
                    archive.writestr(f"{stem}/image.webp", _coded(item.image, "WEBP", lossless=True, method=4))
                    archive.writestr(f"{stem}/classes.png", _coded(item.labels, "PNG", optimize=True))
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise FileError(f"cannot write {path}: {error}") from error


def _coded(pixels: Pixels, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    return data.getvalue()


def _unpack(path: Path, classes: ClassTable, size: Size | None) -> Dataset:
    identity = ClassTable(classes.names)  # Packed labels are class numbers already.
    found: Dataset = {split: [] for split in SPLITS}
    try:
        with zipfile.ZipFile(path) as archive:
            for folder in sorted({name.rpartition("/")[0] for name in archive.namelist()}):
                split, _, name = folder.split("/", 2)
                image, labels = (
                    np.array(Image.open(io.BytesIO(archive.read(f"{folder}/{part}"))))
                    for part in ("image.webp", "classes.png")
                )
                checked = _classes_of(labels.astype(np.int64), identity, f"{path} ({folder})")
                found[cast(Split, split)].append(resized(Labelled(name, image, checked), size))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, ArgumentError):
            raise
        raise FileError(f"cannot read {path}: it is not a packed data set ({error})") from error
    return found


def fingerprint(items: Iterable[Labelled]) -> str:
    """Return a digest of names, pixels and labels."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.name} {item.image.shape}".encode() + item.image.tobytes() + item.labels.tobytes())
    return digest.hexdigest()[:16]


def class_shares(items: Iterable[Labelled], classes: int) -> npt.NDArray[np.float64]:
    """Return the share of the labelled pixels that is each class's."""
    counts = sum(np.bincount(item.labels.ravel(), minlength=256)[:classes] for item in items)
    total = np.asarray(counts, dtype=np.float64)
    return total / max(1.0, total.sum())


def class_weights(kind: str, shares: npt.NDArray[np.float64]) -> Tensor | None:
    """Return the weights of the classes in the loss, or ``None`` for equal ones.

    ``"median"``: the median share by the class's (Eigen and Fergus, ICCV 2015, section 5.2; SegNet). ``"log"``:
    1 / ln(1.02 + share) (Paszke et al., *ENet*, 2016, section 4.1), scaled to a mean of 1. A class that never occurs
    weighs nothing.
    """
    if kind == "none":
        return None
    if kind == "median":
        weights = np.median(shares[shares > 0]) / np.maximum(shares, 1e-12)
    else:
        weights = 1 / np.log(1.02 + shares)
    weights = np.where(shares > 0, weights, 0.0)
    if kind == "log":
        weights = weights / weights[shares > 0].mean()
    return torch.from_numpy(weights).float()

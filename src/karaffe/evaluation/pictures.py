"""Pictures that can be measured: read from files, cut to a multiple of the scale, reduced."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from karaffe.errors import ArgumentError, FileError, ShapeError
from karaffe.evaluation.images import Image, check_image, quantize
from karaffe.evaluation.resize import imresize
from karaffe.imaging import open_reader

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"})


def read_picture(path: str | os.PathLike[str]) -> Image:
    """Return the first frame of a grey or RGB file as ``(H, W)`` or ``(H, W, 3)``, without its alpha.

    8-bit and smaller integers come as uint8, 9 to 16 bit as uint16, both over the whole range; floats as they are.

    Raises:
        FileError: The file cannot be read, or holds neither grey nor RGB.
    """
    with open_reader(path) as reader:
        info = reader.info
        if info.colour not in ("grey", "rgb"):
            raise FileError(f"cannot compare {path}: it is neither grey nor RGB but {info.colour}")
        pixels = reader.read()[..., : 1 if info.colour == "grey" else 3]
    if info.dtype.kind != "f":
        low, high = info.value_range
        dtype = np.uint8 if info.bits <= 8 else np.uint16
        pixels = quantize((pixels.astype(np.float64) - low) / (high - low) * np.iinfo(dtype).max, dtype)
    return pixels[..., 0] if info.colour == "grey" else pixels


def crop_to_multiple(image: Image, scale: int, name: str = "image") -> Image:
    """Return ``image`` without the last rows and columns that do not make up a multiple of ``scale``.

    Raises:
        ShapeError: Nothing is left.
        ArgumentError: ``scale`` is not a whole number of at least 1.
    """
    check_image(image, name)
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise ArgumentError(f"scale must be a whole number of at least 1, got {scale!r}")
    height, width = (n - n % scale for n in image.shape[:2])
    if not height or not width:
        raise ShapeError(f"{name} has shape {image.shape}, too small for scale {scale}")
    return image[:height, :width]


def reduce(reference: Image, scale: int) -> Image:
    """Return ``reference`` reduced by ``1/scale`` as the papers do: MATLAB's antialiased bicubic."""
    return imresize(reference, 1 / scale)


def expand(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """Yield the files named, and the pictures directly inside the folders named, in the order of their names.

    Raises:
        FileError: A path that does not exist, or a folder without a picture.
    """
    for path in map(Path, paths):
        if not path.is_dir():
            if not path.exists():
                raise FileError(f"cannot read {path}: no such file or folder")
            yield path
            continue
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not inside:
            raise FileError(f"cannot read {path}: the folder holds no picture ({', '.join(sorted(SUFFIXES))})")
        yield from inside

"""Pictures that can be measured: read from files, cut to a multiple of the scale, reduced."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from karaffe.errors import ArgumentError, FileError, ShapeError
from karaffe.evaluation.images import Image, check_image, quantize
from karaffe.evaluation.resize import imresize
from karaffe.imaging import Reader, open_reader

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"})


def read_picture(path: str | os.PathLike[str]) -> Image:
    """Return the first frame of a grey or RGB file as ``(H, W)`` or ``(H, W, 3)``, without its alpha.

    8-bit and smaller integers come as uint8, 9 to 16 bit as uint16, both over the whole range; floats as they are.

    Raises:
        FileError: The file cannot be read, or holds neither grey nor RGB.
    """
    with open_reader(path) as reader:
        if reader.info.colour not in ("grey", "rgb"):
            raise FileError(f"cannot compare {path}: it is neither grey nor RGB but {reader.info.colour}")
        return _image(reader, 0, None)


def read_frames(
    path: str | os.PathLike[str], value_range: tuple[float, float] | None = None
) -> Iterator[tuple[str, Image]]:
    """Yield name and pixels of every frame of a file (page, slice, time): ``(H, W)`` or ``(H, W, bands)``.

    A single frame has the file's name, others their number behind it: ``scan.nii.gz[12]``.

    Args:
        value_range: Real values (Hounsfield units, reflectance) of black and white: frames come as float32 in [0, 1],
            clipped to it as a viewer's window does. Default: as :func:`read_picture`.

    Raises:
        FileError: The file cannot be read, is CMYK, or holds values that are not finite.
    """
    path = Path(path)
    with open_reader(path) as reader:
        if reader.info.colour == "cmyk":
            raise FileError(f"cannot compare {path}: CMYK values are inks, not intensities")
        for frame in range(reader.info.frames):
            name = path.name if reader.info.frames == 1 else f"{path.name}[{frame}]"
            image = _image(reader, frame, value_range)
            if image.dtype.kind == "f" and not np.isfinite(image).all():
                raise FileError(f"cannot compare {name}: it holds values that are not finite")
            yield name, image


def _image(reader: Reader, frame: int, value_range: tuple[float, float] | None) -> Image:
    info = reader.info
    pixels = reader.read(frame=frame)[..., : info.bands - info.has_alpha]
    if value_range is not None:
        (slope, intercept), (low, high) = info.rescale, value_range
        unit = (pixels.astype(np.float64) * slope + intercept - low) / (high - low)
        pixels = np.clip(unit, 0, 1).astype(np.float32)
    elif info.dtype.kind != "f":
        low, high = info.value_range
        dtype = np.uint8 if info.bits <= 8 else np.uint16
        pixels = quantize((pixels.astype(np.float64) - low) / (high - low) * np.iinfo(dtype).max, dtype)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


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

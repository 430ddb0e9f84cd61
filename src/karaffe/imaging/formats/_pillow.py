"""What the formats that Pillow decodes share: one decoded array, and metadata in one place."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from karaffe.errors import FileError
from karaffe.imaging.exif import orientation, upright_exif, upright_xmp, without_prefix
from karaffe.imaging.info import Array, Colour, ImageInfo, Window, dtype_range
from karaffe.imaging.libraries import library
from karaffe.imaging.orientation import swaps, upright
from karaffe.imaging.protocols import BaseReader

# Pillow's mode: colour, bands, alpha, dtype, bits. Palettes are expanded; the rest stays what it is.
_MODES: dict[str, tuple[Colour, int, bool, str, int]] = {
    "1": ("grey", 1, False, "uint8", 1),
    "L": ("grey", 1, False, "uint8", 8),
    "LA": ("grey", 2, True, "uint8", 8),
    "RGB": ("rgb", 3, False, "uint8", 8),
    "RGBA": ("rgb", 4, True, "uint8", 8),
    "CMYK": ("cmyk", 4, False, "uint8", 8),
    "I;16": ("grey", 1, False, "uint16", 16),
    "F": ("grey", 1, False, "float32", 32),
}


class PillowReader(BaseReader):
    """Decode a file with Pillow at the first read; the header alone is read before."""

    def __init__(self, path: Path, format_name: str, *, exif: bytes | None = None, **extras: Any) -> None:
        self._image = open_image(path, format_name)
        self._pixels: Array | None = None
        try:
            info = image_info(self._image, format_name.lower())
            info = replace(info, exif=info.exif or exif, extras=extras)
            self._orientation = orientation(info.exif, info.xmp)
            super().__init__(oriented(info, self._orientation), path)
        except BaseException:
            self._image.close()
            raise

    def _read(self, window: Window, frame: int) -> Array:
        if self._pixels is None:
            self._pixels = upright(self._decode(), self._orientation)
        return window.of(self._pixels)

    def _decode(self) -> Array:
        return image_array(self._image)

    def close(self) -> None:
        self._image.close()
        self._pixels = None


def open_image(path: Path, format_name: str) -> Any:
    """Open a still image with Pillow.

    Raises:
        FileError: Pillow takes it for a decompression bomb, or it is an animation.
    """
    pillow = library("PIL.Image", "imaging")
    try:
        with warnings.catch_warnings():
            # Pillow warns from half its limit on; a large photograph is no reason to.
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)
            image = pillow.open(path, formats=[format_name])
    except pillow.DecompressionBombError as error:
        raise FileError(
            f"cannot read {path}: {error}; raise PIL.Image.MAX_IMAGE_PIXELS if the file is to be trusted"
        ) from error
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        image.close()
        raise FileError(f"cannot read {path}: an animation of {frames} frames; still images are accepted")
    return image


def image_info(image: Any, format_name: str = "") -> ImageInfo:
    """Describe a Pillow image as it is stored (before orientation)."""
    mode = _expanded_mode(image)
    if mode not in _MODES:
        raise FileError(f"cannot read {image}: Pillow mode {mode!r}; accepted are {', '.join(_MODES)} and P")
    colour, bands, has_alpha, dtype, bits = _MODES[mode]
    meta = image.info
    xmp = meta.get("xmp")
    return ImageInfo(
        width=image.width,
        height=image.height,
        bands=bands,
        dtype=np.dtype(dtype),
        bits=bits,
        colour=colour,
        has_alpha=has_alpha,
        value_range=dtype_range(dtype, bits),
        format=format_name,
        icc=meta.get("icc_profile") or None,
        exif=without_prefix(meta.get("exif")),
        xmp=(xmp.encode() if isinstance(xmp, str) else xmp) or None,
        dpi=_dpi(meta.get("dpi")),
    )


def image_array(image: Any) -> Array:
    """Return the pixels ``(h, w, bands)`` of a Pillow image, palettes expanded."""
    mode = _expanded_mode(image)
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    if pixels.dtype == bool:
        pixels = (pixels.view(np.uint8) != 0).astype(np.uint8)  # Pillow's true is 255
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def array_image(pixels: Array, info: ImageInfo) -> Any:
    """Return ``(h, w, bands)`` as a Pillow image."""
    pillow = library("PIL.Image", "imaging")
    if info.bits == 1:
        return pillow.fromarray(pixels[:, :, 0].astype(bool))
    mode = next((m for m, v in _MODES.items() if v == _mode_key(info)), None)
    if mode is None:
        raise FileError(f"Pillow has no image of {info.bands} bands of {info.dtype} ({info.colour})")
    if mode == "CMYK":
        return pillow.frombytes("CMYK", (info.width, info.height), np.ascontiguousarray(pixels).tobytes())
    return pillow.fromarray(np.ascontiguousarray(pixels[:, :, 0] if info.bands == 1 else pixels))


def metadata(info: ImageInfo) -> dict[str, Any]:
    """Return the keyword arguments of Pillow's ``save`` that carry the metadata of ``info``."""
    meta: dict[str, Any] = {}
    if info.icc:
        meta["icc_profile"] = info.icc
    if info.xmp:
        meta["xmp"] = info.xmp
    if info.dpi:
        meta["dpi"] = info.dpi
    if info.exif:
        meta["exif"] = b"Exif\0\0" + upright_exif(info.exif, info.width, info.height)
    return meta


def refuses_more_than_8_bits(info: ImageInfo, colours: tuple[Colour, ...], alpha: bool) -> str | None:
    """Return why an 8-bit format with these colours cannot hold an image; None where it can."""
    if info.dtype != np.uint8:
        return f"holds 8-bit images, not {info.dtype}; choose .png or .tif"
    if info.colour not in colours:
        return f"holds {' or '.join(colours)} images, not {info.colour} of {info.bands} bands; choose .tif"
    if info.has_alpha and not alpha:
        return "holds no alpha; choose .png, .webp or .tif"
    if info.frames != 1:
        return f"holds one frame, not {info.frames}; choose .tif"
    return None


def oriented(info: ImageInfo, how: int) -> ImageInfo:
    if swaps(how):
        dpi = info.dpi and (info.dpi[1], info.dpi[0])
        info = replace(info, width=info.height, height=info.width, dpi=dpi)
    return replace(
        info,
        exif=info.exif and upright_exif(info.exif, info.width, info.height),
        xmp=info.xmp and upright_xmp(info.xmp),
    )


def _mode_key(info: ImageInfo) -> tuple[Colour, int, bool, str, int]:
    return (info.colour, info.bands, info.has_alpha, info.dtype.name, info.bits)


def _expanded_mode(image: Any) -> str:
    mode: str = image.mode
    transparent = "transparency" in image.info
    if mode == "P":
        return "RGBA" if transparent else "RGB"
    if mode in ("PA", "RGBa"):
        return "RGBA"
    if mode == "La":
        return "LA"
    if transparent and mode in ("L", "RGB"):
        return {"L": "LA", "RGB": "RGBA"}[mode]
    return "I;16" if mode.startswith("I;16") else mode


def _dpi(value: Any) -> tuple[float, float] | None:
    if not value:
        return None
    x, y = float(value[0]), float(value[1])
    return (x, y) if x > 0 and y > 0 else None

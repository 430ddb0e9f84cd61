"""Pictures as PNG for browsers, which decode 8 bit only: a deeper one is two, of its high and of its low bytes."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from karaffe.errors import FileError
from karaffe.evaluation.images import Image


def to_pngs(pixels: Image, level: int = 4) -> list[bytes]:
    """Return ``pixels``, ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)`` of uint8 or uint16, as one PNG or as two.

    ``level`` is that of compression, from 0, none, to 9.
    """
    return [_png(plane, level) for plane in to_planes(pixels)]


def to_planes(pixels: Image) -> list[npt.NDArray[np.uint8]]:
    """Return uint8 pixels as they are, uint16 ones as their high and their low bytes; one channel as ``(H, W)``."""
    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    return [flat] if flat.dtype == np.uint8 else [(flat >> 8).astype(np.uint8), flat.astype(np.uint8)]


def from_pngs(pngs: list[bytes]) -> Image:
    """Undo :func:`to_pngs`; grey comes back as ``(H, W)``.

    Raises:
        FileError: One that is no PNG.
    """
    try:
        planes = [np.asarray(Pillow.open(io.BytesIO(png), formats=["PNG"])) for png in pngs]
    except (OSError, SyntaxError) as error:
        raise FileError(f"cannot read a picture: {error}") from error
    return planes[0] if len(planes) == 1 else (planes[0].astype(np.uint16) << 8) | planes[1]


def _png(pixels: npt.NDArray[np.uint8], level: int) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()

"""Training pairs: pictures and their reduced versions.

The degradation is the papers': MATLAB's antialiased bicubic on 8-bit RGB. Training sees the luma of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from karaffe.errors import ArgumentError, FileError
from karaffe.evaluation import to_uint8
from karaffe.evaluation.images import Image
from karaffe.evaluation.pictures import expand, read_picture
from karaffe.models.luma import to_luma

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """A picture ``target (sH, sW, 3)`` and its reduction ``source (H, W, 3)``, 8-bit RGB."""

    name: str
    source: Pixels
    target: Pixels


def read_folder(folder: Path) -> list[tuple[str, Pixels]]:
    """Read every picture of ``folder`` in the order of names, as 8-bit RGB; grey ones get three equal channels.

    Raises:
        FileError: there is no such folder, no picture in it, or one that cannot be read (it is named).
    """
    if not folder.is_dir():
        raise FileError(f"no folder {folder}; it should hold training pictures")
    return [(path.name, as_rgb(read_picture(path))) for path in expand([folder])]


def as_rgb(picture: Image) -> Pixels:
    """Return a grey or RGB picture of any depth as 8-bit RGB."""
    pixels = to_uint8(picture)
    return np.stack([pixels] * 3, axis=2) if pixels.ndim == 2 else pixels


def check_size(name: str, picture: Pixels, edge: int) -> Pixels:
    """Return ``picture`` if an ``edge`` x ``edge`` crop fits into it.

    Raises:
        ArgumentError: it is smaller; the message names it.
    """
    height, width = picture.shape[:2]
    if min(height, width) < edge:
        raise ArgumentError(f"picture {name} is {width}x{height}, smaller than a patch of {edge}x{edge} target pixels")
    return picture


def luma_plane(rgb: Pixels) -> Tensor:
    """Return the full-range luma ``(H, W)`` in [0, 1], float32, unrounded."""
    x = torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)[None]
    return to_luma(x)[0, 0].contiguous()


def middle(picture: Pixels, edge: int) -> Pixels:
    """Cut the middle ``edge`` x ``edge`` out of a picture, or all of it where it is smaller."""
    top, left = (max(0, (n - edge) // 2) for n in picture.shape[:2])
    return picture[top : top + edge, left : left + edge]

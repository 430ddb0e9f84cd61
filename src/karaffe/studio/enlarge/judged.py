"""A picture that is reduced first, so that what models make of it can be measured against the picture itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image as Pillow

from karaffe.errors import ArgumentError, ShapeError
from karaffe.evaluation import PAPERS
from karaffe.evaluation.images import Image
from karaffe.evaluation.pictures import crop_to_multiple, read_picture, reduce
from karaffe.evaluation.protocol import Scores
from karaffe.imaging import open_reader
from karaffe.imaging.guard import file_errors
from karaffe.imaging.info import Array
from karaffe.studio.enlarge.events import Task


@dataclass(frozen=True)
class Judged:
    """The picture, cut to a multiple of the scale, and the file of the reduced one."""

    reference: Image
    reduced: Path
    scale: int

    def measure(self, made: Array) -> Scores | None:
        """PSNR and SSIM of a result ``(h, w, bands)`` as the papers have them; None where it is too small for that."""
        try:
            return PAPERS.measure(made.reshape(self.reference.shape), self.reference, self.scale)
        except ShapeError:
            return None


def reduce_first(task: Task) -> Judged:
    """Reduce the task's picture as the papers do, and keep that beside it.

    Raises:
        ArgumentError: A scale that is not whole, or a picture of more pixels than are made here. ShapeError: A picture
            smaller than the scale. FileError: It cannot be read, is neither grey nor RGB, or the disk is full.
    """
    scale = round(task.scale)
    if scale != task.scale or scale < 2:
        raise ArgumentError(f"{task.name}: to judge, the scale must be a whole number from 2 on; it is {task.scale:g}")
    with open_reader(task.source) as reader:
        pixels = reader.info.height * reader.info.width
    if pixels > task.pixels:
        most = f"at most {task.pixels / 1e6:g} million are made here"
        raise ArgumentError(f"{task.name}: it has {pixels / 1e6:.1f} million pixels; {most}")
    reference = crop_to_multiple(read_picture(task.source), scale, task.name)
    low = reduce(reference, scale)
    path = task.folder / ("reduced.png" if low.dtype == np.uint8 else "reduced.tif")
    with file_errors("write", path):
        if low.dtype == np.uint8:
            Pillow.fromarray(low).save(path, "PNG", compress_level=1)
        else:
            tifffile.imwrite(path, low, photometric="rgb" if low.ndim == 3 else "minisblack")
    return Judged(reference, path, scale)

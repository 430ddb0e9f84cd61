"""What pages look at of a picture: bitmaps, of a result in bands of rows, each as soon as it is made.

Bitmaps take no time to make: coding a PNG would take as long as many a result.
"""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue

from PIL import Image as Pillow

from karaffe.evaluation.images import Image
from karaffe.imaging import ImageInfo
from karaffe.imaging.arrays import ArrayWriter
from karaffe.imaging.guard import file_errors
from karaffe.imaging.info import Array
from karaffe.studio.enlarge.shown import shown_pixels
from karaffe.visualize.pngs import to_planes

SOURCE = "source"
LOW, IMPORTANCE = "-low", "-importance"


def view_file(folder: Path, view: str) -> Path:
    """The file of a view: ``source``, ``MODEL@ROW`` of a result, ``MODEL-importance``.

    Of deep pictures the low bytes are another file, with ``-low`` at the end.
    """
    return folder / f"view-{view}.bmp"


def band_view(model: int, top: int) -> str:
    """The view of a result's band that begins at row ``top``."""
    return f"{model}@{top}"


def write_view(folder: Path, view: str, pixels: Image) -> None:
    """Write pixels of 8 or 16 bit.

    Raises:
        FileError: The disk does not take it.
    """
    for name, plane in zip((view, f"{view}{LOW}"), to_planes(pixels), strict=False):
        path = view_file(folder, name)
        with file_errors("write", path):
            Pillow.fromarray(plane).save(path, "BMP")


class ShowingWriter(ArrayWriter):
    """Collects a result, and writes a view of each band of its middle frame.

    Attributes:
        shown: First rows of the bands that can be looked at, in the order made; whoever tells of one takes it out.
            None stands for a band of another frame.
    """

    def __init__(self, info: ImageInfo, folder: Path, model: int) -> None:
        super().__init__(info)
        self.shown: SimpleQueue[int | None] = SimpleQueue()
        self._folder, self._model = folder, model

    def _write(self, band: Array, frame: int) -> None:
        top = self._row
        super()._write(band, frame)
        middle = frame == self.info.frames // 2
        if middle:
            write_view(self._folder, band_view(self._model, top), shown_pixels(band, self.info))
        self.shown.put(top if middle else None)

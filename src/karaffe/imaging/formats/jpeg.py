"""JPEG: grey, RGB and CMYK of 8 bit, by Pillow."""

from __future__ import annotations

from pathlib import Path

from karaffe.imaging.formats import Format
from karaffe.imaging.formats._pillow import PillowReader, array_image, metadata, refuses_more_than_8_bits
from karaffe.imaging.info import ImageInfo
from karaffe.imaging.protocols import FrameWriter

_LARGEST = 65_500
QUALITY = 95


class JpegWriter(FrameWriter):
    """Encode at quality 95 without chroma subsampling, so that the file adds little to the network's error."""

    def __init__(self, path: Path, info: ImageInfo) -> None:
        super().__init__(info)
        self._path = path

    def _finish(self) -> None:
        image = array_image(self._pixels[0], self.info)
        image.save(self._path, format="JPEG", quality=QUALITY, subsampling=0, **metadata(self.info))


def _refuses(info: ImageInfo) -> str | None:
    if info.bits == 1:
        return "holds no binary masks; choose .png or .tif"
    if max(info.width, info.height) > _LARGEST:
        return f"holds at most {_LARGEST} pixels a side, not {info.width} x {info.height}; choose .png or .tif"
    return refuses_more_than_8_bits(info, ("grey", "rgb", "cmyk"), alpha=False)


FORMATS = (
    Format(
        name="jpeg",
        suffixes=(".jpg", ".jpeg"),
        matches=lambda head, path: head.startswith(b"\xff\xd8\xff"),
        read=lambda path: PillowReader(path, "JPEG"),
        write=JpegWriter,
        refuses=_refuses,
    ),
)

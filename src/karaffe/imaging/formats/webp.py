"""WebP: grey (stored as RGB), RGB and RGBA of 8 bit, lossless or lossy as the source was, by Pillow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from karaffe.imaging.formats import Format
from karaffe.imaging.formats._pillow import PillowReader, array_image, metadata, refuses_more_than_8_bits
from karaffe.imaging.info import ImageInfo
from karaffe.imaging.protocols import FrameWriter

_LARGEST = 16_383
QUALITY = 95


def read_webp(path: Path) -> PillowReader:
    """Open a WebP file and note whether it is lossless (a VP8L chunk; a lossy one has VP8 instead)."""
    return PillowReader(path, "WEBP", lossless=_has_lossless_chunk(path))


def _has_lossless_chunk(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            kind, size = header[:4], int.from_bytes(header[4:], "little")
            if kind in (b"VP8 ", b"VP8L"):
                return kind == b"VP8L"
            file.seek(size + size % 2, 1)
    return False


class WebpWriter(FrameWriter):
    """Encode losslessly unless the source was a lossy WebP."""

    def __init__(self, path: Path, info: ImageInfo) -> None:
        super().__init__(info)
        self._path = path

    def _finish(self) -> None:
        info, pixels = self.info, self._pixels[0]
        if info.colour == "grey":
            colour = np.repeat(pixels[:, :, :1], 3, axis=2)
            pixels = np.concatenate([colour, pixels[:, :, 1:]], axis=2)
            info = _as_rgb(info)
        lossless = info.format != "webp" or bool(info.extras.get("lossless", True))
        meta = metadata(info)
        meta.pop("dpi", None)
        # exact: colours under full transparency are part of the picture, not the encoder's to change.
        array_image(pixels, info).save(
            self._path, format="WEBP", lossless=lossless, quality=QUALITY, exact=True, **meta
        )


def _as_rgb(info: ImageInfo) -> ImageInfo:
    return replace(info, colour="rgb", bands=info.bands + 2)


def _refuses(info: ImageInfo) -> str | None:
    if info.bits == 1:
        return "holds no binary masks; choose .png or .tif"
    if max(info.width, info.height) > _LARGEST:
        return f"holds at most {_LARGEST} pixels a side, not {info.width} x {info.height}; choose .png or .tif"
    return refuses_more_than_8_bits(info, ("grey", "rgb"), alpha=True)


FORMATS = (
    Format(
        name="webp",
        suffixes=(".webp",),
        matches=lambda head, path: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
        read=read_webp,
        write=WebpWriter,
        refuses=_refuses,
    ),
)

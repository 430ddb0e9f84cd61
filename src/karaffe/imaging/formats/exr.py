"""OpenEXR by its own library: scene-linear half and float, grey, RGB, alpha, any other channels.

Values are not bounded by [0, 1]. Alpha is associated in OpenEXR; it is divided out at reading and multiplied back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from karaffe.errors import FileError
from karaffe.imaging.formats import Format
from karaffe.imaging.formats._tiff_writer import associate
from karaffe.imaging.info import Array, Colour, ImageInfo, Window
from karaffe.imaging.libraries import library
from karaffe.imaging.protocols import BaseReader, FrameWriter

_EXTRA = "exr"
_COLOURS = {"RGB": ("R", "G", "B"), "RGBA": ("R", "G", "B", "A"), "Y": ("Y",), "YA": ("Y", "A")}
# Attributes that follow from the pixels, or that the library sets itself.
_OWN = {"channels", "dataWindow", "displayWindow", "tiles", "chunkCount", "version"}


class ExrReader(BaseReader):
    """Decode the first part at opening: its types are not known before."""

    def __init__(self, path: Path) -> None:
        with library("OpenEXR", _EXTRA).File(str(path), separate_channels=True) as file:
            header, channels = dict(file.header()), {n: c.pixels for n, c in file.channels().items()}
        dtypes, shapes = {p.dtype.name for p in channels.values()}, {p.shape for p in channels.values()}
        if len(dtypes) != 1 or len(shapes) != 1 or not dtypes < {"float16", "float32"}:
            raise FileError(
                f"cannot read {path}: channels {', '.join(channels)} of {', '.join(sorted(dtypes))}, shapes {shapes}; "
                "accepted are channels of one floating type and one size"
            )
        order, colour, has_alpha = _layout(list(channels))
        self._pixels = np.stack([channels[name] for name in order], axis=2)
        height, width = shapes.pop()
        info = ImageInfo(
            width=width,
            height=height,
            bands=len(order),
            dtype=self._pixels.dtype,
            bits=8 * self._pixels.itemsize,
            colour=colour,
            has_alpha=has_alpha,
            unbounded=True,
            format="exr",
            extras={"names": tuple(order), "header": {k: v for k, v in header.items() if k not in _OWN}},
        )
        super().__init__(info, path)

    def _read(self, window: Window, frame: int) -> Array:
        pixels = window.of(self._pixels)
        return associate(pixels, self.info, undo=True) if self.info.has_alpha else pixels


class ExrWriter(FrameWriter):
    """Encode at closing, with the attributes of the source."""

    def __init__(self, path: Path, info: ImageInfo) -> None:
        super().__init__(info)
        self._path = path

    def _finish(self) -> None:
        exr = library("OpenEXR", _EXTRA)
        info, pixels = self.info, self._pixels[0]
        if info.has_alpha:
            pixels = associate(pixels, info, undo=False)
        source = info.extras if info.format == "exr" else {}
        names = source.get("names") or _names(info)
        header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage, **source.get("header", {})}
        header["type"] = exr.scanlineimage  # a tiled source too: its tiles are not kept
        channels = {name: np.ascontiguousarray(pixels[:, :, i]) for i, name in enumerate(names)}
        with exr.File(header, channels) as file:
            file.write(str(self._path))


def _layout(names: list[str]) -> tuple[list[str], Colour, bool]:
    for order in _COLOURS.values():
        if sorted(names) == sorted(order):
            return list(order), "rgb" if "R" in order else "grey", "A" in order
    return names, "bands", False


def _names(info: ImageInfo) -> tuple[str, ...]:
    colours = {"grey": "Y", "rgb": "RGB"}.get(info.colour)
    if colours is None:
        return tuple(f"band{i + 1}" for i in range(info.bands))
    return _COLOURS[colours + "A" * info.has_alpha]


def _refuses(info: ImageInfo) -> str | None:
    if info.dtype not in (np.dtype(np.float16), np.dtype(np.float32)):
        return f"holds float16 and float32, not {info.dtype}; choose .tif"
    if info.frames != 1:
        return f"holds one frame, not {info.frames}; choose .tif"
    return None


FORMATS = (
    Format(
        name="exr",
        suffixes=(".exr",),
        matches=lambda head, path: head.startswith(b"\x76\x2f\x31\x01"),
        read=ExrReader,
        write=ExrWriter,
        refuses=_refuses,
    ),
)

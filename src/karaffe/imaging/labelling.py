"""Label image files by a segmentation network, tile by tile: palette PNG, or GeoTIFF that stays where it was.

A tile is computed with the network's halo around it, on the grid of its stride, so that it equals the same part of
the untiled result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from karaffe.errors import ArgumentError, FileError, ShapeError
from karaffe.imaging.engine import Tile, check_tile
from karaffe.imaging.files import open_reader, open_writer
from karaffe.imaging.guard import file_errors
from karaffe.imaging.info import ImageInfo, Window
from karaffe.imaging.libraries import library
from karaffe.imaging.protocols import Reader
from karaffe.imaging.storage import Draft
from karaffe.imaging.values import to_unit
from karaffe.models.segmentation import ClassTable, Segmenter

AUTO_TILE = 1024
Labels = npt.NDArray[np.uint8]


def label_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    model: Segmenter,
    classes: ClassTable,
    *,
    tile: Tile = "auto",
    device: str | torch.device = "cpu",
    overwrite: bool = False,
) -> None:
    """Label the first frame of an image file; the result holds the classes' values, painted in their colours.

    Args:
        source: grey or RGB, of any size, depth and format that karaffe reads.
        target: ``.png``: a palette image; ``.tif``, of a GeoTIFF: a class map with the same coordinates.
        model: in evaluation mode. classes: what its classes are.
        tile: pixels a side of a tile, ``"auto"`` (1024), or 0 for the whole image; rounded up to the stride.
        device: to compute on.
        overwrite: replace an existing ``target``.

    Raises:
        FileError: a file that cannot be read or written, or exists.
        ShapeError: an image that is neither grey nor RGB.
        ArgumentError: another suffix, or a value that is no tile.
    """
    check_tile(tile)
    source, target = Path(source), Path(target)
    if target.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise ArgumentError(f"a label map is written as .png or .tif; got {target}")
    model = model.to(device)
    with open_reader(source) as reader:
        info = reader.info
        if info.colour not in ("grey", "rgb"):
            raise ShapeError(f"{source} is neither grey nor RGB but {info.colour}")
        bands = label_bands(reader, model, tile, device)
        table = np.array(classes.values, dtype=np.uint8)
        if target.suffix.lower() == ".png":
            _write_png(target, np.concatenate([table[band] for _, band in bands]), classes, overwrite)
            return
        if info.format != "geotiff":
            raise FileError(f"cannot write {target}: a .tif of labels is made of GeoTIFF; {source} is {info.format}")
        with open_writer(target, _class_map(info, classes), overwrite=overwrite) as writer:
            for top, band in bands:
                writer.write(Window(top, 0, len(band), info.width), table[band][:, :, None])


def label_bands(
    reader: Reader, model: Segmenter, tile: Tile = "auto", device: str | torch.device = "cpu"
) -> Iterator[tuple[int, Labels]]:
    """Yield full-width bands of class numbers from the top down, each with its first row."""
    info = reader.info
    side = max(info.height, info.width) if tile == 0 else AUTO_TILE if tile == "auto" else tile
    side = -(-side // model.stride) * model.stride
    for top in range(0, info.height, side):
        bottom = min(top + side, info.height)
        first, last = max(0, top - model.halo), min(info.height, bottom + model.halo)
        rows = reader.read(Window(first, 0, last - first, info.width))[:, :, : 1 if info.colour == "grey" else 3]
        band = np.empty((bottom - top, info.width), dtype=np.uint8)
        for left in range(0, info.width, side):
            right = min(left + side, info.width)
            start, stop = max(0, left - model.halo), min(info.width, right + model.halo)
            x = to_unit(rows[:, start:stop], info)[None].float().to(device)
            with torch.inference_mode():
                logits = model(x)[0, :, top - first : bottom - first, left - start : right - start]
                band[:, left:right] = logits.argmax(0).to(torch.uint8).cpu().numpy()
        yield top, band


def palette_image(labels: Labels, classes: ClassTable) -> Image.Image:
    """Return a Pillow palette image of label values, each in its class's colour, what has no label black."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[list(classes.values)] = classes.colours
    image = Image.fromarray(labels).convert("P")
    image.putpalette(palette.tobytes())
    return image


def _write_png(target: Path, labels: Labels, classes: ClassTable, overwrite: bool) -> None:
    draft = Draft(target, overwrite=overwrite)
    try:
        with file_errors("write", target):
            palette_image(labels, classes).save(draft.path, "PNG", optimize=True)
        draft.commit()
    except BaseException:
        draft.discard()
        raise


def _class_map(info: ImageInfo, classes: ClassTable) -> ImageInfo:
    """Describe a class map on the grid of a GeoTIFF."""
    interpretation = library("rasterio", "geo").enums.ColorInterp
    painted = zip(classes.values, classes.colours, strict=True)
    extras: dict[str, Any] = dict(info.extras) | {
        "masked": False,
        "declared_nodata": None,
        "descriptions": (", ".join(classes.names),),
        "colorinterp": (interpretation.palette,),
        "units": (None,),
        "scales": (1.0,),
        "offsets": (0.0,),
        "band_tags": [{f"CLASS_{v}": n for v, n in zip(classes.values, classes.names, strict=True)}],
        "colormap": {value: (*colour, 255) for value, colour in painted},
    }
    return replace(
        info,
        bands=1,
        dtype=np.dtype(np.uint8),
        bits=8,
        colour="grey",
        has_alpha=False,
        value_range=(0.0, 255.0),
        labels=True,
        frames=1,
        slices=1,
        nodata=None,
        extras=extras,
    )

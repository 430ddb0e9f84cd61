"""Zarr arrays, and OME-Zarr images (0.4 and 0.5) with their axes, scales and pyramid.

A plain array is ``(H, W)``, ``(H, W, C)`` or ``(N, H, W, C)``, as NumPy's. An OME-Zarr image has named axes: channels
are bands, z counts the slices of a volume and time the volumes. Chunks are read and written as they are needed.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from karaffe.errors import FileError
from karaffe.imaging.arrays import array_info
from karaffe.imaging.blocks import RowBlocks
from karaffe.imaging.formats import Format
from karaffe.imaging.info import Array, ImageInfo, Window
from karaffe.imaging.libraries import library
from karaffe.imaging.protocols import BaseReader, BaseWriter

_EXTRA = "zarr"
_MARKS = (".zarray", ".zgroup", "zarr.json")
_MILLIMETRES = {"micrometer": 1e-3, "nanometer": 1e-6, "millimeter": 1.0, "centimeter": 10.0, "meter": 1000.0}
_PLAIN = {2: "yx", 3: "yxc", 4: "tyxc"}


class ZarrReader(BaseReader):
    """Give windows of the finest level."""

    def __init__(self, path: Path) -> None:
        node = library("zarr", _EXTRA).open(path, mode="r")
        ome = _multiscales(node)
        if ome is None and not hasattr(node, "shape"):
            raise FileError(f"cannot read {path}: a Zarr group that is no OME-Zarr image")
        self._array = node if ome is None else node[ome["datasets"][0]["path"]]
        axes = _PLAIN.get(self._array.ndim) if ome is None else "".join(_name(a) for a in ome["axes"])
        if axes is None or len(axes) != self._array.ndim or not set("yx") <= set(axes) <= set("tczyx"):
            raise FileError(
                f"cannot read {path}: an array of shape {self._array.shape} with axes {axes}; accepted are (H, W), "
                "(H, W, C), (N, H, W, C), and the axes t, c, z, y, x of OME-Zarr"
            )
        self._axes = axes
        extras = {"axes": axes, "source": self._array, "attributes": dict(node.attrs), "ome": ome}
        super().__init__(_describe(self._array, axes, ome, extras), path)

    def _read(self, window: Window, frame: int) -> Array:
        volume, place = divmod(frame, self.info.slices)
        where = {"t": volume, "z": place, "c": slice(None)}
        where |= {"y": slice(window.top, window.bottom), "x": slice(window.left, window.right)}
        pixels = np.asarray(self._array[tuple(where[a] for a in self._axes)])
        left = "".join(a for a in self._axes if a in "cyx")
        if "c" not in left:
            return pixels[:, :, None].astype(self.info.dtype)
        return pixels.transpose([left.index(a) for a in "yxc"]).astype(self.info.dtype)


def _describe(array: Any, axes: str, ome: Any, extras: dict[str, Any]) -> ImageInfo:
    sizes = dict(zip(axes, array.shape, strict=True))
    bands, slices = sizes.get("c", 1), sizes.get("z", 1)
    # One empty frame is enough to describe the type and the colours.
    info = array_info(np.empty((1, 1, 1, bands), array.dtype), format="zarr", extras=extras)
    spacing: dict[str, float] = {}
    if ome is not None:
        factors = _transform(ome["datasets"][0], "scale", len(axes), 1.0)
        for axis, declared, factor in zip(axes, ome["axes"], factors, strict=True):
            unit = _MILLIMETRES.get(declared.get("unit", "")) if isinstance(declared, dict) else None
            if unit is not None:
                spacing[axis] = factor * unit
        # Channels of a microscope are stains, not red, green and blue.
        info = replace(info, colour="grey" if bands == 1 else "bands")
    return replace(
        info,
        width=sizes["x"],
        height=sizes["y"],
        frames=slices * sizes.get("t", 1),
        slices=slices,
        spacing=(spacing["y"], spacing["x"]) if {"y", "x"} <= set(spacing) else None,
        slice_spacing=spacing.get("z"),
    )


class ZarrWriter(BaseWriter):
    """Write rows of chunks; a pyramid is made again at the end, by halving."""

    def __init__(self, path: Path, info: ImageInfo) -> None:
        super().__init__(info)
        zarr, kept = library("zarr", _EXTRA), info.extras if info.format == "zarr" else {}
        self._axes: str = kept.get("axes") or _PLAIN[4 if info.frames > 1 else 3 if info.bands > 1 else 2]
        self._ome, source = kept.get("ome"), kept.get("source")
        version = source.metadata.zarr_format if source is not None else 3
        attributes = kept.get("attributes", {})
        if self._ome is None:
            self._level = self._create(zarr, path, "", source, version, attributes)
        else:
            group = zarr.open_group(path, mode="w", zarr_format=version)
            self._levels = [
                self._create(zarr, path, str(level["path"]), source, version, {}, 2**number)
                for number, level in enumerate(self._ome["datasets"])
            ]
            self._level = self._levels[0]
            group.attrs.update(_finer(attributes, self._ome, info, self._axes))
        self._blocks = RowBlocks(info.height, self._level.chunks[self._axes.index("y")])

    def _create(
        self, zarr: Any, path: Path, name: str, source: Any, version: int, attributes: Any, step: int = 1
    ) -> Any:
        info = self.info
        sizes = {"t": info.frames // info.slices, "c": info.bands, "z": info.slices}
        sizes |= {"y": math.ceil(info.height / step), "x": math.ceil(info.width / step)}
        shape = tuple(sizes[a] for a in self._axes)
        whole = {"t": 1, "z": 1, "c": info.bands, "y": 256, "x": 256}
        before = source.chunks if source is not None else [whole[a] for a in self._axes]
        # Planes come one by one: a chunk that spans several would be written again for each.
        chunks = tuple(1 if a in "tz" else max(1, min(n, c)) for a, n, c in zip(self._axes, shape, before, strict=True))
        options: dict[str, Any] = {}
        if source is not None:
            options = {"compressors": source.compressors, "filters": source.filters, "fill_value": source.fill_value}
        dtype = np.dtype(bool) if info.bits == 1 else info.dtype
        return zarr.create_array(
            path, name=name or None, shape=shape, chunks=chunks, dtype=dtype, zarr_format=version,
            attributes=attributes, **options,
        )  # fmt: skip

    def _write(self, band: Array, frame: int) -> None:
        block = self._blocks.push(band)
        if block is not None:
            self._store(self._level, frame, *block)

    def _store(self, level: Any, frame: int, top: int, pixels: Array) -> None:
        volume, place = divmod(frame, self.info.slices)
        where = {"t": volume, "z": place, "c": slice(None), "y": slice(top, top + len(pixels)), "x": slice(None)}
        left = "".join(a for a in self._axes if a in "cyx")
        planes = pixels.transpose(["yxc".index(a) for a in left]) if "c" in left else pixels[:, :, 0]
        level[tuple(where[a] for a in self._axes)] = planes.astype(level.dtype)

    def _finish(self) -> None:
        if self._ome is not None:
            for finer, coarser in zip(self._levels, self._levels[1:], strict=False):
                self._halve(finer, coarser)

    def _halve(self, finer: Any, coarser: Any) -> None:
        """Fill a level with the means of 2 x 2 pixels of the one before (the corner one for labels)."""
        rows = coarser.chunks[self._axes.index("y")]
        height = coarser.shape[self._axes.index("y")]
        y, x = self._axes.index("y"), self._axes.index("x")
        for outer in np.ndindex(*(n if a in "tz" else 1 for n, a in zip(finer.shape, self._axes, strict=True))):
            for top in range(0, height, rows):
                where: list[Any] = [
                    slice(i, i + 1) if a in "tz" else slice(None) for i, a in zip(outer, self._axes, strict=True)
                ]
                target = list(where)
                where[y], target[y] = slice(2 * top, 2 * (top + rows)), slice(top, top + rows)
                coarser[tuple(target)] = _halved(np.asarray(finer[tuple(where)]), y, x, self.info.labels)


def _halved(pixels: Array, y: int, x: int, labels: bool) -> Array:
    if labels or pixels.dtype == bool:
        keep: list[Any] = [slice(None)] * pixels.ndim
        keep[y] = keep[x] = slice(None, None, 2)
        return np.asarray(pixels[tuple(keep)])
    for axis in (y, x):
        even = np.pad(pixels, [(0, pixels.shape[a] % 2 if a == axis else 0) for a in range(pixels.ndim)], "edge")
        first, second = (even.take(range(s, even.shape[axis], 2), axis).astype(np.float64) for s in (0, 1))
        mean = (first + second) / 2
        pixels = (np.floor(mean + 0.5) if pixels.dtype.kind in "iu" else mean).astype(pixels.dtype)
    return pixels


def _finer(attributes: dict[str, Any], ome: Any, info: ImageInfo, axes: str) -> dict[str, Any]:
    """Return the attributes with scales and translations for the new grid (half a pixel's difference)."""
    result = copy.deepcopy(attributes)
    holder = result.get("ome", result)
    made = copy.deepcopy(ome)
    before = dict(zip(axes, info.extras["source"].shape, strict=True))
    after = {**before, "y": info.height, "x": info.width, "z": info.slices}
    steps = [before[a] / after[a] for a in axes]
    old = _transform(ome["datasets"][0], "scale", len(axes), 1.0)
    place = _transform(ome["datasets"][0], "translation", len(axes), 0.0)
    for number, level in enumerate(made["datasets"]):
        coarse = [2**number if a in "yx" else 1 for a in axes]
        scale = [o * s * c for o, s, c in zip(old, steps, coarse, strict=True)]
        shift = [p + (n - o) / 2 for p, n, o in zip(place, scale, old, strict=True)]
        level["coordinateTransformations"] = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": shift},
        ]
    holder["multiscales"] = [made, *holder["multiscales"][1:]]
    return result


def _multiscales(node: Any) -> Any:
    attributes = dict(node.attrs)
    found = attributes.get("ome", attributes).get("multiscales")
    return found[0] if found else None


def _name(axis: Any) -> str:
    return str(axis["name"] if isinstance(axis, dict) else axis)


def _transform(dataset: Any, kind: str, count: int, default: float) -> list[float]:
    for transform in dataset.get("coordinateTransformations", []):
        if transform["type"] == kind:
            return [float(v) for v in transform[kind]]
    return [default] * count


FORMATS = (
    Format(
        name="zarr",
        suffixes=(".zarr",),
        matches=lambda head, path: path.is_dir() and any((path / mark).is_file() for mark in _MARKS),
        read=ZarrReader,
        write=ZarrWriter,
        refuses=lambda info: None,
    ),
)

"""xarray's labelled arrays as frames of pixels, and back with coordinates for the new grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from karaffe.errors import ShapeError
from karaffe.imaging.arrays import array_info
from karaffe.imaging.info import Array, ImageInfo

_ROWS = ("y", "lat", "latitude", "row", "rows", "height", "northing")
_COLUMNS = ("x", "lon", "longitude", "col", "cols", "column", "columns", "width", "easting")
_BANDS = ("band", "bands", "channel", "channels", "c", "wavelength", "rgb")
_FILL = ("_FillValue", "missing_value", "nodata")


def is_labelled(image: Any) -> bool:
    """Return whether ``image`` is an xarray.DataArray, without importing xarray."""
    return any(f"{c.__module__}.{c.__name__}" == "xarray.core.dataarray.DataArray" for c in type(image).__mro__)


def unpack_labelled(image: Any, alpha: bool) -> tuple[Array, ImageInfo, Callable[[Array, ImageInfo], Any]]:
    """Return frames, their description, and the way back.

    Rows and columns are the dimensions of those names (y, lat …; x, lon …), else the last two; bands are a dimension
    named so; every other dimension counts frames.
    """
    rows, columns = _dimension(image, _ROWS, -2), _dimension(image, _COLUMNS, -1)
    if rows == columns:
        raise ShapeError(f"a DataArray image must have two dimensions for rows and columns, got {image.dims}")
    bands = next((d for d in image.dims if str(d).lower() in _BANDS and d not in (rows, columns)), None)
    others = [d for d in image.dims if d not in (rows, columns, bands)]
    order = [*others, rows, columns, *([bands] if bands is not None else [])]
    values = np.asarray(image.transpose(*order).values)
    shape = values.shape[: len(others)]
    frames = values.reshape(-1, *values.shape[len(others) :])
    info = array_info(frames if bands is not None else frames[..., None], alpha=alpha)
    info = replace(info, nodata=_fill(image))

    def repack(result: Array, target: ImageInfo) -> Any:
        pixels = result.reshape(*shape, *result.shape[1:])
        pixels = (pixels if bands is not None else pixels[..., 0]).astype(image.dtype, copy=False)
        coordinates = _coordinates(image, {rows: (info.height, target.height), columns: (info.width, target.width)})
        made = type(image)(pixels, dims=order, coords=coordinates, name=image.name, attrs=image.attrs)
        return made.transpose(*image.dims)

    stored = frames if bands is not None else frames[..., None]
    return stored.astype(info.dtype, copy=False), info, repack


def _dimension(image: Any, names: tuple[str, ...], place: int) -> Any:
    if image.ndim < 2:
        raise ShapeError(f"a DataArray image must have two dimensions for rows and columns, got {image.dims}")
    return next((d for d in image.dims if str(d).lower() in names), image.dims[place])


def _fill(image: Any) -> float | None:
    for holder in (image.attrs, image.encoding):
        for name in _FILL:
            if holder.get(name) is not None and np.isfinite(holder[name]):
                return float(holder[name])
    return None


def _coordinates(image: Any, sizes: dict[Any, tuple[int, int]]) -> dict[Any, Any]:
    """Return coordinates for the new grid: centres at ``(i + 1/2) n / m - 1/2`` of the old ones, carried on outside.

    Those that depend on a changed dimension and are not numbers along it alone are left out.
    """
    result: dict[Any, Any] = {}
    for name, coordinate in image.coords.items():
        changed = [d for d in coordinate.dims if d in sizes]
        if not changed:
            result[name] = _finer_grid(coordinate, sizes)
        elif coordinate.dims == (changed[0],) and np.issubdtype(coordinate.dtype, np.number):
            old, new = sizes[changed[0]]
            values = np.asarray(coordinate.values, np.float64)
            result[name] = (coordinate.dims, _resampled(values, old, new), coordinate.attrs)
    return result


def _resampled(values: Array, old: int, new: int) -> Array:
    places = (np.arange(new) + 0.5) * old / new - 0.5
    if old == 1:
        return np.full(new, values[0])
    left = np.clip(np.floor(places).astype(int), 0, old - 2)
    return np.asarray(values[left] + (places - left) * (values[left + 1] - values[left]))


def _finer_grid(coordinate: Any, sizes: dict[Any, tuple[int, int]]) -> Any:
    """Return a coordinate, with GDAL's GeoTransform (as rioxarray keeps it) for the new grid."""
    text = coordinate.attrs.get("GeoTransform")
    if not isinstance(text, str):
        return coordinate
    (rows, new_rows), (columns, new_columns) = sizes.values()
    c, a, b, f, d, e = (float(v) for v in text.split())
    across, down = columns / new_columns, rows / new_rows
    made = coordinate.copy()
    made.attrs["GeoTransform"] = " ".join(repr(v) for v in (c, a * across, b * down, f, d * across, e * down))
    return made

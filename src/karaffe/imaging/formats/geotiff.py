"""GeoTIFF by rasterio: windows, coordinate system, transform, control points, nodata, band descriptions, overviews.

The pixel grid becomes finer and the ground stays where it is: ``transform * scale(W / W', H / H')``, which holds for
rotated and sheared transforms too. Class maps (a colour table) are enlarged by nearest neighbour.
"""

from __future__ import annotations

import math
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from karaffe.errors import FileError
from karaffe.imaging.blocks import RowBlocks
from karaffe.imaging.formats import Format
from karaffe.imaging.formats.tiff import MAGIC
from karaffe.imaging.info import Array, Colour, ImageInfo, Window, dtype_range
from karaffe.imaging.libraries import library
from karaffe.imaging.protocols import BaseReader, BaseWriter

_EXTRA = "geo"
# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GDAL_METADATA, GDAL_NODATA, RPC
_GEO_TAGS = (33550, 33922, 34264, 34735, 42112, 42113, 50844)
_BLOCK = 256
# GDAL's own default is a share of the machine's memory, which would make ours depend on the machine.
_CACHE_BYTES = 128 << 20
_LOSSLESS = ("DEFLATE", "LZW", "ZSTD", "LZMA", "PACKBITS")


class GeoTiffReader(BaseReader):
    """Give windows of all bands; a dataset mask becomes alpha."""

    def __init__(self, path: Path) -> None:
        rasterio = library("rasterio", _EXTRA)
        self._file = _open(path, driver="GTiff")
        try:
            self._masked = (
                rasterio.enums.MaskFlags.per_dataset in self._file.mask_flag_enums[0]
                and rasterio.enums.MaskFlags.alpha not in self._file.mask_flag_enums[0]
            )
            super().__init__(_describe(self._file, path, self._masked, rasterio), path)
        except BaseException:
            self._file.close()
            raise

    def _read(self, window: Window, frame: int) -> Array:
        where = library("rasterio.windows", _EXTRA).Window(window.left, window.top, window.width, window.height)
        pixels = self._file.read(window=where)
        if self._masked:
            opaque = self._file.dataset_mask(window=where)[None] > 0
            top = self.info.value_range[1]
            pixels = np.concatenate([pixels, np.where(opaque, top, 0).astype(pixels.dtype)])
        return np.asarray(pixels).transpose(1, 2, 0)

    def close(self) -> None:
        self._file.close()


def _describe(file: Any, path: Path, masked: bool, rasterio: Any) -> ImageInfo:
    kinds = set(file.dtypes)
    dtype = np.dtype(file.dtypes[0])
    if len(kinds) != 1 or dtype.kind not in "iuf" or (dtype.kind in "iu" and dtype.itemsize == 8):
        raise FileError(
            f"cannot read {path}: bands of {', '.join(sorted(kinds))}; accepted is one real type up to 32 bit"
        )
    interp = [c.name for c in file.colorinterp]
    has_alpha = masked or (file.count > 1 and interp[-1] == "alpha")
    colours = file.count - (has_alpha and not masked)
    colour: Colour = "grey" if colours == 1 else "bands"
    if colours == 3 and interp[:3] == ["red", "green", "blue"]:
        colour = "rgb"
    nodata = {n for n in file.nodatavals if n is not None and not np.isnan(n)}
    if len(nodata) > 1:
        raise FileError(f"cannot read {path}: its bands have several nodata values: {sorted(nodata)}")
    bits = int(file.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8 * dtype.itemsize))
    return ImageInfo(
        width=file.width,
        height=file.height,
        bands=file.count + masked,
        dtype=dtype,
        bits=bits,
        colour=colour,
        has_alpha=has_alpha,
        value_range=dtype_range(dtype, bits),
        labels=interp[0] == "palette",
        format="geotiff",
        nodata=nodata.pop() if nodata else None,
        spacing=_spacing(file),
        extras={"size": (file.height, file.width), "masked": masked, **_kept(file, rasterio)},
    )


def _spacing(file: Any) -> tuple[float, float] | None:
    """Return millimetres on the ground a pixel; None without a transform, or in degrees."""
    if file.crs is None or not file.crs.is_projected or file.transform.is_identity:
        return None
    unit = 1000 * float(file.crs.linear_units_factor[1])
    t = file.transform
    return (math.hypot(t.b, t.e) * unit, math.hypot(t.a, t.d) * unit)


def _kept(file: Any, rasterio: Any) -> dict[str, Any]:
    """Return what of a dataset outlives a change of its grid."""
    colormap = None
    if file.colorinterp[0].name == "palette":
        colormap = file.colormap(1)
    return {
        "crs": file.crs,
        "transform": file.transform,
        "gcps": file.gcps,
        "rpcs": file.rpcs,
        "declared_nodata": file.nodata,
        "descriptions": file.descriptions,
        "colorinterp": file.colorinterp,
        "units": file.units,
        "scales": file.scales,
        "offsets": file.offsets,
        "tags": file.tags(),
        "band_tags": [file.tags(i) for i in file.indexes],
        "colormap": colormap,
        "compress": file.profile.get("compress", "deflate").upper(),
        "overviews": file.overviews(1),
    }


class GeoTiffWriter(BaseWriter):
    """Write blocks of 256 rows as they fill up; BigTIFF where the file may exceed 4 GB."""

    def __init__(self, path: Path, info: ImageInfo) -> None:
        super().__init__(info)
        self._extras, self._path = info.extras, path
        self._masked = bool(info.extras["masked"])
        self._blocks = RowBlocks(info.height, _BLOCK)
        tiled = min(info.height, info.width) >= _BLOCK
        blocks = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK} if tiled else {}
        compress = info.extras["compress"] if info.extras["compress"] in _LOSSLESS else "DEFLATE"
        predictor = {"predictor": 3 if info.dtype.kind == "f" else 2} if compress in _LOSSLESS[:3] else {}
        bits = {"nbits": info.bits} if info.bits < 8 * info.dtype.itemsize else {}
        if bits:
            predictor = {}
        self._file = _open(
            path, mode="w", driver="GTiff", width=info.width, height=info.height, count=info.bands - self._masked,
            dtype=info.dtype.name, nodata=info.extras["declared_nodata"], crs=info.extras["crs"],
            compress=compress, bigtiff="IF_SAFER", num_threads="ALL_CPUS", **blocks, **predictor, **bits,
        )  # fmt: skip
        self._describe()

    def _describe(self) -> None:
        kept, file = self._extras, self._file
        down, across = self.info.height / kept["size"][0], self.info.width / kept["size"][1]
        if not kept["transform"].is_identity:
            a, b, c, d, e, f = kept["transform"][:6]
            file.transform = type(kept["transform"])(a / across, b / down, c, d / across, e / down, f)
        if kept["gcps"][0]:
            file.gcps = ([_moved(point, down, across) for point in kept["gcps"][0]], kept["gcps"][1])
        if kept["rpcs"] is not None:
            file.rpcs = _finer(kept["rpcs"], down, across)
        file.colorinterp = kept["colorinterp"]
        file.descriptions, file.units = kept["descriptions"], kept["units"]
        file.scales, file.offsets = kept["scales"], kept["offsets"]
        file.update_tags(**kept["tags"])
        for index, tags in zip(file.indexes, kept["band_tags"], strict=True):
            # Statistics of the source are not those of the result.
            file.update_tags(index, **{k: v for k, v in tags.items() if not k.startswith("STATISTICS_")})
        if kept["colormap"] is not None:
            file.write_colormap(1, kept["colormap"])

    def _write(self, band: Array, frame: int) -> None:
        block = self._blocks.push(band)
        if block is not None:
            self._store(*block)

    def _store(self, top: int, pixels: Array) -> None:
        where = library("rasterio.windows", _EXTRA).Window(0, top, self.info.width, len(pixels))
        planes = pixels.transpose(2, 0, 1)
        if self._masked:
            middle = self.info.value_range[1] / 2
            self._file.write_mask(np.where(planes[-1] > middle, 255, 0).astype(np.uint8), window=where)
            planes = planes[:-1]
        self._file.write(np.ascontiguousarray(planes), window=where)

    def _finish(self) -> None:
        self._file.close()
        if self._extras["overviews"]:
            rasterio = library("rasterio", _EXTRA)
            exact = self.info.labels
            method = rasterio.enums.Resampling.nearest if exact else rasterio.enums.Resampling.average
            with _open(self._path, mode="r+") as file:
                file.build_overviews(self._extras["overviews"], method)

    def abort(self) -> None:
        with suppress(Exception):
            self._file.close()


def _open(path: Path, **options: Any) -> Any:
    """Open a dataset; that one has control points and no transform is no reason for a warning."""
    rasterio = library("rasterio", _EXTRA)
    environment = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_CACHEMAX=_CACHE_BYTES)
    with environment, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path, **options)


def _moved(point: Any, down: float, across: float) -> Any:
    """Return a ground control point at its place in the new grid."""
    kind = type(point)
    return kind(point.row * down, point.col * across, point.x, point.y, point.z, point.id, point.info)


def _finer(rpcs: Any, down: float, across: float) -> Any:
    """Return rational polynomials for the new grid; their offsets count pixel centres."""
    values = {
        **rpcs.to_dict(),
        "line_off": (rpcs.line_off + 0.5) * down - 0.5,
        "line_scale": rpcs.line_scale * down,
        "samp_off": (rpcs.samp_off + 0.5) * across - 0.5,
        "samp_scale": rpcs.samp_scale * across,
    }
    return type(rpcs)(**values)


def _matches(head: bytes, path: Path) -> bool:
    if head[:4] not in MAGIC:
        return False
    with suppress(Exception), library("tifffile", "imaging").TiffFile(path) as file:
        return any(tag in file.pages.first.tags for tag in _GEO_TAGS)
    return False


def _refuses(info: ImageInfo) -> str | None:
    if info.format != "geotiff":
        return "is written from GeoTIFF sources only"
    return None


FORMATS = (
    Format(
        name="geotiff",
        suffixes=(".tif", ".tiff"),
        matches=_matches,
        read=GeoTiffReader,
        write=GeoTiffWriter,
        refuses=_refuses,
    ),
)

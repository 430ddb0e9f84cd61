"""NIfTI-1 and NIfTI-2 by nibabel: stored values of volumes and time series, slice by slice, both transforms.

Columns are the first axis of the array and rows the second, which is the order of the file: results are written as
they are made. Slices are the third axis; later axes count volumes.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from karaffe.errors import FileError
from karaffe.imaging.formats import Format
from karaffe.imaging.info import Array, ImageInfo, Window, dtype_range
from karaffe.imaging.libraries import library
from karaffe.imaging.protocols import BaseReader, BaseWriter

_EXTRA = "medical"
_MILLIMETRES = {"mm": 1.0, "meter": 1000.0, "micron": 0.001}
_LABEL_INTENT = 1002
_LEVEL = 4


class NiftiReader(BaseReader):
    """Map the stored values of a file; a compressed one is unpacked at the first read."""

    def __init__(self, path: Path) -> None:
        image = library("nibabel", _EXTRA).load(path)
        super().__init__(_describe(image, path), path)
        self._proxy = image.dataobj
        self._volumes: Array | None = None

    def _read(self, window: Window, frame: int) -> Array:
        if self._volumes is None:
            stored = np.asanyarray(self._proxy.get_unscaled())
            info = self.info
            self._volumes = stored.reshape((info.width, info.height, info.slices, -1), order="F")
        volume, place = divmod(frame, self.info.slices)
        pixels = self._volumes[window.left : window.right, window.top : window.bottom, place, volume]
        return pixels.T[:, :, None].astype(self.info.dtype)

    def close(self) -> None:
        self._volumes = None


def _describe(image: Any, path: Path) -> ImageInfo:
    header, shape = image.header, tuple(image.shape)
    names = type(image).__name__
    if names not in ("Nifti1Image", "Nifti2Image") or len(shape) < 2:
        raise FileError(f"cannot read {path}: {names} of shape {shape}; accepted are volumes of at least 2 dimensions")
    dtype = header.get_data_dtype().newbyteorder("=")
    if dtype.kind not in "iuf" or dtype.itemsize > (4 if dtype.kind in "iu" else 8):
        raise FileError(
            f"cannot read {path}: values of {dtype}; accepted are integers up to 32 bit and floats up to 64"
        )
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    low, high = float(header["cal_min"]), float(header["cal_max"])
    declared = ((low - intercept) / slope, (high - intercept) / slope) if low < high else dtype_range(dtype)
    unit = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    zooms = [float(z) * unit for z in header.get_zooms()[:3]]
    slices = shape[2] if len(shape) > 2 else 1
    return ImageInfo(
        width=shape[0],
        height=shape[1],
        bands=1,
        dtype=dtype,
        bits=8 * dtype.itemsize,
        colour="grey",
        value_range=declared,
        rescale=(slope, intercept),
        labels=int(header["intent_code"]) == _LABEL_INTENT,
        frames=math.prod(shape[2:]),
        slices=slices,
        format="nifti",
        spacing=(zooms[1], zooms[0]),
        slice_spacing=zooms[2] if len(zooms) > 2 else None,
        extras={"header": header, "shape": shape},
    )


class NiftiWriter(BaseWriter):
    """Header first, then rows in the order of the file, compressed where the name ends in .gz."""

    def __init__(self, path: Path, info: ImageInfo) -> None:
        super().__init__(info)
        header = _finer(info)
        self._dtype = info.dtype.newbyteorder(header.endianness)
        packed = path.name.endswith(".gz")
        self._file: Any = gzip.GzipFile(path, "wb", _LEVEL) if packed else path.open("wb")
        header.write_to(self._file)
        self._file.write(bytes(int(header["vox_offset"]) - self._file.tell()))

    def _write(self, band: Array, frame: int) -> None:
        self._file.write(band.astype(self._dtype, copy=False).tobytes())

    def _finish(self) -> None:
        self._file.close()

    def abort(self) -> None:
        self._file.close()


def _finer(info: ImageInfo) -> Any:
    """Return the header of the source for the new grid.

    A voxel index v of the result lies at ``r v + (r - 1) / 2`` of the source, ``r = old size / new size``: sform and
    qform, each on its own, are multiplied by that.
    """
    header, shape = info.extras["header"].copy(), info.extras["shape"]
    new = (info.width, info.height, info.slices)[: len(shape)]
    steps = np.ones(3)
    steps[: len(new)] = [before / after for before, after in zip(shape, new, strict=False)]
    grid = np.diag([*steps, 1.0])
    grid[:3, 3] = (steps - 1) / 2
    zooms = header.get_zooms()
    sform, qform = header.get_sform(coded=True), header.get_qform(coded=True)
    header.set_data_shape((*new, *shape[3:]))
    header.set_zooms([*(np.array(zooms[:3]) * steps[: len(zooms[:3])]), *zooms[3:]])
    if qform[0] is not None:
        header.set_qform(qform[0] @ grid, int(qform[1]))
    if sform[0] is not None:
        header.set_sform(sform[0] @ grid, int(sform[1]))
    if info.history:
        header["descrip"] = info.history.encode()[:79]
    if int(header["slice_end"]):
        # The timing of slices describes the acquisition, not the new planes.
        header["slice_start"] = header["slice_end"] = header["slice_code"] = header["slice_duration"] = 0
    slope, intercept = info.rescale
    header.set_slope_inter(slope, intercept)
    header.set_data_offset(0)
    header["magic"] = header.single_magic
    return header


def _matches(head: bytes, path: Path) -> bool:
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(31).decompress(head, 1024)
        except zlib.error:
            return False
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def _refuses(info: ImageInfo) -> str | None:
    if info.format != "nifti":
        return "is written from NIfTI sources only: it needs their orientation"
    return None


FORMATS = (
    Format(
        name="nifti",
        suffixes=(".nii", ".nii.gz"),
        matches=_matches,
        read=NiftiReader,
        write=NiftiWriter,
        refuses=_refuses,
    ),
)

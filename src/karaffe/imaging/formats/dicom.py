"""DICOM by pydicom: stored values, never rescaled ones; colour, palettes, multi-frame, compressed files.

MONOCHROME1 is inverted at reading and back at writing. Results are written uncompressed, as derived objects; only a
DICOM source has the patient, study and equipment that they need.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from karaffe.errors import FileError
from karaffe.imaging.formats import Format
from karaffe.imaging.formats._dicom_derived import derived
from karaffe.imaging.info import Array, ImageInfo, Window, dtype_range
from karaffe.imaging.libraries import library
from karaffe.imaging.protocols import BaseReader, FrameWriter

_EXTRA = "medical"
_GREY = ("MONOCHROME1", "MONOCHROME2")


class DicomReader(BaseReader):
    """Decode frame by frame."""

    def __init__(self, path: Path) -> None:
        self._dataset = library("pydicom", _EXTRA).dcmread(path)
        super().__init__(_describe(self._dataset, path), path)
        self._frame: tuple[int, Array] | None = None

    def _read(self, window: Window, frame: int) -> Array:
        if self._frame is None or self._frame[0] != frame:
            self._frame = (frame, self._decode(frame))
        return window.of(self._frame[1])

    def _decode(self, frame: int) -> Array:
        pixels = library("pydicom.pixels", _EXTRA)
        array: Array = pixels.pixel_array(self._dataset, index=frame)
        if self._dataset.PhotometricInterpretation == "PALETTE COLOR":
            colours = pixels.apply_color_lut(array, self._dataset)
            array = (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
        array = array.astype(self.info.dtype, copy=False)
        array = array if array.ndim == 3 else array[:, :, None]
        return inverted(array, self.info)

    def close(self) -> None:
        self._frame = None


def _describe(dataset: Any, path: Path) -> ImageInfo:
    if "PixelData" not in dataset:
        what = dataset.get("SOPClassUID")
        raise FileError(
            f"cannot read {path}: a DICOM without pixel data ({getattr(what, 'name', 'of no known class')})"
        )
    kind, allocated = str(dataset.PhotometricInterpretation), int(dataset.BitsAllocated)
    if allocated not in (1, 8, 16, 32):
        raise FileError(f"cannot read {path}: {allocated} bits allocated; accepted are 1, 8, 16 and 32")
    colour, palette = kind not in _GREY, kind == "PALETTE COLOR"
    signed = bool(dataset.get("PixelRepresentation", 0)) and not colour
    bits = 8 if palette else allocated if colour else int(dataset.BitsStored)
    size = 1 if palette else max(1, allocated // 8)
    dtype = np.dtype(f"{'i' if signed else 'u'}{size}")
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    padding = dataset.get("PixelPaddingValue")
    return ImageInfo(
        width=int(dataset.Columns),
        height=int(dataset.Rows),
        bands=3 if colour else 1,
        dtype=dtype,
        bits=bits,
        colour="rgb" if colour else "grey",
        value_range=dtype_range(dtype, bits),
        rescale=(slope, intercept),
        frames=int(dataset.get("NumberOfFrames", 1) or 1),
        format="dicom",
        nodata=None if colour or padding is None else _flip(float(padding), dtype, bits, kind),
        spacing=_spacing(dataset),
        extras={"dataset": dataset, "white_is_zero": kind == "MONOCHROME1"},
    )


def _flip(value: float, dtype: np.dtype[Any], bits: int, kind: str) -> float:
    return sum(dtype_range(dtype, bits)) - value if kind == "MONOCHROME1" else value


def _spacing(dataset: Any) -> tuple[float, float] | None:
    """Return millimetres a pixel (vertical, horizontal), in the patient where known, else at the detector."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    measures = [m for item in shared for m in item.get("PixelMeasuresSequence", [])]
    for holder in (dataset, *measures):
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            if holder.get(keyword):
                vertical, horizontal = (float(v) for v in holder[keyword].value)
                return (vertical, horizontal)
    return None


def inverted(pixels: Array, info: ImageInfo) -> Array:
    """Turn MONOCHROME1 values over, within the stored bits; applied twice it gives the values back."""
    if not info.extras.get("white_is_zero"):
        return pixels
    low, high = dtype_range(info.dtype, info.bits)
    return (low + high - pixels.astype(np.float64)).astype(info.dtype)


class DicomWriter(FrameWriter):
    """Collect the frames, then write them behind a derived header."""

    def __init__(self, path: Path, info: ImageInfo) -> None:
        super().__init__(info)
        self._path = path

    def _finish(self) -> None:
        info = self.info
        frames = inverted(self._pixels, info)
        if info.bits == 1:
            data = bytes(library("pydicom.pixels", _EXTRA).pack_bits(frames.ravel(), pad=False))
        else:
            data = frames.astype(info.dtype.newbyteorder("<"), copy=False).tobytes()
        result = derived(info.extras["dataset"], info, data)
        result.save_as(self._path, implicit_vr=False, little_endian=True, enforce_file_format=True)


def _refuses(info: ImageInfo) -> str | None:
    if info.format != "dicom":
        return "is written from DICOM sources only: a derived image needs its patient, study and series"
    return None


FORMATS = (
    Format(
        name="dicom",
        suffixes=(".dcm", ".dicom"),
        # A DICOMDIR is an index beside the images of a folder, not one of them.
        matches=lambda head, path: head[128:132] == b"DICM" and path.name.upper() != "DICOMDIR",
        read=DicomReader,
        write=DicomWriter,
        refuses=_refuses,
    ),
)

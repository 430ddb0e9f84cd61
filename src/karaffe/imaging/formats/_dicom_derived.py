"""The header of an enlarged DICOM image: a derived object of its own, in the place of its source.

PS3.3 of the standard: C.7.6.1 (image type, derivation, source images), C.7.6.2 (plane), C.7.6.3 (pixels),
C.7.6.16 (functional groups), C.8.5.5 (ultrasound regions), C.12.1 (contributing equipment).
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np

from karaffe.imaging.info import ImageInfo
from karaffe.imaging.libraries import library

_EXTRA = "medical"
# What describes the source's pixels and no longer holds; overlays (60xx) lie on the source's grid.
_DROPPED = (
    "IconImageSequence", "SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "DataSetTrailingPadding", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
)  # fmt: skip
_PALETTE = "PaletteColorLookupTable"
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_NOT_FOR_DIAGNOSIS = "enlarged image, derived, not for diagnosis"


def derived(source: Any, info: ImageInfo, pixels: bytes) -> Any:
    """Return a dataset with ``pixels`` of the size of ``info``, derived from the dataset ``source``."""
    result = library("pydicom.dataset", _EXTRA).Dataset()  # knows nothing of the encoding of its source
    for element in source:
        gone = element.keyword in _DROPPED and (info.colour == "rgb" or _PALETTE not in element.keyword)
        if not gone and not 0x6000 <= element.tag.group <= 0x60FF:
            result.add(copy.deepcopy(element))
    down, across = source.Rows / info.height, source.Columns / info.width
    _set_geometry(result, down, across)
    _set_regions(result, down, across)
    _set_pixels(result, info, pixels)
    _set_derivation(result, source, info, pixels)
    return result


def _set_geometry(result: Any, down: float, across: float) -> None:
    """Make spacings finer and move positions to the centre of the new first pixel, half a voxel's difference."""
    groups = [result, *_groups(result)]
    shared = {}
    for group in groups:
        for keyword in ("PixelSpacing", "ImageOrientationPatient"):
            if keyword in group and keyword not in shared:
                shared[keyword] = [float(v) for v in group[keyword].value]
    for group in groups:
        if "ImagePositionPatient" in group and len(shared) == 2:
            orientation = np.array(shared["ImageOrientationPatient"]).reshape(2, 3)
            steps = orientation * np.array(shared["PixelSpacing"])[::-1, None]
            moved = np.array([float(v) for v in group.ImagePositionPatient])
            moved += steps[0] * (across - 1) / 2 + steps[1] * (down - 1) / 2
            group.ImagePositionPatient = [_decimal(v) for v in moved]
    for group in groups:
        for keyword in _SPACINGS:
            if keyword in group and group[keyword].value:
                vertical, horizontal = group[keyword].value
                group[keyword].value = [_decimal(float(vertical) * down), _decimal(float(horizontal) * across)]
    if "PixelAspectRatio" in result and abs(down - across) > 1e-9:
        vertical, horizontal = (float(v) for v in result.PixelAspectRatio)
        result.PixelAspectRatio = [round(vertical * down * 1000), round(horizontal * across * 1000)]


def _groups(result: Any) -> Iterator[Any]:
    """Yield the items of the functional groups that hold positions, orientations and spacings."""
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in result.get(keyword, []):
            for macro in ("PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence"):
                yield from item.get(macro, [])


def _set_regions(result: Any, down: float, across: float) -> None:
    for region in result.get("SequenceOfUltrasoundRegions", []):
        for axis, step in (("X", across), ("Y", down)):
            for edge in ("Min", "Max"):
                keyword = f"RegionLocation{edge}{axis}{0 if edge == 'Min' else 1}"
                if keyword in region:
                    shift = 0 if edge == "Min" else 1
                    region[keyword].value = round((region[keyword].value + shift) / step) - shift
            if f"ReferencePixel{axis}0" in region:
                region[f"ReferencePixel{axis}0"].value = round(region[f"ReferencePixel{axis}0"].value / step)
            if f"PhysicalDelta{axis}" in region:
                region[f"PhysicalDelta{axis}"].value *= step


def _set_pixels(result: Any, info: ImageInfo, pixels: bytes) -> None:
    result.Rows, result.Columns = info.height, info.width
    if info.bands == 3:
        result.PhotometricInterpretation, result.PlanarConfiguration = "RGB", 0
        result.SamplesPerPixel = 3
        stored = 8 * info.dtype.itemsize
        result.BitsAllocated, result.BitsStored, result.HighBit = stored, stored, stored - 1
        result.PixelRepresentation = 0
    result.PixelData = pixels + bytes(len(pixels) % 2)
    result["PixelData"].VR = "OB" if result.BitsAllocated <= 8 else "OW"


def _set_derivation(result: Any, source: Any, info: ImageInfo, pixels: bytes) -> None:
    uid, dataset = library("pydicom.uid", _EXTRA), library("pydicom.dataset", _EXTRA).Dataset
    history = info.history or "karaffe"
    digest = hashlib.sha256(pixels).hexdigest()
    result.SOPInstanceUID = uid.generate_uid(entropy_srcs=[str(source.SOPInstanceUID), history, digest])
    if "SeriesInstanceUID" in source:
        result.SeriesInstanceUID = uid.generate_uid(entropy_srcs=[str(source.SeriesInstanceUID), history])
        result.SeriesDescription = f"{source.get('SeriesDescription', '')} (enlarged)".strip()[-64:]
    kind = list(source.get("ImageType", []) or ["", "SECONDARY"])
    result.ImageType = ["DERIVED", *kind[1:]]
    reference = dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [_code(dataset, "121322", "Source image for image processing operation")]
    result.SourceImageSequence = [reference]
    earlier = f"{source.DerivationDescription}; " if source.get("DerivationDescription") else ""
    result.DerivationDescription = f"{earlier}{history}; {_NOT_FOR_DIAGNOSIS}"[-1024:]
    result.DerivationCodeSequence = [
        *source.get("DerivationCodeSequence", []),
        _code(dataset, "113085", "Spatial resampling"),
    ]
    now = datetime.now()
    equipment = dataset()
    equipment.Manufacturer = "karaffe"
    equipment.ContributionDateTime = now.strftime("%Y%m%d%H%M%S")
    equipment.ContributionDescription = history[:1024]
    equipment.PurposeOfReferenceCodeSequence = [_code(dataset, "109103", "Modifying Equipment")]
    result.ContributingEquipmentSequence = [*source.get("ContributingEquipmentSequence", []), equipment]
    result.InstanceCreationDate, result.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    meta = copy.deepcopy(source.file_meta)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = source.SOPClassUID, result.SOPInstanceUID
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    result.file_meta = meta


def _code(dataset: Any, value: str, meaning: str) -> Any:
    code = dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _decimal(value: float) -> str:
    """Return a number in the 16 characters of a decimal string."""
    for digits in range(15, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.0e}"

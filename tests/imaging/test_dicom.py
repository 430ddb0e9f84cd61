"""DICOM: a derived object in the place of its source; checked with pydicom on the files that it ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from karaffe.errors import FileError
from karaffe.imaging import Settings, Window, open_reader, upscale, upscale_batch, upscale_file

pydicom = pytest.importorskip("pydicom")
from pydicom.pixels import pixel_array  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")


@pytest.mark.parametrize(
    "name",
    ["CT_small", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless",
     "SC_rgb_rle_2frame", "SC_rgb_rle_16bit", "examples_rgb_color", "examples_overlay", "liver_1frame", "rtdose",
     "SC_rgb_small_odd", "examples_jpeg2k", "693_J2KI"],
)  # fmt: skip
def test_stored_values_come_back_to_the_bit(tmp_path, name):
    upscale_file(FILES / f"{name}.dcm", tmp_path / "b.dcm", 1)
    source, result = pydicom.dcmread(FILES / f"{name}.dcm"), pydicom.dcmread(tmp_path / "b.dcm")
    np.testing.assert_array_equal(pixel_array(result), pixel_array(source))
    assert result.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    for keyword in ("BitsStored", "RescaleSlope", "RescaleIntercept", "WindowCenter", "PatientID", "StudyInstanceUID"):
        assert result.get(keyword) == source.get(keyword), keyword


def test_a_derived_object(tmp_path):
    upscale_file(FILES / "CT_small.dcm", tmp_path / "b.dcm", 2, "bicubic")
    source, result = pydicom.dcmread(FILES / "CT_small.dcm"), pydicom.dcmread(tmp_path / "b.dcm")
    assert (result.Rows, result.Columns) == (256, 256)
    assert result.SOPInstanceUID != source.SOPInstanceUID
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
    assert result.SeriesInstanceUID != source.SeriesInstanceUID
    assert result.StudyInstanceUID == source.StudyInstanceUID
    assert result.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert result.ImageType[0] == "DERIVED"
    (reference,) = result.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert "bicubic 128 x 128 to 256 x 256 pixels" in result.DerivationDescription
    assert "not for diagnosis" in result.DerivationDescription
    assert result.DerivationCodeSequence[-1].CodeMeaning == "Spatial resampling"
    assert result.ContributingEquipmentSequence[-1].Manufacturer == "karaffe"
    assert "SmallestImagePixelValue" not in result


@pytest.mark.parametrize("scale", [2, 1.5, 0.5])
def test_the_patient_stays_where_it_is(tmp_path, scale):
    """A corner of the image has the same coordinates in the patient (PS3.3, equation C.7.6.2.1-1)."""
    upscale_file(FILES / "CT_small.dcm", tmp_path / "b.dcm", scale, "bicubic")

    def place(dataset, row, column):
        orientation = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        vertical, horizontal = (float(v) for v in dataset.PixelSpacing)
        steps = orientation[0] * horizontal * column + orientation[1] * vertical * row
        return np.array(dataset.ImagePositionPatient, float) + steps

    a, b = pydicom.dcmread(FILES / "CT_small.dcm"), pydicom.dcmread(tmp_path / "b.dcm")
    for row, column in [(0, 0), (0, 1), (1, 0), (1, 1), (0.3, 0.7)]:
        here = place(a, row * a.Rows - 0.5, column * a.Columns - 0.5)
        there = place(b, row * b.Rows - 0.5, column * b.Columns - 0.5)
        np.testing.assert_allclose(here, there, atol=1e-4)


def test_ranges_are_given_in_hounsfield_units(tmp_path):
    upscale_file(FILES / "CT_small.dcm", tmp_path / "b.dcm", 2, "bicubic", value_range=(-1024, 3071))
    source = pydicom.dcmread(FILES / "CT_small.dcm")
    low, high = ((v - source.RescaleIntercept) / source.RescaleSlope for v in (-1024, 3071))
    expected = upscale(pixel_array(source), 2, "bicubic", value_range=(float(low), float(high)))
    assert np.abs(pixel_array(tmp_path / "b.dcm").astype(int) - expected).max() <= 1


def test_monochrome1_and_bits_stored(tmp_path):
    dataset = pydicom.dcmread(FILES / "examples_overlay.dcm")
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.save_as(tmp_path / "a.dcm")
    stored = pixel_array(dataset)
    with open_reader(tmp_path / "a.dcm") as reader:
        assert (reader.info.bits, reader.info.value_range) == (12, (0, 4095))
        np.testing.assert_array_equal(reader.read()[:, :, 0], 4095 - stored)
    upscale_file(tmp_path / "a.dcm", tmp_path / "b.dcm", 2, "nearest")
    result = pydicom.dcmread(tmp_path / "b.dcm")
    assert result.PhotometricInterpretation == "MONOCHROME1"
    np.testing.assert_array_equal(pixel_array(result), stored.repeat(2, 0).repeat(2, 1))
    assert not [e for e in result if 0x6000 <= e.tag.group <= 0x60FF], "an overlay on the old grid would lie"
    upscale_file(tmp_path / "a.dcm", tmp_path / "c.png", 1)
    with open_reader(tmp_path / "c.png") as reader:
        spread = np.floor((4095.0 - stored) * 65535 / 4095 + 0.5)
        np.testing.assert_allclose(reader.read()[:, :, 0], spread, atol=1)


def test_colours(tmp_path):
    for name in ("SC_rgb_jpeg_dcmtk", "examples_palette"):
        upscale_file(FILES / f"{name}.dcm", tmp_path / f"{name}.dcm", 2, "nearest")
        result = pydicom.dcmread(tmp_path / f"{name}.dcm")
        assert (result.PhotometricInterpretation, result.SamplesPerPixel) == ("RGB", 3)
        with open_reader(FILES / f"{name}.dcm") as reader:
            np.testing.assert_array_equal(pixel_array(result), reader.read().repeat(2, 0).repeat(2, 1))


def test_many_frames_and_functional_groups(tmp_path):
    dataset = pydicom.dcmread(FILES / "SC_rgb_rle_2frame.dcm")
    for keyword in ("PixelSpacing", "NominalScannedPixelSpacing"):
        dataset.pop(keyword, None)
    shared, frame = pydicom.Dataset(), pydicom.Dataset()
    measures, orientation, position = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, orientation.ImageOrientationPatient = [0.5, 0.4], [1, 0, 0, 0, 1, 0]
    position.ImagePositionPatient = [10, 20, 30]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    frame.PlanePositionSequence = [position]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [frame, frame]
    dataset.save_as(tmp_path / "a.dcm")
    with open_reader(tmp_path / "a.dcm") as reader:
        assert (reader.info.frames, reader.info.spacing) == (2, (0.5, 0.4))
        assert reader.read(Window(3, 4, 5, 6), 1).shape == (5, 6, 3)
    upscale_file(tmp_path / "a.dcm", tmp_path / "b.dcm", 2, "nearest")
    result = pydicom.dcmread(tmp_path / "b.dcm")
    assert result.NumberOfFrames == 2
    measured = result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(v) for v in measured.PixelSpacing] == [0.25, 0.2]
    placed = result.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    assert [float(v) for v in placed.ImagePositionPatient] == [10 - 0.1, 20 - 0.125, 30]
    np.testing.assert_array_equal(pixel_array(result), pixel_array(dataset).repeat(2, 1).repeat(2, 2))


def test_padding_does_not_bleed(tmp_path):
    dataset = pydicom.dcmread(FILES / "CT_small.dcm")
    pixels = np.full((128, 128), 1000, np.int16)
    pixels[:40] = -2000
    dataset.PixelPaddingValue = -2000
    dataset["PixelPaddingValue"].VR = "SS"
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(tmp_path / "a.dcm")
    upscale_file(tmp_path / "a.dcm", tmp_path / "b.dcm", 2, "lanczos")
    np.testing.assert_array_equal(pixel_array(tmp_path / "b.dcm"), pixels.repeat(2, 0).repeat(2, 1))


def test_a_folder_of_a_study(tmp_path):
    study = tmp_path / "in"
    study.mkdir()
    (study / "IM0001").write_bytes((FILES / "CT_small.dcm").read_bytes())
    (study / "DICOMDIR").write_bytes((FILES / "CT_small.dcm").read_bytes())
    for _ in upscale_batch([study], tmp_path / "out", Settings(2, "nearest")):
        pass
    assert [p.name for p in sorted((tmp_path / "out").glob("[!.]*"))] == ["IM0001.dcm"]


def test_slices_of_a_series_stay_a_series(tmp_path):
    dataset = pydicom.dcmread(FILES / "CT_small.dcm")
    results = []
    for number in range(2):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(tmp_path / f"a{number}.dcm")
        upscale_file(tmp_path / f"a{number}.dcm", tmp_path / f"b{number}.dcm", 2, "nearest")
        results.append(pydicom.dcmread(tmp_path / f"b{number}.dcm"))
    assert results[0].SeriesInstanceUID == results[1].SeriesInstanceUID
    assert results[0].SOPInstanceUID != results[1].SOPInstanceUID


def test_what_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"a DICOM without pixel data \(RT Plan Storage\)"):
        open_reader(FILES / "rtplan.dcm")
    with pytest.raises(FileError, match=r"cannot read .*MR_truncated.dcm"):
        upscale_file(FILES / "MR_truncated.dcm", tmp_path / "b.dcm", 2, "nearest")
    np.save(tmp_path / "a.npy", np.zeros((9, 9), np.uint16))
    with pytest.raises(FileError, match="written from DICOM sources only"):
        upscale_file(tmp_path / "a.npy", tmp_path / "b.dcm", 2, "nearest")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]

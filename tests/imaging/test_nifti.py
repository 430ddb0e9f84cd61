"""NIfTI: stored values, both transforms with the half-voxel shift, planes between planes; checked with nibabel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from karaffe.errors import FileError
from karaffe.imaging import Window, open_reader, upscale, upscale_file

nibabel = pytest.importorskip("nibabel")

FILES = Path(nibabel.__file__).parent / "tests" / "data"


def stored(path):
    return np.asarray(nibabel.load(path).dataobj.get_unscaled())


@pytest.mark.parametrize("name", ["anatomical.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_stored_values_come_back_to_the_bit(tmp_path, name, suffix):
    upscale_file(FILES / name, tmp_path / f"b{suffix}", 1, tile=16)
    a, b = nibabel.load(FILES / name), nibabel.load(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(stored(FILES / name), stored(tmp_path / f"b{suffix}"))
    np.testing.assert_array_equal(a.affine, b.affine)
    assert (b.dataobj.slope, b.dataobj.inter) == (a.dataobj.slope, a.dataobj.inter)
    assert b.header.get_zooms() == a.header.get_zooms()
    assert b.header.get_data_dtype() == a.header.get_data_dtype()
    assert len(b.header.extensions) == len(a.header.extensions)
    assert type(a) is type(b)


@pytest.mark.parametrize("scale", [2, 1.5, 0.5])
def test_the_patient_stays_where_he_is_in_both_transforms(tmp_path, scale):
    image = nibabel.load(FILES / "anatomical.nii")
    moved = image.affine.copy()
    moved[:3, 3] += (1.5, -20, 3)
    volume = nibabel.Nifti1Image(stored(FILES / "anatomical.nii").astype(np.int16), None)
    volume.header.set_qform(image.affine, 1)
    volume.header.set_sform(moved, 4)
    nibabel.save(volume, tmp_path / "a.nii")
    upscale_file(tmp_path / "a.nii", tmp_path / "b.nii", scale, "bicubic")
    a, b = nibabel.load(tmp_path / "a.nii").header, nibabel.load(tmp_path / "b.nii").header
    assert (int(b["qform_code"]), int(b["sform_code"])) == (1, 4)
    for get in ("get_qform", "get_sform"):
        here, there = getattr(a, get)(), getattr(b, get)()
        for corner in np.ndindex(2, 2, 2):
            old = np.array(corner) * a.get_data_shape() - 0.5
            new = np.array(corner) * b.get_data_shape() - 0.5
            np.testing.assert_allclose(here @ [*old, 1], there @ [*new, 1], atol=1e-3)
    ratio = np.array(a.get_data_shape()) / b.get_data_shape()
    np.testing.assert_allclose(b.get_zooms(), np.array(a.get_zooms()) * ratio, rtol=1e-5)


def test_planes_are_those_of_upscale_and_lanczos_goes_through(tmp_path, network):
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 1000, (12, 14, 9)).astype(np.int16)
    image = nibabel.Nifti1Image(volume, np.diag([1, 1, 3, 1]))
    image.header["cal_max"] = 1000
    nibabel.save(image, tmp_path / "a.nii")
    upscale_file(tmp_path / "a.nii", tmp_path / "b.nii", 2, network, tile=7)
    through = upscale(volume.reshape(168, 9), size=(168, 18), model="lanczos", value_range=(0, 1000))
    smooth = stored(tmp_path / "b.nii")
    assert smooth.shape == (24, 28, 18)
    plane = upscale(through.reshape(12, 14, 18)[:, :, 5].T, 2, network, value_range=(0, 1000))
    assert np.abs(smooth[:, :, 5].T.astype(int) - plane).max() <= 2, "rounded once instead of twice"
    described = bytes(nibabel.load(tmp_path / "b.nii").header["descrip"]).decode()
    assert "Content 14 x 12 to 28 x 24" in described
    assert "Lanczos through plane" in described


def test_spacing_and_size(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((12, 14, 5), np.int16), np.diag([1, 1, 3, 1]))
    nibabel.save(image, tmp_path / "a.nii")
    for options, shape in [
        ({"spacing": 0.5}, (24, 28, 30)),
        ({"spacing": (0.5, 0.5)}, (24, 28, 5)),
        ({"spacing": (1, 0.5, 3)}, (24, 14, 5)),
        ({"size": (28, None)}, (24, 28, 5)),
    ]:
        upscale_file(tmp_path / "a.nii", tmp_path / "b.nii", model="bicubic", overwrite=True, **options)
        assert nibabel.load(tmp_path / "b.nii").shape == shape


def test_holes_do_not_bleed_through_the_plane(tmp_path):
    volume = np.full((12, 14, 9), 0.5, np.float32)
    volume[:, :, 4] = np.nan
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    upscale_file(tmp_path / "a.nii", tmp_path / "b.nii", 2, "lanczos")
    result = stored(tmp_path / "b.nii")
    np.testing.assert_array_equal(np.isnan(result), np.isnan(volume).repeat(2, 0).repeat(2, 1).repeat(2, 2))
    np.testing.assert_allclose(result[np.isfinite(result)], 0.5, atol=1e-5)


def test_labels_are_never_mixed(tmp_path):
    labels = np.random.default_rng(0).choice([0, 3, 77], (12, 14, 9)).astype(np.int16)
    image = nibabel.Nifti1Image(labels, np.eye(4))
    image.header.set_intent("label")
    nibabel.save(image, tmp_path / "a.nii.gz")
    upscale_file(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", 2, "sharp")
    np.testing.assert_array_equal(stored(tmp_path / "b.nii.gz"), labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_integers_may_lie_outside_the_range_for_the_network(tmp_path):
    upscale_file(FILES / "anatomical.nii", tmp_path / "b.nii", 2, "bicubic", value_range=(0, 255))
    assert stored(tmp_path / "b.nii").max() > 255


def test_windows(tmp_path):
    with open_reader(FILES / "anatomical.nii") as reader:
        info = reader.info
        assert (info.width, info.height, info.slices, info.frames) == (33, 41, 25, 25)
        part = reader.read(Window(5, 7, 11, 13), 9)
        np.testing.assert_array_equal(part[:, :, 0], stored(FILES / "anatomical.nii")[7:20, 5:16, 9].T)


def test_what_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.complex64), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(FileError, match="values of complex64; accepted are integers up to 32 bit"):
        open_reader(tmp_path / "a.nii")
    data = (FILES / "anatomical.nii").read_bytes()
    (tmp_path / "c.nii").write_bytes(data[:9000])
    with pytest.raises(FileError, match=r"cannot read .*c.nii"):
        upscale_file(tmp_path / "c.nii", tmp_path / "d.nii", 2, "nearest")
    packed = (FILES / "example4d.nii.gz").read_bytes()
    (tmp_path / "e.nii.gz").write_bytes(packed[:90_000])
    with pytest.raises(FileError, match=r"cannot read .*e.nii.gz"):
        upscale_file(tmp_path / "e.nii.gz", tmp_path / "d.nii.gz", 2, "nearest")
    assert not list(tmp_path.glob("d.nii*"))
    assert not list(tmp_path.glob(".*"))

"""Scans and scenes: the declared range is the yardstick, every slice and band counts."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.data import get_testdata_file
from skimage.metrics import peak_signal_noise_ratio

import karaffe
from karaffe.errors import FileError, ShapeError
from karaffe.evaluation import PROTOCOLS, evaluate_sr, imresize
from karaffe.evaluation.pictures import read_frames

CT = Path(str(get_testdata_file("CT_small.dcm")))
WINDOW = (-1024.0, 3071.0)


def hounsfield() -> np.ndarray:
    data = pydicom.dcmread(CT)
    return data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)


def test_a_ct_is_measured_on_its_window():
    reference = np.clip((hounsfield() + 1024) / 4095, 0, 1).astype(np.float32)
    low = imresize(reference, 0.5)
    result = evaluate_sr([CT], 2, ["lanczos", "sharp"], value_range=WINDOW, protocols=["bands"])
    for row in result.tables[0].rows:
        made = karaffe.upscale(low, 2, row.model)
        expected = peak_signal_noise_ratio(reference[2:-2, 2:-2], made[2:-2, 2:-2], data_range=1)
        assert row.psnr == pytest.approx(expected, abs=0.01)
        assert row.image == "CT_small.dcm"
    assert "all bands together, not rounded, 2 pixels" in result.notes()[0]


def test_every_slice_counts(tmp_path):
    volume = np.random.default_rng(0).integers(0, 900, (20, 18, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "brain.nii.gz")
    frames = dict(read_frames(tmp_path / "brain.nii.gz", (0, 1000)))
    assert list(frames) == [f"brain.nii.gz[{i}]" for i in range(5)]
    result = evaluate_sr([tmp_path / "brain.nii.gz"], 2, ["lanczos"], value_range=(0, 1000), protocols=["bands"])
    assert len(result.tables[0].rows) == 10
    assert not result.failures


def test_bands_are_taken_together_and_pairs_may_be_given(tmp_path):
    scene = np.random.default_rng(1).integers(200, 4000, (40, 36, 5)).astype(np.uint16)
    folder = tmp_path / "low"
    folder.mkdir()
    tifffile.imwrite(tmp_path / "scene.tif", scene, photometric="minisblack", planarconfig="contig")
    low = imresize((scene / 10_000).astype(np.float32), 0.5)
    tifffile.imwrite(folder / "scene.tif", low * 10_000, photometric="minisblack", planarconfig="contig")
    options = {"value_range": (0, 10_000), "protocols": ["bands"]}
    made = evaluate_sr([tmp_path / "scene.tif"], 2, ["bicubic"], **options)
    given = evaluate_sr([tmp_path / "scene.tif"], 2, ["bicubic"], reduced=folder, **options)
    assert made.tables[0].rows[0].psnr == pytest.approx(given.tables[0].rows[0].psnr, abs=1e-3)
    with pytest.raises(ShapeError, match=r"must be grey or \(H, W, 3\)"):
        evaluate_sr([tmp_path / "scene.tif"], 2, ["bicubic"], value_range=(0, 10_000))


def test_missing_values_are_said(tmp_path):
    pixels = np.ones((20, 20), np.float32)
    pixels[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with pytest.raises(FileError, match=r"a.tif: it holds values that are not finite"):
        evaluate_sr([tmp_path / "a.tif"], 2, ["bicubic"])


def test_one_band_alone_has_the_same_psnr_as_its_luma():
    image, other = (np.random.default_rng(i).random((30, 30)).astype(np.float32) for i in range(2))
    plain = PROTOCOLS["bands"].measure(image, other, 2)
    assert plain.psnr == pytest.approx(peak_signal_noise_ratio(other[2:-2, 2:-2], image[2:-2, 2:-2], data_range=1))

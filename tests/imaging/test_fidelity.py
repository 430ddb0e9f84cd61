"""The fidelity report finds what was done to a result, and nothing where nothing was done."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from karaffe.errors import ArgumentError
from karaffe.imaging import upscale, upscale_file
from karaffe.imaging.fidelity import assess


@pytest.fixture
def pair(tmp_path):
    """Return a function that saves a smooth source and a result, and measures one against the other."""
    y, x = np.mgrid[:150, :90]
    source = np.round(30_000 + 9000 * np.sin(x / 6) * np.cos(y / 8) + 40 * x).astype(np.uint16)

    def measured(change=lambda result: result, scale=2, model="lanczos", **options):
        result = change(upscale(source, scale, model, **options))
        np.save(tmp_path / "a.npy", source)
        np.save(tmp_path / "b.npy", result)
        return assess(tmp_path / "a.npy", tmp_path / "b.npy")

    return measured


@pytest.mark.parametrize("scale", [2, 3, 1.7])
def test_a_faithful_result(pair, scale):
    figures = pair(scale=scale, model="lanczos").fidelity
    assert figures.difference_mean < (0.2 if scale != 1.7 else 1)
    assert np.abs(figures.shift).max() < (0.01 if scale != 1.7 else 0.2)
    assert figures.lean_max < 0.01
    assert abs(figures.brightness) < 0.05


def test_a_consistent_result_has_no_difference(pair):
    figures = pair(consistent=True).fidelity
    assert figures.difference_max < 1e-3
    assert pair(model="nearest").fidelity.beyond_share == 0


@pytest.mark.parametrize(("rows", "columns"), [(1, 0), (0, -1), (1, 1)])
def test_a_shift_is_measured(pair, rows, columns):
    figures = pair(lambda result: np.roll(result, (rows, columns), (0, 1)), scale=4).fidelity
    assert figures.shift == pytest.approx((rows / 4, columns / 4), abs=0.06)


def test_drift_and_invention_are_found(pair):
    assert pair(lambda result: result + 655).fidelity.brightness == pytest.approx(1, abs=0.05)

    def invent(result):
        result[270:274, 100:104] = 65535
        return result

    found = pair(invent)
    assert found.fidelity.places[0] in [(0, row, column) for row in (135, 136) for column in (50, 51)]
    assert found.fidelity.beyond_max > 30
    assert found.fidelity.difference_max > 30
    assert np.unravel_index(found.lean_map.argmax(), found.lean_map.shape) == found.fidelity.places[0][1:]


def test_holes_take_no_part(tmp_path):
    source = np.full((40, 40), 0.5, np.float32)
    source[10:20, 10:20] = np.nan
    np.save(tmp_path / "a.npy", source)
    np.save(tmp_path / "b.npy", upscale(source, 2, "lanczos"))
    figures = assess(tmp_path / "a.npy", tmp_path / "b.npy").fidelity
    assert figures.difference_max < 1e-4


def test_files_get_a_report(tmp_path, picture):
    pydicom = pytest.importorskip("pydicom")
    source = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    upscale_file(source, tmp_path / "b.dcm", 2, "bicubic", report=True, value_range=(-1024, 3071))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.dcm", "b.dcm.fidelity.html", "b.dcm.fidelity.json"]
    data = json.loads((tmp_path / "b.dcm.fidelity.json").read_text())
    assert data["difference_mean"] > 0
    assert "bicubic 128 x 128 to 256 x 256" in data["history"]
    assert "not for diagnosis" in data["note"]
    page = (tmp_path / "b.dcm.fidelity.html").read_text()
    assert "not for diagnosis" in page
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page


def test_ranges_are_real_values_and_depths_may_differ(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    files = Path(pydicom.__file__).parent / "data" / "test_files"
    upscale_file(files / "CT_small.dcm", tmp_path / "b.dcm", 2, "bicubic")
    wide, narrow = (
        assess(files / "CT_small.dcm", tmp_path / "b.dcm", value_range).fidelity.difference_mean
        for value_range in (None, (-1024, 3071))
    )
    assert narrow == pytest.approx(wide * 65535 / 4095, rel=1e-3)
    upscale_file(files / "examples_overlay.dcm", tmp_path / "c.png", 2, "nearest")
    for value_range in (None, (0, 4095)):
        assert assess(files / "examples_overlay.dcm", tmp_path / "c.png", value_range).fidelity.difference_max < 0.02


def test_files_that_do_not_belong_together(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((9, 9, 3), np.uint8))
    np.save(tmp_path / "b.npy", np.zeros((18, 18), np.uint8))
    with pytest.raises(ArgumentError, match="one was not made from the other"):
        assess(tmp_path / "a.npy", tmp_path / "b.npy")

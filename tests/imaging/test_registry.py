"""The registry of formats: what there is, how it is told apart, and what is not imported."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from karaffe.errors import BackendError
from karaffe.imaging.formats import Format, formats, identify, suffix_of, suffixes
from karaffe.imaging.libraries import library


def test_names_and_suffixes():
    assert {"png", "jpeg", "webp", "tiff"} <= {f.name for f in formats()}
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"} <= set(suffixes())
    assert len({f.name for f in formats()}) == len(formats())


def test_entries_are_frozen_and_checked():
    entry = formats()[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.name = "other"
    with pytest.raises(ValueError, match="lower case with a dot"):
        dataclasses.replace(entry, suffixes=("PNG",))
    assert isinstance(entry, Format)


@pytest.mark.parametrize(("name", "suffix"), [("a.PNG", ".png"), ("a.b.tiff", ".tiff"), ("a", ""), ("a.xyz", ".xyz")])
def test_suffix_of(name, suffix):
    assert suffix_of(Path(name)) == suffix


def test_identify_goes_by_content(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xd8\xff\xe0 and more")
    assert identify(tmp_path / "a").name == "jpeg"
    (tmp_path / "b.jpg").write_bytes(b"text")
    assert identify(tmp_path / "b.jpg") is None


def test_a_missing_library_names_the_extra():
    with pytest.raises(BackendError, match=r"needs absent_library.*pip install 'karaffe\[geo\]'"):
        library("absent_library.part", "geo")


def test_importing_imaging_imports_no_image_library():
    code = (
        "import sys, karaffe.imaging; from karaffe.imaging.formats import formats; formats(); "
        "heavy = {'PIL', 'tifffile', 'imagecodecs', 'rasterio', 'pydicom', 'nibabel', 'zarr', 'xarray'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""The commands of the guides for files run, on files such as they name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import rasterio
from PIL import Image
from pydicom.data import get_testdata_file

from karaffe.cli.main import run

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDES = ["enlarge", "photographs", "medical", "satellite", "evidence"]
COMMAND = re.compile(r"^\$ karaffe (.*)$", re.MULTILINE)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the guides speak of, small."""
    monkeypatch.chdir(tmp_path)
    photograph = Image.open(REPOSITORY / "examples" / "pictures" / "chelsea.png").convert("RGB").crop((0, 0, 90, 60))
    photograph.save("holiday.jpg")
    (tmp_path / "photographs" / "summer").mkdir(parents=True)
    photograph.crop((0, 0, 40, 30)).save("photographs/summer/beach.png")
    scan = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    scan.save_as("scan.dcm")
    (tmp_path / "study").mkdir()
    scan.save_as("study/slice1.dcm")
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    volume = np.random.default_rng(0).integers(0, 900, (20, 16, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, affine), "brain.nii.gz")
    place = rasterio.transform.Affine(10, 0, 600_000, 0, -10, 5_200_000)
    bands = np.random.default_rng(1).integers(200, 4000, (4, 40, 48)).astype(np.uint16)
    options = {"driver": "GTiff", "height": 40, "width": 48, "count": 4, "dtype": "uint16", "crs": "EPSG:32632"}
    with rasterio.open("scene.tif", "w", transform=place, **options) as file:
        file.write(bands)
    return tmp_path


@pytest.mark.parametrize("guide", GUIDES)
def test_commands_run(files: Path, guide: str, capfd: pytest.CaptureFixture[str]) -> None:
    commands = COMMAND.findall((REPOSITORY / "docs" / "guide" / f"{guide}.md").read_text())
    assert commands
    for command in commands:
        words = shlex.split(command)
        assert run(words) == 0, (command, capfd.readouterr().err)
        if "-o" in words:
            made = Path(words[words.index("-o") + 1])
            assert made.exists()
            if "--report" in words and made.is_file():
                assert made.with_name(made.name + ".fidelity.html").exists()

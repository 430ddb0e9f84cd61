"""What a worker does with a picture: the same files as on the command line, and one clear reason where it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import PNG, picture, png

from karaffe.imaging import upscale_file
from karaffe.studio.enlarge.events import Advanced, Cropped, Failed, Opened, Shown, Task, Written
from karaffe.studio.enlarge.work import carry_out

MODELS = ("bicubic", "sharp")


@pytest.fixture
def task(tmp_path: Path):
    def make(content: bytes, name: str = "a photo.png", **options) -> Task:
        folder = tmp_path / "job"
        folder.mkdir()
        (folder / "source").write_bytes(content)
        return Task(folder / "source", name, **{"scale": 2, "models": MODELS, **options})

    return make


def view(task: Task, name: str) -> np.ndarray:
    paths = [task.folder / f"view-{name}{low}.bmp" for low in ("", "-low")]
    planes = [np.asarray(Image.open(path)).astype(np.uint16) for path in paths if path.exists()]
    return planes[0] if len(planes) == 1 else planes[0] * 256 + planes[1]


def test_results_are_those_of_the_command_line(task, tmp_path: Path) -> None:
    pixels = picture(40, 56)
    job = task(png(pixels))
    events = list(carry_out(job))
    assert events[0] == Opened((40, 56), (80, 112), False, ".png")
    kinds = [type(event) for event in events if not isinstance(event, Advanced)]
    # Everything can be looked at before the first file is coded.
    assert kinds == [Opened, Shown, Shown, Cropped, Written, Written]
    np.testing.assert_array_equal(view(job, "source"), pixels)
    for i, model in enumerate(MODELS):
        upscale_file(job.source, tmp_path / "wanted.png", 2, model, overwrite=True)
        assert (job.folder / f"result-{i}.png").read_bytes() == (tmp_path / "wanted.png").read_bytes()
        np.testing.assert_array_equal(view(job, str(i)), np.asarray(Image.open(tmp_path / "wanted.png")))
    assert not list(job.folder.glob("waiting*"))


def test_sixteen_bit_stays_so_in_the_file_and_in_the_view(task) -> None:
    pixels = picture()[..., 0].astype(np.uint16) * 257
    path = Path(str(task(b"", models=("nearest",)).source))
    tifffile.imwrite(path, pixels)
    job = Task(path, "scan.tiff", 2, ("nearest",))
    opened, *_, written = carry_out(job)
    assert (opened.deep, opened.suffix) == (True, ".tiff")
    assert isinstance(written, Written)
    np.testing.assert_array_equal(tifffile.imread(job.folder / "result-0.tiff"), pixels.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(view(job, "0"), pixels.repeat(2, 0).repeat(2, 1))


def test_the_kind_of_file_is_that_of_the_content_unless_asked(task) -> None:
    assert next(carry_out(task(PNG, "liar.jpg"))).suffix == ".png"


def test_another_format_on_demand(task) -> None:
    job = task(PNG, models=("nearest",), suffix=".tif")
    assert isinstance(list(carry_out(job))[-1], Written)
    assert tifffile.imread(job.folder / "result-0.tif").shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        (b"<script>alert(1)</script>", {}, "cannot read a photo.png: content starting with"),
        (PNG[:300], {}, "cannot read a photo.png: "),
        (PNG, {"pixels": 3000}, "64 x 48 pixels are 0.0 million; at most 0.003 million are made here"),
    ],
)
def test_one_reason_for_a_picture_that_does_not_serve(task, content: bytes, options, reason: str) -> None:
    job = task(content, **options)
    (failed,) = carry_out(job)
    assert failed.model is None
    assert reason in failed.reason
    assert str(job.folder) not in failed.reason


def test_a_model_that_fails_stops_no_other(task) -> None:
    job = task(PNG, models=("nope", "nearest"))
    events = list(carry_out(job))
    assert next(e for e in events if isinstance(e, Failed)).model == 0
    assert [e.model for e in events if isinstance(e, Written)] == [1]


@pytest.mark.parametrize(("name", "model"), [("view-1.bmp", 1), ("waiting-1.npy", 1), ("view-source.bmp", None)])
def test_a_full_disk_is_said_and_the_rest_goes_on(task, name: str, model: int | None) -> None:
    job = task(PNG)
    (job.folder / name).symlink_to("/dev/full")
    events = list(carry_out(job))
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert failed.model == model
    assert "No space left on device" in failed.reason
    assert str(job.folder) not in failed.reason
    assert [e.model for e in events if isinstance(e, Written)] == ([0] if model else [])


def test_work_that_is_given_up_leaves_no_half_file(task) -> None:
    job = task(png(picture(600, 40)), models=("nearest",))
    steps = carry_out(job)
    for event in steps:
        if (job.folder / "waiting-0.npy").exists() and isinstance(event, Advanced):
            break
    steps.close()
    assert not list(job.folder.glob("*result*"))
    assert not [path for path in job.folder.iterdir() if path.name.startswith(".")]

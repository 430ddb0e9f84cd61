"""What a worker does with a picture: the same files as on the command line, and one clear reason where it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import PNG, picture, png

from karaffe.evaluation import compare
from karaffe.imaging import upscale, upscale_file
from karaffe.studio.enlarge.events import Advanced, Banded, Cropped, Failed, Mapped, Opened, Shown, Task, Written
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
    """What one sees: a picture that is there whole, or the bands of a result, one under the other."""
    bands = [
        (int(path.stem.partition("@")[2].removesuffix("-low")), path) for path in task.folder.glob(f"view-{name}@*.bmp")
    ]
    highs = (
        [p for _, p in sorted(bands) if not p.stem.endswith("-low")] if bands else [task.folder / f"view-{name}.bmp"]
    )
    rows = []
    for high in highs:
        low = high.with_stem(f"{high.stem}-low")
        planes = [np.asarray(Image.open(path)).astype(np.uint16) for path in (high, low) if path.exists()]
        rows.append(planes[0] if len(planes) == 1 else planes[0] * 256 + planes[1])
    return np.concatenate(rows)


def test_results_are_those_of_the_command_line(task, tmp_path: Path) -> None:
    pixels = picture(40, 56)
    job = task(png(pixels))
    events = list(carry_out(job))
    assert events[0] == Opened((40, 56), (80, 112), False, ".png")
    kinds = [type(event) for event in events if not isinstance(event, Advanced | Banded)]
    # Everything can be looked at before the first file is coded.
    assert kinds == [Opened, Shown, Shown, Cropped, Written, Written]
    np.testing.assert_array_equal(view(job, "source"), pixels)
    for i, model in enumerate(MODELS):
        upscale_file(job.source, tmp_path / "wanted.png", 2, model, overwrite=True)
        assert (job.folder / f"result-{i}.png").read_bytes() == (tmp_path / "wanted.png").read_bytes()
        np.testing.assert_array_equal(view(job, str(i)), np.asarray(Image.open(tmp_path / "wanted.png")))
    assert not list(job.folder.glob("waiting*"))


def test_rows_can_be_looked_at_while_the_rest_is_made(task) -> None:
    pixels = picture(300, 24)
    job, tops = task(png(pixels), models=("bicubic",)), []
    wanted = upscale(pixels, 2, "bicubic")
    for event in carry_out(job):
        if isinstance(event, Banded):
            tops.append(event.top)
            band = np.asarray(Image.open(job.folder / f"view-0@{event.top}.bmp"))
            np.testing.assert_array_equal(band, wanted[event.top : event.top + len(band)])
        if isinstance(event, Shown):
            break
    assert tops == [0, 256, 512]
    np.testing.assert_array_equal(view(job, "0"), wanted)


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


@pytest.mark.parametrize(("name", "model"), [("view-1@0.bmp", 1), ("waiting-1.npy", 1), ("view-source.bmp", None)])
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


@pytest.mark.parametrize("kind", ["grey", "rgb", "deep"])
def test_a_judged_picture_has_the_figures_of_a_comparison(task, kind: str) -> None:
    pixels = {"grey": picture(51, 64)[..., 0], "rgb": picture(51, 64), "deep": picture(51, 64).astype(np.uint16) * 257}[
        kind
    ]
    job = task(b"", judge=True, name="x.tif")
    tifffile.imwrite(job.source, pixels)
    events = list(carry_out(job))
    assert events[0] == Opened((25, 32), (50, 64), kind == "deep", ".tif")
    np.testing.assert_array_equal(view(job, "source"), pixels[:50])
    wanted = compare(pixels, 2, MODELS)
    shown = [event for event in events if isinstance(event, Shown)]
    assert [(e.psnr, e.ssim) for e in shown] == [(row.psnr, row.ssim) for row in wanted.rows]
    np.testing.assert_array_equal(tifffile.imread(job.folder / "result-1.tif"), wanted.scenes[0].panels[1].pixels)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"scale": 2.5}, "to judge, the scale must be a whole number from 2 on; it is 2.5"),
        ({"scale": 1}, "to judge, the scale must be a whole number from 2 on; it is 1"),
        ({"scale": 40}, "too small for scale 40"),
        ({"pixels": 700}, "a photo.png: it has 0.0 million pixels; at most 0.0007 million are made here"),
    ],
)
def test_what_cannot_be_judged_has_one_reason(task, options, reason: str) -> None:
    (failed,) = carry_out(task(PNG, judge=True, **options))
    assert (failed.model, reason in failed.reason) == (None, True)


def test_a_picture_too_small_for_ssim_is_shown_without_figures(task) -> None:
    events = list(carry_out(task(png(picture(12, 12)), judge=True)))
    assert [e.psnr for e in events if isinstance(e, Shown)] == [None, None]
    assert [e.model for e in events if isinstance(e, Written)] == [0, 1]


def test_where_the_content_mattered_is_mapped_for_networks_alone(task) -> None:
    job = task(PNG, learned=True)
    events = list(carry_out(job))
    assert [e.model for e in events if isinstance(e, Mapped)] == [1]
    values = view(job, "1-importance")
    assert values.shape == (24, 32, 3)
    assert 0 < values[..., 0].mean() < 255
    assert 0 < values[..., 1].mean() < 255
    assert not values[..., 2].any()
    assert not [e for e in carry_out(replace(job, scale=2.5)) if isinstance(e, Mapped)]

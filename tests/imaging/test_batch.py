"""Folders: structure kept, failures collected, clashes refused before anything is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from karaffe.errors import ArgumentError, FileError, UnknownNameError
from karaffe.imaging import (
    BatchReport,
    FileAdvanced,
    FileFinished,
    FileStarted,
    Settings,
    upscale_batch,
)
from karaffe.imaging.ledger import NAME

NEAREST = Settings(2, "nearest")


@pytest.fixture
def folder(tmp_path, picture) -> Path:
    source = tmp_path / "in"
    for name in ("a.png", "sub/b.jpg", "sub/deep/c.webp", ".hidden/d.png", "sub/.e.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(source / name)
    (source / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (source / "notes.txt").write_text("nothing")
    return source


def run(*args, **options) -> tuple[list, BatchReport]:
    events, steps = [], upscale_batch(*args, **options)
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return events, end.value


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != NAME)


def test_a_folder_keeps_its_structure(folder, tmp_path):
    events, report = run([folder], tmp_path / "out", NEAREST)
    assert files_in(tmp_path / "out") == ["a.png", "sub/b.jpg", "sub/deep/c.webp"]
    assert [type(e) for e in events[:2]] == [FileStarted, FileAdvanced]
    assert (events[0].number, events[0].count) == (1, 3)
    advances = [e for e in events if isinstance(e, FileAdvanced)]
    assert all(0 < e.done <= e.total == 122 * 90 for e in advances)
    assert [f.status for f in report.files] == ["done"] * 3
    assert report.files[0].summary.target_size == (90, 122)


def test_a_corrupt_file_does_not_stop_the_others(folder, tmp_path):
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:99])
    (folder / "sub" / "zero.tif").write_bytes(b"")
    events, report = run([folder], tmp_path / "out", NEAREST)
    assert files_in(tmp_path / "out") == ["sub/b.jpg", "sub/deep/c.webp"]
    assert [f.job.source.name for f in report.failed] == ["a.png", "zero.tif"]
    assert all(str(f.job.source) in f.error for f in report.failed)
    assert sum(isinstance(e, FileFinished) for e in events) == 4
    record = json.loads(json.dumps(report.as_dict()))
    assert (record["done"], record["failed"], record["skipped"]) == (2, 2, 0)
    assert record["files"][0]["error"].startswith("cannot read")


def test_single_files_and_names(folder, tmp_path):
    run([folder / "a.png"], tmp_path / "named.tif", NEAREST)
    with Image.open(tmp_path / "named.tif") as image:
        assert image.size == (122, 90)
    run([folder / "a.png", folder / "sub" / "b.jpg"], tmp_path / "out", NEAREST)
    assert files_in(tmp_path / "out") == ["a.png", "b.jpg"]


def test_a_mislabelled_file_gets_the_suffix_of_its_content(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    run([tmp_path / "a.jpg"], tmp_path / "out", NEAREST)
    assert files_in(tmp_path / "out") == ["a.png"]


def test_content_without_suffix_is_found(tmp_path, picture):
    (tmp_path / "in").mkdir()
    Image.fromarray(picture).save(tmp_path / "in" / "picture", format="PNG")
    run([tmp_path / "in"], tmp_path / "out", NEAREST)
    assert files_in(tmp_path / "out") == ["picture.png"]


def test_existing_results(folder, tmp_path):
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "b.jpg").write_text("mine")
    with pytest.raises(FileError, match=r"1 of 3 results exist: .*b.jpg; give --overwrite or --skip-existing"):
        upscale_batch([folder], out, NEAREST)
    assert files_in(out) == ["sub/b.jpg"]
    _, report = run([folder], out, NEAREST, existing="skip")
    assert [f.status for f in report.files] == ["done", "skipped", "done"]
    assert (out / "sub" / "b.jpg").read_text() == "mine"
    _, report = run([folder], out, NEAREST, existing="overwrite")
    assert [f.status for f in report.files] == ["done"] * 3
    with Image.open(out / "sub" / "b.jpg") as image:
        assert image.size == (122, 90)


def test_two_inputs_with_one_result_are_refused(folder, tmp_path, picture):
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(picture).save(other / "a.png")
    with pytest.raises(FileError, match=r"in/a.png and .*other/a.png would both become .*out/a.png"):
        upscale_batch([folder, other], tmp_path / "out", NEAREST)
    assert not (tmp_path / "out").exists()


def test_originals_are_never_overwritten(folder):
    before = (folder / "a.png").read_bytes()
    with pytest.raises(FileError, match="is an input; originals are never overwritten"):
        upscale_batch([folder], folder, NEAREST, existing="overwrite")
    assert (folder / "a.png").read_bytes() == before


def test_results_inside_the_input_folder_are_not_inputs(folder):
    run([folder], folder / "out", NEAREST)
    _, report = run([folder], folder / "out", NEAREST, existing="overwrite")
    assert len(report.files) == 3


def test_wrong_use_is_refused_at_once(folder, tmp_path):
    with pytest.raises(FileError, match=r"absent\.png: no such file or folder"):
        upscale_batch([folder, tmp_path / "absent.png"], tmp_path / "out", NEAREST)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match=r"no images in .*empty; known suffixes are"):
        upscale_batch([tmp_path / "empty"], tmp_path / "out", NEAREST)
    with pytest.raises(ArgumentError, match="existing must be 'refuse', 'overwrite' or 'skip', got 'ask'"):
        upscale_batch([folder], tmp_path / "out", NEAREST, existing="ask")
    with pytest.raises(UnknownNameError, match="unknown model 'bicubik'"):
        Settings(2, "bicubik")
    with pytest.raises(ArgumentError, match="scale must be a positive number, got -1"):
        Settings(-1)
    assert not (tmp_path / "out").exists()


def test_closing_the_run_midway_leaves_no_half_file(folder, tmp_path):
    steps = upscale_batch([folder], tmp_path / "out", Settings(2, "nearest", tile=4))
    for event in steps:
        if isinstance(event, FileAdvanced):
            break
    steps.close()
    assert files_in(tmp_path / "out") == []
    assert np.all([not p.name.startswith(".") for p in (tmp_path / "out").rglob("*")])


def statuses(report: BatchReport) -> list[str]:
    return [f.status for f in report.files]


def test_a_run_is_taken_up_by_content_and_settings(folder, tmp_path, picture):
    out = tmp_path / "out"
    assert statuses(run([folder], out, NEAREST)[1]) == ["done"] * 3
    assert statuses(run([folder], out, NEAREST, existing="skip")[1]) == ["skipped"] * 3
    assert statuses(run([folder], out, Settings(2, "nearest", tile=9), existing="skip")[1]) == ["skipped"] * 3
    Image.fromarray(255 - picture).save(folder / "a.png")
    assert statuses(run([folder], out, NEAREST, existing="skip")[1]) == ["done", "skipped", "skipped"]
    with Image.open(out / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[::2, ::2], 255 - picture)
    assert statuses(run([folder], out, Settings(3, "nearest"), existing="skip")[1]) == ["done"] * 3
    with Image.open(out / "a.png") as image:
        assert image.size == (183, 135)


def test_results_that_others_touched_are_left_alone(folder, tmp_path):
    out = tmp_path / "out"
    run([folder], out, NEAREST)
    (out / "a.png").write_bytes(b"retouched by hand")
    (out / "sub" / "b.jpg").unlink()
    _, report = run([folder], out, Settings(3, "nearest"), existing="skip")
    assert statuses(report) == ["skipped", "done", "done"]
    assert (out / "a.png").read_bytes() == b"retouched by hand"


def test_a_damaged_memory_is_no_error(folder, tmp_path):
    out = tmp_path / "out"
    run([folder], out, NEAREST)
    (out / NAME).write_text("{half")
    assert statuses(run([folder], out, Settings(3, "nearest"), existing="skip")[1]) == ["skipped"] * 3


def test_other_weights_count_as_other_settings(network, content, tmp_path, folder):
    out = tmp_path / "out"
    run([folder / "a.png"], out, Settings(2, network))
    assert statuses(run([folder / "a.png"], out, Settings(2, content()), existing="skip")[1]) == ["skipped"]
    network.phase += 1
    assert statuses(run([folder / "a.png"], out, Settings(2, network), existing="skip")[1]) == ["done"]


KILLED = """
import sys, time
from karaffe.imaging import FileAdvanced, Settings, upscale_batch
for event in upscale_batch([sys.argv[1]], sys.argv[2], Settings(2, "nearest", tile=8)):
    if isinstance(event, FileAdvanced) and event.job.source.name == "b.jpg":
        print("half", flush=True)
        time.sleep(60)
"""


def test_a_killed_run_is_taken_up_by_the_next(folder, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder), str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert [name for name in files_in(out) if not name.startswith((".", "sub/."))] == ["a.png"]
    made = (out / "a.png").stat().st_mtime_ns
    _, report = run([folder], out, settings=NEAREST, existing="skip")
    assert [f.status for f in report.files] == ["skipped", "done", "done"]
    assert files_in(out) == ["a.png", "sub/b.jpg", "sub/deep/c.webp"]
    assert (out / "a.png").stat().st_mtime_ns == made

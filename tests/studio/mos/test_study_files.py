"""Study files and their pictures: each thing that can be wrong gets one message that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from karaffe.errors import ArgumentError, FileError
from karaffe.evaluation import compare
from karaffe.studio.mos.config import load_config
from karaffe.studio.mos.create import create_study
from karaffe.studio.mos.stimuli import decode, load_stimuli


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"design": "acrr"}, r"design: unknown design 'acrr'; did you mean 'acr'"),
        ({"study": "a/b"}, "study: String should match pattern"),
        ({"metods": {}}, "metods: Extra inputs are not permitted"),
        ({"methods": None, "reference": None}, "give one of 'methods'"),
        ({"comparison": "out"}, "give one of 'methods'"),
        ({"methods": None, "comparison": "out"}, "'reference' is for a study with 'methods'"),
        ({"design": "dcr", "reference": None}, "design 'dcr' needs 'reference'"),
        ({"methods": {"reference": "x"}}, "'reference' is no method"),
        ({"ties": True}, "'ties' is for design 'pair'"),
        ({"repeats": -1}, "repeats: Input should be greater than or equal to 0"),
        ({"gold": [{"image": "p0.png", "method": "nobody", "answers": [1]}]}, "'method' must be one of"),
        ({"gold": [{"image": "p0.png", "method": "sharp", "answers": [7]}]}, r"answers \[7\] are not among"),
        ({"design": "pair", "methods": {"sharp": "sharp"}}, "needs at least two methods"),
        ({"training": ["none.png"]}, "name pictures that no folder has: none.png"),
        ({"training": [f"p{i}.png" for i in range(4)]}, "nothing is left to be rated"),
        (
            {"methods": None, "reference": None, "make": {"images": ["x"], "scale": 4, "models": ["sharp", "sharp"]}},
            "named twice",
        ),
    ],
)
def test_each_wrong_entry_is_named(study_file: Any, entries: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        create_study(study_file(**entries))
    assert not list(study_file().parent.glob("*.sqlite3"))


def test_all_wrong_entries_are_named_at_once(study_file: Any) -> None:
    with pytest.raises(ArgumentError, match=r"study: .*; repeats: .*; nothing_such: "):
        load_config(study_file(study="", repeats="many", nothing_such=1))


@pytest.mark.parametrize("text", ["study: [", "a: 1\na: 2\n", "{1: {}: 2}"])
def test_broken_yaml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(FileError, match="is not YAML"):
        load_config(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*none.yaml: No such file"):
        load_config(tmp_path / "none.yaml")


def test_missing_pictures_are_named(study_file: Any, pictures: Path) -> None:
    (pictures / "sharp" / "p2.png").unlink()
    with pytest.raises(ArgumentError, match=r"missing: sharp/p2$"):
        create_study(study_file())


def test_sizes_that_differ_are_named(study_file: Any, pictures: Path) -> None:
    Image.new("RGB", (65, 48)).save(pictures / "sharp" / "p1.png")
    with pytest.raises(ArgumentError, match=r"'p1' differ in size: bicubic 64x48, sharp 65x48, reference 64x48"):
        create_study(study_file())


def test_two_files_of_one_name_are_named(study_file: Any, pictures: Path) -> None:
    Image.new("RGB", (64, 48)).save(pictures / "sharp" / "p1.webp")
    with pytest.raises(ArgumentError, match=r"duplicate id 'p1' in .*sharp: p1.png, p1.webp"):
        create_study(study_file())


def test_a_folder_that_is_not_there(study_file: Any) -> None:
    with pytest.raises(FileError, match=r"cannot read the folder .*nowhere: No such file"):
        create_study(study_file(methods={"sharp": "nowhere"}))


def test_a_picture_that_cannot_be_read(study_file: Any, pictures: Path) -> None:
    (pictures / "sharp" / "p1.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(FileError, match=r"p1\.png"):
        create_study(study_file())


def test_what_is_shown_has_the_same_pixels_and_nothing_else(study_file: Any, pictures: Path) -> None:
    path = pictures / "sharp" / "p0.png"
    from PIL.PngImagePlugin import PngInfo

    secret = PngInfo()
    secret.add_text("Software", "sharp 1.0")
    with Image.open(path) as image:
        pixels = np.asarray(image)
        image.save(path, pnginfo=secret)
    config = load_config(study_file())
    shown = next(s for s in load_stimuli(config, pictures) if (s.content, s.method) == ("p0", "sharp"))
    np.testing.assert_array_equal(decode(shown.png), pixels)
    assert b"sharp" not in shown.png


def test_pictures_can_be_made(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    make = {"images": ["photo.png"], "scale": 2, "models": ["nearest", "bicubic"], "crop": 64}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"study": "made", "design": "acr-hr", "make": make}))
    found = load_stimuli(load_config(path), tmp_path)
    assert {(s.method, s.width, s.height) for s in found} == {
        ("reference", 64, 64),
        ("nearest", 64, 64),
        ("bicubic", 64, 64),
    }
    nearest = decode(next(s.png for s in found if s.method == "nearest"))
    np.testing.assert_array_equal(nearest[::2, ::2], nearest[1::2, 1::2])


def test_several_squares_of_each_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (90, 140, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    make: dict[str, Any] = {"images": ["photo.png"], "scale": 2, "models": ["nearest"], "crop": 40, "crops": 3}
    path = tmp_path / "study.yaml"

    def load(**changes: Any) -> dict[str, np.ndarray]:
        path.write_text(yaml.safe_dump({"study": "made", "design": "acr-hr", "make": make | changes}))
        found = load_stimuli(load_config(path), tmp_path)
        return {s.content: decode(s.png) for s in found if s.method == "reference"}

    squares = load()
    assert list(squares) == ["photo-1", "photo-2", "photo-3"]
    for name, (top, left) in {"photo-1": (2, 15), "photo-2": (2, 85), "photo-3": (47, 15)}.items():
        np.testing.assert_array_equal(squares[name], photo[top : top + 40, left : left + 40])
    with pytest.raises(ArgumentError, match="140x90, smaller than 3 crops of 46"):
        load(crop=46)
    with pytest.raises(ArgumentError, match="'crops' needs 'crop'"):
        load(crop=None)
    Image.fromarray(photo).save(tmp_path / "photo-2.png")
    with pytest.raises(ArgumentError, match="duplicate id 'photo-2-1'"):
        load(images=["photo-2.png", "photo-2.png"])


def compared(tmp_path: Path, labels: tuple[str, ...] = ("nearest", "bicubic"), **entries: Any) -> Path:
    """A study file beside what a comparison has written."""
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (32, 40, 3), dtype=np.uint8) for name in ("one.png", "two.png")}
    compare(pictures, 2, labels, output=tmp_path / "out")
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"study": "compared", "design": "acr-hr", "comparison": "out", **entries}))
    return path


def test_a_comparison_becomes_a_study(tmp_path: Path) -> None:
    path = compared(tmp_path, gold=[{"image": "two.png", "method": "nearest", "answers": [1]}])
    found = {(s.content, s.method): decode(s.png) for s in load_stimuli(load_config(path), tmp_path)}
    assert set(found) == {(c, m) for c in ("one", "two") for m in ("reference", "nearest", "bicubic")}
    nearest = found["one", "nearest"]
    np.testing.assert_array_equal(nearest[::2, ::2], nearest[1::2, 1::2])
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(found["one", "reference"], rng.integers(0, 256, (32, 40, 3), dtype=np.uint8))
    _, where = create_study(path)
    assert where.endswith("compared.sqlite3")


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"comparison": "nowhere"}, r"cannot read .*nowhere: No such file"),
        ({"comparison": "study.yaml"}, "is no page of 'karaffe compare'"),
        ({"gold": [{"image": "one.png", "method": "sharp", "answers": [1]}]}, "'method' must be one of"),
        ({"training": ["three.png"]}, "name pictures that no folder has: three.png"),
        ({"design": "pair", "labels": ("nearest",)}, "needs at least two methods"),
    ],
)
def test_a_comparison_that_does_not_serve_is_refused(tmp_path: Path, entries: dict[str, Any], says: str) -> None:
    path = compared(tmp_path, **entries)
    with pytest.raises((ArgumentError, FileError), match=says):
        create_study(path)
    assert not list(tmp_path.glob("*.sqlite3"))


def test_labels_of_a_comparison_must_be_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "theirs").mkdir()
    pixels = rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "theirs" / "one.png")
    compare({"one.png": pixels}, 2, ["nearest"], folders={"their tool": tmp_path / "theirs"}, output=tmp_path / "out")
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"study": "compared", "design": "acr", "comparison": "out"}))
    with pytest.raises(ArgumentError, match=r"a method's name is .*their tool"):
        create_study(path)

"""The record of the training pictures is complete, and what can be rebuilt without a network equals it."""

from __future__ import annotations

import csv
import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

TOOLS = Path(__file__).resolve().parents[2] / "tools"
FREE = (
    "CC0-1.0",
    "CC-BY-2.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "GPL-2.0-or-later",
    "no known copyright restrictions",
    "public domain",
)


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_training_set", TOOLS / "build_training_set.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded() -> dict[str, dict[str, str]]:
    with (TOOLS / "training_set" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def sources() -> list[dict]:
    return tomllib.loads((TOOLS / "training_set" / "sources.toml").read_text(encoding="utf-8"))["group"]


def test_every_picture_is_recorded_with_a_free_licence_and_an_author() -> None:
    rows = recorded()
    listed = {Path(p["file"]).stem + ".png": p for group in sources() for p in group["pictures"]}
    assert set(rows) == set(listed)
    for name, row in rows.items():
        assert row["licence"] == listed[name]["licence"]
        assert row["licence"] in FREE
        assert row["author"]
        assert row["split"] == ("held-out" if listed[name].get("held_out") else "train")


def test_the_demonstration_is_not_in_it() -> None:
    assert not {"chelsea.png", "coffee.png"} & set(recorded())
    assert sum(row["split"] == "held-out" for row in recorded().values()) >= 0.1 * len(recorded())


def test_the_pictures_of_python_packages_are_rebuilt_to_the_pixel(
    builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [group for group in sources() if group["kind"] == "python"]
    monkeypatch.setattr(builder.tomllib, "loads", lambda _: {"group": groups})
    rows = builder.build(tmp_path / "set", tmp_path / "no-debian")
    assert len(rows) == 13
    for row in rows:
        # JPEG decoders differ in the last bit; lossless pictures must not.
        ignored = {"pixels_sha256"} if row["file"].endswith(".jpg") else set()
        expected = recorded()[row["name"]]
        assert {k: v for k, v in row.items() if k not in ignored} == {
            k: v for k, v in expected.items() if k not in ignored
        }
        with Image.open(tmp_path / "set" / row["split"] / row["name"]) as picture:
            assert picture.size == (int(row["width"]), int(row["height"]))


def test_large_and_compressed_pictures_are_reduced(builder: ModuleType) -> None:
    assert builder.reduce_picture(Image.new("RGB", (300, 150)), jpeg=True).size == (200, 100)
    assert builder.reduce_picture(Image.new("L", (300, 150)), jpeg=False).size == (300, 150)
    large = builder.reduce_picture(Image.new("RGBA", (3000, 2000)), jpeg=False)
    assert large.mode == "RGB"
    assert large.width * large.height <= 1.001 * builder.MAX_PIXELS

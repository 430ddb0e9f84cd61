"""Pictures of other tools whose originals are missing: compared with one another, said once, and never measured."""

import json

import numpy as np
import pytest
from PIL import Image

from karaffe.cli.main import run
from karaffe.errors import ArgumentError, ShapeError
from karaffe.evaluation import Look, compare, imresize
from karaffe.visualize import read_page


def smooth(height=48, width=56, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (10, 11, 3)).astype(np.uint8)
    return imresize(small, size=(height, width))


@pytest.fixture
def folders(tmp_path):
    """Two tools' pictures of ``one``, ``two`` and ``three``; of ``four`` only the first tool's."""
    for number, tool in enumerate(("ours", "theirs")):
        (tmp_path / tool).mkdir()
        for seed, name in enumerate(("one", "two", "three")):
            noise = np.random.default_rng(seed).integers(0, 9, (48, 56, 3)) * number
            pixels = np.clip(smooth(seed=seed) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / tool / (f"{name}_x2.png" if number else f"{name}.png"))
    Image.fromarray(smooth(seed=3)).save(tmp_path / "ours" / "four.png")
    return {tool: tmp_path / tool for tool in ("ours", "theirs")}


@pytest.fixture
def original(tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(smooth(seed=0)).save(path)
    return path


def test_without_any_original_the_tools_are_compared_with_one_another(folders, tmp_path):
    result = compare([], 2, ["sharp"], folders=folders, output=tmp_path / "out", look=Look(formats=("png", "tex")))
    assert result.models == ("ours", "theirs")
    assert result.rows == ()
    assert result.unmeasured == ("one", "three", "two")
    assert [(f.image, "cannot find the picture of four" in f.reason) for f in result.failures] == [("four", True)]
    scenes = {scene.name: scene for scene in read_page(tmp_path / "out" / "comparison.html")}
    assert list(scenes) == ["one", "three", "two"]
    assert scenes["two"].reference is None
    assert list(scenes["two"].panels) == ["ours", "theirs"]
    np.testing.assert_array_equal(scenes["two"].panels["ours"], smooth(seed=1))
    assert (tmp_path / "out" / "two-x2.png").exists()
    tex = (tmp_path / "out" / "two-x2.tex").read_text()
    assert "reference" not in tex
    assert "PSNR" not in tex
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["unmeasured"] == ["one", "three", "two"]


def test_what_has_an_original_is_measured_beside_what_has_none(folders, original, tmp_path):
    result = compare([original], 2, ["bicubic"], folders=folders, output=tmp_path / "out")
    assert [(row.image, row.model) for row in result.rows] == [("one.png", m) for m in ("bicubic", "ours", "theirs")]
    assert result.rows[1].psnr == np.inf
    assert result.unmeasured == ("three", "two")
    assert [f.image for f in result.failures] == ["four"]
    shown = {scene.name: list(scene.panels) for scene in read_page(tmp_path / "out" / "comparison.html")}
    assert shown == {"one.png": ["bicubic", "ours", "theirs"], "three": ["ours", "theirs"], "two": ["ours", "theirs"]}


def test_one_tool_alone_has_nothing_to_be_compared_with(folders, original):
    ours = {"ours": folders["ours"]}
    result = compare([original], 2, ["bicubic"], folders=ours)
    assert {f.image for f in result.failures} == {"two", "three", "four"}
    assert "there is no original, and nothing but 'ours' to compare" in result.failures[0].reason
    with pytest.raises(ArgumentError, match="nothing but 'ours'"):
        compare([], 2, ["bicubic"], folders=ours)


def test_sizes_that_differ_are_said_and_the_rest_goes_on(folders, tmp_path):
    Image.fromarray(smooth(40, 56)).save(folders["theirs"] / "one_x2.png")
    result = compare([], 2, folders=folders)
    assert {f.image for f in result.failures} == {"one", "four"}
    (wrong,) = (f for f in result.failures if f.image == "one")
    assert "'theirs' has (40, 56, 3), 'ours' (48, 56, 3)" in wrong.reason
    for name in ("two", "three"):
        (folders["theirs"] / f"{name}_x2.png").unlink()
    with pytest.raises((ShapeError, ArgumentError, OSError)):
        compare([], 2, folders=folders)


def test_the_command_says_it_once_a_picture(folders, original, tmp_path, capsys):
    images = [word for label, folder in folders.items() for word in ("--images", f"{label}={folder}")]
    assert (
        run(["compare", str(original), *images, "--scale", "2", "--models", "bicubic", "-o", str(tmp_path / "o")]) == 1
    )
    seen = capsys.readouterr()
    assert seen.err.count("there is no original, so it is shown without figures") == 2
    assert seen.err.count("cannot find the picture of four") == 1
    assert run(["compare", *images, "--scale", "2", "-o", str(tmp_path / "p"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["models"] == ["ours", "theirs"]
    assert run(["compare", "--scale", "2", "-o", str(tmp_path / "q")]) == 2

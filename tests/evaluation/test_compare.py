import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from karaffe.errors import ArgumentError, DtypeError, FileError, ShapeError, UnknownNameError
from karaffe.evaluation import PAPERS, Look, compare, imresize
from karaffe.evaluation.pictures import crop_to_multiple, expand, read_picture
from karaffe.evaluation.staging import staged_folder
from karaffe.visualize import Box

MODELS = ["nearest", "bicubic"]


def smooth(height=66, width=74, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (12, 13, 3)).astype(np.uint8)
    return imresize(small, size=(height, width))


@pytest.fixture
def folder(tmp_path):
    """Two pictures, and something that only claims to be one."""
    inside = tmp_path / "in"
    inside.mkdir()
    for seed, name in enumerate(["one.png", "two <b>.png"]):
        Image.fromarray(smooth(seed=seed)).save(inside / name)
    (inside / "torn.png").write_bytes((inside / "one.png").read_bytes()[:200])
    (inside / "notes.txt").write_text("no picture")
    return inside


def test_figures_are_those_of_the_papers_protocol():
    picture = smooth()
    result = compare(picture, 4, MODELS)
    reference = picture[:64, :72]
    low = imresize(reference, 0.25)
    expected = PAPERS.measure(low.repeat(4, 0).repeat(4, 1), reference, 4)
    nearest, bicubic = result.rows
    assert (nearest.image, nearest.model) == ("image 1", "nearest")
    assert (nearest.psnr, nearest.ssim) == (pytest.approx(expected.psnr), pytest.approx(expected.ssim))
    floats = PAPERS.measure(
        np.clip(np.floor(imresize(low / 255.0, 4) * 255 + 0.5), 0, 255).astype(np.uint8), reference, 4
    )
    assert bicubic.psnr == pytest.approx(floats.psnr, abs=1e-3)
    assert bicubic.psnr > nearest.psnr + 3
    assert all(row.seconds > 0 for row in result.rows)
    np.testing.assert_array_equal(result.scenes[0].reference, reference)
    assert "4 pixels cropped" in result.note


def test_a_folder_is_written_and_the_torn_file_is_listed(folder, tmp_path):
    seen = []
    output = tmp_path / "deep" / "out"
    result = compare(folder, 2, MODELS, output=output, progress=lambda *step: seen.append(step))
    assert seen == [(0, 3, "one.png"), (1, 3, "torn.png"), (2, 3, "two <b>.png")]
    assert [failure.image for failure in result.failures] == ["torn.png"]
    assert sorted(path.name for path in output.iterdir()) == [
        "comparison.csv",
        "comparison.html",
        "comparison.json",
        "one-x2.png",
        "two _b_-x2.png",
    ]
    assert all(path.exists() for path in result.files)
    assert len(result.files) == 5
    assert [p.name for p in output.parent.iterdir()] == ["out"]
    data = json.loads((output / "comparison.json").read_text())
    assert data == result.to_dict()
    assert len(data["images"]) == 4
    with (output / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["psnr"]) for row in rows] == [row.psnr for row in result.rows]
    with Image.open(output / "one-x2.png") as strip:
        assert strip.width > 1000
    text = (output / "comparison.html").read_text()
    assert "two \\u003cb\\u003e.png" in text
    assert "two <b>" not in text
    assert result.scenes == ()


def test_existing_results_are_refused_before_the_work_and_replaced_on_request(folder, tmp_path):
    output = tmp_path / "out"
    compare(folder / "one.png", 2, MODELS, output=output)
    (output / "mine.txt").write_text("keep")
    with pytest.raises(FileError, match=r"comparison.html exists.*overwrite"):
        compare(folder / "one.png", 2, MODELS, output=output, progress=lambda *_: pytest.fail("began to work"))
    before = (output / "comparison.json").read_text()
    compare(folder / "one.png", 2, ["bilinear"], output=output, overwrite=True)
    assert (output / "comparison.json").read_text() != before
    assert (output / "mine.txt").read_text() == "keep"


def test_an_interrupted_run_leaves_nothing(folder, tmp_path):
    def interrupt(done, total, name):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(folder, 2, MODELS, output=tmp_path / "out", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_where_no_picture_can_be_compared_the_reason_is_raised(folder, tmp_path):
    with pytest.raises(FileError, match=r"torn\.png"):
        compare(folder / "torn.png", 2, MODELS)
    with pytest.raises(FileError, match=r"torn\.png"):
        compare([folder / "torn.png"], 2, MODELS, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_pictures_give_the_same_files(folder, tmp_path):
    for name in ("a", "b"):
        compare(folder / "one.png", 3, MODELS, output=tmp_path / name)
    one, two = ((tmp_path / name / "comparison.csv").read_text() for name in ("a", "b"))
    assert [line.split(",")[:4] for line in one.splitlines()] == [line.split(",")[:4] for line in two.splitlines()]


def test_grey_sixteen_bit_floats_and_names():
    grey = smooth()[..., 0]
    wide = grey.astype(np.uint16) * 257
    result = compare({"grey": grey, "wide": wide, "float": grey / 255.0}, 2, ["nearest"])
    psnrs = {row.image: row.psnr for row in result.rows}
    assert psnrs["wide"] == pytest.approx(psnrs["grey"], abs=0.1)
    assert psnrs["float"] == pytest.approx(psnrs["grey"], abs=0.1)


def test_two_files_of_one_name_are_told_apart(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(smooth()).save(tmp_path / name / "same.png")
    result = compare([tmp_path / "a", tmp_path / "b", tmp_path / "a"], 2, ["nearest"])
    assert [row.image for row in result.rows] == [str(tmp_path / n / "same.png") for n in ("a", "b")]


def test_strips_come_as_pdf_and_latex_too_and_no_file_takes_anothers_place(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.webp", "A.PNG"):
        Image.fromarray(smooth()).save(tmp_path / "in" / name)
    result = compare(tmp_path / "in", 2, ["nearest"], output=tmp_path / "out", look=Look(formats=("pdf", "tex")))
    names = sorted(path.name for path in result.files)
    assert [name for name in names if name.endswith(".pdf")] == ["A-x2.pdf", "a-2-x2.pdf", "a-3-x2.pdf"]
    assert [name for name in names if name.endswith(".tex")] == ["A-x2.tex", "a-2-x2.tex", "a-3-x2.tex"]
    assert (tmp_path / "out" / "a-3-x2-crop1-0.png").exists()
    with pytest.raises(UnknownNameError, match="pdf"):
        Look(formats=("pdff",))


def test_a_crop_that_lies_outside_of_one_picture_leaves_the_others(tmp_path):
    look = Look(crops=(Box(50, 0, 20, 20),))
    pictures = {"small": smooth(40, 60), "large": smooth(80, 90)}
    result = compare(pictures, 2, ["nearest"], output=tmp_path / "out", look=look)
    assert [(f.image, "does not lie within the 60x40" in f.reason) for f in result.failures] == [("small", True)]
    assert [row.image for row in result.rows] == ["large"]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["large-x2.png"]


def test_the_notebook_shows_the_page_in_a_frame():
    text = compare({'a"b': smooth()}, 2, ["nearest"])._repr_html_()
    assert text.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert 'sandbox="allow-scripts"' in text
    assert text.count("<") == 2


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"models": ["bicubc"]}, UnknownNameError, "bicubic"),
        ({"models": []}, ArgumentError, "models"),
        ({"models": "bicubic"}, ArgumentError, "models"),
        ({"models": ["nearest", "nearest"]}, ArgumentError, "different"),
        ({"scale": 2.5}, ArgumentError, "scale"),
        ({"scale": 0}, ArgumentError, "scale"),
        ({"protocol": "papper"}, UnknownNameError, "papers"),
        ({"images": []}, ArgumentError, "at least one"),
        ({"images": ["absent.png"]}, FileError, "absent.png"),
        ({"images": np.zeros((3, 3), np.uint8), "scale": 4}, ShapeError, "too small"),
        ({"images": np.zeros((30, 30), np.int64)}, DtypeError, "int64"),
    ],
)
def test_wrong_use_is_one_clear_error(arguments, error, says):
    with pytest.raises(error, match=says):
        compare(**({"images": smooth(), "models": MODELS} | arguments))


def test_pictures_are_read_with_their_depth_and_without_alpha(tmp_path):
    pixels = smooth(8, 9)
    alpha = np.full((8, 9, 1), 128, np.uint8)
    Image.fromarray(np.concatenate([pixels, alpha], 2)).save(tmp_path / "rgba.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "rgba.png"), pixels)
    grey = read_picture(tmp_path / "grey16.png")
    assert grey.dtype == np.uint16
    np.testing.assert_array_equal(grey, pixels[..., 0].astype(np.uint16) * 257)


def test_cropping_and_folders(folder, tmp_path):
    assert crop_to_multiple(np.zeros((17, 20, 3), np.uint8), 4).shape == (16, 20, 3)
    assert [path.name for path in expand([folder])] == ["one.png", "torn.png", "two <b>.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="holds no picture"):
        list(expand([tmp_path / "empty"]))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="it is a file"), staged_folder(tmp_path / "file"):
        pass
    with pytest.raises(FileError, match="cannot write into"), staged_folder(tmp_path / "file" / "out"):
        pass


def test_the_name_resolves_lazily():
    code = (
        "import sys, karaffe.evaluation; assert 'PIL' not in sys.modules and 'scipy' not in sys.modules;"
        "import karaffe.visualize; from karaffe.evaluation import compare; assert callable(compare)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

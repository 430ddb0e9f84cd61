import csv
import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from karaffe.errors import ArgumentError, FileError, ShapeError, UnknownNameError
from karaffe.evaluation import PAPERS, PROTOCOLS, Scores, compare, evaluate_sr, imresize, measure_cost
from karaffe.evaluation.super_resolution import Check

DATA = Path(__file__).parents[3] / "shared" / "data"


def smooth(height=66, width=74, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (12, 13, 3)).astype(np.uint8)
    return imresize(small, size=(height, width))


@pytest.fixture
def folder(tmp_path):
    """Four originals, and the reduced pictures and another tool's results beside them."""
    for name in ("HR", "LR", "theirs"):
        (tmp_path / name).mkdir()
    for seed in range(4):
        picture = smooth(seed=seed)
        Image.fromarray(picture).save(tmp_path / "HR" / f"img{seed}.png")
        reference = picture[:66, :72]
        low = imresize(reference, 1 / 3)
        Image.fromarray(low).save(tmp_path / "LR" / f"img{seed}x3.png")
        Image.fromarray(picture ^ 1).save(tmp_path / "theirs" / f"img{seed}.webp", lossless=True)
    return tmp_path


def test_bicubic_comes_first_and_figures_are_the_protocols(folder):
    result = evaluate_sr(folder / "HR", 3, ["nearest"], protocols=["papers", "rgb"])
    assert result.models == ("bicubic", "nearest")
    papers, rgb = result.tables
    assert [row.image for row in papers.rows] == [f"img{i}.png" for i in range(4) for _ in range(2)]
    reference = smooth(seed=2)[:66, :72]
    enlarged = imresize(reference, 1 / 3).repeat(3, 0).repeat(3, 1)
    expected = PAPERS.measure(enlarged, reference, 3)
    row = papers.rows[5]
    assert (row.psnr, row.ssim) == (pytest.approx(expected.psnr), pytest.approx(expected.ssim))
    assert rgb.rows[5].psnr == pytest.approx(PROTOCOLS["rgb"].measure(enlarged, reference, 3).psnr)
    assert "3 pixels cropped" in result.notes()[0]
    assert "R, G and B" in result.notes()[1]
    (test,) = result.tests()
    assert (test.first, test.second, test.losses) == ("nearest", "bicubic", 4)
    assert result.check is None
    assert evaluate_sr(folder / "HR", 3, ["nearest", "bicubic"]).models == ("nearest", "bicubic")


def test_pairs_are_found_by_name_and_give_the_same_as_reducing(folder):
    made = evaluate_sr(folder / "HR", 3, ["bicubic"])
    given = evaluate_sr(folder / "HR", 3, ["bicubic"], reduced=folder / "LR")
    assert [row.psnr for row in given.tables[0].rows] == [row.psnr for row in made.tables[0].rows]
    assert "as given" in given.notes()[0]
    assert "MATLAB" in made.notes()[0]


def test_a_picture_without_its_pair_is_listed_and_the_others_go_on(folder):
    (folder / "LR" / "img1x3.png").unlink()
    Image.fromarray(smooth(9, 9)).save(folder / "LR" / "img2.png")
    result = evaluate_sr(folder / "HR", 3, ["bicubic"], reduced=folder / "LR")
    assert [failure.image for failure in result.failures] == ["img1.png", "img2.png"]
    assert "there is none" in result.failures[0].reason
    assert "several" in result.failures[1].reason
    assert len(result.tables[0].rows) == 2


def test_reduced_pictures_of_another_size_are_refused(folder):
    (folder / "LR" / "img0x3.png").rename(folder / "LR" / "img0_x2.png")
    with pytest.raises(ShapeError, match=r"does not fit .*img0_x2.png of shape \(22, 24, 3\)"):
        evaluate_sr(folder / "HR" / "img0.png", 2, ["bicubic"], reduced=folder / "LR")


def test_pictures_of_another_tool_are_measured_beside_the_models(folder):
    result = evaluate_sr(folder / "HR", 3, ["nearest"], folders={"theirs": folder / "theirs"})
    rows = [row for row in result.tables[0].rows if row.model == "theirs"]
    assert len(rows) == 4
    # One count off in every channel: at most one count of luma.
    assert all(row.psnr > 47 for row in rows)
    assert all(math.isnan(row.seconds) for row in rows)
    shown = compare(folder / "HR", 3, [], folders={"theirs": folder / "theirs"})
    assert [row.psnr for row in shown.rows] == [row.psnr for row in rows]
    assert shown.scenes[0].panels[0].seconds is None
    assert shown.to_dict()["images"][0]["seconds"] is None


def test_a_network_of_ones_own_is_measured(folder):
    class Doubled(nn.Module):
        scale, halo = 3, 0

        def forward(self, x):
            return x.repeat_interleave(3, 2).repeat_interleave(3, 3)

    rows = evaluate_sr(folder / "HR", 3, {"mine": Doubled()}).tables[0].rows
    nearest = evaluate_sr(folder / "HR", 3, ["nearest"]).tables[0].rows
    assert [r.psnr for r in rows if r.model == "mine"] == [r.psnr for r in nearest if r.model == "nearest"]


def test_what_is_written_is_what_was_found(folder, tmp_path):
    result = evaluate_sr(folder / "HR", 3, ["nearest"], protocols=["papers", "ntire"], output=tmp_path / "out")
    data = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert data == result.to_dict()
    assert len(data["tables"][1]["images"]) == 8
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "evaluation.csv").read_text())))
    assert len(rows) == 16
    assert float(rows[9]["psnr"]) == result.tables[1].rows[1].psnr
    assert "9 pixels" in rows[9]["protocol"]
    with pytest.raises(FileError, match="overwrite"):
        evaluate_sr(folder / "HR", 3, ["nearest"], output=tmp_path / "out")


def test_the_seed_moves_the_intervals_only(folder):
    one, two, three = (evaluate_sr(folder / "HR", 3, ["bicubic"], seed=s).tables[0].summaries[0] for s in (1, 1, 2))
    assert one.psnr_interval == two.psnr_interval
    assert one.psnr_interval != three.psnr_interval
    assert one.psnr == three.psnr


def test_a_check_fails_outside_its_tolerance():
    published = Scores(33.66, 0.9299)
    assert Check("Set5", published, Scores(33.645, 0.929)).passed
    assert not Check("Set5", published, Scores(33.63, 0.929)).passed
    assert not Check("Set5", published, Scores(33.66, 0.927)).passed
    assert "NOT reproduced" in str(Check("Set5", published, Scores(32.34, 0.92)))


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the research images in ../shared/data")
def test_the_data_set_is_known_by_its_folder_and_bicubic_is_reproduced():
    root = DATA / "Set5" / "x4"
    result = evaluate_sr(root / "HR", 4, ["nearest"], reduced=root / "LR")
    assert result.check.dataset == "Set5"
    assert result.check.passed
    assert result.to_dict()["check"]["passed"] is True
    wrong = evaluate_sr(root / "HR", 4, ["nearest"], dataset="Set14")
    assert not wrong.check.passed
    assert evaluate_sr(root / "HR", 4, ["nearest"], protocols=["rgb"]).check is None


def test_costs_are_counted_and_timed():
    cost = measure_cost("bicubic", 4, repeats=3)
    # 320 x 180 source pixels; four taps, vertically to 4 and then to 16 values a source pixel.
    assert cost.macs == 320 * 180 * 4 * (4 + 16)
    assert cost.parameters == 0
    assert 0 < cost.milliseconds < 10_000
    # The result alone is 3.7 MB.
    assert (cost.peak_bytes is None) == (sys.platform != "linux")
    assert cost.peak_bytes is None or 3_000_000 < cost.peak_bytes < 100_000_000
    with pytest.raises(ArgumentError, match="repeats"):
        measure_cost("bicubic", 4, repeats=0)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"models": ["sharpp"]}, UnknownNameError, "sharp"),
        ({"models": ["nearest"], "folders": {"nearest": "."}}, ArgumentError, "different names"),
        ({"protocols": []}, ArgumentError, "protocols"),
        ({"references": "absent"}, FileError, "absent"),
        ({"folders": {"x": "absent"}}, FileError, "'x'"),
    ],
)
def test_wrong_use_is_one_clear_error(folder, arguments, error, says):
    with pytest.raises(error, match=says):
        evaluate_sr(**({"references": folder / "HR", "scale": 3, "models": ["nearest"]} | arguments))

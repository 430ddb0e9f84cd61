"""The command line end to end, on real files: results, messages, exit codes, and no traceback."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from karaffe.cli.main import run

PICTURES = Path(__file__).resolve().parents[2] / "examples" / "pictures"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A corner of a photograph, so that a test is quick."""
    path = tmp_path / "corner.png"
    Image.open(PICTURES / "chelsea.png").crop((60, 40, 124, 88)).save(path)
    return path


def karaffe(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    code = run([str(a) for a in arguments])
    out, err = capfd.readouterr()
    assert "Traceback" not in err or "--debug" in arguments
    return code, out, err


def test_upscale_a_file(capfd: pytest.CaptureFixture[str], picture: Path, tmp_path: Path) -> None:
    code, out, _ = karaffe(capfd, "upscale", picture, "-o", tmp_path / "big.png", "--scale", 2)
    assert code == 0
    assert "64x48 -> 128x96" in out
    with Image.open(tmp_path / "big.png") as big:
        assert big.size == (128, 96)
        assert big.mode == "RGB"


def test_upscale_a_folder_with_a_corrupt_file(capfd: pytest.CaptureFixture[str], picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(picture, folder / "a.png")
    shutil.copy(picture, folder / "deeper" / "b.png")
    (folder / "broken.png").write_bytes(picture.read_bytes()[:500])
    arguments = ("upscale", folder, "-o", tmp_path / "out", "--scale", 2, "--model", "bicubic")
    code, out, err = karaffe(capfd, *arguments)
    assert code == 1
    assert "1 of 3 failed" in err
    assert "broken.png" in err
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("[!.]*.*")) == [
        "a.png",
        "deeper/b.png",
    ]
    code, _, err = karaffe(capfd, *arguments)
    assert code == 1
    assert "--overwrite or --skip-existing" in err
    code, out, _ = karaffe(capfd, *arguments, "--skip-existing")
    assert code == 1
    assert out.count("exists, skipped") == 2
    code, out, _ = karaffe(capfd, *arguments, "--overwrite", "--json")
    assert code == 1
    report = json.loads(out)
    assert (report["done"], report["failed"]) == (2, 1)


@pytest.mark.parametrize("tile", ["auto", "0", "16"])
def test_tiles_do_not_show(capfd: pytest.CaptureFixture[str], picture: Path, tmp_path: Path, tile: str) -> None:
    karaffe(capfd, "upscale", picture, "-o", tmp_path / "whole.png", "--scale", 2, "--tile", 0)
    code, _, _ = karaffe(capfd, "upscale", picture, "-o", tmp_path / "tiled.png", "--scale", 2, "--tile", tile)
    assert code == 0
    whole, tiled = (np.asarray(Image.open(tmp_path / n)).astype(int) for n in ("whole.png", "tiled.png"))
    assert np.abs(whole - tiled).max() <= 1


def test_compare(capfd: pytest.CaptureFixture[str], picture: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "comparison"
    code, out, _ = karaffe(capfd, "compare", picture, "--scale", 2, "--models", "bicubic,sharp", "-o", out_dir)
    assert code == 0
    assert "PSNR dB" in out
    assert "BT.601" in out
    names = sorted(p.name for p in out_dir.iterdir())
    assert names == ["comparison.csv", "comparison.html", "comparison.json", "corner-x2.png"]
    figures = json.loads((out_dir / "comparison.json").read_text())
    by_model = {row["model"]: row["psnr"] for row in figures["means"]}
    assert by_model["sharp"] > by_model["bicubic"]
    page = (out_dir / "comparison.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    code, _, err = karaffe(capfd, "compare", picture, "--scale", 2, "--models", "bicubic", "-o", out_dir)
    assert code == 1
    assert "overwrite" in err


def test_strips_for_papers(capfd: pytest.CaptureFixture[str], picture: Path, tmp_path: Path) -> None:
    options = ("--strips", "pdf,tex", "--crop", "4,8,16,12", "--crop", "20,20,16,12", "--zoom", 3)
    code, _, _ = karaffe(capfd, "compare", picture, "--scale", 2, "--models", "bicubic", "-o", tmp_path / "c", *options)
    assert code == 0
    assert (tmp_path / "c" / "corner-x2.pdf").read_bytes().startswith(b"%PDF-")
    assert not (tmp_path / "c" / "corner-x2.png").exists()
    assert "crops (4, 8, 16, 12); (20, 20, 16, 12)" in (tmp_path / "c" / "corner-x2.tex").read_text()
    with Image.open(tmp_path / "c" / "corner-x2-crop1-0.png") as cell:
        assert cell.size == (48, 36)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ["upscale", "{picture}", "-o", "x.png", "--model", "sharpp"],
            2,
            "unknown model 'sharpp'; did you mean 'sharp'",
        ),
        (["upscale", "{picture}", "-o", "x.png", "--scale", "0"], 2, "scale"),
        (["upscale", "{picture}", "-o", "x.png", "--scale", "1000"], 1, "scale must be at most 64"),
        (["upscale", "{picture}", "-o", "x.png", "--tile", "-3"], 2, "--tile must be 'auto'"),
        (["upscale", "{picture}", "-o", "x.png", "--overwrite", "--skip-existing"], 2, "exclude each other"),
        (["upscale", "{picture}", "-o", "x.unknown"], 1, "x.unknown"),
        (["upscale", "nowhere.png", "-o", "x.png"], 1, "nowhere.png: no such file"),
        (["upscale", "{picture}"], 2, "--output"),
        (["compare", "{picture}", "--models", "bicubic,", "--scale", "3", "-o", "{picture}"], 1, "corner.png"),
        (["compare", "{picture}", "--models", ",", "-o", "c"], 2, "at least one"),
        (["compare", "{picture}", "--crop", "1,2,3", "-o", "c"], 2, "--crop must be X,Y,WIDTH,HEIGHT"),
        (["compare", "{picture}", "--crop", "60,0,10,10", "-o", "c"], 2, "crop"),
        (["compare", "{picture}", "--strips", "png,gif", "-o", "c"], 2, "unknown format of strips 'gif'"),
        (["compare", "{picture}", "--models", "sharp", "--scale", "5", "-o", "c"], 2, "no scale 5; it has"),
        (["compare", "{picture}", "--images", "other", "-o", "c"], 2, "--images must be LABEL=FOLDER; got 'other'"),
        (["evaluate", "sr", "{picture}", "--models", "sharp", "--scale", "7"], 2, "no scale 7"),
        (["export", "sharp", "--scale", "9", "--onnx", "x.onnx"], 2, "no scale 9"),
        (["export", "nets:none", "--onnx", "x.onnx"], 2, "needs --input SHAPE"),
        (["export", "nets:none", "--onnx", "x.onnx", "--input", "1,0"], 2, "--input must be positive sizes"),
        (["bench", "--kernel", "4"], 2, "must be odd; got 4"),
        (["train", "sr"], 2, "give a configuration file, or --resume"),
        (["train", "sr", "nowhere.toml"], 1, "nowhere.toml"),
        (["upsamplers", "craafe"], 2, "did you mean 'carafe'"),
        (["models", "bicubc"], 2, "did you mean 'bicubic'"),
        (["upscail"], 2, "upscail"),
    ],
)
def test_wrong_use(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    picture: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    got, out, err = karaffe(capfd, *(a.replace("{picture}", str(picture)) for a in arguments))
    assert got == code, err
    assert words in " ".join(err.split())
    assert not out
    assert sorted(tmp_path.rglob("*")) == before, "a refused command writes nothing"


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str], picture: Path) -> None:
    code, _, err = karaffe(capfd, "upscale", picture, "-o", "x.png", "--model", "sharpp", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert "UnknownNameError" in err


def test_lists(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = karaffe(capfd, "upsamplers", "--json")
    assert code == 0
    carafe = next(entry for entry in json.loads(out) if entry["name"] == "carafe")
    assert (carafe["parameters"], carafe["macs_per_source_pixel"]) == (74_148, 99_584)
    code, out, _ = karaffe(capfd, "models", "--json")
    assert {"bicubic", "sharp"} <= {entry["name"] for entry in json.loads(out)}
    assert all(entry["licence"] for entry in json.loads(out))
    code, out, _ = karaffe(capfd, "upsamplers", "--channels", 6, "--json")
    unfit = {entry["name"] for entry in json.loads(out) if entry["parameters"] is None}
    assert code == 0
    assert "dysample" in unfit
    assert "carafe" not in unfit
    for command in ("upsamplers", "models"):
        code, out, _ = karaffe(capfd, command)
        assert code == 0
        assert "paper" in out or "licence" in out


def test_evaluate_reproduces_bicubic_first(capfd: pytest.CaptureFixture[str], picture: Path, tmp_path: Path) -> None:
    Image.open(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "flipped.png")
    arguments = ("evaluate", "sr", picture, tmp_path / "flipped.png", "--scale", 2, "--models", "sharp")
    code, out, _ = karaffe(capfd, *arguments, "--protocols", "papers,rgb")
    assert code == 0
    assert out.index("bicubic") < out.index("sharp")
    assert "sharp - bicubic: +" in out
    assert "BT.601" in out
    code, out, _ = karaffe(capfd, *arguments, "--json")
    (figures,) = json.loads(out)["tables"]
    assert [mean["model"] for mean in figures["means"]] == ["bicubic", "sharp"]


def test_export_writes_what_onnxruntime_runs(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "sharp.onnx"
    code, out, _ = karaffe(capfd, "export", "sharp", "--scale", 2, "--onnx", file, "--json")
    written = json.loads(out[out.index("{") :])
    assert code == 0
    assert file.stat().st_size > 10_000
    assert written["largest_error"] < 1e-5
    code, _, err = karaffe(capfd, "export", "sharp", "--scale", 2, "--onnx", file)
    assert code == 1
    assert "--overwrite" in err


def test_doctor_tells_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = karaffe(capfd, "doctor", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["torch"] == torch.__version__
    assert {"reference", "cpu"} <= {b["name"] for b in facts["backends"]}
    code, out, _ = karaffe(capfd, "doctor")
    assert "reference" in out


def test_bench_measures_side_by_side(capfd: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        code, out, _ = karaffe(capfd, "bench", "--channels", 4, "--size", 8, "--rounds", 3, "--threads", 1, "--json")
    finally:
        torch.set_num_threads(before)
    measured = json.loads(out)
    assert code == 0
    assert {"unfold copy", "karaffe (reference)", "F.interpolate bilinear"} <= set(measured["median_seconds"])


def test_version_and_module_entry() -> None:
    done = subprocess.run([sys.executable, "-m", "karaffe", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("karaffe 0.")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_no_half_file(tmp_path: Path, sent: signal.Signals) -> None:
    Image.open(PICTURES / "coffee.png").resize((1800, 1200)).save(tmp_path / "large.png")
    command = [sys.executable, "-m", "karaffe", "upscale", "large.png", "-o", "out.png", "--scale", "4", "--tile", "64"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a suite that a shell started in the background ignores Ctrl-C, and its children would inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    limit = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert [p.name for p in tmp_path.iterdir()] == ["large.png"]

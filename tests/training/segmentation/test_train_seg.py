"""A training lowers the loss, keeps its best checkpoint, and goes on to the bit after kill -9."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from karaffe.cli.main import run as run_command
from karaffe.errors import ArgumentError, FileError, ShapeError
from karaffe.models.segmentation import VGG16, load_segmenter
from karaffe.training.run import Run
from karaffe.training.segmentation import CropSampler, load_dataset, measure, train_seg

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from karaffe.training.segmentation import train_seg
train_seg(sys.argv[1], runs=sys.argv[2], progress=False)
"""


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_training_learns_and_keeps_the_best(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write_text(tiny.read_text().replace("steps = 30", "steps = 60"))
    result = train_seg(tiny, runs=tmp_path / "runs", loggers=["tensorboard", "csv"], progress=False)
    log = log_of(result.run)
    losses = [line["loss"] for line in log if "loss" in line]
    assert sum(losses[-3:]) < 0.6 * sum(losses[:3])
    scores = [line["miou"] for line in log if "miou" in line]
    assert result.miou == max(scores) > 0.4
    assert {p.name for p in result.run.iterdir()} == {
        *("config.toml", "log.jsonl", "log.csv", "weights.safetensors", "last.safetensors", "tensorboard"),
    }
    assert (result.run / "log.csv").read_text().splitlines()[0] == "step,loss,learning_rate,miou,accuracy,event"
    assert any((result.run / "tensorboard").iterdir())

    model, classes = load_segmenter(result.weights)
    assert classes.names == ("ground", "disc", "bar")
    shapes = Path(str(tiny.read_text().split('path = "')[1].split('"')[0]))
    dataset = load_dataset(shapes, classes)
    assert measure(model, dataset["selection"]).scores.miou == pytest.approx(result.miou, abs=1e-6)
    test = log[-1]["test"]
    assert test["miou"] == pytest.approx(measure(model, dataset["test"]).scores.miou, abs=1e-6)
    assert len(test["image_miou"]) == 4

    capsys.readouterr()
    assert run_command(["evaluate", "seg", str(result.weights), str(shapes), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["miou"] == pytest.approx(test["miou"], abs=1e-6)
    assert list(figures["iou"]) == ["ground", "disc", "bar"]
    assert figures["images"] == 4
    assert run_command(["evaluate", "seg", str(result.weights), str(shapes), "--split", "rest"]) == 2
    assert "train, selection, test; got 'rest'" in capsys.readouterr().err
    assert run_command(["evaluate", "seg", str(result.run / "config.toml"), str(shapes)]) == 1


def test_after_kill_9_a_run_goes_on_to_the_bit(tiny: Path, tmp_path: Path) -> None:
    whole = train_seg(tiny, runs=tmp_path / "whole", progress=False)
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tiny), str(tmp_path / "cut")], env=environment)
    log = tmp_path / "cut" / "tiny" / "log.jsonl"
    deadline = time.monotonic() + 120
    try:
        while not (log.exists() and '"step": 15' in log.read_text()):
            assert process.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    run = log.parent
    assert (run / "state").exists()
    resumed = train_seg(resume=run, progress=False)
    for kept in ("weights", "last"):
        a, b = (load_file(r / f"{kept}.safetensors") for r in (whole.run, resumed.run))
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert log_of(run) == log_of(whole.run)
    assert not (run / "state").exists()
    with pytest.raises(ArgumentError, match="is finished"):
        train_seg(resume=run)


def test_a_run_that_was_killed_between_its_last_writes_can_be_finished(tiny: Path, tmp_path: Path) -> None:
    result = train_seg(tiny, runs=tmp_path, progress=False)
    best = result.weights.read_bytes()
    run, lines = Run(result.run, state_limit=None), log_of(result.run)
    state = tmp_path / "state"

    def keep(self: Run, tensors, step, fingerprint) -> None:
        Run_save(self, tensors, step, fingerprint)
        if step == 30:
            shutil.copy(self.state_path, state)

    Run_save = Run.save_state
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save_state", keep)
        train_seg(tiny, runs=tmp_path / "again", progress=False)
    shutil.copy(state, run.state_path)
    run.log_path.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    train_seg(resume=result.run, progress=False)
    assert result.weights.read_bytes() == best
    assert log_of(result.run) == lines


def test_a_begun_encoder(tiny: Path, tmp_path: Path) -> None:
    text = tiny.read_text().replace("steps = 30", "steps = 5")
    weights = tmp_path / "vgg16_bn.pth"
    torch.save(VGG16(0.5).state_dict(), weights)
    tiny.write_text(text.replace('"light-fpn"', f'"light-fpn"\nencoder = "{weights.as_posix()}"'))
    with pytest.raises(ArgumentError, match="needs a network with a VGG-16 encoder"):
        train_seg(tiny, runs=tmp_path / "a")
    tiny.write_text(text.replace('"light-fpn"', f'"vgg-segnet"\nencoder = "{weights.as_posix()}"'))
    with pytest.raises(ArgumentError, match="not the weights of this VGG-16"):
        train_seg(tiny, runs=tmp_path / "a")
    torch.save(VGG16(0.125).state_dict(), weights)
    assert train_seg(tiny, runs=tmp_path / "a", progress=False).steps == 5
    weights.write_bytes(b"nothing")
    with pytest.raises(FileError, match="cannot read weights"):
        train_seg(tiny, runs=tmp_path / "b")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"bilinear"', '"bilinaer"', "network: .*unknown upsampler 'bilinaer'; did you mean 'bilinear'"),
        ('"bilinear"', '"carafe-down"', "does not enlarge"),
        ('"light-fpn"', '"light-fp"', "did you mean 'light-fpn'"),
        ("ignore = 9", "ignore = 1", "ignore must be a value"),
        ("ignore = 9", "ignore = 9\ncrop = [40, 16]", "smaller than a crop of 16x40"),
        ("[1.0, 1.25]", "[1.5, 1.25]", "first of scales"),
        ('classes = ["ground", "disc", "bar"]', "classes = 2", r"values 2; accepted are \[0, 1\]"),
        ("test = true", "log_evry = 3", "log_evry: Extra inputs"),
    ],
)
def test_mistakes_are_found_before_anything_is_made(
    tiny: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    tiny.write_text(tiny.read_text().replace(old, new))
    with pytest.raises(ArgumentError, match=message):
        train_seg(tiny, runs=tmp_path / "runs", progress=False)
    assert not (tmp_path / "runs").exists()


def test_data_that_cannot_serve(tiny: Path, tmp_path: Path, shapes: Path) -> None:
    other = tmp_path / "set"
    shutil.copytree(shapes, other)
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(other / "labels" / "17.png")
    with pytest.raises(ShapeError, match=r"17\.png"):
        train_seg(tiny, data=other, runs=tmp_path / "runs")
    with pytest.raises(FileError, match="no such file"):
        train_seg(tiny, data=tmp_path / "none", runs=tmp_path / "runs")
    with pytest.raises(ArgumentError, match="loggers must be among"):
        train_seg(tiny, loggers=["wandb"], runs=tmp_path / "runs")
    with pytest.raises(ArgumentError, match="devices must divide the batch of 4; got 3"):
        train_seg(tiny, devices=3, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_other_pictures_are_refused_by_a_begun_run(
    tiny: Path, tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = CropSampler.__call__

    def failing(self: CropSampler, step: int):
        if step == 12:
            raise KeyboardInterrupt
        return cut(self, step)

    monkeypatch.setattr(CropSampler, "__call__", failing)
    with pytest.raises(KeyboardInterrupt):
        train_seg(tiny, runs=tmp_path, progress=False)
    other = tmp_path / "set"
    shutil.copytree(shapes, other)
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(other / "labels" / "1.png")
    with pytest.raises(ArgumentError, match="fingerprint"):
        train_seg(resume=tmp_path / "tiny", data=other, progress=False)


def test_two_processes_end_with_the_same_weights(tiny: Path, train_with_two: Callable) -> None:
    tiny.write_text(tiny.read_text().replace("steps = 30", "steps = 10"))
    run, (first, second) = train_with_two("seg", tiny)
    # Running statistics of batch normalisation are each process's own until the next step begins.
    assert all(torch.equal(first[key], second[key]) for key in first if "running" not in key)
    assert [line["step"] for line in log_of(run)] == [5, 10, 10]
    model, _ = load_segmenter(run / "weights.safetensors")
    assert model(torch.rand(1, 3, 32, 32)).isfinite().all()

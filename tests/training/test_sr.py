"""A training lowers the loss, and one that was killed goes on to the bit."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from karaffe.errors import ArgumentError, FileError, TrainingError
from karaffe.models import create_model, load_weights, save_weights
from karaffe.training import train_sr
from karaffe.training.base import learning_rate
from karaffe.training.config import OptimisationSection
from karaffe.training.patches import PatchSampler
from karaffe.training.run import Run

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from karaffe.training import train_sr
train_sr(sys.argv[1], runs=sys.argv[2], progress=False)
"""

# Put before the rest of the script: the second process alone meets a loss that is no number, at step 17.
POISONED = """
import math, os
from karaffe.training.module import SRTraining

loss, steps = SRTraining.loss, []

def poisoned(self, source, target):
    steps.append(len(steps))
    value = loss(self, source, target)
    return value * math.nan if os.environ.get("LOCAL_RANK") == "1" and steps[-1] == 17 else value

SRTraining.loss = poisoned
"""


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def _one_thread(set_threads):
    set_threads(1)


def test_a_training_lowers_the_loss_and_leaves_weights(tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(tiny.read_text().replace("steps = 40", "steps = 120"))
    result = train_sr(tiny, runs=tmp_path / "runs", progress=False)
    losses = [line["loss"] for line in log_of(result.run) if "loss" in line]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    measured = [line["psnr"] for line in log_of(result.run) if "psnr" in line]
    assert measured[-1] == result.psnr > measured[0]
    assert sorted(p.name for p in result.run.iterdir()) == ["config.toml", "log.jsonl", "weights.safetensors"]
    model = create_model("sharp", 2, pretrained=False)
    load_weights(model, result.weights, name="sharp", scale=2)
    assert (result.run / "config.toml").read_text() == tiny.read_text()


def test_after_kill_9_a_run_goes_on_to_the_bit(tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(tiny.read_text().replace("steps = 40", "steps = 60"))
    whole = train_sr(tiny, runs=tmp_path / "whole", progress=False)

    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tiny), str(tmp_path / "cut")], env=environment)
    log = tmp_path / "cut" / "tiny" / "log.jsonl"
    deadline = time.monotonic() + 90
    try:
        while not (log.exists() and '"step": 25' in log.read_text()):
            assert process.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    run = log.parent
    assert (run / "state").stat().st_size <= 2 * 2**20
    assert not (run / "weights.safetensors").exists()
    with log.open("a") as file:
        file.write('{"step": 30, "lo')

    resumed = train_sr(resume=run, progress=False)
    for (name, a), b in zip(load_file(whole.weights).items(), load_file(resumed.weights).values(), strict=True):
        assert torch.equal(a, b), name
    assert log_of(run) == log_of(whole.run)
    assert [line["step"] for line in log_of(run) if "loss" in line] == list(range(5, 65, 5))
    assert not (run / "state").exists()


def test_a_run_in_channels_last_goes_on_to_the_bit(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tiny.read_text().replace("[model]", '[model]\nname = "fsrcnn"').replace("steps = 40", "steps = 20")
    tiny.write_text(text.replace("[run]", "[run]\nchannels_last = true").replace("expansion = 32", "expansion = 0"))
    whole = train_sr(tiny, runs=tmp_path / "whole", progress=False)
    cut = PatchSampler.__call__

    def failing(self: PatchSampler, step: int):
        if step == 13:
            raise KeyboardInterrupt
        return cut(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(PatchSampler, "__call__", failing)
        with pytest.raises(KeyboardInterrupt):
            train_sr(tiny, runs=tmp_path / "cut", progress=False)
    resumed = train_sr(resume=tmp_path / "cut" / "tiny", progress=False)
    a, b = (load_file(result.weights) for result in (whole, resumed))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert log_of(resumed.run) == log_of(whole.run)


def test_a_finished_run_and_a_taken_name_are_refused(tiny: Path, tmp_path: Path) -> None:
    result = train_sr(tiny, runs=tmp_path, progress=False)
    with pytest.raises(ArgumentError, match="is finished"):
        train_sr(resume=result.run, progress=False)
    with pytest.raises(FileError, match="holds a run already"):
        train_sr(tiny, runs=tmp_path, progress=False)
    with pytest.raises(FileError, match="not a training run"):
        train_sr(resume=tmp_path / "none")
    with pytest.raises(ArgumentError, match="either config or resume"):
        train_sr()
    with pytest.raises(ArgumentError, match="either config or resume"):
        train_sr(tiny, resume=result.run)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_state(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = PatchSampler.__call__

    def poisoned(self: PatchSampler, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        source, target = draw(self, step)
        return source, target * (float("nan") if step == 17 else 1)

    monkeypatch.setattr(PatchSampler, "__call__", poisoned)
    with pytest.raises(
        TrainingError, match=r"nan at step 17 .*state of step 10 is kept\. Pictures of that step: .*png"
    ):
        train_sr(tiny, runs=tmp_path, progress=False)
    state = Run(tmp_path / "tiny").load_state()
    assert state is not None
    assert state[1] == 10
    assert all(torch.isfinite(t).all() for t in state[0].values())

    monkeypatch.undo()
    assert train_sr(resume=tmp_path / "tiny", progress=False).steps == 40


def test_a_loss_that_is_not_finite_in_one_process_stops_both(tiny: Path, two_processes: Callable[..., Any]) -> None:
    runs, done = two_processes("sr", tiny, POISONED)
    assert done.returncode != 0
    said = [(runs / f"rank{rank}.txt").read_text() for rank in (0, 1)]
    assert said[0] == said[1]
    assert re.match(r"TrainingError: the loss is nan at step 17 .*the state of step 10 is kept\. Pictures", said[0])
    state = Run(runs / "tiny").load_state()
    assert state is not None
    assert state[1] == 10
    assert all(torch.isfinite(t).all() for t in state[0].values())
    assert [line["step"] for line in Run(runs / "tiny").lines() if line.get("event") == "diverged"] == [17]


def interrupted(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that Ctrl-C stopped at step 15."""
    draw = PatchSampler.__call__

    def failing(self: PatchSampler, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if step == 15:
            raise KeyboardInterrupt
        return draw(self, step)

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(PatchSampler, "__call__", failing)
        with pytest.raises(KeyboardInterrupt):
            train_sr(tiny, runs=tmp_path, progress=False)
    assert signal.getsignal(signal.SIGINT) is handler
    return tmp_path / "tiny"


def test_an_interrupted_run_can_be_resumed_with_a_bar(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = interrupted(tiny, tmp_path, monkeypatch)
    assert [line["step"] for line in log_of(run)] == [5, 10]
    result = train_sr(resume=run)
    shown = "".join(capfd.readouterr())
    assert "40/40" in shown
    assert "psnr" in shown
    assert [line["step"] for line in log_of(result.run) if "loss" in line] == list(range(5, 45, 5))


def test_other_pictures_or_a_torn_state_are_refused(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    run = interrupted(tiny, tmp_path, monkeypatch)
    others = tmp_path / "others"
    for split in ("train", "held-out"):
        (others / split).mkdir(parents=True)
        source = sorted((pictures / split).iterdir())[0]
        (others / split / "only.png").write_bytes(source.read_bytes())
    with pytest.raises(ArgumentError, match=r"fingerprint .* not those that run"):
        train_sr(resume=run, data=others, progress=False)

    state = (run / "state").read_bytes()
    (run / "config.toml").write_text(tiny.read_text().replace("scale = 2", "scale = 4"))
    with pytest.raises(ArgumentError, match=r"fingerprint|not of the network"):
        train_sr(resume=run, progress=False)
    (run / "config.toml").write_text(tiny.read_text().replace("expansion = 32", "expansion = 48"))
    with pytest.raises(ArgumentError, match=r"not of the network its config\.toml"):
        train_sr(resume=run, progress=False)
    (run / "config.toml").write_text(tiny.read_text())
    (run / "state").write_bytes(state[:200])
    with pytest.raises(FileError, match="cannot read"):
        train_sr(resume=run, progress=False)


def test_a_trunk_of_another_scale_can_start_a_training(tiny: Path, tmp_path: Path) -> None:
    source = create_model("sharp", 4, pretrained=False)
    start = tmp_path / "start.safetensors"
    save_weights(source, start, name="sharp", scale=4)
    still = tiny.read_text().replace("scale = 2", f'scale = 2\nstart = "{start.as_posix()}"')
    tiny.write_text(still.replace("steps = 40", "steps = 1").replace("2e-3", "1e-12"))
    trained = load_file(train_sr(tiny, runs=tmp_path, progress=False).weights)
    torch.testing.assert_close(trained["trunk.0.weight"], source.trunk[0].weight.detach(), atol=1e-5, rtol=0)
    for text, message in (("sharp", "cannot read"), ("other", "weights of model 'other'")):
        start.write_bytes(b"") if text == "sharp" else save_weights(source, start, name=text, scale=4)
        with pytest.raises((ArgumentError, FileError), match=message):
            train_sr(tiny, runs=tmp_path / text, progress=False)


def test_a_begun_run_no_longer_needs_its_start(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = tmp_path / "start.safetensors"
    save_weights(create_model("sharp", 4, pretrained=False), start, name="sharp", scale=4)
    tiny.write_text(tiny.read_text().replace("scale = 2", f'scale = 2\nstart = "{start.as_posix()}"'))
    run = interrupted(tiny, tmp_path, monkeypatch)
    start.unlink()
    assert train_sr(resume=run, progress=False).steps == 40


def test_a_held_out_picture_smaller_than_a_patch_is_named(tiny: Path, tmp_path: Path, pictures: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(pictures, folder)
    Image.new("RGB", (20, 20)).save(folder / "held-out" / "small.png")
    with pytest.raises(ArgumentError, match=r"picture small\.png is 20x20, smaller than a patch of 24x24"):
        train_sr(tiny, data=folder, runs=tmp_path, progress=False)
    assert not (tmp_path / "tiny").exists()


def test_a_state_over_the_limit_is_refused(tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(tiny.read_text().replace("expansion = 32", "expansion = 256"))
    with pytest.raises(ArgumentError, match="smaller expansion"):
        train_sr(tiny, runs=tmp_path, progress=False)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    settings = OptimisationSection(steps=1000, learning_rate=1.0, warmup=100)
    rates = [learning_rate(settings, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.975, abs=0.01)
    assert rates[-1] < 1e-5
    assert all(a > b for a, b in itertools.pairwise(rates[100:]))


def test_with_a_cooldown_the_plateau_does_not_depend_on_the_number_of_steps() -> None:
    short = OptimisationSection(steps=400, learning_rate=1.0, warmup=100, cooldown=200)
    long = OptimisationSection(steps=900, learning_rate=1.0, warmup=100, cooldown=200)
    assert [learning_rate(short, step) for step in range(200)] == [learning_rate(long, step) for step in range(200)]
    assert learning_rate(long, 699) == 1.0
    assert learning_rate(long, 800) == pytest.approx(0.5)
    assert learning_rate(long, 899) < 1e-4


def test_two_processes_train_what_one_does(tiny: Path, tmp_path: Path, train_with_two: Callable) -> None:
    tiny.write_text(tiny.read_text().replace("steps = 40", "steps = 20"))
    run, (first, second) = train_with_two("sr", tiny)
    assert all(torch.equal(first[key], second[key]) for key in first)
    one = train_sr(tiny, runs=tmp_path / "one", progress=False)
    alone, shared = (load_file(folder / "weights.safetensors") for folder in (one.run, run))
    for key, value in alone.items():
        torch.testing.assert_close(shared[key], value, rtol=0, atol=1e-4)
    assert sorted(path.name for path in run.iterdir()) == ["config.toml", "log.jsonl", "weights.safetensors"]
    logs = [[(line["step"], line.get("loss")) for line in log_of(folder)] for folder in (one.run, run)]
    assert [step for step, _ in logs[0]] == [step for step, _ in logs[1]]
    assert [loss for _, loss in logs[1] if loss] == pytest.approx([loss for _, loss in logs[0] if loss], rel=1e-4)

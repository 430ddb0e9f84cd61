"""Recorded steps do what Lightning's loop does, and trainings side by side do not meddle with each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from karaffe.errors import ArgumentError, TrainingError
from karaffe.training import train_sr
from karaffe.training.config import parse_config
from karaffe.training.graphs import GraphedTraining, train_together
from karaffe.training.module import SRTraining, load_pictures
from karaffe.training.run import Run

CPU = torch.device("cpu")


@pytest.fixture
def text(tiny: Path) -> str:
    return tiny.read_text().replace("log_every = 5", "log_every = 10")


def begin(text: str, folder: Path, pictures: Path) -> GraphedTraining:
    config = parse_config(text, "test")
    run = Run.open(folder) if (folder / "config.toml").exists() else Run.create(folder, text)
    return GraphedTraining(SRTraining(config, load_pictures(config.data, 2, pictures)), run, CPU)


def compare(first: Path, second: Path, tolerance: float = 0.0) -> None:
    a, b = load_file(first), load_file(second)
    assert set(a) == set(b)
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=tolerance, rtol=0)


def test_steps_are_those_of_the_other_loop(text: str, tiny: Path, tmp_path: Path, pictures: Path) -> None:
    text = text.replace("steps = 40", "steps = 20").replace("2e-3", "1e-4")
    tiny.write_text(text)
    other = train_sr(tiny, runs=tmp_path, progress=False)
    ours = begin(text, tmp_path / "graphed", pictures)
    train_together([ours])
    compare(ours.training.run_folder.weights_path, other.weights, 1e-6)
    for a, b in zip(ours.training.run_folder.lines(), Run(other.run).lines(), strict=True):
        assert a == pytest.approx(b, rel=1e-4) if "event" not in a else a["psnr"] == pytest.approx(b["psnr"], abs=1e-3)


def test_a_run_goes_on_where_it_was_saved(text: str, tmp_path: Path, pictures: Path) -> None:
    whole = begin(text, tmp_path / "whole", pictures)
    train_together([whole])
    cut = begin(text, tmp_path / "cut", pictures)
    for _ in range(2):
        cut.prepare()
        while not cut.advance():
            pass
        cut.collect()
    resumed = begin(text, tmp_path / "cut", pictures)
    assert resumed.done == 20
    train_together([resumed])
    compare(resumed.training.run_folder.weights_path, whole.training.run_folder.weights_path)
    assert resumed.training.run_folder.lines() == whole.training.run_folder.lines()


def test_a_deadline_ends_all_with_their_weights(text: str, tmp_path: Path, pictures: Path) -> None:
    first, second = (begin(text, tmp_path / name, pictures) for name in ("first", "second"))
    train_together([first, second], deadline=0.0)
    for training in (first, second):
        assert training.done == 10
        assert training.training.run_folder.weights_path.exists()
        assert training.training.run_folder.lines()[-1]["step"] == 10


def test_steps_can_be_planned_anew(text: str, tmp_path: Path, pictures: Path) -> None:
    training = begin(text, tmp_path / "run", pictures)

    def fewer(one: GraphedTraining) -> None:
        one.training.settings = one.training.settings.model_copy(update={"steps": 20})

    train_together([training], between=fewer)
    assert training.done == 20
    assert training.training.run_folder.lines()[-1]["event"] == "finished"


def test_one_that_diverges_does_not_stop_the_others(
    text: str, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = (begin(text, tmp_path / name, pictures) for name in ("bad", "good"))
    loss = bad.training.loss

    def poisoned(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return loss(source, target) * (float("nan") if bad.done == 20 else 1)

    monkeypatch.setattr(bad.training, "loss", poisoned)
    with pytest.raises(TrainingError, match=r"nan at step 20 .*state of step 20 is kept"):
        train_together([bad, good])
    assert good.finished
    assert good.training.run_folder.weights_path.exists()
    assert not bad.training.run_folder.weights_path.exists()


def test_half_precision_is_near_the_whole_one(text: str, tmp_path: Path, pictures: Path) -> None:
    half = begin(text + '\nprecision = "bf16-mixed"\n', tmp_path / "half", pictures)
    whole = begin(text, tmp_path / "whole", pictures)
    train_together([half, whole])
    a, b = (t.training.run_folder.lines() for t in (half, whole))
    assert a[0]["loss"] != b[0]["loss"]
    assert a[0]["loss"] == pytest.approx(b[0]["loss"], rel=0.02)
    assert a[-1]["psnr"] == pytest.approx(b[-1]["psnr"], abs=0.3)


def test_a_log_line_within_a_graph_is_refused(tiny: Path, tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(ArgumentError, match="log_every must be a multiple of 10"):
        begin(tiny.read_text(), tmp_path / "run", pictures)

"""A choice: its budget, its continuation, its statistics, its report, and what it recommends."""

from __future__ import annotations

import html
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from karaffe.errors import ArgumentError, FileError, TrainingError
from karaffe.evaluation import compare
from karaffe.evaluation.segmentation import IGNORE
from karaffe.models import create_model
from karaffe.models.checkpoint import save_weights
from karaffe.models.segmentation import create_segmenter
from karaffe.training.choose import choose_seg, choose_sr, recommend, super_resolution, write_report
from karaffe.training.choose.importance import importance_of
from karaffe.training.choose.outcome import Choice, Cost, Outcome, holm
from karaffe.training.choose.pictures import boundary_errors
from karaffe.training.choose.plan import parse_budget, steps_within
from karaffe.training.choose.trials import Trial, run_trials, to_toml
from karaffe.training.config import load_config
from karaffe.training.segmentation import SegConfig
from karaffe.visualize import strip


def outcome(name: str, seeds: list[float], images: np.ndarray, seconds: float = 1.0) -> Outcome:
    per_seed = tuple(tuple((images + value - np.mean(seeds)).tolist()) for value in seeds)
    return Outcome(name, tuple(range(len(seeds))), {"miou": tuple(seeds)}, per_seed, (), Cost(1, 1, seconds))


IMAGES = np.random.default_rng(0).uniform(0.3, 0.8, 40)
NOISE = np.random.default_rng(1).normal(0, 0.02, 40)


def test_a_clear_winner_is_taken_though_it_costs_more() -> None:
    found = recommend(
        [outcome("a", [0.50, 0.51, 0.49], IMAGES), outcome("b", [0.60, 0.61, 0.59], IMAGES + 0.1 + NOISE, 2.0)], "miou"
    )
    assert (found.best, found.choice, found.significant) == ("b", "b", True)
    assert "every other candidate is significantly worse in miou" in found.text
    assert found.tests[0].difference == pytest.approx(0.1 + NOISE.mean())


def test_without_a_difference_the_cheapest_is_taken() -> None:
    found = recommend(
        [outcome("a", [0.51, 0.50], IMAGES + NOISE, 2.0), outcome("b", [0.51, 0.49], IMAGES, 1.0)], "miou"
    )
    assert (found.choice, found.significant) == ("b", False)
    assert found.text.startswith("No significant difference. Take b")


def test_luck_of_the_seed_is_no_difference() -> None:
    # Image by image a is higher everywhere, but its seeds are as far apart as the two means.
    found = recommend(
        [outcome("a", [0.60, 0.50], IMAGES + 0.03 + 0.1 * NOISE, 2.0), outcome("b", [0.52, 0.52], IMAGES)], "miou"
    )
    assert found.tests[0].wilcoxon < 1e-6
    assert not found.significant


def test_a_cheap_equal_beats_the_best_and_a_bad_one_is_out() -> None:
    found = recommend(
        [
            outcome("bad", [0.40, 0.41], IMAGES - 0.1 + NOISE[::2].repeat(2), 0.5),
            outcome("cheap", [0.50, 0.51], IMAGES + NOISE[::-1], 1.0),
            outcome("best", [0.505, 0.51], IMAGES + 0.001 + NOISE, 2.0),
        ],
        "miou",
    )
    assert (found.best, found.choice, found.significant) == ("best", "cheap", True)
    assert "cheap is not significantly worse" in found.text


def test_one_seed_is_said_to_be_one() -> None:
    found = recommend([outcome("a", [0.5], IMAGES), outcome("b", [0.6], IMAGES + 0.1 + NOISE)], "miou")
    assert found.choice == "b"
    assert "One seed each" in found.text


def test_the_statistics_are_scipys() -> None:
    assert holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    values = [0.4, 0.5, 0.7]
    found = outcome("a", values, IMAGES)
    assert found.error("miou") == pytest.approx(np.std(values, ddof=1) / 3**0.5)
    low, high = found.interval("miou") or (0, 0)
    half = stats.t.ppf(0.975, 2) * found.error("miou")
    assert (low, high) == (pytest.approx(found.mean("miou") - half), pytest.approx(found.mean("miou") + half))
    np.testing.assert_allclose(found.image_means(), IMAGES)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), (" 2 h ", 7200)])
def test_budgets(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "2 weeks", "-1h", "0s"])
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(ArgumentError, match="budget must be a time such as"):
        parse_budget(text)


def test_steps_fill_the_budget_and_too_small_a_budget_says_what_would_do() -> None:
    costs = {"a": Cost(1, 1, 0.1), "b": Cost(1, 1, 0.3)}
    assert steps_within(1200, costs, 3, 1) == 850
    assert steps_within(1200, costs, 3, 2) == 1700
    with pytest.raises(ArgumentError, match="a budget of 100 s is too small: 6 runs of 200 steps take about 282 s"):
        steps_within(100, costs, 3, 1)


def test_configurations_survive_as_toml() -> None:
    value = {"a": {"x": 1, "y": [1.5, 2.0], "s": 'quo"ted – ü', "on": True, "none": None, "t": {"k": [[1, 2]]}}}
    assert tomllib.loads(to_toml(value)) == {"a": {k: v for k, v in value["a"].items() if v is not None}}


def test_errors_marked_are_wrong_pixels_near_a_boundary() -> None:
    truth = np.zeros((20, 20), dtype=np.uint8)
    truth[:, 10:] = 1
    truth[0] = IGNORE
    predicted = truth.copy()
    predicted[:, 8:10] = 1
    predicted[5, 0] = 1
    predicted[0, 9] = 0
    marked = boundary_errors(predicted, truth)
    assert marked[1:, 8:10].all()
    assert marked.sum() == 38


@pytest.mark.parametrize("upsampler", ["carafe", "fade"])
def test_importance_is_of_the_kernels_in_the_finest_step(upsampler: str) -> None:
    torch.manual_seed(0)
    model = create_segmenter("light-fpn", 3, upsampler, width=0.125).eval()
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    finest, seen = model.ups[0], []
    hook = finest.register_forward_hook(lambda module, given, made: seen.append(given))
    maps = importance_of(model, image)
    hook.remove()
    ((x, guide),) = seen
    with torch.no_grad():
        kernels = finest.kernels(x, guide) if finest.needs_guide else finest.kernels(x)
    weights = kernels[0, 0].double() / kernels[0, 0].double().sum(0)
    assert maps.shape == (2, 30, 40)
    entropy = -(weights * weights.log()).sum(0) / np.log(25)
    np.testing.assert_allclose(maps[0], entropy[:30, :40], atol=1e-6)
    np.testing.assert_allclose(maps[1], 1 - weights[12, :30, :40], atol=1e-6)


def test_a_network_without_kernels_has_no_importance() -> None:
    model = create_segmenter("light-fpn", 3, "bilinear", width=0.125).eval()
    assert importance_of(model, np.zeros((32, 32, 3), dtype=np.uint8)) is None


def test_a_choice_goes_on_and_reports(tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(tiny.read_text().replace("steps = 30", "steps = 10"))
    config, told = load_config(tiny, SegConfig), []
    choice = choose_seg(config, ["bilinear", "carafe"], tmp_path / "choice", seeds=1, jobs=2, told=told.append)
    assert [o.candidate for o in choice.outcomes] == ["bilinear", "carafe"]
    assert all(len(o.images[0]) == 4 and 0 <= o.mean("miou") <= 1 for o in choice.outcomes)
    assert choice.outcomes[1].cost.parameters > choice.outcomes[0].cost.parameters
    kept = load_config(tmp_path / "choice" / "runs" / "carafe-seed0" / "config.toml", SegConfig)
    assert (kept.network.upsampler, kept.optimisation.seed, kept.optimisation.steps) == ("carafe", 0, 10)

    told.clear()
    again = choose_seg(config, ["bilinear", "carafe", "nearest"], tmp_path / "choice", seeds=1, told=told.append)
    assert told == ["nearest: measuring a step", "nearest-seed0: training", "nearest-seed0: finished"]
    assert again.outcomes[:2] == choice.outcomes
    report = write_report(again)
    assert {p.name for p in report.files} == {
        *("report.md", "report.html", "report.json", "scores.png", "curves.png", "pictures.png", "importance.png"),
    }
    text = (tmp_path / "choice" / "report.md").read_text()
    assert again.recommendation is not None
    assert again.recommendation.text in text
    assert f"{again.outcomes[1].mean('miou'):.4f}" in text
    figures = json.loads((tmp_path / "choice" / "report.json").read_text())
    assert figures["candidates"]["carafe"]["figures"]["miou"]["mean"] == again.outcomes[1].mean("miou")
    with Image.open(tmp_path / "choice" / "pictures.png") as picture:
        assert picture.width > 1000
    with Image.open(tmp_path / "choice" / "importance.png") as picture:
        assert picture.width == 3 * 240 + 2 * 6, "the picture, and two maps of carafe; the others predict no kernels"
    assert "](importance.png)" in text

    plan = tmp_path / "choice" / "plan.json"
    plan.write_text(plan.read_text().replace("0.125", "1"))
    with pytest.raises(ArgumentError, match="holds a choice with other settings"):
        choose_seg(config, ["bilinear", "carafe"], tmp_path / "choice", seeds=1)
    plan.write_text("{")
    with pytest.raises(FileError, match=r"cannot read .*plan\.json"):
        choose_seg(config, ["bilinear", "carafe"], tmp_path / "choice", seeds=1)


def test_mistakes_before_anything_is_trained(tiny: Path, tmp_path: Path) -> None:
    config, folder = load_config(tiny, SegConfig), tmp_path / "choice"
    with pytest.raises(ArgumentError, match="at least two"):
        choose_seg(config, ["carafe", "carafe"], folder)
    with pytest.raises(ArgumentError, match="unknown upsampler 'carfe'"):
        choose_seg(config, ["bilinear", "carfe"], folder)
    with pytest.raises(ArgumentError, match="a budget of 1 s is too small"):
        choose_seg(config, ["bilinear", "nearest"], folder, budget=1, told=lambda line: None)
    nowhere = config.model_copy(update={"data": config.data.model_copy(update={"path": str(tmp_path / "none")})})
    with pytest.raises(FileError, match="no such file"):
        choose_seg(nowhere, ["bilinear", "nearest"], folder)
    assert not folder.exists()


def test_a_trial_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"(?s)training x-seed0 failed: karaffe: .*data: Field required"):
        run_trials([Trial("seg", "x", 0, "[network]\n")], tmp_path, told=lambda line: None)


def test_no_trial_starts_after_the_deadline(tmp_path: Path) -> None:
    trials = [Trial("seg", "x", 0, "")]
    assert run_trials(trials, tmp_path, deadline=0.0, told=lambda line: None) == trials


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def test_a_choice_between_super_resolution_networks(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(super_resolution, "steps_within", lambda *arguments: 10)
    options = {"budget": 600.0, "seeds": 1, "patch": 8, "told": lambda line: None}
    choice = choose_sr(pictures, ["espcn", "sharp"], tmp_path / "choice", jobs=2, **options)
    assert [o.candidate for o in choice.outcomes] == ["espcn", "sharp"]
    assert all(len(o.images[0]) == 2 and o.mean("psnr") > 5 for o in choice.outcomes)
    again = choose_sr(pictures, ["espcn", "sharp"], tmp_path / "choice", **options)
    assert again.outcomes == choice.outcomes
    _check_report(again)
    with pytest.raises(ArgumentError, match="other settings"):
        choose_sr(pictures, ["espcn", "sharp"], tmp_path / "choice", **options | {"patch": 9})


def _check_report(choice: Choice) -> None:
    """The whole of it: recommendation, figures, cost, curves, and pictures, which outlive the weights."""
    text, page = (path.read_text() for path in write_report(choice).files[:2])
    assert choice.recommendation
    for part in (choice.recommendation.text, "PSNR, dB ± s.e.", "SSIM ± s.e.", "parameters", "multiply-adds"):
        assert part in text
        assert html.escape(part) in page
    names = ["scores.png", "curves.png", "picture-0.png", "picture-1.png"]
    for name in names:
        assert f"({name})" in text
        assert f'src="{name}"' in page
        assert (choice.folder / name).stat().st_size > 0
    drawn = [np.asarray(sheet.image) for sheet in choice.sheets]
    assert len(drawn) == 2
    assert not np.array_equal(*drawn)


def test_pictures_of_a_choice_are_those_of_its_networks(pictures: Path, tmp_path: Path) -> None:
    held = [pictures / "8.png", pictures / "9.png"]
    networks = {}
    for name, seed in (("espcn", 0), ("sharp", 1)):
        torch.manual_seed(seed)
        networks[name] = create_model(name, 2, pretrained=False).eval()
        folder = tmp_path / "runs" / f"{name}-seed0"
        folder.mkdir(parents=True)
        save_weights(networks[name], folder / "weights.safetensors", name=name, scale=2)
    outcomes = [Outcome(name, (0,), {}, ((),), ((),), Cost(1, 1, 1.0)) for name in networks]
    sheets = list(super_resolution._sheets(tmp_path, outcomes, held, 2))
    scenes = compare(held, 2, {"bicubic": None, **networks}).scenes
    assert [panel.label for panel in scenes[0].panels] == ["bicubic", "espcn", "sharp"]
    for sheet, scene, path in zip(sheets, scenes, held, strict=True):
        assert sheet.caption.startswith(path.name)
        expected = np.asarray(strip(scene, crop_size=48, zoom=4))
        # Above the note and the seconds, on the right of the whole picture, all of it is the same.
        half = expected.shape[1] // 2
        np.testing.assert_array_equal(np.asarray(sheet.image)[:, half:], expected[:, half:])
    for path in tmp_path.glob("runs/*/weights.safetensors"):
        path.unlink()
    kept = list(super_resolution._sheets(tmp_path, outcomes, held, 2))
    assert [sheet.caption for sheet in kept] == [sheet.caption for sheet in sheets]


def test_pictures_that_cannot_serve(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="nothing to learn"):
        choose_sr(pictures, ["bicubic", "sharp"], tmp_path / "choice", budget=60.0, patch=8)
    with pytest.raises(ArgumentError, match="at least two"):
        choose_sr(pictures, ["sharp"], tmp_path / "choice", budget=60.0)
    for number in range(5):
        (pictures / f"{number}.png").unlink()
    with pytest.raises(ArgumentError, match="at least 8 pictures"):
        choose_sr(pictures, ["espcn", "sharp"], tmp_path / "choice", budget=60.0)
    assert not (tmp_path / "choice").exists()

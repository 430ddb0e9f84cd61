"""Choose a super-resolution network for somebody's own pictures."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.evaluation import compare, evaluate_sr
from karaffe.evaluation.pictures import expand
from karaffe.models import create_model, load_weights
from karaffe.training.choose.outcome import Choice, Cost, Outcome, Sheet, recommend
from karaffe.training.choose.pictures import chosen
from karaffe.training.choose.plan import load_plan, measure_step, save_plan, steps_within
from karaffe.training.choose.trials import Told, Trial, run_trials, to_toml
from karaffe.training.config import SRConfig, parse_config
from karaffe.training.module import SRTraining, load_pictures
from karaffe.training.run import Run
from karaffe.visualize import strip

HELD_OUT = 0.2
BASELINE = "bicubic"
# Of the crops of a drawing, in pixels of the original, and how much they are magnified.
_CROP, _ZOOM = 48, 4


def choose_sr(
    data: str | os.PathLike[str],
    models: Sequence[str],
    output: str | os.PathLike[str],
    *,
    scale: int = 2,
    seeds: int = 3,
    budget: float,
    patch: int = 24,
    jobs: int = 1,
    told: Told = print,
) -> Choice:
    """Train each network on the same crops, and compare them on pictures that none has seen.

    What was finished in ``output`` by an earlier call is not trained again; the number of steps stays that of the
    first call.

    Args:
        data: a folder of pictures; the last fifth, in the order of their names, is held out and measured.
        models: names that ``karaffe models`` lists and that have something to learn.
        output: folder of the runs and what they are compared by.
        scale: the factor.
        seeds: how often each is trained.
        budget: seconds for all trainings.
        patch: edge of a crop in source pixels.
        jobs: runs at a time.
        told: called with a line about every run.

    Raises:
        UnknownNameError, ArgumentError, FileError: names, pictures or a budget that cannot serve; before anything is
            trained.
        TrainingError: a run failed.
    """
    started = time.monotonic()
    folder, names = Path(output), list(dict.fromkeys(models))
    if len(names) < 2:
        raise ArgumentError(f"models must name at least two; got {names}")
    if seeds < 1 or jobs < 1:
        raise ArgumentError(f"seeds and jobs must be at least 1; got {seeds=}, {jobs=}")
    held = _held_out(Path(data))
    settings = {"data": str(data), "scale": scale, "patch": patch, "held_out": [path.name for path in held]}
    texts = {name: _text(name, settings, 0, 1) for name in names}
    kept = load_plan(folder / "plan.json", settings)
    costs = {name: kept[1][name] for name in names if kept and name in kept[1]}
    for name in names:
        if name not in costs:
            told(f"{name}: measuring a step")
            costs[name] = _cost(texts[name], name)
    steps = kept[0] if kept else steps_within(budget, costs, seeds, jobs)
    folder.mkdir(parents=True, exist_ok=True)
    save_plan(folder / "plan.json", steps, {**(kept[1] if kept else {}), **costs}, settings)
    trials = [Trial("sr", name, seed, _text(name, settings, seed, steps)) for seed in range(seeds) for name in names]
    undone = run_trials(trials, folder, jobs=jobs, deadline=started + budget, told=told)
    outcomes = tuple(o for name in names if (o := _outcome(folder, name, costs[name], held, scale)).seeds)
    return Choice(
        folder,
        steps,
        outcomes,
        recommend(outcomes, "psnr") if len(outcomes) > 1 else None,
        tuple(trial.name for trial in undone),
        title=f"Which network to enlarge {Path(data).name} x{scale}?",
        figure="psnr",
        label="PSNR, dB",
        columns={"psnr": "PSNR, dB", "ssim": "SSIM"},
        note=f"Measured on {len(held)} pictures that none was trained on, in the papers' protocol.",
        digits=3,
        sheets=tuple(_sheets(folder, outcomes, held, scale)),
    )


def _sheets(folder: Path, outcomes: Sequence[Outcome], held: Sequence[Path], scale: int) -> Iterator[Sheet]:
    """Draw what the first seed of each makes of some pictures held out, beside the original and bicubic.

    A drawing is kept as long as the same networks are shown, since weights may be removed.
    """
    weights = {o.candidate: Run(folder / "runs" / f"{o.candidate}-seed{o.seeds[0]}").weights_path for o in outcomes}
    there = {name: path for name, path in weights.items() if path.exists()}
    pictures = {path.name: path for path in chosen(held)}
    kept = folder / "strips"
    drawn = [kept / f"{number}-{'-'.join(weights)}.png" for number in range(len(pictures))]
    if there.keys() == weights.keys() and weights and not all(path.exists() for path in drawn):
        kept.mkdir(exist_ok=True)
        networks = {name: _trained(name, scale, path) for name, path in weights.items()}
        compared = compare(list(pictures.values()), scale, {BASELINE: None, **networks})
        for scene, path in zip(compared.scenes, drawn, strict=True):
            strip(scene, crop_size=_CROP, zoom=_ZOOM, note=compared.note).save(path, optimize=True)
    for number, (name, path) in enumerate(zip(pictures, drawn, strict=True)):
        if path.exists():
            with Image.open(path) as image:
                caption = f"{name}: the original, {BASELINE} and the first seed of each, where they differ most"
                yield Sheet(f"picture-{number}.png", caption, image.copy())


def _trained(name: str, scale: int, path: Path) -> nn.Module:
    network = create_model(name, scale, pretrained=False).eval()
    load_weights(network, path, name=name, scale=scale)
    return network


def _held_out(folder: Path) -> list[Path]:
    paths = list(expand([folder]))
    count = round(HELD_OUT * len(paths))
    if not folder.is_dir() or count < 2:
        raise ArgumentError(f"data must be a folder of at least 8 pictures, so that two can be held out; got {folder}")
    return paths[-count:]


def _text(model: str, settings: dict[str, Any], seed: int, steps: int) -> str:
    return to_toml(
        {
            "model": {"name": model, "scale": settings["scale"]},
            "data": {"folder": settings["data"], "held_out": settings["held_out"], "patch": settings["patch"]},
            "optimisation": {"steps": steps, "seed": seed, "warmup": min(200, steps // 10)},
            "run": {"log_every": 50, "save_every": 500, "validate_every": 500},
        }
    )


def _cost(text: str, name: str) -> Cost:
    config = parse_config(text, f"the configuration with {name!r}", SRConfig)
    training = SRTraining(config, load_pictures(config.data, config.model.scale, Path(config.data.folder)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source, target = (batch.to(device) for batch in training.sampler(0))
    return measure_step(training.network.to(device), source, lambda made: F.l1_loss(made, target))


def _outcome(folder: Path, name: str, cost: Cost, held: Sequence[Path], scale: int) -> Outcome:
    seeds, figures, images, curves = [], [], [], []
    for path in sorted((folder / "runs").glob(f"{name}-seed*")):
        run = Run(path)
        if not run.finished():
            continue
        rows = _scores(folder, run, name, held, scale)
        seeds.append(int(path.name.rpartition("seed")[2]))
        figures.append([sum(column) / len(column) for column in zip(*rows, strict=True)])
        images.append(tuple(row[0] for row in rows))
        curves.append(tuple((line["step"], line["psnr"]) for line in run.lines() if "psnr" in line))
    by_name = {key: tuple(row[place] for row in figures) for place, key in enumerate(("psnr", "ssim"))}
    return Outcome(name, tuple(seeds), by_name, tuple(images), tuple(curves), cost)


def _scores(folder: Path, run: Run, name: str, held: Sequence[Path], scale: int) -> list[list[float]]:
    """Return PSNR and SSIM of every picture held out; measured once and kept."""
    path = folder / "scores" / f"{run.folder.name}.json"
    if not path.exists():
        table = evaluate_sr(held, scale, {name: _trained(name, scale, run.weights_path)}).tables[0]
        found = [[row.psnr, row.ssim] for row in table.rows if row.model == name]
        path.parent.mkdir(exist_ok=True)
        scratch = path.with_name(f".{path.name}")
        scratch.write_text(json.dumps(found) + "\n", encoding="utf-8")
        scratch.replace(path)
    rows: list[list[float]] = json.loads(path.read_text(encoding="utf-8"))
    return rows

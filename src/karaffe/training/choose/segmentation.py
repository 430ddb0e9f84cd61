"""Choose an upsampler for the segmentation of somebody's own images."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.evaluation.segmentation import IGNORE
from karaffe.ops import use_backend
from karaffe.training.choose.importance import read_importance, write_importance
from karaffe.training.choose.outcome import Choice, Cost, Outcome, Sheet, recommend
from karaffe.training.choose.pictures import chosen, draw_columns, draw_predictions, read_maps, write_predictions
from karaffe.training.choose.plan import load_plan, measure_step, save_plan, steps_within
from karaffe.training.choose.trials import Told, Trial, run_trials, to_toml
from karaffe.training.config import parse_config
from karaffe.training.run import Run
from karaffe.training.segmentation.config import SegConfig
from karaffe.training.segmentation.dataset import Dataset, Labelled, Pixels, load_dataset
from karaffe.training.segmentation.module import SegTraining

COLUMNS = {
    "miou": "mIoU",
    "boundary_iou": "boundary IoU",
    "boundary_f1": "boundary F, 1 px",
    "boundary_f3": "boundary F, 3 px",
    "accuracy": "accuracy",
}
IMPORTANCE = (
    "Where the content mattered, finest step, first seed: entropy of the kernels (bright: all taps alike) and their "
    "mass off the centre (dark: the source pixel is copied); darkest 0, brightest 1"
)
FIGURES = ("miou", "accuracy", "mean_accuracy", "boundary_iou", "boundary_f1", "boundary_f3")


def choose_seg(
    config: SegConfig,
    upsamplers: Sequence[str],
    output: str | os.PathLike[str],
    *,
    seeds: int = 3,
    budget: float | None = None,
    jobs: int = 1,
    told: Told = print,
) -> Choice:
    """Train each upsampler in the same network on the same batches, and compare them on the test split.

    What was finished in ``output`` by an earlier call is not trained again, what was stopped goes on, further
    upsamplers and seeds are added; the number of steps stays that of the first call.

    Args:
        config: everything but the upsampler and the seed; its steps hold where no ``budget`` is given.
        upsamplers: names that :func:`karaffe.list_upsamplers` gives.
        output: folder of the runs and what they are compared by.
        seeds: how often each is trained, with seeds 0, 1 ….
        budget: seconds for all; the number of steps follows from measured step times.
        jobs: runs at a time.
        told: called with a line about every run.

    Raises:
        UnknownNameError, ArgumentError, ShapeError, FileError: names, data or a budget that cannot serve; before
            anything is trained.
        TrainingError: a run failed.
    """
    started = time.monotonic()
    folder, names = Path(output), list(dict.fromkeys(upsamplers))
    if len(names) < 2:
        raise ArgumentError(f"upsamplers must name at least two; got {names}")
    if seeds < 1 or jobs < 1:
        raise ArgumentError(f"seeds and jobs must be at least 1; got {seeds=}, {jobs=}")
    configs = {name: configured(config, name, 0) for name in names}
    data = config.data
    dataset = load_dataset(data.path, data.table(), data.size)
    settings = _settings(config)
    kept = load_plan(folder / "plan.json", settings)
    costs = {name: kept[1][name] for name in names if kept and name in kept[1]}
    for name in names:
        if name not in costs:
            told(f"{name}: measuring a step")
            costs[name] = _cost(configs[name], dataset)
    steps = kept[0] if kept else config.optimisation.steps
    if budget is not None and not kept:
        steps = steps_within(budget, costs, seeds, jobs)
    folder.mkdir(parents=True, exist_ok=True)
    save_plan(folder / "plan.json", steps, {**(kept[1] if kept else {}), **costs}, settings)
    trials = [_trial(config, name, seed, steps) for seed in range(seeds) for name in names]
    deadline = None if budget is None else started + budget
    undone = run_trials(trials, folder, jobs=jobs, deadline=deadline, told=told)
    return collect(folder, config, steps, costs, dataset=dataset, undone=[trial.name for trial in undone])


def configured(config: SegConfig, upsampler: str, seed: int, steps: int | None = None) -> SegConfig:
    """Return ``config`` with another upsampler, seed and number of steps; checked as if read from a file."""
    return parse_config(_text(config, upsampler, seed, steps), f"the configuration with {upsampler!r}", SegConfig)


def _text(config: SegConfig, upsampler: str, seed: int, steps: int | None) -> str:
    sections: dict[str, Any] = config.model_dump(mode="json")
    sections["network"] |= {"upsampler": upsampler}
    sections["optimisation"] |= {"seed": seed} | ({"steps": steps} if steps else {})
    sections["run"] |= {"test": True}
    return to_toml(sections)


def _trial(config: SegConfig, upsampler: str, seed: int, steps: int) -> Trial:
    return Trial("seg", upsampler, seed, _text(config, upsampler, seed, steps))


def _settings(config: SegConfig) -> dict[str, Any]:
    """What a choice that goes on must have in common with what was begun."""
    sections = config.model_dump(mode="json")
    for section, key in (("network", "upsampler"), ("optimisation", "seed"), ("optimisation", "steps")):
        del sections[section][key]
    del sections["run"]
    return sections


def _cost(config: SegConfig, dataset: Dataset) -> Cost:
    training = SegTraining(config, dataset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training.sampler.use(device)
    source, target = training.sampler(0)
    mixed = config.run.precision != "32-true"
    dtype = torch.float16 if config.run.precision == "16-mixed" else torch.bfloat16
    with use_backend(config.run.backend), torch.autocast(device.type, dtype) if mixed else nullcontext():
        return measure_step(
            training.network.to(device),
            source,
            lambda logits: F.cross_entropy(logits, target, ignore_index=IGNORE),
            repeats=10 if source.is_cuda else 3,
        )


def collect(
    folder: Path,
    config: SegConfig,
    steps: int,
    costs: Mapping[str, Cost],
    *,
    dataset: Dataset | None = None,
    undone: Sequence[str] = (),
) -> Choice:
    """Read what the finished runs of ``folder`` logged; with the ``dataset``, also draw predictions."""
    found = [_outcome(name, cost, sorted((folder / "runs").glob(f"{name}-seed*"))) for name, cost in costs.items()]
    outcomes = tuple(outcome for outcome in found if outcome.seeds)
    sheets = tuple(_sheets(folder, outcomes, dataset["test"], config)) if dataset else ()
    data = Path(config.data.path).name
    return Choice(
        folder,
        steps,
        outcomes,
        recommend(outcomes, "miou") if len(outcomes) > 1 else None,
        tuple(undone),
        title=f"Which upsampler for {data}?",
        figure="miou",
        label="mIoU",
        columns=COLUMNS,
        note=f"Network {config.network.name}, width {config.network.width:g}. Measured once on the test split with the "
        "checkpoint that was best on the selection split. A step: forward, backward and AdamW of one batch.",
        sheets=sheets,
    )


def _sheets(folder: Path, outcomes: Sequence[Outcome], items: Sequence[Labelled], config: SegConfig) -> Iterator[Sheet]:
    """Draw what the checkpoints of the first seed do; their maps are kept, since weights may be removed."""
    shown = chosen(items)
    predictions: dict[str, list[Pixels]] = {}
    importance: dict[str, list[Pixels]] = {}
    for outcome in outcomes:
        name = outcome.candidate
        checkpoint = folder / "runs" / f"{name}-seed{outcome.seeds[0]}" / "weights.safetensors"
        write_predictions(checkpoint, folder / "predictions" / name, shown)
        write_importance(checkpoint, folder / "importance" / name, shown)
        if (maps := read_maps(folder / "predictions" / name, shown)) is not None:
            predictions[name] = maps
        if (pairs := read_importance(folder / "importance" / name, shown)) is not None:
            importance[f"{name}: entropy"], importance[f"{name}: off-centre mass"] = map(list, zip(*pairs, strict=True))
    if predictions:
        marked = "Predictions of the first seed; wrong pixels within 3 pixels of a boundary in magenta"
        yield Sheet("pictures.png", marked, draw_predictions(shown, predictions, config.data.table()))
    if importance:
        columns = {"picture": [item.image for item in shown], **importance}
        yield Sheet("importance.png", IMPORTANCE, draw_columns(columns))


def _outcome(name: str, cost: Cost, folders: Sequence[Path]) -> Outcome:
    lines = {int(f.name.rpartition("seed")[2]): Run(f).lines() for f in folders if Run(f).finished()}
    tests = {seed: log[-1]["test"] for seed, log in sorted(lines.items())}
    flat = [test | dict(zip(FIGURES[-2:], test["boundary_f"], strict=True)) for test in tests.values()]
    curves = tuple(
        tuple((line["step"], line["miou"]) for line in lines[seed] if "miou" in line and "event" not in line)
        for seed in tests
    )
    return Outcome(
        name,
        tuple(tests),
        {figure: tuple(test[figure] for test in flat) for figure in FIGURES},
        tuple(tuple(test["image_miou"]) for test in tests.values()),
        curves,
        cost,
    )

"""Train many small networks at once on one GPU, each for as many steps as the given time allows.

    python benchmarks/train_together.py benchmarks/configs/sharp_x*.toml --data ../training-set --seconds 180

Every configuration becomes a run folder below ``--runs``, as ``karaffe train sr`` makes one, whose ``config.toml`` has
the number of steps that was chosen: the pace is measured first, with all of them running. ``steps`` of a configuration
is the most it gets; the ratio of ``cooldown`` to ``steps`` is kept. Runs of a ``--group`` (a prefix of their names) get
the same number, that of the slowest.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import torch

from karaffe.errors import KaraffeError
from karaffe.ops import use_backend
from karaffe.training.config import SRConfig, parse_config
from karaffe.training.graphs import GraphedTraining, measure_pace, train_together
from karaffe.training.module import Pictures, SRTraining, load_pictures
from karaffe.training.run import Run


def variants(path: Path, seeds: list[int]) -> list[tuple[str, str]]:
    """Return name and text of a configuration: itself, or one a seed."""
    text = path.read_text(encoding="utf-8")
    if not seeds:
        return [(path.stem, text)]
    return [(f"{path.stem}_seed{s}", re.sub(r"(?m)^seed = .*$", f"seed = {s}", text)) for s in seeds]


def prepare(
    name: str, text: str, data: Path | None, runs: Path, device: torch.device, known: dict[tuple, Pictures]
) -> GraphedTraining:
    """Make the run and record its steps; pictures are shared by the runs that use them in the same way."""
    config = parse_config(text, name)
    folder = data or Path(config.data.folder)
    key = (folder, config.model.scale, config.data.patch, config.data.reductions, config.data.validation_crop)
    if key not in known:
        known[key] = load_pictures(config.data, config.model.scale, folder)
    begun = time.perf_counter()
    training = GraphedTraining(SRTraining(config, known[key]), Run.create(runs / name, text), device)
    print(f"{name}: recorded in {time.perf_counter() - begun:.1f} s", flush=True)
    return training


def set_steps(training: GraphedTraining, steps: int) -> None:
    """Give the run its number of steps, in its configuration too."""
    run, config = training.training.run_folder, training.training.config
    assert isinstance(config, SRConfig)
    cooldown = round(config.optimisation.cooldown * steps / config.optimisation.steps)
    text = re.sub(r"(?m)^steps = .*$", f"steps = {steps}", run.config_path.read_text(encoding="utf-8"))
    text = re.sub(r"(?m)^cooldown = .*$", f"cooldown = {cooldown}", text)
    run.config_path.write_text(text, encoding="utf-8")
    training.training.config = parse_config(text, str(run.config_path))
    training.training.settings = training.training.config.optimisation


def main() -> None:
    """Train, and print what came out."""
    start = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, required=True, help="in all, preparation included")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("benchmarks/runs"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="train every configuration with each")
    parser.add_argument("--group", nargs="*", default=[])
    parser.add_argument("--probe", type=float, default=5.0, help="seconds in which the pace is measured")
    arguments = parser.parse_args()
    # Held-out pictures are in colour and few: the formula is quick enough, and needs no compiler.
    with use_backend("reference"):
        train(arguments, start)


def train(arguments: argparse.Namespace, start: float) -> None:
    """Prepare, choose the steps, train, print."""
    torch.backends.cudnn.benchmark = True
    known: dict[tuple, Pictures] = {}
    device = torch.device(arguments.device)
    trainings = []
    for path in arguments.configs:
        for name, text in variants(path, arguments.seeds):
            try:
                trainings.append(prepare(name, text, arguments.data, arguments.runs, device, known))
            except (RuntimeError, ValueError, OSError) as error:
                print(f"{name}: left out: {type(error).__name__}: {error}", flush=True)
    names = [t.training.run_folder.folder.name for t in trainings]
    paces = measure_pace(trainings, arguments.probe)
    left = 0.97 * (arguments.seconds - (time.perf_counter() - start)) - 3
    print(f"{left:.0f} s left for {len(trainings)} runs; steps a second:", flush=True)
    for prefix in arguments.group:
        slowest = min((p for n, p in zip(names, paces, strict=True) if n.startswith(prefix)), default=0.0)
        paces = [slowest if n.startswith(prefix) else p for n, p in zip(names, paces, strict=True)]
    for name, training, pace in zip(names, trainings, paces, strict=True):
        steps = min(training.training.settings.steps, max(1, int(pace * left / training.chunk)) * training.chunk)
        print(f"  {name} {pace:.0f}: {steps} steps", flush=True)
        set_steps(training, steps)
    try:
        train_together(trainings)
    except KaraffeError as error:
        print(f"stopped: {error}", flush=True)
    for training in trainings:
        line = training.training.run_folder.lines()[-1]
        print(f"{training.training.run_folder.folder.name}: {line}", flush=True)
    print(f"{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()

"""Train many small networks at once on one GPU, each for as many steps as the given time allows.

    python benchmarks/train_together.py benchmarks/configs/sharp_x*.toml --data ../training-set --seconds 180

Every configuration becomes a run folder below ``--runs``, as ``karaffe train sr`` makes one. ``steps`` of a
configuration is the most it gets: while the rate is constant, steps are planned anew after every log line from the pace
so far, and the cool-down, whose share of the steps is kept, begins when the time left is what it takes. The run's
``config.toml`` gets the numbers that came out. Runs of a ``--group`` (a prefix of their names) get the same number,
that of the slowest.
"""

from __future__ import annotations

import argparse
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch

from karaffe.ops import use_backend
from karaffe.training.config import SRConfig, parse_config
from karaffe.training.graphs import GraphedTraining, train_together
from karaffe.training.module import Pictures, SRTraining, load_pictures
from karaffe.training.run import Run

GRACE = 6.0  # seconds between the planned end and the one that is enforced


@dataclass
class Plan:
    """How many steps some trainings get, the same for each, so that they end at ``end`` of the clock."""

    members: list[GraphedTraining]
    end: float
    share: float
    begun: float = field(default_factory=time.perf_counter)
    frozen: bool = False

    def update(self) -> None:
        """Plan anew; once the cool-down of one has begun, the plan stands."""
        now = time.perf_counter()
        if self.frozen or min(m.done for m in self.members) == 0:
            return
        chunk = self.members[0].chunk
        paces = [m.done / (now - self.begun) for m in self.members]
        reach = min(m.done + p * (self.end - now) for m, p in zip(self.members, paces, strict=True))
        furthest = max(m.stop for m in self.members)
        steps = max(int(reach) // chunk * chunk, furthest + chunk)
        steps = min(steps, max(self.members[0].training.config.optimisation.steps, furthest + chunk))
        start = max(round(steps * (1 - self.share)), furthest)
        self.frozen = start <= furthest + chunk
        for member in self.members:
            settings = member.training.settings
            member.training.settings = settings.model_copy(update={"steps": steps, "cooldown": steps - start})


def variants(path: Path, seeds: list[int]) -> list[tuple[str, str]]:
    """Return name and text of a configuration: itself, or one a seed."""
    text = path.read_text(encoding="utf-8")
    if not seeds:
        return [(path.stem, text)]
    return [(f"{path.stem}_seed{s}", re.sub(r"(?m)^seed = .*$", f"seed = {s}", text)) for s in seeds]


def pictures_key(text: str, name: str, data: Path | None) -> tuple:
    """What decides which pairs a configuration needs."""
    config = parse_config(text, name)
    return (data or Path(config.data.folder), config.model.scale, config.data)


def prepare(name: str, text: str, runs: Path, device: torch.device, pictures: Pictures) -> GraphedTraining:
    """Make the run and record its steps."""
    begun = time.perf_counter()
    training = SRTraining(parse_config(text, name), pictures)
    graphed = GraphedTraining(training, Run.create(runs / name, text), device)
    print(f"{name}: recorded in {time.perf_counter() - begun:.1f} s", flush=True)
    return graphed


def record_steps(training: GraphedTraining) -> None:
    """Write the numbers that came out into the run's configuration."""
    run, settings = training.training.run_folder, training.training.settings
    text = run.config_path.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^steps = .*$", f"steps = {settings.steps}", text)
    text = re.sub(r"(?m)^cooldown = .*$", f"cooldown = {settings.cooldown}", text)
    run.config_path.write_text(text, encoding="utf-8")


def make_plans(trainings: list[GraphedTraining], prefixes: list[str], end: float) -> dict[GraphedTraining, Plan]:
    """Return the plan of every training."""
    groups: dict[str, list[GraphedTraining]] = {}
    for training in trainings:
        name = training.training.run_folder.folder.name
        groups.setdefault(next((p for p in prefixes if name.startswith(p)), name), []).append(training)
    plans = {}
    for members in groups.values():
        config = members[0].training.config
        assert isinstance(config, SRConfig)
        share = config.optimisation.cooldown / config.optimisation.steps
        plans |= dict.fromkeys(members, Plan(members, end, share))
    return plans


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, required=True, help="in all, preparation included")
    parser.add_argument("--data", type=Path, help="folder of pictures, if not the configurations'")
    parser.add_argument("--relocate", nargs="*", default=[], help="OLD=NEW: where a configuration's folder lies here")
    parser.add_argument("--runs", type=Path, default=Path("benchmarks/runs"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="train every configuration with each")
    parser.add_argument("--seed-prefix", default="", help="only those whose name begins so")
    parser.add_argument("--group", nargs="*", default=[])
    arguments = parser.parse_args()
    # Held-out pictures are in colour and few: the formula is quick enough, and needs no compiler.
    with use_backend("reference"):
        train(arguments, time.perf_counter())


def terminate(*_: object) -> NoReturn:
    """Leave the loop, so that what is there is kept."""
    raise TimeoutError("terminated")


def train(arguments: argparse.Namespace, start: float) -> None:
    """Prepare, train, print."""
    torch.backends.cudnn.benchmark = True
    device, moved = torch.device(arguments.device), dict(item.split("=") for item in arguments.relocate)
    wanted = []
    for path in arguments.configs:
        wanted += variants(path, arguments.seeds if path.stem.startswith(arguments.seed_prefix) else [])
    keys = {name: pictures_key(text, name, arguments.data) for name, text in wanted}
    unique = list(dict.fromkeys(keys.values()))
    with ThreadPoolExecutor(len(unique)) as pool:
        loaded = pool.map(lambda k: load_pictures(k[2], k[1], Path(moved.get(str(k[0]), k[0]))), unique)
        known = dict(zip(unique, loaded, strict=True))
    print(f"pictures read after {time.perf_counter() - start:.0f} s", flush=True)
    trainings = []
    for name, text in wanted:
        try:
            trainings.append(prepare(name, text, arguments.runs, device, known[keys[name]]))
        except (RuntimeError, ValueError, OSError) as error:
            print(f"{name}: left out: {type(error).__name__}: {error}", flush=True)
    end = start + arguments.seconds - GRACE
    plans = make_plans(trainings, arguments.group, end)
    print(f"{end - time.perf_counter():.0f} s left for {len(trainings)} runs", flush=True)
    signal.signal(signal.SIGTERM, terminate)
    try:
        train_together(trainings, between=lambda t: plans[t].update(), deadline=end + GRACE)
    except Exception as error:  # whatever it is, the weights of all are worth more
        print(f"stopped: {type(error).__name__}: {error}", flush=True)
    cut = [t for t in trainings if t.done and not t.training.run_folder.weights_path.exists()]
    for training in cut:
        training.training.write_weights(training.training.run_folder.weights_path)
        training.training.settings = training.training.settings.model_copy(update={"steps": training.done})
        record_steps(training)
    for training in cut:
        training.training.finish()
    for training in trainings:
        record_steps(training)
        print(f"{training.training.run_folder.folder.name}: {training.training.run_folder.lines()[-1]}", flush=True)
    print(f"{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()

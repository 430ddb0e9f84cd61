"""Train super-resolution networks one after another on one CPU core, some time at a time.

    python benchmarks/train_in_turns.py benchmarks/configs/cpu/*.toml --data ../shared/data/BSDS400-train --seconds 3600

Every configuration is a run folder below ``--runs``, as ``karaffe train sr`` makes one. A run that is finished is
passed over, one that was begun goes on from its state, and when the time is up the run in progress stops at its next
saved state: the same command goes on there, on any machine, to the bit. Pictures of one scale are read once.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from karaffe.errors import KaraffeError
from karaffe.training.config import DataSection, SRConfig, load_config
from karaffe.training.module import Pictures, SRTraining, load_pictures
from karaffe.training.run import Run


class OutOfTimeError(Exception):
    """The time is up, and the state has just been saved."""


class TimedTraining(SRTraining):
    """A training that stops at the first saved state after its deadline."""

    deadline: float

    def account(self, done: int) -> None:
        super().account(done)
        if done % self.rhythm.save_every == 0 and done < self.settings.steps and time.monotonic() > self.deadline:
            raise OutOfTimeError


def go_on(config: Path, runs: Path, pictures: Pictures, deadline: float) -> str:
    """Begin or continue the run of a configuration; return what came of it."""
    settings: SRConfig = load_config(config)
    folder = runs / config.stem
    begun = (folder / "config.toml").exists()
    run = Run.open(folder) if begun else Run.create(folder, config.read_text(encoding="utf-8"))
    training = TimedTraining(settings, pictures, begun=run.state_path.exists())
    training.deadline = deadline
    started = time.process_time()
    try:
        reached = f"finished: {training.fit(run, progress=False)['psnr']:.3f} dB on the held-out pictures"
    except OutOfTimeError:
        reached = f"stopped: {run.lines()[-1]}"
    return f"{config.stem} {reached}; {time.process_time() - started:.0f} s of processor time"


def main() -> None:
    """Read the options, and go through the configurations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, help="folder of pictures, if not the configurations'")
    parser.add_argument("--runs", type=Path, default=Path("benchmarks/runs"))
    parser.add_argument("--seconds", type=float, required=True, help="in all")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    deadline = time.monotonic() + arguments.seconds
    known: dict[tuple[DataSection, int], Pictures] = {}
    for config in arguments.configs:
        if Run(arguments.runs / config.stem).finished():
            print(f"{config.stem} is finished", flush=True)
            continue
        if time.monotonic() > deadline:
            break
        settings = load_config(config)
        key = (settings.data, settings.model.scale)
        if key not in known:
            known[key] = load_pictures(
                settings.data, settings.model.scale, arguments.data or Path(settings.data.folder)
            )
        try:
            print(go_on(config, arguments.runs, known[key], deadline), flush=True)
        except KaraffeError as error:
            print(f"{config.stem} failed: {error}", flush=True)


if __name__ == "__main__":
    main()

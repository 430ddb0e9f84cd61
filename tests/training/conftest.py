"""A tiny set of pictures with edges and texture, and a configuration that trains on it in a second."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

TINY = """
[model]
scale = 2
[data]
folder = "{folder}"
patch = 12
validation_crop = 48
[optimisation]
steps = {steps}
batch = 4
learning_rate = 2e-3
warmup = 5
expansion = 32
seed = 3
[run]
log_every = 5
save_every = 10
validate_every = 20
"""


SHARED = """
import os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from karaffe.training import train_sr
from karaffe.training.base import Training
from karaffe.training.segmentation import train_seg

train, config, runs = {"sr": train_sr, "seg": train_seg}[sys.argv[1]], *sys.argv[2:]
finish = Training.finish

def kept(self, first=True):
    rank = os.environ.get("LOCAL_RANK", "0")
    torch.save(self.network.state_dict(), Path(runs) / f"rank{rank}.pt")
    return finish(self, first)

Training.finish = kept
if __name__ == "__main__":
    try:
        train(config, runs=runs, devices=2, progress=False)
    except Exception as error:
        rank = os.environ.get("LOCAL_RANK", "0")
        (Path(runs) / f"rank{rank}.txt").write_text(f"{type(error).__name__}: {error}")
        raise
"""


def draw(seed: int, size: int = 64) -> Image.Image:
    """Overlapping sine gratings cut by hard edges."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    planes = []
    for _ in range(3):
        fy, fx, phase = generator.uniform(2, 12, 3)
        grating = 0.5 + 0.3 * np.sin(2 * np.pi * (fy * y + fx * x) + phase)
        planes.append(np.where((x - 0.5) * fx > (y - 0.5) * fy, grating, 1 - grating))
    return Image.fromarray((np.stack(planes, 2) * 255).astype(np.uint8))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for split, seeds in (("train", range(4)), ("held-out", range(10, 12))):
        (folder / split).mkdir()
        for seed in seeds:
            draw(seed).save(folder / split / f"{seed}.png")
    return folder


@pytest.fixture
def tiny(pictures: Path, tmp_path: Path) -> Path:
    """A configuration of 40 steps; the run's name is ``tiny``."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.format(folder=pictures.as_posix(), steps=40))
    return path


@pytest.fixture
def two_processes(tmp_path: Path) -> Callable[..., tuple[Path, subprocess.CompletedProcess[str]]]:
    """Start a training of ``"sr"`` or ``"seg"`` with two processes; return the folder of its runs and what came."""

    def start(kind: str, config: Path, before: str = "") -> tuple[Path, subprocess.CompletedProcess[str]]:
        script, runs = tmp_path / "shared.py", tmp_path / "two"
        script.write_text(before + SHARED)
        runs.mkdir()
        environment = {key: value for key, value in os.environ.items() if key not in ("LOCAL_RANK", "RANK")}
        done = subprocess.run(
            [sys.executable, str(script), kind, str(config), str(runs)],
            env=environment | {"PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return runs, done

    return start


@pytest.fixture
def train_with_two(two_processes: Callable[..., Any]) -> Callable[[str, Path], tuple[Path, list[dict]]]:
    """Train with two processes to the end; return the run and the weights that each process ended with."""

    def train(kind: str, config: Path) -> tuple[Path, list[dict]]:
        runs, done = two_processes(kind, config)
        assert done.returncode == 0, done.stderr
        return runs / config.stem, [torch.load(runs / f"rank{rank}.pt") for rank in (0, 1)]

    return train

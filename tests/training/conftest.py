"""A tiny set of pictures with edges and texture, and a configuration that trains on it in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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

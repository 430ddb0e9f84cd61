"""A tiny labelled set, discs and bars on a ground, and a configuration that trains on it in seconds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # Tests do not ask the network for anything.

TINY = """
[network]
name = "light-fpn"
upsampler = "bilinear"
width = 0.125
[data]
path = "{path}"
classes = ["ground", "disc", "bar"]
ignore = 9
scales = [1.0, 1.25]
[optimisation]
steps = {steps}
batch = 4
learning_rate = 1e-2
warmup = 5
seed = 3
[run]
log_every = 5
save_every = 10
validate_every = 10
test = true
"""


def draw(seed: int, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its labels."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), dtype=np.uint8)
    row, column = generator.integers(8, size - 8, 2)
    labels[(y - row) ** 2 + (x - column) ** 2 < 30] = 1
    left = generator.integers(0, size - 5)
    labels[:, left : left + 4] = 2
    colours = np.array([[60, 90, 60], [200, 60, 60], [60, 60, 220]])
    image = np.clip(colours[labels] + generator.integers(-20, 20, (size, size, 3)), 0, 255).astype(np.uint8)
    labels[0, :5] = 9
    return image, labels


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 images and label maps in ``images`` and ``labels``: 14 train, 2 select, 4 test."""
    folder = tmp_path_factory.mktemp("shapes")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for number in range(20):
        image, labels = draw(number)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{number}.png")
    return folder


@pytest.fixture
def tiny(shapes: Path, tmp_path: Path) -> Path:
    """A configuration of 30 steps; the run's name is ``tiny``."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.format(path=shapes.as_posix(), steps=30))
    return path


@pytest.fixture(autouse=True)
def _one_thread(set_threads):
    set_threads(1)

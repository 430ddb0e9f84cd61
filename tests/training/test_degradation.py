"""Degraded sources have the faults that were asked for, and the same ones every time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from karaffe.errors import ArgumentError
from karaffe.evaluation import imresize
from karaffe.training import train_sr
from karaffe.training.config import DegradationSection, parse_config
from karaffe.training.degradation import make_pair
from karaffe.training.patches import PairStore

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def spoiled(variant: int = 0, **options) -> np.ndarray:
    pair = make_pair("name", PICTURE, 2, DegradationSection(**options), variant)
    np.testing.assert_array_equal(pair.target, PICTURE)
    return pair.source.astype(float)


def test_without_faults_it_is_the_papers_reduction() -> None:
    np.testing.assert_array_equal(spoiled(), imresize(PICTURE, 0.5))


def test_blur_comes_before_the_reduction() -> None:
    blurred = gaussian_filter(PICTURE.astype(float), (1.5, 1.5, 0), mode="reflect").round().astype(np.uint8)
    np.testing.assert_array_equal(spoiled(blur=(1.5, 1.5)), imresize(blurred, 0.5))


def test_noise_has_its_standard_deviation() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    source = make_pair("grey", grey, 2, DegradationSection(noise=(0.05, 0.05))).source
    assert source.std() == pytest.approx(0.05 * 255, rel=0.03)
    assert source.mean() == pytest.approx(128, abs=0.5)


def test_jpeg_is_that_of_its_quality() -> None:
    file = io.BytesIO()
    Image.fromarray(imresize(PICTURE, 0.5)).save(file, "JPEG", quality=30)
    np.testing.assert_array_equal(spoiled(jpeg=(30, 30)), np.asarray(Image.open(file)))


def test_draws_depend_on_name_and_variant_alone() -> None:
    options = {"blur": (0, 2), "noise": (0, 0.1), "jpeg": (20, 90)}
    np.testing.assert_array_equal(spoiled(1, **options), spoiled(1, **options))
    assert not np.array_equal(spoiled(1, **options), spoiled(2, **options))
    other = make_pair("other", PICTURE, 2, DegradationSection(**options), 1)
    assert not np.array_equal(other.source, spoiled(1, **options))


def test_every_picture_has_its_variants() -> None:
    store = PairStore([("a", PICTURE)], scale=2, patch=8, degradation=DegradationSection(noise=(0.1, 0.1), variants=3))
    assert store.names == ["a"] * 3
    planes = store.sides[1].unflatten(0, (3, -1))
    assert not planes[0].equal(planes[1])
    targets = store.sides[2].unflatten(0, (3, -1))
    assert targets[0].equal(targets[1])


def test_a_training_runs_on_degraded_pictures(tiny: Path, tmp_path: Path) -> None:
    section = "[data.degradation]\nblur = [0.2, 1.0]\nnoise = [0.0, 0.05]\njpeg = [40, 90]\nvariants = 2\n"
    tiny.write_text(tiny.read_text().replace("steps = 40", "steps = 10") + section)
    degraded = train_sr(tiny, runs=tmp_path, progress=False)
    assert 10 < degraded.psnr < 32


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("blur = [2, 1]", "blur must be a range"),
        ("noise = [-0.1, 0.1]", "data.degradation.noise.0"),
        ("jpeg = [0, 50]", "data.degradation.jpeg.0"),
        ("blurr = [0, 1]", "data.degradation.blurr: Extra inputs"),
    ],
)
def test_mistakes_are_named(line: str, message: str) -> None:
    text = f'[model]\nscale = 2\n[optimisation]\nsteps = 1\n[data]\nfolder = "x"\n[data.degradation]\n{line}\n'
    with pytest.raises(ArgumentError, match=message):
        parse_config(text, "test.toml")

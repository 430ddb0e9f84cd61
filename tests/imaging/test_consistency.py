"""``consistent``: block means are the source, on random and on hostile input, at every depth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from karaffe.errors import ArgumentError
from karaffe.imaging import upscale
from karaffe.imaging.consistency import consistent, rounded


def picture(kind: str, dtype: str, seed: int, height: int, width: int, bands: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (height, width, bands)
    values = {
        "noise": lambda: rng.random(shape),
        "extremes": lambda: rng.integers(0, 2, shape).astype(float),
        "nearly": lambda: np.where(rng.random(shape) < 0.5, 1 / 255, 1 - 1 / 255),
        "spike": lambda: (np.indices(shape[:2]).sum(0) == 5)[:, :, None] * np.ones(shape),
    }[kind]()
    if dtype.startswith("float"):
        return values.astype(dtype)
    info = np.iinfo(dtype)
    return np.floor(values * (float(info.max) - info.min) + info.min).astype(dtype)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["noise", "extremes", "nearly", "spike"]),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "int32", "float32", "float64"]),
    seed=st.integers(0, 1000),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    bands=st.sampled_from([1, 3, 4]),
    scale=st.sampled_from([1, 2, 3, 4]),
    model=st.sampled_from(["content", "lanczos", "bicubic"]),
    tile=st.sampled_from([0, 3, 8]),
)
def test_block_means_are_the_source(content, kind, dtype, seed, size, bands, scale, model, tile):
    source = picture(kind, dtype, seed, *size, bands)
    if model == "content":
        model = content(max(2, scale)) if scale != 3 else content(3)
    result = upscale(source, scale, model, consistent=True, tile=tile)
    blocks = result.reshape(size[0], scale, size[1], scale, bands)
    if dtype.startswith("float"):
        np.testing.assert_allclose(blocks.mean((1, 3), dtype=np.float64), source, rtol=0, atol=1e-5)
    else:
        sums = blocks.astype(np.int64).sum((1, 3))
        np.testing.assert_array_equal(sums, source.astype(np.int64) * scale * scale)


def test_without_it_the_means_drift(network):
    source = picture("noise", "uint8", 0, 16, 16, 1)
    drift = upscale(source, 2, network).reshape(16, 2, 16, 2).mean((1, 3)) - source[:, :, 0]
    assert np.abs(drift).max() > 3


def test_a_consistent_result_changes_little_where_nothing_is_wrong():
    source = np.full((9, 9), 77, np.uint8)
    assert (upscale(source, 4, "lanczos", consistent=True) == 77).all()


def test_the_correction_stays_inside_and_is_exact():
    y = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    x = torch.tensor([[[0.9]]], dtype=torch.float64)
    result = consistent(y, x, (torch.tensor(0.0), torch.tensor(1.0)))
    assert result.mean().item() == pytest.approx(0.9, abs=1e-12)
    assert result.min() >= 0
    assert result.max() <= 1


def test_rounding_keeps_sums():
    values = np.array([[0.4, 0.4], [0.4, 2.8]])[:, :, None]
    result = rounded(values, np.ones((1, 1, 1)))
    assert result.sum() == 4
    assert np.abs(result - values).max() <= 1


@pytest.mark.parametrize("scale", [1.5, 0.5])
def test_it_needs_integer_factors(network, scale):
    with pytest.raises(ArgumentError, match="consistent needs integer factors; 9 x 9 to"):
        upscale(np.zeros((9, 9), np.uint8), scale, network, consistent=True)

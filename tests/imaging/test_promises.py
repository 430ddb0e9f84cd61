"""Networks of convex kernels: nothing is darker or brighter than the source around it, to the last bit.

On random and on hostile pictures, at every depth, scale and tile size, with and without kept block means, and whatever
the weights are.
"""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from karaffe.imaging import upscale, upscale_file
from karaffe.imaging.local_range import local_range
from karaffe.imaging.network import find_network
from karaffe.models import Faithful, Interpolation

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]
FLOATS = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-12}


class Convex(torch.nn.Module):
    """Softmax kernels over 3 x 3 pixels, drawn from a seed and the content, as hard as a choice of one pixel."""

    def __init__(self, scale: int, seed: int) -> None:
        super().__init__()
        self.scale, self.halo, self.window_radius = scale, 1, 1
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("mix", torch.randn(scale**2 * 9, 9, generator=generator, dtype=torch.float64) * 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        taps = torch.nn.functional.unfold(padded, 3).unflatten(1, (x.shape[1], 9))
        logits = torch.einsum("fs,nsp->nfp", self.mix.to(x.dtype), taps.mean(1))
        kernels = logits.unflatten(1, (self.scale**2, 9)).softmax(2)
        mixed = torch.einsum("nfsp,ncsp->ncfp", kernels, taps)
        return torch.nn.functional.pixel_shuffle(mixed.flatten(1, 2).unflatten(2, x.shape[2:]), self.scale)


def hostile(kind: str, dtype: str, seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = {
        "noise": lambda: rng.random(shape),
        "extremes": lambda: rng.integers(0, 2, shape).astype(float),
        "spike": lambda: (np.indices(shape[:2]).sum(0) == 5)[:, :, None] * np.ones(shape),
        "plateaus": lambda: np.repeat(np.repeat(rng.random(shape), 3, 0), 3, 1)[: shape[0], : shape[1]],
        "faint": lambda: 0.5 + rng.integers(0, 2, shape) * 2e-5,
    }[kind]()
    if dtype in FLOATS:
        return values.astype(dtype)
    info = np.iinfo(dtype)
    return np.floor(values * (float(info.max) - info.min) + info.min).astype(dtype)


def window(source: np.ndarray, row: int, column: int, radius: int) -> np.ndarray:
    return source[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1]


def assert_within(result: np.ndarray, source: np.ndarray, radius: int) -> None:
    """Compare every target with the source around it, in a loop."""
    height, width = source.shape[:2]
    for row in range(height):
        for column in range(width):
            rows = slice(-(-row * result.shape[0] // height), -(-(row + 1) * result.shape[0] // height))
            columns = slice(-(-column * result.shape[1] // width), -(-(column + 1) * result.shape[1] // width))
            targets, around = result[rows, columns], window(source, row, column, radius)
            assert (targets >= np.nanmin(around, axis=(0, 1))).all()
            assert (targets <= np.nanmax(around, axis=(0, 1))).all()


cases = given(
    kind=st.sampled_from(["noise", "extremes", "spike", "plateaus", "faint"]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    bands=st.sampled_from([1, 3, 4]),
    scale=st.sampled_from([2, 3, 4]),
    consistent=st.booleans(),
    tile=st.sampled_from([0, 3]),
)


@settings(max_examples=80, deadline=None)
@cases
def test_targets_stay_between_their_neighbours(kind, dtype, seed, size, bands, scale, consistent, tile):
    source = hostile(kind, dtype, seed, (*size, bands))
    result = upscale(source, scale, Convex(scale, seed), consistent=consistent, tile=tile)
    assert_within(result, source, 1)
    if consistent:
        assert_means_kept(result, source, scale)


def drawn_faithful(scale: int, seed: int) -> Faithful:
    """The network that ships, with weights that make its kernels choose hard among their 5 x 5 taps."""
    network = Faithful(scale, channels=4, depth=1).eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, 0, 2)
    return network.requires_grad_(False)


@settings(max_examples=40, deadline=None)
@cases
def test_faithful_keeps_it_whatever_its_weights(kind, dtype, seed, size, bands, scale, consistent, tile):
    source = hostile(kind, dtype, seed, (*size, bands))
    result = upscale(source, scale, drawn_faithful(scale, seed), consistent=consistent, tile=tile)
    assert_within(result, source, 2)
    if consistent:
        assert_means_kept(result, source, scale)


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize(("scale", "radius"), [(2, 2), (3, 2), (4, 2), (6, 3), (8, 3)])
def test_the_weights_that_ship(scale, radius, consistent):
    for kind, dtype in [("noise", "uint16"), ("extremes", "uint8"), ("plateaus", "float32")]:
        source = hostile(kind, dtype, 0, (11, 13, 3))
        result = upscale(source, scale, "faithful", consistent=consistent, tile=6)
        assert_within(result, source, radius)
        if consistent:
            assert_means_kept(result, source, scale)


def test_between_factors_and_below_one_faithful_has_no_lobes():
    for scale in (2.5, 1.2, 0.5):
        assert find_network("faithful", scale).kernel == "triangle"
        source = hostile("extremes", "uint8", 1, (14, 12, 1)) // 255 * 100 + 50
        result = upscale(source, scale, "faithful")
        assert result.min() >= 50
        assert result.max() <= 150


def assert_means_kept(result: np.ndarray, source: np.ndarray, scale: int) -> None:
    height, width, bands = source.shape
    blocks = result.reshape(height, scale, width, scale, bands)
    if source.dtype.name in FLOATS:
        means = blocks.mean((1, 3), dtype=np.float64)
        np.testing.assert_allclose(means, source, rtol=0, atol=FLOATS[source.dtype.name])
    else:
        np.testing.assert_array_equal(
            blocks.astype(np.int64).sum((1, 3)), source.astype(np.int64) * scale * scale, strict=True
        )


@pytest.mark.parametrize(("scale", "radius"), [(4, 2), (8, 2), (2.5, 5), (1.5, 4), (3, 5)])
def test_chains_and_other_factors(scale, radius):
    """Two networks look as far as both; a factor that no chain has adds the reach of a kernel without lobes."""
    for seed in range(3):
        source = hostile("extremes", "uint8", seed, (12, 11, 1))
        assert_within(upscale(source, scale, Convex(2, seed), tile=4), source, radius)


@pytest.mark.parametrize("scale", [0.5, 0.37])
def test_reductions_invent_nothing_either(scale):
    source = hostile("extremes", "uint8", 0, (20, 20, 1)) // 255 * 100 + 50
    result = upscale(source, scale, Convex(2, 0))
    assert result.min() >= 50
    assert result.max() <= 150
    assert upscale(source, 0.5, "lanczos").max() > 150


@pytest.mark.parametrize("consistent", [False, True])
def test_a_declared_range_does_not_loosen_it(consistent):
    rng = np.random.default_rng(0)
    source = rng.normal(1000, 300, (9, 8, 1)).astype(np.float32)
    result = upscale(source, 2, Convex(2, 1), value_range=(-1024, 3071), consistent=consistent)
    assert_within(result, source, 1)
    backwards = upscale(source, 2, Convex(2, 1), value_range=(3071, -1024), consistent=consistent)
    assert_within(backwards, source, 1)


def test_holes_are_no_neighbours():
    source = hostile("noise", "float32", 3, (10, 12, 1))
    source[3:6, 4:9] = np.nan
    source[0, 0] = np.inf
    result = upscale(source, 2, Convex(2, 2))
    known = np.where(np.isfinite(source), source, np.nan)
    for row, column in np.argwhere(np.isfinite(source[:, :, 0])):
        around, targets = window(known, row, column, 1), result[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert np.nanmin(around) <= targets.min()
        assert targets.max() <= np.nanmax(around)


def test_hidden_colours_are_no_neighbours():
    source = np.full((8, 8, 4), 100, np.uint8)
    source[:, 4:] = (0, 255, 0, 0)
    result = upscale(source, 2, Convex(2, 2), alpha=True, consistent=True)
    assert (result[:, :8, :3] == 100).all()


def test_files_keep_it_at_another_depth(tmp_path):
    """12 bits in a file that cannot say so are spread over 16: the bounds are spread with them."""
    source = hostile("noise", "uint16", 5, (9, 9, 1))
    tifffile.imwrite(tmp_path / "a.tif", source[:, :, 0])
    upscale_file(tmp_path / "a.tif", tmp_path / "b.png", 2, Convex(2, 5), consistent=True)
    with Image.open(tmp_path / "b.png") as image:
        result = np.asarray(image).astype(np.uint16)[:, :, None]
    assert_within(result, source, 1)
    assert_means_kept(result, source, 2)


def test_networks_without_the_promise_are_not_bound(content):
    source = hostile("extremes", "uint8", 0, (9, 9, 1))
    assert find_network(content(2), 2).window_radius is None
    assert find_network(content(2), 2.5).kernel == "lanczos3"
    source = source // 2 + 64
    assert upscale(source, 2, Interpolation("bicubic", 2)).max() > source.max()


@settings(max_examples=40, deadline=None)
@given(radius=st.integers(0, 3), size=st.tuples(st.integers(1, 8), st.integers(1, 8)), seed=st.integers(0, 99))
def test_local_range_is_that_of_a_loop(radius, size, seed):
    rng = np.random.default_rng(seed)
    pixels, present = rng.integers(0, 99, (*size, 2)), rng.random((*size, 2)) < 0.7
    found = local_range(pixels, present, radius)
    masked = np.where(present, pixels, np.nan)
    for row, column, band in np.ndindex(pixels.shape):
        low, high = found.low[row, column, band], found.high[row, column, band]
        if present[row, column, band]:
            around = window(masked, row, column, radius)[..., band]
            assert (low, high) == (np.nanmin(around), np.nanmax(around))
        else:
            assert (low, high) == (-np.inf, np.inf)

"""Tiled equals untiled, at every tile size, scale, type and kind of picture; memory may run out."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from karaffe.errors import ArgumentError
from karaffe.imaging import upscale, upscale_file
from karaffe.imaging.arrays import ArrayReader, ArrayWriter
from karaffe.imaging.engine import Enlarger
from karaffe.imaging.geometry import Axis
from karaffe.imaging.network import Network, find_network
from karaffe.models import create_model


def image(seed: int, height: int, width: int, bands: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.random((height, width, bands))
    return values.astype(dtype) if dtype == "float32" else (values * np.iinfo(dtype).max).astype(dtype)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    bands=st.sampled_from([1, 2, 3, 4, 6]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    scale=st.sampled_from([0.3, 0.5, 1, 1.5, 2, 2.7, 3, 4, 5]),
    model=st.sampled_from(["content", "nearest", "bicubic", "lanczos"]),
    tile=st.integers(2, 20),
)
def test_tiled_equals_untiled(content, seed, size, bands, dtype, scale, model, tile):
    model = content() if model == "content" else model
    pixels = image(seed, *size, bands, dtype)
    whole, tiled = upscale(pixels, scale, model, tile=0), upscale(pixels, scale, model, tile=tile)
    assert whole.dtype == tiled.dtype == pixels.dtype
    if dtype == "float32":
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)
    else:
        assert np.abs(tiled.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("tile", [5, 20])
@pytest.mark.parametrize("scale", [2, 3.3, 0.4])
def test_holes_and_alpha_do_not_break_tiles(network, tile, scale):
    pixels = image(3, 31, 27, 4, "float32")
    pixels[5:12, 3:9] = np.nan
    pixels[15:25, 10:27, 3] = 0
    whole = upscale(pixels, scale, network, tile=0, alpha=True)
    tiled = upscale(pixels, scale, network, tile=tile, alpha=True)
    visible = whole[:, :, 3:] != 0
    np.testing.assert_allclose(tiled * visible, whole * visible, rtol=0, atol=1e-5)


def test_equals_the_network_itself(network, picture):
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    expected = np.floor(network(x)[0].permute(1, 2, 0).numpy() * 255 + 0.5).clip(0, 255)
    np.testing.assert_array_equal(upscale(picture, 2, network, tile=9), expected.astype(np.uint8))


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("scale", [2, 3])
def test_interpolations_are_those_of_the_models(name, scale):
    pixels = image(0, 17, 23, 3, "float32")
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    expected = create_model(name, scale)(x)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(upscale(pixels, scale, name, tile=6), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("scale", [2, 4, 3])
@pytest.mark.parametrize("tile", [7, 16])
def test_the_network_that_ships(picture, scale, tile):
    whole, tiled = upscale(picture, scale, "sharp", tile=0), upscale(picture, scale, "sharp", tile=tile)
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    unit = picture.astype(np.float32) / 255
    whole, tiled = upscale(unit, scale, "sharp", tile=0), upscale(unit, scale, "sharp", tile=tile)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)


def test_a_halo_too_small_shows(network):
    """The comparison can fail: with a network that looks farther than it says, tiles differ."""
    network.halo = 0
    pixels = image(0, 32, 32, 1, "float32")
    whole, tiled = upscale(pixels, 2, network, tile=0), upscale(pixels, 2, network, tile=8)
    assert np.abs(whole - tiled).max() > 1e-3


def test_tiles_shrink_when_memory_runs_out(network, picture):
    sizes = []

    class Hungry(type(network)):
        def forward(self, x):
            sizes.append(x.shape[2] * x.shape[3])
            if sizes[-1] > 200:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to")
            return super().forward(x)

    np.testing.assert_array_equal(upscale(picture, 2, Hungry(), tile=0), upscale(picture, 2, network, tile=0))
    assert sum(size > 200 for size in sizes) < 8, "the smaller size is remembered"


def test_other_failures_are_not_taken_for_memory(network, picture):
    class Broken(type(network)):
        def forward(self, x):
            raise RuntimeError("kernel sizes do not fit")

    with pytest.raises(RuntimeError, match="do not fit"):
        upscale(picture, 2, Broken())


def test_the_tile_bounds_what_is_read_and_computed(tmp_path, network, make, write):
    info, frames = make("grey", False, "uint8", width=40, height=600)
    path = write(tmp_path / "a.tif", info, frames)
    seen = []
    network.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    upscale_file(path, tmp_path / "b.tif", 2, network, tile=16)
    assert max(s[2] for s in seen) <= 16 + 2 * network.halo
    assert max(s[3] for s in seen) <= 16 + 2 * network.halo


@pytest.mark.parametrize("tile", [-1, 1.5, True, "big"])
def test_bad_tiles_are_refused(picture, network, tile):
    with pytest.raises(ArgumentError, match="tile must be 'auto', 0"):
        upscale(picture, 2, network, tile=tile)


@settings(max_examples=100, deadline=None)
@given(source=st.integers(1, 60), target=st.integers(1, 200), factor=st.integers(1, 4), data=st.data())
def test_an_axis_window_is_part_of_the_whole(source, target, factor, data):
    start = data.draw(st.integers(0, target - 1))
    stop = data.draw(st.integers(start + 1, target))
    axis = Axis(source, target, factor)
    x = torch.rand(1, source * factor, dtype=torch.float64)
    whole = axis.resample(x[:, slice(*_span(axis, 0, target))], 1, 0, target)
    low, high = _span(axis, start, stop)
    part = axis.resample(x[:, low:high], 1, start, stop)
    torch.testing.assert_close(part, whole[:, start:stop], rtol=0, atol=1e-12)


def _span(axis, start, stop):
    span = axis.span(start, stop, 0)
    low = span.read[0] * axis.factor + span.offset
    return low, low + span.length


def test_a_wide_picture_has_flat_bands(make):
    info = make("rgb", False, "uint16")[0].with_size(40_000, 40_000)
    enlarger = Enlarger(info, info.with_size(160_000, 160_000), find_network("bicubic", 4))
    rows, columns = enlarger._step
    assert rows * 160_000 * 3 * 2 <= 64 << 20
    # Tiles of a band are of one width, and no wider than asked for.
    count = -(-160_000 // columns)
    assert 1000 < columns <= 1024
    assert 160_000 - (count - 1) * columns > columns - count


def test_reading_and_writing_go_on_while_the_network_computes(make):
    """Each of the three waits for another one to have begun: in one thread nobody would come."""
    info, frames = make("grey", False, "uint8", width=8, height=64)
    read_on, computing = [threading.Event() for _ in range(9)], [threading.Event() for _ in range(9)]
    met = []

    class SlowReader(ArrayReader):
        def _read(self, window, frame):
            read_on[window.top // 8].set()
            return super()._read(window, frame)

    class SlowWriter(ArrayWriter):
        def _write(self, band, frame):
            number = self._row // 16
            met.append(number == 7 or computing[number + 1].wait(20))
            super()._write(band, frame)

    def network(x):
        number = sum(event.is_set() for event in computing)
        computing[number].set()
        met.append(number == 7 or read_on[number + 1].wait(20))
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    target = info.with_size(128, 16)
    writer = SlowWriter(target)
    for _ in Enlarger(info, target, Network(network, 2), 8).run(SlowReader(frames, info), writer):
        pass
    assert len(met) == 16
    assert all(met)
    np.testing.assert_array_equal(writer.frames[0], frames[0].repeat(2, 0).repeat(2, 1))

"""``upscale``: the same kind out, one affine map, no fringe, no bleeding, clear errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from karaffe.errors import ArgumentError, BackendError, DtypeError, ShapeError, UnknownNameError
from karaffe.imaging import upscale

DTYPES = ["uint8", "uint16", "int16", "int32", "uint32", "float16", "float32", "float64", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 5)])
def test_numpy_in_numpy_out(dtype, shape):
    rng = np.random.default_rng(0)
    pixels = rng.random(shape)
    if dtype == "bool":
        pixels = pixels > 0.5
    elif not dtype.startswith("float"):
        info = np.iinfo(dtype)
        pixels = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    pixels = pixels.astype(dtype)
    result = upscale(pixels, 2, "nearest")
    assert result.dtype == pixels.dtype
    np.testing.assert_array_equal(result, pixels.repeat(2, 0).repeat(2, 1))
    assert upscale(pixels, 2, "bicubic").shape == (18, 14, *shape[2:])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 9, 7), (2, 3, 9, 7), (2, 1, 9, 7)])
def test_tensor_in_tensor_out(dtype, shape):
    x = torch.rand(shape) * (255 if dtype == torch.uint8 else 1)
    x = x.to(dtype)
    result = upscale(x, 2, "nearest")
    assert result.dtype == dtype
    assert torch.equal(result, x.repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_tensor_with_gradient_and_strides(network):
    x = torch.rand(2, 3, 11, 8, requires_grad=True).to(memory_format=torch.channels_last)
    result = upscale(x, 2, network)
    torch.testing.assert_close(result, network(x.detach()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", "I;16", "F", "P"])
def test_pillow_in_pillow_out(mode):
    plain = {"I;16": 40_000, "F": 0.4}
    image = Image.new(mode, (7, 9), plain[mode]) if mode in plain else Image.new("RGB", (7, 9), "teal").convert(mode)
    result = upscale(image, 3, "bicubic")
    assert result.mode == ("RGB" if mode == "P" else mode)
    assert result.size == (21, 27)
    expected = image.convert("RGB") if mode == "P" else image
    np.testing.assert_allclose(np.asarray(result)[13, 10], np.asarray(expected)[4, 3], rtol=1e-5, atol=0)


@settings(max_examples=40, deadline=None)
@given(
    value=st.integers(0, 65535),
    dtype=st.sampled_from(["uint8", "uint16"]),
    model=st.sampled_from(["bilinear", "bicubic", "lanczos", "content"]),
    scale=st.sampled_from([0.5, 1.7, 2, 3]),
)
def test_a_constant_stays_constant(content, value, dtype, model, scale):
    value %= np.iinfo(dtype).max + 1
    pixels = np.full((9, 11, 3), value, dtype)
    assert (upscale(pixels, scale, content() if model == "content" else model) == value).all()


def test_dark_16_bit_is_not_taken_for_8_bit():
    pixels = (np.arange(400).reshape(20, 20) % 256).astype(np.uint16)
    deep = upscale(pixels, 2, "bicubic")
    assert deep.dtype == np.uint16
    expected = upscale((pixels / 65535).astype(np.float64), 2, "bicubic") * 65535
    assert np.abs(deep - expected.clip(0)).max() <= 0.5 + 1e-6


def test_value_range_maps_once(network):
    rng = np.random.default_rng(0)
    hounsfield = rng.integers(-1024, 3072, (20, 20)).astype(np.int16)
    result = upscale(hounsfield, 2, network, value_range=(-1024, 3071))
    unit = (hounsfield.astype(np.float32) + 1024) / 4095
    expected = np.floor(upscale(unit, 2, network) * 4095 - 1024 + 0.5)
    np.testing.assert_allclose(result, expected, atol=1)
    cloud = upscale(np.full((9, 9), 20_000, np.uint16), 2, "lanczos", value_range=(0, 10_000))
    assert (cloud == 20_000).all(), "a narrow range clips nothing"
    assert upscale(np.array([[0, 65535]] * 9, np.uint16), 4, "lanczos").max() == 65535


def test_sizes_and_rounding():
    pixels = np.zeros((5, 7), np.uint8)
    assert upscale(pixels, 2.5, "bicubic").shape == (13, 18), "12.5 rounds up, 17.5 rounds up"
    assert upscale(pixels, 0.01, "bicubic").shape == (1, 1)
    assert upscale(pixels, model="bicubic", size=(31, 3)).shape == (31, 3)


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos"])
def test_reducing_is_antialiased(name):
    fine = np.indices((64, 64)).sum(0) % 2 * 255
    reduced = upscale(fine.astype(np.uint8), 0.25, name)
    assert np.abs(reduced[3:-3, 3:-3].astype(int) - 127.5).max() < 8


def test_nearest_reduction_keeps_labels():
    labels = np.random.default_rng(0).choice([3, 77, 200], (33, 41)).astype(np.uint8)
    assert set(np.unique(upscale(labels, 0.4, "nearest"))) <= {3, 77, 200}


@pytest.mark.parametrize("scale", [2, 3, 0.5])
def test_hidden_colours_leave_no_fringe(network, scale):
    """A red disc on transparent green: no visible pixel may turn green."""
    y, x = np.mgrid[:40, :40]
    disc = (x - 20) ** 2 + (y - 20) ** 2 < 150
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[disc] = (200, 10, 30, 255)
    pixels[~disc] = (0, 255, 0, 0)
    for model in (network, "lanczos"):
        result = upscale(pixels, scale, model, alpha=True)
        visible = result[:, :, 3] > 0
        assert visible.any()
        assert np.abs(result[visible][:, :3].astype(int) - (200, 10, 30)).max() <= 1
        assert not upscale(pixels, scale, model)[visible][:, 1].max() <= 11, "without alpha it does bleed"


@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize("scale", [2, 2.6, 0.6])
def test_nodata_never_bleeds(network, dtype, scale):
    rng = np.random.default_rng(0)
    clean = rng.integers(200, 300, (30, 26, 2)).astype(dtype)
    holed = clean.copy()
    holed[4:9, 5:20] = -9999
    holed[20, 20, 0] = -9999
    for model in (network, "lanczos"):
        result = upscale(holed, scale, model, nodata=-9999, value_range=(0, 400))
        gone = result == -9999
        rows = np.floor((np.arange(result.shape[0]) + 0.5) / result.shape[0] * 30).astype(int)
        columns = np.floor((np.arange(result.shape[1]) + 0.5) / result.shape[1] * 26).astype(int)
        np.testing.assert_array_equal(gone, (holed == -9999)[np.ix_(rows, columns)])
        assert result[~gone].min() > 150
        assert result[~gone].max() < 350


def test_nan_and_infinity_stay_where_they_are(network):
    pixels = np.random.default_rng(0).random((20, 20, 3)).astype(np.float32)
    pixels[3:6, 4:9] = np.nan
    pixels[12, 12, 1] = np.inf
    result = upscale(pixels, 2, network)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(pixels).repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(np.isinf(result), np.isinf(pixels).repeat(2, 0).repeat(2, 1))


def test_all_gone_is_no_error():
    assert np.isnan(upscale(np.full((5, 6), np.nan, np.float32), 2, "lanczos")).all()


def test_computed_values_step_off_nodata():
    pixels = np.array([[1, 1, 9, 9]] * 4, np.uint8)
    result = upscale(pixels, 4, "bicubic", nodata=6, value_range=(0, 10))
    assert not (result == 6).any()
    assert (upscale(pixels, 4, "bicubic", value_range=(0, 10)) == 6).any()


@pytest.mark.parametrize(
    ("image", "error", "match"),
    [
        (
            [[1, 2]],
            DtypeError,
            "a NumPy array, a torch tensor, a Pillow image or an xarray.DataArray, got builtins.list",
        ),
        (np.zeros(5), ShapeError, r"\(H, W\) or \(H, W, C\), got \(5,\)"),
        (np.zeros((0, 5)), ShapeError, "at least one pixel"),
        (np.zeros((3, 5), complex), DtypeError, "got complex128"),
        (np.zeros((3, 5), np.int64), DtypeError, "at most 32 bits, got int64"),
        (torch.zeros(3, 5), ShapeError, r"\(C, H, W\) or \(N, C, H, W\), got \(3, 5\)"),
        (np.full((3, 5), 200.0), ArgumentError, "from 200 to 200.*give value_range"),
    ],
)
def test_bad_images(image, error, match):
    with pytest.raises(error, match=match):
        upscale(image, 2, "bicubic")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"scale": 0}, ArgumentError, "scale must be a positive number, got 0"),
        ({"scale": float("nan")}, ArgumentError, "scale must be a positive number"),
        ({"scale": 100, "model": "sharp"}, ArgumentError, "scale must be at most 64, got 100"),
        ({"size": (4, 0)}, ArgumentError, r"size must be \(rows, columns\), two positive"),
        ({"model": "sharpp"}, UnknownNameError, "did you mean 'sharp'"),
        ({"model": torch.nn.Identity()}, ArgumentError, "Identity has scale=None and halo=None"),
        ({"value_range": (1, 1)}, ArgumentError, "two different finite numbers"),
        ({"alpha": True}, ArgumentError, "alpha=True needs 2 or 4 channels, got 3"),
    ],
)
def test_bad_options(picture, options, error, match):
    with pytest.raises(error, match=match):
        upscale(picture, **{"scale": 2, "model": "bicubic", **options})


def test_unknown_backends_are_refused(picture, network):
    with pytest.raises((BackendError, UnknownNameError)):
        upscale(picture, 2, network, backend="abacus")


def test_the_model_is_left_as_it_was(network, picture):
    network.train()
    upscale(picture.astype(np.float64) / 255, 2, network)
    assert network.training
    assert network.phase.dtype == torch.float32

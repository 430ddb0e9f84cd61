"""xarray: dimensions in any order, coordinates at the new pixel centres, attributes kept."""

from __future__ import annotations

import numpy as np
import pytest

from karaffe.errors import ShapeError
from karaffe.imaging import upscale

xarray = pytest.importorskip("xarray")


def scene(dims=("time", "band", "y", "x")):
    values = np.random.default_rng(0).random((2, 4, 10, 12)).astype(np.float32)
    array = xarray.DataArray(
        values,
        dims=("time", "band", "y", "x"),
        coords={
            "time": np.array(["2026-01-01", "2026-02-01"], "datetime64[ns]"),
            "band": ["b", "g", "r", "n"],
            "y": ("y", 1000.0 - 10 * np.arange(10) - 5, {"units": "m"}),
            "x": 500.0 + 10 * np.arange(12) + 5,
            "area": (("y", "x"), np.ones((10, 12))),
            "spatial_ref": ((), 0, {"GeoTransform": "500.0 10.0 0.0 1000.0 0.0 -10.0", "crs_wkt": "x"}),
        },
        name="reflectance",
        attrs={"source": "made"},
    )
    return array.transpose(*dims)


@pytest.mark.parametrize("dims", [("time", "band", "y", "x"), ("y", "x", "band", "time")])
@pytest.mark.parametrize("scale", [2, 2.5, 0.5])
def test_a_data_array_comes_back(dims, scale):
    array = scene(dims)
    result = upscale(array, scale, "bicubic")
    assert isinstance(result, xarray.DataArray)
    assert (result.dims, result.name, result.attrs, result.dtype) == (dims, "reflectance", array.attrs, np.float32)
    assert result.sizes == {"time": 2, "band": 4, "y": round(10 * scale), "x": round(12 * scale)}
    assert result.band.equals(array.band)
    assert result.time.equals(array.time)
    step = 10 / scale
    np.testing.assert_allclose(result.x, 500 + step * (np.arange(result.sizes["x"]) + 0.5))
    np.testing.assert_allclose(result.y, 1000 - step * (np.arange(result.sizes["y"]) + 0.5))
    assert result.y.attrs == {"units": "m"}
    assert "area" not in result.coords
    transform = [float(v) for v in result.spatial_ref.attrs["GeoTransform"].split()]
    assert transform == pytest.approx([500, step, 0, 1000, 0, -step])
    plane = upscale(array.isel(time=1, band=2).transpose("y", "x").values, scale, "bicubic")
    np.testing.assert_array_equal(result.isel(time=1, band=2).transpose("y", "x"), plane)


def test_declared_fill_values_do_not_bleed():
    array = xarray.DataArray(np.full((10, 10), 100, np.int16), dims=("lat", "lon"), attrs={"_FillValue": -999})
    array[2:5, 2:5] = -999
    np.testing.assert_array_equal(upscale(array, 2, "lanczos"), array.values.repeat(2, 0).repeat(2, 1))


def test_one_dimension_is_refused():
    with pytest.raises(ShapeError, match="two dimensions for rows and columns"):
        upscale(xarray.DataArray(np.zeros(5), dims="x"), 2, "bicubic")

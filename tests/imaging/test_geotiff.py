"""GeoTIFF: the ground stays where it is, and everything else of the file too; checked with rasterio."""

from __future__ import annotations

import numpy as np
import pytest

from karaffe.errors import ArgumentError, FileError
from karaffe.imaging import Window, open_reader, upscale, upscale_file

rasterio = pytest.importorskip("rasterio")
from rasterio.control import GroundControlPoint  # noqa: E402
from rasterio.enums import ColorInterp, MaskFlags, Resampling  # noqa: E402
from rasterio.rpc import RPC  # noqa: E402
from rasterio.transform import Affine  # noqa: E402

NORTH_UP = Affine(10, 0, 600_000, 0, -10, 5_200_000)
ROTATED = Affine(8, 3, 600_000, 3, -8, 5_200_000)


def scene(path, bands=4, dtype="uint16", transform=NORTH_UP, height=70, width=90, **options):
    rng = np.random.default_rng(0)
    pixels = rng.random((bands, height, width))
    pixels = pixels.astype(dtype) if np.dtype(dtype).kind == "f" else (pixels * 4000 % 255).astype(dtype)
    profile = {"crs": "EPSG:32632", "transform": transform, "photometric": "minisblack", **options}
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=bands, dtype=dtype, **profile
    ) as file:
        file.write(pixels)
        file.descriptions = tuple(f"band {i}" for i in range(bands))
        file.update_tags(MISSION="x", AREA_OR_POINT="Area")
        file.update_tags(1, wavelength="490", STATISTICS_MEAN="5")
        file.scales, file.offsets = (0.0001,) * bands, (1.0,) * bands
        file.units = ("reflectance",) * bands
    return pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 3, 4, 7])
def test_round_trip_is_exact(tmp_path, dtype, bands):
    pixels = scene(tmp_path / "a.tif", bands, dtype, compress="lzw", tiled=True, blockxsize=32, blockysize=48)
    with open_reader(tmp_path / "a.tif") as reader:
        assert reader.info.format == "geotiff"
        window = Window(5, 40, 30, 45)
        np.testing.assert_array_equal(reader.read(window), window.of(pixels.transpose(1, 2, 0)))
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 1, tile=16)
    with rasterio.open(tmp_path / "a.tif") as a, rasterio.open(tmp_path / "b.tif") as b:
        np.testing.assert_array_equal(b.read(), pixels)
        for name in ("crs", "transform", "nodata", "descriptions", "scales", "offsets", "units", "colorinterp"):
            assert getattr(a, name) == getattr(b, name), name
        assert b.profile["compress"] == "lzw"
        assert b.tags()["MISSION"] == "x"
        assert b.tags(1) == {"wavelength": "490"}


def place(file, column, row):
    t = file.transform
    return (t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f)


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED])
@pytest.mark.parametrize("scale", [4, 2.5, 0.5])
def test_the_ground_stays_where_it_is(tmp_path, transform, scale):
    scene(tmp_path / "a.tif", transform=transform)
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", scale, "bicubic")
    with rasterio.open(tmp_path / "a.tif") as a, rasterio.open(tmp_path / "b.tif") as b:
        assert (b.width, b.height) == (round(90 * scale), round(70 * scale))
        for corner in [(0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.25)]:
            here = place(a, corner[0] * a.width, corner[1] * a.height)
            there = place(b, corner[0] * b.width, corner[1] * b.height)
            assert here == pytest.approx(there, abs=1e-6)


def test_pixels_are_those_of_upscale(tmp_path):
    pixels = scene(tmp_path / "a.tif")
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 3, "lanczos", tile=20, value_range=(0, 300))
    expected = upscale(pixels.transpose(1, 2, 0), 3, "lanczos", value_range=(0, 300))
    with rasterio.open(tmp_path / "b.tif") as file:
        assert np.abs(file.read().transpose(1, 2, 0).astype(int) - expected).max() <= 1


def test_blocks_and_bands_of_any_height(tmp_path):
    pixels = scene(tmp_path / "a.tif", 2, "uint8", height=700, width=300)
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 1, tile=37)
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.block_shapes == [(256, 256)] * 2
        np.testing.assert_array_equal(file.read(), pixels)


@pytest.mark.parametrize(("dtype", "nodata"), [("int16", -9999), ("uint8", 0), ("float32", -1.0), ("float32", np.nan)])
def test_nodata_is_kept_and_does_not_bleed(tmp_path, dtype, nodata):
    pixels = np.full((2, 40, 40), 0.5 if dtype == "float32" else 100, dtype)
    pixels[:, 10:20, 5:30] = nodata
    profile = {"crs": "EPSG:32632", "transform": NORTH_UP, "nodata": nodata, "photometric": "minisblack"}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=40, width=40, count=2, dtype=dtype, **profile
    ) as file:
        file.write(pixels)
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 2, "lanczos", tile=9)
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.nodata == nodata or np.isnan(file.nodata)
        np.testing.assert_allclose(file.read(), pixels.repeat(2, 1).repeat(2, 2), rtol=1e-6)


def test_a_dataset_mask_is_kept(tmp_path):
    pixels = scene(tmp_path / "a.tif", 3, "uint8")
    mask = np.full((70, 90), 255, np.uint8)
    mask[:20, :30] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.write_mask(mask)
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 1)
    upscale_file(tmp_path / "a.tif", tmp_path / "c.tif", 2, "nearest", tile=16)
    with rasterio.open(tmp_path / "b.tif") as file:
        assert MaskFlags.per_dataset in file.mask_flag_enums[0]
        np.testing.assert_array_equal(file.dataset_mask(), mask)
        np.testing.assert_array_equal(file.read()[:, mask > 0], pixels[:, mask > 0])
    with rasterio.open(tmp_path / "c.tif") as file:
        np.testing.assert_array_equal(file.dataset_mask(), mask.repeat(2, 0).repeat(2, 1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "b.tif", "c.tif"]


def test_class_maps_are_never_mixed(tmp_path):
    classes = np.random.default_rng(0).choice([1, 7, 200], (1, 40, 50)).astype(np.uint8)
    colours = {1: (255, 0, 0, 255), 7: (0, 255, 0, 255), 200: (0, 0, 255, 255)}
    profile = {"crs": "EPSG:32632", "transform": NORTH_UP, "photometric": "palette"}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=40, width=50, count=1, dtype="uint8", **profile
    ) as file:
        file.write(classes)
        file.write_colormap(1, colours)
    for scale, model in ((2, "sharp"), (0.7, "lanczos")):
        upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", scale, model, overwrite=True)
        with rasterio.open(tmp_path / "b.tif") as file:
            assert set(np.unique(file.read())) == {1, 7, 200}
            assert file.colormap(1)[7] == (0, 255, 0, 255)
            assert file.colorinterp[0] == ColorInterp.palette


def test_overviews_are_built_again(tmp_path):
    scene(tmp_path / "a.tif", height=300, width=300)
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.build_overviews([2, 4], Resampling.average)
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 2, "nearest")
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.overviews(1) == [2, 4]


def test_control_points_and_rational_polynomials_move(tmp_path):
    points = [GroundControlPoint(r, c, 10.0 + c, 50.0 - r) for r, c in [(0, 0), (0, 90), (70, 0), (70, 90)]]
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=70, width=90, count=1, dtype="uint8", gcps=points,
        crs="EPSG:4326",
    ) as file:  # fmt: skip
        file.write(np.zeros((1, 70, 90), np.uint8))
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 2, "nearest")
    with rasterio.open(tmp_path / "b.tif") as file:
        moved, crs = file.gcps
        assert crs.to_epsg() == 4326
        assert [(p.row, p.col, p.x, p.y) for p in moved] == [(2 * p.row, 2 * p.col, p.x, p.y) for p in points]
    ones = [1.0] + [0.0] * 19
    rpc = RPC(10, 1, 50, 5, ones, ones, 34.5, 35, 8, 2, ones, ones, 44.5, 45, 0.1, 0.2)
    with rasterio.open(
        tmp_path / "c.tif", "w", driver="GTiff", height=70, width=90, count=1, dtype="uint8", rpcs=rpc
    ) as file:
        file.write(np.zeros((1, 70, 90), np.uint8))
    upscale_file(tmp_path / "c.tif", tmp_path / "d.tif", 2, "nearest")
    with rasterio.open(tmp_path / "d.tif") as file:
        found = file.rpcs
        assert (found.line_off, found.line_scale, found.samp_off, found.samp_scale) == (69.5, 70, 89.5, 90)


def test_alpha_and_colours(tmp_path):
    scene(tmp_path / "a.tif", 4, "uint8")
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    with open_reader(tmp_path / "a.tif") as reader:
        assert (reader.info.colour, reader.info.has_alpha, reader.info.bands) == ("rgb", True, 4)


def test_complex_bands_are_refused(tmp_path):
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=9, width=9, count=1, dtype="complex64", transform=NORTH_UP
    ) as file:
        file.write(np.zeros((1, 9, 9), np.complex64))
    with pytest.raises(FileError, match="bands of complex64; accepted is one real type"):
        open_reader(tmp_path / "a.tif")


def test_truncated(tmp_path):
    scene(tmp_path / "a.tif", height=300, width=300)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(FileError, match=r"cannot read .*a.tif"):
        upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 2, "nearest")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_resolution_in_metres(tmp_path):
    scene(tmp_path / "a.tif")
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", model="bicubic", spacing=2500.0)
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.res == (2.5, 2.5)
        assert file.shape == (280, 360)
    scene(tmp_path / "c.tif", crs="EPSG:4326", transform=Affine(0.001, 0, 8, 0, -0.001, 47))
    with pytest.raises(ArgumentError, match="does not say how large its pixels are"):
        upscale_file(tmp_path / "c.tif", tmp_path / "d.tif", model="bicubic", spacing=2500.0)

"""Zarr and OME-Zarr: chunks, axes, scales and pyramids; checked with zarr."""

from __future__ import annotations

import numpy as np
import pytest

from karaffe.errors import FileError
from karaffe.imaging import Window, open_reader, upscale, upscale_batch, upscale_file

zarr = pytest.importorskip("zarr")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:zarr.*")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("shape", [(70, 90), (70, 90, 3), (2, 70, 90, 5)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "bool"])
def test_plain_arrays(tmp_path, version, shape, dtype):
    values = (np.random.default_rng(0).random(shape) * (1 if dtype == "float32" else 250)).astype(dtype)
    chunks = tuple(min(n, 32) for n in shape)
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=shape, dtype=dtype, chunks=chunks, zarr_format=version, attributes={"by": "me"}
    )
    array[:] = values
    with open_reader(tmp_path / "a.zarr") as reader:
        part = reader.read(Window(5, 6, 30, 40), len(values) - 1 if len(shape) == 4 else 0)
        frame = values[-1] if len(shape) == 4 else values
        np.testing.assert_array_equal(part.squeeze(), frame[5:35, 6:46])
    upscale_file(tmp_path / "a.zarr", tmp_path / "b.zarr", 1, tile=17)
    result = zarr.open(tmp_path / "b.zarr", mode="r")
    np.testing.assert_array_equal(result[:], values)
    assert (result.dtype, result.metadata.zarr_format, dict(result.attrs)) == (array.dtype, version, {"by": "me"})
    assert result.compressors == array.compressors
    upscale_file(tmp_path / "a.zarr", tmp_path / "c.zarr", 2, "bicubic")
    np.testing.assert_array_equal(
        zarr.open(tmp_path / "c.zarr", mode="r")[..., :, :] if len(shape) == 2 else zarr.open(tmp_path / "c.zarr")[:],
        np.stack([upscale(v, 2, "bicubic") for v in values]) if len(shape) == 4 else upscale(values, 2, "bicubic"),
    )


def ome_image(path, version, levels=2):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4000, (2, 3, 4, 40, 50)).astype(np.uint16)
    group = zarr.open_group(path, mode="w", zarr_format=version)
    datasets = []
    for level in range(levels):
        part = values[..., :: 2**level, :: 2**level]
        group.create_array(str(level), shape=part.shape, dtype="uint16", chunks=(1, 1, 2, 16, 16))[:] = part
        scale = [1.0, 1.0, 2.0, 0.5 * 2**level, 0.5 * 2**level]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets, "name": "cells"}]
    attributes = {"multiscales": multiscales, "omero": {"channels": []}}
    group.attrs.update({"ome": attributes} if version == 3 else attributes)
    return values


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(tmp_path, version):
    values = ome_image(tmp_path / "a.zarr", version)
    with open_reader(tmp_path / "a.zarr") as reader:
        info = reader.info
        assert (info.frames, info.slices, info.bands, info.colour) == (8, 4, 3, "bands")
        assert info.spacing == pytest.approx((0.0005, 0.0005))
        np.testing.assert_array_equal(
            reader.read(Window(3, 4, 20, 30), 5), values[1, :, 1, 3:23, 4:34].transpose(1, 2, 0)
        )
    upscale_file(tmp_path / "a.zarr", tmp_path / "b.zarr", size=(80, 100), model="nearest", tile=13)
    group = zarr.open_group(tmp_path / "b.zarr", mode="r")
    attributes = dict(group.attrs)["ome"] if version == 3 else dict(group.attrs)
    (image,) = attributes["multiscales"]
    assert attributes["omero"] == {"channels": []}
    assert image["name"] == "cells"
    fine = values.repeat(2, 3).repeat(2, 4)
    np.testing.assert_array_equal(group["0"][:], fine)
    np.testing.assert_array_equal(group["1"][:], values)
    scale, translation = (t[t["type"]] for t in image["datasets"][0]["coordinateTransformations"])
    assert scale == [1.0, 1.0, 2.0, 0.25, 0.25]
    assert translation == [0.0, 0.0, 0.0, -0.125, -0.125]
    scale, translation = (t[t["type"]] for t in image["datasets"][1]["coordinateTransformations"])
    assert scale == [1.0, 1.0, 2.0, 0.5, 0.5]
    assert translation == [0.0] * 5


def test_a_scale_goes_through_the_plane_too(tmp_path):
    ome_image(tmp_path / "a.zarr", 3, levels=1)
    upscale_file(tmp_path / "a.zarr", tmp_path / "b.zarr", 1.5, "lanczos", value_range=(0, 4000))
    assert zarr.open_group(tmp_path / "b.zarr", mode="r")["0"].shape == (2, 3, 6, 60, 75)


def test_folders_that_are_images_count_as_files(tmp_path):
    (tmp_path / "in").mkdir()
    ome_image(tmp_path / "in" / "a.zarr", 3, levels=1)
    steps = upscale_batch([tmp_path / "in"], tmp_path / "out")
    assert next(steps).count == 1
    steps.close()
    upscale_file(tmp_path / "in" / "a.zarr", tmp_path / "b.zarr", size=(41, 51), model="nearest")
    with pytest.raises(FileError, match="exists; give overwrite=True"):
        upscale_file(tmp_path / "in" / "a.zarr", tmp_path / "b.zarr", size=(9, 9), model="nearest")
    upscale_file(tmp_path / "in" / "a.zarr", tmp_path / "b.zarr", size=(9, 9), model="nearest", overwrite=True)
    assert zarr.open_group(tmp_path / "b.zarr", mode="r")["0"].shape == (2, 3, 4, 9, 9)


def test_what_is_refused(tmp_path):
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(FileError, match="a Zarr group that is no OME-Zarr image"):
        open_reader(tmp_path / "a.zarr")
    zarr.create_array(tmp_path / "b.zarr", shape=(5,), dtype="uint8")
    with pytest.raises(FileError, match=r"an array of shape \(5,\) with axes None"):
        open_reader(tmp_path / "b.zarr")

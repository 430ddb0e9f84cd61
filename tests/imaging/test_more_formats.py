"""NumPy and OpenEXR files, read and written beside their own libraries."""

from __future__ import annotations

import numpy as np
import pytest

from karaffe.errors import FileError
from karaffe.imaging import Window, open_reader, upscale, upscale_file


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 6), (2, 9, 7, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "bool"])
def test_npy(tmp_path, shape, dtype):
    array = (np.random.default_rng(0).random(shape) * (1 if dtype.startswith("f") else 200)).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    upscale_file(tmp_path / "a.npy", tmp_path / "b.npy", 1)
    again = np.load(tmp_path / "b.npy")
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(again, array)
    upscale_file(tmp_path / "a.npy", tmp_path / "c.npy", 2, "bicubic")
    frames = array if array.ndim == 4 else array[None]
    expected = np.stack([upscale(frame, 2, "bicubic") for frame in frames])
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), expected if array.ndim == 4 else expected[0])


def test_npy_of_another_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(5))
    with pytest.raises(FileError, match=r"an array of shape \(5,\); accepted are \(H, W\)"):
        open_reader(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(FileError, match=r"cannot read .*b.npy"):
        open_reader(tmp_path / "b.npy")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("names", ["RGB", "RGBA", "Y", "YA", "depth,left.R,left.G"])
def test_exr(tmp_path, dtype, names):
    exr = pytest.importorskip("OpenEXR")
    rng = np.random.default_rng(0)
    channels = {n: (rng.random((19, 23)) * 3).astype(dtype) for n in (names.split(",") if "," in names else names)}
    if "A" in channels:
        channels["A"] = np.ones_like(channels["A"])
        channels["A"][:5] = 0.5
    header = {"compression": exr.PIZ_COMPRESSION, "type": exr.scanlineimage, "owner": "Jane Doe"}
    with exr.File(header, dict(channels)) as file:
        file.write(str(tmp_path / "a.exr"))
    with open_reader(tmp_path / "a.exr") as reader:
        assert reader.info.unbounded
        assert reader.info.has_alpha == ("A" in channels)
        assert reader.read(Window(2, 3, 10, 9)).shape == (10, 9, len(channels))
    upscale_file(tmp_path / "a.exr", tmp_path / "b.exr", 1)
    upscale_file(tmp_path / "a.exr", tmp_path / "c.exr", 2, "lanczos")
    with exr.File(str(tmp_path / "b.exr"), separate_channels=True) as file:
        assert file.header()["owner"] == "Jane Doe"
        assert file.header()["compression"] == exr.PIZ_COMPRESSION
        for name, pixels in channels.items():
            np.testing.assert_array_equal(file.channels()[name].pixels, pixels)
    with exr.File(str(tmp_path / "c.exr"), separate_channels=True) as file:
        assert file.channels()[next(iter(channels))].pixels.shape == (38, 46)
        assert tuple(file.header()["dataWindow"][1]) == (45, 37)


def test_exr_from_other_formats(tmp_path, make, write):
    exr = pytest.importorskip("OpenEXR")
    info, frames = make("rgb", False, "float32")
    upscale_file(write(tmp_path / "a.tif", info, frames), tmp_path / "b.exr", 1)
    with exr.File(str(tmp_path / "b.exr"), separate_channels=True) as file:
        np.testing.assert_array_equal(file.channels()["G"].pixels, frames[0, :, :, 1])
    info, frames = make("rgb", False, "uint8")
    with pytest.raises(FileError, match=r"holds float16 and float32, not uint8; choose .tif"):
        upscale_file(write(tmp_path / "c.png", info, frames), tmp_path / "c.exr", 1)

"""onnxruntime gives the same image, for tiles of any size, and is exported to once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from karaffe.errors import ArgumentError, BackendError, UnknownNameError
from karaffe.imaging import runtime, upscale, upscale_file
from karaffe.imaging.network import find_network
from karaffe.models import Sharp, create_model

pytest.importorskip("onnxscript", reason="needs the extra karaffe[export]")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "karaffe"


@pytest.fixture(scope="module")
def small() -> Sharp:
    torch.manual_seed(0)
    network = Sharp(2, channels=4, depth=1).eval()
    torch.nn.init.normal_(network.head.weight, 0, 0.1)
    return network


@pytest.mark.parametrize("tile", [0, 1, 7, 16])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_the_same_image(cache, small, picture, tile, dtype):
    top = 1.0 if dtype.startswith("float") else np.iinfo(dtype).max
    source = (picture[:23, :31] / 255 * top).astype(dtype)
    for pixels in (source, source[:, :, 0]):
        ours, theirs = (upscale(pixels, 2, small, tile=tile, runtime=r) for r in ("torch", "onnx"))
        assert theirs.dtype == ours.dtype
        assert np.abs(ours.astype(float) - theirs).max() <= 1e-4 * top + (top > 1)


def test_it_is_exported_once_a_number_of_channels(cache, small, picture, monkeypatch):
    upscale(picture, 2, small, runtime="onnx")
    upscale(picture[:, :, 0], 2, small, runtime="onnx")
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(files) == 2
    assert {p.suffix for p in files} == {".onnx"}
    monkeypatch.setattr(runtime, "export_onnx", None)
    upscale(picture, 2, small, runtime="onnx")
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == files


def test_a_damaged_file_in_the_cache_is_made_again(cache, small, picture):
    wanted = upscale(picture[:, :, 0], 2, small, runtime="onnx")
    for path in cache.iterdir():
        path.write_bytes(b"no network")
    np.testing.assert_array_equal(upscale(picture[:, :, 0], 2, small, runtime="onnx"), wanted)
    assert any(path.stat().st_size > 1000 for path in cache.iterdir())


def test_without_a_cache_it_works_too(small, picture, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    result = upscale(picture[:, :, 0], 2, small, runtime="onnx")
    assert np.abs(result.astype(int) - upscale(picture[:, :, 0], 2, small)).max() <= 1
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4, 8, 3])
def test_the_network_that_ships(cache, picture, scale, tmp_path):
    from PIL import Image

    Image.fromarray(picture).save(tmp_path / "a.png")
    results = []
    for name in ("torch", "onnx"):
        upscale_file(tmp_path / "a.png", tmp_path / f"{name}.png", scale, "sharp", tile=20, runtime=name)
        results.append(np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int))
    assert np.abs(results[0] - results[1]).max() <= 1


def test_a_missing_onnxruntime_is_said_at_once(picture, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"needs onnxruntime.*pip install 'karaffe\[export\]'"):
        upscale(picture, 2, "sharp", runtime="onnx")


def test_what_is_refused(small, picture):
    with pytest.raises(UnknownNameError, match="runtime"):
        upscale(picture, 2, "sharp", runtime="tensorrt")
    with pytest.raises(ArgumentError, match="bicubic is an interpolation"):
        upscale(picture, 2, "bicubic", runtime="onnx")
    with pytest.raises(ArgumentError, match="without operator backends"):
        upscale(picture, 2, "sharp", runtime="onnx", backend="reference")
    with pytest.raises(ArgumentError, match="runs on the CPU"):
        find_network(create_model("sharp", 2), 2, device="cuda", runtime="onnx")

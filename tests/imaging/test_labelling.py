"""Label maps of files: tiled equals untiled, the palette and the coordinates are there, errors are one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from rasterio.transform import Affine

from karaffe.cli.main import run
from karaffe.errors import ArgumentError, FileError
from karaffe.imaging import open_reader
from karaffe.imaging.labelling import label_bands, label_file
from karaffe.models.segmentation import ClassTable, Segmenter, create_segmenter, save_segmenter

TABLE = ClassTable(("wall", "cell"), values=(0, 255), ignore=7, colours=((10, 20, 30), (200, 0, 0)))


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(1)
    made = create_segmenter("light-fpn", 2, "carafe", width=0.125)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2.0)
            torch.nn.init.normal_(module.bias, 0.0, 0.5)
    made.eval()
    with torch.no_grad():
        logits = made(torch.rand(1, 3, 64, 96))
        made.classify.bias[0] += (logits[0, 1] - logits[0, 0]).median()
    return made


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    small = Image.fromarray(generator.integers(0, 256, (20, 70, 3), dtype=np.uint8))
    path = tmp_path / "photograph.png"
    small.resize((700, 90), Image.Resampling.BICUBIC).save(path)
    return path


def whole(path: Path, model: Segmenter) -> np.ndarray:
    x = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return model(x)[0].argmax(0).numpy()


@pytest.mark.parametrize("tile", [0, 64, 100, "auto"])
def test_tiles_make_no_difference(photograph: Path, model: Segmenter, tile) -> None:
    expected = whole(photograph, model)
    assert 0.05 < expected.mean() < 0.95
    with open_reader(photograph) as reader:
        bands = list(label_bands(reader, model, tile))
    assert len(bands) == {0: 1, 64: 2, 100: 1, "auto": 1}[tile]
    assert [top for top, _ in bands] == [64 * n for n in range(len(bands))]
    # A tie between logits may fall either way in another order of summation.
    assert (np.concatenate([band for _, band in bands]) != expected).mean() < 1e-3


def test_a_palette_png_holds_the_values_in_their_colours(photograph: Path, model: Segmenter, tmp_path: Path) -> None:
    target = tmp_path / "labels.png"
    label_file(photograph, target, model, TABLE)
    made = Image.open(target)
    assert made.mode == "P"
    values = np.array(made)
    np.testing.assert_array_equal(values, np.where(whole(photograph, model) == 1, 255, 0))
    np.testing.assert_array_equal(np.array(made.convert("RGB"))[values == 255][0], (200, 0, 0))
    with pytest.raises(FileError, match="exists"):
        label_file(photograph, target, model, TABLE)
    label_file(photograph, target, model, TABLE, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.png", "photograph.png"]


def test_a_geotiff_stays_where_it_was(photograph: Path, model: Segmenter, tmp_path: Path) -> None:
    source, target = tmp_path / "scene.tif", tmp_path / "classes.tif"
    pixels = np.array(Image.open(photograph)).transpose(2, 0, 1)
    transform = Affine(10, 0, 500_000, 0, -10, 4_000_000)
    options = {"driver": "GTiff", "height": 90, "width": 700, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(source, "w", crs="EPSG:32633", transform=transform, **options) as file:
        file.write(pixels)
    label_file(source, target, model, TABLE, tile=64)
    with rasterio.open(target) as file:
        assert (file.crs.to_epsg(), file.transform, file.count) == (32633, transform, 1)
        assert file.colormap(1)[255] == (200, 0, 0, 255)
        found = file.read(1)
    assert (found != np.where(whole(photograph, model) == 1, 255, 0)).mean() < 1e-3
    with pytest.raises(FileError, match="made of GeoTIFF"):
        label_file(photograph, tmp_path / "x.tif", model, TABLE)
    with pytest.raises(ArgumentError, match=r"written as \.png or \.tif"):
        label_file(photograph, tmp_path / "x.jpg", model, TABLE)


def test_grey_of_16_bits(model: Segmenter, tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 40 * 50).reshape(40, 50).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    label_file(tmp_path / "grey.png", tmp_path / "labels.png", model, TABLE)
    x = torch.from_numpy(grey.astype(np.float32) / 65535)[None, None]
    with torch.inference_mode():
        expected = model(x)[0].argmax(0).numpy()
    assert (np.array(Image.open(tmp_path / "labels.png")) == 255 * expected).mean() > 0.999


def test_the_command(photograph: Path, model: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, output = tmp_path / "model.safetensors", tmp_path / "out"
    save_segmenter(model, checkpoint, network="light-fpn", upsampler="carafe", classes=TABLE, width=0.125)
    broken = tmp_path / "broken.png"
    broken.write_bytes(photograph.read_bytes()[:300])
    command = ["predict", "seg", "--model", str(checkpoint), "-o", str(output), str(photograph), str(broken)]
    assert run(command) == 1
    shown = capsys.readouterr()
    assert "photograph.png" in shown.out
    assert "broken.png" in shown.err
    assert [p.name for p in output.iterdir()] == ["photograph.png"]
    assert run([*command[:-1], "--skip-existing"]) == 0
    assert run(command[:-1]) == 1
    assert run([*command[:-2], str(photograph), str(photograph)]) == 2
    assert run(["predict", "seg", "--model", str(photograph), "-o", str(output), str(photograph)]) == 1

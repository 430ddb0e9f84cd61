"""The weights that ship are worth shipping: small, and 0.5 dB better than bicubic on pictures they never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from karaffe.evaluation import PAPERS, imresize, psnr
from karaffe.models import SuperResolver, create_model, describe_model, list_models
from karaffe.models.registry import WEIGHTS

REPOSITORY = Path(__file__).resolve().parents[2]


def measure(model: SuperResolver, source: np.ndarray, target: np.ndarray) -> float:
    x = torch.from_numpy(source.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        y = model(x)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    return psnr(PAPERS.prepare(y), PAPERS.prepare(target), border=PAPERS.border(model.scale))


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_all_weights_are_there_and_small() -> None:
    files = sorted(WEIGHTS.glob("*.safetensors"))
    learned = [name for name in list_models() if describe_model(name).learned]
    assert learned == ["sharp", "faithful"]
    names = [f"{name}_x{scale}.safetensors" for name in learned for scale in describe_model(name).scales or ()]
    assert sorted(names) == [f.name for f in files]
    assert sum(f.stat().st_size for f in files) < 3_000_000
    assert (WEIGHTS / "README.md").is_file()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["chelsea", "coffee"])
@pytest.mark.parametrize("model", ["sharp", "faithful"])
def test_photographs(model: str, name: str, scale: int) -> None:
    target = read(REPOSITORY / "examples" / "pictures" / f"{name}.png")
    height, width = (n // scale * scale for n in target.shape[:2])
    target = target[:height, :width]
    source = imresize(target, size=(height // scale, width // scale))
    gain = measure(create_model(model, scale), source, target) - measure(create_model("bicubic", scale), source, target)
    assert gain >= (0.5 if model == "sharp" else 0.2)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_research_sets(name: str, scale: int, shared_data: Path) -> None:
    folder = shared_data / name / f"x{scale}"
    models = [create_model("sharp", scale), create_model("bicubic", scale)]
    found = [
        [measure(model, read(folder / "LR" / path.name), read(path)) for model in models]
        for path in sorted((folder / "HR").glob("*.png"))
    ]
    ours, bicubic = np.mean(found, axis=0)
    assert ours - bicubic >= 0.5

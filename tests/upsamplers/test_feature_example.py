"""The example that enlarges a vision transformer's features runs, and draws what it says."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "examples" / "features" / "vision_transformer.py"


@pytest.mark.parametrize("upsampler", ["anyup", "naf"])
def test_the_example_runs(upsampler: str, tmp_path: Path) -> None:
    if not SCRIPT.is_file():
        pytest.skip("the examples are not here")
    main = runpy.run_path(str(SCRIPT))["main"]
    size = 64 if upsampler == "anyup" else 144
    picture = main(["--size", str(size), "--upsampler", upsampler, "--output", str(tmp_path / "f.png")])
    strip = np.asarray(Image.open(picture))
    assert strip.shape == (size, 3 * size + 16, 3)
    parts = [strip[:, i * (size + 8) : i * (size + 8) + size] for i in range(3)]
    assert all(part.std() > 10 for part in parts)
    # The features are constant over a patch; enlarged, they are not.
    assert np.ptp(parts[1][:16, :16].reshape(-1, 3), axis=0).max() == 0
    assert np.ptp(parts[2][:16, :16].reshape(-1, 3), axis=0).max() > 0

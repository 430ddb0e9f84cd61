"""Interpolations against others' implementations, and what each keeps exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from karaffe.errors import UnknownNameError
from karaffe.models import Interpolation

PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@pytest.mark.parametrize("method", PILLOW)
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 7])
def test_the_interior_equals_pillow(method: str, scale: int) -> None:
    image = np.random.default_rng(0).random((14, 17), dtype=np.float32)
    expected = Image.fromarray(image).resize((17 * scale, 14 * scale), PILLOW[method])
    model = Interpolation(method, scale)
    ours = model(torch.from_numpy(image)[None, None])[0, 0].numpy()
    inside = slice(3 * scale, -3 * scale)  # Pillow drops the taps outside, MATLAB mirrors them
    np.testing.assert_allclose(ours[inside, inside], np.asarray(expected)[inside, inside], atol=2e-6)


def loop_bicubic(row: np.ndarray, scale: int) -> list[float]:
    """Keys' kernel with a = -1/2 and mirrored borders, in plain Python."""

    def weight(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    def at(i: int) -> float:
        while not 0 <= i < len(row):
            i = -1 - i if i < 0 else 2 * len(row) - 1 - i
        return float(row[i])

    out = []
    for i in range(len(row) * scale):
        u = (i + 0.5) / scale - 0.5
        taps = range(int(np.floor(u)) - 2, int(np.floor(u)) + 4)
        out.append(sum(weight(u - j) * at(j) for j in taps))
    return out


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_bicubic_equals_a_plain_loop_to_the_border(size: int, scale: int, seed: int) -> None:
    row = np.random.default_rng(seed).random(size)
    ours = Interpolation("bicubic", scale)(torch.from_numpy(row).view(1, 1, 1, -1))
    np.testing.assert_allclose(ours[0, 0, 0].numpy(), loop_bicubic(row, scale), atol=1e-12)
    column = Interpolation("bicubic", scale)(torch.from_numpy(row).view(1, 1, -1, 1))
    np.testing.assert_allclose(column[0, 0, :, 0].numpy(), loop_bicubic(row, scale), atol=1e-12)


def test_nearest_makes_blocks() -> None:
    x = torch.rand(1, 3, 4, 5)
    assert torch.equal(Interpolation("nearest", 3)(x), x.repeat_interleave(3, 2).repeat_interleave(3, 3))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="interpolation 'cubic'"):
        Interpolation("cubic", 2)

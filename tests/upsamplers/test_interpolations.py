"""The interpolations against their formulas, evaluated by hand one target at a time."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from karaffe.upsamplers import Area, Bicubic, Bilinear, Lanczos, Nearest, NearestExact

sizes = st.integers(1, 9)


def image(*shape: int) -> Tensor:
    return torch.randn(1, 2, *shape, dtype=torch.float64)


def at(x: Tensor, row: int, column: int) -> Tensor:
    return x[0, :, min(max(row, 0), x.shape[2] - 1), min(max(column, 0), x.shape[3] - 1)]


@given(sizes, sizes, sizes, sizes)
def test_bilinear_is_the_four_pixel_formula(h, w, th, tw):
    x = image(h, w)
    y = Bilinear()(x, size=(th, tw))
    for i, j in itertools.product(range(th), range(tw)):
        v = max((i + 0.5) * h / th - 0.5, 0.0)
        u = max((j + 0.5) * w / tw - 0.5, 0.0)
        r, c = math.floor(v), math.floor(u)
        fy, fx = v - r, u - c
        q11, q21, q12, q22 = at(x, r, c), at(x, r, c + 1), at(x, r + 1, c), at(x, r + 1, c + 1)
        wanted = (1 - fx) * (1 - fy) * q11 + fx * (1 - fy) * q21 + (1 - fx) * fy * q12 + fx * fy * q22
        torch.testing.assert_close(y[0, :, i, j], wanted)


def test_bilinear_aligns_corners():
    x = image(4, 5)
    y = Bilinear(align_corners=True)(x, size=(10, 13))
    torch.testing.assert_close(y[..., 0, 0], x[..., 0, 0])
    torch.testing.assert_close(y[..., -1, -1], x[..., -1, -1])
    torch.testing.assert_close(y[..., 3, 3], x[..., 1, 1])  # 3 * 3/9 = 1 and 3 * 4/12 = 1


@given(sizes, sizes)
def test_nearest_formulas(h, t):
    x = image(h, 1)
    low, exact = Nearest()(x, size=(t, 1)), NearestExact()(x, size=(t, 1))
    for i in range(t):
        assert torch.equal(low[0, :, i, 0], x[0, :, i * h // t, 0])
        assert torch.equal(exact[0, :, i, 0], x[0, :, (2 * i + 1) * h // (2 * t), 0])


@given(sizes, sizes)
def test_area_is_the_mean_of_what_a_target_touches(h, t):
    x = image(h, 1)
    y = Area()(x, size=(t, 1))
    for i in range(t):
        torch.testing.assert_close(y[0, :, i, 0], x[0, :, i * h // t : -(-(i + 1) * h // t), 0].mean(1))


def keys_cubic(t: float, a: float) -> float:
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


@given(st.integers(2, 9), st.integers(2, 20))
def test_bicubic_is_keys_kernel(h, t):
    x = image(h, 1)
    y = Bicubic()(x, size=(t, 1))
    for i in range(t):
        u = (i + 0.5) * h / t - 0.5
        base = math.floor(u)
        wanted = sum(keys_cubic(u - j, -0.75) * at(x, j, 0) for j in range(base - 1, base + 3))
        torch.testing.assert_close(y[0, :, i, 0], wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("target", [4, 5, 16, 21])
def test_matlab_bicubic_mirrors_and_widens(target):
    h = 8
    x = image(h, 1)
    y = Bicubic(convention="matlab")(x, size=(target, 1))
    s = target / h
    shrink = min(s, 1.0)
    for i in range(target):
        u = (i + 0.5) / s - 0.5
        reach = math.ceil(2 / shrink)
        taps = range(math.floor(u) - reach, math.floor(u) + reach + 2)
        weights = [keys_cubic((u - j) * shrink, -0.5) for j in taps]
        mirrored = [j % (2 * h) if j % (2 * h) < h else 2 * h - 1 - j % (2 * h) for j in taps]
        wanted = sum(w * x[0, :, j, 0] for w, j in zip(weights, mirrored, strict=True)) / sum(weights)
        torch.testing.assert_close(y[0, :, i, 0], wanted)


@pytest.mark.parametrize("lobes", [2, 3])
def test_lanczos_is_a_windowed_sinc(lobes):
    h, t = 7, 17
    x = image(h, 1)
    y = Lanczos(lobes=lobes)(x, size=(t, 1))

    def sinc(v: float) -> float:
        return 1.0 if v == 0 else math.sin(math.pi * v) / (math.pi * v)

    for i in range(t):
        u = (i + 0.5) * h / t - 0.5
        weights = {j: sinc(u - j) * sinc((u - j) / lobes) for j in range(h) if abs(u - j) < lobes}
        wanted = sum(w * x[0, :, j, 0] for j, w in weights.items()) / sum(weights.values())
        torch.testing.assert_close(y[0, :, i, 0], wanted)


@pytest.mark.parametrize("factor", [2, 3, 1.5, 2.7, (2, 1.3)])
@pytest.mark.parametrize(
    ("cls", "mode", "options"),
    [
        (Nearest, "nearest", {}),
        (NearestExact, "nearest-exact", {}),
        (Bilinear, "bilinear", {"align_corners": False}),
        (Bicubic, "bicubic", {"align_corners": False}),
        (Area, "area", {}),
    ],
)
def test_a_factor_means_what_it_means_to_torch(cls, mode, options, factor):
    x = image(5, 7)
    torch.testing.assert_close(cls(scale_factor=factor)(x), F.interpolate(x, scale_factor=factor, mode=mode, **options))


@pytest.mark.parametrize(("dims", "mode"), [(1, "linear"), (3, "trilinear")])
def test_other_numbers_of_axes(dims, mode):
    x = image(*(4, 5, 3)[:dims])
    torch.testing.assert_close(Bilinear()(x), F.interpolate(x, scale_factor=2, mode=mode))


def test_bicubic_of_one_axis_is_that_of_two():
    x = image(6)
    wanted = F.interpolate(x[..., None].expand(-1, -1, -1, 4), size=(15, 4), mode="bicubic")[..., 0]
    torch.testing.assert_close(Bicubic()(x, size=15), wanted)

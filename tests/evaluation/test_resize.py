import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karaffe.errors import ArgumentError, DtypeError, ShapeError
from karaffe.evaluation import imresize


def keys(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def row_by_hand(row, size, scale, border):
    """One axis by MATLAB's 1-based formulas, one tap at a time."""
    n, out = len(row), []
    for i in range(1, size + 1):
        u = i / scale + 0.5 * (1 - 1 / scale)
        stretch = min(scale, 1.0)
        left = math.floor(u - 2 / stretch)
        taps = range(left, left + math.ceil(4 / stretch) + 2)
        weights = [stretch * keys(stretch * (u - j)) for j in taps]
        total = 0.0
        for j, weight in zip(taps, weights, strict=True):
            if border == "symmetric":
                period = [*range(n), *range(n - 1, -1, -1)]
                source = period[(j - 1) % (2 * n)]
            else:
                source = min(max(j - 1, 0), n - 1)
            total += weight / sum(weights) * row[source]
        out.append(total)
    return out


def by_hand(image, scale, border):
    height, width = (math.ceil(scale * n - 1e-9) for n in image.shape)
    columns = np.array([row_by_hand(column, height, scale, border) for column in image.T]).T
    return np.array([row_by_hand(row, width, scale, border) for row in columns])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 13),
    st.integers(1, 13),
    st.sampled_from([2, 3, 4, 0.5, 1 / 3, 0.25, 1.7, 0.6]),
    st.sampled_from(["symmetric", "replicate"]),
)
def test_against_the_formula(height, width, scale, border):
    image = np.random.default_rng(height * 14 + width).random((height, width))
    np.testing.assert_allclose(imresize(image, scale, border=border), by_hand(image, scale, border), atol=1e-12)


def test_integers_are_rounded_and_saturated_after_each_pass():
    image = np.zeros((6, 6), np.uint8)
    image[:, 3:] = 255
    image[:3] //= 2
    step = np.array([row_by_hand(column, 3, 0.5, "symmetric") for column in image.T.astype(float)]).T
    step = np.clip(np.floor(step + 0.5), 0, 255)
    expected = np.array([row_by_hand(row, 3, 0.5, "symmetric") for row in step])
    expected = np.clip(np.floor(expected + 0.5), 0, 255)
    result = imresize(image, 0.5)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


def test_channels_do_not_mix_and_a_constant_stays():
    image = np.random.default_rng(0).integers(0, 65536, (20, 15, 3)).astype(np.uint16)
    whole = imresize(image, 1 / 3)
    assert whole.shape == (7, 5, 3)
    for channel in range(3):
        np.testing.assert_array_equal(whole[..., channel], imresize(image[..., channel], 1 / 3))
    constant = np.full((9, 7, 3), 93, np.uint8)
    assert (imresize(constant, 4) == 93).all()
    assert (imresize(constant, size=(5, 11)) == 93).all()


def test_without_antialiasing_half_size_is_the_mean_of_four_weights():
    row = np.random.default_rng(0).random(12)
    result = imresize(row[None].repeat(12, 0), 0.5, antialias=False)
    weights = np.array([keys(1.5), keys(0.5), keys(0.5), keys(1.5)])
    np.testing.assert_allclose(result[2, 2], row[3:7] @ weights)


def test_size_is_the_ceiling_of_scale_times_n():
    assert imresize(np.zeros((510, 7), np.uint8), 1 / 3).shape == (170, 3)
    assert imresize(np.zeros((511, 1), np.uint8), 1 / 3).shape == (171, 1)


@pytest.mark.parametrize("arguments", [{}, {"scale": 2, "size": (4, 4)}, {"scale": 0}, {"scale": math.nan}])
def test_wrong_scales_are_refused(arguments):
    with pytest.raises(ArgumentError, match="scale"):
        imresize(np.zeros((4, 4)), **arguments)


def test_what_is_no_image_is_refused():
    with pytest.raises(ShapeError, match=r"\(4,\)"):
        imresize(np.zeros(4), 2)
    with pytest.raises(DtypeError, match="int64"):
        imresize(np.zeros((4, 4), np.int64), 2)
    with pytest.raises(ArgumentError, match="sizes"):
        imresize(np.zeros((4, 4)), size=(0, 4))

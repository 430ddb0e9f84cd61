import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from karaffe.errors import ArgumentError, DtypeError, ShapeError
from karaffe.evaluation import metrics


def pair(shape, dtype=np.uint8, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    smooth = rng.random(shape).cumsum(0).cumsum(1)
    clean = smooth / smooth.max()
    noisy = np.clip(clean + noise * rng.standard_normal(shape), 0, 1)
    if np.issubdtype(dtype, np.integer):
        top = np.iinfo(dtype).max
        return (noisy * top).round().astype(dtype), (clean * top).round().astype(dtype)
    return noisy.astype(dtype), clean.astype(dtype)


def ssim_by_hand(x, y, top):
    """Equation 13 of the paper, one window at a time."""
    g = np.array([math.exp(-((i - 5) ** 2) / 4.5) for i in range(11)])
    window = np.outer(g, g) / g.sum() ** 2
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11].astype(float), y[i : i + 11, j : j + 11].astype(float)
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            vab = (window * (a - ma) * (b - mb)).sum()
            c1, c2 = (0.01 * top) ** 2, (0.03 * top) ** 2
            values.append((2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(values)


@pytest.mark.parametrize("offset", [1, 2, 17])
def test_psnr_of_a_constant_offset(offset):
    reference = np.full((12, 15, 3), 100, np.uint8)
    assert metrics.psnr(reference + np.uint8(offset), reference) == pytest.approx(20 * math.log10(255 / offset))


def test_psnr_does_not_wrap_round_and_is_infinite_where_nothing_differs():
    black, white = np.zeros((8, 8), np.uint8), np.full((8, 8), 255, np.uint8)
    assert metrics.psnr(black, white) == pytest.approx(0)
    assert metrics.psnr(white, white) == math.inf


def test_the_border_is_left_out():
    reference = np.full((20, 20), 128, np.uint8)
    image = np.full((20, 20), 0, np.uint8)
    image[3:-3, 3:-3] = 129
    assert metrics.psnr(image, reference, border=3) == pytest.approx(20 * math.log10(255))
    assert metrics.psnr(image, reference, border=2) < 30


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(31, 44), (25, 19, 3)])
def test_against_scikit_image(dtype, shape):
    image, reference = pair(shape, dtype)
    top = 1.0 if np.issubdtype(dtype, np.floating) else float(np.iinfo(dtype).max)
    x, y = image.astype(float), reference.astype(float)
    assert metrics.psnr(image, reference) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=top))
    expected = structural_similarity(
        x,
        y,
        data_range=top,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2 if len(shape) == 3 else None,
    )
    assert metrics.ssim(image, reference) == pytest.approx(expected, abs=1e-9)


def test_ssim_against_torchmetrics():
    """Its mean includes a reflected border; inside that, the local indices are the same."""
    image, reference = pair((40, 33, 3), np.float64)
    x, y = (torch.from_numpy(a).permute(2, 0, 1)[None] for a in (image, reference))
    _, full = structural_similarity_index_measure(x, y, data_range=1.0, sigma=1.5, return_full_image=True)
    expected = full[0, :, 5:-5, 5:-5].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(metrics.ssim_map(image, reference), expected, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(11, 16), st.integers(11, 18), st.integers(0, 99))
def test_ssim_against_the_equation(height, width, seed):
    image, reference = pair((height, width), seed=seed)
    assert metrics.ssim(image, reference) == pytest.approx(ssim_by_hand(image, reference, 255), abs=1e-9)


def test_sums_add_up():
    image, reference = pair((40, 20))
    top, bottom = slice(0, 13), slice(13, 40)
    sums = [metrics.psnr_update(image[part], reference[part]) for part in (top, bottom)]
    pooled = metrics.psnr_compute(*(sum(column) for column in zip(*sums, strict=True)), data_range=255)
    assert pooled == pytest.approx(metrics.psnr(image, reference))
    # Parts that share ten rows: every place of the window lies in exactly one of them.
    sums = [metrics.ssim_update(image[part], reference[part]) for part in (slice(0, 23), slice(13, 40))]
    assert metrics.ssim_compute(*(sum(column) for column in zip(*sums, strict=True))) == pytest.approx(
        metrics.ssim(image, reference)
    )


@pytest.mark.parametrize(
    ("image", "error", "says"),
    [
        (np.zeros((12, 13), np.uint8), ShapeError, r"\(12, 13\)"),
        (np.zeros((12, 12), np.int32), DtypeError, "int32"),
        (np.zeros((12, 12), np.float32), DtypeError, "float32"),
        ([[1]], DtypeError, "list"),
        (np.zeros((0, 12), np.uint8), ShapeError, "at least one pixel"),
    ],
)
def test_what_does_not_fit_is_refused(image, error, says):
    with pytest.raises(error, match=says):
        metrics.psnr(image, np.zeros((12, 12), np.uint8))


def test_a_border_that_leaves_nothing_and_a_picture_below_the_window_are_refused():
    small = np.zeros((10, 30), np.uint8)
    with pytest.raises(ArgumentError, match="not 5"):
        metrics.psnr(small, small, border=5)
    with pytest.raises(ShapeError, match="11 pixels"):
        metrics.ssim(small, small)

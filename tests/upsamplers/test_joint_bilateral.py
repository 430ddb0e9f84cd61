"""Joint bilateral upsampling against independent loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from karaffe.errors import ArgumentError, ShapeError
from karaffe.upsamplers import JBU, JBULearned, JBUStack


def jbu_loop(m: JBU, x: Tensor, guide: Tensor) -> Tensor:
    low = F.adaptive_avg_pool2d(guide, x.shape[2:])
    out = torch.zeros(*x.shape[:2], *guide.shape[2:], dtype=x.dtype)
    radius = m.up_kernel // 2
    for i, j in itertools.product(*map(range, guide.shape[2:])):
        v, u = ((p + 0.5) * n / t - 0.5 for p, n, t in zip((i, j), x.shape[2:], guide.shape[2:], strict=True))
        r, c = i * x.shape[2] // guide.shape[2], j * x.shape[3] // guide.shape[3]
        total = 0.0
        for a, b in itertools.product(range(r - radius, r + radius + 1), range(c - radius, c + radius + 1)):
            if 0 <= a < x.shape[2] and 0 <= b < x.shape[3]:
                unlike = (guide[:, :, i, j] - low[:, :, a, b]).square().sum(1) / (2 * m.sigma_range**2)
                weight = torch.exp(-unlike - ((v - a) ** 2 + (u - b) ** 2) / (2 * m.sigma_spatial**2))
                out[:, :, i, j] += weight[:, None] * x[:, :, a, b]
                total += weight[:, None]
        out[:, :, i, j] /= total
    return out


@pytest.mark.parametrize("target", [(8, 10), (7, 9), (13, 5), (4, 5)])
def test_jbu_against_the_loop(target):
    m = JBU(3, 2, 3, sigma_spatial=0.8, sigma_range=0.7, guide_channels=2)
    x, guide = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 2, *target, dtype=torch.float64)
    torch.testing.assert_close(m(x, guide, size=target), jbu_loop(m, x, guide))


def test_jbu_keeps_an_edge_where_the_guide_has_it():
    guide = torch.zeros(1, 1, 16, 16)
    guide[..., 10:] = 1
    x = F.adaptive_avg_pool2d(guide, 8)
    y = JBU(1, sigma_range=0.05)(x, guide)
    assert (y - guide).abs().max() < 1e-3


def test_jbu_far_from_zero():
    """A guide of large values with small differences decides by these."""
    guide = torch.rand(1, 3, 8, 8)
    x = torch.randn(1, 4, 4, 4)
    m = JBU(4, guide_channels=3)
    torch.testing.assert_close(m(x, guide + 200), m(x, guide), rtol=1e-3, atol=1e-3)


def stage_loop(m: JBULearned, x: Tensor, guide: Tensor) -> Tensor:
    radius, side = m.up_kernel // 2, m.up_kernel
    e = F.pad(m.range_proj(guide), [radius] * 4, mode="reflect")
    high = F.pad(F.interpolate(x, guide.shape[2:], mode="bicubic"), [radius] * 4, mode="reflect")
    out = torch.zeros(*x.shape[:2], *guide.shape[2:], dtype=x.dtype)
    sigma, tau = m.sigma_spatial.item(), math.exp(m.range_temp.item())
    line = [2 * i / (side - 1) - 1 for i in range(side)]
    spatial = torch.tensor([math.exp(-(a * a + b * b) / (2 * sigma**2)) for a in line for b in line]).to(x.dtype)
    for i, j in itertools.product(*map(range, guide.shape[2:])):
        window = e[0, :, i : i + side, j : j + side].flatten(1)
        kernel = (tau * (window * e[0, :, i + radius, j + radius, None]).sum(0)).softmax(0) * spatial
        kernel = kernel / kernel.sum()
        seen = torch.cat([kernel, guide[0, :, i, j]])[None, :, None, None]
        kernel = kernel + 0.1 * m.fixup_proj(seen).flatten()
        out[0, :, i, j] = high[0, :, i : i + side, j : j + side].flatten(1) @ kernel
    return out


@pytest.mark.parametrize("target", [(8, 10), (9, 7)])
def test_stage_against_the_loop(target):
    m = JBULearned(3, 2, 2, key_dim=4).double().eval()
    for parameter in m.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    x, guide = torch.randn(1, 3, 4, 5, dtype=torch.float64), torch.randn(1, 3, *target, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(m(x, guide, size=target), stage_loop(m, x, guide))


def test_stack_is_its_stages():
    m = JBUStack(4, 4).double().eval()
    x, image = torch.randn(1, 4, 3, 5, dtype=torch.float64), torch.randn(1, 3, 30, 41, dtype=torch.float64)
    y = m.up1(x, F.adaptive_avg_pool2d(image, (6, 10)))
    y = m.up2(y, F.adaptive_avg_pool2d(image, (12, 20)))
    torch.testing.assert_close(m(x, image), y + 0.1 * m.fixup_proj(y))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: JBU(4, sigma_range=0), ArgumentError, "sigma_range must be a positive number"),
        (lambda: JBU(4, up_kernel=4), ArgumentError, "up_kernel must be odd"),
        (lambda: JBULearned(4, radius=0), ArgumentError, "radius must be a positive int"),
        (lambda: JBUStack(4, 3), ArgumentError, "a power of 2"),
        (lambda: JBUStack(4, (2, 4)), ArgumentError, "a power of 2"),
        (lambda: JBUStack(4)(torch.randn(1, 4, 4, 4)), ShapeError, r"needs a guide \(1, 3, any size, any size\); got"),
        (lambda: JBUStack(4)(torch.randn(1, 4, 4, 4), torch.randn(1, 3, 0, 9)), ShapeError, "must not be empty"),
        (lambda: JBUStack(4)(torch.randn(1, 4, 4, 4), torch.randn(1, 1, 9, 9)), ShapeError, r"\(1, 3, any size, any"),
        (lambda: JBU(4)(torch.randn(1, 4, 4, 4), torch.randn(1, 4, 9, 9)), ShapeError, "of the target size"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()

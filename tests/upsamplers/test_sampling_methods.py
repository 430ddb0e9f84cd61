"""DySample and SAPA-D against independent loops, at every target size."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from karaffe.errors import ArgumentError
from karaffe.upsamplers import DySample, SAPADeform


def read(x: Tensor, v: float, u: float, padding_mode: str) -> Tensor:
    """Bilinear value of ``x (C, H, W)`` at row v and column u, in pixels with integers at the centres."""
    height, width = x.shape[1:]
    if padding_mode == "replicate":
        v, u = min(max(v, 0), height - 1), min(max(u, 0), width - 1)
    r, c = math.floor(v), math.floor(u)
    total = torch.zeros(x.shape[0], dtype=x.dtype)
    for i, j in itertools.product((r, r + 1), (c, c + 1)):
        if 0 <= i < height and 0 <= j < width:
            total = total + (1 - abs(v - i)) * (1 - abs(u - j)) * x[:, i, j]
    return total


def parents(y: int, size: int, target: int, factor: int) -> tuple[int, int]:
    """The source pixel and sub-pixel whose prediction target y takes."""
    return divmod(y * size * factor // target, factor)


def dysample_loop(m: DySample, x: Tensor, target: tuple[int, int]) -> Tensor:
    s, groups = m.sub_pixels, m.groups
    if m.style == "lp":
        o = m.offset(x)
        o = o * 0.25 if m.scope is None else o * 0.5 * m.scope(x).sigmoid()
        o = o.unflatten(1, (2, groups, *s))
    else:
        high = F.pixel_shuffle(x, s[0])
        o = m.offset(high)
        o = o * 0.25 if m.scope is None else o * 0.5 * m.scope(high).sigmoid()
        o = F.pixel_unshuffle(o, s[0]).unflatten(1, (2, groups, *s))
    out = torch.zeros(*x.shape[:2], *target, dtype=x.dtype)
    per = x.shape[1] // groups
    for n, g, i, j in itertools.product(range(x.shape[0]), range(groups), *map(range, target)):
        (r, dy), (c, dx) = (
            parents(y, *a) for y, a in zip((i, j), zip(x.shape[2:], target, s, strict=True), strict=True)
        )
        v = (i + 0.5) * x.shape[2] / target[0] - 0.5 + o[n, 1, g, dy, dx, r, c].item()
        u = (j + 0.5) * x.shape[3] / target[1] - 0.5 + o[n, 0, g, dy, dx, r, c].item()
        block = slice(g * per, (g + 1) * per)
        out[n, block, i, j] = read(x[n, block], v, u, "replicate")
    return out


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 2},
        {"groups": 1, "scale_factor": 3, "dyscope": True},
        {"scale_factor": (2, 3), "groups": 4},
        {"style": "pl", "groups": 2},
        {"style": "pl", "dyscope": True, "scope_bias": True},
    ],
)
@pytest.mark.parametrize("target", [None, (7, 9), (11, 16), (3, 2)])
def test_dysample_against_the_loop(options, target):
    m = DySample(8, **options).double()
    for parameter in m.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    x = torch.randn(1, 8, 4, 5, dtype=torch.float64)
    target = target or tuple(s * n for s, n in zip(m.sub_pixels, (4, 5), strict=True))
    with torch.no_grad():
        torch.testing.assert_close(m(x, size=target), dysample_loop(m, x, target))


@pytest.mark.parametrize("target", [(8, 10), (9, 13), (40, 7), (5, 5)])
def test_dysample_starts_as_bilinear_at_every_size(target):
    x = torch.randn(1, 8, 4, 5)
    wanted = F.interpolate(x, size=target, mode="bilinear")
    torch.testing.assert_close(DySample(8, init="bilinear")(x, size=target), wanted, atol=1e-5, rtol=0)


def test_dysample_regular_places_are_a_buffer():
    m = DySample(8, 2, groups=1)
    assert m.init_pos.flatten().tolist() == [-0.25, 0.25, -0.25, 0.25, -0.25, -0.25, 0.25, 0.25]
    assert "init_pos" in m.state_dict()


def test_dysample_offsets_are_what_moves_the_targets():
    m = DySample(8, groups=2)
    torch.nn.init.normal_(m.offset.weight)
    x = torch.randn(1, 8, 4, 5)
    o = m.offsets(x)
    assert o.shape == (1, 2, 1, 2, 8, 10)
    still = DySample(8, init="bilinear")
    assert still.offsets(x).abs().max() < 1e-6
    v, u = 2.25 + o[0, 1, 0, 1, 5, 3].item(), 1.25 + o[0, 1, 0, 0, 5, 3].item()
    torch.testing.assert_close(m(x)[0, 4:, 5, 3], read(x[0, 4:], v, u, "replicate"))


def sapa_deform_loop(m: SAPADeform, x: Tensor, guide: Tensor) -> Tensor:
    q, k, s = m.q(m.norm_y(guide)), m.k(m.norm_x(x)), m.sub_pixels
    o = m.offset(m.norm_x(x)).unflatten(1, (m.groups, m.num_point, 2, *(s if m.high_offset else (1, 1))))
    out = torch.zeros(*x.shape[:2], *guide.shape[2:], dtype=x.dtype)
    per, width = x.shape[1] // m.groups, m.embedding_dim
    for n, g, i, j in itertools.product(range(x.shape[0]), range(m.groups), *map(range, guide.shape[2:])):
        (pr, dy), (pc, dx) = (
            parents(y, size, t, f) for y, size, t, f in zip((i, j), x.shape[2:], guide.shape[2:], s, strict=True)
        )
        if not m.high_offset:
            dy = dx = 0
        r, c = i * x.shape[2] // guide.shape[2], j * x.shape[3] // guide.shape[3]
        keys, values, logits = slice(g * width, (g + 1) * width), slice(g * per, (g + 1) * per), []
        places = [o[n, g, t, :, dy, dx, pr, pc].tolist() for t in range(m.num_point)]
        for du, dv in places:
            logits.append(q[n, keys, i, j] @ read(k[n, keys], r + dv, c + du, m.padding_mode))
        weights = torch.stack(logits).softmax(0)
        for weight, (du, dv) in zip(weights, places, strict=True):
            out[n, values, i, j] += weight * read(x[n, values], r + dv, c + du, m.padding_mode)
    return out


@pytest.mark.parametrize("options", [{}, {"high_offset": False, "padding_mode": "replicate"}, {"norm": "layer"}])
@pytest.mark.parametrize("target", [(8, 10), (7, 9)])
def test_sapa_deform_against_the_loop(options, target):
    m = SAPADeform(4, num_point=3, groups=2, embedding_dim=3, guide_channels=5, **options).double()
    for parameter in m.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    x, guide = torch.randn(1, 4, 4, 5, dtype=torch.float64), torch.randn(1, 5, *target, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(m(x, guide, size=target), sapa_deform_loop(m, x, guide))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DySample(6), "groups must divide the 6 channels"),
        (lambda: DySample(6, 2, "pl", 2), "4 must divide the channels; got channels=6"),
        (lambda: DySample(8, 1.5), "whole number"),
        (lambda: DySample(8, style="lq"), "style must be one of 'lp', 'pl'"),
        (lambda: DySample(8, 2, "pl", init="nearest"), "needs style='lp'"),
        (lambda: SAPADeform(8, groups=3), "groups must divide"),
        (lambda: SAPADeform(8, init="bilinear", high_offset=False), "needs high_offset=True"),
        (lambda: SAPADeform(8, norm="group"), "32 divides; got guide_channels=8"),
        (lambda: SAPADeform(8, padding_mode="reflect"), "padding_mode must be one of 'zeros', 'replicate'"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()

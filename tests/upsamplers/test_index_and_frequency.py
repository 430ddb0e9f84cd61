"""IndexNet's pair, FreqFusion's two maps, LDA-AQU at odd sizes: what recorded vectors do not show."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from test_sampling_methods import read
from torch import Tensor

from karaffe.errors import ArgumentError, ShapeError
from karaffe.upsamplers import LDAAQU, FreqFusion, IndexNet


def shaken(m: torch.nn.Module) -> torch.nn.Module:
    for parameter in m.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return m.double().eval()


@pytest.mark.parametrize("block", ["holistic", "o2o", "m2o"])
@pytest.mark.parametrize(("nonlinear", "context"), list(itertools.product([False, True], repeat=2)))
def test_a_pair_is_the_module_cut_in_two(block, nonlinear, context):
    m = shaken(IndexNet(6, 2, block, nonlinear, context))
    down, up = IndexNet.make_pair(6, block, nonlinear, context)
    down.double().eval().load_state_dict(m.state_dict(), strict=True)
    encoded, x = torch.randn(2, 6, 8, 10).double(), torch.randn(2, 6, 4, 5).double()
    pooled, indices = down(encoded)
    assert indices.shape[1] == (1 if block == "holistic" else 6)
    torch.testing.assert_close(up(x, indices), m(x, encoded))
    weights = indices.unflatten(2, (4, 2)).unflatten(4, (5, 2)).transpose(3, 4).flatten(4).softmax(-1)
    blocks = encoded.unflatten(2, (4, 2)).unflatten(4, (5, 2)).transpose(3, 4).flatten(4)
    torch.testing.assert_close(pooled, (weights * blocks).sum(-1))


def test_index_maps_against_the_loop():
    m = shaken(IndexNet(3, 2, "o2o", False, True))
    y = torch.randn(1, 3, 4, 6).double()
    padded = F.pad(y, (1, 1, 1, 1))
    for c, i, j, r, q in itertools.product(range(3), range(2), range(3), range(2), range(2)):
        weight = getattr(m, f"indexnet{2 * r + q + 1}")[0].weight[c, 0]
        logit = (weight * padded[0, c, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]).sum()
        torch.testing.assert_close(m.indices(y)[1][0, c, 2 * i + r, 2 * j + q], logit.sigmoid())


def windows(x: Tensor, y: int, c: int, radius: int) -> Tensor:
    """``(C, taps)``, zeros outside."""
    around = F.pad(x, [radius] * 4)
    return around[:, y : y + 2 * radius + 1, c : c + 2 * radius + 1].flatten(1)


def normed(logits: Tensor, window: Tensor) -> Tensor:
    weights = logits.exp() * window.flatten()
    return weights / weights.sum()


def test_windows_are_hamming():
    for size, window in ((5, FreqFusion(3).hamming_lowpass), (3, FreqFusion(3).hamming_highpass)):
        line = [0.54 - 0.46 * math.cos(2 * math.pi * i / (size - 1)) for i in range(size)]
        torch.testing.assert_close(window.flatten(), torch.tensor([a * b for a in line for b in line]))


@pytest.mark.parametrize("target", [(8, 10), (7, 9)])
def test_freqfusion_against_the_loop(target):
    m = shaken(FreqFusion(3, 2, compressed_channels=4, guide_channels=2))
    x, y = torch.randn(1, 3, 4, 5).double(), torch.randn(1, 2, *target).double()
    with torch.no_grad():
        low, high = m.lr_channel_compressor(x), m.hr_channel_compressor(y)
        detail, raised = m.content_encoder2(high)[0], torch.zeros_like(high)
        every = list(itertools.product(*map(range, target)))
        for i, j in every:
            raised[0, :, i, j] = 2 * high[0, :, i, j] - windows(high[0], i, j, 1) @ normed(
                detail[:, i, j], m.hamming_highpass
            )
        first, low5, low3 = m.content_encoder(raised)[0], m.content_encoder(low)[0], m.content_encoder2(low)[0]
        got_kernels, got_guide, got = m.fuse(x, y)
        torch.testing.assert_close(m(x, y, size=target), got)
        for i, j in every:
            a, b = i * 4 // target[0], j * 5 // target[1]
            logits = first[:, i, j] + windows(low5, a, b, 2) @ normed(first[:, i, j], m.hamming_lowpass)
            kernel = normed(logits, m.hamming_lowpass)
            torch.testing.assert_close(got_kernels[0, :, i, j], kernel)
            torch.testing.assert_close(got[0, :, i, j], windows(x[0], a, b, 2) @ kernel)
            sharp = normed(detail[:, i, j] + windows(low3, a, b, 2) @ kernel, m.hamming_highpass)
            wanted = 2 * y[0, :, i, j] - windows(y[0], i, j, 1) @ sharp
            torch.testing.assert_close(got_guide[0, :, i, j], wanted)


def test_the_sampler_begins_as_the_identity_unless_swept_as_released():
    x, y = torch.randn(1, 16, 4, 4), torch.randn(1, 16, 8, 8)
    moved = {}
    for swept in (False, True):
        m = FreqFusion(16, feature_resample=True, released_sweep=swept)
        still = FreqFusion(16)
        still.load_state_dict(m.state_dict(), strict=False)
        moved[swept] = (m(x, y) - still(x, y)).abs().max()
    assert 5 * moved[False] < moved[True]
    with pytest.raises(ArgumentError, match=r"cannot give \(7, 8\)"):
        m(x, y[:, :, :7], size=(7, 8))


@pytest.mark.parametrize("target", [(8, 10), (7, 9), (1, 1), (3, 12)])
@pytest.mark.parametrize("options", [{"heads": 2, "groups": 1}, {"padding_mode": "replicate"}])
def test_lda_aqu_against_the_loop(target, options):
    m = shaken(LDAAQU(8, 2, 2, offset_range=2.0, **options))
    x = torch.randn(1, 8, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        normal = m.layer_norm(x)
        query = F.interpolate(m.proj_q(normal), target, mode="bilinear", align_corners=True)
        key, h, g = m.proj_k(normal)[0], m.heads, m.groups
        shift = m.conv_offset(query.reshape(g, 4 // g, *target)).tanh() * m.offset_range
        pace = [(n - 1) / max(t - 1, 1) for n, t in zip((4, 5), target, strict=True)]
        got = m(x, size=target)
        for i, j in itertools.product(*map(range, target)):
            keys, values = [], []
            for t in range(9):
                parts = []
                for part in range(g):
                    v = (i + t // 3 - 1 + shift[part, 2 * t, i, j].item()) * pace[0]
                    u = (j + t % 3 - 1 + shift[part, 2 * t + 1, i, j].item()) * pace[1]
                    ends = (slice(part * 4 // g, (part + 1) * 4 // g), slice(part * 8 // g, (part + 1) * 8 // g))
                    parts.append([read(a[e], v, u, m.padding_mode) for a, e in zip((key, x[0]), ends, strict=True)])
                keys.append(torch.cat([p[0] for p in parts]))
                values.append(torch.cat([p[1] for p in parts]))
            q, k, v = query[0, :, i, j].view(h, -1), torch.stack(keys).view(9, h, -1), torch.stack(values)
            bias = m.relative_position_bias_table[0, :, 0].transpose(0, 1)
            weights = ((k + bias) * q * (4 / h) ** -0.5).sum(2).softmax(0)
            wanted = (weights[:, :, None] * v.view(9, h, -1)).sum(0).flatten()
            torch.testing.assert_close(got[0, :, i, j], wanted)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: IndexNet(8, 4), ArgumentError, "scale_factor must be 2 for IndexNet"),
        (lambda: IndexNet(8, block="hin"), ArgumentError, "block must be one of 'holistic', 'o2o', 'm2o'"),
        (lambda: IndexNet.make_pair(8, "hin"), ArgumentError, "block must be one of"),
        (lambda: IndexNet(8, guide_channels=4), ArgumentError, "guide_channels must be channels=8"),
        (lambda: IndexNet.make_pair(8)[0](torch.randn(1, 8, 5, 6)), ShapeError, "even H and W"),
        (lambda: FreqFusion(8, 1.5, feature_resample=True), ArgumentError, "whole number"),
        (lambda: FreqFusion(8, (2, 3), feature_resample=True), ArgumentError, "one factor for both axes"),
        (lambda: FreqFusion(6, feature_resample=True), ArgumentError, "resample_groups must divide"),
        (lambda: FreqFusion(8, 2, 5, 3, 12, feature_resample=True), ArgumentError, "a multiple of 8"),
        (lambda: FreqFusion(8, padding_mode="mask"), ArgumentError, "padding_mode must be one of"),
        (lambda: FreqFusion(8).fuse(torch.randn(1, 8, 4, 4), torch.randn(1, 4, 8, 8)), ShapeError, "the guide of Fre"),
        (lambda: LDAAQU(9), ArgumentError, "reduction must divide the 9 channels"),
        (lambda: LDAAQU(16, groups=3), ArgumentError, "groups must divide the 4 channels"),
        (lambda: LDAAQU(16, up_kernel=2), ArgumentError, "up_kernel must be odd"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()

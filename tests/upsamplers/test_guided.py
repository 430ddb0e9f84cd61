"""SAPA and FADE against independent loops; max-unpooling against its pooling."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from karaffe.errors import ArgumentError, DtypeError, ShapeError
from karaffe.upsamplers import FADE, SAPA, FADELite, MaxUnpool


def shake(m: torch.nn.Module) -> torch.nn.Module:
    for parameter in m.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return m.double()


def tap(x: Tensor, r: int, c: int, padding_mode: str) -> Tensor | None:
    height, width = x.shape[2:]
    if padding_mode == "replicate":
        r, c = min(max(r, 0), height - 1), min(max(c, 0), width - 1)
    return x[:, :, r, c] if 0 <= r < height and 0 <= c < width else None


def layer_norm(x: Tensor, norm: torch.nn.Module) -> Tensor:
    mean = x.mean(1, keepdim=True)
    spread = ((x - mean) ** 2).mean(1, keepdim=True) + 1e-5
    return (x - mean) / spread.sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


def project(x: Tensor, layer: torch.nn.Module) -> Tensor:
    y = torch.einsum("ec,nchw->nehw", layer.weight[:, :, 0, 0], x)
    return y if layer.bias is None else y + layer.bias[:, None, None]


def sapa_loop(m: SAPA, x: Tensor, guide: Tensor) -> Tensor:
    normed = m.norm == "layer"
    k = project(layer_norm(x, m.norm_x) if normed else x, m.k)
    q = project(layer_norm(guide, m.norm_y) if normed else guide, m.q)
    out = torch.zeros(*x.shape[:2], *guide.shape[2:], dtype=x.dtype)
    radius = m.up_kernel // 2
    for i, j in itertools.product(*map(range, guide.shape[2:])):
        r, c = i * x.shape[2] // guide.shape[2], j * x.shape[3] // guide.shape[3]
        window = list(itertools.product(range(r - radius, r + radius + 1), range(c - radius, c + radius + 1)))
        keys = [tap(k, *p, m.padding_mode) for p in window]
        values = [tap(x, *p, m.padding_mode) for p in window]
        logits = [torch.zeros(x.shape[0]).double() if key is None else (key * q[:, :, i, j]).sum(1) for key in keys]
        if m.padding_mode == "mask":
            logits = [logit if key is not None else logit - torch.inf for logit, key in zip(logits, keys, strict=True)]
        weights = torch.stack(logits).softmax(0)
        for weight, value in zip(weights, values, strict=True):
            if value is not None:
                out[:, :, i, j] += weight[:, None] * value
    return out


@pytest.mark.parametrize("target", [(8, 10), (7, 9), (13, 5)])
@pytest.mark.parametrize("padding_mode", ["zeros", "mask", "replicate"])
@pytest.mark.parametrize("norm", ["layer", "none"])
def test_sapa_against_the_loop(target, padding_mode, norm):
    m = shake(SAPA(4, 2, 3, 5, guide_channels=3, padding_mode=padding_mode, norm=norm, qkv_bias=norm == "layer"))
    x, guide = torch.randn(2, 4, 4, 5, dtype=torch.float64), torch.randn(2, 3, *target, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(m(x, guide, size=target), sapa_loop(m, x, guide))


def fade_loop(m: FADE, x: Tensor, guide: Tensor) -> Tensor:
    generator = m.ker_generator
    e, d = project(guide, generator.compressor_en), project(x, generator.compressor_de)
    encoder = generator.content_encoder
    both = [F.conv2d(v, encoder.weight, encoder.bias, padding=1, groups=encoder.groups) for v in (e, d)]
    out = torch.zeros(*x.shape[:2], *guide.shape[2:], dtype=x.dtype)
    radius = m.up_kernel // 2
    for i, j in itertools.product(*map(range, guide.shape[2:])):
        r, c = i * x.shape[2] // guide.shape[2], j * x.shape[3] // guide.shape[3]
        kernel = (both[0][:, :, i, j] + both[1][:, :, r, c]).softmax(1)
        window = itertools.product(range(r - radius, r + radius + 1), range(c - radius, c + radius + 1))
        for t, p in enumerate(window):
            value = tap(x, *p, m.padding_mode)
            if value is not None:
                out[:, :, i, j] += kernel[:, t, None] * value
        if m.gate_generator is not None:
            gate = project(x[:, :, r : r + 1, c : c + 1], m.gate_generator.conv).sigmoid()[:, :, 0, 0]
            out[:, :, i, j] = gate * guide[:, :, i, j] + (1 - gate) * out[:, :, i, j]
    return out


@pytest.mark.parametrize("target", [(8, 10), (7, 9), (12, 6)])
@pytest.mark.parametrize("cls", [FADE, FADELite])
@pytest.mark.parametrize("options", [{}, {"gating": False, "guide_channels": 3, "padding_mode": "replicate"}])
def test_fade_against_the_loop(cls, target, options):
    m = shake(cls(4, 2, 3, **options))
    x = torch.randn(2, 4, 4, 5, dtype=torch.float64)
    guide = torch.randn(2, options.get("guide_channels", 4), *target, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(m(x, guide, size=target), fade_loop(m, x, guide))


@pytest.mark.parametrize("make", [lambda: SAPA(4, norm="none"), lambda: FADE(4), lambda: FADELite(4)])
def test_kernels_are_those_of_the_call(make):
    m = make()
    x, guide = torch.randn(1, 4, 4, 5), torch.randn(1, 4, 8, 10)
    kernels = m.kernels(x, guide)
    assert kernels.shape == (1, 1, 25, 8, 10)
    torch.testing.assert_close(kernels.sum(2), torch.ones(1, 1, 8, 10))
    windows = F.unfold(x, 5, padding=2).view(1, 4, 25, 4, 5).repeat_interleave(2, 3).repeat_interleave(2, 4)
    y = (windows * kernels).sum(2)
    if getattr(m, "gate_generator", None) is not None:
        gate = m.gate_generator(x, (8, 10))
        y = gate * guide + (1 - gate) * y
    torch.testing.assert_close(m(x, guide), y)


@pytest.mark.parametrize(("dims", "size"), [(1, (7,)), (2, (6, 9)), (3, (4, 5, 6))])
def test_max_unpooling_undoes_its_pooling(dims, size):
    down, up = MaxUnpool.make_pair(3, 2, dims=dims)
    x = torch.rand(2, 3, *size) + 1
    pooled, indices = down(x)
    y = up(pooled, indices, size=size)
    assert y.shape == x.shape
    torch.testing.assert_close(y.flatten(2).gather(2, indices.flatten(2)), pooled.flatten(2))
    assert (y != 0).sum() == pooled.numel()
    assert torch.equal(y[y != 0], x[y != 0])


def test_max_unpooling_needs_indices():
    down, up = MaxUnpool.make_pair(3)
    pooled, indices = down(torch.randn(1, 3, 8, 8))
    for wrong, error, message in (
        (None, ShapeError, "needs the pooling's indices"),
        (indices[:, :2], ShapeError, "must be of x's shape"),
        (indices.float(), DtypeError, "int64"),
    ):
        with pytest.raises(error, match=message):
            up(pooled, wrong)
    with pytest.raises(ArgumentError, match="accepted an axis: 8 to 9, 8 to 9"):
        up(pooled, indices, size=10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SAPA(8), "32 divides; got guide_channels=8; norm='layer' and norm='none' take any"),
        (lambda: SAPA(32, norm="batch"), "norm must be one of"),
        (lambda: FADE(8, guide_channels=4), "guide_channels must be channels=8; got guide_channels=4"),
        (lambda: FADE(8, padding_mode="mask"), "padding_mode must be one of"),
        (lambda: MaxUnpool(8, 1.5), "whole number"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()

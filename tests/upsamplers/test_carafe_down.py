"""CARAFE++ downwards against an independent loop."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from karaffe.errors import ArgumentError
from karaffe.upsamplers import CARAFEDown


def carafe_down_loop(m: CARAFEDown, x: Tensor) -> Tensor:
    """Target p pools the window around source pixel s * p with the softmax of the encoder's logits at s * p."""
    encoder, k, groups = m.content_encoder, m.down_kernel, m.down_group
    compressed = F.conv2d(x, m.channel_compressor.weight, m.channel_compressor.bias)
    logits = F.conv2d(compressed, encoder.weight, encoder.bias, padding=encoder.kernel_size[0] // 2)
    n, c, height, width = x.shape
    (sy, sx) = m.stride
    out = torch.zeros(n, c, -(-height // sy), -(-width // sx), dtype=x.dtype)
    for p in itertools.product(range(out.shape[2]), range(out.shape[3])):
        for g in range(groups):
            kernel = logits[:, g * k * k : (g + 1) * k * k, p[0] * sy, p[1] * sx].softmax(1)
            block = slice(g * c // groups, (g + 1) * c // groups)
            for t, (a, b) in enumerate(itertools.product(range(k), repeat=2)):
                r, q = p[0] * sy + a - k // 2, p[1] * sx + b - k // 2
                if m.padding_mode == "replicate":
                    r, q = min(max(r, 0), height - 1), min(max(q, 0), width - 1)
                if 0 <= r < height and 0 <= q < width:
                    out[:, block, p[0], p[1]] += kernel[:, t, None] * x[:, block, r, q]
    return out


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 2)])
@pytest.mark.parametrize("options", [{}, {"scale_factor": 3, "down_group": 2}, {"scale_factor": (1, 4)}])
def test_against_the_loop(size, padding_mode, options):
    m = CARAFEDown(4, **options, down_kernel=3, compressed_channels=3, padding_mode=padding_mode).double()
    nn.init.normal_(m.content_encoder.weight)
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(m(x).detach(), carafe_down_loop(m, x).detach())


def test_takes_the_place_of_strided_layers():
    x = torch.randn(1, 8, 15, 22)
    assert CARAFEDown(8)(x).shape == nn.Conv2d(8, 8, 3, 2, 1)(x).shape == nn.MaxPool2d(3, 2, 1)(x).shape


def test_bilinear_start_is_mean_pooling():
    x = torch.randn(1, 8, 8, 10)
    m = CARAFEDown(8, init="bilinear", init_floor=1e-8)
    torch.testing.assert_close(m(x), F.avg_pool2d(x, 2), atol=1e-5, rtol=0)


def test_other_targets_are_refused():
    m = CARAFEDown(8)
    x = torch.randn(1, 8, 7, 8)
    assert m(x, size=(4, 4)).shape == (1, 8, 4, 4)
    with pytest.raises(ArgumentError, match=r"cannot give \(3, 4\) from \(7, 8\); accepted an axis: 4, 4"):
        m(x, size=(3, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"down_kernel": 4}, "down_kernel must be odd"),
        ({"down_kernel": 3, "scale_factor": 4, "init": "bilinear"}, "at least 5 taps"),
        ({"scale_factor": 0.5}, "whole number"),
        ({"padding_mode": "reflect"}, "padding_mode must be one of"),
        ({"init_floor": 1.0}, "init_floor must be between"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        CARAFEDown(8, **options)

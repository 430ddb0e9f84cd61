"""CARAFE against an independent loop, at every target size, and its starts."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from karaffe.errors import ArgumentError, ShapeError
from karaffe.upsamplers import CARAFE, CARAFEPack


def carafe_loop(m: CARAFE, x: Tensor, target: tuple[int, int]) -> Tensor:
    """Equations 1 to 4 of the paper one target at a time: kernel floor(y*s*H/H'), window at floor(y*H/H')."""
    logits = F.conv2d(x, m.channel_compressor.weight, m.channel_compressor.bias)
    logits = F.conv2d(
        logits,
        m.content_encoder.weight,
        m.content_encoder.bias,
        padding=m.encoder_dilation * (m.encoder_kernel // 2),
        dilation=m.encoder_dilation,
    )
    n, c, *sizes = x.shape
    k, groups, factors = m.up_kernel, m.up_group, m.sub_pixels
    out = torch.zeros(n, c, *target, dtype=x.dtype)
    for y in itertools.product(*map(range, target)):
        index = [math.floor(v * s * size / t) for v, s, size, t in zip(y, factors, sizes, target, strict=True)]
        centre = [math.floor(v * size / t) for v, size, t in zip(y, sizes, target, strict=True)]
        parent = [i // s for i, s in zip(index, factors, strict=True)]
        phase = (index[0] % factors[0]) * factors[1] + index[1] % factors[1]
        for g in range(groups):
            channels = [(g * k * k + t) * math.prod(factors) + phase for t in range(k * k)]
            kernel = logits[:, channels, parent[0], parent[1]].softmax(1)
            block = slice(g * c // groups, (g + 1) * c // groups)
            for t, (a, b) in enumerate(itertools.product(range(k), repeat=2)):
                r, q = centre[0] + a - k // 2, centre[1] + b - k // 2
                if m.padding_mode == "replicate":
                    r, q = min(max(r, 0), sizes[0] - 1), min(max(q, 0), sizes[1] - 1)
                if 0 <= r < sizes[0] and 0 <= q < sizes[1]:
                    out[:, block, y[0], y[1]] += kernel[:, t, None] * x[:, block, r, q]
    return out


def random_carafe(*args: object, **options: object) -> CARAFE:
    m = CARAFE(*args, **options).double()
    torch.nn.init.normal_(m.content_encoder.weight, std=0.3)
    torch.nn.init.normal_(m.content_encoder.bias)
    return m


@pytest.mark.parametrize("height", range(3, 34))
def test_every_target_size(height):
    m = random_carafe(2, 2, 3, compressed_channels=3, padding_mode=("zeros", "replicate")[height % 2])
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64)
    target = (height, 36 - height)
    torch.testing.assert_close(m(x, size=target).detach(), carafe_loop(m, x, target).detach())


@pytest.mark.parametrize(("h", "target"), [(h, t) for h in (3, 4, 7, 16, 33) for t in (2 * h - 1, 2 * h)])
def test_odd_laterals_are_the_even_result_cropped(h, target):
    m = random_carafe(4, compressed_channels=3)
    x = torch.randn(1, 4, h, 5, dtype=torch.float64)
    torch.testing.assert_close(m(x, size=(target, 10)), m(x)[:, :, :target], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"up_kernel": 5, "up_group": 2},
        {"scale_factor": 3, "up_kernel": 3, "encoder_kernel": 5},
        {"scale_factor": (3, 2), "encoder_dilation": 2},
        {"scale_factor": 1, "up_kernel": 7, "up_group": 4},
    ],
)
def test_options_against_the_loop(options):
    m = random_carafe(4, **options, compressed_channels=3)
    x = torch.randn(2, 4, 4, 5, dtype=torch.float64)
    target = tuple(s * n for s, n in zip(m.sub_pixels, (4, 5), strict=True))
    torch.testing.assert_close(m(x).detach(), carafe_loop(m, x, target).detach())


def test_a_fractional_factor_is_its_ceiling_read_at_another_size():
    m = random_carafe(4, 1.5, compressed_channels=3)
    x = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    assert m(x).shape == (1, 4, 7, 9)
    torch.testing.assert_close(m(x).detach(), carafe_loop(m, x, (7, 9)).detach())


@pytest.mark.parametrize("init", ["bilinear", "nearest"])
@pytest.mark.parametrize("factor", [2, 3, 4, 8, (2, 3)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_starts_as_interpolation_borders_included(init, factor, kernel):
    x = torch.randn(2, 8, 13, 17)
    wanted = F.interpolate(x, scale_factor=factor, mode=init)
    for floor, allowed in ((1e-8, 1e-5), (None, 2e-3)):
        options = {} if floor is None else {"init_floor": floor}
        got = CARAFE(8, factor, kernel, init=init, **options)(x)
        assert (got - wanted).abs().max() < allowed


def test_masked_borders_start_as_interpolation_too():
    x = torch.randn(1, 8, 6, 7)
    m = CARAFE(8, init="bilinear", padding_mode="mask", init_floor=1e-8)
    torch.testing.assert_close(m(x), F.interpolate(x, scale_factor=2, mode="bilinear"), atol=1e-5, rtol=0)


def test_zeros_would_break_the_start_at_the_border():
    x = torch.ones(1, 8, 6, 7)
    assert CARAFE(8, init="bilinear", padding_mode="zeros")(x)[..., 0, 0].max() < 0.6


def test_the_floor_keeps_empty_taps_learnable():
    """The target needs a tap that bilinear leaves empty: the source moved by one pixel."""
    m = CARAFE(4, 2, 3, init="bilinear", compressed_channels=4)
    optimizer = torch.optim.Adam(m.parameters(), 5e-2)
    x = torch.randn(2, 4, 8, 8)
    wanted = F.interpolate(x.roll(1, 3), scale_factor=2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (m(x) - wanted)[..., 4:-4].pow(2).mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.02


def test_paper_start_is_a_box_of_zero_padded_windows():
    x = torch.randn(1, 8, 6, 7)
    box = F.interpolate(F.avg_pool2d(x, 5, 1, 2), scale_factor=2)
    assert (CARAFE(8)(x) - box).abs().max() < 0.05


def test_names_and_order_are_mmcvs():
    assert CARAFEPack is CARAFE
    m = CARAFEPack(16, 2, 5, 2, 3, 1, 32)
    shapes = {k: tuple(v.shape) for k, v in m.state_dict().items()}
    assert shapes == {
        "channel_compressor.weight": (32, 16, 1, 1),
        "channel_compressor.bias": (32,),
        "content_encoder.weight": (200, 32, 3, 3),
        "content_encoder.bias": (200,),
    }
    m.init_weights()


def test_global_initialisation_can_be_undone():
    m = CARAFE(8, init="bilinear")
    wanted = m.content_encoder.bias.clone()
    torch.nn.init.ones_(m.content_encoder.bias)
    m.init_weights()
    assert torch.equal(m.content_encoder.bias, wanted)


@pytest.mark.parametrize("normalizer", ["sigmoid", "sigmoid_norm"])
def test_normalisers_of_the_ablation(normalizer):
    m = random_carafe(2, 2, 3, compressed_channels=3, normalizer=normalizer)
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    kernels = F.pixel_shuffle(m.kernel_logits(x), 2).sigmoid()
    if normalizer == "sigmoid_norm":
        kernels = kernels / kernels.sum(1, keepdim=True)
    windows = F.unfold(x, 3, padding=1).view(1, 2, 9, 3, 3).repeat_interleave(2, 3).repeat_interleave(2, 4)
    torch.testing.assert_close(m(x), (windows * kernels[:, None]).sum(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"up_kernel": 4}, "up_kernel must be odd"),
        ({"up_kernel": 0}, "up_kernel must be a positive int"),
        ({"up_kernel": 1, "init": "bilinear"}, "at least 3 taps"),
        ({"up_group": 3}, "up_group must divide the 8 channels"),
        ({"encoder_kernel": 2}, "encoder_kernel must be odd"),
        ({"compressed_channels": 0}, "compressed_channels must be a positive int"),
        ({"scale_factor": 0}, "scale_factor must be a positive number"),
        ({"scale_factor": (2, 2, 2)}, "2 of them, one an axis"),
        ({"init": "linear"}, "init must be one of 'paper', 'bilinear', 'nearest'; got init='linear'"),
        ({"init_floor": 0}, "init_floor must be between 0 and 1"),
        ({"padding_mode": "wrap"}, "padding_mode must be one of"),
        ({"normalizer": "relu"}, "normalizer must be one of"),
        ({"norm": "layer"}, "norm must be True or False"),
        ({"normalizer": "sigmoid", "init": "nearest"}, "needs normalizer='softmax'"),
        ({"dims": 4}, "dims must be 1, 2 or 3"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        CARAFE(8, **options)


def test_wrong_calls():
    m = CARAFE(8)
    with pytest.raises(ShapeError, match="x must have the 8 channels"):
        m(torch.randn(1, 4, 5, 5))
    with pytest.raises(ShapeError, match="2 spatial axes"):
        m(torch.randn(1, 8, 5))
    with pytest.raises(ArgumentError, match="size must be a positive int, or 2 of them"):
        m(torch.randn(1, 8, 5, 5), size=(3, 0))

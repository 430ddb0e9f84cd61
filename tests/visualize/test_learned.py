"""What is drawn of predicted kernels and offsets, and the numbers behind it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from karaffe.errors import ArgumentError, ShapeError
from karaffe.models import create_model
from karaffe.upsamplers import CARAFE, FADE, SAPA, Bilinear, CARAFEDown, DySample, SAPADeform
from karaffe.visualize import importance, kernels, measure_importance, offsets
from karaffe.visualize.learned import MARK, as_input, picture, predicted_kernels


def test_importance_of_known_kernels():
    one, equal = torch.zeros(1, 1, 9, 1, 1), torch.full((1, 1, 9, 1, 1), 1 / 9)
    one[:, :, 4] = 1
    beside = one.roll(1, 2)
    measured = measure_importance(torch.cat([one, equal, beside], 3))
    torch.testing.assert_close(measured.entropy, torch.tensor([[0.0], [1.0], [0.0]]).double())
    torch.testing.assert_close(measured.off_centre, torch.tensor([[0.0], [8 / 9], [1.0]]).double())


def test_importance_takes_signs_and_scale_away():
    k = torch.tensor([0.5, -0.25, 0.25]).view(1, 1, 3, 1)
    measured = measure_importance(7 * k)
    wanted = (0.5 * math.log(2) + 2 * 0.25 * math.log(4)) / math.log(3)
    assert measured.entropy.item() == pytest.approx(wanted)
    assert measured.off_centre.item() == pytest.approx(0.75)


def test_kernels_of_the_network_are_those_it_applies():
    network = create_model("sharp", 2, pretrained=False).double()
    torch.nn.init.normal_(network.head.weight, std=0.1)
    x = torch.rand(1, 3, 6, 7, dtype=torch.float64)
    weights = predicted_kernels(network, x).double()
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
    windows = torch.nn.functional.unfold(padded, 5).view(1, 3, 25, 6, 7).repeat_interleave(2, 3).repeat_interleave(2, 4)
    torch.testing.assert_close((windows * weights).sum(2), network(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["sharp", "faithful"])
def test_a_map_in_strips_is_the_map_of_the_whole(name, monkeypatch):
    from karaffe.visualize import importance_map, maps

    network = create_model(name, 2, pretrained=False).eval()
    torch.nn.init.normal_(network.head.weight, std=0.1)
    image = np.random.default_rng(0).integers(0, 256, (23, 17, 3)).astype(np.uint8)
    whole = importance_map(network, image)
    measured = measure_importance(predicted_kernels(network, as_input(network, image)))
    pooled = torch.nn.functional.avg_pool2d(torch.stack([measured.entropy, measured.off_centre]), 2)
    np.testing.assert_allclose(whole, pooled.permute(1, 2, 0).numpy(), atol=1e-6)
    monkeypatch.setattr(maps, "_STRIP_BYTES", 5 * 4 * 17 * 25 * 4)
    np.testing.assert_allclose(importance_map(network, image), whole, atol=1e-5)


MODULES = [
    (lambda: CARAFE(3, up_group=3), None),
    (lambda: CARAFEDown(3), None),
    (lambda: SAPA(3, norm="none"), (1, 3, 16, 20)),
    (lambda: FADE(3), (1, 3, 16, 20)),
    (lambda: create_model("sharp", 2), None),
]


@pytest.mark.parametrize(("make", "guide"), MODULES)
def test_figures_of_kernels(make, guide):
    image = np.random.default_rng(0).random((8, 10, 3)).astype(np.float32)
    guide = None if guide is None else torch.randn(guide)
    one = kernels(make(), image, (1, 2), guide=guide)
    two = kernels(make(), image, [(1, 2), (3, 4)], guide=guide)
    assert (two.width, two.height) == (one.width, 2 * one.height)
    assert MARK in {colour for _, colour in one.getcolors(1 << 24)}
    assert importance(make(), image, guide=guide).width > 900


def test_the_drawn_kernel_is_the_predicted_one():
    """A kernel that is one on the tap above the centre is one bright cell in the drawing, above the framed one."""
    module = CARAFE(1, up_kernel=3)
    torch.nn.init.zeros_(module.content_encoder.weight)
    module.content_encoder.bias.data.copy_(torch.where(torch.arange(36) // 4 == 1, 50.0, 0.0))
    drawn = np.asarray(kernels(module, np.zeros((4, 4)), (3, 3))).astype(int)
    cell = 160 // 3
    top, left = 14 + 20, drawn.shape[1] - 14 - max(3 * cell, 0)
    middle = [
        [drawn[top + r * cell + cell // 2, left + c * cell + cell // 2].sum() for c in range(3)] for r in range(3)
    ]
    assert np.argmax(middle) == 1


@pytest.mark.parametrize("make", [lambda: DySample(4, groups=2), lambda: SAPADeform(4, groups=2)])
def test_figures_of_offsets(make):
    x = torch.randn(4, 8, 10)
    assert offsets(make(), x).size == offsets(make(), x, at=(15, 19)).size
    assert MARK in {colour for _, colour in offsets(make(), x, at=(0, 0)).getcolors(1 << 24)}


def test_maps_of_features_are_stretched_and_images_are_not():
    assert picture(torch.full((1, 3, 2, 2), 0.5)).tolist() == [[[128] * 3] * 2] * 2
    stretched = picture(torch.arange(8.0).view(1, 2, 2, 2))
    assert (stretched.min(), stretched.max()) == (0, 255)
    assert as_input(CARAFE(3), np.full((4, 5, 3), 255, np.uint8)).max() == 1


def test_wrong_arguments():
    module, image = CARAFE(3), np.zeros((8, 10, 3))
    with pytest.raises(ArgumentError, match=r"within the 16 x 20 targets; got \(16, 0\)"):
        kernels(module, image, (16, 0))
    with pytest.raises(ArgumentError, match="Bilinear predicts no kernels"):
        importance(Bilinear(), image)
    with pytest.raises(ArgumentError, match="CARAFE predicts no offsets"):
        offsets(module, image)
    with pytest.raises(ArgumentError, match=r"within the 16 x 20 targets; got \(0, -1\)"):
        offsets(DySample(4), torch.randn(4, 8, 10), at=(0, -1))
    with pytest.raises(ShapeError, match=r"image must be \(C, H, W\)"):
        importance(module, torch.randn(2, 3, 8, 8))
    with pytest.raises(ShapeError, match="array or a tensor; got str"):
        importance(module, "cat.png")
    with pytest.raises(ShapeError, match="at least two taps"):
        measure_importance(torch.ones(1, 1, 1, 4, 4))

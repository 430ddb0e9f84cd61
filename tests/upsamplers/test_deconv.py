"""Learned, content-blind methods against their formulas, evaluated by hand with all channels."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from karaffe.errors import ArgumentError
from karaffe.upsamplers import Deconv, PixelShuffle, ResizeConv


@pytest.mark.filterwarnings("ignore:kernel_size")
@pytest.mark.parametrize(("s", "k"), [(1, 1), (1, 3), (2, 2), (2, 3), (2, 4), (3, 3), (3, 5), (3, 6)])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_formula(s, k, groups):
    m = Deconv(4, s, k, groups).double()
    x = torch.randn(2, 4, 3, 4, dtype=torch.float64)
    y = m(x)
    p, per = (k - s + 1) // 2, 4 // groups
    for i, j in itertools.product(range(s * 3), range(s * 4)):
        wanted = m.bias.detach().repeat(2, 1)
        for r, c in itertools.product(range(3), range(4)):
            a, b = i - s * r + p, j - s * c + p
            if 0 <= a < k and 0 <= b < k:
                for g in range(groups):
                    block = slice(g * per, (g + 1) * per)
                    wanted[:, block] = wanted[:, block] + x[:, block, r, c] @ m.weight.detach()[block, :, a, b]
        torch.testing.assert_close(y[:, :, i, j].detach(), wanted)


def test_transposed_convolution_takes_torchs_weights():
    theirs = nn.ConvTranspose2d(6, 6, 4, 2, 1)
    ours = Deconv(6)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 6, 5, 4)
    torch.testing.assert_close(ours(x), theirs(x))


def test_uneven_overlap_warns_and_even_does_not():
    with pytest.warns(UserWarning, match=r"kernel_size=\(3, 3\).*checkerboard"):
        Deconv(4, 2, 3)
    Deconv(4, 2, 4)
    Deconv(4, 3)


def test_the_warning_is_deserved():
    """With all-ones weights, uneven overlap draws a checkerboard on a constant map and even overlap does not."""
    with pytest.warns(UserWarning, match="checkerboard"):
        uneven = Deconv(1, 2, 3, bias=False)
    for m, flat in ((uneven, False), (Deconv(1, 2, 4, bias=False), True)):
        nn.init.ones_(m.weight)
        inside = m(torch.ones(1, 1, 8, 8))[..., 4:-4, 4:-4]
        assert (inside.max() == inside.min()) == flat


def test_sub_pixel_convolution_formula():
    m = PixelShuffle(3, (2, 3)).double()
    nn.init.normal_(m.upsample_conv.weight)
    nn.init.normal_(m.upsample_conv.bias)
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    y, channels = m(x), m.upsample_conv(x)
    for c, i, j in itertools.product(range(3), range(8), range(15)):
        assert torch.equal(y[0, c, i, j], channels[0, c * 6 + i % 2 * 3 + j % 3, i // 2, j // 3])


def test_icnr_starts_without_a_checkerboard():
    y = PixelShuffle(4, 3)(torch.randn(1, 4, 5, 5))
    torch.testing.assert_close(y, F.interpolate(y[..., ::3, ::3], scale_factor=3))
    assert y.std() > 0.1


def test_blur_is_the_mean_of_a_window():
    m = PixelShuffle(2, 2, blur=True)
    nn.init.normal_(m.upsample_conv.weight)
    x = torch.randn(1, 2, 4, 5)
    sharp = PixelShuffle(2, 2)
    sharp.load_state_dict(m.state_dict())
    y, z = m(x), sharp(x)
    for i, j in itertools.product(range(8), range(10)):
        rows, columns = [max(i - 1, 0), i], [max(j - 1, 0), j]
        torch.testing.assert_close(y[..., i, j], z[:, :, rows][..., columns].mean((2, 3)))


def test_resize_convolution_is_both():
    m = ResizeConv(4, 2.5, mode="bilinear")
    x = torch.randn(1, 4, 4, 6)
    up = F.interpolate(x, size=(10, 15), mode="bilinear")
    torch.testing.assert_close(m(x), F.conv2d(up, m.conv.weight, m.conv.bias, padding=1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Deconv(4, 3, 2), r"kernel_size must be at least scale_factor=\(3, 3\)"),
        (lambda: Deconv(4, 2, 2, init="bilinear"), "does not fit a kernel of 2 taps"),
        (lambda: Deconv(4, 1.5), "whole number"),
        (lambda: Deconv(4, groups=3), "groups must divide the 4 channels"),
        (lambda: Deconv(4, padding_mode="mirror"), "padding_mode must be one of 'zeros', 'replicate'"),
        (lambda: PixelShuffle(4, blur=True, init="nearest"), "blur=True would undo"),
        (lambda: PixelShuffle(4, 2, 1, init="bilinear"), "at least 3 taps"),
        (lambda: PixelShuffle(4, 2, 4), "kernel_size must be odd"),
        (lambda: ResizeConv(4, mode="nearest", init="bilinear"), "needs mode='bilinear'"),
        (lambda: ResizeConv(4, mode="cubic"), "mode must be one of"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()

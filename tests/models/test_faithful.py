"""What `faithful` promises for any weights: no value leaves the range of its window."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from karaffe.models import Faithful, Interpolation


def hostile(scale: int, seed: int, **options: int) -> Faithful:
    """A network whose kernels are anything but smooth."""
    torch.manual_seed(seed)
    model = Faithful(scale, **options).eval().requires_grad_(False)
    model.head.weight.normal_(0, 3)
    model.head.bias.normal_(0, 10)
    return model


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(2, 4),
    st.sampled_from([5, 7]),
    st.sampled_from(["uniform", "binary", "spike", "large"]),
    st.integers(0, 2**31),
)
def test_every_value_lies_in_the_range_of_its_window(
    height: int, width: int, scale: int, kernel_size: int, kind: str, seed: int
) -> None:
    model = hostile(scale, seed, kernel_size=kernel_size)
    x = torch.rand(2, 3, height, width)
    if kind == "binary":
        x = x.round()
    elif kind == "spike":
        x = (x > 0.97).float() * 1000
    elif kind == "large":
        x = (x - 0.5) * 1e6
    radius = kernel_size // 2
    assert model.window_radius == radius
    padded = F.pad(x, (radius,) * 4, mode="replicate")
    high = F.max_pool2d(padded, kernel_size, 1).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    low = -F.max_pool2d(-padded, kernel_size, 1).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    y, rounding = model(x), 1e-6 * float(x.abs().max())
    assert (y <= high + rounding).all()
    assert (y >= low - rounding).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_untrained_it_is_near_bilinear(scale: int) -> None:
    x = torch.rand(1, 3, 9, 8)
    y = Faithful(scale)(x)
    assert (y - Interpolation("bilinear", scale)(x)).abs().max() < 0.03


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_kernels_are_convex_and_follow_the_picture(scale: int) -> None:
    model = hostile(scale, 1)
    kernels = model.kernels(torch.rand(1, 1, 6, 7)).unflatten(1, (scale**2, -1))
    assert (kernels >= 0).all()
    torch.testing.assert_close(kernels.sum(2), torch.ones(1, scale**2, 6, 7))
    assert kernels.std((3, 4)).max() > 0.1


def test_brightness_passes_through() -> None:
    model, x = hostile(2, 2).double(), torch.rand(1, 3, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(model(x + 0.2), model(x) + 0.2, atol=1e-6, rtol=0)

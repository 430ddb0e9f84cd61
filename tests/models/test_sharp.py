"""What `sharp` promises for any weights: unit sum, brightness, one set of kernels for all channels, a true halo."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.models import Interpolation, Sharp, SuperResolver, create_model, list_models
from karaffe.models.kernels import reassemble_subpixels
from karaffe.ops import use_backend


def random_sharp(scale: int, **options: int) -> Sharp:
    """A network whose kernels are far from bicubic, in float64."""
    model = Sharp(scale, **options).double().eval()
    with torch.no_grad():
        model.head.weight.normal_(0, 0.1)
        model.head.bias.normal_(0, 0.1)
    return model.requires_grad_(False)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kernel_size", [5, 7])
def test_untrained_it_is_bicubic(scale: int, kernel_size: int) -> None:
    x = torch.rand(2, 3, 11, 12, dtype=torch.float64)
    ours = Sharp(scale, kernel_size=kernel_size).double()(x)
    bicubic = Interpolation("bicubic", scale)(x)
    inside = (..., slice(2 * scale, -2 * scale), slice(2 * scale, -2 * scale))
    torch.testing.assert_close(ours[inside], bicubic[inside], atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [2, 4])
def test_kernels_sum_to_one(scale: int) -> None:
    kernels = random_sharp(scale).kernels(torch.rand(2, 1, 6, 7, dtype=torch.float64))
    sums = kernels.unflatten(1, (scale**2, -1)).sum(2)
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-6, rtol=0)
    assert kernels.unflatten(1, (scale**2, -1)).std() > 0.1


@pytest.mark.parametrize("scale", [2, 4])
def test_the_reassembly_equals_a_loop(scale: int) -> None:
    n, c, h, w, k = 2, 3, 4, 5, 5
    x = torch.rand(n, c, h, w, dtype=torch.float64)
    kernels = torch.randn(n, scale**2 * k * k, h, w, dtype=torch.float64)
    ours = reassemble_subpixels(x, kernels, scale, k)
    padded = F.pad(x, (2, 2, 2, 2), mode="replicate")
    for y in range(h * scale):
        for z in range(w * scale):
            subpixel = (y % scale) * scale + z % scale
            taps = kernels[:, subpixel * k * k : (subpixel + 1) * k * k, y // scale, z // scale].view(n, 1, k, k)
            window = padded[:, :, y // scale : y // scale + k, z // scale : z // scale + k]
            torch.testing.assert_close(ours[:, :, y, z], (taps * window).sum((2, 3)))


@pytest.mark.parametrize("scale", [2, 4])
def test_a_constant_stays_constant_and_brightness_passes_through(scale: int) -> None:
    model = random_sharp(scale)
    constant = torch.full((1, 3, 6, 6), 0.37, dtype=torch.float64)
    torch.testing.assert_close(model(constant), torch.full_like(model(constant), 0.37), atol=1e-6, rtol=0)
    x = torch.rand(1, 3, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(model(x + 0.2), model(x) + 0.2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [2, 4])
def test_grey_and_rgb_agree_on_a_grey_image(scale: int) -> None:
    model, grey = random_sharp(scale), torch.rand(2, 1, 7, 9, dtype=torch.float64)
    rgb = model(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(rgb, model(grey).expand(-1, 3, -1, -1), atol=1e-12, rtol=0)


def reach(model: SuperResolver) -> int:
    """The largest distance, in source pixels, at which a source pixel moves a target pixel."""
    size, centre = 41, 20
    x = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    block = model(x)[
        ..., centre * model.scale : (centre + 1) * model.scale, centre * model.scale : (centre + 1) * model.scale
    ]
    (gradient,) = torch.autograd.grad((block * torch.randn_like(block)).sum(), x)
    rows, columns = gradient[0, 0].nonzero(as_tuple=True)
    return int(max((rows - centre).abs().max(), (columns - centre).abs().max()))


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("scale", [2, 4])
def test_the_halo_is_the_true_one(name: str, scale: int) -> None:
    model = random_sharp(scale) if name == "sharp" else create_model(name, scale).double()
    assert reach(model) <= model.halo
    if name in ("sharp", "nearest"):
        assert reach(model) == model.halo


@pytest.mark.parametrize("name", list_models())
def test_a_tile_with_its_halo_equals_the_whole(name: str) -> None:
    scale = 2
    model = random_sharp(scale) if name == "sharp" else create_model(name, scale).double()
    x = torch.rand(1, 3, 40, 44, dtype=torch.float64)
    top, bottom, left, right = 12, 25, 0, 17
    window = x[..., top - model.halo : bottom + model.halo, left : right + model.halo]
    tile = model(window)[..., model.halo * scale : (model.halo + bottom - top) * scale, : (right - left) * scale]
    whole = model(x)[..., top * scale : bottom * scale, left * scale : right * scale]
    torch.testing.assert_close(tile, whole, atol=1e-12, rtol=0)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.sampled_from([2, 4]))
def test_any_size_down_to_one_pixel_and_every_backend(height: int, width: int, channels: int, scale: int) -> None:
    model, x = random_sharp(scale), torch.rand(2, channels, height, width, dtype=torch.float64)
    y = model(x)
    assert y.shape == (2, channels, scale * height, scale * width)
    with use_backend("reference"):
        torch.testing.assert_close(model(x), y, atol=1e-10, rtol=0)


def test_both_layouts_give_one_result() -> None:
    model, x = random_sharp(2), torch.rand(2, 3, 9, 8, dtype=torch.float64)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(last), model(x), atol=1e-12, rtol=0)


def test_half_precision_runs() -> None:
    y = create_model("sharp", 2).bfloat16()(torch.rand(1, 3, 8, 8).bfloat16())
    assert y.dtype == torch.bfloat16
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("options", [{"kernel_size": 3}, {"kernel_size": 6}, {"channels": 0}, {"depth": -1}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(options))):
        Sharp(2, **options)

"""The networks of the literature cost what was published, reach as far as they say, treat colour as papers do."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from karaffe.errors import ArgumentError, UnknownNameError
from karaffe.models import (
    Interpolation,
    LumaNetwork,
    Stack,
    SuperResolver,
    create_model,
    multiply_adds,
)
from karaffe.models.kernels import interpolation_kernels
from karaffe.models.luma import to_luma
from karaffe.models.start import transposed_bicubic

NETWORKS = {
    "srcnn": ("srcnn", {}),
    "espcn": ("espcn", {}),
    "fsrcnn": ("fsrcnn", {}),
    "stack": ("stack", {}),
    "stack of kernels": ("stack", {"head": "kernels", "kernel_size": 3, "residual": True}),
    "stack of large kernels": ("stack", {"head": "kernels", "kernel_size": 7, "depth": 1, "normalizer": "sum-to-one"}),
    "stack of convex kernels": ("stack", {"head": "kernels", "depth": 1, "normalizer": "softmax"}),
    "stack of filters": ("stack", {"head": "filters", "residual": True}),
    "stack of chosen filters": ("stack", {"head": "filters", "kernel_size": 7, "normalizer": "softmax"}),
    "stack of normalised filters": ("stack", {"head": "filters", "depth": 1, "normalizer": "sum-to-one"}),
    "srresnet-small": ("srresnet-small", {"channels": 6, "blocks": 1}),
    "srresnet-small of carafe": ("srresnet-small", {"channels": 6, "blocks": 1, "upsampler": "carafe"}),
}


def make(label: str, scale: int) -> SuperResolver:
    """The network with random weights of a size that lets every layer speak, in float64."""
    name, options = NETWORKS[label]
    torch.manual_seed(0)
    model = create_model(name, scale, pretrained=False, **options).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(
    ("name", "scale", "parameters", "giga"),
    # Parameters and multiply-adds for 1280x720 as published, or as executed: SRCNN with its interpolation.
    [
        ("srcnn", 4, 8032, 7.43),
        ("espcn", 2, 21184, 4.88),
        ("espcn", 4, 24640, 1.42),
        ("fsrcnn", 2, 12464, 2.87),
        ("fsrcnn", 4, 12464, 0.72),
        ("stack", 2, 10100, 2.29),
        ("stack", 4, 11840, 0.67),
    ],
)
def test_costs_are_those_of_the_papers(name: str, scale: int, parameters: int, giga: float) -> None:
    model = create_model(name, scale, pretrained=False)
    biases = sum(p.numel() for n, p in model.named_parameters() if p.ndim < 2)
    counted = sum(p.numel() for p in model.parameters()) - (0 if name == "stack" else biases)
    assert counted == parameters
    assert multiply_adds(model) * (1280 // scale) * (720 // scale) / 1e9 == pytest.approx(giga, abs=0.005)


@pytest.mark.parametrize("label", NETWORKS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_halo_is_the_true_one(label: str, scale: int) -> None:
    model, centre = make(label, scale), 20
    x = torch.rand(1, 1, 41, 41, dtype=torch.float64, requires_grad=True)
    rows = slice(centre * scale, (centre + 1) * scale)
    (gradient,) = torch.autograd.grad((model(x)[..., rows, rows] * torch.rand(scale, scale)).sum(), x)
    places = gradient[0, 0].nonzero()
    reach = int((places - centre).abs().max())
    assert reach <= model.halo
    if "srresnet" not in label:
        assert reach == model.halo, "a smaller halo would do"


@pytest.mark.parametrize("label", NETWORKS)
@given(height=st.integers(1, 7), width=st.integers(1, 7), scale=st.integers(2, 4))
def test_any_size_grey_and_colour(label: str, height: int, width: int, scale: int) -> None:
    model = make(label, scale)
    x = torch.rand(2, 3, height, width, dtype=torch.float64)
    y = model(x)
    assert y.shape == (2, 3, height * scale, width * scale)
    torch.testing.assert_close(to_luma(y), model(to_luma(x)), atol=1e-10, rtol=0)
    colour = Interpolation("bicubic", scale)(x)
    torch.testing.assert_close(y - to_luma(y), colour - to_luma(colour), atol=1e-10, rtol=0)
    assert isinstance(model, LumaNetwork)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_an_untrained_head_of_kernels_is_bicubic(scale: int, kernel_size: int) -> None:
    model = Stack(scale, head="kernels", kernel_size=kernel_size).double()
    x = torch.rand(1, 1, 10, 11, dtype=torch.float64)
    inside = (..., slice(2 * scale, -2 * scale), slice(2 * scale, -2 * scale))
    torch.testing.assert_close(model(x)[inside], Interpolation("bicubic", scale)(x)[inside], atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bilinear_kernels_fit_into_three_taps(scale: int) -> None:
    three = interpolation_kernels(scale, 3, "triangle").unflatten(1, (3, 3))
    five = interpolation_kernels(scale, 5, "triangle").unflatten(1, (5, 5))
    assert torch.equal(three, five[:, 1:4, 1:4])
    torch.testing.assert_close(three.sum((1, 2)), torch.ones(scale**2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"head": "kernel"}, UnknownNameError, "kernels"),
        ({"head": "kernels", "normalizer": "sum"}, UnknownNameError, "normalizer 'sum'"),
        ({"head": "kernels", "kernel_size": 4}, ArgumentError, "odd"),
        ({"head": "kernels", "kernel_size": 3, "normalizer": "sum-to-one"}, ArgumentError, "at least 5"),
        ({"channels": 0}, ArgumentError, "channels=0"),
        ({"residual": True}, ArgumentError, "residual adds"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Stack(2, **options)


def test_an_upsampler_that_needs_a_guide_is_refused() -> None:
    with pytest.raises(ArgumentError, match="needs no guide"):
        create_model("srresnet-small", 2, pretrained=False, upsampler="sapa")


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_networks_that_make_the_whole_image_start_at_an_interpolation(scale: int) -> None:
    torch.manual_seed(0)
    x, inner = torch.rand(1, 1, 6, 6), slice(8 * scale, -8 * scale)
    x = torch.nn.functional.interpolate(x, (30, 30), mode="bilinear")
    for name, kind, tolerance in (("fsrcnn", "bicubic", 1e-5 if scale == 2 else 0.03), ("espcn", "bilinear", 0.025)):
        model = create_model(name, scale, pretrained=False).requires_grad_(False)
        head = model.get_submodule("deconvolution" if name == "fsrcnn" else "last")
        # What the other channels add at random is for learning; here only the channel that carries the image counts.
        kept = head.weight[:1].clone() if name == "fsrcnn" else head.weight[:, :1].clone()
        head.weight.zero_()
        (head.weight[:1] if name == "fsrcnn" else head.weight[:, :1]).copy_(kept)
        expected = Interpolation(kind, scale)(x)
        assert (model(x) - expected)[..., inner, inner].abs().max() < tolerance


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("taps", [5, 9])
def test_a_constant_is_enlarged_to_itself_by_a_transposed_convolution(scale: int, taps: int) -> None:
    weights = transposed_bicubic(scale, taps)
    x = torch.ones(1, 1, 12, dtype=torch.float64)
    y = torch.nn.functional.conv_transpose1d(
        x, weights[None, None], stride=scale, padding=(taps - 1) // 2, output_padding=scale - 1
    )
    torch.testing.assert_close(y[..., 4 * scale : -4 * scale], torch.ones(1, 1, 4 * scale, dtype=torch.float64))

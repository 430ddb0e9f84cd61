"""Every promise that the registry makes, tested for every method; the matrix itself is asserted."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from families import (
    ALL,
    CHANNELS,
    LEARNED,
    NAME_DIMS,
    PROMISES,
    SIZES,
    STARTING,
    accepts,
    floating,
    inputs,
    inputs_of,
    reach,
    sampling_macs,
    shaken,
    small,
    to,
    window_range,
)
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from karaffe.upsamplers import describe_upsampler

CONVEX = [n for n in ALL if describe_upsampler(n).convex]
UNIT_SUM = [n for n in ALL if describe_upsampler(n).unit_sum]
EQUIVARIANT = [n for n in ALL if describe_upsampler(n).shift_equivariant]
# Their kernels grow with the guide, so that the result does with both: beyond what float16 holds.
LINEAR_IN_GUIDE = ("jbu-learned", "jbu-stack")
# Every target looks at every source.
GLOBAL = ("jafar", "anyup", "loftup")
HALVES = [torch.float16, torch.bfloat16]


def bordered(name: str) -> dict[str, str]:
    """Borders that read zeros are outside of the promises on kernels that sum to one."""
    return {"padding_mode": "replicate"} if accepts(name, "padding_mode") else {}


def test_the_matrix():
    declared = {}
    for name in ALL:
        i = describe_upsampler(name)
        declared[name] = (i.convex, i.unit_sum, i.shift_equivariant, i.inits, i.sizes, i.dims, i.exports)
    assert declared == PROMISES


@pytest.mark.parametrize(("name", "dims"), NAME_DIMS)
def test_axes(name, dims):
    m = shaken(name, dims=dims)
    arguments = inputs(name, dims)
    y = m(*arguments)
    assert y.shape == (2, CHANNELS, *m.target_sizes(SIZES[dims], None))
    assert y.isfinite().all()


@pytest.mark.parametrize("name", UNIT_SUM)
def test_a_constant_stays_constant(name):
    m = shaken(name, **bordered(name))
    x, *guide = inputs(name)
    y = m(torch.full_like(x, 3.25), *guide)
    torch.testing.assert_close(y, torch.full_like(y, 3.25), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", CONVEX)
def test_convex_methods_stay_within_the_local_range(name):
    m = shaken(name, **bordered(name))
    x, *guide = inputs_of(name, (1, CHANNELS, 10, 12))
    y = m(x, *guide)
    low, high = window_range(x, tuple(y.shape[2:]), reach(m, x))
    assert (y >= low - 1e-5).all()
    assert (y <= high + 1e-5).all()


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_a_moved_source_moves_the_target(name):
    """A reducing method moves by a target for every ``scale_factor`` source pixels."""
    m = shaken(name).double()
    x, *guide = inputs_of(name, (1, CHANNELS, 24, 24), torch.float64)
    y = m(x, *guide)
    reducing = y.shape[-1] < x.shape[-1]
    shift, moved = ((2, 4), (1, 2)) if reducing else ((1, 2), (2, 4))
    back = m(x.roll(shift, (2, 3)), *(g.roll(moved, (2, 3)) for g in guide)).roll([-n for n in moved], (2, 3))
    inside = slice(y.shape[-1] // 3, -(y.shape[-1] // 3))
    torch.testing.assert_close(back[..., inside, inside], y[..., inside, inside])


@pytest.mark.parametrize(("name", "init"), STARTING)
def test_starts_as_the_interpolation(name, init):
    x, *guide = inputs_of(name, (2, CHANNELS, 8, 10))
    wanted = F.interpolate(x, scale_factor=0.5 if name == "carafe-down" else 2, mode=init)
    got = small(name, init=init)(x, *guide)
    assert (got - wanted).abs().max() < 2e-3
    if accepts(name, "init_floor"):
        got = small(name, init=init, init_floor=1e-8)(x, *guide)
    assert (got - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("start", ["as it starts", "shaken"])
def test_gradients_reach_every_parameter(name, start):
    m = small(name) if start == "as it starts" else shaken(name)
    y = m(*inputs(name))
    (y * torch.randn_like(y)).sum().backward()
    for key, parameter in m.named_parameters():
        if not parameter.requires_grad:  # kept for checkpoints alone
            continue
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", [n for n, init in STARTING if init == "bilinear"])
def test_gradients_reach_every_parameter_from_an_interpolation(name):
    m = small(name, init="bilinear")
    y = m(*inputs(name))
    (y * torch.randn_like(y)).sum().backward()
    for key, parameter in m.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", ALL)
def test_input_gradient_is_right(name):
    m = shaken(name).double()
    arguments = inputs(name, dtype=torch.float64, batch=1)
    maps = floating(arguments)
    direction = [torch.randn_like(a) for a in maps]
    leaves = [a.clone().requires_grad_() for a in maps]
    y = m(*leaves, *arguments[len(maps) :])
    weight = torch.randn_like(y)
    gradients = torch.autograd.grad((y * weight).sum(), leaves)
    predicted = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))

    def moved(step: float) -> Tensor:
        places = [a + step * d for a, d in zip(maps, direction, strict=True)]
        return (m(*places, *arguments[len(maps) :]) * weight).sum().detach()

    step = 1e-8 if name == "loftup" else 1e-6  # its code of colours turns at up to 22,026 a unit
    torch.testing.assert_close((moved(step) - moved(-step)) / (2 * step), predicted.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_finite_on_large_inputs(name, dtype):
    """Large values, and a map wide enough that its coordinates have no sub-pixel in these types."""
    m = small(name).to(dtype)
    x, *guide = inputs(name)
    scaled = guide if name in LINEAR_IN_GUIDE else [a * 1000 if a.is_floating_point() else a for a in guide]
    large = [x * 1000, *scaled]
    assert m(*to(large, dtype)).isfinite().all()
    width = 200 if name in GLOBAL else 2100
    arguments = to(inputs_of(name, (1, CHANNELS, 2, width)), dtype)
    got = m(*arguments)
    assert got.dtype == dtype
    exact = copy.deepcopy(m).float()(*to(arguments, torch.float32))
    assert (got.float() - exact).abs().max() < 0.15


@pytest.mark.parametrize("name", ALL)
def test_autocast(name):
    m, arguments = small(name), inputs(name)
    with torch.autocast("cpu", torch.bfloat16):
        y = m(*arguments)
    assert (y.float() - m(*arguments)).abs().max() < 0.15


@pytest.mark.parametrize("name", ALL)
def test_copies_are_equal_and_independent(name):
    m, arguments = shaken(name), inputs(name)
    wanted = m(*arguments)
    for clone in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert torch.equal(clone(*arguments), wanted)
        assert not {p.data_ptr() for p in clone.parameters()} & {p.data_ptr() for p in m.parameters()}
    fresh = small(name)
    fresh.load_state_dict(m.state_dict())
    assert torch.equal(fresh(*arguments), wanted)


@pytest.mark.parametrize("name", ALL)
def test_channels_last_is_the_same(name):
    m, (x, *guide) = shaken(name).double(), to(inputs(name), torch.float64)
    laid_out = [a.contiguous(memory_format=torch.channels_last) for a in (x, *guide)]
    torch.testing.assert_close(m(*laid_out), m(x, *guide))


@pytest.mark.parametrize("name", ALL)
def test_the_batch_is_independent(name):
    m, arguments = shaken(name).double(), inputs(name, dtype=torch.float64)
    torch.testing.assert_close(m(*arguments)[1:], m(*(a[1:] for a in arguments)))
    if name != "max-unpool":  # torch refuses an empty batch there
        assert m(*(a[:0] for a in arguments)).shape[0] == 0


# Parameters and multiply-adds a source pixel at C = 256, x 2, from the papers.
COSTS = {
    "nearest": (0, 0),
    "nearest-exact": (0, 0),
    "area": (0, 1_024),
    "bilinear": (0, 4_096),
    "bicubic": (0, 6_144),
    "lanczos": (0, 9_216),
    "deconv": (1_048_832, 1_048_576),
    "pixel-shuffle": (2_360_320, 2_359_296),
    "resize-conv": (590_080, 2_359_296),
    "max-unpool": (0, 0),
    "carafe": (74_148, 99_584),
    "carafe-down": (7_737, 26_384),
    "dysample": (8_224, 12_288),
    "sapa": (17_472, 69_760),
    "sapa-d": (139_808, 306_688),
    "fade": (47_514, 179_776),
    "fade-lite": (13_332, 58_981),
    "indexnet": (2_100_224, 2_099_200),
    "lda-aqu": (39_410, 135_168),
    "freqfusion": (52_514, 220_360 - 15_300),  # less what only fuse() does
    "jbu": (0, 51_300),
    "jbu-learned": (6_233, 97_108),
    "jbu-stack": (72_025, 359_252),
    "jafar": (595_584, 1_723_392),
    "anyup": (878_080, 2_837_504),
    "uplift": (715_793, 2_045_888),
    "loftup": (2_162_710, 7_700_400),
    "a2u": (10_790, 27_940),
    "dlu": (35_489, 61_392),
    "naf": (662_528, 2_638_848),
}
# The same for published variants.
VARIANTS = [
    ("deconv", {"kernel_size": 2}, (262_400, 262_144)),
    ("dysample", {"dyscope": True}, (16_416, 20_480)),
    ("dysample", {"style": "pl", "groups": 4}, (520, 6_144)),
    ("dysample", {"style": "pl", "groups": 8}, (1_040, 8_192)),
    ("dysample", {"style": "pl", "groups": 4, "dyscope": True}, (1_032, 8_192)),
    ("dysample", {"style": "pl", "groups": 8, "dyscope": True}, (2_064, 12_288)),
    ("fade", {"gating": False}, (47_257, 179_520)),
    ("indexnet", {"use_nonlinear": False, "use_context": False}, (4_096, 4_096)),
    ("indexnet", {"block": "o2o", "use_nonlinear": False, "use_context": False}, (4_096, 4_096)),
    ("indexnet", {"block": "o2o"}, (19_456, 17_408)),
    ("indexnet", {"block": "m2o", "use_nonlinear": False, "use_context": False}, (1_048_576, 1_048_576)),
    ("indexnet", {"block": "m2o", "use_context": False}, (1_312_768, 1_310_720)),
    ("indexnet", {"block": "m2o"}, (4_458_496, 4_456_448)),
    ("freqfusion", {"feature_resample": True}, (104_690, 220_360 - 15_300 + 89_920)),
    ("jafar", {"channels": 384}, (628_480, 1_740_288)),
    ("anyup", {"channels": 384}, (878_080, 3_247_616)),
    ("uplift", {"channels": 384}, (789_521, 2_132_416)),
    ("loftup", {"channels": 384}, (4_303_126, 15_201_712)),
    ("naf", {"channels": 384}, (662_528, 2_639_360)),
    ("jbu-stack", {"scale_factor": 16}, (90_724, 85 * 97_108 + 256 * 65_536)),
]


def test_costs_are_the_published_ones():
    """Of the reducing method, a target pixel's."""
    costs = {name: describe_upsampler(name).cost(input_size=2 if name == "carafe-down" else 1) for name in ALL}
    assert {name: (cost.parameters, cost.macs) for name, cost in costs.items()} == COSTS


@pytest.mark.parametrize(("name", "options", "wanted"), VARIANTS)
def test_costs_of_variants(name, options, wanted):
    cost = describe_upsampler(name).cost(**options)
    assert (cost.parameters, cost.macs) == wanted


@pytest.mark.parametrize(("name", "dims"), [(n, d) for n, d in NAME_DIMS if n in LEARNED])
def test_costs_are_those_of_a_counted_run(name, dims):
    m = small(name, dims=dims)
    if getattr(m, "padding_mode", "zeros") != "zeros":
        pytest.skip("the border's own margin is not counted")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        m(*inputs(name, dims, batch=1))
    cost = m.cost(SIZES[dims])
    assert cost.macs == counter.get_total_flops() // 2 + sampling_macs(m, SIZES[dims])
    assert cost.parameters == sum(math.prod(p.shape) for p in m.parameters())

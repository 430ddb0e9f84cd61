"""Names, options and the one interface."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import Tensor

from karaffe.errors import ArgumentError, DtypeError, ShapeError, UnknownNameError
from karaffe.upsamplers import (
    CARAFE,
    Upsampler,
    create_upsampler,
    describe_upsampler,
    list_upsamplers,
    register,
    registry,
)


class Doubling(Upsampler):
    """A stand-in for somebody's own method."""

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        return torch.nn.functional.interpolate(x, targets)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        return 0


DECLARED = {
    "summary": "s",
    "equation": "e",
    "paper": "p",
    "learned": False,
    "convex": True,
    "unit_sum": True,
    "shift_equivariant": True,
}


@pytest.fixture
def unchanged_registry(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


def test_somebodys_own_method(unchanged_registry):
    register("doubling", **DECLARED)(Doubling)
    assert isinstance(create_upsampler("doubling", 4), Doubling)
    assert list_upsamplers("doub*") == ["doubling"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paper": ""}, "paper must not be empty"),
        ({"inits": ("random",)}, "inits must be among"),
        ({"dims": (4,)}, "dims must be among"),
        ({"exports": ("coreml",)}, "exports must be among"),
        ({"unit_sum": False}, "unit_sum must be true"),
        ({"preset": {"colour": 1}}, r"preset names arguments that Doubling does not have: \['colour'\]"),
        ({"colour": 1}, "unexpected keyword argument 'colour'"),
    ],
)
def test_a_failed_registration_changes_nothing(changes, message):
    before = list_upsamplers()
    with pytest.raises(ArgumentError, match=message):
        register("doubling", **{**DECLARED, **changes})(Doubling)
    assert list_upsamplers() == before


def test_a_missing_field_or_a_taken_name_is_refused():
    before = [describe_upsampler(name) for name in list_upsamplers()]
    with pytest.raises(ArgumentError, match="convex"):
        register("doubling", **{k: v for k, v in DECLARED.items() if k != "convex"})(Doubling)
    with pytest.raises(ArgumentError, match="'carafe' is registered already, as CARAFE"):
        register("carafe", **DECLARED)(Doubling)
    with pytest.raises(ArgumentError, match="subclass of Upsampler"):
        registry.UpsamplerInfo(name="int", cls=int, **DECLARED)
    assert [describe_upsampler(name) for name in list_upsamplers()] == before


def test_entries_are_frozen():
    info = describe_upsampler("carafe")
    with pytest.raises(FrozenInstanceError):
        info.convex = False
    with pytest.raises(TypeError):
        info.preset["up_kernel"] = 3


def test_filters():
    assert "bilinear" in list_upsamplers()
    assert set(list_upsamplers(learned=True)) | set(list_upsamplers(learned=False)) == set(list_upsamplers())
    assert "carafe" in list_upsamplers("car*", guided=False, learned=True)
    assert list_upsamplers("no such thing") == []


def test_close_names_are_named():
    with pytest.raises(UnknownNameError, match="unknown upsampler 'caraffe'; did you mean 'carafe'"):
        create_upsampler("caraffe", 8)
    with pytest.raises(UnknownNameError, match="option of upsampler 'carafe' 'up_kernal'; did you mean 'up_kernel'"):
        create_upsampler("carafe", 8, up_kernal=3)
    with pytest.raises(UnknownNameError, match="unknown upsampler 'bilinaer'"):
        describe_upsampler("bilinaer")


def test_guide_channels_are_one_vocabulary():
    assert isinstance(create_upsampler("carafe", 8, guide_channels=3), CARAFE)


def test_axes_are_one_vocabulary():
    assert create_upsampler("dysample", 8, dims=2)(torch.randn(1, 8, 4, 4)).shape == (1, 8, 8, 8)
    with pytest.raises(ArgumentError, match=r"upsampler 'dysample' has dims=\(2,\); got dims=3"):
        create_upsampler("dysample", 8, dims=3)


def test_a_description_says_everything():
    text = str(describe_upsampler("carafe"))
    for part in ("softmax", "ICCV 2019", "74,148 parameters", "99,584 multiply-adds", "convex", "up_kernel"):
        assert part in text


@pytest.mark.parametrize("name", ["bilinear", "carafe", "resize-conv", "dysample"])
def test_arguments_of_a_call(name):
    m = create_upsampler(name, 8)
    x = torch.randn(1, 8, 5, 7)
    assert m(x).shape == (1, 8, 10, 14)
    assert m(x, size=9).shape == (1, 8, 9, 9)
    assert m(x, None, size=(11, 13)).shape == (1, 8, 11, 13)
    assert m(torch.randn(0, 8, 5, 7)).shape == (0, 8, 10, 14)
    with pytest.raises(TypeError):
        m(x, None, (10, 14))
    for wrong, error, message in (
        (torch.randn(8, 5), ShapeError, "x must be"),
        (torch.randn(1, 3, 5, 7), ShapeError, "8 channels"),
        (torch.randn(1, 8, 0, 7), ShapeError, "empty only in its batch"),
        (torch.zeros(1, 8, 5, 7, dtype=torch.int32), DtypeError, "floating"),
    ):
        with pytest.raises(error, match=message):
            m(wrong)
    with pytest.raises(ArgumentError, match="one an axis"):
        m(x, size=(1, 2, 3))


def test_cropped_targets():
    m = create_upsampler("deconv", 8)
    x = torch.randn(1, 8, 4, 5)
    assert torch.equal(m(x, size=(7, 10)), m(x)[:, :, :7])
    with pytest.raises(ArgumentError, match=r"cannot give \(6, 10\) from \(4, 5\); accepted an axis: 7 to 8, 9 to 10"):
        m(x, size=(6, 10))


def test_guides():
    m = create_upsampler("fade-lite", 8)
    x, guide = torch.randn(1, 8, 4, 5), torch.randn(1, 8, 8, 10)
    assert m(x, guide).shape == guide.shape
    assert m(x, guide[:, :, :7], size=(7, 10)).shape == (1, 8, 7, 10)
    for wrong, error, message in (
        (None, ShapeError, r"FADELite needs a guide \(1, 8, 8, 10\) at the target size; got none"),
        (guide[:, :3], ShapeError, r"must be \(1, 8, 8, 10\); got \(1, 3, 8, 10\)"),
        (guide[:, :, :7], ShapeError, r"got \(1, 8, 7, 10\); size=guide.shape\[2:\] makes the guide's size the target"),
        (guide[0], ShapeError, "must be"),
        (guide.expand(2, -1, -1, -1), ShapeError, "must be"),
        (guide.long(), DtypeError, "floating"),
    ):
        with pytest.raises(error, match=message):
            m(x, wrong)


@pytest.mark.parametrize("factor", [0, -2, float("nan"), float("inf"), "2", True, (2, 2, 2), ()])
def test_wrong_factors(factor):
    with pytest.raises(ArgumentError, match="scale_factor must be a positive number"):
        create_upsampler("carafe", 8, factor)


@pytest.mark.parametrize("channels", [0, -1, 2.0, True])
def test_wrong_channels(channels):
    with pytest.raises(ArgumentError, match="channels must be a positive int"):
        create_upsampler("carafe", channels)


def test_importing_is_light():
    code = (
        "import karaffe.upsamplers, sys; print([m for m in ('scipy', 'matplotlib', 'lightning') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_norm_that_fits_widths():
    """Only a method that normalises groups by itself is given another norm, and only where 32 does not divide."""
    fitting = {name: describe_upsampler(name).fitting_norm(64, 48) for name in list_upsamplers()}
    assert {name for name, norm in fitting.items() if norm} == {"sapa"}
    assert fitting["sapa"] == {"norm": "layer"}
    assert describe_upsampler("sapa").fitting_norm(64, 32) == {}
    assert create_upsampler("sapa", 48, guide_channels=64, **fitting["sapa"])

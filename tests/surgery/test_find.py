"""Finding: kinds, roles, sizes, guides, positions, and the table."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import networks
import pytest
import torch
import torch.nn.functional as F
from networks import build
from torch import Tensor, nn

from karaffe.errors import ArgumentError
from karaffe.surgery import Inputs, find_upsamplers


class Roles(nn.Module):
    """One site of each role."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 4, 1)
        self.position = nn.Parameter(torch.randn(1, 8, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        y = y + F.interpolate(self.position, size=y.shape[2:], mode="bicubic")
        y = y + F.interpolate(F.adaptive_avg_pool2d(y, 1), size=y.shape[2:])
        y = y + F.interpolate(y, size=y.shape[2:], mode="bilinear")
        y = y + F.interpolate(F.interpolate(y, scale_factor=0.5), size=y.shape[2:], mode="bilinear", align_corners=True)
        return F.interpolate(self.head(y), size=x.shape[2:], mode="bilinear")


def test_roles_modes_and_sizes() -> None:
    sites = find_upsamplers(Roles().eval(), torch.randn(2, 3, 32, 48))
    assert [s.role for s in sites] == ["parameter", "broadcast", "no-op", "shrinking", "feature", "logits"]
    feature = sites[4]
    assert (feature.mode, feature.align_corners, feature.by) == ("bilinear", True, "size")
    assert feature.in_shape == (2, 8, 4, 6)
    assert feature.out_shape == (2, 8, 8, 12)
    assert feature.scale == (2.0, 2.0)
    assert feature.joined == "add"
    assert feature.file.endswith("test_find.py")
    source = Path(feature.file).read_text().splitlines()[feature.line - 1]
    assert "align_corners=True" in source


@pytest.mark.parametrize(
    ("name", "guides"),
    [
        ("helper-method", ["y", "y"]),
        ("indexed-laterals", ["laterals[i - 1]"] * 2),
        ("shared-upsample", ["b", "a"]),
        ("free-helper", ["", "", "", "", ""]),
    ],
)
def test_guides_are_named_as_the_code_names_them(name: str, guides: list[str]) -> None:
    model, x, _ = build(name)
    assert [s.guide for s in find_upsamplers(model, x)] == guides


def test_modules_and_calls_are_told_apart() -> None:
    model, x, _ = build("learned")
    sites = find_upsamplers(model, x)
    assert [(s.op, s.kind, s.path) for s in sites] == [
        ("conv_transpose", "module", "deconv"),
        ("pixel_shuffle", "module", "shuffle"),
        ("conv_transpose", "call", ""),
        ("pixel_shuffle", "call", ""),
        ("interpolate", "call", ""),
    ]
    assert [s.name for s in sites] == ["deconv", "shuffle", "conv_transpose", "pixel_shuffle", "interpolate"]


def test_computed_weights_are_an_obstacle() -> None:
    sites = find_upsamplers(networks.Functional().eval(), torch.randn(1, 3, 16, 16))
    assert "computed" in sites[0].obstacle


def test_several_examples_are_united() -> None:
    model, x, _ = build("two-spellings")
    odd = torch.randn(1, 3, 31, 31)
    assert len(find_upsamplers(model, x)) == 1
    assert len(find_upsamplers(model, x).unreached) == 1
    assert len(find_upsamplers(model, [x, odd])) == 2
    assert not find_upsamplers(model, [x, odd]).unreached


def test_every_form_of_example() -> None:
    model, x, _ = build("decorated")
    for example in (x, (x,), {"x": x}, Inputs(x), Inputs(x=x), [x, (x,)]):
        assert len(find_upsamplers(model, example)) == 1


def test_looking_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Upsample(scale_factor=2))
    model[1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    find_upsamplers(model, torch.randn(2, 3, 8, 8), training=True)
    torch.set_rng_state(random)
    expected = torch.rand(1)
    torch.set_rng_state(random)
    find_upsamplers(model, torch.zeros(2, 3, 8, 8), training=True)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)
    assert [m.training for m in model] == [True, False, True, True]


def test_the_table_in_three_forms() -> None:
    rich = pytest.importorskip("rich.console")
    model, x, _ = build("train-only")
    sites = find_upsamplers(model, x)
    text = str(sites)
    assert "16×16 → 32×32" in text
    assert "not reached: F.interpolate" in text
    assert sites._repr_html_().startswith("<table>")
    console = rich.Console(width=200, record=True, file=StringIO())
    console.print(sites)
    assert "16×16" in console.export_text()
    assert "**" not in sites.table().markdown()


def test_unreached_modules_are_named() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Upsample(scale_factor=2), nn.ConvTranspose2d(3, 3, 2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x).relu().mean((2, 3))

    sites = find_upsamplers(Spare(), torch.randn(1, 3, 4, 4))
    assert [str(u) for u in sites.unreached] == ["ConvTranspose2d 'spare'"]


def test_bad_input() -> None:
    model, x, _ = build("super")
    with pytest.raises(ArgumentError, match=r"torch\.nn\.Module; got int"):
        find_upsamplers(3, x)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"fails on example_inputs\[1\]: RuntimeError"):
        find_upsamplers(model, [x, torch.randn(1, 5, 8, 8)])
    with pytest.raises(ArgumentError, match="example_inputs must be a tensor"):
        find_upsamplers(model, "image.png")
    with pytest.raises(ArgumentError, match="example_inputs is empty"):
        find_upsamplers(model, [])

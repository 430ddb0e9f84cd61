"""Segmentation networks: any size, any upsampler, torchvision's layers, and a halo that is enough."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import karaffe
from karaffe.errors import ArgumentError, DtypeError, FileError, ShapeError, UnknownNameError
from karaffe.models.checkpoint import write_tensors
from karaffe.models.segmentation import (
    VGG16,
    ClassTable,
    create_segmenter,
    list_segmenters,
    load_segmenter,
    load_torchvision,
    save_segmenter,
)
from karaffe.models.segmentation.base import upsample

ENLARGING = [name for name in karaffe.list_upsamplers() if name != "carafe-down"]
# torchvision.models.vgg16(): index and shape of every convolution of `features`, configuration D.
CONVOLUTIONS = {
    0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256),
    17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip


@pytest.mark.parametrize("network", ["vgg-unet", "light-fpn"])
@pytest.mark.parametrize("upsampler", ENLARGING)
def test_every_upsampler_serves_and_every_parameter_learns(network: str, upsampler: str) -> None:
    model = create_segmenter(network, 3, upsampler, width=0.125)
    y = model(torch.rand(2, 3, 33, 40))
    assert y.shape == (2, 3, 33, 40)
    F.cross_entropy(y, torch.randint(3, (2, 33, 40))).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("network", list_segmenters())
@pytest.mark.parametrize("width", [0.125, 1.0])
def test_carafe_is_the_papers_at_any_width(network: str, width: float) -> None:
    made = [m for m in create_segmenter(network, 3, "carafe", width=width).modules() if isinstance(m, karaffe.CARAFE)]
    assert len(made) == 5
    assert not any(isinstance(part, nn.BatchNorm2d) for m in made for part in m.modules())


@pytest.mark.parametrize("network", list_segmenters())
@given(height=st.integers(1, 70), width=st.integers(1, 70), channels=st.sampled_from([1, 3]))
@settings(max_examples=6)
def test_images_of_any_size(network: str, height: int, width: int, channels: int) -> None:
    model = create_segmenter(network, 2, "bilinear", width=0.0625).eval()
    x = torch.rand(1, channels, height, width)
    y = model(x)
    assert y.shape == (1, 2, height, width)
    below, right = (-n % 32 for n in (height, width))
    whole = model(F.pad(x, (0, right, 0, below), mode="replicate"))
    torch.testing.assert_close(y, whole[:, :, :height, :width], atol=1e-5, rtol=1e-5)


def test_grey_is_three_equal_channels() -> None:
    model = create_segmenter("light-fpn", 2, "nearest", width=0.125).eval()
    x = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(model(x), model(x.expand(-1, 3, -1, -1)))


def test_vgg16_is_torchvisions_layer_by_layer() -> None:
    encoder = VGG16(batch_norm=False)
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    assert shapes == {
        f"features.{index}.{part}": ((out, into, 3, 3) if part == "weight" else (out,))
        for index, (out, into) in CONVOLUTIONS.items()
        for part in ("weight", "bias")
    }
    weights = {key: torch.randn(shape) for key, shape in shapes.items()}
    load_torchvision(encoder, weights | {"classifier.0.weight": torch.zeros(1)})
    assert torch.equal(encoder.features[28].weight, weights["features.28.weight"])
    with pytest.raises(ArgumentError, match="not the weights of this VGG-16"):
        load_torchvision(VGG16(0.25), weights)
    with pytest.raises(ArgumentError, match="not the weights"):
        load_torchvision(encoder, {k: v for k, v in weights.items() if k != "features.0.bias"})
    # Of vgg16_bn: a convolution, a normalisation and a ReLU each, then the pooling.
    layers = [type(layer).__name__ for layer in VGG16(0.125).features]
    assert layers[:7] == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]
    assert len(layers) == 44


def test_vgg16_computes_what_its_layers_say() -> None:
    encoder, x = VGG16(0.125).eval(), torch.rand(1, 3, 64, 64)
    maps, last = encoder(x)
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 64, 64), (16, 32, 32), (32, 16, 16), (64, 8, 8), (64, 4, 4)]
    torch.testing.assert_close(last, encoder.features(x))
    torch.testing.assert_close(maps[0], encoder.features[:6](x))


def test_max_unpooling_uses_the_indices_of_the_encoders_pooling() -> None:
    skip = torch.rand(1, 4, 6, 8)
    pooled, indices = F.max_pool2d(skip, 2, return_indices=True)
    up = karaffe.create_upsampler("max-unpool", 4)
    assert torch.equal(upsample(up, pooled, skip), F.max_unpool2d(pooled, indices, 2))


def test_guided_methods_see_the_encoders_map() -> None:
    model = create_segmenter("vgg-segnet", 2, "fade", width=0.125)
    seen: list[torch.Size] = []
    for step in model.steps:
        step.up.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].shape[2:]))
    model(torch.rand(1, 3, 64, 32))
    assert [tuple(size) for size in seen] == [(4, 2), (8, 4), (16, 8), (32, 16), (64, 32)]


@pytest.mark.parametrize("network", list_segmenters())
@pytest.mark.parametrize("upsampler", ["carafe", "bilinear"])
def test_the_halo_is_enough(network: str, upsampler: str) -> None:
    model = create_segmenter(network, 2, upsampler, width=0.0625).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.0, 0.5)
    side = model.halo + 32
    x = torch.rand(1, 3, 32, side + 64)
    changed = x.clone()
    changed[..., side:] = torch.rand_like(changed[..., side:])
    with torch.no_grad():
        a, b = model(x), model(changed)
    assert torch.equal(a[..., :32], b[..., :32])
    assert not torch.equal(a, b)


def test_what_is_not_accepted() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'vgg-unet'"):
        create_segmenter("vgg-unt", 2)
    with pytest.raises(UnknownNameError, match="bilinear"):
        create_segmenter("vgg-unet", 2, "bilinaer")
    with pytest.raises(ArgumentError, match="does not enlarge"):
        create_segmenter("vgg-unet", 2, "carafe-down")
    with pytest.raises(UnknownNameError, match="kernel"):
        create_segmenter("vgg-unet", 2, "carafe", width=0.125, options={"kernel": 3})
    with pytest.raises(ArgumentError, match="classes must be at least 2"):
        create_segmenter("light-fpn", 1)
    with pytest.raises(ArgumentError, match="width must be"):
        create_segmenter("light-fpn", 2, width=0)
    model = create_segmenter("light-fpn", 2, "nearest", width=0.125)
    with pytest.raises(ShapeError, match=r"\(1, 2, 8, 8\)"):
        model(torch.rand(1, 2, 8, 8))
    with pytest.raises(DtypeError, match="floating"):
        model(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_a_checkpoint_makes_the_network_again(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    table = ClassTable(("wall", "cell"), values=(0, 255), ignore=7, colours=((0, 0, 0), (255, 0, 0)))
    model = create_segmenter("light-fpn", 2, "carafe", width=0.125, options={"up_kernel": 3})
    save_segmenter(
        model, path, network="light-fpn", upsampler="carafe", classes=table, width=0.125, options={"up_kernel": 3}
    )
    again, classes = load_segmenter(path)
    assert classes == table
    assert not again.training
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(again(x), model.eval()(x))


def test_checkpoints_that_cannot_serve(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileError, match="cannot read"):
        load_segmenter(path)
    model = create_segmenter("light-fpn", 2, "carafe", width=0.125)
    table = ClassTable(("a", "b"))
    save_segmenter(model, path, network="light-fpn", upsampler="bilinear", classes=table, width=0.125)
    with pytest.raises(ArgumentError, match="do not fit 'light-fpn' with 'bilinear'"):
        load_segmenter(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FileError, match="cannot read"):
        load_segmenter(path)
    write_tensors(path, {"x": torch.zeros(1)}, {"model": "sharp"})
    with pytest.raises(ArgumentError, match="super-resolution network 'sharp'"):
        load_segmenter(path)
    write_tensors(path, {"x": torch.zeros(1)}, {"segmenter": json.dumps({"classes": {}})})
    with pytest.raises(FileError, match="damaged"):
        load_segmenter(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ("a",)}, "at least two"),
        ({"names": ("a", "a")}, "different"),
        ({"names": ("a", "b"), "values": (1,)}, "one a class"),
        ({"names": ("a", "b"), "values": (1, 300)}, "0 to 255"),
        ({"names": ("a", "b"), "ignore": 1}, "of no class"),
        ({"names": ("a", "b"), "colours": ((0, 0, 0),)}, "colours"),
    ],
)
def test_class_tables_that_make_no_sense(arguments, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        ClassTable(**arguments)

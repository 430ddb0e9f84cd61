"""The registry tells the truth about every network, and refuses what it does not have."""

import dataclasses

import pytest
import torch

from karaffe.errors import ArgumentError, DtypeError, FileError, ShapeError, UnknownNameError
from karaffe.models import create_model, describe_model, list_models, load_model, load_weights, open_model, save_weights
from karaffe.models.checkpoint import write_tensors
from karaffe.models.registry import REGISTRY


def test_names() -> None:
    assert list_models() == ["nearest", "bilinear", "bicubic", "lanczos", "sharp", "faithful"]
    assert list_models("b*") == ["bilinear", "bicubic"]
    trained = ["sharp", "faithful", "srcnn", "espcn", "fsrcnn", "stack", "srresnet-small"]
    assert [n for n in list_models(pretrained=False) if describe_model(n).learned] == trained


def test_a_network_without_weights_says_how_to_train_it() -> None:
    with pytest.raises(ArgumentError, match="no weights of model 'fsrcnn' ship with karaffe; train them"):
        create_model("fsrcnn", 2)
    with pytest.raises(ArgumentError, match="no scale 5; it has 2, 3 and 4"):
        create_model("fsrcnn", 5, pretrained=False)


def test_options_are_the_networks_own() -> None:
    assert create_model("sharp", 2, pretrained=False, channels=8).first.out_channels == 8
    with pytest.raises(ArgumentError, match="options of a network go with pretrained=False; got channels"):
        create_model("sharp", 2, channels=8)
    with pytest.raises(ArgumentError, match="no such option"):
        create_model("sharp", 2, pretrained=False, width=8)


def test_describing_a_network_draws_no_random_number() -> None:
    torch.manual_seed(3)
    first = torch.rand(2)
    torch.manual_seed(3)
    assert describe_model("fsrcnn").parameters == 12809
    assert describe_model("fsrcnn").macs_per_source_pixel(4) == 12464
    assert torch.equal(torch.rand(2), first)


def test_an_unknown_name_lists_close_ones() -> None:
    with pytest.raises(UnknownNameError, match="'bicubic'"):
        create_model("bicubik", 2)


@pytest.mark.parametrize("scale", [8, 0, -2, 2.0, True])
def test_a_scale_without_weights_is_refused(scale: int) -> None:
    with pytest.raises(ArgumentError, match="2, 3 and 4" if scale == 8 else "positive integer"):
        create_model("sharp", scale)


@pytest.mark.parametrize("name", list_models(pretrained=False))
@pytest.mark.parametrize("scale", [2, 4])
def test_descriptions_count_what_there_is(name: str, scale: int) -> None:
    info, model = describe_model(name), create_model(name, scale, pretrained=False)
    assert model.scale == scale
    if info.learned and scale == max(info.scales or info.trainable):
        assert info.parameters == sum(p.numel() for p in model.parameters())
    if name in ("sharp", "faithful"):
        convolutions = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Conv2d))
        assert info.macs_per_source_pixel(scale, 3) == convolutions + 3 * model.kernel_size**2 * scale**2
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.name = "other"
    assert info.summary
    assert info.source
    assert info.licence


@pytest.mark.parametrize("name", list_models())
def test_any_number_of_bands_goes_band_by_band(name: str) -> None:
    model, x = create_model(name, 2), torch.rand(2, 5, 9, 8)
    with torch.no_grad():
        bands = torch.cat([model(x[:, i : i + 1]) for i in range(5)], 1)
        torch.testing.assert_close(model(x), bands, atol=1e-6, rtol=0)
        assert model(x[:0]).shape == (0, 5, 18, 16)


@pytest.mark.parametrize("name", list_models())
def test_bad_input_is_refused(name: str) -> None:
    model = create_model(name, 2)
    with pytest.raises(ShapeError, match=r"\(N, C, H, W\)"):
        model(torch.rand(3, 8, 8))
    with pytest.raises(ShapeError, match="at least 1"):
        model(torch.rand(1, 3, 0, 8))
    with pytest.raises(DtypeError, match="uint8"):
        model(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_a_dtype_other_than_the_weights_is_refused() -> None:
    with pytest.raises(DtypeError, match="float64"):
        create_model("sharp", 2)(torch.rand(1, 1, 8, 8, dtype=torch.float64))


def test_a_checkpoint_says_whose_it_is(tmp_path) -> None:
    path = tmp_path / "sharp.safetensors"
    model = create_model("sharp", 2)
    save_weights(model, path, name="sharp", scale=2)
    assert [p.name for p in tmp_path.iterdir()] == ["sharp.safetensors"]
    again = create_model("sharp", 2, pretrained=False)
    load_weights(again, path, name="sharp", scale=2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(ArgumentError, match="at scale 2, not 'sharp' at 4"):
        load_weights(create_model("sharp", 4, pretrained=False), path, name="sharp", scale=4)
    with pytest.raises(ArgumentError, match="not 'faithful'"):
        load_weights(again, path, name="faithful", scale=2)
    narrow = REGISTRY["sharp"].factory(4)
    with pytest.raises(ArgumentError, match="do not fit"):
        load_weights(narrow, path, name="sharp", scale=2)


def test_a_broken_checkpoint_is_one_clear_error(tmp_path) -> None:
    path = tmp_path / "half.safetensors"
    model = create_model("sharp", 2)
    save_weights(model, path, name="sharp", scale=2)
    path.write_bytes(path.read_bytes()[:100])
    for bad in (path, tmp_path / "missing.safetensors"):
        with pytest.raises(FileError, match="cannot read"):
            load_weights(model, bad, name="sharp", scale=2)
    with pytest.raises(FileError, match="cannot write"):
        save_weights(model, tmp_path / "no" / "folder.safetensors", name="sharp", scale=2)


def test_a_network_is_made_from_its_file(tmp_path) -> None:
    options = {"head": "filters", "filters": 2, "residual": True}
    model, path = create_model("stack", 3, pretrained=False, **options).eval(), tmp_path / "own.safetensors"
    save_weights(model, path, name="stack", scale=3, options=options)
    again, x = load_model(path), torch.rand(1, 3, 8, 9)
    assert not again.training
    torch.testing.assert_close(again(x), model(x), atol=0, rtol=0)
    torch.testing.assert_close(open_model(str(path), 3)(x), model(x), atol=0, rtol=0)
    with pytest.raises(ArgumentError, match="for scale 3, not 2"):
        open_model(str(path), 2)
    save_weights(model, path, name="stack", scale=3)
    with pytest.raises(ArgumentError, match="do not fit 'stack'"):
        load_model(path)
    write_tensors(path, model.state_dict(), {})
    with pytest.raises(ArgumentError, match="does not say which network"):
        load_model(path)

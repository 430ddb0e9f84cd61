"""Checkpoints of other implementations: recognised, renamed, loaded whole, and computing what theirs computed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from karaffe.errors import ArgumentError, FileError
from karaffe.upsamplers import CARAFE, FADE, SAPA, Bilinear, DySample, load_checkpoint


def random_state(module: nn.Module) -> dict[str, Tensor]:
    state = {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in module.state_dict().items()}
    return {k: v.abs() if k.endswith("running_var") else v for k, v in state.items()}


def reassembled(x: Tensor, logits: Tensor, k: int, s: int) -> Tensor:
    kernels = F.pixel_shuffle(logits, s).softmax(1)
    windows = F.unfold(F.interpolate(x, scale_factor=s), k, dilation=s, padding=k // 2 * s)
    return torch.einsum(
        "nkhw,nckhw->nchw", kernels, windows.unflatten(2, kernels.shape[2:]).unflatten(1, (x.shape[1], -1))
    )


class ConvNorm(nn.Module):
    """A convolution, batch normalisation and an activation, as such copies write them."""

    def __init__(self, a: int, b: int, k: int, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(a, b, k, 1, k // 2, bias=False), nn.BatchNorm2d(b), act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class NormedCopy(nn.Module):
    """The widespread copy with ``comp`` and ``enc``."""

    def __init__(self, c: int, act: nn.Module) -> None:
        super().__init__()
        self.comp, self.enc = ConvNorm(c, 6, 1, act), ConvNorm(6, 100, 3, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return reassembled(x, self.enc(self.comp(x)), 5, 2)


class ProjectedCopy(nn.Module):
    """The widespread copy with ``down``, ``encoder`` and ``out``."""

    def __init__(self, c: int, out: int) -> None:
        super().__init__()
        self.down, self.encoder = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, 36, 3, padding=1)
        self.out = nn.Conv2d(c, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(reassembled(x, self.encoder(self.down(x)), 3, 2))


@pytest.mark.parametrize(("act", "name"), [(nn.ReLU(), "relu"), (nn.SiLU(), "silu")])
def test_normed_copies(act, name):
    theirs = NormedCopy(8, act).eval()
    theirs.load_state_dict(random_state(theirs))
    ours = CARAFE(8, compressed_channels=6, norm=True, activation=name).eval()
    assert load_checkpoint(ours, theirs.state_dict()) == "XiaLiPKU and YOLO (comp, enc)"
    x = torch.randn(1, 8, 5, 6)
    torch.testing.assert_close(ours(x), theirs(x))


def test_projected_copies():
    theirs = ProjectedCopy(8, 5)
    ours = CARAFE(8, up_kernel=3, compressed_channels=2, out_channels=5)
    assert load_checkpoint(ours, theirs.state_dict()) == "YOLO (down, encoder, out)"
    x = torch.randn(1, 8, 5, 6)
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.cost((5, 6)).macs > CARAFE(8, up_kernel=3, compressed_channels=2).cost((5, 6)).macs


def test_variants_need_a_module_that_holds_them():
    with pytest.raises(ArgumentError, match="make the module with norm=True and activation='relu'"):
        load_checkpoint(CARAFE(8, compressed_channels=6), NormedCopy(8, nn.ReLU()).state_dict())
    with pytest.raises(ArgumentError, match="make the module with out_channels"):
        load_checkpoint(CARAFE(8, up_kernel=3, compressed_channels=2), ProjectedCopy(8, 5).state_dict())


@pytest.mark.parametrize("kind", ["safetensors", "torch", "wrapped"])
def test_files(tmp_path, kind):
    state = random_state(CARAFE(8))
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if kind == "wrapped" else state, path)
    m = CARAFE(8)
    assert load_checkpoint(m, str(path)) == "official"
    assert all(torch.equal(v, state[k]) for k, v in m.state_dict().items())


def test_inside_a_whole_network():
    states = [random_state(CARAFE(8)) for _ in range(2)]
    network = {f"neck.upsample_modules.{i}.{k}": v for i, state in enumerate(states) for k, v in state.items()}
    network["backbone.conv1.weight"] = torch.zeros(1)
    m = CARAFE(8)
    load_checkpoint(m, network, prefix="neck.upsample_modules.1.")
    assert torch.equal(m.content_encoder.bias, states[1]["content_encoder.bias"])
    with pytest.raises(
        ArgumentError, match=r"several such upsamplers; name one: prefix= one of \['neck.upsample_modules.0."
    ):
        load_checkpoint(m, network)
    only = {k: v for k, v in network.items() if "modules.1" not in k}
    load_checkpoint(m, only)
    assert torch.equal(m.content_encoder.bias, states[0]["content_encoder.bias"])


def test_dysample_scope_bias_both_ways():
    biased, plain = DySample(8, dyscope=True, scope_bias=True), DySample(8, dyscope=True)
    state = random_state(plain)
    load_checkpoint(biased, state)
    x = torch.randn(1, 8, 4, 4)
    load_checkpoint(plain, state)
    torch.testing.assert_close(biased(x), plain(x))
    load_checkpoint(plain, biased.state_dict())
    torch.nn.init.ones_(biased.scope.bias)
    with pytest.raises(ArgumentError, match="scope_bias=True"):
        load_checkpoint(plain, biased.state_dict())


def test_dysample_without_its_buffer():
    state = random_state(DySample(8))
    del state["init_pos"]
    m = DySample(8)
    load_checkpoint(m, state)
    assert m.init_pos.abs().max() == 0.25


def test_both_versions_of_sapa():
    state = random_state(SAPA(8, norm="layer"))
    flat = {k: v[..., 0, 0] if k in ("q.weight", "k.weight") else v for k, v in state.items()}
    m = SAPA(8, norm="layer")
    load_checkpoint(m, flat)
    assert all(torch.equal(v, state[k]) for k, v in m.state_dict().items())
    with pytest.raises(ArgumentError, match="make the module with norm='layer'"):
        load_checkpoint(SAPA(32), random_state(SAPA(32)) | {"q.weight": torch.zeros(32, 32)})


def test_both_layouts_of_fade():
    state = random_state(FADE(8))
    renamed = {
        "ker_generator.compressor_en.": "kernel_generator.conv1_en.",
        "ker_generator.compressor_de.": "kernel_generator.conv1_de.",
        "ker_generator.content_encoder.weight": "kernel_generator.conv2_kernels",
        "ker_generator.content_encoder.bias": "kernel_generator.conv2_bias",
    }
    other = {}
    for key, value in state.items():
        old = next((o for o in renamed if key.startswith(o)), None)
        other[key if old is None else renamed[old] + key.removeprefix(old)] = value
    m = FADE(8)
    assert load_checkpoint(m, other) == "H2L"
    assert all(torch.equal(v, state[k]) for k, v in m.state_dict().items())
    assert load_checkpoint(m, state) == "official"


def test_what_does_not_fit():
    m = CARAFE(8)
    with pytest.raises(
        ArgumentError, match=r"fits no layout of CARAFE.*expected e.g. channel_compressor.weight.*found conv"
    ):
        load_checkpoint(m, {"conv.weight": torch.zeros(1)})
    state = random_state(m)
    del state["content_encoder.bias"]
    with pytest.raises(ArgumentError, match=r"missing \['content_encoder.bias'\], not expected \['extra'\]"):
        load_checkpoint(m, state | {"extra": torch.zeros(1)})
    with pytest.raises(ArgumentError, match=r"content_encoder.bias: expected \(100,\), found \(225,\)"):
        load_checkpoint(m, random_state(CARAFE(8, 3)))
    with pytest.raises(ArgumentError, match="Bilinear has no weights"):
        load_checkpoint(Bilinear(), random_state(m))


def test_a_failed_load_changes_nothing():
    m = CARAFE(8)
    before = {k: v.clone() for k, v in m.state_dict().items()}
    with pytest.raises(ArgumentError, match="other sizes"):
        load_checkpoint(m, random_state(CARAFE(8, 3)))
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())


def test_unreadable_files(tmp_path):
    m = CARAFE(8)
    with pytest.raises(FileError, match="cannot read weights"):
        load_checkpoint(m, tmp_path / "absent.pth")
    for name in ("noise.pth", "noise.safetensors"):
        path = tmp_path / name
        path.write_bytes(b"not weights at all")
        with pytest.raises(FileError, match="cannot read weights"):
            load_checkpoint(m, path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(FileError, match="holds no state_dict, but list"):
        load_checkpoint(m, tmp_path / "list.pth")
    torch.save({"hook": print}, tmp_path / "code.pth")
    with pytest.raises(FileError, match="cannot read weights"):
        load_checkpoint(m, tmp_path / "code.pth")

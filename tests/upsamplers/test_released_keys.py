"""What releases hold: keys and shapes of each published checkpoint, at its published size, load whole.

Nothing is downloaded: the tables are written from the releases' documentation, and filled with random numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from karaffe.upsamplers import (
    A2U,
    CARAFE,
    DLU,
    FADE,
    JAFAR,
    LDAAQU,
    NAF,
    SAPA,
    AnyUp,
    CARAFEDown,
    DySample,
    FADELite,
    FreqFusion,
    IndexNet,
    JBUStack,
    LoftUp,
    SAPADeform,
    UPLiFT,
    load_checkpoint,
)

Shapes = dict[str, tuple[int, ...]]


def under(prefix: str, *parts: Shapes) -> Shapes:
    return {f"{prefix}.{k}": v for part in parts for k, v in part.items()}


def conv(name: str, out: int, channels: int, k: int = 1, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, channels, k, k)} | ({f"{name}.bias": (out,)} if bias else {})


def affine(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batch_norm(name: str, width: int) -> Shapes:
    return affine(name, width) | {
        f"{name}.running_mean": (width,),
        f"{name}.running_var": (width,),
        f"{name}.num_batches_tracked": (),
    }


CARAFE_PACK = conv("channel_compressor", 64, 256) | conv("content_encoder", 100, 64, 3)
FADE_GATE = conv("gate_generator.conv", 1, 256)
EN_DE = conv("compressor_en", 64, 256) | conv("compressor_de", 64, 256, bias=False)
SAPA_NORMS = affine("norm_y", 256) | affine("norm_x", 256)
FREQFUSION = {
    "hamming_lowpass": (1, 1, 5, 5),
    "hamming_highpass": (1, 1, 3, 3),
    **conv("hr_channel_compressor", 64, 256),
    **conv("lr_channel_compressor", 64, 256),
    **conv("content_encoder", 25, 64, 3),
    **conv("content_encoder2", 9, 64, 3),
}
SAMPLER = {
    "init_pos": (1, 32, 1, 1),
    **conv("offset", 32, 72, 3),
    **conv("direct_scale", 32, 72, 3),
    **conv("hr_offset", 8, 72, 3),
    **conv("hr_direct_scale", 8, 72, 3),
    **affine("norm_hr", 64),
    **affine("norm_lr", 64),
}
A2U_PAIR = {
    **affine("bnu.0", 256),
    **affine("bnv.0", 256),
    **conv("bconv_UP.1", 36, 256),
    **conv("bconv_DP.1", 36, 256),
    **conv("bconv_U.1", 1, 256),
    **conv("bconv_V.1", 1, 256),
}
LDA_AQU = {
    "relative_position_bias_table": (1, 1, 1, 9, 64),
    **conv("proj_q", 64, 256, bias=False),
    **conv("proj_k", 64, 256, bias=False),
    "conv_offset.0.weight": (32, 1, 3, 3),
    **affine("conv_offset.1.norm", 32),
    **conv("conv_offset.3", 18, 32, 3),
    **affine("layer_norm.norm", 256),
}


def jbu_stage() -> Shapes:
    scalars: Shapes = {"range_temp": (), "sigma_spatial": ()}
    proj = conv("range_proj.0", 32, 3) | conv("range_proj.3", 32, 32)
    return scalars | proj | conv("fixup_proj.0", 49, 52) | conv("fixup_proj.3", 49, 49)


def index_branch(name: str, out: int, channels: int, wide: int) -> Shapes:
    return {
        **conv(f"{name}.0", wide, channels, 4, False),
        **batch_norm(f"{name}.1", wide),
        **conv(f"{name}.3", out, wide if channels > 1 else 1, 1, False),
    }


def residual_encoder(name: str, channels: int, k: int, numbered: bool) -> Shapes:
    """A convolution and two blocks of 128 channels, of which two releases number the layers."""
    layers = ("block.0", "block.2", "block.3", "block.5") if numbered else ("norm1", "conv1", "norm2", "conv2")
    first = {} if k == 0 else conv(f"{name}.0", 128, channels, k, False)
    for i in (1, 2):
        for norm, layer in (layers[:2], layers[2:]):
            first |= affine(f"{name}.{i}.{norm}", 128) | conv(f"{name}.{i}.{layer}", 128, 128, 1, False)
    return first


def cross_decode(value: int | None) -> Shapes:
    attention: Shapes = {"in_proj_bias": (384,), "out_proj.weight": (128, 128), "out_proj.bias": (128,)}
    if value in (None, 128):
        attention["in_proj_weight"] = (384, 128)
    else:
        attention |= {"q_proj_weight": (128, 128), "k_proj_weight": (128, 128), "v_proj_weight": (128, value)}
    norms: Shapes = {"norm_q.weight": (128,), "norm_k.weight": (128,)} | ({"norm_v.weight": (value,)} if value else {})
    attended = under("cross_attn", norms, under("attention", attention))
    return under("cross_decode", conv("conv2d", 128, 128, 3, False), attended) | {"rope.freqs": (2, 128)}


def jafar(value: int) -> Shapes:
    images = residual_encoder("image_encoder", 3, 1, False)
    both = residual_encoder("key_encoder", 128, 1, False) | residual_encoder("query_encoder", 128, 1, False)
    scale = conv("sft_key.gamma", 128, 128, 1, False) | conv("sft_key.beta", 128, 128, 1, False)
    return images | both | residual_encoder("key_features_encoder", value, 1, False) | scale | cross_decode(value)


def anyup() -> Shapes:
    images = residual_encoder("image_encoder", 3, 1, True)
    both = residual_encoder("key_encoder", 128, 1, True) | residual_encoder("query_encoder", 128, 1, True)
    bank = residual_encoder("key_features_encoder", 0, 0, True) | {"key_features_encoder.0.basis": (128, 1, 5, 5)}
    return images | both | bank | residual_encoder("aggregation", 256, 3, True) | cross_decode(None)


def naf() -> Shapes:
    found: Shapes = {"image_encoder.rope.periods": (16,)}
    for name, k in (("encoder", 1), ("sem_encoder", 3)):
        at = f"image_encoder.{name}"
        found |= conv(f"{at}.0", 128, 3, k)
        for i in (1, 2):
            for j in (1, 2):
                found |= affine(f"{at}.{i}.norm{j}", 128) | conv(f"{at}.{i}.conv{j}", 128, 128, k)
    return found


def loftup(width: int) -> Shapes:
    wide, found = width + 20, {"lr_pe.biases": (2, 2, 5), "fourier_feat.1.biases": (2, 5, 20)}
    found |= affine("first_conv.0.norm", 203)
    for i, channels in ((1, 203), (4, wide)):
        found |= conv(f"first_conv.{i}", wide, channels, 3) | batch_norm(f"first_conv.{i + 1}", wide)
    for i in (0, 1):
        at = f"ca_transformer.layers.{i}"
        found |= affine(f"{at}.0.norm_q", wide) | affine(f"{at}.0.norm_kv", wide)
        found |= under(
            f"{at}.0.attention",
            {"in_proj_weight": (3 * wide, wide), "in_proj_bias": (3 * wide,)},
            {"out_proj.weight": (wide, wide), "out_proj.bias": (wide,)},
        )
        found |= affine(f"{at}.1.net.0", wide)
        found |= {f"{at}.1.net.1.weight": (width, wide), f"{at}.1.net.1.bias": (width,)}
        found |= {f"{at}.1.net.4.weight": (wide, width), f"{at}.1.net.4.bias": (wide,)}
    return (
        found | affine("ca_transformer.norm", wide) | conv("final_conv.0", width, wide) | affine("final_conv.1", width)
    )


def uplift(channels: int) -> Shapes:
    def block(name: str, into: int, *widths: int) -> Shapes:
        found: Shapes = {}
        for i, width in enumerate(widths):
            found |= conv(f"{name}.blocks.0.conv.{3 * i}", width, into, 3, False)
            found |= batch_norm(f"{name}.blocks.0.conv.{3 * i + 1}", width)
            into = width
        return found | conv(f"{name}.blocks.0.conv.{3 * len(widths)}", into, into)

    widths, found = (3, 16, 32, 64, 128, 128), conv("attender.conv1", 17, 64)
    for i in range(5):
        found |= block(f"encoder.block_{i}", widths[i], widths[i + 1])
    found |= block("decoder.block_0", channels + 128, 64, 64) | block("decoder.block_1", 64 + 128, 64, 64)
    return found | {"decoder.up_1.up.weight": (64, 64, 2, 2), "decoder.up_1.up.bias": (64,)}


def sapa(width: int, flat: bool) -> Shapes:
    shape = (width, 256) if flat else (width, 256, 1, 1)
    return SAPA_NORMS | {f"{n}.weight": shape for n in "qk"} | {f"{n}.bias": (width,) for n in "qk"}


def fade_of_two_layouts(high_to_low: bool) -> Shapes:
    if not high_to_low:
        return FADE_GATE | under("ker_generator", EN_DE, conv("content_encoder", 25, 64, 3))
    compressed = conv("conv1_en", 64, 256) | conv("conv1_de", 64, 256, bias=False)
    return FADE_GATE | under("kernel_generator", compressed, {"conv2_kernels": (25, 64, 3, 3), "conv2_bias": (25,)})


def fade_lite() -> Shapes:
    both = conv("compressor_en", 25, 256) | conv("compressor_de", 25, 256, bias=False)
    shared: Shapes = {"content_encoder.weight": (25, 1, 3, 3), "content_encoder.bias": (25,)}
    return FADE_GATE | under("ker_generator", both, shared)


DYSAMPLE = conv("offset", 32, 256) | {"init_pos": (1, 32, 1, 1)}
DYSAMPLE_S = conv("offset", 16, 64) | {"init_pos": (1, 64, 1, 1)}
COPY = {
    **conv("comp.conv", 64, 256, bias=False),
    **batch_norm("comp.bn", 64),
    **conv("enc.conv", 100, 64, 3, False),
    **batch_norm("enc.bn", 100),
}
PROJECTED = conv("down", 64, 256) | conv("encoder", 100, 64, 3) | conv("out", 256, 256)
M2O = {k: v for i in range(1, 5) for k, v in index_branch(f"indexnet{i}", 256, 256, 256).items()}
O2O = {k: v for i in range(1, 5) for k, v in index_branch(f"indexnet{i}", 256, 1, 256).items()}
HOLISTIC = index_branch("indexnet", 4, 256, 512)
STACK = under("upsampler", *(under(f"up{i}", jbu_stage()) for i in range(1, 5)), conv("fixup_proj.1", 384, 384))
NORM = affine("model.1.norm", 384)

# release: keys and shapes, and the module that they are of
RELEASES: dict[str, tuple[Shapes, Callable[[], nn.Module]]] = {
    "carafe, mmcv": (CARAFE_PACK, lambda: CARAFE(256)),
    "carafe, mmdetection": (under("neck.upsample_modules.0", CARAFE_PACK), lambda: CARAFE(256)),
    "carafe, XiaLiPKU": (COPY, lambda: CARAFE(256, norm=True, activation="relu")),
    "carafe, YOLO": (COPY, lambda: CARAFE(256, norm=True, activation="silu")),
    "carafe, YOLO with an output layer": (PROJECTED, lambda: CARAFE(256, out_channels=256)),
    "carafe++ down": (
        conv("channel_compressor", 16, 256) | conv("content_encoder", 25, 16, 3),
        lambda: CARAFEDown(256),
    ),
    "dysample": (DYSAMPLE, lambda: DySample(256)),
    "dysample+": (DYSAMPLE | conv("scope", 32, 256, bias=False), lambda: DySample(256, dyscope=True)),
    "dysample+, scope with a bias": (
        DYSAMPLE | conv("scope", 32, 256),
        lambda: DySample(256, dyscope=True, scope_bias=True),
    ),
    "dysample-s": (DYSAMPLE_S, lambda: DySample(256, style="pl", groups=8)),
    "dysample-s+": (
        DYSAMPLE_S | conv("scope", 16, 64, bias=False),
        lambda: DySample(256, style="pl", groups=8, dyscope=True),
    ),
    "sapa-b": (sapa(32, False), lambda: SAPA(256)),
    "sapa-b of NeurIPS": (sapa(64, True), lambda: SAPA(256, norm="layer", embedding_dim=64)),
    "sapa-d": (conv("q", 128, 256) | conv("k", 128, 256) | conv("offset", 288, 256), lambda: SAPADeform(256)),
    "fade": (fade_of_two_layouts(False), lambda: FADE(256)),
    "fade, H2L": (fade_of_two_layouts(True), lambda: FADE(256)),
    "fade-lite": (fade_lite(), lambda: FADELite(256)),
    "indexnet, holistic": (HOLISTIC, lambda: IndexNet.make_pair(256)[0]),
    "indexnet, many to one": (M2O, lambda: IndexNet.make_pair(256, "m2o")[0]),
    "indexnet, one to one": (O2O, lambda: IndexNet.make_pair(256, "o2o")[0]),
    "a2u": (A2U_PAIR, lambda: A2U.make_pair(256)[0]),
    "freqfusion": (FREQFUSION, lambda: FreqFusion(256)),
    "freqfusion, sampler": (
        FREQFUSION | under("dysampler", SAMPLER),
        lambda: FreqFusion(256, feature_resample=True),
    ),
    "lda-aqu": (LDA_AQU, lambda: LDAAQU(256)),
    "dlu": (
        conv("channel_compressor", 64, 256) | conv("kernel_space_generator", 25, 64, 3) | conv("conv_offset", 8, 64, 3),
        lambda: DLU(256),
    ),
    "featup": (STACK | NORM, lambda: JBUStack(384, 16)),
    "jafar": (jafar(384), lambda: JAFAR(384)),
    "jafar, packed": (jafar(128), lambda: JAFAR(128)),
    "anyup": (anyup(), lambda: AnyUp(384)),
    "naf": (naf(), lambda: NAF(384)),
    "loftup": (under("upsampler", loftup(384)) | NORM, lambda: LoftUp(384)),
    "uplift": (uplift(384), lambda: UPLiFT(384)),
}


@pytest.mark.parametrize("release", RELEASES)
def test_every_key_of_a_release_is_taken(release):
    shapes, make = RELEASES[release]
    state: dict[str, Tensor] = {
        k: torch.tensor(7) if k.endswith("num_batches_tracked") else torch.randn(v) for k, v in shapes.items()
    }
    module = make()
    load_checkpoint(module, state)
    held = {(v.numel(), v.double().sum().item()) for v in state.values()}
    for key, value in module.state_dict().items():
        assert (value.numel(), value.double().sum().item()) in held, f"{key} is not what the release holds"
    beside = [k for k in shapes if k.startswith("model.")]
    assert len(module.state_dict()) == len(shapes) - len(beside)

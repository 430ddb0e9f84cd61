"""Recorded vectors of the original implementations, and the module of ours that each one is about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor, nn

from karaffe.upsamplers import (
    CARAFE,
    FADE,
    JAFAR,
    LDAAQU,
    SAPA,
    AnyUp,
    DySample,
    FADELite,
    FreqFusion,
    IndexPool,
    JBULearned,
    JBUStack,
    LocalAttender,
    LoftUp,
    SAPADeform,
    Upsampler,
)
from karaffe.upsamplers.indexnet import BLOCKS as INDEX_BLOCKS

Make = Callable[[dict[str, Any]], nn.Module]


class Recorded:
    """One file of vectors that an original implementation computed; outputs and their upstream gradients by name."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.about = json.loads(file.metadata()["json"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.state, self.inputs = part("state."), part("input.")
        self.input_grads, self.parameter_grads = part("grad_input."), part("grad_param.")
        upstream = {k: v for k, v in part("grad_").items() if not k.startswith(("input.", "param."))}
        self.outputs = {k: tensors[k] for k in upstream}
        self.upstream = upstream


def carafe(arguments: dict[str, Any]) -> Upsampler:
    return CARAFE(**arguments)


def dysample(arguments: dict[str, Any]) -> Upsampler:
    names = {"in_channels": "channels", "scale": "scale_factor"}
    return DySample(**{names.get(k, k): v for k, v in arguments.items()})


SAPA_NAMES = {
    "dim_y": "guide_channels",
    "dim_x": "channels",
    "up_factor": "scale_factor",
    "up_kernel_size": "up_kernel",
}


def sapa(arguments: dict[str, Any]) -> Upsampler:
    norm = "group" if arguments.pop("norm", True) else "none"
    return SAPA(**{SAPA_NAMES.get(k, k): v for k, v in arguments.items()}, norm=norm)


def sapa_deform(arguments: dict[str, Any]) -> Upsampler:
    return SAPADeform(**{SAPA_NAMES.get(k, k): v for k, v in arguments.items()})


def fade(arguments: dict[str, Any]) -> Upsampler:
    return FADE(arguments["in_channels_de"])


def fade_lite(arguments: dict[str, Any]) -> Upsampler:
    return FADELite(arguments["in_channels_de"])


def indexnet(arguments: dict[str, Any]) -> IndexPool:
    nonlinear, context = arguments["use_nonlinear"], arguments["use_context"]
    return IndexPool(arguments["channels"], arguments["block"], nonlinear, context)


LDA_NAMES = {
    "in_channels": "channels",
    "reduction_factor": "reduction",
    "nh": "heads",
    "k_u": "up_kernel",
    "n_groups": "groups",
}


def lda_aqu(arguments: dict[str, Any]) -> Upsampler:
    return LDAAQU(**{LDA_NAMES.get(k, k): v for k, v in arguments.items()})


FREQFUSION_NAMES = {
    "hr_channels": "guide_channels",
    "lr_channels": "channels",
    "feature_resample_group": "resample_groups",
}


def freqfusion(arguments: dict[str, Any]) -> Upsampler:
    return FreqFusion(**{FREQFUSION_NAMES.get(k, k): v for k, v in arguments.items()})


def jbu_stage(arguments: dict[str, Any]) -> Upsampler:
    names = {"feat_dim": "channels", "guidance_dim": "guide_channels"}
    return JBULearned(**{names.get(k, k): v for k, v in arguments.items()})


def jbu_stack(arguments: dict[str, Any]) -> Upsampler:
    return JBUStack(arguments["feat_dim"], 16)


ATTENTION_NAMES = {
    "input_dim": "guide_channels",
    "v_dim": "channels",
    "num_heads": "heads",
    "kernel_size_lfu": "filter_kernel",
}


def jafar(arguments: dict[str, Any]) -> Upsampler:
    return JAFAR(**{ATTENTION_NAMES.get(k, k): v for k, v in arguments.items()})


def anyup(arguments: dict[str, Any]) -> Upsampler:
    arguments.pop("lfu_dim")
    return AnyUp(10, **{ATTENTION_NAMES.get(k, k): v for k, v in arguments.items()})


def uplift_attender(arguments: dict[str, Any]) -> LocalAttender:
    return LocalAttender(**arguments)


LOFTUP_NAMES = {"dim": "channels", "n_freqs": "frequencies", "num_heads": "heads", "num_layers": "layers"}


def loftup(arguments: dict[str, Any]) -> Upsampler:
    for unused in ("color_feats", "lr_size", "lr_pe_type"):
        arguments.pop(unused)
    return LoftUp(**{LOFTUP_NAMES.get(k, k): v for k, v in arguments.items()})


CASES: dict[str, Make] = {
    **{f"carafe_{i}": carafe for i in range(4)},
    **{f"dysample_lp_scope{d}_s{s}": dysample for d in (0, 1) for s in ("2_g4", "3_g1")},
    **{f"dysample_pl_scope{d}_s2_g{g}": dysample for d in (0, 1) for g in (2, 4)},
    "sapa_b": sapa,
    "sapa_b_nonorm": sapa,
    "sapa_d_high0": sapa_deform,
    "sapa_d_high1": sapa_deform,
    "fade_l2h": fade,
    "fade_lite_l2h": fade_lite,
    **{f"indexnet_{b}_nonlinear{n}_context{c}": indexnet for b in INDEX_BLOCKS for n in (0, 1) for c in (0, 1)},
    "lda_aqu_h1_g2": lda_aqu,
    "lda_aqu_h2_g1": lda_aqu,
    "freqfusion_resample0": freqfusion,
    "freqfusion_resample1": freqfusion,
    "jbu_range": jbu_stage,
    "jbu_stack": jbu_stack,
    "jafar": jafar,
    "anyup": anyup,
    **{f"uplift_attender_{n}": uplift_attender for n in (5, 9, 13, 17, 25)},
    "loftup_sine": loftup,
}

SOURCES, GUIDES = ("x", "source", "features", "value"), ("guide", "guidance", "image")


def computed(module: nn.Module, inputs: dict[str, Tensor], outputs: Iterable[str]) -> dict[str, Tensor]:
    """What ``module`` makes of recorded inputs, under the recorded names of the outputs."""
    if isinstance(module, IndexPool):
        return dict(zip(("index_down", "index_up"), module.indices(inputs["x"]), strict=True))
    if isinstance(module, FreqFusion):
        return dict(zip(("hr_out", "lr_out"), module.fuse(inputs["lr"], inputs["hr"])[1:], strict=True))
    x = next(inputs[k] for k in SOURCES if k in inputs)
    guide = next((inputs[k] for k in GUIDES if k in inputs), None)
    (name,) = outputs
    return {name: module(x, guide)}

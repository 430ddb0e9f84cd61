"""Recorded vectors of the original implementations, and the module of ours that each one is about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from karaffe.upsamplers import CARAFE, FADE, SAPA, DySample, FADELite, SAPADeform, Upsampler

Make = Callable[[dict[str, Any]], Upsampler]


class Recorded:
    """One file of vectors that an original implementation computed."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.about = json.loads(file.metadata()["json"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        self.output, self.grad_output = tensors["output"], tensors["grad_output"]

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.state, self.inputs = part("state."), part("input.")
        self.input_grads, self.parameter_grads = part("grad_input."), part("grad_param.")


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
}

"""Recorded vectors of the original implementations, and the module of ours that each one is about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from karaffe.upsamplers import CARAFE, Upsampler

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


CASES: dict[str, Make] = {f"carafe_{i}": carafe for i in range(4)}

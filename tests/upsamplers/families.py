"""What the upsampler tests share: the promised matrix, small modules of every kind, recorded vectors."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from karaffe.upsamplers import Upsampler, create_upsampler, describe_upsampler, list_upsamplers

FULL = ("compile", "export", "onnx")
STARTS = ("paper", "bilinear", "nearest")

# name: convex, unit_sum, shift_equivariant, inits, sizes, dims, exports
PROMISES: dict[str, tuple[Any, ...]] = {
    "nearest": (True, True, True, (), "any", (1, 2, 3), FULL),
    "nearest-exact": (True, True, True, (), "any", (1, 2, 3), FULL),
    "bilinear": (True, True, True, (), "any", (1, 2, 3), FULL),
    "area": (True, True, True, (), "any", (1, 2, 3), FULL),
    "bicubic": (False, True, True, (), "any", (1, 2, 3), FULL),
    "lanczos": (False, True, True, (), "any", (1, 2, 3), FULL),
    "deconv": (False, False, True, STARTS, "crop", (1, 2, 3), FULL),
    "pixel-shuffle": (False, False, True, STARTS, "crop", (1, 2, 3), FULL),
    "resize-conv": (False, False, True, STARTS, "any", (1, 2, 3), FULL),
    "carafe": (True, True, True, STARTS, "any", (1, 2, 3), FULL),
}

# Arguments that make a small module, at which the tests run.
SMALL: dict[str, dict[str, Any]] = {
    "carafe": {"compressed_channels": 6},
}
CHANNELS = 8
SIZES = {1: (11,), 2: (9, 11), 3: (5, 7, 6)}

ALL = list_upsamplers()
LEARNED = list_upsamplers(learned=True)
STARTING = [(name, init) for name in ALL for init in describe_upsampler(name).inits if init != "paper"]
NAME_DIMS = [(name, dims) for name in ALL for dims in describe_upsampler(name).dims]


def small(name: str, scale_factor: Any = 2, **options: Any) -> Upsampler:
    """A small module, as it starts."""
    return create_upsampler(name, CHANNELS, scale_factor, **SMALL.get(name, {}), **options)


def shaken(name: str, scale_factor: Any = 2, **options: Any) -> Upsampler:
    """A small module whose parameters are far from their start, so that kernels depend on the content."""
    module = small(name, scale_factor, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def inputs(
    name: str, dims: int = 2, dtype: torch.dtype = torch.float32, batch: int = 2, scale: int = 2
) -> list[Tensor]:
    """Arguments of a call: the map, and the guide where there is one."""
    x = torch.randn(batch, CHANNELS, *SIZES[dims], dtype=dtype)
    if not describe_upsampler(name).needs_guide:
        return [x]
    return [x, torch.randn(batch, CHANNELS, *(scale * n for n in SIZES[dims]), dtype=dtype)]


def accepts(name: str, option: str) -> bool:
    return option in describe_upsampler(name).options


def window_range(x: Tensor, target: tuple[int, ...], radius: int) -> tuple[Tensor, Tensor]:
    """Smallest and largest source value within ``radius`` pixels of the source pixel under each target."""
    low, high = torch.empty(*x.shape[:2], *target), torch.empty(*x.shape[:2], *target)
    for p in itertools.product(*map(range, target)):
        window = x
        for axis, y in enumerate(p):
            centre = y * x.shape[2 + axis] // target[axis]
            start = max(centre - radius, 0)
            window = window.narrow(2 + axis, start, min(centre + radius + 1, x.shape[2 + axis]) - start)
        at = (slice(None), slice(None), *p)
        low[at], high[at] = window.flatten(2).amin(2), window.flatten(2).amax(2)
    return low, high


def sampling_macs(module: Upsampler, sizes: tuple[int, ...]) -> int:
    """Multiply-adds that torch's flop counter does not know: interpolation at points."""
    return 0

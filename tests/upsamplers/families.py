"""What the upsampler tests share: the promised matrix, small modules of every kind, recorded vectors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from karaffe.upsamplers import (
    DySample,
    MaxUnpool,
    SAPADeform,
    Upsampler,
    create_upsampler,
    describe_upsampler,
    list_upsamplers,
)

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
    "max-unpool": (False, False, False, (), "pooled", (1, 2, 3), ("compile", "export")),
    "carafe": (True, True, True, STARTS, "any", (1, 2, 3), FULL),
    "carafe-down": (True, True, True, STARTS, "exact", (1, 2, 3), FULL),
    "dysample": (True, True, True, STARTS, "any", (2,), FULL),
    "sapa": (True, True, True, ("paper",), "any", (1, 2, 3), FULL),
    "sapa-d": (True, True, True, STARTS, "any", (2,), FULL),
    "fade": (False, False, True, ("paper",), "any", (1, 2, 3), FULL),
    "fade-lite": (False, False, True, ("paper",), "any", (1, 2, 3), FULL),
}

# Arguments that make a small module, at which the tests run.
SMALL: dict[str, dict[str, Any]] = {
    "carafe": {"compressed_channels": 6},
    "carafe-down": {"compressed_channels": 6},
    "sapa": {"norm": "layer", "embedding_dim": 6},
    "sapa-d": {"num_point": 3, "groups": 2, "embedding_dim": 4},
    "fade": {"embedding_dim": 6},
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


def inputs(name: str, dims: int = 2, dtype: torch.dtype = torch.float32, batch: int = 2) -> list[Tensor]:
    """Arguments of a call by factor 2: the map, and the guide where there is one."""
    return inputs_of(name, (batch, CHANNELS, *SIZES[dims]), dtype)


def inputs_of(name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The same for a map of this shape."""
    x = torch.randn(shape, dtype=dtype)
    if not describe_upsampler(name).needs_guide:
        return [x]
    targets = [2 * n for n in shape[2:]]
    guide = torch.randn(*shape[:2], *targets, dtype=dtype)
    if name != "max-unpool":
        return [x, guide]
    pool, _ = MaxUnpool.make_pair(dims=len(targets))
    return [x, pool(guide.double())[1]]


def to(arguments: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Maps in another dtype; indices stay."""
    return [a.to(dtype) if a.is_floating_point() else a for a in arguments]


def floating(arguments: list[Tensor]) -> list[Tensor]:
    return [a for a in arguments if a.is_floating_point()]


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
    """Multiply-adds that torch's flop counter does not know: interpolation at points, and what follows it."""
    targets = 2 ** len(sizes) * math.prod(sizes)
    if isinstance(module, DySample):
        return targets * 4 * CHANNELS
    if isinstance(module, SAPADeform):
        width = module.groups * module.embedding_dim + CHANNELS
        return targets * 5 * module.num_point * width
    return 0


def reach(module: Upsampler, x: Tensor) -> int:
    """How many source pixels from the one under a target a module reads, at most."""
    if isinstance(module, DySample | SAPADeform):
        return 2 + int(module.offsets(x).abs().max())
    return max(getattr(module, "up_kernel", 3), getattr(module, "down_kernel", 3)) // 2

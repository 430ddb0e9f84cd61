"""What the upsampler tests share: the promised matrix, small modules of every kind, recorded vectors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from karaffe.upsamplers import (
    A2U,
    DLU,
    JAFAR,
    LDAAQU,
    NAF,
    AnyUp,
    DySample,
    JBULearned,
    JBUStack,
    LoftUp,
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
    "indexnet": (False, False, True, ("paper",), "exact", (2,), FULL),
    "lda-aqu": (True, True, False, ("paper",), "any", (2,), FULL),
    "freqfusion": (True, True, True, ("paper",), "any", (2,), FULL),
    "jbu": (True, True, True, (), "any", (1, 2, 3), FULL),
    "jbu-learned": (False, False, True, ("paper",), "any", (2,), FULL),
    "jbu-stack": (False, False, True, ("paper",), "exact", (2,), FULL),
    "jafar": (True, True, False, ("paper",), "any", (2,), FULL),
    "anyup": (True, True, False, ("paper",), "any", (2,), FULL),
    "uplift": (True, True, False, ("paper",), "exact", (2,), FULL),
    "loftup": (False, False, False, ("paper",), "any", (2,), FULL),
    "a2u": (True, True, False, ("paper",), "exact", (2,), FULL),
    "dlu": (True, True, True, ("paper",), "any", (2,), FULL),
    "naf": (True, True, False, ("paper",), "any", (2,), FULL),
}

# Arguments that make a small module, at which the tests run.
SMALL: dict[str, dict[str, Any]] = {
    "carafe": {"compressed_channels": 6},
    "carafe-down": {"compressed_channels": 6},
    "sapa": {"norm": "layer", "embedding_dim": 6},
    "sapa-d": {"num_point": 3, "groups": 2, "embedding_dim": 4},
    "fade": {"embedding_dim": 6},
    "lda-aqu": {"reduction": 1, "offset_range": 2.0},
    "freqfusion": {"compressed_channels": 6},
    "jbu-learned": {"key_dim": 6, "radius": 1, "guide_channels": 8},
    "jbu-stack": {"guide_channels": 8},
    "jafar": {"guide_channels": 8, "qk_dim": 16, "heads": 2},
    "anyup": {"guide_channels": 8, "qk_dim": 16, "heads": 2, "window_ratio": 0.3},
    "uplift": {"guide_channels": 8, "width": 24},
    "loftup": {"guide_channels": 8, "frequencies": 3, "whole_batch": False},
    "a2u": {"norm_groups": 4},
    "dlu": {"compressed_channels": 4, "encoder_kernel": 1},
    "naf": {"guide_channels": 8, "qk_dim": 32, "heads": 2, "up_kernel": 3, "layers": 1},
}
# How far parameters are moved from their start; less where many layers would multiply it.
SHAKEN_BY = {"lda-aqu": 0.05, "uplift": 0.02, "loftup": 0.1}
CHANNELS = 8
SIZES = {1: (11,), 2: (9, 11), 3: (5, 7, 6)}

ALL = list_upsamplers()
LEARNED = list_upsamplers(learned=True)
STARTING = [(name, init) for name in ALL for init in describe_upsampler(name).inits if init != "paper"]
NAME_DIMS = [(name, dims) for name in ALL for dims in describe_upsampler(name).dims]


def small(name: str, scale_factor: Any = 2, **options: Any) -> Upsampler:
    """A small module, as it starts, without what only training does (dropout, statistics of the batch)."""
    return create_upsampler(name, CHANNELS, scale_factor, **SMALL.get(name, {}), **options).eval()


def shaken(name: str, scale_factor: Any = 2, **options: Any) -> Upsampler:
    """A small module whose parameters are far from their start, so that kernels depend on the content."""
    module = small(name, scale_factor, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(SHAKEN_BY.get(name, 0.3) * torch.randn_like(parameter))
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
    if isinstance(module, LDAAQU):
        narrow = module.proj_q.out_channels
        return targets * (4 * narrow + 5 * module.up_kernel**2 * (narrow + CHANNELS))
    if isinstance(module, AnyUp):
        # What a window does not hold is computed and left out.
        seen = math.prod(w.pairs() for w in module._windows(sizes, tuple(2 * n for n in sizes)))
        return (seen - targets * math.prod(sizes)) * (module.qk_dim + CHANNELS)
    if isinstance(module, LoftUp):
        width = module.final_conv[0].in_channels
        return len(module.ca_transformer.layers) * 2 * targets * math.prod(sizes) * width
    if isinstance(module, A2U):
        # Affinity and vector are products of a pixel; filters and vector themselves, made once a map, are not counted.
        return math.prod(sizes) * (CHANNELS + 36) - CHANNELS * (2 * module.encode_kernel**2 + 36)
    if isinstance(module, DLU):
        return targets * 4 * module.up_kernel**2
    if isinstance(module, JBULearned | JBUStack):
        return targets * 16 * CHANNELS
    return 0


def reach(module: Upsampler, x: Tensor) -> int:
    """How many source pixels from the one under a target a module reads, at most."""
    if isinstance(module, DySample | SAPADeform | LDAAQU):
        return 2 + int(module.offsets(x).abs().max())
    if isinstance(module, JAFAR | AnyUp):
        return max(x.shape[2:])
    if isinstance(module, NAF):
        return module.up_kernel  # at the border a window is moved
    return max(getattr(module, "up_kernel", 3), getattr(module, "down_kernel", 3)) // 2

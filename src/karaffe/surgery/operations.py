"""The torch functions and modules that enlarge a map, and how each is called.

A call is known by the function object, whatever alias the caller uses for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

OPERATIONS: dict[Callable[..., Any], str] = {
    F.interpolate: "interpolate",
    F.pixel_shuffle: "pixel_shuffle",
    torch.pixel_shuffle: "pixel_shuffle",
    F.conv_transpose1d: "conv_transpose",
    F.conv_transpose2d: "conv_transpose",
    F.conv_transpose3d: "conv_transpose",
    torch.conv_transpose1d: "conv_transpose",
    torch.conv_transpose2d: "conv_transpose",
    torch.conv_transpose3d: "conv_transpose",
}
# Older spellings, which call the above inside torch: the static scan and the rewriting meet them by these names.
SPELLINGS = {**OPERATIONS, F.upsample: "interpolate", F.upsample_nearest: "interpolate"}
MODULES = (nn.Upsample, _ConvTransposeNd, nn.PixelShuffle)


def is_upsampling_module(module: object) -> bool:
    """A module of torch that enlarges, with torch's own ``forward``: a subclass that overrides it is its own code."""
    if not isinstance(module, MODULES):
        return False
    return type(module).forward.__module__.startswith(("torch.nn.", "karaffe.surgery"))


@dataclass(frozen=True)
class Resize:
    """What a call of ``F.interpolate`` or an ``nn.Upsample`` asks for."""

    input: Tensor
    size: int | Sequence[int] | None
    scale_factor: float | Sequence[float] | None
    mode: str
    align_corners: bool
    recompute_scale_factor: bool

    @property
    def target(self) -> tuple[int, ...]:
        """Sizes of the result, as ``F.interpolate`` works them out."""
        sizes = self.input.shape[2:]
        if self.size is not None:
            return tuple(self.size) if isinstance(self.size, list | tuple) else (self.size,) * len(sizes)  # type: ignore[return-value]
        return tuple(_enlarged(n, s) for n, s in zip(sizes, self.factors or (), strict=True))

    @property
    def factors(self) -> tuple[float, ...] | None:
        """The scale factor an axis where the call gives one, else ``None``."""
        if self.size is not None or self.scale_factor is None:
            return None
        dims = self.input.dim() - 2
        return tuple(self.scale_factor) if isinstance(self.scale_factor, list | tuple) else (self.scale_factor,) * dims  # type: ignore[return-value]

    @property
    def steps(self) -> tuple[float, ...] | None:
        """Source pixels a target pixel where the given factor decides that, not the sizes; else ``None``."""
        if self.factors is None or self.recompute_scale_factor:
            return None
        return tuple(1.0 / f for f in self.factors)


def _enlarged(size: int, factor: float) -> int:
    return size * int(factor) if float(factor).is_integer() else math.floor(size * factor)


def read_resize(original: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Resize:
    """The request behind ``original(*args, **kwargs)``, a call of ``F.interpolate`` or of an ``nn.Upsample``."""
    if isinstance(original, nn.Upsample):
        given: dict[str, Any] = {
            "input": args[0] if args else kwargs["input"],
            "size": original.size,
            "scale_factor": original.scale_factor,
            "mode": original.mode,
            "align_corners": original.align_corners,
            "recompute_scale_factor": original.recompute_scale_factor,
        }
    else:
        names = ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
    return Resize(
        given["input"],
        given.get("size"),
        given.get("scale_factor"),
        given.get("mode", "nearest") if original is not F.upsample_nearest else "nearest",
        bool(given.get("align_corners")),
        bool(given.get("recompute_scale_factor")),
    )

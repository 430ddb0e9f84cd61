"""Reading a map at continuous positions, shared by the methods that predict where to look."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from karaffe.ops.geometry import source_index

PADDING = {"zeros": "zeros", "replicate": "border"}


def wide(x: Tensor) -> Tensor:
    """Float32 for the half precisions, which hold no sub-pixel position beyond a few hundred pixels."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def sample(x: Tensor, position: Tensor, padding_mode: str) -> Tensor:
    """Bilinear values of ``x (B, C, H, W)`` at ``position (B, 2, *targets)``, two target axes.

    Positions are (x, y) in source pixels, integers at pixel centres; outside reads zeros or repeats the border.
    """
    height, width = x.shape[2:]
    scale = position.new_tensor([2 / width, 2 / height]).view(1, 2, 1, 1)
    grid = torch.addcmul(scale / 2 - 1, position, scale)  # (2 * position + 1) / size - 1 in one pass
    return F.grid_sample(
        x, grid.permute(0, 2, 3, 1), mode="bilinear", padding_mode=PADDING[padding_mode], align_corners=False
    )


def read_at(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """``x`` at target sizes, by the nearest entry to the upper left: ``x[floor(y * H / H')]``."""
    for axis, target in enumerate(targets):
        if x.shape[2 + axis] != target:
            x = x.index_select(2 + axis, source_index(x.shape[2 + axis], target, "corner", x.device))
    return x

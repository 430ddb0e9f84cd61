"""Which memory layout a result has: the layout of the tensor it takes after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def result_format(like: Tensor) -> torch.memory_format:
    """Channels-last where ``like`` is so and not also plainly contiguous, else contiguous."""
    channels_last = _CHANNELS_LAST.get(like.dim())
    if channels_last is None or like.is_contiguous() or not like.is_contiguous(memory_format=channels_last):
        return torch.contiguous_format
    return channels_last


def empty_like_layout(like: Tensor, shape: Sequence[Any], layout_of: Tensor) -> Tensor:
    """Uninitialised, with the dtype and device of ``like`` and the layout that ``layout_of`` hands on."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=result_format(layout_of))

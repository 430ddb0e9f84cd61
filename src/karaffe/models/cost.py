"""Multiply-adds as they are executed, counted on the network itself."""

from __future__ import annotations

import torch
from torch import nn

EDGE = 16


def multiply_adds(model: nn.Module, channels: int = 1) -> int:
    """Return the multiply-adds of convolutions, matrix products and reassembly for one source pixel, rounded.

    A transposed convolution counts at its source resolution, where it is computed. Additions, activations and fixed
    interpolations are not counted, as in the papers.

    Args:
        model: takes ``(1, channels, H, W)``.
        channels: 1 or 3.
    """
    # The counter imports much, and only few ask for costs.
    from torch.utils.flop_counter import FlopCounterMode

    parameter = next(model.parameters())
    x = torch.zeros(1, channels, EDGE, EDGE, dtype=parameter.dtype, device=parameter.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return round(counter.get_total_flops() / 2 / EDGE**2)

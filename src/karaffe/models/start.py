"""Where a network of convolutions starts: at an interpolation that its first channel carries through.

A network that has to make the whole image, not a difference to an interpolation, spends most of a short training on
learning to copy. Here channel 0 of every layer copies channel 0 of the layer before, and the last layer interpolates
it; the other channels start at random and are added to that by small weights. Architecture and number of parameters
are what they were. All other weights are free to learn, and so are these.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from karaffe.upsamplers.resampling import KERNELS


@torch.no_grad()
def copy_first_channel(layer: nn.Conv2d, gain: float = 1.0) -> None:
    """Let output channel 0 of ``layer`` be ``gain`` times its input channel 0, and nothing else."""
    weight, bias = layer.weight, layer.get_parameter("bias")
    weight[0] = 0
    weight[0, 0, weight.shape[2] // 2, weight.shape[3] // 2] = gain
    bias[0] = 0


def transposed_bicubic(scale: int, taps: int) -> Tensor:
    """Return the taps of a transposed convolution of stride ``scale`` that enlarges bicubically, float64.

    The convolution has ``padding = (taps - 1) // 2``. The kernel is cut off where ``taps`` do not reach, and the taps
    that meet in a target pixel are divided by their sum, so that a constant stays constant.
    """
    places = torch.arange(taps, dtype=torch.float64)
    # Target s·i + r takes tap r + p - s·d of source i + d, whose distance to it does not depend on r.
    weights = KERNELS["cubic"].function(((taps - 1) // 2 - 0.5 - places) / scale + 0.5)
    for phase in range(scale):
        weights[phase::scale] /= weights[phase::scale].sum()
    return weights

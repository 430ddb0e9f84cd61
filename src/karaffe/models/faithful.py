"""`faithful`: kernels that are convex, so that nothing is invented.

From the construction follow, for any weights: every output value lies between the smallest and the largest source
value of its window (``kernel_size`` x ``kernel_size`` around the source pixel under it, the same channel, borders
replicated), up to the rounding of the arithmetic; there is no ringing and no overshoot, and a constant stays constant.
"""

from __future__ import annotations

from torch import Tensor

from karaffe.models.kernels import interpolation_kernels
from karaffe.models.predictor import KernelPredictor

# What a tap weighs at the start that bilinear interpolation does not read: small, but with a gradient.
FLOOR = 1e-3


class Faithful(KernelPredictor):
    r"""Convex content-aware kernels for the image itself, predicted from its luma.

    .. math:: A_p = \mathrm{softmax}(\log B_p + (W\, T(Y) + b)_p), \qquad
              Q[c, p] = \sum_t A_p[t] \cdot V[c, src(p) + t]

    with the luma ``Y``, a trunk ``T`` of convolutions at source resolution whose first layer sums to zero, the
    bilinear kernels ``B`` (raised to 1e-3 where they are zero) and a linear head ``W, b``. An untrained network is
    close to bilinear interpolation. Softmax over the taps and reassembly are those of Wang et al., *CARAFE*, ICCV
    2019, section 3.2, applied to the image.

    Args:
        scale: the factor.
        channels: width of the trunk.
        depth: number of 3x3 convolutions after the first one.
        kernel_size: taps an axis of the predicted kernels, odd, at least 5.

    Raises:
        ArgumentError: an argument out of range.
    """

    normalizer = "softmax"
    base: Tensor

    def __init__(self, scale: int, *, channels: int = 32, depth: int = 4, kernel_size: int = 5) -> None:
        super().__init__(scale, channels=channels, depth=depth, kernel_size=kernel_size)
        self.window_radius = kernel_size // 2
        logits = interpolation_kernels(scale, kernel_size, "triangle").clamp_min(FLOOR).log()
        self.register_buffer("base", logits.float(), persistent=False)

    def head_weights(self) -> tuple[Tensor, Tensor]:
        """Return the head's weight and its bias with the logarithms of bilinear kernels added."""
        return self.head.weight, self.head.get_parameter("bias") + self.base.flatten()

"""`sharp`: kernels that are signed and sum to one.

From the construction follow, for any weights: a constant image stays constant, and adding a constant to the image
adds it to the result.
"""

from __future__ import annotations

from torch import Tensor

from karaffe.models.kernels import interpolation_kernels
from karaffe.models.predictor import KernelPredictor


class Sharp(KernelPredictor):
    r"""Signed content-aware kernels for the image itself, predicted from its luma.

    .. math:: A_p = B_p + (I - \tfrac{1}{k^2} 1 1^\top) (W\, T(Y) + b)_p, \qquad
              Q[c, p] = \sum_t A_p[t] \cdot V[c, src(p) + t]

    with the luma ``Y``, a trunk ``T`` of convolutions at source resolution whose first layer sums to zero, the
    bicubic kernels ``B`` and a linear head ``W, b`` whose result is projected to zero sum. An untrained network is
    bicubic interpolation. The reassembly is that of Wang et al., *CARAFE*, ICCV 2019, equation 2, with signed kernels
    and replicated borders.

    Args:
        scale: the factor.
        channels: width of the trunk.
        depth: number of 3x3 convolutions after the first one.
        kernel_size: taps an axis of the predicted kernels, odd, at least 5 (bicubic must fit).

    Raises:
        ArgumentError: an argument out of range.
    """

    base: Tensor

    def __init__(self, scale: int, *, channels: int = 32, depth: int = 4, kernel_size: int = 5) -> None:
        super().__init__(scale, channels=channels, depth=depth, kernel_size=kernel_size)
        self.register_buffer("base", interpolation_kernels(scale, kernel_size).float(), persistent=False)

    def head_weights(self) -> tuple[Tensor, Tensor]:
        """Return the head's weight and bias, put to zero sum over the taps, bicubic kernels added."""
        weight = self.head.weight.unflatten(0, self.base.shape)
        bias = self.head.get_parameter("bias").unflatten(0, self.base.shape)
        weight = (weight - weight.mean(1, keepdim=True)).flatten(0, 1)
        return weight, (bias - bias.mean(1, keepdim=True) + self.base).flatten()

"""Networks of the literature that enlarge the luma alone; colour differences are interpolated beside them."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from karaffe.models.base import SuperResolver
from karaffe.upsamplers.resampling import resample

# BT.601 luma of gamma-encoded RGB, on the full range.
LUMA = (0.299, 0.587, 0.114)
BICUBIC_REACH = 2


def to_luma(x: Tensor) -> Tensor:
    """Return the luma ``(N, 1, H, W)`` of grey or RGB images ``(N, 1 or 3, H, W)``."""
    return x if x.shape[1] == 1 else (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def bicubic(x: Tensor, scale: int) -> Tensor:
    """Enlarge ``(N, C, H, W)`` as MATLAB's ``imresize`` does."""
    return resample(x, (x.shape[2] * scale, x.shape[3] * scale), kernel="cubic")


class LumaNetwork(SuperResolver):
    """A network that enlarges the luma; RGB gets bicubic colour and the network's luma, as in the papers.

    Args:
        scale: the factor.
        halo: source pixels that the network's luma looks at on every side; bicubic colour looks at two.
    """

    def __init__(self, scale: int, halo: int) -> None:
        super().__init__(scale, max(halo, BICUBIC_REACH))

    @abstractmethod
    def enlarge_luma(self, y: Tensor) -> Tensor:
        """Return ``y (N, 1, H, W)`` enlarged."""

    def enlarge(self, x: Tensor) -> Tensor:
        if x.shape[1] == 1:
            return self.enlarge_luma(x)
        colour = bicubic(x, self.scale)
        return colour + (self.enlarge_luma(to_luma(x)) - to_luma(colour))

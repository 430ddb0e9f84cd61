"""Max-unpooling: put every value back where max-pooling took it from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import DtypeError, ShapeError
from karaffe.upsamplers.base import ScaleFactor, Upsampler, whole_factors
from karaffe.upsamplers.registry import register

POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
UNPOOLS = (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)


@register(
    "max-unpool",
    summary="every value goes back to where max-pooling took it from; zero elsewhere",
    equation="Q[indices[p]] = x[p], 0 elsewhere",
    paper="Zeiler et al., Adaptive deconvolutional networks, ICCV 2011; Badrinarayanan et al., SegNet, TPAMI 2017",
    learned=False,
    guide_is="int64 indices of the paired max-pooling, of x's shape",
    convex=False,
    unit_sum=False,
    shift_equivariant=False,
    exports=("compile", "export"),
)
class MaxUnpool(Upsampler):
    r"""The partial inverse of max-pooling (SegNet).

    .. math:: Q[\mathrm{indices}[p]] = x[p], \quad 0 \text{ elsewhere}

    The guide holds the indices that the paired pooling returns, flat positions in the map that was pooled.
    :meth:`make_pair` makes both. The target is that map: give ``size=`` where the factor did not divide it.

    Args:
        channels: ignored where ``None``, else checked.
        scale_factor: whole, or one an axis: size and stride of the pooling.
        dims: number of spatial axes, 1 to 3; ``None``: any.

    Raises:
        ArgumentError: an argument out of range.
    """

    sizes = "pooled"
    needs_guide = True

    def __init__(self, channels: int | None = None, scale_factor: ScaleFactor = 2, *, dims: int | None = None) -> None:
        super().__init__(channels, scale_factor, dims=dims)
        whole_factors(self.scale_factor, len(self.factors(dims or self._known_axes())))

    @classmethod
    def make_pair(
        cls, channels: int | None = None, scale_factor: ScaleFactor = 2, *, dims: int = 2
    ) -> tuple[nn.Module, MaxUnpool]:
        """Make the pooling, which returns ``(pooled, indices)``, and the unpooling ``up(pooled, indices, size=…)``."""
        factors = whole_factors(scale_factor, dims)
        pool: nn.Module = POOLS[dims - 1](factors, factors, return_indices=True)
        return pool, cls(channels, scale_factor, dims=dims)

    def check_guide(self, x: Tensor, guide: Tensor | None, targets: Sequence[int]) -> None:
        if guide is None:
            raise ShapeError(f"MaxUnpool needs the pooling's indices {tuple(x.shape)} as its guide; got none")
        if guide.shape != x.shape:
            raise ShapeError(f"the indices must be of x's shape {tuple(x.shape)}; got {tuple(guide.shape)}")
        if guide.dtype != torch.int64:
            raise DtypeError(f"the indices must be int64; got {guide.dtype}")

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        factors = whole_factors(self.scale_factor, len(targets))
        return UNPOOLS[len(targets) - 1](x, guide, factors, factors, 0, list(targets))  # type: ignore[arg-type]

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        return 0

    def _known_axes(self) -> int:
        return 1 if isinstance(self.scale_factor, int | float) else len(self.scale_factor)

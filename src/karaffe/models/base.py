"""What every super-resolution network is: a module that enlarges images by an integer factor, and its true halo."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from karaffe.errors import ArgumentError, DtypeError, ShapeError


class SuperResolver(nn.Module, ABC):
    """Enlarge images by an integer factor.

    A subclass defines :meth:`enlarge` for one luma-like or three RGB channels, and says how far it looks.

    Args:
        scale: the factor, a positive integer.
        halo: source pixels of context that a tile needs on every side, so that what is computed of the tile equals
            what is computed of the whole image. A side that is the image's own border needs none.

    Attributes:
        scale, halo: as given.
        window_radius: a promise that a network of convex kernels makes: a target lies between the smallest and the
            largest source value of at most this many pixels around its own. ``None``: no such promise.
    """

    window_radius: int | None = None

    def __init__(self, scale: int, halo: int) -> None:
        super().__init__()
        if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
            raise ArgumentError(f"scale must be a positive integer; got {scale!r}")
        self.scale = scale
        self.halo = halo

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge a batch of images.

        Args:
            x: ``(N, C, H, W)``, floating point, values nominally in [0, 1]. One channel is grey, three are RGB; any
                other number goes band by band as grey.

        Returns:
            ``(N, C, scale * H, scale * W)`` in the dtype of ``x``. Values are not clamped: a signed kernel
            overshoots a little at edges.

        Raises:
            ShapeError: ``x`` is not four-dimensional, or an axis is empty (the batch may be).
            DtypeError: ``x`` is not floating point, or not of the dtype and on the device of the weights.
        """
        if x.ndim != 4 or 0 in x.shape[1:]:
            raise ShapeError(f"x must be (N, C, H, W) with C, H and W at least 1; got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise DtypeError(f"x must be floating point with values in [0, 1]; got {x.dtype}")
        parameter = next(self.parameters(), None)
        if parameter is not None and (parameter.dtype, parameter.device) != (x.dtype, x.device):
            raise DtypeError(
                f"x is {x.dtype} on {x.device}, the model's weights are {parameter.dtype} on {parameter.device}"
            )
        bands = x.shape[1]
        if bands in (1, 3):
            return self.enlarge(x)
        return self.enlarge(x.flatten(0, 1).unsqueeze(1)).squeeze(1).unflatten(0, (-1, bands))

    @abstractmethod
    def enlarge(self, x: Tensor) -> Tensor:
        """Return ``x (N, 1 or 3, H, W)`` enlarged."""

    def extra_repr(self) -> str:
        return f"scale={self.scale}, halo={self.halo}"

"""The call that ``mmcv.ops`` users know."""

from __future__ import annotations

from torch import Tensor

from karaffe.errors import ArgumentError, ShapeError
from karaffe.ops.reassemble import reassemble


def carafe(features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int) -> Tensor:
    """CARAFE's reassembly with the argument list of ``mmcv.ops.carafe``, on any device.

    Same as ``reassemble(features, masks, kernel_size, groups=group_size)`` for masks of exactly ``scale_factor``
    times the features' size. Wang et al., *CARAFE*, ICCV 2019, equation 2.

    Args:
        features: ``(N, C, H, W)``.
        masks: ``(N, group_size * kernel_size**2, scale_factor * H, scale_factor * W)``, softmaxed over the taps.
        kernel_size: odd.
        group_size: divides ``C``.
        scale_factor: integer, at least 1.

    Returns:
        ``(N, C, scale_factor * H, scale_factor * W)``.

    Raises:
        ShapeError: masks that are not ``scale_factor`` times the features' size, or as in :func:`reassemble`.
        ArgumentError: an even ``kernel_size``, a ``scale_factor`` below 1, or as in :func:`reassemble`.
    """
    if not isinstance(scale_factor, int) or scale_factor < 1:
        raise ArgumentError(f"scale_factor must be an int of at least 1; got {scale_factor=}")
    if not isinstance(kernel_size, int) or kernel_size % 2 == 0:
        raise ArgumentError(f"kernel_size must be an odd int; got {kernel_size=}")
    expected = tuple(scale_factor * size for size in features.shape[2:])
    if tuple(masks.shape[2:]) != expected:
        raise ShapeError(
            f"masks must be {expected} for features {tuple(features.shape)} and {scale_factor=}; "
            f"got {tuple(masks.shape)}"
        )
    return reassemble(features, masks, kernel_size, groups=group_size)

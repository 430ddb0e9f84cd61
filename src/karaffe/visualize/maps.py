"""Where the content mattered to a network, as a map of the whole picture, made in strips so that memory stays small."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from karaffe.visualize.learned import as_input, measure_importance, predicted_kernels

_STRIP_BYTES = 64 << 20


def importance_map(network: nn.Module, image: Any) -> npt.NDArray[np.float32]:
    """Return entropy and off-centre mass of the kernels that ``network`` predicts for ``image``, ``(h, w, 2)``.

    Both as :func:`karaffe.visualize.measure_importance` has them, the mean over the targets of each source pixel.

    Args:
        network: has ``kernels``; with a ``halo`` (source pixels that a target depends on) it works in strips.
        image: ``(C, H, W)``, ``(1, C, H, W)``, or an image array ``(H, W)`` or ``(H, W, C)``.

    Raises:
        ArgumentError: a network without kernels. ShapeError: an image that is none.
    """
    x = as_input(network, image)
    height, width = x.shape[2:]
    halo = getattr(network, "halo", None)
    targets = int(getattr(network, "scale", 2)) ** 2
    rows = height
    if isinstance(halo, int):
        taps = int(getattr(network, "kernel_size", 5)) ** 2
        rows = max(1, _STRIP_BYTES // (4 * width * taps * targets))
    strips = [_strip(network, x, top, min(top + rows, height), halo or 0) for top in range(0, height, rows)]
    return torch.cat(strips, 1).permute(1, 2, 0).float().numpy()


def _strip(network: nn.Module, x: torch.Tensor, top: int, bottom: int, halo: int) -> torch.Tensor:
    """Both measures ``(2, rows, width)`` of the source rows from ``top`` to ``bottom``."""
    first, last = max(0, top - halo), min(x.shape[2], bottom + halo)
    measured = measure_importance(predicted_kernels(network, x[:, :, first:last]))
    both = torch.stack([measured.entropy, measured.off_centre])
    pooled = F.adaptive_avg_pool2d(both, (last - first, x.shape[3]))
    return pooled[:, top - first : bottom - first]

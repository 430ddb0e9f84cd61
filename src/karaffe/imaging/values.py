"""Stored values to the network's [0, 1] and back, and pixels that are not there.

One affine map an image, ``x = (v - lo) / (hi - lo)`` with the declared ``value_range``, inverted by
``v = x (hi - lo) + lo``; integers are rounded half up and clipped to what their declared bits can hold, floats are left
as they come.

Absent pixels (NaN, infinities, the nodata value; for colours, full transparency) are filled from the nearest
present ones before the network sees them, so that nothing bleeds; afterwards the absent ones get the stored value
of their source pixel back. The fill is local, so it does not depend on how the image was cut into tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from karaffe.errors import ArgumentError, FileError
from karaffe.imaging.consistency import rounded
from karaffe.imaging.info import Array, ImageInfo, dtype_range
from karaffe.imaging.local_range import LocalRange


def compute_dtype(info: ImageInfo) -> torch.dtype:
    """Return float64 where float32 cannot hold the stored values, else float32."""
    wide = info.dtype.itemsize >= 4 and info.dtype.name != "float32"
    return torch.float64 if wide else torch.float32


def to_unit(pixels: Array, info: ImageInfo) -> Tensor:
    """Return ``pixels (h, w, bands)`` as ``(bands, h, w)``, mapped so that the value range becomes [0, 1]."""
    low, high = info.value_range
    x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(_numpy(info)))
    if (low, high) != (0.0, 1.0):
        x = x.sub_(low).div_(high - low)
    return x


def from_unit(x: Tensor, info: ImageInfo, means: Array | None = None, bounds: LocalRange | None = None) -> Array:
    """Undo :func:`to_unit`: return ``(h, w, bands)`` in the dtype of ``info``.

    ``means``, stored values of the blocks' source pixels, asks for integers that have these means; ``bounds``, of each
    of the stored values, for values between them.
    """
    low, high = info.value_range
    values = x.detach().cpu().numpy().transpose(1, 2, 0)
    if (low, high) != (0.0, 1.0):
        values = values * (high - low) + low
    if bounds is not None:
        values = np.clip(values, bounds.low, bounds.high)
    if info.dtype.kind != "f":
        limits = dtype_range(info.dtype, info.bits)
        if means is None:
            values = np.clip(np.floor(values + 0.5), *limits)
        else:
            values = rounded(np.clip(values.astype(np.float64), *limits), means.astype(np.float64))
    return values.astype(info.dtype)


def unit_bounds(info: ImageInfo, local: LocalRange | None = None) -> tuple[Tensor, Tensor] | None:
    """Return ``local`` on the scale of :func:`to_unit`, ``(bands, h, w)`` each; without it, what integers of ``info``
    can hold; None for floats, which have no bounds of their own."""
    low, high = info.value_range
    if local is not None:
        stored = [torch.from_numpy(np.ascontiguousarray(b.transpose(2, 0, 1))) for b in (local.low, local.high)]
    elif info.dtype.kind != "f":
        stored = [torch.tensor(v, dtype=torch.float64) for v in dtype_range(info.dtype, info.bits)]
    else:
        return None
    ends = [(v - low) / (high - low) for v in stored]
    return torch.minimum(*ends), torch.maximum(*ends)


def check_range(value_range: tuple[float, float] | None) -> None:
    """Raise unless a range is None or two different finite numbers."""
    if value_range is None:
        return
    if len(value_range) != 2 or not np.isfinite(value_range).all() or value_range[0] == value_range[1]:
        raise ArgumentError(f"value_range must be two different finite numbers, got {value_range}")


def parse_range(text: str) -> tuple[float, float]:
    """Read ``"LO,HI"``.

    Raises:
        ArgumentError: Another text, or two equal numbers.
    """
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError:
        raise ArgumentError(f"a range must be LO,HI, for example -1024,3071; got {text!r}") from None
    check_range((low, high))
    return (low, high)


def check_values(pixels: Array, present: Array, info: ImageInfo, name: str) -> None:
    """Raise where values cannot be what the image declares.

    Integers must fit the declared bits (clipping them would lose what the file holds). Floats far outside the range
    mean that the range is wrong: a network trained on [0, 1] makes nonsense of an elevation of 3000, and the range is
    asked for, never guessed.
    """
    if info.unbounded or (info.dtype.kind != "f" and info.bits == 8 * info.dtype.itemsize):
        return
    values = pixels[present]
    if not values.size:
        return
    smallest, largest = values.min(), values.max()
    low, high = dtype_range(info.dtype, info.bits) if info.dtype.kind != "f" else sorted(info.value_range)
    if info.dtype.kind != "f":
        if smallest < low or largest > high:
            raise FileError(
                f"cannot use {name}: values from {smallest} to {largest} do not fit the declared {info.bits} bits"
            )
        return
    span = high - low
    if smallest < low - span or largest > high + span:
        raise ArgumentError(
            f"{name}: floating values from {smallest:g} to {largest:g}, but the range of the data is declared "
            f"(or by default taken) as {low:g} to {high:g}; give value_range (--range LO,HI)"
        )


def absent(pixels: Array, info: ImageInfo) -> Array:
    """Return where ``pixels (h, w, bands)`` hold no data, of the same shape.

    nodata counts band by band, but in grey and RGB pictures only where every colour has it (a pure red is no hole).
    """
    gone = ~np.isfinite(pixels) if info.dtype.kind == "f" else np.zeros(pixels.shape, bool)
    if info.nodata is not None and np.isfinite(info.nodata):
        equal = pixels == np.asarray(info.nodata).astype(info.dtype)
        colours = info.bands - info.has_alpha
        if info.colour != "bands":
            equal[:, :, :colours] = equal[:, :, :colours].all(axis=2, keepdims=True)
            equal[:, :, colours:] = False
        gone |= equal
    return gone


def hidden(pixels: Array, info: ImageInfo) -> Array | None:
    """Return where colours are fully transparent, ``(h, w)``; None for an image without alpha."""
    return pixels[:, :, -1] == 0 if info.has_alpha else None


def filled(x: Tensor, known: Tensor, reach: int) -> Tensor:
    """Fill unknown values from known ones, ring by ring: each is the mean of its known 3 x 3 neighbours.

    Args:
        x: ``(bands, h, w)``; known: bool of the same shape; reach: Rings. What lies farther becomes 0.
    """
    mask = known.to(x.dtype)[None]
    value = torch.where(known, x, torch.zeros_like(x))[None]
    for _ in range(reach):
        if bool(mask.all()):
            break
        weight = F.avg_pool2d(mask, 3, 1, 1)
        mean = F.avg_pool2d(value, 3, 1, 1) / weight.clamp_min(1e-12)
        grown = (mask == 0) & (weight > 0)
        value = torch.where(grown, mean, value)
        mask = torch.where(grown, torch.ones_like(mask), mask)
    return value[0]


def away_from_nodata(pixels: Array, info: ImageInfo) -> Array:
    """Move computed values that fell on the nodata value by the smallest step towards the middle of the range."""
    if info.nodata is None or not np.isfinite(info.nodata):
        return pixels
    mark = np.asarray(info.nodata).astype(info.dtype)
    middle = sum(info.value_range) / 2
    if info.dtype.kind == "f":
        moved: Any = np.nextafter(mark, info.dtype.type(middle))
    else:
        moved = info.dtype.type(int(mark) + (1 if mark <= middle else -1))
    return np.where(pixels == mark, moved, pixels).astype(info.dtype)


def _numpy(info: ImageInfo) -> Any:
    return np.float64 if compute_dtype(info) == torch.float64 else np.float32
